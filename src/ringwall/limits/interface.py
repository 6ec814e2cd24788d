"""Where counters live. In memory here; one Redis script per method later, hence the ``async``.

Every method is atomic: between its check and its change no other call gets in. A store that cannot answer
raises Unavailable; then nothing was taken and the ring refuses.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ringwall.errors import Unavailable
from ringwall.limits.gcra import Take
from ringwall.manifest.types import Rate


class Counters(Protocol):
    """Rates, slots and budgets by key. Every method may raise Unavailable."""

    async def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        """Take from a rate, all of ``cost`` or nothing."""
        ...

    async def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        """Undo a take."""
        ...

    async def lease(self, key: str, holder: str, most: int) -> bool:
        """Occupy one of ``most`` slots under the name ``holder``; False: all are taken."""
        ...

    async def release(self, key: str, holder: str) -> None:
        """Free the holder's slot; nothing happens if it has none."""
        ...

    async def reserve(self, key: str, budget: int, amount: int) -> Take:
        """Set ``amount`` of a budget aside, all or nothing. A budget never refills: retry_after is None."""
        ...

    async def settle(self, key: str, reserved: int, used: int) -> None:
        """Replace a reservation by what was used; more than was reserved counts too."""
        ...

    async def forget(self, key: str) -> None:
        """Drop a budget whose session is over; a late settle then does nothing."""
        ...


async def self_check(counters: Counters) -> None:
    """What any implementation must do; uses keys under ``self-check``. Raises Unavailable, naming the failure."""
    rate = Rate(count=1, seconds=3600.0, burst=2)
    taken = await asyncio.gather(*(counters.take("self-check/rate", rate) for _ in range(5)))
    _expect(sum(one.taken for one in taken) == 2, "a burst of 2 lets exactly 2 of 5 through")
    _expect(all((one.retry_after or 0) > 0 for one in taken if not one.taken), "a refused take says when to retry")
    _expect((await counters.take("self-check/rate", rate, 3)).retry_after is None, "more than the burst never fits")
    await counters.refund("self-check/rate", rate)
    _expect((await counters.take("self-check/rate", rate)).taken, "a refund can be taken again")
    leased = await asyncio.gather(*(counters.lease("self-check/slots", str(i), 2) for i in range(5)))
    _expect(sum(leased) == 2, "2 slots hold exactly 2 of 5")
    for i in range(5):
        await counters.release("self-check/slots", str(i))
    _expect(await counters.lease("self-check/slots", "again", 1), "a released slot is free")
    await counters.release("self-check/slots", "again")
    reserved = await asyncio.gather(*(counters.reserve("self-check/budget", 100, 40) for _ in range(5)))
    _expect(sum(one.taken for one in reserved) == 2, "a budget of 100 holds exactly 2 reservations of 40")
    await counters.settle("self-check/budget", 40, 10)
    _expect((await counters.reserve("self-check/budget", 100, 50)).taken, "what was not used is free again")
    _expect(not (await counters.reserve("self-check/budget", 100, 1)).taken, "a spent budget is spent")
    await counters.forget("self-check/budget")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise Unavailable(f"these counters do not count: {what}", code="bad_counters",
                          remedy="use another store for limits")
