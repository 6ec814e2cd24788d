"""Where counters live. In the core's memory, or in Redis with one script per method, hence the ``async``.

Every method is atomic: between its check and its change no other call gets in. A store that cannot answer
raises Unavailable; then the ring refuses, or counts in memory where the manifest says ``local``.

A key is ``owner|name``. What one owner counts takes no room from another's: ``acme`` for a tenant and its
agents, ``acme/ana`` for what an agent can make many of (processes, tools, resources, sessions).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from ringwall.errors import Unavailable
from ringwall.limits.gcra import Take
from ringwall.manifest.types import Rate

STORE_DOWN: Final = "limits_store_down"  # the one fault for which ``on_store_down = "local"`` helps
MOST: Final = 2**53 - 1  # of a budget: exact in every store
KEEP_SESSION: Final = 30 * 86_400  # seconds that a store remembers a session nobody ended
KEEP_DAY: Final = 2 * 86_400  # seconds: a day's budget, and whatever settles after midnight


class Reserve(Protocol):
    """``Counters.reserve`` by itself: what the log is counted again with."""

    def __call__(self, book: str, field: str, budget: int, amount: int, keep: int) -> Awaitable[Take]: ...


Replay = Callable[[Reserve], Awaitable[None]]
"""Counts this core's calls of the log, by the function it is given."""


class Counters(Protocol):
    """Rates, slots and budgets by key. Every method may raise Unavailable."""

    async def open(self) -> None:
        """Make ready, and count again what the log says was used where the counters do not know it."""
        ...

    async def close(self) -> None:
        """Give up what is held open."""
        ...

    async def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        """Take from a rate, all of ``cost`` or nothing."""
        ...

    async def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        """Undo a take."""
        ...

    async def lease(self, key: str, holder: str, most: int) -> Take:
        """Occupy one of ``most`` slots under the name ``holder``."""
        ...

    async def release(self, key: str, holder: str) -> None:
        """Free the holder's slot; nothing happens if it has none."""
        ...

    async def reserve(self, book: str, field: str, budget: int, amount: int, keep: int) -> Take:
        """Set ``amount`` of a budget aside, all or nothing. A budget never refills: retry_after is None.

        Args:
            book: the session or day, as a key; all of it is forgotten together.
            field: which budget in it.
            budget: how much there is in all, at most ``MOST``.
            amount: how much is wanted.
            keep: seconds after which a book that nobody used may be forgotten.

        """
        ...

    async def settle(self, book: str, field: str, reserved: int, used: int) -> None:
        """Replace a reservation by what was used; more than was reserved counts too."""
        ...

    async def forget(self, book: str) -> None:
        """Drop the budgets of a session that is over; a late settle then does nothing."""
        ...

    async def look(self, key: str, rate: Rate) -> int:
        """How many of a rate could be taken now. Changes nothing."""
        ...

    async def held(self, key: str) -> int:
        """How many slots are taken."""
        ...

    async def spent(self, book: str) -> Mapping[str, int]:
        """What was used or is reserved, by field."""
        ...


async def self_check(counters: Counters) -> None:
    """What any implementation must do; its owner is ``self-check``. Raises Unavailable, which names the fault."""
    await _check_rates(counters)
    leased = await asyncio.gather(*(counters.lease("self-check|slots", str(i), 2) for i in range(5)))
    _expect(sum(one.taken for one in leased) == 2, "2 slots hold exactly 2 of 5")
    _expect(await counters.held("self-check|slots") == 2, "taken slots are counted")
    for i in range(5):
        await counters.release("self-check|slots", str(i))
    _expect((await counters.lease("self-check|slots", "again", 1)).taken, "a released slot is free")
    await counters.release("self-check|slots", "again")
    book = "self-check|book"
    await counters.forget(book)
    reserved = await asyncio.gather(*(counters.reserve(book, "a", 100, 40, KEEP_DAY) for _ in range(5)))
    _expect(sum(one.taken for one in reserved) == 2, "a budget of 100 holds exactly 2 reservations of 40")
    await counters.settle(book, "a", 40, 10)
    _expect((await counters.reserve(book, "a", 100, 50, KEEP_DAY)).taken, "what was not used is free again")
    _expect(not (await counters.reserve(book, "a", 100, 1, KEEP_DAY)).taken, "a spent budget is spent")
    _expect((await counters.reserve(book, "b", 1, 1, KEEP_DAY)).taken, "one budget is not another")
    _expect(dict(await counters.spent(book)) == {"a": 100, "b": 1}, "what was spent can be asked")
    await counters.forget(book)
    await counters.settle(book, "a", 0, 7)
    _expect(not await counters.spent(book), "what is forgotten stays forgotten")


async def _check_rates(counters: Counters) -> None:
    key, rate = "self-check|rate", Rate(count=1, seconds=3600.0, burst=2)
    await counters.refund(key, rate, rate.burst)
    taken = await asyncio.gather(*(counters.take(key, rate) for _ in range(5)))
    _expect(sum(one.taken for one in taken) == 2, "a burst of 2 lets exactly 2 of 5 through")
    _expect(all((one.retry_after or 0) > 0 for one in taken if not one.taken), "a refused take says when to retry")
    _expect(await counters.look(key, rate) == 0, "an empty bucket shows as empty")
    _expect((await counters.take(key, rate, 3)).retry_after is None, "more than the burst never fits")
    await counters.refund(key, rate)
    _expect((await counters.take(key, rate)).taken, "a refund can be taken again")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise Unavailable(f"these counters do not count: {what}", code="bad_counters",
                          remedy="use another store for limits")
