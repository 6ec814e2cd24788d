"""limits/gcra.py beside the moving window of the ``limits`` package, which somebody else wrote."""

from __future__ import annotations

import time
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from limits import RateLimitItemPerSecond
from ringwall.limits.gcra import Gcra
from ringwall.manifest.types import Rate

TICK = 1 / 64  # seconds; exact as a float


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@given(st.integers(1, 20), st.sampled_from([1, 2, 8]), st.lists(st.integers(0, 80), min_size=1, max_size=80))
@settings(max_examples=60, deadline=None)
def test_what_we_let_through_in_any_window_a_moving_window_of_burst_and_refill_lets_through(
        burst: int, seconds: int, pauses: list[int]) -> None:
    """In every window of the rate's length there are at most burst + count: the oracle with that limit agrees."""
    count, clock = burst, Clock()
    rate = Rate(count=count, seconds=float(seconds), burst=burst)
    gcra, kept = Gcra(clock), MemoryStorage()
    wide = MovingWindowRateLimiter(kept)
    item = RateLimitItemPerSecond(burst + count, seconds)
    with mock.patch.object(time, "time", clock.now):
        for pause in pauses:
            clock.at += pause * TICK
            if gcra.take("k", rate).taken:
                assert wide.hit(item, "k")


@given(st.integers(1, 20), st.sampled_from([1, 2, 8]), st.lists(st.integers(0, 80), min_size=1, max_size=80))
@settings(max_examples=60, deadline=None)
def test_a_burst_out_of_a_full_bucket_is_exactly_what_a_moving_window_lets_through(
        burst: int, seconds: int, pauses: list[int]) -> None:
    """After a pause as long as the window both are full, and of takes at one moment both let burst through."""
    clock = Clock()
    rate = Rate(count=burst, seconds=float(seconds), burst=burst)
    gcra, kept = Gcra(clock), MemoryStorage()
    window, item = MovingWindowRateLimiter(kept), RateLimitItemPerSecond(burst, seconds)
    with mock.patch.object(time, "time", clock.now):
        for pause in pauses:
            clock.at += 2 * seconds + pause * TICK
            ours = [gcra.take("k", rate).taken for _ in range(burst + 2)]
            theirs = [window.hit(item, "k") for _ in range(burst + 2)]
            assert ours == theirs == [True] * burst + [False] * 2
