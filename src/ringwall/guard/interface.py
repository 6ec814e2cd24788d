"""What a scanner is, and the two values scanners and their callers share: a finding and a text to scan."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Final, Literal, Protocol, get_args

Direction = Literal["prompt", "tool_result", "response", "arguments"]
Category = Literal["hidden", "injection", "secret", "card", "iban", "email"]

CATEGORIES: Final[frozenset[str]] = frozenset(get_args(Category))
JOINT: Final = "\x1e"
"""Stands between the texts of one request in the view that scanners see. Never part of a text: the normaliser
removes control characters first."""
OTHER: Final = "\x7f"
"""Stands in the view for a character that looks like nothing in ASCII. Never part of a text either."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something found: code point offsets ``start`` (inclusive) and ``end`` (exclusive) in text ``text``."""

    text: int  # index in the texts of the request
    start: int
    end: int
    category: Category
    score: float  # 0..1
    rule: str


@dataclass(frozen=True, slots=True)
class Hit:
    """What a scanner reports: a span of the view it was given."""

    start: int
    end: int
    score: float
    rule: str
    category: Category


@dataclass(frozen=True, slots=True)
class Hidden:
    """A run of characters a reader does not see, by offsets in the original; ``spells`` is what it smuggles."""

    start: int
    end: int
    score: float
    rule: str
    spells: str = ""


@dataclass(frozen=True)
class NormalisedText:
    """One text as scanners see it: hidden characters gone, all that looks like ASCII folded to it.

    Args:
        original: the text as it came.
        plain: the folded text, all ASCII; its case is kept, and OTHER stands for what has no likeness.
        width: how many characters of ``plain`` one original character became; None: ``plain`` is the original.
        hidden: the runs that were removed and were not innocent.

    """

    original: str
    plain: str
    width: Callable[[str], int] | None = None
    hidden: Sequence[Hidden] = field(default=())

    @cached_property
    def raw(self) -> bytes:
        """``plain`` as bytes; offsets are the same."""
        return self.plain.encode("ascii")

    @cached_property
    def lowered(self) -> bytes:
        """``raw`` in lower case; offsets are the same."""
        return self.raw.lower()

    @cached_property
    def _ends(self) -> list[int]:
        """For each original character, where its share of ``plain`` ends."""
        assert self.width is not None  # noqa: S101 (only asked for when offsets differ)
        return list(accumulate(map(self.width, self.original)))

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Offsets in the original of ``plain[start:end]``; needs ``start < end``.

        Hidden characters inside the span belong to it, those at its edges do not.
        """
        if self.width is None:
            return start, end
        return bisect_right(self._ends, start), bisect_right(self._ends, end - 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What texts carry, in order of place, and the version of the rules that say so."""

    found: tuple[Finding, ...]
    rules: str


class Guard(Protocol):
    """The guard as its ring sees it."""

    async def scan(self, stream: str, direction: Direction, texts: Sequence[str], final: bool, *,
                   keys: Sequence[int] = ()) -> Findings:
        """What these texts carry. Raises Unavailable (nothing is known about them) and BadInput (no Unicode)."""
        ...

    def forget(self, stream: str) -> None:
        """This stream is over without a final request."""
        ...


class Scanner(Protocol):
    """One stage that looks for one kind of thing."""

    name: str
    categories: frozenset[Category]

    def scan(self, text: NormalisedText) -> Sequence[Hit]:
        """Find spans of ``text.plain``. Pure; linear in the length of the text; never raises for any text."""
        ...

    def self_check(self) -> None:
        """Find a planted example and pass over a benign one. Raises Unavailable, code ``guard_not_ready``."""
        ...
