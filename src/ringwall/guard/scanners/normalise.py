"""Stage 1: take away and report what a reader does not see, fold what only looks different.

The fold is done character by character (NFKD without marks, then look-alikes), so that every offset maps back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from ringwall.errors import BadInput, Unavailable
from ringwall.guard.interface import OTHER, Hidden, NormalisedText
from ringwall.guard.scanners.regex import CharacterClass

MAX_FOLDED: Final = 20_000  # remembered folds: all of the scripts in one text, not all of Unicode
SMUGGLED: Final = 0.9  # hidden characters that spell something, or that reorder what is shown
UNSEEN: Final = 0.5  # hidden characters that only break up words
MAX_RUNS: Final = 10_000  # in one text: a page of Persian has some hundred; each costs microseconds
RUN: Final = 8  # so many zero-width characters in a row are a message, not typography

_CONTROLS: Final = bytes(b for b in range(32) if b not in b"\t\n\r\f") + b"\x7f"
_TAGS: Final = range(0xE0000, 0xE0080)
_SELECTORS: Final = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
_BIDI: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ZERO: Final = (0x00AD, 0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180E, 0x200B, 0x200C,
                0x200D, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0x206A, 0x206B, 0x206C, 0x206D, 0x206E, 0x206F,
                0x3164, 0xFEFF, 0xFFA0, 0xFFF9, 0xFFFA, 0xFFFB)
_C: Final = (*_CONTROLS, *range(0x80, 0xA0))
_KINDS: Final[Mapping[int, str]] = {
    **dict.fromkeys(_C, "control"), **dict.fromkeys(_ZERO, "zero_width"), **dict.fromkeys(_BIDI, "bidi"),
    **dict.fromkeys(_SELECTORS, "selector"), **dict.fromkeys(_TAGS, "tag")}
_FLAG: Final = "\U0001f3f4"  # the three flags that Unicode spells with tags (UTS 51, annex C)
_FLAGS: Final = frozenset("".join(chr(0xE0000 + ord(c)) for c in name) + "\U000e007f"
                          for name in ("gbeng", "gbsct", "gbwls"))
_KEYCAPS: Final = frozenset("0123456789#*")
_JOINING: Final = ((0x0600, 0x0E00), (0x1000, 0x1100), (0x1780, 0x18B0))  # scripts that spell with joiners


class _Folds(dict[int, str]):
    """Code point -> what it is for a scanner; filled as texts need it, as ``str.translate`` asks."""

    def __init__(self, confusables: Mapping[str, str]) -> None:
        super().__init__(dict.fromkeys(_KINDS, ""))
        self._confusables = confusables

    def __missing__(self, point: int) -> str:
        folded = self._fold(chr(point))
        if len(self) < MAX_FOLDED:
            self[point] = folded
        return folded

    def _fold(self, char: str) -> str:
        if char.isascii():
            return char
        if char in self._confusables:
            return self._confusables[char]
        digit = unicodedata.digit(char, None)
        if digit is not None:
            return str(digit)
        bare = [c for c in unicodedata.normalize("NFKD", char)
                if unicodedata.category(c) != "Mn" and ord(c) not in _KINDS]
        return "".join(c if c.isascii() else self._confusables.get(c, OTHER) for c in bare)


class Normaliser:
    """Makes a NormalisedText of a text.

    Args:
        confusables: look-alike character -> the ASCII it looks like.

    """

    def __init__(self, confusables: Mapping[str, str]) -> None:
        self._folds = _Folds(confusables)
        self._search = CharacterClass(_KINDS)

    def normalise(self, text: str) -> NormalisedText:
        """Plain ASCII passes as it is; all else is folded, with offsets that map back.

        Raises BadInput (``guard_limit``) for a text that is mostly hidden characters.
        """
        if text.isascii():
            raw = text.encode("ascii")
            if len(raw.translate(None, _CONTROLS)) == len(raw):
                return NormalisedText(text, text)
        plain = text.translate(self._folds)
        hidden = tuple(self._hidden(text))
        return NormalisedText(text, plain, self._width, hidden)

    def self_check(self) -> None:
        """A zero-width word is found and mapped back; an emoji is nobody's attack."""
        found = self.normalise("i\u200bgn\u03bfre")
        innocent = self.normalise("fine \u2764\ufe0f")
        if found.plain != "ignore" or len(found.hidden) != 1 or found.span(1, 6) != (2, 7) or innocent.hidden:
            raise Unavailable("the normaliser does not work", code="guard_not_ready")

    def _width(self, char: str) -> int:
        return len(self._folds[ord(char)])

    def _hidden(self, text: str) -> Iterator[Hidden]:
        runs = islice(self._search.runs(text), MAX_RUNS + 1)
        for number, (start, end) in enumerate(runs):
            if number == MAX_RUNS:
                raise BadInput(f"a text holds more than {MAX_RUNS} runs of hidden characters", code="guard_limit",
                               remedy="send plain text")
            if not _innocent(text, start, end):
                yield _describe(text, start, end)


def _describe(text: str, start: int, end: int) -> Hidden:
    run = text[start:end]
    kinds = {_KINDS[ord(c)] for c in run}
    spells = "".join(filter(None, map(_spelled, run)))
    overrides = any(0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 for c in run)
    bad = bool(spells) or overrides or "tag" in kinds or (len(run) >= RUN and kinds <= {"zero_width", "bidi"})
    return Hidden(start, end, SMUGGLED if bad else UNSEEN, "hidden." + "+".join(sorted(kinds)), spells)


def _spelled(char: str) -> str:
    """The ASCII that a tag, or a variation selector used as a byte, stands for."""
    point = ord(char)
    if 0xE0020 <= point < 0xE007F:
        return chr(point - 0xE0000)
    byte = point - 0xFE00 if 0xFE00 <= point < 0xFE10 else point - 0xE0100 + 16
    return chr(byte) if 0xE0100 <= point < 0xE01F0 and 32 <= byte < 127 else ""


def _innocent(text: str, start: int, end: int) -> bool:
    """Whether ordinary writing puts this run here: emoji, joining scripts, a mark beside right-to-left text."""
    run, before, after = text[start:end], text[start - 1:start], text[end:end + 1]
    if before == _FLAG and run in _FLAGS:
        return True
    if run == "\ufeff" and start == 0:
        return True
    if run in {"\ufe0e", "\ufe0f"}:
        return before in _KEYCAPS or _symbol(before)
    if run in {"\u200d", "\ufe0f\u200d"}:
        return (_symbol(before) and _symbol(after)) or (_joins(before) and _joins(after))
    if run == "\u200c":
        return _joins(before)
    if run in {"\u200e", "\u200f"}:
        return _right_to_left(before) or _right_to_left(after)
    return False


def _symbol(char: str) -> bool:
    return bool(char) and unicodedata.category(char) in {"So", "Sk", "Sm", "Po"} and not char.isascii()


def _joins(char: str) -> bool:
    return bool(char) and any(low <= ord(char) < high for low, high in _JOINING)


def _right_to_left(char: str) -> bool:
    return bool(char) and unicodedata.bidirectional(char) in {"R", "AL", "AN"}
