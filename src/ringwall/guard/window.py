"""Hold-back for streamed text: nothing is emitted that could still turn out to be part of something withheld.

Sans-I/O. What is emitted can never be taken back, so the last HOLD characters wait for what follows them; so does
an unfinished word, because a credential is one word whose end decides, and so does a finding that is still open.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

from ringwall.errors import BadInput
from ringwall.guard.interface import Category, Finding
from ringwall.guard.strings import Range, ranges, redact

HOLD: Final = 128  # code points that wait; measured: no character of a secret leaves at 128
CONTEXT: Final = 256  # code points already emitted that are scanned again, for the words before a value
MAX_HELD: Final = 8 << 10  # code points that may wait in all: twice the longest common private key

_WORD: Final = frozenset(string.ascii_letters + string.digits + "+/=_-.~%:@?&;$!*#^|\\")


class HoldBack:
    """One stream of text.

    Args:
        withheld: the categories whose spans are replaced.

    """

    def __init__(self, withheld: frozenset[Category]) -> None:
        self._withheld = withheld
        self._context = ""
        self._held = ""

    def take(self, delta: str) -> str:
        """Add what arrived; returns the text to scan before :meth:`give`.

        Raises:
            BadInput: code ``guard_limit``: too much waits for one unfinished word or finding.

        """
        if len(self._held) > MAX_HELD:
            raise BadInput("a word or finding in the stream does not end", code="guard_limit")
        self._held += delta
        return self._context + self._held

    def give(self, found: Sequence[Finding], *, last: bool = False) -> str:
        """What may be emitted now, given what was found in the text that :meth:`take` returned."""
        window, base = self._context + self._held, len(self._context)
        cuts = ranges([f for f in found if f.category in self._withheld])
        end = len(window) if last else settled(window, cuts)
        end = max(end, base)
        emitted = redact(window, cuts, start=base, end=end) if end > base else ""
        self._context, self._held = window[max(0, end - CONTEXT):end], window[end:]
        return emitted


def settled(text: str, cuts: Sequence[Range]) -> int:
    """How many characters from the start of a text cannot be part of anything that is still to be found in it.

    Args:
        text: all that waits, with what came before it.
        cuts: what was found in it; ranges do not overlap.

    """
    end = max(0, len(text) - HOLD)
    word = len(text)
    while word and text[word - 1] in _WORD:
        word -= 1
    end = min(end, word)
    for start, stop, _ in cuts:
        if start < end < stop:
            end = start
    return end
