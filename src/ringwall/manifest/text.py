"""From a file's bytes to TOML tables: size, encoding, hidden characters, depth. Nothing about meaning."""

from __future__ import annotations

import os
import re
import stat
import tomllib
import unicodedata
from pathlib import Path
from typing import Final, cast

from ringwall.errors import ManifestError
from ringwall.manifest.problems import Key, Problems

MAX_BYTES: Final = 256 << 10  # thousands of grants fit; a person reviews far less
MAX_LINE: Final = 4096  # characters; tomllib's cost grows with the square of the dots in one key
MAX_DEPTH: Final = 12  # the deepest place the types know is 7 levels down
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
# Categories of what an editor does not show as itself: controls, formats (bidirectional marks, zero width),
# private use, surrogates, line and paragraph separators.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_LAYOUT: Final = frozenset("\t\n")


def read(path: Path) -> str:
    """The text of a manifest. Raises ManifestError for a file that is missing, no file, too large, not UTF-8."""
    try:
        # O_NONBLOCK: opening a named pipe would wait for its writer.
        with open(path, "rb", opener=lambda p, f: os.open(p, f | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ManifestError((f"{path}\n  is not a regular file",))
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ManifestError((f"{path}\n  there is no such file",),
                            remedy="write one with: ringwall init") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ManifestError((f"{path}\n  cannot be read: {reason}",)) from error
    if len(data) > MAX_BYTES:
        raise _too_large(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError((f"{path.name}: byte {error.start}\n  is not UTF-8",)) from error


def tables(text: str, path: Path) -> dict[str, object]:
    """Parse TOML into plain tables. Raises ManifestError."""
    if len(text) > MAX_BYTES:
        raise _too_large(path)
    _check_lines(text, path)
    try:
        parsed = cast("dict[str, object]", tomllib.loads(text))
    except RecursionError as error:
        raise ManifestError((f"{path.name}\n  is nested too deeply (more than {MAX_DEPTH} levels)",)) from error
    except ValueError as error:  # TOMLDecodeError, and what int() says of a number of thousands of digits
        raise ManifestError((_not_toml(str(error), path),)) from error
    problems = Problems(path.name)
    _walk(parsed, problems)
    problems.raise_if_any()
    return parsed


def hidden(text: str, *, layout: bool) -> str:
    """The first character that hides in ``text``, as ``U+202E RIGHT-TO-LEFT OVERRIDE``; empty if there is none.

    Args:
        text: what to look through.
        layout: whether tab and newline may stand in it.

    """
    for char in text:
        if unicodedata.category(char) in _HIDDEN and not (layout and char in _LAYOUT):
            return f"U+{ord(char):04X} {unicodedata.name(char, 'control character')}"
    return ""


def _check_lines(text: str, path: Path) -> None:
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if len(line) > MAX_LINE:
            raise ManifestError((f"{path.name}: line {number}\n  is longer than {MAX_LINE} characters",),
                                remedy="write long lists on several lines")
        found = hidden(line, layout=True)
        if found:
            raise ManifestError((f"{path.name}: line {number}\n  holds a character that nobody sees: {found}",),
                                remedy="remove it, or write it as an escape")


def _not_toml(message: str, path: Path) -> str:
    found = _POSITION.search(message)
    place = f": line {found[1]}, column {found[2]}" if found and found[1] else ""
    cause = message[:found.start()] if found else message
    return f"{path.name}{place}\n  is not TOML: {cause[:200]}{'' if place else ' (at its end)' if found else ''}"


def _walk(parsed: dict[str, object], problems: Problems) -> None:
    """Note depth and hidden characters that came in as escapes; iterative, because depth is what it checks."""
    stack: list[tuple[Key, object]] = [((), parsed)]
    while stack:
        key, value = stack.pop()
        if len(key) > MAX_DEPTH:
            problems.add(key[:MAX_DEPTH], f"is nested too deeply (more than {MAX_DEPTH} levels)")
        elif isinstance(value, str):
            found = hidden(value, layout=True)
            if found:
                problems.add(key, f"holds a character that nobody sees: {found}")
        elif isinstance(value, list):
            stack += [((*key, i), item) for i, item in enumerate(cast("list[object]", value))]
        elif isinstance(value, dict):
            for name, item in cast("dict[str, object]", value).items():
                found = hidden(name, layout=False)
                if found:
                    problems.add((*key, name), f"this name holds a character that nobody sees: {found}")
                stack.append(((*key, name), item))


def _too_large(path: Path) -> ManifestError:
    return ManifestError((f"{path}\n  is larger than {MAX_BYTES >> 10} KiB",))
