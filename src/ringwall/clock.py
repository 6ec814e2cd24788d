"""Time comes from here, so that tests can own it."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Coroutine, Generator
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")


class Clock(Protocol):
    """Wall time for records, monotonic time for limits and deadlines."""

    def now(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Limit:
    """A limit on how long one piece of work may wait; ``asyncio.timeout`` with a timer only where it waits.

    Most rings answer at once. A timer for each of a call's 25 steps, set up and taken down again, took a tenth
    of the call.

    Args:
        seconds: how long; code that does not wait is not interrupted.

    """

    __slots__ = ("_seconds", "expired")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.expired = False  # also where the work answered all the same

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The work's result; it runs in this task. Raises TimeoutError if it was ended."""
        try:
            waits_for = work.send(None)
        except StopIteration as done:
            return done.value
        timer = asyncio.timeout(self._seconds)
        try:
            async with timer:
                return await _go_on(work, waits_for)
        finally:
            self.expired = timer.expired()


@types.coroutine
def _go_on(work: Coroutine[Any, Any, _T], waits_for: Any) -> Generator[Any, Any, _T]:
    """The rest of work that has begun: ``yield from`` (PEP 380), from its second step on."""
    try:
        while True:
            try:
                answer = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as fault:  # noqa: BLE001 (a cancellation too: the work may have to clean up)
                waits_for = work.throw(fault)
            else:
                waits_for = work.send(answer)
    except StopIteration as done:
        return done.value
