"""Upper and lower case as OPA has them: one character gives one character, whatever stands beside it.

Python maps whole texts by Unicode's full rules: ``"ß".upper()`` is two letters, a sigma at a word's end another one
than within it. A policy that compares such texts would decide otherwise here than in OPA.
"""

from __future__ import annotations


def lower(text: str) -> str:
    """Each character's simple lower case (UnicodeData.txt); with ASCII alone both rules are one."""
    return text.lower() if text.isascii() else "".join(_lower(one) for one in text)


def upper(text: str) -> str:
    """Each character's simple upper case; a character that has none stays."""
    return text.upper() if text.isascii() else "".join(_upper(one) for one in text)


def _lower(one: str) -> str:
    return one.lower()[0]  # longer for U+0130 only, whose first character is the simple mapping


def _upper(one: str) -> str:
    if len(full := one.upper()) == 1:
        return full
    title = one.title()  # Greek letters with iota: their simple upper case is the title case
    return title if len(title) == 1 else one
