"""Absolute POSIX paths: ``/srv/docs/a.txt`` is ``("srv", "docs", "a.txt")``.

``//`` and ``.`` name the same file without them and are taken out. ``..`` does not: with a symbolic link in
front of it no reader of text can tell what it names, so it is refused, however it is encoded.
"""

from __future__ import annotations

from typing import Final

from ringwall.capability.resources.text import Canonical, bad, clean, percent_decode

MAX_PATH: Final = 4096  # PATH_MAX
MAX_SEGMENT: Final = 255  # NAME_MAX
_WHAT: Final = "path"


def canonical(text: str) -> Canonical:
    """Give the one spelling of an absolute path. Raises BadInput."""
    plain = percent_decode(clean(text, _WHAT, MAX_PATH), _WHAT)
    if plain != text:
        clean(plain, _WHAT, MAX_PATH)
    if not plain.startswith("/"):
        raise bad(_WHAT, text, "is not absolute")
    if "\\" in plain:
        raise bad(_WHAT, text, "holds a backslash, which some readers take for a separator")
    key = tuple(segment for segment in plain.split("/") if segment not in {"", "."})
    for segment in key:
        _check(segment, text)
    return Canonical("/" + "/".join(key), key)


def _check(segment: str, text: str) -> None:
    if segment == "..":
        raise bad(_WHAT, text, "climbs with '..'")
    if segment != segment.strip() or segment.endswith("."):  # stripped by some systems: another spelling
        raise bad(_WHAT, text, "has a segment that begins or ends with a space, or ends with a dot")
    if len(segment.encode()) > MAX_SEGMENT:
        raise bad(_WHAT, text, f"has a segment of more than {MAX_SEGMENT} bytes")


def pattern(text: str) -> tuple[Canonical, bool]:
    """``/srv/docs/a.txt`` is one file, ``/srv/docs/`` a subtree. Raises BadInput."""
    found = canonical(text)
    if not found.key:
        raise bad(_WHAT, text, "names every file there is; name the folders that are needed")
    return found, text.endswith("/")
