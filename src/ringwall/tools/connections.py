"""Connections to strangers: one request at a time on each, kept for the next one, and closed at anything odd.

A request is written once. Whether a kept connection still stands is asked before its first byte, and from then on
an end without an answer is ``upstream_broken``: what was asked may have happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeAlias, cast

from ringwall.errors import BadInput
from ringwall.tools.addresses import Address, OutsideFault
from ringwall.tools.http1 import AnswerReader
from ringwall.tools.places import Place
from ringwall.tools.protocol import Code

CONNECT_S: Final = 10.0  # seconds for one connection, TLS included
KEEP_S: Final = 30.0  # seconds an idle connection is kept
MAX_WAITING: Final = 256 << 10  # bytes of a body that nobody took; then the server waits

Find: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""The addresses to try for a host, judged. Raises OutsideFault."""


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        origin: whom it leads to, as ``Place.origin``.
        over: told once it has ended.

    """

    def __init__(self, origin: tuple[str, str, int], over: Callable[[Connection], None]) -> None:
        self._over = over
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._reader: AnswerReader | None = None
        self._fault: Code | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self.origin = origin
        self.ended = asyncio.Event()
        self.since = 0.0
        """When it was last used, on the loop's clock."""

    @property
    def open(self) -> bool:
        """Nobody closed it, as far as we have heard."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def quiet(self) -> bool:
        """It is open, nothing has come that nobody asked for and no end, as far as the kernel knows."""
        return self.open and not self._poll.poll(0)

    def begin(self, request: bytes, reader: AnswerReader) -> None:
        """Write a request. Raises OutsideFault (``upstream_unreachable``): nothing was."""
        if self._transport is None or self._transport.is_closing():
            raise OutsideFault("upstream_unreachable")
        self._reader = reader
        self._transport.write(request)

    async def head(self, reader: AnswerReader) -> None:
        """Wait for the answer's status and headers. Raises OutsideFault."""
        while not reader.status:
            await self._news()

    async def piece(self, reader: AnswerReader) -> bytes:
        """The next bytes of the answer's body; none: it is whole. Raises OutsideFault."""
        while not reader.waiting and not reader.whole:
            await self._news()
        return self.ready(reader)

    def ready(self, reader: AnswerReader) -> bytes:
        """What has come of the answer's body already, at most ``http1.MAX_PIECE``."""
        taken = reader.take()
        if self._paused and not reader.waiting:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
        return taken

    def end(self) -> bool:
        """The request is over; whether there may be another. If not, the connection is closed."""
        reader, self._reader = self._reader, None
        good = self._transport is not None and reader is not None and reader.reusable and not self._paused
        if good and self._transport is not None and self.open and not self._transport.get_write_buffer_size():
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Close it now."""
        self._fail("upstream_broken")
        if self._transport is not None:
            self._transport.abort()

    async def _news(self) -> None:
        """Until there is something new. Raises OutsideFault."""
        if self._fault is not None:
            raise OutsideFault(self._fault)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _fail(self, code: Code) -> None:
        self._fault = self._fault or code
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By asyncio's contract; uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self._fault is not None:
            self.abort()  # nobody asked
            return
        try:
            self._reader.feed(data)
        except BadInput as fault:
            self._fail("result_too_large" if fault.code == "result_too_large" else "upstream_broken")
            self.abort()
            return
        if self._reader.waiting > MAX_WAITING and self.open and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._conclude()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._conclude()
        self._transport = None
        self._fail("upstream_broken")
        self.ended.set()
        self._over(self)

    def _conclude(self) -> None:
        """The other side ended it: that may be the end of the answer."""
        if self._reader is None or self._fault is not None:
            return
        with contextlib.suppress(BadInput):  # it is none: the same as an end with an error
            self._reader.closed()
        self._fail("upstream_broken")


class Pool:
    """Connections, and who may use one.

    Args:
        find: see ``Find``; asked once for each connection.
        tls: what servers must prove.
        most: connections at once, idle ones included.

    """

    def __init__(self, find: Find, *, tls: ssl.SSLContext, most: int) -> None:
        self._find = find
        self._tls = tls
        self._most = most
        self._slots = asyncio.Semaphore(most)
        self._active = 0
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []  # the longest idle first
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @contextlib.asynccontextmanager
    async def ask(self, place: Place, request: bytes, reader: AnswerReader,
                  connect_s: float) -> AsyncGenerator[Connection, None]:
        """Send a request; the connection that its answer comes on. Leaving the context ends the request.

        Args:
            place: whom to ask.
            request: all its bytes.
            reader: of its answer.
            connect_s: seconds to wait for a connection.

        Raises:
            OutsideFault: ``upstream_unreachable``, or as ``find``: nothing was sent.

        """
        connection = await self._take(place, connect_s)
        try:
            connection.begin(request, reader)
            yield connection
        finally:
            self._give(connection)

    async def close(self) -> None:
        """Close all connections; no request is sent any more."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.abort()
            await connection.ended.wait()

    async def _take(self, place: Place, connect_s: float) -> Connection:
        over = asyncio.get_running_loop().time() + connect_s
        if self._slots.locked():
            try:
                async with asyncio.timeout_at(over):
                    await self._slots.acquire()
            except TimeoutError:
                raise OutsideFault("upstream_unreachable") from None
        else:
            await self._slots.acquire()  # at once
        self._active += 1
        try:
            return self._kept(place.origin) or await self._connected(place, over)
        except BaseException:
            self._leave()
            raise

    def _give(self, connection: Connection) -> None:
        good = connection.end() and not self._closed
        if good:
            loop = asyncio.get_running_loop()
            connection.since = loop.time()
            self._idle.append(connection)
            if self._sweeper is None:
                self._sweeper = loop.call_later(KEEP_S, self._sweep)
        else:
            connection.abort()
        self._leave()

    def _leave(self) -> None:
        self._active -= 1
        self._slots.release()

    def _kept(self, origin: tuple[str, str, int]) -> Connection | None:
        """An idle connection that still stands; those that do not are closed."""
        oldest = asyncio.get_running_loop().time() - KEEP_S
        for connection in reversed(self._idle):
            if connection.origin == origin:
                self._idle.remove(connection)
                if connection.quiet and connection.since > oldest:
                    return connection
                connection.abort()
                return self._kept(origin)
        return None

    async def _connected(self, place: Place, over: float) -> Connection:
        if self._closed:
            raise OutsideFault("upstream_unreachable")
        while self._idle and len(self._idle) + self._active > self._most:
            self._idle.pop(0).abort()
        try:
            async with asyncio.timeout_at(over):
                addresses = await self._find(place.host)
                for address in addresses:
                    found = await self._one(place, address, CONNECT_S / len(addresses))
                    if found is not None:
                        return found
        except TimeoutError:
            pass
        raise OutsideFault("upstream_unreachable")

    async def _one(self, place: Place, address: Address, seconds: float) -> Connection | None:
        """A connection to this very address; None: there is none to be had."""
        loop = asyncio.get_running_loop()
        secure = place.scheme == "https"
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(place.origin, self._lost), str(address), place.port,
                    ssl=self._tls if secure else None, server_hostname=place.host if secure else None)
        except (OSError, ValueError):  # of TLS and of time are OSErrors; of a name that TLS cannot ask for, none
            return None
        if self._closed or not connection.open:
            connection.abort()
            return None
        self._all.add(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _sweep(self) -> None:
        """Close what was idle for long enough."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        while self._idle and self._idle[0].since + KEEP_S <= loop.time():
            self._idle.pop(0).abort()
        if self._idle:
            self._sweeper = loop.call_at(self._idle[0].since + KEEP_S, self._sweep)
