"""Counters in the core's own memory. No method awaits anything, so each is atomic under asyncio."""

from __future__ import annotations

from typing import Final

from ringwall.clock import Clock
from ringwall.errors import Unavailable
from ringwall.limits.gcra import MAX_KEYS, Gcra, Take
from ringwall.manifest.types import Rate

MAX_BUDGETS: Final = MAX_KEYS  # sessions whose spending is remembered at once


class MemoryCounters:
    """Implements ``Counters``. Lost with the process, as are the calls that hold slots and reservations."""

    def __init__(self, clock: Clock) -> None:
        self._rates = Gcra(clock)
        self._slots: dict[str, set[str]] = {}
        self._spent: dict[str, int] = {}

    async def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        return self._rates.take(key, rate, cost)

    async def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        self._rates.refund(key, rate, cost)

    async def lease(self, key: str, holder: str, most: int) -> bool:
        holders = self._slots.setdefault(key, set())
        if len(holders) < most:
            holders.add(holder)
            return True
        if not holders:
            del self._slots[key]
        return False

    async def release(self, key: str, holder: str) -> None:
        holders = self._slots.get(key)
        if holders is not None:
            holders.discard(holder)
            if not holders:
                del self._slots[key]

    async def reserve(self, key: str, budget: int, amount: int) -> Take:
        spent = self._spent.get(key, 0)
        if spent + amount > budget:
            return Take(False, max(budget - spent, 0), None)
        if key not in self._spent and len(self._spent) >= MAX_BUDGETS:
            raise Unavailable(f"more than {MAX_BUDGETS} sessions have budgets", code="too_many_sessions",
                              remedy="end sessions that are over")
        self._spent[key] = spent + amount
        return Take(True, budget - spent - amount)

    async def settle(self, key: str, reserved: int, used: int) -> None:
        if key in self._spent:
            self._spent[key] = max(self._spent[key] - reserved + used, 0)

    async def forget(self, key: str) -> None:
        self._spent.pop(key, None)
