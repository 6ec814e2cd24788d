"""A sidecar with unconfined tool servers, for tests: real processes, real pipes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ringwall.call import Chunk, Json, Last
from ringwall.clock import SystemClock
from ringwall.tools.protocol import Hello, ModelConfig, OutletRefused, ServerConfig
from ringwall.tools.sidecar_client import SidecarClient, Times

SERVERS = Path(__file__).parent / "servers"


class Spawner:
    """Starts tool servers as the supervisor would, but unconfined."""

    def __init__(self, commands: dict[str, Sequence[str]]) -> None:
        self.commands = commands
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.starts: list[str] = []
        self.listeners: dict[str, socket.socket] = {}  # of servers with an outlet

    async def __call__(self, name: str) -> tuple[int, ...]:
        self.end(name)
        self.starts.append(name)
        listener = self.listeners.get(name)
        return self._start(name) if listener is None else (*self._start(name), os.dup(listener.fileno()))

    def _start(self, name: str) -> tuple[int, int]:
        process = subprocess.Popen(
            [sys.executable, *self.commands[name]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        pipes = os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno())
        process.stdin.close()
        process.stdout.close()
        self.running[name] = process
        return pipes

    def end(self, name: str) -> None:
        process = self.running.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        for name in list(self.running):
            self.end(name)


class Sidecar:
    """A sidecar process and the core's client for it."""

    def __init__(self, client: SidecarClient, spawner: Spawner) -> None:
        self.client = client
        self.spawner = spawner
        self.process: subprocess.Popen[bytes] | None = None
        self.downs: list[str] = []

    async def start(self) -> None:
        """Start a (fresh) sidecar and attach to it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        passing, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = start_sidecar(theirs, passed)
        await self.client.attach(ours, passing)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def start_sidecar(
    link: socket.socket, descriptors: socket.socket, *, stderr: int | None = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """``ringwall.runtime.sidecar`` with these as descriptors 3 and 4; both are closed here."""
    # Far above 3 and 4, so that neither lands on the other.
    numbers = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 64) for sock in (link, descriptors)]

    def place() -> None:
        for number, wanted in zip(numbers, (3, 4), strict=True):
            os.dup2(number, wanted)

    process = subprocess.Popen(
        [sys.executable, "-m", "ringwall.runtime.sidecar"],
        preexec_fn=place,  # noqa: PLW1509
        pass_fds=(3, 4),
        stderr=stderr,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    for number in numbers:
        os.close(number)
    link.close()
    descriptors.close()
    return process


def no_pins(_server: str, _definitions: Sequence[Json]) -> None:
    """Every definition may be used."""


@asynccontextmanager
async def sidecar(
    commands: dict[str, Sequence[str]] | None = None,
    *,
    models: dict[str, ModelConfig] | None = None,
    times: Times | None = None,
    verify: Callable[[str, Sequence[Json]], None] = no_pins,
    configs: dict[str, ServerConfig] | None = None,
    on_refused: Callable[[OutletRefused], None] = lambda _: None,
) -> AsyncGenerator[Sidecar, None]:
    """A running sidecar with these servers, and ``builtin`` which is the echo."""
    spawner = Spawner(commands or {})
    servers = {name: ServerConfig() for name in spawner.commands} | {"builtin": ServerConfig(builtin="echo")}
    servers |= configs or {}
    downs: list[str] = []
    client = SidecarClient(
        hello=Hello(tenant="acme", servers=servers, models=models or {}),
        spawn=spawner,
        verify=verify,
        clock=SystemClock(),
        times=times,
        on_down=downs.append,
        on_refused=on_refused,
    )
    made = Sidecar(client, spawner)
    made.downs = downs
    await made.start()
    try:
        yield made
    finally:
        client.close()
        spawner.close()
        assert made.process is not None
        made.process.wait(timeout=20)


async def gather(items: AsyncGenerator[Chunk | Last, None]) -> tuple[list[Json], Last]:
    """All chunk values, and the Last."""
    values: list[Json] = []
    async for item in items:
        if isinstance(item, Last):
            return values, item
        values.append(item.value)
    raise AssertionError("there was no Last")


class Gate:
    """A Unix socket that a tool server tells what it is doing, and on which it waits."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._said: asyncio.Queue[str] = asyncio.Queue()
        self._open = asyncio.Event()

    async def said(self) -> str:
        """The next line of a server."""
        async with asyncio.timeout(20):
            return await self._said.get()

    def open(self) -> None:
        """Let who waits go on."""
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def let_go() -> None:
            await self._open.wait()
            writer.write(b"x")

        task = asyncio.create_task(let_go())
        try:
            while line := await reader.readline():
                self._said.put_nowait(line.decode().strip())
        except ConnectionError:
            pass
        finally:
            task.cancel()
            writer.close()


@asynccontextmanager
async def gate() -> AsyncGenerator[Gate, None]:
    """An open gate's socket, in a folder with a short name (a socket's path has 107 bytes at most)."""
    with tempfile.TemporaryDirectory(prefix="rw") as folder:
        made = Gate(Path(folder) / "gate")
        async with await asyncio.start_unix_server(made.serve, made.path):
            yield made
