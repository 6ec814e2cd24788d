"""The sidecar as a client of peers: mutual TLS as one launch; not a byte of a request before the peer is proved.

Connections are kept for a few seconds, for the same launch, the same peer at the same address, and no others.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from ringwall.clock import Clock
from ringwall.errors import Refused
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.peers import tls
from ringwall.peers.connection import PEER, Connection, PeerFault
from ringwall.peers.http import Address
from ringwall.wire.a2a.sse import SseEvent

CONNECT_S: Final = 10.0  # name look-up, TCP and TLS
HANDSHAKE_S: Final = 5.0
KEEP_S: Final = 4.0  # an idle connection: less than the 5 s after which common servers close theirs
REST_S: Final = 30.0  # a connection with less life than this takes no new request
MAX_TO_ONE: Final = 64  # connections to one peer; more requests wait: what one gate takes from one peer


@dataclass(slots=True)
class _Pool:
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_TO_ONE))
    idle: list[tuple[Connection, asyncio.TimerHandle]] = field(
        default_factory=list[tuple[Connection, asyncio.TimerHandle]]
    )
    users: int = 0


class PeerClient:
    """Of one launch.

    Args:
        context: for the next handshake; None: there is no identity (yet).
        until: when our own certificate expires, seconds since the epoch.
        trust: grows whenever it changes whom we trust.
        verifier: judges peers' chains.
        clock: for the age of certificates.

    """

    def __init__(
        self,
        *,
        context: Callable[[], ssl.SSLContext | None],
        until: Callable[[], float],
        trust: Callable[[], int],
        verifier: X509Verifier,
        clock: Clock,
    ) -> None:
        self._context = context
        self._until = until
        self._trust = trust
        self._verifier = verifier
        self._clock = clock
        self._pools: dict[tuple[str, str, int], _Pool] = {}
        self._all: set[Connection] = set()

    async def ask(
        self, address: Address, peer: str, request: bytes, *, stream: bool
    ) -> AsyncGenerator[SseEvent, None]:
        """Send a request to exactly this peer; its answers.

        Args:
            address: where it listens.
            peer: the SPIFFE ID that its certificate must have.
            request: all its bytes.
            stream: whether the answer may be a stream of events.

        Raises:
            PeerFault: with the code.

        """
        key = (peer, address.host, address.port)
        pool = self._pools.setdefault(key, _Pool())
        pool.users += 1
        try:
            async with pool.turns:
                connection = self._kept(pool, peer) or await self._connect(address, peer)
                try:
                    answers = connection.ask(request, stream=stream)
                    async with aclosing(answers):
                        async for event in answers:
                            yield event
                finally:
                    self._keep(pool, connection)
        finally:
            pool.users -= 1
            self._tidy(key, pool)

    def close(self) -> None:
        """Close every connection, also those that are asked something."""
        for connection in list(self._all):
            connection.abort()
        for pool in self._pools.values():
            for _, timer in pool.idle:
                timer.cancel()
            pool.idle.clear()

    def _kept(self, pool: _Pool, peer: str) -> Connection | None:
        """A connection that is still good for this peer."""
        while pool.idle:
            connection, timer = pool.idle.pop()
            timer.cancel()
            if connection.quiet and (connection.trust == self._trust() or self._proved(connection, peer)):
                return connection
            self._drop(connection)
        return None

    async def _connect(self, address: Address, peer: str) -> Connection:
        """A fresh connection whose other end has proved to be ``peer``. Raises PeerFault: nothing was sent."""
        context = self._context()
        if context is None:
            raise PeerFault("peer_unreachable", "failed")
        connection = Connection(PEER)
        self._all.add(connection)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, address.host, address.port, ssl=context,
                    ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=1.0,
                )
            if not self._proved(connection, peer):
                raise PeerFault("peer_untrusted", "failed")
        except (OSError, ValueError) as fault:
            self._drop(connection)
            # ValueError: asyncio reads the names in a certificate as UTF-8.
            untrusted = isinstance(fault, ssl.SSLError | ValueError)
            raise PeerFault("peer_untrusted" if untrusted else "peer_unreachable", "failed") from None
        except BaseException:
            self._drop(connection)
            raise
        return connection

    def _proved(self, connection: Connection, peer: str) -> bool:
        """Whether the other end is exactly this peer; if so the connection lives as long as both certificates."""
        inner = connection.ssl_object
        if inner is None:
            return False
        try:
            verified = self._verifier.verify(tls.presented(inner), expected=peer)
        except Refused:
            return False
        connection.trust = self._trust()
        connection.limit(min(verified.expires_at, self._until()) + tls.LAST_S - self._clock.now())
        return True

    def _keep(self, pool: _Pool, connection: Connection) -> None:
        if connection.usable and connection.remaining > REST_S and connection in self._all:
            timer = asyncio.get_running_loop().call_later(KEEP_S, self._drop, connection)
            pool.idle.append((connection, timer))
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._all.discard(connection)
        connection.abort()

    def _tidy(self, key: tuple[str, str, int], pool: _Pool) -> None:
        """Forget connections that are closed, and a pool that nobody uses."""
        pool.idle = [(connection, timer) for connection, timer in pool.idle if connection.usable]
        if not pool.users and not pool.idle and self._pools.get(key) is pool:
            del self._pools[key]
