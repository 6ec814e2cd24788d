"""Opaque identifiers, and names of channels, members and payees: compared whole, never looked into."""

from __future__ import annotations

from typing import Final

from ringwall.capability.resources.text import Canonical, bad, clean, percent_decode

MAX_ID: Final = 256
_WHAT: Final = "identifier"


def canonical(text: str) -> Canonical:
    """Give the text back if it has no other spelling; case counts. Raises BadInput."""
    clean(text, _WHAT, MAX_ID)
    if percent_decode(text, _WHAT) != text:
        raise bad(_WHAT, text, "is percent-encoded; write it plainly")
    if "  " in text:
        raise bad(_WHAT, text, "holds two spaces in a row")
    return Canonical(text, (text,))


def pattern(text: str) -> tuple[Canonical, bool]:
    """Always exactly one identifier. Raises BadInput."""
    return canonical(text), False
