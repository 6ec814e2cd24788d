"""What all kinds of resource share: text that shows what it is, and percent-decoding done once."""

from __future__ import annotations

import unicodedata
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from ringwall.errors import BadInput

SHOWN: Final = 80  # characters of a bad value that an error repeats
_UNSEEN: Final = frozenset(
    # Default-ignorable code points (Unicode, DerivedCoreProperties) that are letters or marks by category and
    # so count as printable, and the blank braille pattern.
    (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0,
     *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))


class Canonical(NamedTuple):
    """The one spelling of a resource, and its hierarchy, outermost first.

    ``value`` is what the tool is given where that is not ``id``: the same resource in the notation that was
    written (``s3://``, ``https://``), which the tool may insist on. Empty: ``id``.
    """

    id: str
    key: tuple[str, ...]
    value: str = ""

    @property
    def sent(self) -> str:
        """What the tool is given."""
        return self.value or self.id


def bad(what: str, text: str, why: str) -> BadInput:
    """A refusal that shows the value in ASCII, so that the error cannot lie about it either."""
    return BadInput(f"{what} {text[:SHOWN]!a} {why}", code="bad_argument")


def clean(text: str, what: str, limit: int) -> str:
    """Give the text back if it is its own only spelling.

    Refused: empty or longer than ``limit`` bytes of UTF-8; controls, line ends, bidirectional and zero-width
    characters, unassigned and private ones, spaces other than U+0020; anything that NFC or NFKC would change
    (decomposed letters, full-width forms); leading and trailing spaces. Raises BadInput.
    """
    if not text or len(text) > limit:
        raise bad(what, text, f"must have between 1 and {limit} bytes")
    if not text.isprintable():  # false for Cc, Cf, Cs, Co, Cn, Zl, Zp and every Zs but U+0020
        raise bad(what, text, "holds a control, invisible or unassigned character")
    if text != text.strip():
        raise bad(what, text, "begins or ends with a space")
    if text.isascii():
        return text
    if len(text.encode()) > limit:
        raise bad(what, text, f"must have between 1 and {limit} bytes")
    if not _UNSEEN.isdisjoint(map(ord, text)):
        raise bad(what, text, "holds an invisible character")
    if unicodedata.normalize("NFKC", text) != text:
        raise bad(what, text, "holds decomposed, full-width or compatibility characters (NFKC changes it)")
    return text


def percent_decode(text: str, what: str) -> str:
    """Undo percent-encoding once. Raises BadInput if the result is not UTF-8 or would decode again."""
    if "%" not in text:
        return text
    raw = unquote_to_bytes(text)
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        raise bad(what, text, "does not decode to UTF-8") from None
    if unquote_to_bytes(decoded) != raw:
        raise bad(what, text, "is percent-encoded more than once")
    return decoded


def plainly(text: str, what: str, *, never: str) -> str:
    """Give the text back if nothing in it is encoded, and none of the characters in ``never``. Raises BadInput."""
    if percent_decode(text, what) != text:
        raise bad(what, text, "is percent-encoded; write it plainly")
    if not set(never).isdisjoint(text):
        raise bad(what, text, f"holds one of {' '.join(never.strip())}, which some readers do not take literally")
    return text


def pieces(text: str, delimiters: str) -> tuple[str, ...]:
    """Cut a text behind each delimiter; each piece keeps it: ``a/b`` is ``("a/", "b")``."""
    out: list[str] = []
    start = 0
    for at, char in enumerate(text):
        if char in delimiters:
            out.append(text[start:at + 1])
            start = at + 1
    return (*out, text[start:]) if start < len(text) else tuple(out)
