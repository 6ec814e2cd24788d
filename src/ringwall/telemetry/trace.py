"""``traceparent`` of W3C Trace Context, level 1, section 3.2: one strict parser, one spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VERSION: Final = "00"
_INVALID: Final = "ff"  # section 3.2.2.1: no version may be this
_LENGTH: Final = 55  # of version 00: 2 + 32 + 16 + 2 digits, three dashes
_LONGEST: Final = 512  # characters of a later version that are looked at; nothing honest is near
_DIGITS: Final = frozenset("0123456789abcdef")  # HEXDIGLC: upper case is invalid
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One span's place in its trace. ``trace_id``: 32, ``span_id``: 16 hexadecimal digits, neither all zero."""

    trace_id: str
    span_id: str
    sampled: bool = True


def parse(text: str) -> Context | None:
    """What a caller says its span is; None for anything that section 3.2 has readers ignore.

    A later version is read as far as version 00 goes, if what follows begins with a dash (section 3.2.4).
    """
    if len(text) < _LENGTH or len(text) > _LONGEST:
        return None
    version, trace_id, span_id, flags = text[:2], text[3:35], text[36:52], text[53:55]
    if text[2] != "-" or text[35] != "-" or text[52] != "-":
        return None
    if not _DIGITS.issuperset(version + trace_id + span_id + flags) or version == _INVALID:
        return None
    if len(text) > _LENGTH and (version == VERSION or text[_LENGTH] != "-"):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Context(trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & _SAMPLED))


def spelled(context: Context) -> str:
    """The header's value, in version 00."""
    return f"{VERSION}-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"
