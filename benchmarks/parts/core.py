"""The core as it is, with a budget of attempts that a load generator does not exhaust.

With ``RINGWALL_BENCH_STAGES`` in its environment it also measures its parts, and writes to that file at its end
how many microseconds each took, call by call. Every part runs unchanged; the clock is read before and after it.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from ringwall.audit.journal import AuditJournal
from ringwall.call import Call, Chunk, End, Facts, Last, RingName, Subject, Usage
from ringwall.doors.agent import AgentDoor
from ringwall.interface import Attempts, Passage, Ring, Targets
from ringwall.limits.attempts import AttemptBudget
from ringwall.manifest.types import Rate
from ringwall.runtime.core import Core, main
from ringwall.tools.effect import ToolEffect
from ringwall.wall import Wall

FILE: Final = os.environ.get("RINGWALL_BENCH_STAGES")
LIFTED: Final = Rate(count=10**9, seconds=1.0, burst=10**9)

stages: defaultdict[str, list[float]] = defaultdict(list)


class BenchCore(Core):
    """For measuring alone."""

    def attempts(self) -> Attempts:
        return AttemptBudget(self.clock, calls=LIFTED, size=LIFTED)


class StagedCore(BenchCore):
    """With a clock around each ring."""

    def compose(self) -> Mapping[RingName, Ring]:
        return {name: TimedRing(ring) for name, ring in super().compose().items()}


class TimedRing:
    """One ring, measured."""

    def __init__(self, ring: Ring) -> None:
        self.name = ring.name
        self._ring = ring

    async def enter(self, call: Call, facts: Facts) -> Passage:
        started = perf_counter()
        passage = await self._ring.enter(call, facts)
        stages[self.name].append(perf_counter() - started)
        return TimedPassage(self.name, passage)

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        return await self._ring.lists(subject, targets)


class TimedPassage:
    """Its part on the way back, measured as one number."""

    def __init__(self, name: RingName, passage: Passage) -> None:
        self.verdict = passage.verdict
        self._name = name
        self._passage = passage
        self._spent = 0.0

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        started = perf_counter()
        try:
            return await self._passage.release(chunk)
        finally:
            self._spent += perf_counter() - started

    async def finish(self) -> Sequence[Chunk]:
        started = perf_counter()
        try:
            return await self._passage.finish()
        finally:
            self._spent += perf_counter() - started

    async def leave(self, end: End, usage: Usage) -> None:
        started = perf_counter()
        await self._passage.leave(end, usage)
        stages[f"{self._name} back"].append(self._spent + perf_counter() - started)


def timed(owner: type, method: str, stage: str) -> None:
    """Measure a coroutine method of every object of a class."""
    inner: Callable[..., Awaitable[Any]] = getattr(owner, method)

    @functools.wraps(inner)
    async def outer(*args: Any, **named: Any) -> Any:
        started = perf_counter()
        try:
            return await inner(*args, **named)
        finally:
            stages[stage].append(perf_counter() - started)

    setattr(owner, method, outer)


def timed_effect() -> None:
    """Measure the effect alone, not what happens to its pieces between them."""
    inner = ToolEffect.run

    async def run(self: ToolEffect, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        spent, pieces = 0.0, inner(self, call, facts)
        while True:
            started = perf_counter()
            item = await anext(pieces, None)
            spent += perf_counter() - started
            if item is None or isinstance(item, Last):
                break
            yield item
        stages["effect"].append(spent)
        if item is not None:
            yield item
        await pieces.aclose()

    ToolEffect.run = run


if __name__ == "__main__":
    if FILE is None:
        sys.exit(main(BenchCore))
    timed(AgentDoor, "__call__", "door")
    timed(Wall, "admit", "resolve")
    timed(AuditJournal, "intent", "intent durable")
    timed(AuditJournal, "outcome", "outcome")
    timed_effect()
    status = main(StagedCore)
    Path(FILE).write_text(json.dumps({name: [t * 1e6 for t in spent] for name, spent in stages.items()}))
    sys.exit(status)
