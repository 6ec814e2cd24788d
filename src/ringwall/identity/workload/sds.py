"""Envoy's secret discovery (SDS): an SVID, and whom to believe, under the names that SPIRE uses.

``default``: the SVID of whoever asks. ``ROOTCA``: the own trust domain. ``ALL``: every trust domain, each for its
own names only. A SPIFFE ID: its SVID, if the asker may have it. A trust domain's own ID: that domain.
(State of the world: xDS protocol, "ACK/NACK and resource type instance version"; SDS has no wildcard.)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol

from ringwall.call import Event
from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.identity.svid.interface import Authority, X509Svid
from ringwall.identity.workload import envoy, wire
from ringwall.identity.workload.issuing import Issuing, Wall
from ringwall.identity.workload.proto import decode
from ringwall.identity.workload.server import Exchange, Handler, Status
from ringwall.identity.workload.service import LOOK_SECONDS, Changes, WorkloadApi, renew_at, stale
from ringwall.interface import Journal

DEFAULT, ROOTCA, ALL = "default", "ROOTCA", "ALL"
MAX_NAMES: Final = 64  # of one request; Envoy opens a stream for each
MAX_WHY: Final = 1024  # characters of a rejection that are written down
MAX_NAME: Final = 2048  # bytes: the longest SPIFFE ID
_SCHEME: Final = "spiffe://"


class Secrets(Protocol):
    """Who may have which SVIDs over SDS."""

    def check(self, exchange: Exchange) -> None:
        """Raises Status: whoever is behind this connection may have nothing now."""
        ...

    async def svid(self, exchange: Exchange, name: str) -> X509Svid | None:
        """A good one for ``default`` or a SPIFFE ID; None: there is none of that name now.

        Raises Status: this asker may not have it, or it cannot be had.
        """
        ...

    def rejected(self, exchange: Exchange, why: str) -> None:
        """The client says that it cannot use what it was sent."""
        ...

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Be told that anything may have changed, as by ``Authority.on_change``."""
        ...


class OwnSecrets:
    """Of a launched process: its own SVID and no other, through the wall like any SVID.

    Args:
        authority: says when anything changed.
        api: says who may have SVIDs.
        issuing: asks for them.
        wall: the one path of every call.
        journal: where what a client rejects is counted.

    """

    def __init__(
        self, *, authority: Authority, api: WorkloadApi, issuing: Issuing, wall: Wall, journal: Journal
    ) -> None:
        self.on_change = authority.on_change
        self._api = api
        self._issuing = issuing
        self._wall = wall
        self._journal = journal

    def check(self, exchange: Exchange) -> None:
        """See ``Secrets``."""
        self._api.check(exchange)

    async def svid(self, exchange: Exchange, name: str) -> X509Svid | None:
        """See ``Secrets``. The wall is asked each time, so ask only for what is needed."""
        if name not in {DEFAULT, str(exchange.connection.launch.spiffe_id)}:
            raise Status(wire.PERMISSION_DENIED, "not_granted: a process gets its own SVID, under its own name")
        return await self._issuing.x509(self._wall, exchange.connection)

    def rejected(self, exchange: Exchange, why: str) -> None:
        """See ``Secrets``."""
        launch = exchange.connection.launch
        self._journal.count(Event(type="secret_rejected", tenant=launch.spiffe_id.tenant,
                                  subject=str(launch.spiffe_id), session=launch.session,
                                  body={"launch": launch.id, "why": why[:MAX_WHY]}))


class SecretDiscovery:
    """The two methods.

    Args:
        authority: bundles.
        secrets: who may have which SVIDs, and when anything changed.
        clock: for half lives.

    """

    def __init__(self, *, authority: Authority, secrets: Secrets, clock: Clock) -> None:
        self._authority = authority
        self._secrets = secrets
        self._clock = clock

    def methods(self) -> dict[str, Handler]:
        """By path."""
        service = f"/{envoy.DISCOVERY.package}.{envoy.DISCOVERY.service}"
        return {f"{service}/StreamSecrets": self.stream, f"{service}/FetchSecrets": self.fetch}

    async def fetch(self, exchange: Exchange) -> None:
        """What is asked for, once."""
        client = _Client(self._secrets, exchange)
        client.take(await exchange.only())
        self._secrets.check(exchange)
        if not client.names:
            raise Status(wire.INVALID_ARGUMENT, "bad_request: say which secrets, by name")
        found = await self._gather(exchange, client.names, {})
        await exchange.reply(envoy.response(_version(found), "1", found.values()))

    async def stream(self, exchange: Exchange) -> None:
        """What is asked for: now, when an SVID is renewed or revoked, and whenever bundles change."""
        client = _Client(self._secrets, exchange)
        held: dict[str, X509Svid] = {}
        with Changes(self._secrets.on_change) as changes:
            async with _reading(client, changes):
                over = False
                while not over:
                    changes.seen()
                    over = client.over  # a client may ask and end at once; it is answered all the same
                    if client.fault is not None:
                        raise client.fault
                    await self._push(exchange, client, held)
                    if not over:
                        await changes.wait(self._pause(held))

    async def _push(self, exchange: Exchange, client: _Client, held: dict[str, X509Svid]) -> None:
        """Send what the client has not got. What did not change is not sent again, also when it was rejected."""
        self._secrets.check(exchange)
        names, asked = client.names, client.asked
        found = await self._gather(exchange, names, held)
        version = _version(found)
        if found and (version, asked) != client.told:
            client.told = (version, asked)
            client.number += 1
            await exchange.reply(envoy.response(version, client.nonce, found.values()))

    async def _gather(
        self, exchange: Exchange, names: tuple[str, ...], held: dict[str, X509Svid]
    ) -> dict[str, bytes]:
        """The secrets of these names that there are. ``held``: SVIDs that were given before, and stay good."""
        bundles = self._authority.bundles()
        found: dict[str, bytes] = {}
        for gone in held.keys() - set(names):
            del held[gone]
        for name in names:
            if name in {ALL, ROOTCA}:
                own = [self._authority.bundle()]
                found[name] = envoy.validation(name, bundles.values() if name == ALL else own)
            elif (domain := name.removeprefix(_SCHEME)) != name and "/" not in domain:
                if domain in bundles:
                    found[name] = envoy.validation(name, [bundles[domain]])
            elif (svid := await self._svid(exchange, name, held)) is not None:
                found[name] = envoy.certificate(name, svid)
        self._secrets.check(exchange)
        return found

    async def _svid(self, exchange: Exchange, name: str, held: dict[str, X509Svid]) -> X509Svid | None:
        svid = held.get(name)
        if svid is None or stale(svid, self._authority, self._clock):
            svid = await self._secrets.svid(exchange, name)
        if svid is None:
            held.pop(name, None)
        else:
            held[name] = svid
        return svid

    def _pause(self, held: dict[str, X509Svid]) -> float:
        return min((renew_at(svid) - self._clock.now() for svid in held.values()), default=LOOK_SECONDS)


class _Client:
    """What the client of one stream has asked for and was told."""

    def __init__(self, secrets: Secrets, exchange: Exchange) -> None:
        self._secrets = secrets
        self._exchange = exchange
        self.names: tuple[str, ...] = ()
        self.asked = 0  # how often it asked for other names than before
        self.told: tuple[str, int] = ("", 0)  # the last version, and which question it answers
        self.number = 0  # of the last answer
        self.over = False
        self.fault: Status | None = None

    @property
    def nonce(self) -> str:
        """Of the last answer; empty before the first."""
        return str(self.number) if self.number else ""

    async def next(self) -> bytes | None:
        """Its next request; None: it sends no more."""
        return await self._exchange.message()

    def take(self, raw: bytes) -> None:
        """A request: a first question, an acknowledgement, a rejection, or other names. Raises Status."""
        try:
            request: dict[str, Any] = decode(envoy.REQUEST, raw)
        except BadInput as fault:
            raise Status(wire.INVALID_ARGUMENT, f"{fault.code}: {fault.cause}") from fault
        if request.get("type_url", envoy.SECRET_TYPE) != envoy.SECRET_TYPE:
            raise Status(wire.INVALID_ARGUMENT, "bad_request: there are secrets here and no other resources")
        names = tuple(dict.fromkeys(request.get("resource_names", [])))
        if len(names) > MAX_NAMES or any(not one or len(one.encode()) > MAX_NAME for one in names):
            raise Status(wire.INVALID_ARGUMENT, f"bad_request: at most {MAX_NAMES} names of {MAX_NAME} bytes")
        if self.number and request.get("response_nonce", "") not in {"", self.nonce}:
            return  # an answer to what is old by now; the next one is on its way
        if "error_detail" in request:
            self._secrets.rejected(self._exchange, request["error_detail"].get("message", ""))
        if names != self.names:
            self.names = names
            self.asked += 1


@contextlib.asynccontextmanager
async def _reading(client: _Client, changes: Changes) -> AsyncGenerator[None]:
    """Take the client's requests as they come; each wakes whoever waits for changes."""

    async def read() -> None:
        try:
            while (raw := await client.next()) is not None:
                client.take(raw)
                changes.happened()
        except Status as fault:
            client.fault = fault
        client.over = True
        changes.happened()

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _version(found: dict[str, bytes]) -> str:
    """The same for the same secrets, over all streams and restarts."""
    whole = hashlib.sha256()
    for name, secret in found.items():
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(secret).digest())
    return whole.hexdigest()[:16]
