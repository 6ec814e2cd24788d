"""Turns: how many calls are inside the rings at once, and in which order tenants get in when there are many.

All rings share one processor. A tenant that floods fills its own queue; the tenants take turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

from ringwall.call import Call, CallId, Chunk, Facts, Last
from ringwall.interface import Effect

INSIDE: Final = 32  # calls between the limits ring and their effects, in all
EACH: Final = 16  # of them one tenant's
WAITING: Final = 512  # calls of one tenant that wait; more are refused at once. 500 clients may start together
WAIT_SECONDS: Final = 1.5  # a call that waited this long is refused; the wall gives a ring 2


class Turns:
    """Lets calls in, tenant by tenant. One event loop.

    Args:
        inside: calls at once.
        each: of them one tenant's.
        waiting: calls of one tenant that may wait.
        seconds: how long.

    """

    def __init__(self, inside: int = INSIDE, each: int = EACH, waiting: int = WAITING,
                 seconds: float = WAIT_SECONDS) -> None:
        self._inside = inside
        self._each = each
        self._waiting = waiting
        self._seconds = seconds
        self._tenant: dict[CallId, str] = {}  # who is inside
        self._count: dict[str, int] = {}
        self._lines: dict[str, deque[tuple[CallId, asyncio.Future[None]]]] = {}  # the first tenant is next

    async def take(self, tenant: str, call: CallId) -> bool:
        """Wait for a turn; False: none came in time, or too many wait already."""
        line = self._lines.get(tenant)
        if not line and self._room(tenant):
            self._enter(tenant, call)
            return True
        if line is None:
            line = self._lines[tenant] = deque()
        if len(line) >= self._waiting:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append((call, turn))
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except TimeoutError:
            return self._gave_up(tenant, call, turn)
        except asyncio.CancelledError:
            if self._gave_up(tenant, call, turn):
                self.done(call)
            raise
        return True

    def done(self, call: CallId) -> None:
        """The call left the rings, or its effect begins. Nothing happens if it has no turn."""
        tenant = self._tenant.pop(call, None)
        if tenant is None:
            return
        self._count[tenant] -= 1
        if not self._count[tenant]:
            del self._count[tenant]
        self._let_in()

    def _room(self, tenant: str) -> bool:
        return len(self._tenant) < self._inside and self._count.get(tenant, 0) < self._each

    def _enter(self, tenant: str, call: CallId) -> None:
        self._tenant[call] = tenant
        self._count[tenant] = self._count.get(tenant, 0) + 1

    def _let_in(self) -> None:
        """Give free turns to the tenants' lines, one each, round and round."""
        blocked = 0
        while self._lines and blocked < len(self._lines) and len(self._tenant) < self._inside:
            tenant = next(iter(self._lines))
            line = self._lines.pop(tenant)
            if not self._room(tenant):
                self._lines[tenant] = line
                blocked += 1
                continue
            call, turn = line.popleft()
            if not turn.done():  # cancelled a moment ago, and its caller has not left the line yet
                self._enter(tenant, call)
                turn.set_result(None)
            blocked = 0
            if line:
                self._lines[tenant] = line  # behind all others

    def _gave_up(self, tenant: str, call: CallId, turn: asyncio.Future[None]) -> bool:
        """Leave the line; True: the turn had come at the last moment."""
        if call in self._tenant:
            return True
        turn.cancel()
        line = self._lines.get(tenant)
        if line is not None:
            line = deque(one for one in line if one[1] is not turn)
            self._lines[tenant] = line
            if not line:
                del self._lines[tenant]
        return False


class Begins:
    """An effect at whose beginning the call's turn is over: others are judged while it runs."""

    def __init__(self, effect: Effect, turns: Turns) -> None:
        self._effect = effect
        self._turns = turns

    def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """The effect, untouched."""
        self._turns.done(call.id)
        return self._effect.run(call, facts)
