"""Children: what the supervisor says of them, in any order, ends in one state and no forgotten process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.fakes import run

from ringwall.confine.spec import Confinement, ResourceLimits
from ringwall.errors import ConfinementError, Unavailable
from ringwall.runtime import children as module
from ringwall.runtime import control
from ringwall.runtime.children import Child, Children

SPEC = Confinement(
    name="x", argv=("/bin/true",), env={}, cwd="/", binds=(), tmp_mib=1, network="none", uid=None, profile="agent",
    one_process=False, self_test=(),
    limits=ResourceLimits(),
)


class Line:
    """The supervisor's side, as far as the core hears of it."""

    def __init__(self) -> None:
        self.sent: list[control.Message] = []
        self.said = asyncio.Event()
        self.fault: Exception | None = None

    def send(self, message: control.Message, descriptors: Sequence[int] = ()) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent.append(message)
        self.said.set()


def started() -> tuple[Children, Line]:
    children, line = Children(), Line()
    children.attach(line)  # type: ignore[arg-type]
    return children, line


def two() -> list[int]:
    return list(os.pipe())


def sockets(count: int) -> list[int]:
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]


async def spawned(children: Children, line: Line) -> Child:
    task = asyncio.create_task(children.spawn(SPEC, {}))
    await line.said.wait()
    order = line.sent[-1]
    assert isinstance(order, control.Spawn)
    children.on_message(control.Spawned(id=order.id, child=7, pid=99, self_test={"a": "EPERM"}), two())
    return await task


def test_a_spawned_child_is_known_until_it_ends() -> None:
    async def scenario() -> None:
        children, line = started()
        child = await spawned(children, line)
        assert (child.number, child.pid, child.self_test) == (7, 99, {"a": "EPERM"})
        children.on_message(control.Exited(child=7, status=3), [])
        assert await child.ended == 3
        children.on_message(control.Exited(child=7, status=4), [])
        assert child.ended.result() == 3
        child.close()
        child.close()

    run(scenario())


def test_an_end_that_is_told_before_the_child_is_not_lost() -> None:
    async def scenario() -> None:
        children, line = started()
        children.on_message(control.Exited(child=7, status=5), [])
        child = await spawned(children, line)
        assert await child.ended == 5
        child.close()

    run(scenario())


def test_a_step_the_platform_refused_is_a_confinement_error() -> None:
    async def scenario() -> None:
        children, line = started()
        task = asyncio.create_task(children.spawn(SPEC, {}))
        await line.said.wait()
        children.on_message(control.Done(id=1, code="no_userns", cause="EPERM", remedy="sysctl"), [])
        with pytest.raises(ConfinementError) as fault:
            await task
        assert (fault.value.code, fault.value.remedy) == ("no_userns", "sysctl")

    run(scenario())


def test_a_supervisor_that_does_not_answer_is_lost_and_its_late_child_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SPAWN_S", 0.02)

    async def scenario() -> None:
        children, line = started()
        with pytest.raises(Unavailable):
            await children.spawn(SPEC, {})
        late = two()
        children.on_message(control.Spawned(id=1, child=7, pid=99, self_test={}), late)
        assert line.sent[-1] == control.Signal(child=7, signum=signal.SIGKILL)
        children.on_message(control.Exited(child=7, status=137), [])
        assert line.sent[-1] == control.Forget(child=7)
        assert (children._unknown, children._early) == (set(), {})
        for number in late:
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(number)

    run(scenario())


def test_a_late_child_that_has_ended_already_is_only_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPAWN_S", 0.02)

    async def scenario() -> None:
        children, line = started()
        with pytest.raises(Unavailable):
            await children.spawn(SPEC, {})
        children.on_message(control.Exited(child=7, status=0), [])
        children.on_message(control.Spawned(id=1, child=7, pid=99, self_test={}), two())
        assert line.sent[-1] == control.Forget(child=7)
        assert (children._unknown, children._early) == (set(), {})

    run(scenario())


def test_when_the_line_ends_whoever_waits_is_told() -> None:
    async def scenario() -> None:
        children, line = started()
        task = asyncio.create_task(children.spawn(SPEC, {}))
        await line.said.wait()
        children.on_close()
        with pytest.raises(Unavailable):
            await task
        assert children.lost.is_set()

    run(scenario())


def test_a_line_that_is_gone_already_refuses_and_remembers_nothing() -> None:
    async def scenario() -> None:
        children, line = started()
        line.fault = Unavailable("closed", code="supervisor_lost")
        with pytest.raises(Unavailable):
            await children.spawn(SPEC, {})
        assert children._asked == {}
        with pytest.raises(Unavailable):
            await Children().spawn(SPEC, {})

    run(scenario())


@pytest.mark.parametrize("held_first", [True, False])
def test_agents_that_outlived_a_core_are_taken_over_whatever_comes_first(held_first: bool) -> None:
    async def scenario() -> None:
        children, _ = started()
        pipes = [os.pidfd_open(os.getpid()), os.open("/dev/null", os.O_RDONLY), *two()]
        start = control.Start(held=1, restarts=2)
        held = control.Held(child=4, meta=msgspec.Raw(b'{"launch":"l1"}'), exited=9)
        for message in ((held, start) if held_first else (start, held)):
            children.on_message(message, pipes if message is held else [])
        found = await children.greeted()
        assert children.restarts == 2
        assert found[0].meta == {"launch": "l1"}
        assert found[0].held == tuple(pipes[2:])
        assert await found[0].child.ended == 9
        found[0].child.close()
        for number in found[0].held:
            os.close(number)

    run(scenario())


@pytest.mark.parametrize(("door", "inside"), [(True, 2), (True, 0), (False, 3), (False, 0)])
def test_the_sockets_of_its_loopback_are_told_apart_now_and_by_the_next_core(door: bool, inside: int) -> None:
    async def scenario() -> None:
        children, line = started()
        made = sockets(2 + door + inside + 3)
        task = asyncio.create_task(children.spawn(SPEC, {}))
        await line.said.wait()
        children.on_message(
            control.Spawned(id=1, child=7, pid=99, self_test={}, door=door, inside=inside), made[:-3]
        )
        children.on_message(control.Start(held=1, restarts=1), [])
        children.on_message(
            control.Held(child=8, meta=msgspec.Raw(b"{}"), exited=0, door=door, inside=inside),
            again := [os.pidfd_open(os.getpid()), *(os.dup(number) for number in made[1:])],
        )
        inherited = (await children.greeted())[0]
        assert inherited.held == tuple(again[-3:])
        for child, numbers in ((await task, made[:-3]), (inherited.child, again[:-3])):
            assert child.door == (numbers[2] if door else None)
            assert child.inside == tuple(numbers[3 if door else 2 :])
            child.close()
            child.close()
            for number in numbers:
                with pytest.raises(OSError, match="Bad file"):
                    os.fstat(number)
        for number in (*made[-3:], *again[-3:]):
            os.close(number)

    run(scenario())


def test_a_spec_travels_whole() -> None:
    async def scenario() -> None:
        children, line = started()
        child = await spawned(children, line)
        child.close()
        order = line.sent[0]
        assert isinstance(order, control.Spawn)
        assert Path(msgspec.json.decode(order.spec)["argv"][0]) == Path("/bin/true")

    run(scenario())
