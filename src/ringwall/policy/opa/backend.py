"""The policy in an OPA beside us: the same decisions over its REST API.

OPA holds the policy as a bundle, which its operator gives it. At the first question, and again whenever OPA shows
that it lost them, it is given the rest: the manifest's grants as data, their digest, and a module of two rules that
answers an entry point together with the digest. An answer counts only if version, bundle revision and digest are
those that were agreed on; all three come from the transaction in which OPA decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringwall.call import Json, as_object, digest
from ringwall.clock import Clock
from ringwall.errors import PolicyError
from ringwall.policy.build import ENTRY_POINTS
from ringwall.policy.opa import answers
from ringwall.policy.opa.address import Address
from ringwall.policy.opa.breaker import Breaker
from ringwall.policy.opa.http import Method, Response, request
from ringwall.policy.opa.pool import Pool

SECONDS: Final = 1.0  # for one decision, which takes a millisecond; under the wall's limit for a ring
AGREE_SECONDS: Final = 20.0  # for handing over grants: 10,000 of them take OPA 0.2 s, on a machine under load more
MAX_INPUT: Final = 8 << 20  # bytes: a call's body has at most 1 MiB, and is there with its facts
PACKAGE: Final = "ringwall_core.ask"  # outside every bundle's roots
ROOT: Final = "ringwall_core"
MODULE: Final = "/v1/policies/ringwall_core"
BUNDLES: Final = "/v1/data/system/bundles?provenance=true"
QUERY: Final = "?strict-builtin-errors=true&provenance=true"


class OpaRest:
    """Implements ``PolicyBackend`` by asking one OPA on this machine.

    Args:
        address: its Unix socket or loopback address.
        data: the base data document, as ``data.policy_data`` makes it.
        clock: for the breaker.
        revision: the only bundle revision whose decisions count; empty: the one that OPA serves, and a call that is
            judged while that changes is refused.
        entry_points: what may be asked.
        seconds: how long one decision may take.

    """

    def __init__(self, address: Address, data: Json, clock: Clock, *, revision: str = "",
                 entry_points: Sequence[str] = ENTRY_POINTS, seconds: float = SECONDS) -> None:
        self._address = address
        self._grants: Mapping[str, Json] = as_object(data.get("ringwall")) or {}
        self._digest = digest(self._grants)
        self._pinned = revision
        self._revision = revision
        self._seconds = seconds
        self._names = {point: f"entry{number}" for number, point in enumerate(entry_points)}
        self._pool = Pool(address)
        self._breaker = Breaker(clock)
        self._version = ""
        self._bundle = ""
        self._agreed = False
        self._agreeing: asyncio.Task[None] | None = None
        self._last_fault: PolicyError | None = None

    @property
    def revision(self) -> str:
        """The bundle's revision; empty until OPA was asked for the first time."""
        return self._revision

    async def decide(self, entry_point: str, document: Json) -> Json:
        """See ``PolicyBackend.decide``; further codes begin with ``opa_``."""
        name = self._names.get(entry_point)
        if name is None:
            raise PolicyError(f"the policy has no entry point {entry_point[:80]!r}", code="unknown_entry_point")
        raw = request("POST", f"/v1/data/{PACKAGE.replace('.', '/')}/{name}{QUERY}", _encoded(document))
        probe = self._breaker.ask()
        try:
            value = await self._decide(raw, self._revision)
        except answers.Outage as fault:
            self._last_fault = fault
            self._breaker.failed(probe=probe)
            raise
        except PolicyError:  # an answer: about this input, or that it is nobody's business
            self._breaker.answered(probe=probe)
            raise
        except BaseException:
            self._breaker.abandoned(probe=probe)
            raise
        self._breaker.answered(probe=probe)
        return value

    async def agree(self) -> None:
        """Ask OPA what it is and give it what it needs. One at a time, and to its end even if nobody waits.

        Raises:
            PolicyError: ``opa_...``; nothing is decided until it succeeds.

        """
        if self._agreeing is None or self._agreeing.done():
            self._agreeing = asyncio.get_running_loop().create_task(self._agree())
            self._agreeing.add_done_callback(self._note)
        await asyncio.shield(self._agreeing)

    async def status(self) -> dict[str, Json]:
        """For `ringwall status` and `doctor`; asks OPA whether it is ready, now."""
        fault: PolicyError | None = None
        try:
            async with asyncio.timeout(self._seconds):
                await (self._ready() if self._agreed else self.agree())
        except TimeoutError:
            fault = self._slow()
        except PolicyError as found:
            fault = found
        return {
            "backend": "opa", "opa": str(self._address), "revision": self._revision, "pinned": bool(self._pinned),
            "version": self._version, "bundle": self._bundle, "breaker": self._breaker.state,
            "fault": "" if fault is None else f"{fault.code}: {fault.cause}",
            "remedy": "" if fault is None else fault.remedy,
            "last_fault": "" if self._last_fault is None else str(self._last_fault),
        }

    async def close(self) -> None:
        """Close all connections."""
        if self._agreeing is not None:
            self._agreeing.cancel()
            await asyncio.wait([self._agreeing])
        self._pool.close()

    # -- one decision

    async def _decide(self, raw: bytes, wanted: str) -> Json:
        try:
            async with asyncio.timeout(self._seconds):
                if not self._agreed:
                    await self.agree()
                try:
                    return await self._asked(raw, wanted)
                except answers.Stale:
                    self._agreed = False
                    await self.agree()
                    return await self._asked(raw, wanted)
        except TimeoutError:
            raise self._slow() from None

    async def _asked(self, raw: bytes, wanted: str) -> Json:
        if wanted != self._revision:
            # Not an outage. But what asked has already said by which revision it is judged.
            raise PolicyError("OPA's policy changed while this call was judged", code="opa_revision",
                              remedy="make the call again")
        data = answers.data_of(await self._ask(raw))
        if data.version != self._version or data.revision(self._bundle) != wanted:
            raise answers.Stale("OPA decided by another version or bundle than was agreed", code="opa_stale")
        found = answers.decided(data)
        if found.digest != self._digest:
            raise answers.Stale("OPA decided on other grants than this manifest's", code="opa_stale")
        if len(found.decision) != 1:
            raise PolicyError("the policy says nothing for this call", code="undefined_decision")
        return found.decision[0]

    # -- what must hold before any decision

    async def _agree(self) -> None:
        try:
            async with asyncio.timeout(AGREE_SECONDS):
                await self._ready()
                data = answers.data_of(await self._ask(request("GET", BUNDLES)))
                answers.check_version(data.version)
                bundle, revision = answers.serving(data.result, tuple(self._names))
                if self._pinned and revision != self._pinned:
                    raise answers.Outage(
                        f"OPA serves revision {revision[:12]}, Ringwall loaded {self._pinned[:12]}",
                        code="opa_revision", remedy="give both the same bundle, then `ringwall policy reload`")
                await self._push()
        except TimeoutError:
            raise self._slow() from None
        self._version, self._bundle, self._revision, self._agreed = data.version, bundle, revision, True

    async def _ready(self) -> None:
        response = await self._ask(request("GET", "/health?bundles&plugins"))
        if response.status != 200:
            raise answers.Outage(f"OPA says that it is not ready ({response.status})", code="opa_not_ready",
                                 remedy="see OPA's own log: a bundle or plugin is not active")

    async def _push(self) -> None:
        """Module and data; the data in one transaction, so that its digest never stands beside other data."""
        points = {name: point for point, name in self._names.items()}
        module = answers.wrapper(PACKAGE, points, f"data.{ROOT}.digest")
        await self._changed("PUT", MODULE, module.encode(), "text/plain")
        values: dict[str, Json] = {f"/ringwall/{key}": value for key, value in self._grants.items()}
        values[f"/{ROOT}"] = {"digest": self._digest}
        patch = _encode([{"op": "add", "path": path, "value": value} for path, value in values.items()])
        response = await self._ask(request("PATCH", "/v1/data", patch))
        if response.status == 404 and self._grants:  # a patch makes no parents: PUT does
            await self._changed("PUT", f"/v1/data/{ROOT}", b"{}")
            await self._changed("PUT", f"/v1/data/ringwall/{next(iter(self._grants))}", b"null")
            response = await self._ask(request("PATCH", "/v1/data", patch))
        self._check(response)

    async def _changed(self, method: Method, target: str, body: bytes, kind: str = "application/json") -> None:
        self._check(await self._ask(request(method, target, body, kind)))

    def _check(self, response: Response) -> None:
        if response.status not in {200, 204}:
            fault = answers.error_of(response)
            raise answers.Outage(f"OPA does not take the grants: {fault.cause}", code=fault.code,
                                 remedy="no bundle may have the root ringwall itself, and Ringwall must be able "
                                        "to write /v1/data and /v1/policies")

    async def _ask(self, raw: bytes) -> Response:
        try:
            return await self._pool.ask(raw)
        except PolicyError as fault:  # whatever stands between us and an answer
            raise answers.Outage(fault.cause, code=fault.code, remedy=fault.remedy) from fault

    def _slow(self) -> answers.Outage:
        return answers.Outage(f"the OPA at {self._address} did not answer in time", code="opa_slow",
                              remedy="see OPA's own log and load, or a policy that scans what it could look up")

    def _note(self, task: asyncio.Task[None]) -> None:
        """Keep what went wrong although everybody who waited may have given up."""
        if not task.cancelled() and isinstance(fault := task.exception(), PolicyError):
            self._last_fault = fault


def _encode(value: Json) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError, RecursionError) as error:
        raise PolicyError(f"this cannot be sent as JSON: {type(error).__name__}", code="policy_failed") from error


def _encoded(document: Json) -> bytes:
    body = b'{"input":' + _encode(document) + b"}"
    if len(body) > MAX_INPUT:
        raise PolicyError(f"the input has more than {MAX_INPUT} bytes", code="policy_limit")
    return body
