"""google-re2 with types: linear time for any text, over bytes that are always ASCII."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import re2

_RE2: Final[Any] = re2  # ships no types
MAX_MEMORY: Final = 32 << 20  # bytes for one automaton; with too little of it a set would find nothing


def _options(*, captures: bool) -> Any:
    options: Any = _RE2.Options()
    options.encoding = _RE2.Options.Encoding.LATIN1  # one byte a character: the views are ASCII
    options.max_mem = MAX_MEMORY
    options.never_capture = not captures
    options.log_errors = False
    return options


class Regex:
    """One expression. Raises re2.error when RE2 does not accept it."""

    __slots__ = ("_compiled",)

    def __init__(self, pattern: str, *, captures: bool = False) -> None:
        self._compiled: Any = _RE2.compile(pattern.encode("ascii"), _options(captures=captures))

    def test(self, raw: bytes) -> bool:
        """Whether it matches anywhere."""
        return self._compiled.search(raw) is not None

    def search(self, raw: bytes, at: int = 0) -> tuple[int, int] | None:
        """The first match from ``at`` on."""
        match: Any = self._compiled.search(raw, at)
        return None if match is None else cast("tuple[int, int]", match.span())

    def spans(self, raw: bytes) -> Iterator[tuple[int, int]]:
        """Every match that does not overlap an earlier one."""
        for match in self._compiled.finditer(raw):
            yield cast("tuple[int, int]", match.span())

    def groups(self, raw: bytes, at: int = 0) -> tuple[int, int, int] | None:
        """The first match from ``at`` on: its start, and the span of the one group that took part."""
        match: Any = self._compiled.search(raw, at)
        if match is None:
            return None
        group = cast("int", match.lastindex)
        return (match.start(), match.start(group), match.end(group))


class RegexSet:
    """Many expressions in one pass: which of them match anywhere."""

    __slots__ = ("_set",)

    def __init__(self, patterns: Sequence[str]) -> None:
        self._set: Any = _RE2.Set.SearchSet(_options(captures=False))
        for pattern in patterns:
            self._set.Add(pattern.encode("ascii"))
        self._set.Compile()

    def matching(self, raw: bytes) -> Sequence[int]:
        """Indexes of the patterns that match, ascending."""
        return sorted(self._set.Match(raw) or ())


class CharacterClass:
    """Runs of characters of a set, over any Unicode text; offsets are code points."""

    __slots__ = ("_compiled",)

    def __init__(self, points: Iterable[int]) -> None:
        inside = "".join(f"\\x{{{point:x}}}" for point in sorted(points))
        self._compiled: Any = _RE2.compile(f"[{inside}]+")

    def runs(self, text: str) -> Iterator[tuple[int, int]]:
        """Where they stand. The text must be valid Unicode."""
        for match in self._compiled.finditer(text):
            yield cast("tuple[int, int]", match.span())
