"""Whose each conversation is: a context that one caller of an agent began is nobody else's.

A server keeps what was said in a context, and tells its callers apart by nothing else. Callers may choose the name,
so it can be guessed; where no task is made, nothing but the messages themselves says whose it is.
"""

from __future__ import annotations

from typing import Final

from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.peers.messages import KEEP_SECONDS

MAX_OF_PAIR: Final = 4_096  # begun or gone on with in a day; beyond it the oldest is anybody's again
MAX_OF_AGENT: Final = 32_768  # of all its callers, some 10 MB; beyond it whoever has most loses his oldest


class Contexts:
    """Contexts by receiver and caller, as hashes: they are texts of somebody else's choice.

    Args:
        clock: the monotonic one says when to forget.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._agents: dict[str, dict[str, dict[str, float]]] = {}

    def anothers(self, local: str, other: str, name: str) -> bool:
        """Whether it is somebody's, and not this caller's."""
        now = self._clock.monotonic()
        return any(pair.get(name, now) > now for who, pair in self._agents.get(local, {}).items() if who != other)

    def claim(self, local: str, other: str, name: str, *, seconds: float = KEEP_SECONDS) -> bool:
        """It is this caller's from now on, for ``seconds`` after the last message; whether it was not before.

        Raises:
            BadInput: ``unknown_context``: it is another's.

        """
        if self.anothers(local, other, name):
            raise BadInput("no such context is known", code="unknown_context")
        now, agent = self._clock.monotonic(), self._agents.setdefault(local, {})
        pair = agent.setdefault(other, {})
        new = pair.pop(name, now) <= now
        pair[name] = now + seconds  # last: the oldest comes first
        while (oldest := next(iter(pair))) != name and (pair[oldest] <= now or len(pair) > MAX_OF_PAIR):
            del pair[oldest]
        if sum(map(len, agent.values())) > MAX_OF_AGENT:
            largest = max(agent.values(), key=len)
            del largest[next(iter(largest))]
        return new

    def drop(self, local: str, other: str, name: str) -> None:
        """It did not begin after all."""
        self._agents.get(local, {}).get(other, {}).pop(name, None)
