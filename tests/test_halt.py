"""Ending calls that are under way: nothing is released after it, and each call says how far it had come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
from tests.fakes import FakeClock, World, call, run, until

from ringwall.call import Call, Chunk, Denied, Facts, Last, Outcome
from ringwall.interface import Stopped
from ringwall.running import Flights, Halted, Running

WHY = Denied(code="frozen", reason="this agent is frozen")


def halted(calls: int, begun: int, late: int) -> Halted:
    return Halted(calls=calls, begun=begun, late=late, at=FakeClock().monotonic())


def everything(_: Call) -> bool:
    return True


async def performed(world: World, made: Call | None = None, slow: asyncio.Event | None = None) -> list[Any]:
    """What the door would have: pieces, then the code of a stop or refusal."""
    got: list[Any] = []
    async with world.wall.perform(made or call()) as running:
        assert isinstance(running, Running), running
        try:
            async for chunk in running.chunks():
                got.append(chunk.value)
                if slow is not None:
                    await slow.wait()
        except Stopped as stop:
            got.append(stop.denied.code)
    return got


def outcome(world: World) -> tuple[str, str]:
    (found,) = world.journal.of("outcome")
    assert isinstance(found, Outcome)
    return found.end, found.code


def test_a_call_whose_effect_has_begun_is_ended_and_its_outcome_is_unknown() -> None:
    async def main() -> None:
        world = World(("identity",), asyncio.Event(), Chunk(value="too late"), Last(end="done"))
        task = asyncio.create_task(performed(world))
        await until(lambda: "effect:begin" in world.trace)
        assert await world.wall.cancel(everything, WHY) == halted(1, 1, 0)
        assert "effect:end" in world.trace  # on return, not some time later
        assert await task == ["frozen"]
        assert task.cancelling() == 0
        assert outcome(world) == ("unknown", "frozen")
        assert world.ends() == ["identity:leave:unknown"]

    run(main())


def test_a_call_that_is_still_in_the_rings_never_begins_and_is_cancelled() -> None:
    async def main() -> None:
        world, gate = World(("identity", "policy")), asyncio.Event()

        async def wait(_: Call, __: Facts) -> None:
            await gate.wait()

        world.rings["policy"].on_enter = wait
        task = asyncio.create_task(performed(world))
        await until(lambda: "policy:enter" in world.trace)
        assert await world.wall.cancel(everything, WHY) == halted(1, 0, 0)
        gate.set()
        assert await task == ["frozen"]
        assert "effect:begin" not in world.trace
        assert outcome(world) == ("cancelled", "frozen")

    run(main())


def test_what_the_effect_gave_is_not_released_when_a_ring_still_judges_it() -> None:
    async def main() -> None:
        world, never = World(("identity",), Chunk(value="secret"), Last(end="done")), asyncio.Event()

        async def judge(chunk: Chunk) -> Sequence[Chunk]:
            await never.wait()
            return (chunk,)

        world.rings["identity"].on_release = judge
        task = asyncio.create_task(performed(world))
        await until(lambda: "identity:release" in world.trace)
        await world.wall.cancel(everything, WHY)
        assert await task == ["frozen"]

    run(main())


def test_an_effect_that_waits_for_a_slow_reader_is_ended_at_once_and_the_reader_told_later() -> None:
    async def main() -> None:
        slow = asyncio.Event()
        world = World(("identity",), Chunk(value="a", whole=False), Chunk(value="b", whole=False), Last(end="done"))
        task = asyncio.create_task(performed(world, slow=slow))
        await until(lambda: "identity:release" in world.trace)
        await asyncio.sleep(0)
        assert await world.wall.cancel(everything, WHY) == halted(1, 1, 0)
        assert "effect:end" in world.trace
        assert not task.done()
        slow.set()
        assert await task == ["a", "frozen"]
        assert outcome(world) == ("unknown", "frozen")

    run(main())


def test_only_matching_calls_are_ended() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        world = World(("identity",), gate, Chunk(value="fine"), Last(end="done"))
        other = asyncio.create_task(performed(world, call("docs/read")))
        mail = asyncio.create_task(performed(world, call("mail/send")))
        await until(lambda: world.trace.count("effect:begin") == 2)
        assert await world.wall.cancel(lambda one: one.target.name == "mail/send", WHY) == halted(1, 1, 0)
        gate.set()
        assert (await mail, await other) == (["frozen"], ["fine"])
        assert await world.wall.cancel(everything, WHY) == halted(0, 0, 0)

    run(main())


def test_a_caller_who_hangs_up_at_the_same_moment_stays_cancelled() -> None:
    async def main() -> None:
        world = World(("identity",), asyncio.Event())
        task = asyncio.create_task(performed(world))
        await until(lambda: "effect:begin" in world.trace)
        task.cancel()
        await world.wall.cancel(everything, WHY)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert outcome(world) == ("unknown", "frozen")

    run(main())


class Stubborn:
    """An effect that does not end when it is told to."""

    def __init__(self, clean_up: Callable[[], Any]) -> None:
        self._clean_up = clean_up
        self.begun = False

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        self.begun = True
        try:
            await asyncio.Event().wait()
            yield Last(end="done")
        finally:
            await self._clean_up()


def test_an_effect_that_does_not_end_in_time_is_counted_as_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringwall.wall.HALT_SECONDS", 0.01)

    async def main() -> None:
        gate = asyncio.Event()
        world, effect = World(("identity",)), Stubborn(gate.wait)
        world.wall._effects["tool"] = effect  # pyright: ignore[reportPrivateUsage]
        task = asyncio.create_task(performed(world))
        await until(lambda: effect.begun)
        assert await world.wall.cancel(everything, WHY) == halted(1, 1, 1)
        gate.set()
        assert await task == ["frozen"]

    run(main())


def test_the_last_end_is_when_the_effect_was_over_and_not_when_its_call_was_settled() -> None:
    async def main() -> None:
        world = World(("identity",))

        async def clean_up() -> None:
            world.clock.seconds += 5

        async def settle() -> None:
            world.clock.seconds += 100

        world.rings["identity"].on_leave = settle
        effect = world.wall._effects["tool"] = Stubborn(clean_up)  # pyright: ignore[reportPrivateUsage]
        task = asyncio.create_task(performed(world))
        await until(lambda: effect.begun)
        assert (await world.wall.cancel(everything, WHY)).at == FakeClock().monotonic() + 5
        assert await task == ["frozen"]

    run(main())


def test_an_effect_that_fails_while_it_is_ended_releases_nothing_either() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        world, effect = World(("identity",)), Stubborn(broken)
        world.wall._effects["tool"] = effect  # pyright: ignore[reportPrivateUsage]
        task = asyncio.create_task(performed(world))
        await until(lambda: effect.begun)
        await world.wall.cancel(everything, WHY)
        assert await task == ["frozen"]
        assert task.cancelling() == 0

    run(main())


class Lingering:
    """An effect that is not over when it is told to end, but when the gate opens."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.over = False

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        try:
            yield Chunk(value=1)
        finally:
            await self.gate.wait()
            self.over = True


async def with_a_piece(effect: Lingering) -> tuple[Flights, Running, AsyncGenerator[Chunk, None]]:
    """A call whose reader is busy with the first piece."""
    flights = Flights(FakeClock())
    flight = flights.open(call())
    running = flight.carries(Running(
        call=flight.call, facts={}, record="acme/1", effect=effect, passages=[], clock=FakeClock()))
    pieces = running.chunks()
    await anext(pieces)
    return flights, running, pieces


def test_an_effect_that_its_door_is_ending_already_is_waited_for_and_late_if_it_lasts() -> None:
    async def main() -> None:
        effect = Lingering()
        flights, running, pieces = await with_a_piece(effect)
        left = asyncio.create_task(running.close())
        await asyncio.sleep(0)
        assert await flights.halt(everything, WHY, 0.01) == halted(1, 1, 1)
        effect.gate.set()
        await left
        assert (effect.over, running.over_at) == (True, FakeClock().monotonic())
        await pieces.aclose()

    run(main())


def test_a_call_is_not_settled_while_a_freeze_still_ends_its_effect() -> None:
    async def main() -> None:
        effect = Lingering()
        flights, running, pieces = await with_a_piece(effect)
        halting = asyncio.create_task(flights.halt(everything, WHY, 10))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Stopped):
            await anext(pieces)
        assert running.over_at is None
        left = asyncio.create_task(running.close())
        await asyncio.sleep(0)
        assert not left.done()
        effect.gate.set()
        await left
        assert effect.over
        assert await halting == halted(1, 1, 0)

    run(main())
