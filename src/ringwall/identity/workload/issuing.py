"""An SVID for an agent is a call of kind "secret": it crosses every ring, is recorded, and only then is issued."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import msgspec
from cryptography import x509

from ringwall.call import Call, Chunk, Facts, Json, Kind, Last, Process
from ringwall.clock import Clock
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.identity.registry import Attestation, Connection, Registry
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.interface import Authority, JwtSvid, X509Svid
from ringwall.identity.workload import wire
from ringwall.identity.workload.allowance import Allowance
from ringwall.identity.workload.interface import X509
from ringwall.identity.workload.server import Status
from ringwall.interface import HeldCall, Origin, Refusal, Stopped

X509_BURST, X509_REFILL = 4096.0, 5.0  # 2,000 processes of one agent, started at once and renewed each 450 s
JWT_BURST, JWT_REFILL = 256.0, 20.0  # a token for each request, at 20 a second
"""Of one agent. The authority remembers what it issued for as long as it lives, for everybody together."""

_LATER: Final = frozenset({"ring_failed", "audit_unavailable", "log_budget", "svid_not_ready", "svid_too_many"})
"""Codes of what may work later: the client shall try again, and not believe that it has no identity."""


class Answer(Protocol):
    """A call that was let through, as the wall hands it out."""

    record: str
    last: Last | None

    def chunks(self) -> AsyncGenerator[Chunk, None]: ...


class Wall(Protocol):
    """The one path of every call."""

    async def admit(self, origin: Origin, kind: Kind, raw: bytes) -> Call | Refusal: ...
    def perform(self, call: Call) -> AbstractAsyncContextManager[Answer | HeldCall | Refusal]: ...


class Issuing:
    """The effect of kind "secret", and the one who asks for it on behalf of a connection. Both, because an SVID's
    key goes to the process and nowhere else: the rings and the record see what it is, never the key.

    Args:
        authority: issues.
        registry: says who is behind a connection.
        clock: for how many SVIDs one agent may be issued.

    """

    def __init__(self, authority: Authority, registry: Registry, clock: Clock) -> None:
        self._clock = clock
        self._allowances: dict[tuple[SpiffeId, str], Allowance] = {}  # as many as the manifest has agents
        self._authority = authority
        self._registry = registry
        self._made: dict[str, X509Svid | JwtSvid | RingwallError] = {}  # by call, until its asker takes it

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """Issue; the one chunk describes what was issued. Implements ``interface.Effect``."""
        try:
            made, shown = await self._issue(call)
        except RingwallError as fault:
            self._made[call.id] = fault
            yield Last(end="failed", error={"code": fault.code, "reason": fault.cause})
            return
        self._made[call.id] = made
        yield Chunk(value=shown)
        yield Last(end="done")

    async def _issue(self, call: Call) -> tuple[X509Svid | JwtSvid, Json]:
        who = call.subject
        if not isinstance(who, Process):
            raise Refused("only a launched process has an SVID", code="not_a_process")
        if not self._allowance(who.spiffe_id, call.target.name).pay(1.0):
            raise Unavailable("this agent was issued too many SVIDs in a short time", code="svid_too_many",
                              remedy="keep each until half of its life is over")
        if call.target.name == X509:
            svid = await self._authority.x509_svid(who.spiffe_id, who.launch)
            return svid, {"svid": "x509", "serial": serial(svid), "expires_at": int(svid.expires_at)}
        token = await self._authority.jwt_svid(who.spiffe_id, who.launch, call.args["audience"])
        return token, {"svid": "jwt", "expires_at": int(token.expires_at)}

    def _allowance(self, who: SpiffeId, target: str) -> Allowance:
        burst, refill = (X509_BURST, X509_REFILL) if target == X509 else (JWT_BURST, JWT_REFILL)
        return self._allowances.setdefault((who, target), Allowance(self._clock, burst, refill))

    async def x509(self, wall: Wall, connection: Connection) -> X509Svid:
        """A new certificate and key for the process behind a connection. Raises Status."""
        made = await self._ask(wall, connection, {"svid": "x509"})
        assert isinstance(made, X509Svid)  # noqa: S101 (what _issue makes for this target)
        return made

    async def jwt(self, wall: Wall, connection: Connection, audience: Sequence[str], spiffe_id: str) -> JwtSvid:
        """A token for these audiences. ``spiffe_id``: whose, if the client says it. Raises Status."""
        named = {"spiffe_id": spiffe_id} if spiffe_id else {}
        made = await self._ask(wall, connection, {"svid": "jwt", "audience": list(audience), **named})
        assert isinstance(made, JwtSvid)  # noqa: S101 (what _issue makes for this target)
        return made

    async def _ask(self, wall: Wall, connection: Connection, wanted: Json) -> X509Svid | JwtSvid:
        call = await wall.admit(self._origin(connection), "secret", msgspec.json.encode(wanted))
        if isinstance(call, Refusal):
            raise _refused(call, wire.INVALID_ARGUMENT)
        try:
            async with wall.perform(call) as passage:
                await _through(passage)
            return self._take(call)
        finally:
            self._made.pop(call.id, None)

    def _take(self, call: Call) -> X509Svid | JwtSvid:
        made = self._made.get(call.id)
        if isinstance(made, X509Svid | JwtSvid):
            return made
        if made is None:
            raise Status(wire.UNAVAILABLE, "no_outcome: nothing was issued")
        code = wire.UNAVAILABLE if made.code in _LATER else wire.PERMISSION_DENIED
        raise Status(code, f"{made.code}: {made.cause}")

    def _origin(self, connection: Connection) -> Origin:
        """Who asks. An unattested process asks too: the identity ring refuses it, on the record."""
        launch = connection.launch
        found = self._registry.attest(connection.number)
        subject = Process(
            spiffe_id=launch.spiffe_id,
            launch=launch.id,
            connection=connection.number,
            number=found.number if isinstance(found, Attestation) else 0,
        )
        return Origin(subject=subject, session=launch.session, key=str(launch.spiffe_id))


def serial(svid: X509Svid) -> str:
    """The leaf's serial number in lower-case hex."""
    return f"{x509.load_der_x509_certificate(svid.chain[0]).serial_number:x}"


async def _through(passage: Answer | HeldCall | Refusal) -> None:
    """Let the effect run to its end. Raises Status."""
    if isinstance(passage, Refusal):
        raise _refused(passage, wire.PERMISSION_DENIED)
    if isinstance(passage, HeldCall):
        raise Status(wire.UNAVAILABLE, f"held: a human must approve this first [{passage.record}]")
    try:
        async for _ in passage.chunks():
            pass
    except Stopped as stop:
        raise Status(wire.PERMISSION_DENIED, f"{stop.denied.code}: {stop.denied.reason}") from stop
    if passage.last is None or passage.last.end not in {"done", "failed"}:
        raise Status(wire.UNAVAILABLE, f"no_outcome: it is not known what was issued [{passage.record}]")


def _refused(refusal: Refusal, otherwise: int) -> Status:
    later = refusal.retry_after is not None or refusal.code in _LATER
    record = f" [{refusal.record}]" if refusal.record else ""
    return Status(wire.UNAVAILABLE if later else otherwise, f"{refusal.code}: {refusal.reason}{record}")
