"""On whose behalf a session works now: of everything that it was asked and has not finished."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ringwall.call import SessionId
from ringwall.clock import Clock

_Held: TypeAlias = tuple[frozenset[str], float]


@dataclass(slots=True)
class _Session:
    """``held``: what is unfinished -> whose it is, and until when (monotonic) it counts. ``told``: the union."""

    held: dict[Hashable, _Held] = field(default_factory=dict[Hashable, _Held])
    told: tuple[str, ...] = ()
    until: float = -math.inf


class Acting:
    """Asked for every call of every agent, so the answer is kept until something changes.

    Args:
        clock: the monotonic one decides: a wall clock that jumps sheds nothing.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[SessionId, _Session] = {}

    def hold(self, session: SessionId, name: Hashable, chain: Sequence[str], until: float = math.inf) -> None:
        """From now on the session works on ``name`` for these; what is held by that name already is replaced."""
        one = self._sessions.setdefault(session, _Session())
        one.held[name] = (frozenset(chain), until)
        one.until = -math.inf

    def drop(self, session: SessionId, name: Hashable) -> None:
        """It is finished. Harmless when repeated."""
        one = self._sessions.get(session)
        if one is None or one.held.pop(name, None) is None:
            return
        one.until = -math.inf
        if not one.held:
            del self._sessions[session]

    def of(self, session: SessionId, which: Callable[[Hashable], bool] | None = None) -> tuple[str, ...]:
        """SPIFFE IDs, sorted, each once; ``which``: only of what is held by such names."""
        one = self._sessions.get(session)
        if one is None:
            return ()
        now = self._clock.monotonic()
        if now >= one.until:
            self._look(session, one, now)
        if which is None:
            return one.told
        return tuple(sorted({who for name, (chain, _) in one.held.items() if which(name) for who in chain}))

    def _look(self, session: SessionId, one: _Session, now: float) -> None:
        one.held = {name: found for name, found in one.held.items() if found[1] > now}
        one.told = tuple(sorted(frozenset[str]().union(*(chain for chain, _ in one.held.values()))))
        one.until = min((until for _, until in one.held.values()), default=math.inf)
        if not one.held:
            del self._sessions[session]
