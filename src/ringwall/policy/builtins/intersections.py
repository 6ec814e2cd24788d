"""``regex.globs_match``: whether two globs of ``.``, ``[...]``, ``*`` and ``+`` have a text in common.

OPA takes the answer from a published algorithm (yashtewari/glob-intersection) that tries its branches one after
another. The same steps here give the same answers, also where they are surprising; a limit bounds the branches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ringwall.policy.builtins.table import BuiltinError
from ringwall.policy.plan.ops import Context

MAX_GLOB: Final = 1024  # characters: the branches nest as deep as a glob has flags
MAX_CLASS: Final = 4096  # characters that one [...] spells out
_MAX_DEPTH: Final = 150  # branches inside of branches: far under CPython's recursion limit


@dataclass(frozen=True, slots=True)
class _Token:
    """Characters that may stand here (None: any), and how often: once, ``+`` or ``*``."""

    chars: frozenset[str] | None
    single: bool  # a plain character: never the same token as a class with this one character
    flag: str = ""


Glob = list[_Token]


def _same(a: _Token, b: _Token) -> bool:
    return a.chars == b.chars and a.single == b.single


def _fits(a: _Token, b: _Token) -> bool:
    return a.chars is None or b.chars is None or not a.chars.isdisjoint(b.chars)


class _Reader:
    """Reads one glob."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_GLOB:
            raise BuiltinError(f"a glob has more than {MAX_GLOB} characters")
        self._text = text
        self._at = 0

    def _next(self) -> tuple[str, bool]:
        """(character, whether it was escaped)."""
        char = self._text[self._at]
        self._at += 1
        if char != "\\":
            return char, False
        if self._at == len(self._text):
            raise BuiltinError("the glob ends with an escape character")
        self._at += 1
        return self._text[self._at - 1], True

    def tokens(self) -> Glob:
        found: Glob = []
        while self._at < len(self._text):
            char, escaped = self._next()
            if not escaped and char in "]+*":
                raise BuiltinError(f"{char!r} of the glob has nothing in front of it")
            if escaped or char not in ".[":
                token = _Token(frozenset(char), single=True)
            else:
                token = _Token(None if char == "." else self._characters(), single=False)
            flag = self._text[self._at:self._at + 1]
            if flag in ("+", "*"):
                self._at += 1
                token = replace(token, flag=flag)
            self._add(found, token)
        return found

    @staticmethod
    def _add(found: Glob, token: _Token) -> None:
        """``a+a*`` is ``a+``."""
        if found and token.flag and found[-1].flag and _same(found[-1], token):
            found[-1] = replace(token, flag="+" if "+" in (token.flag, found[-1].flag) else "*")
        else:
            found.append(token)

    def _characters(self) -> frozenset[str]:
        found: list[str] = []
        before: str | None = None
        while self._at < len(self._text):
            char, escaped = self._next()
            if char == "]" and not escaped:
                return frozenset(found)
            if char == "-" and not escaped:
                if before is None or self._at >= len(self._text) - 1:
                    raise BuiltinError("a range of the glob has no start or no end")
                found += self._range(before)
                before = None
            else:
                found.append(char)
                before = char
        raise BuiltinError("the glob has '[' without ']'")

    def _range(self, first: str) -> list[str]:
        last, escaped = self._next()
        if not escaped and last in "]-":
            raise BuiltinError("a range of the glob ends with a special character")
        if not 0 <= ord(last) - ord(first) < MAX_CLASS:
            raise BuiltinError("a range of the glob is out of order or too large")
        return [chr(code) for code in range(ord(first), ord(last) + 1)]


def _ends_match(a: Glob, b: Glob, *, backwards: bool) -> int | None:
    """How many plain tokens both have at an end; None when two of them differ."""
    count = 0
    step = -1 if backwards else 1
    for x, y in zip(a[::step], b[::step], strict=False):
        if x.flag or y.flag:
            break
        if not _fits(x, y):
            return None
        count += 1
    return count


class _Search:
    """One comparison, charged by the step."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._depth = 0

    def plain(self, a: Glob, b: Glob) -> bool:
        self._context.charge(1 + len(a) + len(b))
        for index, (x, y) in enumerate(zip(a, b, strict=False)):
            if x.flag or y.flag:
                return self._special(a[index:], b[index:])
            if not _fits(x, y):
                return False
        return len(a) == len(b)

    def _special(self, a: Glob, b: Glob) -> bool:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise BuiltinError("the globs have too many parts that repeat")
        flagged, other = (a, b) if a[0].flag else (b, a)
        found = self._plus(flagged, other) if flagged[0].flag == "+" else self._star(flagged, other)
        self._depth -= 1
        return found

    def _plus(self, plussed: Glob, other: Glob) -> bool:
        if not _fits(plussed[0], other[0]):
            return False
        if self._star(plussed, other[1:]):
            return True
        return bool(other[0].flag) and self.plain(plussed[1:], other)

    def _star(self, starred: Glob, other: Glob) -> bool:
        star, following = starred[0], starred[1] if len(starred) > 1 else None
        self._context.charge(1 + len(other))
        for index, token in enumerate(other):
            if following is not None and _fits(token, following) and self.plain(starred[1:], other[index:]):
                return True
            if not _fits(token, star):
                return False
        return following is None


def globs_match(context: Context, a: str, b: str) -> bool:
    """Whether the globs have a text in common. Raises BuiltinError for what is no such glob."""
    first, second = _Reader(a).tokens(), _Reader(b).tokens()
    front = _ends_match(first, second, backwards=False)
    if front is None:
        return False
    front = max(front - 1, 0)  # one is left, so that neither becomes empty
    first, second = first[front:], second[front:]
    back = _ends_match(first, second, backwards=True)
    if back is None:
        return False
    cut = max(back - 1, 0)
    return _Search(context).plain(first[:len(first) - cut], second[:len(second) - cut])
