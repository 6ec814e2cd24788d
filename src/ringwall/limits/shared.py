"""Counters in Redis or Valkey, shared by every core that names the same store. Leases of many are spent here.

The store is not believed to be there, or to remember: it must answer in time, know the epoch under which it was
opened, and hold what a script expects. Else nothing is taken. After counters were lost they are opened anew:
rates as if just used up, budgets counted again from the log.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ringwall.errors import Unavailable
from ringwall.limits import lua
from ringwall.limits.gcra import Take
from ringwall.limits.interface import MOST, STORE_DOWN, Replay
from ringwall.limits.memory import MAX_FIELDS
from ringwall.limits.wire import Redis, Reply
from ringwall.manifest.types import Rate

LEASE: Final = 100  # tokens of a rate held here at most
PART: Final = 10  # and never more than this part of its burst
MAX_POOLS: Final = 16_384  # rates with tokens here; beyond that each take asks the store
SLOT_SECONDS: Final = 600  # after which a slot nobody freed is free: no call may run that long
MAX_OWED: Final = 10_000  # gives-back that wait for the store; one call owes about six
PAID_AT_ONCE: Final = 32  # of them before one question: its caller waits for them
_MICRO: Final = 1_000_000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pool:
    """Tokens of one rate that were taken from the store and not spent yet."""

    tokens: int = 0
    left: int = 0  # in the store, when it was last asked
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


_Owed = tuple[str, str, tuple[int | str, ...]]


class SharedCounters:
    """Implements ``Counters``.

    Args:
        redis: the line to the store.
        domain: keys are apart from those of other trust domains.
        installation: who this core is across restarts; one at a time.
        replay: counts this core's budgets again from its log; called before the first use of fresh counters.

    """

    def __init__(self, *, redis: Redis, domain: str, installation: str, replay: Replay) -> None:
        self._redis = redis
        self._prefix = f"{{ringwall:{domain}}}:"  # braces: one slot of a cluster
        self._slots = f"{self._prefix}slots:{installation}"
        self._installation = installation
        self._replay = replay
        self._epoch = ""
        self._opened = False
        self._opening: asyncio.Task[None] | None = None
        self._pools: dict[str, _Pool] = {}
        self._held: dict[tuple[str, str], int] = {}
        self._owed: deque[_Owed] = deque()

    async def open(self) -> None:
        await self._ready()

    async def close(self) -> None:
        if self._opening is not None:
            opening = self._opening
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        await self._redis.close()

    async def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        pool = self._pools.get(key)
        if pool is not None and pool.tokens >= cost:
            pool.tokens -= cost
            return Take(True, pool.tokens + pool.left)
        await self._ready()  # opening forgets what was held
        pool = self._pools.get(key)
        # What is held here may be spent at any time: so much less may be taken at once from the store.
        hold = min(LEASE, rate.burst // PART)
        if hold < 2 * cost or (pool is None and len(self._pools) >= MAX_POOLS):
            return (await self._take(key, rate, rate.burst - (hold if pool else 0), cost, cost))[1]
        if pool is None:
            pool = self._pools[key] = _Pool()
        async with pool.turn:
            if pool.tokens < cost:
                got, take = await self._take(key, rate, rate.burst - hold, cost, hold)
                if not take.taken:
                    return take
                pool.tokens += got
                pool.left = take.remaining
            pool.tokens -= cost
        return Take(True, pool.tokens + pool.left)

    async def _take(self, key: str, rate: Rate, burst: int, least: int, most: int) -> tuple[int, Take]:
        reply = await self._run(lua.TAKE, key, *_bucket(rate, burst), least, most)
        got, left, wait = _whole(reply, 3)
        if got:
            return got, Take(True, left)
        return 0, Take(False, left, None if wait < 0 else wait / _MICRO)

    async def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        pool = self._pools.get(key)
        if pool is not None and pool.tokens + cost <= min(LEASE, rate.burst // PART):
            pool.tokens += cost
            return
        await self._give_back(lua.REFUND, key, *_bucket(rate, rate.burst), cost)

    async def look(self, key: str, rate: Rate) -> int:
        pool = self._pools.get(key)
        return _one(await self._run(lua.LOOK, key, *_bucket(rate, rate.burst))) + (pool.tokens if pool else 0)

    async def lease(self, key: str, holder: str, most: int) -> Take:
        name = f"{self._installation}.{holder}"
        taken, left = _whole(await self._run(lua.LEASE, key, name, most, SLOT_SECONDS * _MICRO), 2)
        if taken:
            self._held[(key, name)] = most
        return Take(bool(taken), left, None)

    async def release(self, key: str, holder: str) -> None:
        name = f"{self._installation}.{holder}"
        self._held.pop((key, name), None)
        await self._give_back(lua.RELEASE, key, name)

    async def held(self, key: str) -> int:
        return _one(await self._run(lua.HELD, key))

    async def reserve(self, book: str, field: str, budget: int, amount: int, keep: int) -> Take:
        if amount > MOST:
            return Take(False, 0, None)
        reply = await self._run(lua.RESERVE, book, field, budget, amount, keep, MAX_FIELDS)
        taken, left = _whole(reply, 2)
        return Take(bool(taken), left, None)

    async def _seed(self, book: str, field: str, budget: int, amount: int, keep: int) -> Take:
        """As ``reserve``, before the counters are open to others."""
        await self._script(lua.RESERVE, book, field, budget, amount, keep, MAX_FIELDS)
        return Take(True, 0)

    async def settle(self, book: str, field: str, reserved: int, used: int) -> None:
        await self._give_back(lua.SETTLE, book, field, reserved, min(used, MOST))

    async def forget(self, book: str) -> None:
        await self._give_back(lua.FORGET, book)

    async def spent(self, book: str) -> Mapping[str, int]:
        reply = await self._run(lua.SPENT, book)
        try:
            flat = [one.decode() for one in cast("list[bytes]", reply)]
            return {name: int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        except (TypeError, ValueError, AttributeError) as fault:
            raise _nonsense() from fault

    async def _give_back(self, script: str, key: str, *args: int | str) -> None:
        """Do it now, or when the store is back: nothing that was given back may be forgotten."""
        try:
            await self._run(script, key, *args)
        except Unavailable as down:
            if down.code not in {STORE_DOWN, "limits_lost"}:
                raise
            if script == lua.REFUND and down.code == "limits_lost":
                return  # there is nothing left to give back to
            if len(self._owed) < MAX_OWED:
                self._owed.append((script, key, args))
            elif script == lua.SETTLE:  # all others only cost whoever is owed
                raise

    async def _run(self, script: str, key: str, *args: int | str) -> Reply:
        """One script on one key. Raises Unavailable: then nothing is known to be taken."""
        await self._ready()
        try:
            await self._pay()
            return await self._script(script, key, *args)
        except Unavailable as fault:
            if fault.code == "limits_lost":
                self._opened = False  # the next use opens them anew
                self._pools.clear()
            raise

    async def _script(self, script: str, key: str, *args: int | str) -> Reply:
        keys = [f"{self._prefix}state", self._prefix + key]
        if script in {lua.LEASE, lua.RELEASE}:
            keys.append(self._slots)
        return await self._redis.script(script, keys, [self._epoch, *args])

    async def _pay(self) -> None:
        """Give back what could not be given back before."""
        for _ in range(min(len(self._owed), PAID_AT_ONCE)):
            script, key, args = owed = self._owed.popleft()
            try:
                await self._script(script, key, *args)
            except Unavailable as fault:
                if fault.code == "limits_store_refused":  # it would be refused for ever, and everybody with it
                    log.error("the store of limits took back nothing of %s: %s", key, fault.cause)
                    continue
                self._owed.appendleft(owed)
                raise

    async def _ready(self) -> None:
        """Opened, or Unavailable. One opening at a time, in a task of its own: a caller's time-out leaves it be."""
        if self._opened:
            return
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened_or_not)
        await asyncio.shield(self._opening)

    def _opened_or_not(self, task: asyncio.Task[None]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _open(self) -> None:
        known = self._epoch
        state = f"{self._prefix}state"
        reply = await self._redis.script(lua.OPEN, [state, self._slots],
                                         [secrets.token_hex(16), self._installation, known])
        try:
            epoch, seeded = cast("tuple[bytes, int]", reply)
            self._epoch = epoch.decode()
        except (TypeError, ValueError, AttributeError) as fault:
            raise _nonsense() from fault
        self._pools.clear()
        if not seeded:
            await self._replay(self._seed)
            await self._redis.script(lua.SEEDED, [state, self._slots], [self._epoch, self._installation])
        for (key, name), most in self._held.items():  # calls that were under way go on holding their slots
            await self._script(lua.LEASE, key, name, max(most, len(self._held)), SLOT_SECONDS * _MICRO)
        self._opened = True


def _bucket(rate: Rate, burst: int) -> tuple[int, int]:
    """A rate as the scripts take it: microseconds a token, rounded up, and how many at once."""
    interval = math.ceil(rate.seconds * _MICRO / rate.count)
    if interval * rate.burst > lua.MAX_HORIZON:
        raise Unavailable("a rate takes longer to refill than the store can count", code="limits_too_slow",
                          remedy="lower its burst")
    return interval, burst


def _whole(reply: Reply, count: int) -> list[int]:
    if not isinstance(reply, list):
        raise _nonsense()
    found = cast("list[Any]", reply)
    if len(found) != count or not all(type(one) is int for one in found):
        raise _nonsense()
    return found


def _one(reply: Reply) -> int:
    return _whole([reply], 1)[0]


def _nonsense() -> Unavailable:
    return Unavailable("the store of limits answered something that no script of ours gives",
                       code="limits_store_refused", remedy="use a Redis or Valkey of its own for Ringwall")
