"""limits/gcra.py: exact, and never forgetful in an attacker's favour."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.limits.gcra import Gcra
from ringwall.manifest.types import Rate

TICK = 1 / 512  # seconds: a whole number of nanoseconds and exact as a float


@dataclass
class FakeClock:
    ticks: int = 0

    def now(self) -> float:
        return self.ticks * TICK

    def monotonic(self) -> float:
        return 1000.0 + self.ticks * TICK


@dataclass
class Bucket:
    """The oracle: a token bucket in exact fractions, one step per event."""

    rate: Rate
    at: Fraction = Fraction(0)
    tokens: Fraction = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Fraction(self.rate.burst)

    def to(self, now: Fraction) -> None:
        gained = (now - self.at) * self.rate.count / Fraction(self.rate.seconds)
        self.tokens, self.at = min(Fraction(self.rate.burst), self.tokens + gained), now

    def wait(self, cost: int) -> Fraction:
        return max(Fraction(0), (cost - self.tokens) * Fraction(self.rate.seconds) / self.rate.count)


def _even(rate: Rate) -> bool:
    """Whether its interval is a whole number of nanoseconds; any other is rounded up, against the caller."""
    return int(rate.seconds * 10**9) % rate.count == 0


RATES = st.builds(Rate, count=st.sampled_from([1, 2, 10, 60, 600]), seconds=st.sampled_from([1.0, 60.0, 3600.0]),
                  burst=st.integers(1, 20)).filter(_even)
# (ticks to wait, cost, refund the oldest take of this key first?, key)
EVENTS = st.lists(st.tuples(st.integers(0, 40_000) | st.integers(0, 100), st.integers(1, 5), st.booleans(),
                            st.sampled_from("abcdef")), max_size=60)


@given(RATES, EVENTS)
@settings(max_examples=150, deadline=None)
def test_it_agrees_with_an_exact_token_bucket_in_every_answer(
        rate: Rate, events: list[tuple[int, int, bool, str]]) -> None:
    clock, buckets, taken = FakeClock(), {}, {}
    gcra = Gcra(clock)
    for ticks, cost, refund, key in events:
        clock.ticks += ticks
        bucket = buckets.setdefault(key, Bucket(rate, Fraction(clock.ticks, 512)))
        bucket.to(Fraction(clock.ticks, 512))
        if refund and taken.get(key):
            back = taken[key].pop(0)
            gcra.refund(key, rate, back)
            bucket.tokens = min(Fraction(rate.burst), bucket.tokens + back)
        take, wait = gcra.take(key, rate, cost), bucket.wait(cost)
        assert take.taken == (wait == 0)
        if take.taken:
            bucket.tokens -= cost
            taken.setdefault(key, []).append(cost)
        elif cost > rate.burst:
            assert take.retry_after is None
        else:
            assert take.retry_after == float(wait)
        assert take.remaining == bucket.tokens // 1


@given(RATES, EVENTS)
@settings(max_examples=100, deadline=None)
def test_a_full_table_refuses_new_keys_and_forgets_no_bucket_that_is_not_full(
        rate: Rate, events: list[tuple[int, int, bool, str]]) -> None:
    clock, buckets = FakeClock(), {}
    gcra = Gcra(clock, max_keys=3)
    for ticks, cost, _, key in events:
        clock.ticks += ticks
        now = Fraction(clock.ticks, 512)
        bucket = buckets.setdefault(key, Bucket(rate, now))
        bucket.to(now)
        take = gcra.take(key, rate, cost)
        assert len(gcra) <= 3
        if take.taken:
            assert bucket.wait(cost) == 0
            bucket.tokens -= cost
        elif bucket.wait(cost) == 0:  # refused for want of room: three others are in use
            assert bucket.tokens == rate.burst
            assert sum(other.tokens < rate.burst for other in buckets.values()) >= 3 or len(gcra) == 3
            assert take.retry_after is not None and take.retry_after > 0


def test_waiting_exactly_as_told_succeeds_and_one_tick_less_does_not() -> None:
    clock, rate = FakeClock(), Rate(count=1, seconds=1.0, burst=1)
    gcra = Gcra(clock)
    assert gcra.take("k", rate).taken
    told = gcra.take("k", rate).retry_after
    assert told == 1.0
    clock.ticks += 511
    assert not gcra.take("k", rate).taken
    clock.ticks += 1
    assert gcra.take("k", rate).taken


def test_room_is_found_again_once_a_bucket_is_full() -> None:
    clock, rate = FakeClock(), Rate(count=1, seconds=1.0, burst=1)
    gcra = Gcra(clock, max_keys=2)
    assert gcra.take("a", rate).taken and gcra.take("b", rate).taken
    refused = gcra.take("c", rate)
    assert not refused.taken and refused.retry_after
    clock.ticks += 512
    assert gcra.take("c", rate).taken


def test_a_bucket_that_a_refund_filled_again_is_forgotten() -> None:
    rate = Rate(count=1, seconds=1.0, burst=2)
    gcra = Gcra(FakeClock())
    gcra.take("k", rate)
    assert len(gcra) == 1
    gcra.refund("k", rate)
    gcra.refund("never taken", rate)
    assert len(gcra) == 0 and gcra.take("k", rate).remaining == 1
