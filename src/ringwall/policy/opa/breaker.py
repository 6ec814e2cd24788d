"""Stops asking an OPA that does not answer, so that every call is refused at once instead of after a wait.

It only ever refuses: there is no state in which something is allowed because nobody could be asked.
"""

from __future__ import annotations

from typing import Final, Literal

from ringwall.clock import Clock
from ringwall.errors import PolicyError

FAILURES: Final = 5  # one after the other: a restart of OPA costs some, a single slow answer must not open it
FIRST_PAUSE: Final = 0.5  # seconds; OPA starts in about one
LONGEST_PAUSE: Final = 10.0  # seconds, doubling up to here: how late a mended OPA may be noticed

State = Literal["closed", "open", "probing"]


class Breaker:
    """Counts failures in a row.

    Closed, everybody may ask. After ``FAILURES`` in a row it opens: nobody may, for a pause. Then one question goes
    through; if it is answered all is closed again, if not the pause doubles.

    Args:
        clock: its monotonic time.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._until: float | None = None  # when the pause ends; None: closed
        self._probing = False

    @property
    def state(self) -> State:
        """For ``status``."""
        if self._until is None:
            return "closed"
        return "probing" if self._probing else "open"

    def ask(self) -> bool:
        """Whether this question is a probe, to be handed to what follows. Raises PolicyError (``opa_open``)."""
        if self._until is None:
            return False
        left = self._until - self._clock.monotonic()
        if left > 0 or self._probing:
            raise PolicyError("OPA has not answered for a while and is not asked just now", code="opa_open",
                              remedy="see `ringwall status` for what was wrong; it is tried again by itself")
        self._probing = True
        return True

    def answered(self, *, probe: bool) -> None:
        """OPA answered, whatever it said."""
        if self._until is None:
            self._failures = 0
        elif probe:
            self._failures, self._pause, self._until, self._probing = 0, FIRST_PAUSE, None, False

    def failed(self, *, probe: bool) -> None:
        """OPA could not be asked, or what came back was no answer."""
        if self._until is None:
            self._failures += 1
            if self._failures >= FAILURES:
                self._until = self._clock.monotonic() + self._pause
        elif probe:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._until, self._probing = self._clock.monotonic() + self._pause, False

    def abandoned(self, *, probe: bool) -> None:
        """The question was withdrawn before anything came back: nothing was learned, somebody else may probe."""
        if probe:
            self._probing = False
