"""The five methods of the SPIFFE Workload API (SPIFFE Workload API, sections 4 to 6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Self

from ringwall.call import Denied, Event
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused
from ringwall.identity.registry import Registry
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.bundle import jwks
from ringwall.identity.svid.interface import Authority, Bundle, X509Svid
from ringwall.identity.svid.tokens import TokenValidator, read
from ringwall.identity.workload import messages, wire
from ringwall.identity.workload.issuing import Issuing, Wall, serial
from ringwall.identity.workload.proto import Message, decode, encode
from ringwall.identity.workload.server import Exchange, Handler, Status
from ringwall.interface import Journal

HEADER: Final = "workload.spiffe.io"  # section 3.4: so that a server tricked into a request sends none
_HALF: Final = 0.5  # of its life; then an SVID is renewed
LOOK_SECONDS: Final = 30.0  # between two looks: the wall clock may jump, and a process may be gone
_SPREAD: Final = 0.1  # earlier by up to so much of the half, so that not all agents come at once


class WorkloadApi:
    """Answers launched processes whose role has the ``svid`` capability.

    Args:
        authority: bundles, and when they changed.
        issuing: asks for SVIDs, through the wall.
        wall: the one path of every call.
        validator: judges tokens.
        registry: says who is behind a connection.
        entitled: whether a SPIFFE ID has the capability.
        journal: where refusals without a call are counted.
        clock: for half lives.

    """

    def __init__(self, *, authority: Authority, issuing: Issuing, wall: Wall, validator: TokenValidator,
                 registry: Registry, entitled: Callable[[SpiffeId], bool], journal: Journal, clock: Clock) -> None:
        self._authority = authority
        self._issuing = issuing
        self._wall = wall
        self._validator = validator
        self._registry = registry
        self._entitled = entitled
        self._journal = journal
        self._clock = clock

    def methods(self) -> dict[str, Handler]:
        """By path."""
        found: dict[str, Handler] = {
            "FetchX509SVID": self.fetch_x509_svid,
            "FetchX509Bundles": self.fetch_x509_bundles,
            "FetchJWTSVID": self.fetch_jwt_svid,
            "FetchJWTBundles": self.fetch_jwt_bundles,
            "ValidateJWTSVID": self.validate_jwt_svid,
        }
        return {f"/{messages.WORKLOAD.service}/{name}": handler for name, handler in found.items()}

    async def fetch_x509_svid(self, exchange: Exchange) -> None:
        """The SVID with its key and all bundles: now, at each renewal, and whenever something changed."""
        await _request(exchange, messages.X509_REQUEST)
        with Changes(self._authority.on_change) as changes:
            svid, told = await self._issuing.x509(self._wall, exchange.connection), b""
            while True:
                changes.seen()
                if stale(svid, self._authority, self._clock):
                    svid = await self._issuing.x509(self._wall, exchange.connection)
                self.check(exchange)
                answer = self._x509_response(svid)
                if answer != told:
                    await exchange.reply(answer)
                    told = answer
                await changes.wait(renew_at(svid) - self._clock.now())

    async def fetch_x509_bundles(self, exchange: Exchange) -> None:
        """Certificates of every trust domain that may be verified: now and whenever they change."""
        await _request(exchange, messages.X509_BUNDLES_REQUEST)
        await self._each(exchange, messages.X509_BUNDLES, lambda bundle: b"".join(bundle.authorities))

    async def fetch_jwt_svid(self, exchange: Exchange) -> None:
        """One token for the audiences asked for."""
        asked = await _request(exchange, messages.JWT_REQUEST)
        audience = asked.get("audience", [])
        if not audience or not all(audience):
            raise Status(wire.INVALID_ARGUMENT, "bad_audience: a JWT-SVID needs an audience")
        svid = await self._issuing.jwt(self._wall, exchange.connection, audience, asked.get("spiffe_id", ""))
        self.check(exchange)
        one = {"spiffe_id": str(svid.spiffe_id), "svid": svid.token}
        await exchange.reply(encode(messages.JWT_RESPONSE, {"svids": [one]}))

    async def fetch_jwt_bundles(self, exchange: Exchange) -> None:
        """Keys of tokens, a JWKS for each trust domain: now and whenever they change."""
        await _request(exchange, messages.JWT_BUNDLES_REQUEST)
        await self._each(exchange, messages.JWT_BUNDLES, jwks)

    async def validate_jwt_svid(self, exchange: Exchange) -> None:
        """Judge a token that somebody else sent to this process."""
        asked = await _request(exchange, messages.VALIDATE_REQUEST)
        self.check(exchange)
        audience, token = asked.get("audience", ""), asked.get("svid", "")
        if not audience or not token:
            raise Status(wire.INVALID_ARGUMENT, "bad_request: audience and svid must be given")
        try:
            found = self._validator.validate(token, [audience])
            claims = read(token)[1]
        except (Refused, BadInput) as no:
            # Why an agent, perhaps another tenant's, is frozen: that is an operator's words, for operators.
            cause = "it was revoked" if no.code == "svid_revoked" else no.cause
            raise Status(wire.INVALID_ARGUMENT, f"{no.code}: {cause}") from no
        answer = {"spiffe_id": str(found.spiffe_id), "claims": messages.struct(claims)}
        await exchange.reply(encode(messages.VALIDATE_RESPONSE, answer))

    async def serving(self) -> bool:
        """Whether SVIDs can be had, for health checks. Raises Unavailable."""
        return bool(self._authority.bundle().authorities)

    def check(self, exchange: Exchange) -> None:
        """The process behind this connection lives, is the launched one, and may have SVIDs, at this moment.

        Raises Status, and counts it.
        """
        found = self._registry.attest(exchange.connection.number)
        who = exchange.connection.launch.spiffe_id
        if not isinstance(found, Denied) and not self._entitled(who):
            found = Denied(code="not_granted", reason="svid is not given to this agent")
        if isinstance(found, Denied):
            self._journal.count(Event(
                type="refused_before_call", tenant=who.tenant, subject=str(who),
                session=exchange.connection.launch.session,
                body={"kind": "secret", "code": found.code, "launch": exchange.connection.launch.id}))
            raise Status(wire.PERMISSION_DENIED, f"{found.code}: {found.reason}")

    async def _each(self, exchange: Exchange, message: Message, spell: Callable[[Bundle], bytes]) -> None:
        """All bundles, again after each change; who asks is checked before each push."""
        with Changes(self._authority.on_change) as changes:
            told = b""
            while True:
                changes.seen()
                self.check(exchange)
                found = {f"spiffe://{name}": spell(one) for name, one in self._authority.bundles().items()}
                answer = encode(message, {"bundles": found})
                if answer != told:
                    await exchange.reply(answer)
                    told = answer
                await changes.wait(LOOK_SECONDS)


    def _x509_response(self, svid: X509Svid) -> bytes:
        bundles = self._authority.bundles()
        own = svid.spiffe_id.trust_domain
        one = {"spiffe_id": str(svid.spiffe_id), "x509_svid": b"".join(svid.chain), "x509_svid_key": svid.key,
               "bundle": b"".join(bundles[own].authorities)}
        others = {f"spiffe://{name}": b"".join(other.authorities) for name, other in bundles.items()
                  if name != own}
        return encode(messages.X509_RESPONSE, {"svids": [one], "federated_bundles": others})


class Changes:
    """Wakes when bundles or entitlements changed."""

    def __init__(self, on_change: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        self._on_change = on_change
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._end = self._on_change(self._event.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def happened(self) -> None:
        """Something else did, that is to be looked at as well."""
        self._event.set()

    def seen(self) -> None:
        """What happened until now is about to be looked at."""
        self._event.clear()

    async def wait(self, seconds: float) -> None:
        """Until the next change, or for so long, or until it is time for another look."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), LOOK_SECONDS)):
                await self._event.wait()


def stale(svid: X509Svid, authority: Authority, clock: Clock) -> bool:
    """Whether it is time for another one: half of its life is over, or it was revoked."""
    return clock.now() >= renew_at(svid) or bool(authority.revoked(str(svid.spiffe_id), serial(svid)))


def renew_at(svid: X509Svid) -> float:
    """When to renew: half way, a little earlier for some. The same for one SVID each time it is asked."""
    life = (svid.expires_at - svid.issued_at) * _HALF
    early = int.from_bytes(svid.chain[0][-2:], "big") / 0x10000  # of the signature: as good as random
    return svid.issued_at + life * (1 - _SPREAD * early)


async def _request(exchange: Exchange, message: Message) -> dict[str, Any]:
    """The one request of a method, for a client that says it means this API. Raises Status."""
    if exchange.metadata.get(HEADER) != ("true",):
        raise Status(wire.INVALID_ARGUMENT, f"security header missing from request: {HEADER}: true")
    try:
        return decode(message, await exchange.only())
    except BadInput as fault:
        raise Status(wire.INVALID_ARGUMENT, f"{fault.code}: {fault.cause}") from fault
