"""Which questions of servers are open, as the core sees it: their calls' time stands still meanwhile."""

from __future__ import annotations

from typing import Final, cast

from ringwall.call import Json
from ringwall.tools.mcp_ops import ANSWERS
from ringwall.tools.patience import Patience

MAX_OPEN: Final = 32  # of one call, as many as a sidecar passes on


class Asking:
    """Every question of one tenant's servers."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], Asked] = {}

    def of(self, server: str) -> Asked:
        """For one call of this server."""
        return Asked(server, self._open)

    def answered(self, server: str, op: str, args: Json) -> None:
        """A call of this operation was done: if it was an answer, its question is not open any more."""
        number = cast("dict[str, Json]", args).get("number") if op in ANSWERS else None
        asked = self._open.pop((server, number), None) if type(number) is int else None
        if asked is not None:
            asked.answered(number)


class Asked:
    """One call, and what its server asked."""

    def __init__(self, server: str, every: dict[tuple[str, int], Asked]) -> None:
        self._server = server
        self._all = every
        self._own: set[int] = set()
        self._patience: Patience | None = None

    def begin(self, patience: Patience) -> None:
        """The call was sent."""
        self._patience = patience

    def hear(self, value: Json) -> None:
        """A chunk of its answer."""
        ask = cast("dict[str, Json]", value).get("ask") if isinstance(value, dict) else None
        number = cast("dict[str, Json]", ask).get("number") if isinstance(ask, dict) else None
        if type(number) is not int or self._patience is None or len(self._own) >= MAX_OPEN:
            return
        if (self._server, number) not in self._all:
            self._all[self._server, number] = self
            self._own.add(number)
            self._patience.asked()

    def answered(self, number: Json) -> None:
        """One of them was."""
        self._own.discard(number)
        if self._patience is not None:
            self._patience.answered()

    def over(self) -> None:
        """The call is over; what it asked is not open any more."""
        for number in self._own:
            self._all.pop((self._server, number), None)
