"""The generic cell rate algorithm (ITU-T I.371): a token bucket in one number a key.

The number is the theoretical arrival time: when the bucket will be full again. All arithmetic is in whole
nanoseconds, so that a limit is exact; an interval that does not come out even is rounded up, against the
caller.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from ringwall.clock import Clock
from ringwall.manifest.types import Rate

MAX_KEYS: Final = 65_536  # 10 MB at most; keys come from attested subjects, so this many is a fault or an attack
_NS: Final = 1_000_000_000


class Take(NamedTuple):
    """Whether it was taken, what is left, and when it would fit if not (None: never)."""

    taken: bool
    remaining: int
    retry_after: float | None = 0.0  # seconds


class Gcra:
    """Rate counters by key, in memory. Not shared between threads."""

    def __init__(self, clock: Clock, max_keys: int = MAX_KEYS) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._full_at: dict[str, int] = {}  # key -> nanoseconds of the clock
        self._sweep_at = 0  # before this time no key can be forgotten

    def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        """Take ``cost`` at once or nothing.

        Args:
            key: whose bucket.
            rate: its size and refill; the same for a key each time.
            cost: how many, at least 1.

        """
        now, interval = self._now(), _interval(rate)
        full_at = max(self._full_at.get(key, now), now)
        later = full_at + cost * interval
        wait = later - rate.burst * interval - now
        if wait > 0:
            never = cost > rate.burst
            return Take(False, _left(full_at, now, rate, interval), None if never else wait / _NS)
        if key not in self._full_at and not self._room(now):
            return Take(False, 0, max(self._sweep_at - now, 1) / _NS)
        self._full_at[key] = later
        return Take(True, _left(later, now, rate, interval))

    def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        """Give back what was taken; a bucket never holds more than its burst."""
        full_at = self._full_at.get(key)
        if full_at is None:
            return
        full_at -= cost * _interval(rate)
        if full_at <= self._now():
            del self._full_at[key]
        else:
            self._full_at[key] = full_at

    def look(self, key: str, rate: Rate) -> int:
        """How many could be taken now."""
        now = self._now()
        return _left(max(self._full_at.get(key, now), now), now, rate, _interval(rate))

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)

    def _now(self) -> int:
        return int(self._clock.monotonic() * _NS)

    def _room(self, now: int) -> bool:
        """Make room for one more key by forgetting full buckets; one that is not full is never forgotten."""
        if len(self._full_at) < self._max_keys:
            return True
        if now < self._sweep_at:
            return False
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        self._sweep_at = min(self._full_at.values(), default=0)
        return len(self._full_at) < self._max_keys


def _interval(rate: Rate) -> int:
    return math.ceil(rate.seconds * _NS / rate.count)


def _left(full_at: int, now: int, rate: Rate, interval: int) -> int:
    return (rate.burst * interval - (full_at - now)) // interval
