"""Text for a person at a terminal: narrow, and without anything the terminal would obey."""

from __future__ import annotations

import textwrap
from typing import Final

COLUMNS: Final = 80


def plain(text: object) -> str:
    """A text of an agent's, tool's or server's: every character that is not printed is spelled out."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(text))


def fold(text: str, lead: str) -> list[str]:
    """Lines of at most 80 columns, the first behind ``lead``."""
    words = text.lstrip(" ")
    first = lead + " " * min(len(text) - len(words), COLUMNS // 2)
    rest = " " * len(first) if first.strip() else first + "  "  # below a title's text; a body's line further in
    lines = textwrap.wrap(words, COLUMNS, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return lines or [lead.rstrip()]
