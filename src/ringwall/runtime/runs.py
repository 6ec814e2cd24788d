"""Running agents: their standard streams to the operator who watches, their end to the log."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringwall.call import Json
from ringwall.identity.pidfd import number as pidfd_number
from ringwall.runtime.children import Child
from ringwall.runtime.output import OutputFilter
from ringwall.runtime.sessions import Session

PIECE: Final = 64 << 10  # bytes read from a pipe at once
WAITING: Final = 256  # pieces kept for a slow or absent watcher; then the agent's own writes block
ABSENT_S: Final = 15.0  # an agent whose operator's terminal has gone this long is killed
STOPPING: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
MAX_NAMED: Final = 20  # records that a summary names, of each kind
STOP_S: Final = 5.0  # an agent still alive this long after a stop signal is killed


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of one launch's calls."""

    calls: int = 0
    ends: dict[str, int] = field(default_factory=dict[str, int])
    refused: list[str] = field(default_factory=list[str])  # record names, the first few
    held: list[str] = field(default_factory=list[str])  # the same of calls that waited for a human
    last: str = ""  # the last call's record

    def count(self, end: str, record: str = "") -> None:
        """One call ended."""
        self.calls += 1
        self.last = record
        self.ends[end] = self.ends.get(end, 0) + 1
        named = {"refused": self.refused, "held": self.held}.get(end)
        if named is not None and len(named) < MAX_NAMED:
            named.append(record)

    def summary(self) -> Json:
        return {
            "calls": self.calls,
            "ends": self.ends,
            "refused": self.refused,
            "held": self.held,
            "last": self.last,
        }


class Run:
    """One launched agent. ``stdin``, ``stdout``, ``stderr``: our ends of its pipes."""

    def __init__(
        self,
        *,
        session: Session,
        child: Child,
        stdin: int,
        stdout: int,
        stderr: int,
        secrets: Callable[[], tuple[bytes, ...]],
        tally: Tally,
        confined: bool,
        kill: Callable[[int], None],
        release_input: Callable[[], None],
    ) -> None:
        self.session = session
        self.child = child
        self.tally = tally
        self.confined = confined
        self._kill = kill
        self._release_input = release_input
        self._stdin = stdin
        self._lines: asyncio.Queue[Mapping[str, Json] | None] = asyncio.Queue(WAITING)
        self._pumps = [
            asyncio.create_task(self._pump("stdout", stdout, secrets)),
            asyncio.create_task(self._pump("stderr", stderr, secrets)),
        ]
        self._writing = asyncio.Lock()
        self._watchers = 0
        self._timer: asyncio.TimerHandle | None = self._start_clock()
        self._gone = asyncio.Event()  # nobody watched for ABSENT_S
        self._seen = asyncio.Event()  # somebody was told how it ended
        self._died_of = 0

    def told(self) -> dict[str, Json]:
        """For `ringwall status`."""
        return {
            "run": self.session.launch,
            "confined": self.confined,
            "tenant": self.session.tenant,
            "agent": self.session.agent,
            "pid": self.child.pid,
            **self.tally.summary(),
        }

    async def _pump(self, name: str, number: int, secrets: Callable[[], tuple[bytes, ...]]) -> None:
        """Read one stream to its end, filtered."""
        screen, loop = OutputFilter(), asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=PIECE)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(number, "rb", buffering=0)
        )
        try:
            while data := await reader.read(PIECE):
                screen.learn(secrets())
                await self._put(name, screen.feed(data))
            await self._put(name, screen.finish())
        finally:
            transport.close()

    async def _put(self, name: str, data: bytes) -> None:
        if data:
            await self._lines.put({name: base64.b64encode(data).decode()})

    async def status(self) -> int:
        """Wait until the program has ended; its exit status as a shell reports it."""
        status = await asyncio.shield(self.child.ended)
        return 128 + self._died_of if self._died_of and status == 128 + signal.SIGKILL else status

    async def ended(self) -> None:
        """Wait until the program has ended and its output is handed on, or nobody has watched for ABSENT_S."""
        await self.status()
        async with self._writing:  # a writer still has the descriptor registered with the loop
            self.close_stdin()
        if not await self._unless_gone(self._output_over()):
            for pump in self._pumps:
                pump.cancel()
            while not self._lines.empty():  # nobody reads: the end matters more than what was printed
                self._lines.get_nowait()
            self._lines.put_nowait(None)

    async def collected(self) -> None:
        """Wait until somebody was told how it ended, or nobody has watched for ABSENT_S."""
        await self._unless_gone(self._seen.wait())

    async def _output_over(self) -> None:
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._lines.put(None)

    async def _unless_gone(self, work: Coroutine[None, None, object]) -> bool:
        """Whether the work was done before everybody was gone."""
        done, gone = asyncio.ensure_future(work), asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({done, gone}, return_when=asyncio.FIRST_COMPLETED)
            return done.done()
        finally:
            done.cancel()
            gone.cancel()

    async def stream(self) -> AsyncGenerator[Mapping[str, Json], None]:
        """What it prints, then how it ended. Leaving early starts the clock of ``ABSENT_S``."""
        self._watchers += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            while (line := await self._lines.get()) is not None:
                yield line
            self._lines.put_nowait(None)  # for whoever else watches
            yield {"exit": await self.status(), "summary": self.tally.summary()}
            self._seen.set()
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._timer = self._start_clock()

    def _start_clock(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ABSENT_S, self._absent)

    def _absent(self) -> None:
        self._gone.set()
        self._late()

    async def write(self, data: bytes, *, eof: bool) -> None:
        """Give the agent input; a program that does not read makes the operator wait."""
        async with self._writing:
            loop = asyncio.get_running_loop()
            view = memoryview(data)
            stdin = self._stdin
            while view and stdin >= 0 and not self.child.ended.done():
                try:
                    view = view[os.write(stdin, view) :]
                except BlockingIOError:
                    ready: asyncio.Future[None] = loop.create_future()
                    loop.add_writer(stdin, _set, ready)
                    try:
                        await asyncio.wait({ready, self.child.ended}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        loop.remove_writer(stdin)
                except BrokenPipeError:
                    eof = True
                    break
            if eof:
                self.close_stdin()

    def close_stdin(self) -> None:
        """End of the agent's input."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
            self._release_input()

    def stop(self, signum: int) -> None:
        """Forward a signal; one that asks to stop is followed by SIGKILL."""
        if signum in STOPPING and not self.child.ended.done() and not _expects(self.child.pidfd, signum):
            # The kernel spares the first process of a pid namespace the default action of a signal: what would
            # end this program anywhere else would do nothing here.
            self._died_of = signum
            self._kill(signal.SIGKILL)
            return
        self._kill(signum)
        if signum in STOPPING:
            asyncio.get_running_loop().call_later(STOP_S, self._late)

    def _late(self) -> None:
        if not self.child.ended.done():
            self._kill(signal.SIGKILL)


def _expects(pidfd: int, signum: int) -> bool:
    """Whether a process catches, ignores or blocks this signal."""
    pid = pidfd_number(pidfd)
    if pid <= 0:
        return True
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return True
    fields = dict(line.split(":", 1) for line in lines if line.startswith(("SigBlk", "SigIgn", "SigCgt")))
    return any(int(mask, 16) >> (signum - 1) & 1 for mask in fields.values())


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Tasks:
    """Background work that must not be lost: a fault in one is raised to ``on_fault``."""

    def __init__(self, on_fault: Callable[[BaseException], None]) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_fault = on_fault

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run it in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._on_fault(fault)
