"""The effect of a model call: the core puts the request together, the tenant's sidecar sends it.

The key is looked up only for an agent whose role was granted it, and goes into one declared header of one
request. The answer, or each piece of it, is parsed here, strictly, whatever the sidecar made of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit

from ringwall.call import Call, Chunk, Facts, Last, Process, canonical
from ringwall.errors import BadInput, RingwallError
from ringwall.manifest.types import Manifest, Model, Role
from ringwall.models.interface import WIRES, Asked, asked
from ringwall.models.listening import Listening, Stream, Whole
from ringwall.tools.protocol import GRACE_S, REASONS
from ringwall.tools.sidecar_client import SidecarClient
from ringwall.vault.interface import Secrets

_VISIBLE: Final = frozenset(range(0x20, 0x7F))  # of a header's value, RFC 9110 section 5.5, without tab


class ModelEffect:
    """Runs calls of kind ``model``; the target is a model's name in the manifest.

    Args:
        manifest: models, secrets, and who was granted which.
        sidecars: the sidecar of a tenant, or None if it has none.
        secrets: their values, for who asks.

    """

    def __init__(
        self, manifest: Manifest, sidecars: Callable[[str], SidecarClient | None], secrets: Secrets
    ) -> None:
        self._manifest = manifest
        self._sidecars = sidecars
        self._secrets = secrets

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """The answer, then a Last with the tokens used.

        Whole, it is one chunk. A stream is the pieces of ``wire.models.pieces``, texts as chunks not whole.
        An upstream that does not count tokens gets an estimate, and the answer says so.
        """
        try:
            model, role = self._granted(call)
            wanted = asked(call.args)
            if wanted.api not in WIRES[model.wire]:
                raise BadInput(
                    f"the model {model.name} does not speak this interface",
                    code="wrong_wire",
                    remedy=f"it is an {model.wire} upstream: ask at the door of that provider",
                )
            body = _body(wanted, model)
            headers = await self._headers(call, model, role, urlsplit(model.url).path + wanted.wire.path)
        except RingwallError as fault:
            yield _failed(fault.code, fault.cause)
            return
        sidecar = self._sidecars(call.tenant)
        if sidecar is None:
            yield _failed("sidecar_unavailable", REASONS["sidecar_unavailable"])
            return
        answer = sidecar.run_model(
            model.name, body, headers, seconds=model.timeout_s + GRACE_S, api=wanted.api, stream=wanted.streams
        )
        heard: Listening = Stream(wanted, body) if wanted.streams else Whole(wanted, body)
        async with aclosing(answer):
            async for item in answer:
                try:
                    made = heard.last(item) if isinstance(item, Last) else heard.piece(item)
                except BadInput as fault:
                    yield heard.misfit(fault.code)
                    return
                for one in made:
                    yield one
                if isinstance(item, Last):
                    return

    def _granted(self, call: Call) -> tuple[Model, Role]:
        """The model and the caller's role, if that role may use it. Capability asked already; a key is worth
        asking twice."""
        if not isinstance(call.subject, Process):
            raise BadInput("only an agent may call a model", code="model_not_granted")
        who = call.subject.spiffe_id
        tenant = self._manifest.tenants.get(who.tenant)
        role = tenant.roles.get(who.role) if tenant is not None else None
        model = self._manifest.models.get(call.target.name)
        if role is None or model is None or model.name not in role.models:
            raise BadInput(
                "this agent's role was not granted this model",
                code="model_not_granted",
                remedy="add it to `models` of the role in ringwall.toml",
            )
        return model, role

    async def _headers(self, call: Call, model: Model, role: Role, path: str) -> dict[str, str]:
        """The key, where this request carries it. Raises RingwallError."""
        if not model.secret or not isinstance(call.subject, Process):
            return {}
        secret = self._manifest.secrets.get(model.secret)
        if secret is None or model.secret not in role.secrets:
            raise BadInput(
                "this agent's role was not granted the model's key",
                code="secret_not_granted",
                remedy="add it to `secrets` of the role in ringwall.toml",
            )
        if not secret.inject.covers("POST", path):
            return {}
        try:
            value = await self._secrets.value(call.subject.spiffe_id, call.subject.launch, model.secret)
        except RingwallError as fault:  # its cause names a file, which is no business of an agent's
            raise BadInput("the model's key cannot be used now", code=fault.code) from fault
        if not value or not _VISIBLE.issuperset(value):
            raise BadInput(
                f"secret {model.secret} is empty or no text that fits into a header",
                code="bad_secret",
                remedy="store the key alone, without line breaks",
            )
        return {secret.inject.header: secret.inject.format.replace("{}", value.decode("ascii"))}


def _body(wanted: Asked, model: Model) -> bytes:
    """The request as it leaves: checked once more where it leaves, with the upstream's own name of the model."""
    request = wanted.wire.parse_request(wanted.request)
    return canonical(wanted.wire.outgoing(request, model.model or model.name))


def _failed(code: str, reason: str) -> Last:
    return Last(end="failed", error={"code": code, "reason": reason})
