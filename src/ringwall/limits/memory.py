"""Counters in the core's own memory. No method awaits anything, so each is atomic under asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ringwall.clock import Clock
from ringwall.errors import Unavailable
from ringwall.limits.gcra import Gcra, Take
from ringwall.limits.interface import Replay
from ringwall.manifest.types import Rate

MAX_KEYS: Final = 16_384  # rates of one owner that are not full: 3 MB; resources are named by agents
MAX_BOOKS: Final = 4096  # sessions and days of one owner
MAX_FIELDS: Final = 4096  # budgets in one session or day


@dataclass(slots=True)
class _Book:
    until: float  # of the monotonic clock
    spent: dict[str, int] = field(default_factory=dict[str, int])


class MemoryCounters:
    """Implements ``Counters``. Lost with the process; budgets are counted again from the log (``replay``)."""

    def __init__(self, clock: Clock, replay: Replay | None = None, max_keys: int = MAX_KEYS) -> None:
        self._clock = clock
        self._replay = replay
        self._max_keys = max_keys
        self._rates: dict[str, Gcra] = {}  # by owner, so that no owner fills another's table
        self._slots: dict[str, set[str]] = {}
        self._books: dict[str, dict[str, _Book]] = {}

    async def open(self) -> None:
        if self._replay is not None:
            await self._replay(self.reserve)

    async def close(self) -> None:
        return None

    async def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        return self._of(key).take(key, rate, cost)

    async def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        self._of(key).refund(key, rate, cost)

    async def look(self, key: str, rate: Rate) -> int:
        return self._of(key).look(key, rate)

    def _of(self, key: str) -> Gcra:
        owner = key[: key.index("|")]
        found = self._rates.get(owner)
        if found is None:
            found = self._rates[owner] = Gcra(self._clock, self._max_keys)
        return found

    async def lease(self, key: str, holder: str, most: int) -> Take:
        holders = self._slots.setdefault(key, set())
        if len(holders) < most:
            holders.add(holder)
            return Take(True, most - len(holders))
        if not holders:
            del self._slots[key]
        return Take(False, 0, None)

    async def release(self, key: str, holder: str) -> None:
        holders = self._slots.get(key)
        if holders is not None:
            holders.discard(holder)
            if not holders:
                del self._slots[key]

    async def held(self, key: str) -> int:
        return len(self._slots.get(key, ()))

    async def reserve(self, book: str, field: str, budget: int, amount: int, keep: int) -> Take:
        found = self._book(book, keep)
        spent = found.spent.get(field, 0)
        if spent + amount > budget:
            return Take(False, max(budget - spent, 0), None)
        if field not in found.spent and len(found.spent) >= MAX_FIELDS:
            raise Unavailable(f"more than {MAX_FIELDS} budgets in one session or day", code="too_many_budgets",
                              remedy="limit the tool, and not each resource")
        found.spent[field] = spent + amount
        return Take(True, budget - spent - amount, None)

    def _book(self, name: str, keep: int) -> _Book:
        owner, now = name[: name.index("|")], self._clock.monotonic()
        books = self._books.setdefault(owner, {})
        found = books.get(name)
        if found is None:
            self._books[owner] = books = {one: book for one, book in books.items() if book.until > now}
            if len(books) >= MAX_BOOKS:
                raise Unavailable(f"more than {MAX_BOOKS} sessions have budgets", code="too_many_sessions",
                                  remedy="end sessions that are over")
            found = books[name] = _Book(now + keep)
        found.until = now + keep
        return found

    async def settle(self, book: str, field: str, reserved: int, used: int) -> None:
        found = self._books.get(book[: book.index("|")], {}).get(book)
        if found is not None and field in found.spent:
            found.spent[field] = max(found.spent[field] - reserved + used, 0)

    async def forget(self, book: str) -> None:
        self._books.get(book[: book.index("|")], {}).pop(book, None)

    async def spent(self, book: str) -> Mapping[str, int]:
        found = self._books.get(book[: book.index("|")], {}).get(book)
        return dict(found.spent) if found is not None else {}
