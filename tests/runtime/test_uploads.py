"""What no call may carry: for one operator, once, for a moment, and then overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from tests.fakes import FakeClock, run

from ringwall.call import Operator
from ringwall.errors import BadInput, Limited, Refused, RingwallError
from ringwall.runtime import uploads
from ringwall.runtime.uploads import LIFE_S, MAX_ALL, MAX_OF_ONE, MAX_PIECE, MAX_VALUE, Shelf, is_name

ANN = Operator(name="ann", uid=1, connection=1)
BOB = Operator(name="bob", uid=2, connection=2)


def shelf() -> tuple[Shelf, FakeClock]:
    clock = FakeClock()
    return Shelf(clock, lambda _, __: None), clock


def test_it_is_taken_once_by_whom_it_is_from() -> None:
    kept, _ = shelf()
    name = kept.put(ANN, b"value")
    assert is_name(name)
    for other in (BOB, Operator(name="ann", uid=2, connection=1), Operator(name="bob", uid=1, connection=1)):
        with pytest.raises(Refused, match="no_such_upload"):
            kept.take(other, name)
    assert kept.take(Operator(name="ann", uid=1, connection=9), name) == b"value"
    with pytest.raises(Refused, match="no_such_upload"):
        kept.take(ANN, name)


def test_its_time_is_short_and_then_it_is_overwritten() -> None:
    clock, timers = FakeClock(), list[tuple[float, Callable[[], None]]]()
    kept = Shelf(clock, lambda seconds, work: timers.append((seconds, work)))
    kept.put(ANN, b"value")
    (held,) = kept._kept.values()  # pyright: ignore[reportPrivateUsage]
    clock.seconds += LIFE_S
    for seconds, work in timers:
        assert seconds >= LIFE_S
        work()
    assert kept._kept == {}  # pyright: ignore[reportPrivateUsage]
    assert held.data == bytes(5)
    assert "value" not in repr(held)


def test_the_timer_is_the_running_loops_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        asked = list[float]()

        def later(seconds: float, work: Callable[[], None]) -> None:
            asked.append(seconds)

        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", later)
        Shelf(FakeClock()).put(ANN, b"value")
        assert len(asked) == 1
        assert asked[0] >= LIFE_S

    run(main())


def test_one_operator_does_not_keep_the_others_out() -> None:
    kept, clock = shelf()
    for _ in range(MAX_OF_ONE):
        kept.put(ANN, b"x")
    with pytest.raises(Limited, match="too_many_uploads"):
        kept.put(ANN, b"x")
    kept.put(BOB, b"x")
    for uid in range(10, 20):
        for _ in range(MAX_OF_ONE):
            if len(kept) < MAX_ALL:
                kept.put(Operator(name="o", uid=uid, connection=1), b"x")
    with pytest.raises(Limited, match="too_many_uploads"):
        kept.put(BOB, b"x")
    clock.seconds += LIFE_S
    assert len(kept) == 0
    kept.put(BOB, b"x")


def test_sizes_are_bounded_each_piece_the_whole_and_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, _ = shelf()
    with pytest.raises(BadInput, match="upload_too_large"):
        kept.put(ANN, bytes(MAX_VALUE + 1))
    name = kept.put(ANN, bytes(MAX_VALUE))
    with pytest.raises(BadInput, match="upload_too_large"):
        kept.add(ANN, name, bytes(MAX_PIECE + 1))
    assert kept.add(ANN, name, b"x") == MAX_VALUE + 1
    with pytest.raises(BadInput, match="upload_too_large"):
        kept.take(ANN, name)
    assert len(kept) == 0
    monkeypatch.setattr(uploads, "MAX_WHOLE", 20)
    monkeypatch.setattr(uploads, "MAX_TOGETHER", 30)
    one, other = kept.put(ANN, bytes(10)), kept.put(BOB, bytes(15))
    with pytest.raises(Limited, match="too_many_uploads"):
        kept.add(ANN, one, bytes(6))
    with pytest.raises(BadInput, match="upload_too_large"):
        kept.add(BOB, other, bytes(6))
    assert len(kept) == 1


@pytest.mark.parametrize("text", ["", "x" * 32, "A" * 32, "0" * 31, "0" * 33, "../../etc/passwd", "0" * 31 + "\n"])
def test_nothing_else_is_a_name(text: str) -> None:
    assert not is_name(text)


class Shelves(RuleBasedStateMachine):
    """Against a dictionary that knows what may be there."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf, self.clock = shelf()
        self.known: dict[str, tuple[Operator, bytes, float]] = {}

    @rule(who=st.sampled_from([ANN, BOB]), data=st.binary(max_size=8))
    def put(self, who: Operator, data: bytes) -> None:
        try:
            name = self.shelf.put(who, data)
        except Limited:
            live = [one for one in self.known.values() if one[0] == who and one[2] > self.clock.seconds]
            assert len(live) >= MAX_OF_ONE
            return
        self.known[name] = (who, data, self.clock.seconds + LIFE_S)

    @rule(who=st.sampled_from([ANN, BOB]), pick=st.integers(0, 50))
    def take(self, who: Operator, pick: int) -> None:
        if not self.known:
            return
        name = list(self.known)[pick % len(self.known)]
        owner, data, until = self.known[name]
        try:
            assert self.shelf.take(who, name) == data
        except RingwallError:
            assert owner != who or until <= self.clock.seconds
            return
        assert (owner, until > self.clock.seconds) == (who, True)
        del self.known[name]

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.clock.seconds += seconds


TestShelves = Shelves.TestCase
TestShelves.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
