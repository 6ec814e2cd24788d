"""Whose request the guard scans next: one at a time of the big ones, and no caller twice before all others once.

The guard works through what it was sent in order, and cannot be told to leave out what nobody waits for any more.
So what is sent is bounded, and what waits here waits in one line for each caller: an agent that sends texts which
are slow to scan fills its own line and delays the others by one request.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final

from ringwall.errors import Unavailable

SMALL: Final = 16 << 10  # cost of what may be under way together: some 0.1 s of the slowest texts there are
MAX_SENT: Final = 64  # requests under way, however small
MAX_LINE: Final = 64  # requests of one caller that wait; more only grow old
MAX_WAITING: Final = 1024  # requests of all callers that wait


class Turns:
    """Turns at one guard process. Used from one event loop."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[tuple[asyncio.Future[None], int]]] = OrderedDict()
        self._waiting = 0
        self._cost = 0  # of what was sent and is not answered
        self._sent = 0
        self._last = ""  # who had the last turn

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self._waiting

    async def take(self, caller: str, cost: int, seconds: float) -> None:
        """Wait for a turn; whoever got it calls :meth:`give_back` with the same cost.

        Args:
            caller: whose line.
            cost: code points and texts of the request.
            seconds: how long to wait at most.

        Raises:
            Unavailable: ``guard_overloaded``; nothing is to be given back.

        """
        if not self._waiting and self._fits(cost):
            self._last = caller
            self._start(cost)
            return
        line = self._lines.setdefault(caller, deque())
        if len(line) >= MAX_LINE or self._waiting >= MAX_WAITING:
            raise _overloaded()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append((turn, cost))
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            self._leave(caller, turn, cost)
            raise _overloaded() from None
        except asyncio.CancelledError:
            self._leave(caller, turn, cost)
            raise

    def give_back(self, cost: int) -> None:
        """The guard has answered a request of this cost."""
        self._cost -= cost
        self._sent -= 1
        self._next()

    def close(self, fault: Unavailable) -> None:
        """The guard is gone: nobody gets a turn any more."""
        for line in self._lines.values():
            for turn, _ in line:
                if not turn.done():
                    turn.set_exception(fault)
        self._lines.clear()
        self._waiting = 0

    def _fits(self, cost: int) -> bool:
        return not self._sent or (self._sent < MAX_SENT and self._cost + cost <= SMALL)

    def _start(self, cost: int) -> None:
        self._cost += cost
        self._sent += 1

    def _next(self) -> None:
        while self._lines:
            if self._last in self._lines:
                self._lines.move_to_end(self._last)  # whoever came while its request ran goes first
            caller, line = next(iter(self._lines.items()))
            turn, cost = line[0]
            if not self._fits(cost):
                return
            line.popleft()
            self._waiting -= 1
            del self._lines[caller]
            if line:
                self._lines[caller] = line  # behind all others
            if not turn.done():
                self._last = caller
                self._start(cost)
                turn.set_result(None)

    def _leave(self, caller: str, turn: asyncio.Future[None], cost: int) -> None:
        """Nobody waits for this turn any more."""
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self.give_back(cost)  # it came just now
            return
        line = self._lines.get(caller)
        if line is not None and (turn, cost) in line:
            line.remove((turn, cost))
            self._waiting -= 1
            if not line:
                del self._lines[caller]


def _overloaded() -> Unavailable:
    return Unavailable("too many texts wait for the guard", code="guard_overloaded", remedy="try again later")
