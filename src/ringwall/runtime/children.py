"""The core's side of the line to the supervisor: start confined processes, hear when they end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ringwall.call import Json, canonical
from ringwall.confine.spec import Confinement
from ringwall.errors import ConfinementError, Unavailable
from ringwall.identity.pidfd import number as pidfd_number
from ringwall.runtime import control

SPAWN_S = 20.0  # a spawn takes milliseconds; a supervisor that needs longer is not there


@dataclass(slots=True, kw_only=True)
class Child:
    """A confined process. Its descriptors belong to this object; ``ended`` holds its exit status.

    ``door`` listens on a port of its own network, ``inside`` are unconnected sockets that reach its ports: see
    ``confine.spec.Loopback``.
    """

    number: int
    pid: int
    pidfd: int
    pidns: int
    door: int | None = None
    inside: tuple[int, ...] = ()
    self_test: Mapping[str, str] = field(default_factory=dict[str, str])
    ended: asyncio.Future[int]

    def close(self) -> None:
        """Let the descriptors go, once."""
        for number in (self.pidfd, self.pidns, -1 if self.door is None else self.door, *self.inside):
            if number >= 0:
                os.close(number)
        self.pidfd = self.pidns = -1
        self.door, self.inside = None, ()


@dataclass(slots=True, kw_only=True)
class Inherited:
    """An agent that outlived the last core, with the descriptors that were held for it."""

    child: Child
    meta: Json
    held: tuple[int, ...]


class Children:
    """Every process this core started or took over."""

    def __init__(self) -> None:
        self._line: control.Control | None = None
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[tuple[control.Message, list[int]]]] = {}
        self._children: dict[int, Child] = {}
        self._early: dict[int, int] = {}  # exits that came before we knew the child
        self._unknown: set[int] = set()  # nobody waited for them any more: killed, and forgotten once they ended
        self._inherited: list[Inherited] = []
        self._expected: int | None = None
        self._greeted = asyncio.Event()
        self.restarts = 0
        self.lost = asyncio.Event()

    def attach(self, line: control.Control) -> None:
        """Use this line; give its messages to ``on_message``."""
        self._line = line

    async def greeted(self) -> Sequence[Inherited]:
        """Wait for the supervisor's first word: the agents to take over."""
        await self._greeted.wait()
        return tuple(self._inherited)

    def on_close(self) -> None:
        """The supervisor is gone; so is everything."""
        self.lost.set()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(Unavailable("the supervisor is gone", code="supervisor_lost"))

    def on_message(self, message: control.Message, descriptors: list[int]) -> None:
        """One message of the supervisor."""
        if isinstance(message, control.Start):
            self._expected, self.restarts = message.held, message.restarts
        elif isinstance(message, control.Held):
            door, inside, held = _sockets(message, descriptors[2:])
            child = Child(
                number=message.child,
                pid=max(0, pidfd_number(descriptors[0])),
                pidfd=descriptors[0],
                pidns=descriptors[1],
                door=door,
                inside=inside,
                ended=asyncio.get_running_loop().create_future(),
            )
            if message.exited is not None:
                child.ended.set_result(message.exited)
            self._children[child.number] = child
            self._inherited.append(Inherited(child=child, meta=msgspec.json.decode(message.meta), held=held))
        elif isinstance(message, (control.Spawned, control.Done)):
            waiting = self._asked.pop(message.id, None)
            if waiting is not None and not waiting.done():
                waiting.set_result((message, descriptors))
            else:
                self._unwanted(message, descriptors)
        elif isinstance(message, control.Exited):
            self._exited(message.child, message.status)
        if self._expected is not None and len(self._inherited) >= self._expected:
            self._greeted.set()

    def _unwanted(self, message: control.Spawned | control.Done, descriptors: Sequence[int]) -> None:
        """Nobody waits any more: a process that nobody knows must not stay."""
        for number in descriptors:
            os.close(number)
        if not isinstance(message, control.Spawned):
            return
        with contextlib.suppress(Unavailable):
            if self._early.pop(message.child, None) is not None:
                self._send(control.Forget(child=message.child))
            else:
                self._unknown.add(message.child)
                self._send(control.Signal(child=message.child, signum=signal.SIGKILL))

    def _exited(self, number: int, status: int) -> None:
        child = self._children.pop(number, None)
        if number in self._unknown:
            self._unknown.discard(number)
            self._tell(control.Forget(child=number))
        elif child is None:
            self._early[number] = status
        elif not child.ended.done():
            child.ended.set_result(status)

    async def spawn(
        self,
        spec: Confinement,
        descriptors: Mapping[int, int],
        *,
        hold: Sequence[int] | None = None,
        meta: Json = None,
    ) -> Child:
        """Start a confined process that waits for ``go``.

        Args:
            spec: what it may see and do.
            descriptors: the child's number -> ours.
            hold: for agents: our descriptors that the supervisor keeps for the next core.
            meta: for agents: JSON that the next core gets back.

        Raises:
            ConfinementError: the platform refused a step.
            Unavailable: the supervisor did not answer.

        """
        order = control.Spawn(
            id=next(self._ids),
            spec=msgspec.Raw(spec.to_json()),
            numbers=list(descriptors),
            hold=hold is not None,
            meta=msgspec.Raw(canonical(meta)),
        )
        answer, received = await self._ask(order, [*descriptors.values(), *(hold or ())])
        if not isinstance(answer, control.Spawned):
            raise _failed(answer)
        door, inside, _ = _sockets(answer, received[2:])
        child = Child(
            number=answer.child,
            pid=answer.pid,
            pidfd=received[0],
            pidns=received[1],
            door=door,
            inside=inside,
            self_test=answer.self_test,
            ended=asyncio.get_running_loop().create_future(),
        )
        if answer.child in self._early:
            child.ended.set_result(self._early.pop(answer.child))
        else:
            self._children[child.number] = child
        return child

    async def go(self, child: Child) -> None:
        """Let it start its program. Raises ConfinementError, Unavailable."""
        answer, _ = await self._ask(control.Go(id=next(self._ids), child=child.number), ())
        if isinstance(answer, control.Done) and answer.code:
            raise _failed(answer)

    def signal(self, child: Child, signum: int) -> None:
        """Send a signal; SIGKILL ends everything in its pid namespace."""
        self._tell(control.Signal(child=child.number, signum=signum))

    def forget(self, child: Child) -> None:
        """A held agent has ended and its output is read."""
        self._tell(control.Forget(child=child.number))
        child.close()

    def release(self, child: Child, place: int) -> None:
        """The supervisor need not hold this one of an agent's descriptors any more."""
        self._tell(control.Release(child=child.number, place=place))

    def ready(self, summary: str) -> None:
        """Tell the person who waits."""
        self._send(control.Ready(summary=summary))

    def _tell(self, message: control.Message) -> None:
        """What a supervisor that is gone need not hear: every process it started has ended with it."""
        if not self.lost.is_set():
            self._send(message)

    def _send(self, message: control.Message, descriptors: Sequence[int] = ()) -> None:
        if self._line is None:
            raise Unavailable("there is no supervisor", code="supervisor_lost")
        self._line.send(message, descriptors)

    async def _ask(
        self, message: control.Spawn | control.Go, descriptors: Sequence[int]
    ) -> tuple[control.Message, list[int]]:
        waiting: asyncio.Future[tuple[control.Message, list[int]]] = asyncio.get_running_loop().create_future()
        self._asked[message.id] = waiting
        try:
            self._send(message, descriptors)
            return await asyncio.wait_for(waiting, SPAWN_S)
        except TimeoutError as late:
            raise Unavailable("the supervisor did not answer", code="supervisor_lost") from late
        finally:
            self._asked.pop(message.id, None)


def _sockets(
    message: control.Spawned | control.Held, descriptors: Sequence[int]
) -> tuple[int | None, tuple[int, ...], tuple[int, ...]]:
    """The door, the sockets that lead inside, and what follows them."""
    door = descriptors[0] if message.door else None
    first = int(message.door)
    return door, tuple(descriptors[first : first + message.inside]), tuple(descriptors[first + message.inside :])


def _failed(answer: control.Message) -> ConfinementError:
    if isinstance(answer, control.Done):
        return ConfinementError(answer.cause, code=answer.code, remedy=answer.remedy)
    return ConfinementError("the supervisor answered out of turn")
