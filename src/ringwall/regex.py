"""RE2 with types: the only regular expressions that may see untrusted text, because they cannot backtrack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, AnyStr, Protocol, cast

import re2

_re2: Any = re2  # google-re2 ships no types


class Match(Protocol[AnyStr]):  # pyright: ignore[reportInvalidTypeVarUse]
    """What ``re.Match`` offers, as far as it is used here."""

    def start(self, group: int = 0, /) -> int: ...
    def end(self, group: int = 0, /) -> int: ...
    def group(self, group: int = 0, /) -> AnyStr: ...


class Pattern(Protocol[AnyStr]):
    """What ``re.Pattern`` offers, as far as it is used here. Offsets are in characters, or bytes for bytes."""

    def search(self, text: AnyStr, /) -> Match[AnyStr] | None: ...
    def fullmatch(self, text: AnyStr, /) -> Match[AnyStr] | None: ...
    def finditer(self, text: AnyStr, /) -> Iterator[Match[AnyStr]]: ...
    def findall(self, text: AnyStr, /) -> list[AnyStr]: ...
    def sub(self, repl: AnyStr, text: AnyStr, /) -> AnyStr: ...


def text(pattern: str) -> Pattern[str]:
    """Compile a pattern over text."""
    options: Any = _re2.Options()
    options.log_errors = False
    return cast("Pattern[str]", _re2.compile(pattern, options))


def raw(pattern: bytes) -> Pattern[bytes]:
    r"""Compile a pattern over single bytes: by default ``\xc2`` would mean the character U+00C2."""
    options: Any = _re2.Options()
    options.log_errors = False
    options.encoding = _re2.Options.Encoding.LATIN1
    return cast("Pattern[bytes]", _re2.compile(pattern, options))
