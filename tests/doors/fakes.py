"""A wall that does what a test says, and a door in a thread that serves it on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ringwall.call import Call, CallId, Chunk, Kind, Last, LaunchId, SessionId, Target
from ringwall.doors.agent import AgentDoor
from ringwall.doors.listener import DoorServer
from ringwall.identity.probe import Probe
from ringwall.identity.registry import Launch, Registry, nobody
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import HeldCall, Origin, Refusal, Stopped

T = TypeVar("T")
ALICE = SpiffeId.make(trust_domain="example.org", tenant="acme", agent="alice", role="reader")
LAUNCH = LaunchId("l1")
Item = Chunk | Last | Stopped


class FakeAnswer:
    def __init__(self, wall: FakeWall) -> None:
        self.record = "acme/57"
        self.last: Last | None = None
        self._wall = wall

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        if self._wall.block is not None:
            self._wall.started.set()
            await self._wall.block.wait()
        for item in self._wall.items:
            if isinstance(item, Stopped):
                raise item
            if isinstance(item, Last):
                self.last = item
                return
            yield item


class FakeWall:
    """Answers ``items``; ``admission`` and ``passage`` replace the answer by a refusal."""

    def __init__(self) -> None:
        self.turned: list[str] = []  # what the door refused by itself
        self.items: list[Item] = [Chunk(value="fine"), Last(end="done")]
        self.admission: Refusal | Exception | None = None
        self.passage: Refusal | HeldCall | None = None
        self.seen: list[tuple[Origin, Kind, bytes]] = []
        self.block: asyncio.Event | None = None
        self.started = threading.Event()
        self.settled: list[str] = []
        self.settling = threading.Event()
        self.performed: list[Call] = []
        self.waits: list[tuple[str, float]] = []
        self.over = False  # what waiting for a human comes to
        self.later: list[Refusal | HeldCall | None] = []  # what the next attempts get, once there was a wait

    def turned_away(self, origin: Origin, kind: Kind, code: str) -> None:
        self.turned.append(code)

    async def admit(self, origin: Origin, kind: Kind, raw: bytes) -> Call | Refusal:
        self.seen.append((origin, kind, raw))
        if isinstance(self.admission, Exception):
            raise self.admission
        if self.admission is not None:
            return self.admission
        return Call.make(
            id=CallId("c"),
            kind=kind,
            subject=origin.subject,
            session=SessionId("s1"),
            target=Target(name="t/t"),
            args={},
        )

    @asynccontextmanager
    async def perform(self, call: Call) -> AsyncGenerator[FakeAnswer | HeldCall | Refusal, None]:
        how = "finished"
        self.performed.append(call)
        try:
            yield self.passage or FakeAnswer(self)
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        finally:
            await asyncio.sleep(0)  # the outcome is written here: a second cancellation would lose it
            self.settled.append(how)
            self.settling.set()

    async def decided(self, record: str, seconds: float) -> bool:
        self.waits.append((record, seconds))
        if self.block is not None:
            self.started.set()
            try:
                await self.block.wait()
            except asyncio.CancelledError:
                self.settled.append("stopped waiting")
                self.settling.set()
                raise
        if self.later:
            self.passage = self.later.pop(0)
        return self.over


class Served:
    """A door that is open, from the test's side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wall: FakeWall, registry: Registry, path: Path) -> None:
        self.loop = loop
        self.wall = wall
        self.registry = registry
        self.path = path
        self.server = DoorServer(AgentDoor(wall, registry, wall), registry)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        found: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return found.result(30)

    def on_loop(self, work: Callable[[], T]) -> T:
        async def inner() -> T:
            return work()

        return self.run(inner())

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        sock.connect(str(self.path))
        return sock

    def exchange(self, data: bytes) -> bytes:
        """Send bytes, and read until the door closes."""
        with self.connect() as sock:
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    pieces: list[bytes] = []
    while True:
        try:
            data = sock.recv(1 << 16)
        except ConnectionResetError:
            break
        if not data:
            break
        pieces.append(data)
    return b"".join(pieces)


def post(path: str = "/v1/tools/call", body: bytes = b"{}", *, close: bool = True, more: bytes = b"") -> bytes:
    """A whole request."""
    end = b"Connection: close\r\n" if close else b""
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % path.encode()
    return head + b"Content-Length: %d\r\n%s%s\r\n" % (len(body), end, more) + body


@contextmanager
def looped(
    made: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Generator[asyncio.AbstractEventLoop]:
    """An event loop in a thread."""
    loop = made()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def served(
    folder: Path, *, max_connections: int = 128, pid: int | None = None, frozen: Callable[[SpiffeId], str] = nobody,
    reads: bool = True, made: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    wall: FakeWall | None = None,
) -> Generator[Served]:
    """A door whose registered agent is this very process, or ``pid``; with ``reads`` it looks at every sender."""
    handle = os.pidfd_open(pid or os.getpid())
    probe = Probe(method="inode", tree=True, reads=reads)
    registry = Registry(probe, frozen=frozen, max_connections=max_connections)
    registry.register(
        Launch(
            id=LAUNCH,
            spiffe_id=ALICE,
            pidfd=handle,
            pidns_fd=None,
            processes="one",
            session=SessionId("s1"),
            confined=True,
            strength="full",
        )
    )
    os.close(handle)
    with looped(made) as loop:
        found = Served(loop, wall or FakeWall(), registry, folder / "door.sock")
        found.run(found.server.add(LAUNCH, found.path))
        try:
            yield found
        finally:
            found.run(found.server.close())
            registry.withdraw(LAUNCH)
