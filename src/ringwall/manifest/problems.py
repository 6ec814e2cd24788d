"""Faults of a manifest: where, what was expected, the nearest right spelling. All of them at once."""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from ringwall.errors import ManifestError

Key: TypeAlias = tuple[str | int, ...]
"""The place of a value: keys of tables, positions in lists."""

MAX_PROBLEMS: Final = 50  # more than a person mends in one go; the rest is counted
MAX_SHOWN: Final = 60  # characters of a name or value repeated in an error
MAX_KNOWN: Final = 12  # known spellings listed under an error
MAX_CANDIDATES: Final = 500  # difflib compares every pair of letters
COLUMNS: Final = 80  # the width of every terminal text
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def quoted(text: str) -> str:
    """A name or value as it may be shown: in quotes, escaped, cut."""
    return json.dumps(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")


def spelled(key: Key) -> str:
    """A key path as TOML spells it: ``tenants.acme.roles.analyst.tools."docs/read"``."""
    parts: list[str] = []
    for part in key:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            bare = len(part) <= MAX_SHOWN and _BARE.fullmatch(part) is not None
            parts.append(("." if parts else "") + (part if bare else quoted(part)))
    return "".join(parts)


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean "x"?)``, or nothing when no known spelling is near."""
    pool = [k for k in known if len(k) <= MAX_SHOWN][:MAX_CANDIDATES]
    found = difflib.get_close_matches(name[:MAX_SHOWN], pool, n=1)
    return f" (did you mean {quoted(found[0])}?)" if found else ""


class Problems:
    """Collects faults; ``raise_if_any`` turns them into one ManifestError."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._texts: list[str] = []
        self._count = 0
        self._wrong: set[Key] = set()  # each key with a fault at or below it

    def add(self, key: Key, what: str, *, known: Sequence[str] | None = None, fix: str = "") -> None:
        """Note one fault at ``key``: what is wrong, which spellings are known, what to write instead."""
        self._count += 1
        self._wrong.update(key[:length] for length in range(len(key) + 1))
        if len(self._texts) == MAX_PROBLEMS:
            return
        lines = [f"{self._file}: {spelled(key)}" if key else self._file, *_wrapped(what)]
        if known is not None:
            shown = ", ".join(k if _BARE.fullmatch(k) or "/" in k else quoted(k) for k in known[:MAX_KNOWN])
            more = f" and {len(known) - MAX_KNOWN} more" if len(known) > MAX_KNOWN else ""
            lines += _wrapped(f"known: {shown or 'none'}{more}")
        if fix:
            lines += _wrapped(fix)
        self._texts.append("\n".join(lines))

    def unknown(self, key: Key, name: str, what: str, known: Iterable[str]) -> None:
        """Note a name that names nothing, with the nearest one that does."""
        names = sorted(known) if len(self._texts) < MAX_PROBLEMS else []
        self.add(key, what + nearest(name, names), known=names)

    def under(self, key: Key) -> bool:
        """Whether something at or below ``key`` is already known to be wrong."""
        return key in self._wrong

    def raise_if_any(self) -> None:
        """Raise ManifestError with every fault found, if there is one."""
        if not self._count:
            return
        more = self._count - len(self._texts)
        texts = [*self._texts, *([f"{self._file}: and {more} more"] if more else [])]
        raise ManifestError(tuple(texts), remedy="mend these and run: ringwall check")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent="  ", subsequent_indent="    ",
                         break_long_words=False, break_on_hyphens=False)
