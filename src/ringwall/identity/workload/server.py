"""The Workload API's sockets: one for each launch, each connection pinned to the process that opened it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, cast

from ringwall.call import Denied, LaunchId
from ringwall.clock import Clock
from ringwall.errors import RingwallError, Unavailable
from ringwall.identity.pidfd import HasOptions
from ringwall.identity.probe import Probe
from ringwall.identity.transport import Acceptor
from ringwall.identity.workload import wire
from ringwall.identity.workload.allowance import Allowance
from ringwall.identity.workload.wire import Broken, GrpcConnection

log = logging.getLogger(__name__)

BACKLOG: Final = 4096  # 500 clients starting together failed with 100; the kernel caps at somaxconn
BURST: Final = 4096.0  # frames one launch may send at once: a hundred of its processes starting together
REFILL: Final = 512.0  # frames a second after that; 50 us each at most
CONNECTION_COST: Final = 16.0  # frames' worth: its state is built before the first frame
MAX_CALLS: Final = 512  # of one launch at a time: each is looked at again whenever a bundle or a freeze changes
MAX_WAITING: Final = 8  # request messages nobody has taken yet, on one stream
FIRST_SECONDS: Final = 10.0  # from connect to the first call, and from a call to its request
IDLE_SECONDS: Final = 600.0  # a connection without a call; clients come back by themselves
UNREAD_SECONDS: Final = 30.0  # an answer that nobody reads
LINGER_SECONDS: Final = 1.0  # for the last words of a closing connection


class Status(Exception):
    """A call ends with this gRPC status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Keeper(Protocol):
    """Names who connects: the registry of launches, or of those who may ask on behalf of all."""

    @property
    def probe(self) -> Probe:
        """How processes are told apart."""
        ...

    def open(self, launch: LaunchId, sock: HasOptions, /) -> Any | Denied:
        """Something with a ``number``, to keep with the connection; or why it is turned away at once."""
        ...

    def close(self, connection: Any, /) -> None:
        """The connection is over. Harmless when repeated."""
        ...

    def sender(self, number: int, process: int | None, /) -> Denied | None:
        """Why bytes of this process over that connection do not count."""
        ...


class Exchange:
    """One call: its metadata, its request messages, its answer.

    Args:
        connection: what its keeper gave; whom to attest.
        metadata: header fields, names in lower case.

    """

    def __init__(self, connection: Any, metadata: Mapping[str, tuple[str, ...]],
                 send: Callable[[bytes], Awaitable[None]]) -> None:
        self.connection = connection
        self.metadata = metadata
        self.reply = send
        self._waiting: deque[bytes] = deque()
        self._over = False
        self._news = asyncio.Event()

    async def message(self) -> bytes | None:
        """The next request message; None when the client sends no more."""
        while not self._waiting and not self._over:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft() if self._waiting else None

    async def only(self) -> bytes:
        """The one message of a call that has one. Raises Status."""
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                first = await self.message()
                second = await self.message() if first is not None else None
        except TimeoutError:
            raise Status(wire.DEADLINE_EXCEEDED, "the request did not arrive in time") from None
        if first is None or second is not None:
            raise Status(wire.INVALID_ARGUMENT, "this method takes exactly one message")
        return first

    def put(self, data: bytes) -> bool:
        """A message arrived; whether there was room for it."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append(data)
        self._news.set()
        return True

    def end(self) -> None:
        """The client sends nothing more."""
        self._over = True
        self._news.set()


Handler = Callable[[Exchange], Awaitable[None]]


class WorkloadServer:
    """Serves the same methods on any number of sockets.

    Args:
        methods: by path, for instance ``/SpiffeWorkloadAPI/FetchX509SVID``.
        registry: names the peers; a launch is registered before its socket is opened.
        clock: for allowances.
        burst, refill: frames one socket's clients may send at once, and in each second after that.
        unread_seconds: how long an answer may wait for its reader.

    """

    def __init__(self, methods: Mapping[str, Handler], registry: Keeper, clock: Clock, *, burst: float = BURST,
                 refill: float = REFILL, unread_seconds: float = UNREAD_SECONDS) -> None:
        self._methods = dict(methods)
        self._registry = registry
        self._clock = clock
        self._rate = (burst, refill)
        self._unread_seconds = unread_seconds
        self._open: dict[LaunchId, tuple[asyncio.Server | Acceptor, set[_Protocol]]] = {}

    async def listen(self, launch: LaunchId, sock: socket.socket) -> None:
        """Serve a bound socket for one launch. Raises Unavailable: the launch has one already."""
        if launch in self._open:
            sock.close()
            raise Unavailable(f"launch {launch} has a Workload API already", code="door_exists")
        allowance = Allowance(self._clock, *self._rate)
        protocols: set[_Protocol] = set()

        def make() -> _Protocol:
            return _Protocol(launch, self._registry, self._methods, allowance, protocols, self._unread_seconds)

        try:
            if self._registry.probe.reads:
                server = Acceptor(sock, make, backlog=BACKLOG)
            else:
                server = await asyncio.get_running_loop().create_unix_server(make, sock=sock, backlog=BACKLOG)
        except BaseException:
            sock.close()
            raise
        self._open[launch] = (server, protocols)

    async def remove(self, launch: LaunchId) -> None:
        """Close a launch's socket, its connections and their calls. Harmless when repeated."""
        found = self._open.pop(launch, None)
        if found is None:
            return
        server, protocols = found
        server.close()
        tasks = [task for protocol in tuple(protocols) for task in protocol.stop()]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close everything."""
        for launch in tuple(self._open):
            await self.remove(launch)


class _Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, launch: LaunchId, registry: Keeper, methods: Mapping[str, Handler], allowance: Allowance,
                 siblings: set[_Protocol], unread_seconds: float) -> None:
        self._launch = launch
        self._registry = registry
        self._methods = methods
        self._allowance = allowance
        self._siblings = siblings
        self._unread_seconds = unread_seconds
        self._calls: dict[int, tuple[Exchange, asyncio.Task[None]]] = {}
        self._connection: Any = None
        self._closing = False
        self._readable: list[asyncio.Future[None]] = []  # who waits until the peer has read
        self._full = False
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # --- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # of a stream socket; uvloop's has another base class
        self._transport = transport
        self._siblings.add(self)
        if not self._allowance.pay(CONNECTION_COST):
            self._closing = True
            transport.abort()
            return
        self._grpc = GrpcConnection(self._allowance.pay)
        found = self._registry.open(self._launch, transport.get_extra_info("socket"))
        if isinstance(found, Denied):
            self._say_goodbye()
            return
        # Our settings wait for the client's, so that both our first words go out in one write.
        self._connection = found
        self._await_calls(FIRST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._siblings.discard(self)
        self.stop()
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        if self._connection is not None:
            self._registry.close(self._connection)
            self._connection = None

    def stop(self) -> list[asyncio.Task[None]]:
        """End the connection and its calls now."""
        self._closing = True
        self._transport.abort()
        tasks = [task for _, task in self._calls.values()]
        for task in tasks:
            task.cancel()
        return tasks

    def pause_writing(self) -> None:
        """The peer does not read: nothing more is read of it either, and it has a bounded time."""
        self._full = True
        self._transport.pause_reading()
        self._unread = asyncio.get_running_loop().call_later(self._unread_seconds, self.stop)

    def resume_writing(self) -> None:
        self._full = False
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if not self._closing:
            self._transport.resume_reading()
        self._wake()

    def _say_goodbye(self) -> None:
        """The peer is told, has a moment to read it, and may come back over a new connection."""
        if not self._closing:
            self._grpc.goodbye()
        self._shut()

    def _shut(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._flush()
        for _, task in self._calls.values():
            task.cancel()
        self._transport.close()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def _await_calls(self, seconds: float) -> None:
        """A connection without a call costs memory for nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if not self._calls and not self._closing:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._say_goodbye)

    # --- frames

    def sent_by(self, process: int | None) -> bool:
        """Whether what was read counts; ``SenderTransport`` asks. If not, the connection and its calls end."""
        if self._connection is None or self._closing:
            return True  # nothing more is looked at
        if self._registry.sender(self._connection.number, process) is None:
            return True
        self.stop()
        return False

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            events = self._grpc.receive(data)
        except Broken:
            self._shut()
            return
        for event in events:
            self._take(event)
        self._flush()
        self._wake()

    def _take(self, event: wire.Event) -> None:
        if isinstance(event, wire.Opened):
            self._begin(event)
            return
        exchange, task = self._calls.get(event.stream, (None, None))
        if exchange is None or task is None:
            return
        match event:
            case wire.Received(data=data):
                if not exchange.put(data):
                    self._grpc.finish(event.stream, wire.RESOURCE_EXHAUSTED, "too many messages at once")
                    task.cancel()
            case wire.Ended():
                exchange.end()
            case wire.Gone():
                task.cancel()

    def _flush(self) -> None:
        data = self._grpc.outgoing()
        if data:
            self._transport.write(data)

    def _wake(self) -> None:
        found, self._readable = self._readable, []
        for waiter in found:
            if not waiter.done():
                waiter.set_result(None)

    # --- calls

    @property
    def open_calls(self) -> int:
        """How many calls of this connection are not over."""
        return len(self._calls)

    def _begin(self, opened: wire.Opened) -> None:
        connection = self._connection
        if connection is None:
            return
        stream = opened.stream

        async def send(data: bytes) -> None:
            await self._send(stream, data)

        exchange = Exchange(connection, opened.metadata, send)
        handler = self._methods.get(opened.path, _unknown)
        if sum(one.open_calls for one in self._siblings) >= MAX_CALLS:
            handler = _crowded
        task = asyncio.create_task(self._answer(stream, exchange, handler, opened.timeout))
        self._calls[stream] = (exchange, task)
        # Not at the end of the task's own work: one that is cancelled before it begins never comes there.
        task.add_done_callback(lambda _: self._over(stream))
        self._await_calls(IDLE_SECONDS)

    def _over(self, stream: int) -> None:
        self._calls.pop(stream, None)
        self._await_calls(IDLE_SECONDS)

    async def _send(self, stream: int, data: bytes) -> None:
        """Send one message and wait until the peer takes it: nothing piles up behind a slow reader."""
        self._grpc.send(stream, data)
        self._flush()
        if not self._full and not self._grpc.unsent(stream):
            return
        try:
            async with asyncio.timeout(self._unread_seconds):
                while self._full or self._grpc.unsent(stream):
                    waiter = asyncio.get_running_loop().create_future()
                    self._readable.append(waiter)
                    await waiter
        except TimeoutError:
            self.stop()
            raise asyncio.CancelledError from None

    async def _answer(self, stream: int, exchange: Exchange, handler: Handler, seconds: float | None) -> None:
        status, message = wire.OK, ""
        try:
            async with asyncio.timeout(seconds):
                await handler(exchange)
        except TimeoutError:
            status, message = wire.DEADLINE_EXCEEDED, "the client's own deadline has passed"
        except Status as ended:
            status, message = ended.code, ended.message
        except RingwallError as fault:
            status, message = wire.UNAVAILABLE, f"{fault.code}: {fault.cause}"
        except Exception:
            log.exception("the Workload API failed")
            status, message = wire.INTERNAL, "internal: the Workload API failed"
        if not self._closing:
            self._grpc.finish(stream, status, message)
            self._flush()


async def _unknown(exchange: Exchange) -> None:
    """A method that there is not; for a profile of the Workload API that is not served, the answer it wants."""
    raise Status(wire.UNIMPLEMENTED, "there is no such method here")


async def _crowded(exchange: Exchange) -> None:
    """This launch has enough calls open."""
    raise Status(wire.RESOURCE_EXHAUSTED, f"too_many_calls: a launch has at most {MAX_CALLS} calls open at once")
