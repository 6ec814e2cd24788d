"""An answer on its way back: released ring by ring, counted, hashed, and nothing after a stop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from tests.fakes import NO, FakeClock, FakeEffect, FakePassage, FakeRing, call, run

from ringwall import running as module
from ringwall.call import Allowed, Chunk, Json, Kind, Last
from ringwall.interface import Stopped
from ringwall.running import MAX_RESULT_BYTES, Running


class Bench:
    def __init__(self, *items: Any, kind: Kind = "tool") -> None:
        self.trace: list[str] = []
        self.inner = FakeRing("guard", self.trace)
        self.outer = FakeRing("identity", self.trace)
        self.clock = FakeClock()
        self.running = Running(
            call=call(kind=kind), facts={}, record="acme/1", effect=FakeEffect(self.trace, *items),
            passages=[FakePassage(self.outer, Allowed()), FakePassage(self.inner, Allowed())], clock=self.clock,
        )

    async def values(self) -> list[Json]:
        return [chunk.value async for chunk in self.running.chunks()]


def test_the_ring_nearest_the_effect_goes_first() -> None:
    bench = Bench()
    assert run(bench.values()) == ["fine"]
    assert bench.trace[1:3] == ["guard:release", "identity:release"]


def test_what_an_inner_ring_held_back_still_crosses_the_outer_ones_before_they_finish() -> None:
    bench = Bench(Chunk(value="a", whole=False), Last(end="done"))

    async def hold(_: Chunk) -> Sequence[Chunk]:
        return ()

    async def give() -> Sequence[Chunk]:
        return (Chunk(value="held", whole=False),)

    bench.inner.on_release, bench.inner.on_finish = hold, give
    assert run(bench.values()) == ["held"]
    assert bench.trace == ["effect:begin", "guard:release", "effect:end", "guard:finish", "identity:release",
                           "identity:finish"]


def test_nothing_is_released_after_a_stop() -> None:
    bench = Bench(Chunk(value=1), Chunk(value=2), Chunk(value=3), Last(end="done"))

    async def stop_at_two(chunk: Chunk) -> Sequence[Chunk]:
        if chunk.value == 2:
            raise Stopped(NO)
        return (chunk,)

    bench.outer.on_release = stop_at_two
    got: list[Json] = []

    async def scenario() -> None:
        async for chunk in bench.running.chunks():
            got.append(chunk.value)  # noqa: PERF401 (the list must survive the exception)

    with pytest.raises(Stopped):
        run(scenario())
    assert got == [1]
    assert (bench.running.outcome().end, bench.running.outcome().code) == ("stopped", "no")


async def _raise(*_: object) -> Sequence[Chunk]:
    raise ZeroDivisionError


async def _hang(*_: object) -> Sequence[Chunk]:
    await asyncio.Event().wait()
    return ()


@pytest.mark.parametrize("where", ["on_release", "on_finish"])
@pytest.mark.parametrize("fault", [_raise, _hang])
def test_a_ring_that_fails_on_the_way_back_withholds_the_answer(
    where: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RELEASE_SECONDS", 0.05)
    bench = Bench()
    setattr(bench.inner, where, fault)
    with pytest.raises(Stopped) as stopped:
        run(bench.values())
    assert stopped.value.denied.code == "ring_failed"
    assert bench.running.outcome().end == "stopped"


def test_a_result_over_the_limit_is_withheld_and_one_at_the_limit_is_not() -> None:
    assert run(Bench(Chunk(value="x" * (MAX_RESULT_BYTES - 2)), Last(end="done")).values())
    bench = Bench(Chunk(value="x" * (MAX_RESULT_BYTES - 2)), Chunk(value=1), Last(end="done"))
    with pytest.raises(Stopped) as stopped:
        run(bench.values())
    assert stopped.value.denied.code == "result_too_large"


def test_one_intent_is_one_effect() -> None:
    bench = Bench()
    run(bench.values())
    with pytest.raises(RuntimeError):
        run(bench.values())


def test_a_settled_call_does_not_run() -> None:
    bench = Bench()
    run(bench.running.close())
    with pytest.raises(RuntimeError):
        run(bench.values())
    assert bench.trace == []


def test_the_outcome_names_what_was_released_and_how_long_it_took() -> None:
    bench = Bench(Chunk(value={"b": 1, "a": 2}), Last(end="done"))
    run(bench.values())
    bench.clock.seconds += 2.5
    outcome = bench.running.outcome()
    assert outcome.released == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    assert outcome.seconds == 2.5


def test_what_was_given_out_of_a_vault_is_not_hashed_into_the_log() -> None:
    bench = Bench(Chunk(value={"value": "hunter2"}), Last(end="done"), kind="secret")
    assert run(bench.values()) == [{"value": "hunter2"}]
    assert bench.running.outcome().released is None


def test_an_answer_of_nothing_has_no_hash() -> None:
    bench = Bench(Last(end="done"))
    assert run(bench.values()) == []
    assert bench.running.outcome().released is None


def test_what_comes_after_the_end_of_an_effect_is_not_released() -> None:
    assert run(Bench(Last(end="done"), Chunk(value="late")).values()) == []
