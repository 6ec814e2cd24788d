"""Calls that wait for a client's answers between two of its requests (2026-07-28)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringwall.call import Json
from ringwall.doors.mcp.flights import Asks, Flight

PREFIX: Final = "ringwall."  # of a state that is ours; any other is the server's own
MAX_PARKED: Final = 8  # of one launch; each is a call under way
PARKED_S: Final = 300.0  # for a human to answer
TOKEN_BYTES: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """One call, with the questions that are open. Only the request that began it may go on with it."""

    flight: Flight
    launch: str
    at: str
    method: str
    operands: dict[str, Json]
    server: str
    questions: Mapping[str, Asks]

    def is_of(self, launch: str, at: str, method: str, operands: dict[str, Json]) -> bool:
        """Whether this is the same client with the same request."""
        return (launch, at, method) == (self.launch, self.at, self.method) and operands == self.operands


class Parking:
    """All of a door's."""

    def __init__(self) -> None:
        self._all: dict[str, tuple[Parked, asyncio.TimerHandle]] = {}

    def park(self, parked: Parked) -> str:
        """Keep a call for PARKED_S; the launch's oldest is cancelled if there are too many. Gives its state."""
        own = [state for state, (one, _) in self._all.items() if one.launch == parked.launch]
        if len(own) >= MAX_PARKED:
            self._give_up(own[0])
        state = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        timer = asyncio.get_running_loop().call_later(PARKED_S, self._give_up, state)
        self._all[state] = parked, timer
        return state

    def take(self, state: str, launch: str, at: str, method: str, operands: dict[str, Json]) -> Parked | None:
        """Whoever shows the state goes on with the call; each state is good once."""
        found = self._all.get(state)
        if found is None or not found[0].is_of(launch, at, method, operands):
            return None
        del self._all[state]
        found[1].cancel()
        return found[0]

    async def close(self) -> None:
        """Cancel everything that waits."""
        waiting = [parked.flight for parked, _ in self._all.values()]
        for state in list(self._all):
            self._give_up(state)
        for flight in waiting:
            await flight.end()

    def _give_up(self, state: str) -> None:
        parked, timer = self._all.pop(state)
        timer.cancel()
        parked.flight.task.cancel()
