"""SQL tables: ``schema.table`` or ``database.schema.table``, by PostgreSQL's rules.

Without quotes a name is folded to lower case; in quotes it stands as written, so ``"orders"`` is ``orders`` and
``"Orders"`` is another table. A bare ``orders`` is refused: which schema is meant depends on the session. The key
of ``sales.orders`` is ``("", "sales", "orders")``: a schema is never taken for a database of the same name.
"""

from __future__ import annotations

import string
from typing import Final

from ringwall.capability.resources.text import Canonical, bad, clean

MAX_NAME: Final = 63  # bytes: longer ones are cut off silently, so two of them may be one table
MAX_TEXT: Final = 3 * (MAX_NAME + 2) + 2
_WHAT: Final = "table"
_FIRST: Final = frozenset(string.ascii_lowercase + "_")
_REST: Final = _FIRST | frozenset(string.digits + "$")


def canonical(text: str) -> Canonical:
    """Give the one spelling of a table. Raises BadInput."""
    names = _names(text)
    if len(names) < 2:
        raise bad(_WHAT, text, "has no schema, so which table it is depends on the session")
    return _made(names, text)


def _made(names: list[str], text: str) -> Canonical:
    if len(names) > 3:
        raise bad(_WHAT, text, "has more parts than database.schema.table")
    key = tuple(names) if len(names) == 3 else ("", *names)
    return Canonical(".".join(map(_spelled, names)), key)


def _names(text: str) -> list[str]:
    rest = clean(text, _WHAT, MAX_TEXT)
    names: list[str] = []
    while True:
        name, rest = _quoted(rest, text) if rest.startswith('"') else _bare(rest, text)
        if not 0 < len(name.encode()) <= MAX_NAME:
            raise bad(_WHAT, text, f"has an empty name, or one of more than {MAX_NAME} bytes")
        names.append(name)
        if not rest:
            return names
        if not rest.startswith("."):
            raise bad(_WHAT, text, "has something behind a quoted name")
        rest = rest[1:]


def _quoted(rest: str, text: str) -> tuple[str, str]:
    name, end, rest = rest[1:].partition('"')
    if not end or rest.startswith('"'):
        raise bad(_WHAT, text, "has a quote that does not end, or one within quotes")
    if name != name.strip():
        raise bad(_WHAT, text, "has a name that begins or ends with a space")
    return name, rest


def _bare(rest: str, text: str) -> tuple[str, str]:
    name, dot, rest = rest.partition(".")
    if not name.isascii() or not _plain(name.lower()):
        raise bad(_WHAT, text, "has a name that needs double quotes")
    return name.lower(), dot + rest


def _plain(name: str) -> bool:
    return name[:1] in _FIRST and set(name) <= _REST if name else False


def _spelled(name: str) -> str:
    return name if _plain(name) else f'"{name}"'


def pattern(text: str) -> tuple[Canonical, bool]:
    """``sales.orders`` is one table, ``sales.`` all of a schema, ``db.sales.`` of one of that database.

    Raises BadInput.
    """
    if not text.endswith("."):
        return canonical(text), False
    found = _made([*_names(text[:-1]), "x"], text)
    return Canonical(found.id[:-1], found.key[:-1]), True
