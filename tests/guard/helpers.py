"""What the guard's tests share: an engine, a guard without a process, a real service process, calls."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache

from ringwall.call import Call, CallId, Kind, Operator, Process, Resource, SessionId, Target
from ringwall.errors import Unavailable
from ringwall.guard.client import GuardClient
from ringwall.guard.engine import Engine
from ringwall.guard.interface import Direction, Findings
from ringwall.guard.service import Session, ready_engine
from ringwall.identity.spiffe import SpiffeId
from ringwall.wire import frames

GITHUB = "ghp_" + "k9QxZ2mV7bT4nR8wL3cJ6yH1dF5sG0aPeUiO"
CARD = "4111 1111 1111 1111"
IBAN = "DE89 3704 0044 0532 0130 00"


@cache
def engine() -> Engine:
    return ready_engine()


class EngineGuard:
    """The Guard protocol over an engine in this process; ``fault`` makes it refuse."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.asked: list[tuple[Direction, tuple[str, ...]]] = []
        self.forgotten: list[str] = []

    async def scan(
        self, stream: str, direction: Direction, texts: Sequence[str], final: bool, *, keys: Sequence[int] = ()
    ) -> Findings:
        self.asked.append((direction, tuple(texts)))
        if self.fault is not None:
            raise self.fault
        return Findings(found=tuple(engine().scan(texts, keys)), rules=engine().version)

    def forget(self, stream: str) -> None:
        self.forgotten.append(stream)


DEAD = Unavailable("gone", code="guard_unreachable")


@contextmanager
def service_process() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A real guard process, unconfined, and the core's end of its socket."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "ringwall.guard.service"],
        pass_fds=(3,),
        preexec_fn=lambda: os.dup2(theirs.fileno(), 3),  # noqa: PLW1509 (no threads)
        stderr=subprocess.PIPE,
    )
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@asynccontextmanager
async def opened(sock: socket.socket, *, seconds: float = 10.0) -> AsyncIterator[GuardClient]:
    """A client that is closed, with its transport, at the end."""
    client = await GuardClient.open(sock, seconds=seconds)
    try:
        yield client
    finally:
        client.close()
        await asyncio.sleep(0)  # the transport closes its socket in the loop's next turn
        await asyncio.sleep(0)


Change = Callable[[bytes, bytes], Sequence[bytes]]


class LyingGuard:
    """A guard in this loop whose answers pass through ``change(request, answer) -> answers``, raw or framed."""

    def __init__(self, change: Change, *, framed: bool = True) -> None:
        self._change = change
        self._framed = framed
        self._greeted = False
        self.ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop, session, framer = asyncio.get_running_loop(), Session(engine()), frames.Framer()
        while data := await loop.sock_recv(self._theirs, 1 << 16):
            for payload in framer.feed(data):
                answer = session.handle(payload)
                if answer is None:
                    continue
                if not self._greeted:
                    self._greeted = True
                    await loop.sock_sendall(self._theirs, frames.encode(answer))
                    continue
                for changed in self._change(payload, answer):
                    await loop.sock_sendall(self._theirs, frames.encode(changed) if self._framed else changed)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._theirs.close()


def call(
    kind: Kind = "tool", args: object = None, resources: tuple[Resource, ...] = (), name: str = "mail/send"
) -> Call:
    subject = (
        Operator(name="ann", uid=1000, connection=1)
        if kind == "operate"
        else Process(
            spiffe_id=SpiffeId.parse("spiffe://a.example/tenant/t/agent/a/role/r"), launch="l-1", connection=1
        )
    )
    return Call.make(
        id=CallId("c-1"),
        kind=kind,
        subject=subject,
        session=SessionId("s"),
        target=Target(name=name),
        args={} if args is None else args,
        resources=resources,
    )
