"""A time-out that stands still while somebody answers a question: a tool waits for a human, not for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

MAX_ASKING_S: Final = 300.0  # of one call, for all its questions: as long as a door keeps one for a human


class Patience:
    """The end of one call's time.

    Args:
        reschedule: sets when the time is over, on the event loop's clock.
        seconds: how long the call may take, questions left out.

    """

    def __init__(self, reschedule: Callable[[float], None], seconds: float) -> None:
        self._reschedule = reschedule
        self._end = asyncio.get_running_loop().time() + seconds
        self._spare = MAX_ASKING_S
        self._open = 0
        self._since = 0.0
        reschedule(self._end)

    def asked(self) -> None:
        """A question is open."""
        self._open += 1
        if self._open == 1:
            self._since = asyncio.get_running_loop().time()
            self._reschedule(self._end + self._spare)

    def answered(self) -> None:
        """One of them is not any more."""
        self._open -= 1
        if self._open == 0:
            used = min(asyncio.get_running_loop().time() - self._since, self._spare)
            self._spare -= used
            self._end += used
            self._reschedule(self._end)


class Alarm:
    """Runs something once, at a time that may still be moved."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self._handle: asyncio.TimerHandle | None = None

    def at(self, when: float) -> None:
        """Set it, on the event loop's clock."""
        self.cancel()
        self._handle = asyncio.get_running_loop().call_at(when, self._run)

    def cancel(self) -> None:
        """Do not run it."""
        if self._handle is not None:
            self._handle.cancel()

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self._handle.when() - asyncio.get_running_loop().time() if self._handle is not None else 0.0
