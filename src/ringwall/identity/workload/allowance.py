"""A token bucket: what one launch may spend on frames, and one agent on SVIDs."""

from __future__ import annotations

from ringwall.clock import Clock


class Allowance:
    """Full at first.

    Args:
        clock: its monotonic side.
        burst: how much at once.
        refill: how much more each second.

    """

    def __init__(self, clock: Clock, burst: float, refill: float) -> None:
        self._clock = clock
        self._burst = self._left = burst
        self._refill = refill
        self._at = clock.monotonic()

    def pay(self, cost: float) -> bool:
        """Spend it, or nothing."""
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._refill)
        self._at = now
        if cost > self._left:
            return False
        self._left -= cost
        return True
