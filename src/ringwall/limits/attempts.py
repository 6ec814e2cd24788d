"""The budget that is spent before anything is parsed: an attempt costs, whatever comes of it."""

from __future__ import annotations

from typing import Final

from ringwall.call import Denied
from ringwall.clock import Clock
from ringwall.limits.gcra import Gcra
from ringwall.manifest.types import Rate

CALLS: Final = Rate(count=50, seconds=1.0, burst=200)  # far above a busy agent, far below what parsing can bear
BYTES: Final = Rate(count=4 << 20, seconds=1.0, burst=32 << 20)  # four of the longest model requests at once


class AttemptBudget:
    """Implements ``interface.Attempts``. Nothing is ever refunded."""

    def __init__(self, clock: Clock, *, calls: Rate = CALLS, size: Rate = BYTES) -> None:
        """Set the budget of one origin.

        Args:
            clock: monotonic time.
            calls: attempts.
            size: bytes of bodies.

        """
        self._gcra = Gcra(clock)
        self._calls = calls
        self._size = size

    def attempt(self, key: str, size: int) -> Denied | None:
        """Count one attempt of ``size`` bytes by the origin ``key``; None: go on."""
        for name, rate, cost in (("calls", self._calls, 1), ("bytes", self._size, max(size, 1))):
            taken = self._gcra.take(f"{name}:{key}", rate, cost)
            if not taken.taken:
                return Denied(code="too_many_attempts", reason=f"too many {name} in too short a time",
                              retry_after=taken.retry_after, detail={"budget": name, "key": key})
        return None
