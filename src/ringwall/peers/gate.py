"""A launch's gate in the sidecar: accepts, shakes hands, asks the core, and pipes what it admits. Decides nothing.

Limits keep strangers from taking what others need: handshakes that wait (the oldest goes first: an honest one takes
milliseconds), connections of one peer, connections of all.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from cryptography import x509

from ringwall.clock import Clock
from ringwall.errors import Refused
from ringwall.identity.svid import certificates
from ringwall.peers import tls
from ringwall.peers.pipe import Outer
from ringwall.peers.protocol import MAX_CERTIFICATE, MAX_CHAIN, MAX_JUDGED, Incoming

HANDSHAKE_S: Final = 5.0  # two round trips, and some arithmetic
JUDGE_S: Final = 10.0  # the core answers in milliseconds, or is down
MAX_HANDSHAKES: Final = 128  # at once, of one gate
MAX_CONNECTIONS: Final = 512  # open, of one gate
MAX_OF_ONE: Final = 64  # of one peer at one gate: it can send many requests over each, one after the other
PAUSE_S: Final = 0.1  # after a failure to accept, which is mostly that descriptors ran out


class Admission:
    """Connections that wait for the core's word, of all gates of a sidecar.

    Args:
        tell: asks the core.

    """

    def __init__(self, tell: Callable[[Incoming], None]) -> None:
        self._tell = tell
        self._number = 0
        self._waiting: dict[int, Outer] = {}
        self._admitted: set[int] = set()  # of them: the core said yes, and the pipe is still to come
        self._pipes: dict[int, socket.socket] = {}  # or the pipe came first
        self._joining: set[asyncio.Task[None]] = set()

    def ask(self, launch: str, chain: list[bytes], outer: Outer) -> None:
        """Ask the core about a connection; one too many is refused."""
        if len(self._waiting) >= MAX_JUDGED:
            outer.refuse()
            return
        self._number += 1
        number = self._number
        self._waiting[number] = outer
        asyncio.get_running_loop().call_later(JUDGE_S, self._late, number)
        self._tell(Incoming(connection=number, launch=launch, chain=chain))

    def admit(self, number: int, ok: bool) -> None:
        """The core's word."""
        outer = self._waiting.get(number)
        if outer is None:
            return
        if not ok:
            del self._waiting[number]
            outer.refuse()
        elif number in self._pipes:
            self._join(number, self._pipes.pop(number))
        else:
            self._admitted.add(number)

    def pipe(self, number: int, sock: socket.socket) -> None:
        """The core's socket for a connection; it may come before its word does. Ours from now on."""
        if number not in self._waiting or number in self._pipes:
            sock.close()
        elif number in self._admitted:
            self._join(number, sock)
        else:
            self._pipes[number] = sock

    async def close(self) -> None:
        """Refuse whoever waits."""
        for number in list(self._waiting):
            self._late(number)
        for task in self._joining:
            task.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)

    def _join(self, number: int, sock: socket.socket) -> None:
        outer = self._waiting.pop(number)
        self._admitted.discard(number)
        task = asyncio.ensure_future(_joined(outer, sock))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    def _late(self, number: int) -> None:
        outer = self._waiting.pop(number, None)
        self._admitted.discard(number)
        if outer is not None:
            outer.abort()
        if number in self._pipes:
            self._pipes.pop(number).close()


class Gate:
    """One listening socket.

    Args:
        launch: whose.
        listener: bound and listening, made by the core; ours from now on.
        context: for the next handshake; None: there is no identity (yet), nobody is let in.
        until: when our own certificate expires, seconds since the epoch.
        admission: asks the core.
        clock: for the age of certificates.

    """

    def __init__(
        self,
        *,
        launch: str,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext | None],
        until: Callable[[], float],
        admission: Admission,
        clock: Clock,
    ) -> None:
        self._launch = launch
        self._listener = listener
        self._context = context
        self._until = until
        self._admission = admission
        self._clock = clock
        self._handshakes: dict[asyncio.Task[None], None] = {}  # in order
        self._open: set[Outer] = set()
        self._counts: dict[str, int] = {}
        listener.setblocking(False)
        self._accepting = asyncio.ensure_future(self._accept())

    async def close(self) -> None:
        """Close the socket and every connection."""
        tasks = [self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()
        for outer in list(self._open):
            outer.abort()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError:
                await asyncio.sleep(PAUSE_S)
                continue
            context = self._context()
            if context is None or len(self._open) >= MAX_CONNECTIONS:
                sock.close()
                continue
            if len(self._handshakes) >= MAX_HANDSHAKES:
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            task = asyncio.ensure_future(self._shake(sock, context))
            self._handshakes[task] = None
            task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    async def _shake(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """From an accepted socket to a question to the core."""
        outer = Outer(self._gone)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await loop.connect_accepted_socket(
                    lambda: outer, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=1.0
                )
        except (OSError, ValueError):  # of TLS, of time, and of asyncio that reads names of certificates as UTF-8
            outer.abort()
            sock.close()
            return
        except BaseException:
            outer.abort()
            sock.close()
            raise
        if outer.gone:
            return
        self._open.add(outer)
        chain = tls.presented(outer.ssl_object)
        if not 1 <= len(chain) <= MAX_CHAIN or max(map(len, chain)) > MAX_CERTIFICATE:
            outer.refuse()
            return
        named, expires = _claims(chain[0])
        # Any authority may write any name: it must not use up the places of others.
        outer.claimed = f"{hashlib.sha256(tls.anchor(outer.ssl_object)).hexdigest()} {named}"
        self._counts[outer.claimed] = self._counts.get(outer.claimed, 0) + 1
        outer.limit(min(expires, self._until()) + tls.LAST_S - self._clock.now())
        if self._counts[outer.claimed] > MAX_OF_ONE:
            outer.refuse()
        else:
            self._admission.ask(self._launch, chain, outer)

    def _gone(self, outer: Outer) -> None:
        if outer not in self._open:
            return
        self._open.discard(outer)
        left = self._counts.get(outer.claimed, 0) - 1
        if left > 0:
            self._counts[outer.claimed] = left
        else:
            self._counts.pop(outer.claimed, None)


def _claims(leaf: bytes) -> tuple[str, float]:
    """Whom a leaf names, and until when: for counting and for age. The core judges it."""
    try:
        found = certificates.load(leaf)
    except Refused:
        return "", 0.0
    names = certificates.extension(found, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    return " ".join(uris), found.not_valid_after_utc.timestamp()


async def _joined(outer: Outer, sock: socket.socket) -> None:
    try:
        await outer.join(sock)
    except OSError:
        outer.abort()
