"""The effect of a model call: the core puts the request together, the tenant's sidecar sends it.

The key is looked up only for an agent whose role was granted it, and goes into one declared header of one
request. The answer is parsed here, strictly, whatever the sidecar made of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from ringwall.call import Call, Chunk, Facts, Json, Last, Process, Usage, canonical
from ringwall.errors import BadInput, RingwallError
from ringwall.manifest.types import Manifest, Model, Role
from ringwall.tools.protocol import REASONS
from ringwall.tools.sidecar_client import SidecarClient
from ringwall.wire.openai import estimate, parse_chat_request, parse_chat_response

_VISIBLE: Final = frozenset(range(0x20, 0x7F))  # of a header's value, RFC 9110 section 5.5, without tab


class ModelEffect:
    """Runs calls of kind ``model``; the target is a model's name in the manifest.

    Args:
        manifest: models, secrets, and who was granted which.
        sidecars: the sidecar of a tenant, or None if it has none.
        secrets: a secret's value by name. Raises RingwallError.

    """

    def __init__(
        self, manifest: Manifest, sidecars: Callable[[str], SidecarClient | None], secrets: Callable[[str], bytes]
    ) -> None:
        self._manifest = manifest
        self._sidecars = sidecars
        self._secrets = secrets

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """One chunk, the chat completion, then a Last with the tokens used.

        An upstream that does not count tokens gets an estimate, and ``usage.estimated`` is true in the chunk.
        """
        try:
            model, role = self._granted(call)
            body = _body(call.args, model)
            headers = self._headers(model, role)
        except RingwallError as fault:
            yield _failed(fault.code, fault.cause)
            return
        sidecar = self._sidecars(call.tenant)
        if sidecar is None:
            yield _failed("sidecar_unavailable", REASONS["sidecar_unavailable"])
            return
        raw = b""
        answer = sidecar.run_model(model.name, body, headers)
        async with aclosing(answer):
            async for item in answer:
                if isinstance(item, Last):
                    for made in _finish(body, raw, item):
                        yield made
                    return
                raw += item

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

    def _headers(self, model: Model, role: Role) -> dict[str, str]:
        if not model.secret:
            return {}
        secret = self._manifest.secrets.get(model.secret)
        if secret is None or model.secret not in role.secrets:
            raise BadInput(
                "this agent's role was not granted the model's key",
                code="secret_not_granted",
                remedy="add it to `secrets` of the role in ringwall.toml",
            )
        try:
            value = self._secrets(model.secret)
        except RingwallError as fault:  # its cause names a file, which is no business of an agent's
            raise BadInput("the model's key cannot be read", code=fault.code) from fault
        if not value or not _VISIBLE.issuperset(value):
            raise BadInput(
                f"secret {model.secret} is empty or no text that fits into a header",
                code="bad_secret",
                remedy="store the key alone, without line breaks",
            )
        return {secret.inject.header: secret.inject.format.replace("{}", value.decode("ascii"))}


def _body(args: Json, model: Model) -> bytes:
    """The request as it leaves: checked once more where it leaves, with the upstream's own name of the model."""
    request = parse_chat_request(args)
    request["model"] = model.model or model.name
    return canonical(request)


def _finish(body: bytes, raw: bytes, last: Last) -> list[Chunk | Last]:
    seconds = last.usage.seconds
    if last.end != "done":
        return [Last(end=last.end, error=last.error, usage=_spent(last, body, seconds))]
    try:
        value, counted = parse_chat_response(raw)
    except BadInput:
        return [
            Last(
                end="failed",
                error={"code": "bad_answer", "reason": REASONS["bad_answer"]},
                usage=Usage(tokens_in=estimate(body, b"").tokens_in, seconds=seconds),
            )
        ]
    usage = counted or estimate(body, raw)
    if counted is None:
        value["usage"] = {
            "prompt_tokens": usage.tokens_in,
            "completion_tokens": usage.tokens_out,
            "total_tokens": usage.tokens_in + usage.tokens_out,
            "estimated": True,
        }
    return [
        Chunk(value=value),
        Last(end="done", usage=Usage(tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, seconds=seconds)),
    ]


NEVER_SENT: Final = frozenset(
    {
        "sidecar_unavailable",
        "sidecar_busy",
        "no_such_server",
        "bad_arguments",
        "upstream_unreachable",
        "upstream_denied",
        "upstream_limited",
    }
)


def _spent(last: Last, body: bytes, seconds: float) -> Usage:
    """What a failed call cost: nothing if it was not sent or not taken, else the prompt, by its length."""
    if last.error is not None and last.error["code"] in NEVER_SENT:
        return Usage(seconds=seconds)
    return Usage(tokens_in=estimate(body, b"").tokens_in, seconds=seconds)


def _failed(code: str, reason: str) -> Last:
    return Last(end="failed", error={"code": code, "reason": reason})
