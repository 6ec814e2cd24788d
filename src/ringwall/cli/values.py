"""How a secret's value gets into a command: from standard input or a file, never from its arguments."""

from __future__ import annotations

import getpass
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any, Final, cast

from ringwall.errors import BadInput

MAX_VALUE: Final = 64 << 10  # bytes: what the vault keeps
MAX_LIST: Final = 1 << 20  # bytes of a file with several
MAX_NAMES: Final = 1000  # secrets in one file
_LINE: Final = re.compile(r"(?:export[ \t]+)?([A-Za-z0-9._-]{1,64})=(.*)")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\[nrt"\\$])*)"')
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def value(file: Path | None, what: str) -> bytes:
    """One value.

    Args:
        file: read as it is, to the last byte; None: standard input. From a terminal it is asked for twice and not
            shown; from a pipe one closing newline is taken off.
        what: it is, for the question.

    Raises:
        BadInput: ``file_error``, ``value_empty``, ``value_too_large``, ``not_the_same``, ``would_be_shown``.

    """
    if file is not None:
        raw = contents(file, MAX_VALUE)
    elif sys.stdin.isatty():
        raw = _typed(what)
    else:
        raw = _piped(MAX_VALUE + 2).removesuffix(b"\n").removesuffix(b"\r")
    if not raw:
        raise _empty(what)
    if len(raw) > MAX_VALUE:
        raise BadInput(f"the {what} has more than {MAX_VALUE} bytes", code="value_too_large",
                       remedy="keep larger things encrypted elsewhere, and their key here")
    return raw


def once(what: str) -> bytes:
    """One line that exists already, so that it need not be typed twice. Raises BadInput as ``value``."""
    raw = _asked(what) if sys.stdin.isatty() else _piped(MAX_VALUE).strip(b"\r\n")
    if not raw:
        raise _empty(what)
    return raw


def several(file: Path | None) -> dict[str, bytes]:
    """Names and values: a JSON object of texts, or lines ``NAME=value`` as in a dotenv file.

    Raises:
        BadInput: ``bad_list``, with the line and never what it says; ``file_error``, ``would_be_shown``.

    """
    if file is None and sys.stdin.isatty():
        raise _shown("give them by a pipe, or --file")
    raw = contents(file, MAX_LIST) if file is not None else _piped(MAX_LIST + 1)
    if len(raw) > MAX_LIST:
        raise _bad(f"it has more than {MAX_LIST} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _bad("it is not UTF-8") from None
    found = _object(text) if text.lstrip().startswith("{") else _lines(text)
    if not 0 < len(found) <= MAX_NAMES:
        raise _bad(f"it must hold 1 to {MAX_NAMES} secrets")
    return {name: one.encode() for name, one in found.items()}


def contents(file: Path, limit: int) -> bytes:
    """A file, at most one byte more than ``limit``. Raises BadInput (``file_error``)."""
    try:
        with file.open("rb") as opened:
            return opened.read(limit + 1)
    except OSError as fault:
        raise BadInput(f"{file} cannot be read: {fault.strerror}", code="file_error") from None


def open_to_others(file: Path) -> bool:
    """Whether other users of this machine may read a file, links followed."""
    try:
        return bool(file.stat().st_mode & 0o044)
    except OSError:
        return False  # it is gone, and so are they


def _piped(limit: int) -> bytes:
    return sys.stdin.buffer.read(limit)


def _typed(what: str) -> bytes:
    """Twice, because nobody sees it."""
    first = _asked(what)
    if first and first != _asked(f"{what} again"):
        raise BadInput("the two are not the same", code="not_the_same", remedy="try again")
    return first


def _asked(what: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"{what}: ", stream=sys.stderr).encode("utf-8", "surrogateescape")
    except getpass.GetPassWarning:
        raise _shown("give it by a pipe") from None
    except EOFError:
        return b""


def _shown(remedy: str) -> BadInput:
    return BadInput("this terminal would show what is typed", code="would_be_shown", remedy=remedy)


def _empty(what: str) -> BadInput:
    return BadInput(f"the {what} is empty", code="value_empty", remedy="type it, or give it on standard input")


def _object(text: str) -> dict[str, str]:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in found}) != len(found):
            raise _bad("a name stands in it twice")
        return dict(found)

    try:
        read = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        raise _bad("it begins like JSON and is none") from None
    found = cast("dict[str, Any]", read)
    for name, one in found.items():
        if not isinstance(one, str) or not _LINE.fullmatch(f"{name}="):
            raise _bad("it must be one object of names and texts")
    return found


def _lines(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise _bad(f"line {number} is not NAME=value")
        if match[1] in found:
            raise _bad(f"line {number} has a name that stood there before")
        found[match[1]] = _unquoted(match[2], number)
    return found


def _unquoted(text: str, number: int) -> str:
    """In single quotes: as it is. In double quotes: ``\\n``, ``\\r``, ``\\t``, else what is behind a backslash."""
    if text[:1] == "'":
        if len(text) < 2 or text[-1] != "'" or "'" in text[1:-1]:
            raise _bad(f"line {number} has a quote that does not fit")
        return text[1:-1]
    if text[:1] == '"':
        match = _QUOTED.fullmatch(text)
        if match is None:
            raise _bad(f"line {number} has a quote or a backslash that does not fit")
        return re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), match[1])
    return text


def _bad(why: str) -> BadInput:
    return BadInput(f"the list of secrets cannot be read: {why}", code="bad_list",
                    remedy="lines NAME=value, or a JSON object of texts")
