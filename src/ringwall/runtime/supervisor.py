"""The supervisor: the first process of ``ringwall up``. It forks the zygote, keeps the core running and holds
the agents' pidfds and standard streams, so that agents survive a restart of the core.

It parses nothing from outside and holds no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from ringwall.confine.spec import Confinement
from ringwall.confine.zygote import Zygote
from ringwall.errors import ConfinementError, Unavailable
from ringwall.runtime import control

BACK_OFF: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start of a core that ended
STEADY_S: Final = 30.0  # a core that ran this long starts again without back-off
CORE: Final = (sys.executable, "-m", "ringwall.runtime.core")
STOP_S: Final = 10.0  # a core that has not ended by then is killed


@dataclass(slots=True)
class Child:
    """A confined process, and for an agent what the next core needs to take it over."""

    id: int
    pidfd: int
    pidns: int
    hold: bool
    meta: msgspec.Raw
    held: list[int] = field(default_factory=list[int])
    door: int | None = None
    inside: tuple[int, ...] = ()
    exited: int | None = None
    watch: asyncio.Task[None] | None = None

    def descriptors(self) -> tuple[int, ...]:
        """What a core is given of it, but for the held ones."""
        door = () if self.door is None else (self.door,)
        return (self.pidfd, self.pidns, *door, *self.inside)

    def close(self) -> None:
        for number in (*self.descriptors(), *self.held):
            os.close(number)


class Supervisor:
    """Runs until told to stop.

    Args:
        zygote: started before any thread or loop.
        state: the state folder.
        manifest: what is granted.
        core: the command of the core; only benchmarks and the ablation suite name another.

    """

    def __init__(self, *, zygote: Zygote, state: Path, manifest: Path, core: Sequence[str] = CORE) -> None:
        self._command = tuple(core)
        self._zygote = zygote
        self._state = state
        self._manifest = manifest
        self._children: dict[int, Child] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._control: control.Control | None = None
        self._restarts = 0
        self._stop = asyncio.Event()
        self._fault = ""

    async def run(self) -> int:
        """Keep a core running; returns the exit code of ``ringwall up``."""
        _allow_many_descriptors()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        failures = 0
        while True:
            started = loop.time()
            status = await self._core()
            if self._stop.is_set() or status in {2, 3}:  # told to stop, or a fault no restart can mend
                break
            failures = 0 if loop.time() - started > STEADY_S else failures + 1
            self._restarts += 1
            pause = BACK_OFF[min(failures, len(BACK_OFF) - 1)]
            print(
                f"ringwall: the core ended ({_ended(status)}); everything is refused; starting it again "
                f"in {pause} s",
                file=sys.stderr,
                flush=True,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            if self._stop.is_set():
                break
        await self._end_children(everyone=True)
        if self._fault:
            return 1
        return 0 if self._stop.is_set() else status

    async def _core(self) -> int:
        """One life of a core."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--state",
                str(self._state),
                "--manifest",
                str(self._manifest),
                "--control",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control = control.Control(ours, self._message, lambda: None)
        agents = [child for child in self._children.values() if child.hold]
        self._control.send(control.Start(held=len(agents), restarts=self._restarts))
        for child in agents:
            self._control.send(
                control.Held(
                    child=child.id,
                    meta=child.meta,
                    exited=child.exited,
                    door=child.door is not None,
                    inside=len(child.inside),
                ),
                [*child.descriptors(), *child.held],
            )
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            _, late = await asyncio.wait({ended}, timeout=STOP_S)
            if late:
                process.kill()
        status = await ended
        self._control.close()
        self._control = None
        await self._end_children(everyone=False)
        return status

    async def _end_children(self, *, everyone: bool) -> None:
        """Kill sidecars, guard and tool servers; agents only when all ends."""
        doomed = [child for child in self._children.values() if everyone or not child.hold]
        for child in doomed:
            if child.exited is None:
                self._zygote.signal(child.id, signal.SIGKILL)
        for child in doomed:
            if child.watch is not None:
                await child.watch
            self._drop(child.id)

    def _drop(self, number: int) -> None:
        child = self._children.pop(number, None)
        if child is not None:
            child.close()

    def _message(self, message: control.Message, descriptors: list[int]) -> None:
        if isinstance(message, control.Spawn):
            self._task(self._spawn(message, descriptors))
        elif isinstance(message, control.Go):
            self._task(self._go(message))
        elif isinstance(message, control.Signal):
            child = self._children.get(message.child)
            if child is not None and child.exited is None:
                self._zygote.signal(child.id, message.signum)
        elif isinstance(message, control.Forget):
            child = self._children.get(message.child)
            if child is not None and child.exited is not None:
                self._drop(child.id)
        elif isinstance(message, control.Ready):
            print(f"ringwall: ready: {message.summary}", flush=True)

        elif isinstance(message, control.Release):
            child = self._children.get(message.child)
            if child is not None and message.place < len(child.held):
                _blunt(child.held[message.place])

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _spawn(self, order: control.Spawn, descriptors: list[int]) -> None:
        mapped = dict(zip(order.numbers, descriptors, strict=False))
        held = descriptors[len(order.numbers) :]
        asker = self._control
        try:
            spawned = await self._zygote.spawn(Confinement.from_json(bytes(order.spec)), mapped)
        except ConfinementError as fault:
            if fault.code == "zygote_gone":
                self._give_up(fault)
            for number in descriptors:
                os.close(number)
            if self._control is asker:
                self._answer(control.Done(id=order.id, code=fault.code, cause=fault.cause, remedy=fault.remedy))
            return
        for number in descriptors[: len(order.numbers)]:
            os.close(number)
        child = Child(
            id=spawned.id,
            pidfd=spawned.pidfd,
            pidns=spawned.pidns_fd,
            hold=order.hold,
            meta=msgspec.Raw(bytes(order.meta)),
            held=held,
            door=spawned.door,
            inside=spawned.inside,
        )
        self._children[child.id] = child
        child.watch = self._task(self._watch(child))
        if self._control is not asker:  # that core is gone; to the next one its order's number means another
            child.hold = False
            self._zygote.signal(child.id, signal.SIGKILL)
            return
        self._answer(
            control.Spawned(
                id=order.id,
                child=child.id,
                pid=spawned.pid,
                self_test=dict(spawned.self_test),
                door=child.door is not None,
                inside=len(child.inside),
            ),
            child.descriptors(),
        )

    async def _go(self, order: control.Go) -> None:
        asker = self._control
        try:
            await self._zygote.go(order.child)
        except ConfinementError as fault:
            if self._control is asker:
                self._answer(control.Done(id=order.id, code=fault.code, cause=fault.cause, remedy=fault.remedy))
            return
        if self._control is asker:
            self._answer(control.Done(id=order.id))

    async def _watch(self, child: Child) -> None:
        try:
            child.exited = await self._zygote.wait(child.id)
        except ConfinementError as fault:  # the zygote is gone, and with it everything it started
            child.exited = 128 + signal.SIGKILL
            self._give_up(fault)
        self._answer(control.Exited(child=child.id, status=child.exited))
        if not child.hold:
            self._drop(child.id)

    def _give_up(self, fault: ConfinementError) -> None:
        """Nothing can be started any more: end, so that whoever started us can start us again."""
        if not self._fault:
            self._fault = str(fault)
            print(f"ringwall: {fault}", file=sys.stderr, flush=True)
        self._stop.set()

    def _answer(self, message: control.Message, descriptors: Sequence[int] = ()) -> None:
        """To the core, if one is there; a new core learns of exits from Held."""
        if self._control is not None:
            with contextlib.suppress(Unavailable):
                self._control.send(message, descriptors)


def _allow_many_descriptors() -> None:
    """Here and in the core an agent costs up to 22 of them; the usual soft limit of 1024 is for select(2)."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _blunt(number: int) -> None:
    """Close what a descriptor names and keep its number: the next core is given as many as the last."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, number, inheritable=False)
    os.close(null)


def _ended(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"
