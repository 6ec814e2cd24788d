"""Secrets that come back: an answer that repeats the credential it was asked with would give it to the agent.

Found are the value itself and the spellings an honest echo has: percent, JSON, base64 and hexadecimal. A server
that means harm has the credential anyway.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus, unquote_to_bytes

import msgspec

MIN_SECRET: Final = 8  # characters; a shorter value is in any text, and no key


class Echoes:
    """Looks for secrets in one answer, also across the pieces of a stream.

    Args:
        secrets: the values; those shorter than MIN_SECRET are left out.

    """

    def __init__(self, secrets: Iterable[str]) -> None:
        long = {value for value in secrets if len(value) >= MIN_SECRET}
        # Whoever gives "Bearer x" back gives x back, in every one of these spellings.
        least = [value for value in long if not any(other != value and other in value for other in long)]
        self._wanted = frozenset(one for value in least for one in _spellings(value))
        self._keep = max(map(len, self._wanted), default=1) - 1
        self._tail = b""

    def whole(self, text: bytes) -> bool:
        """Whether one of them is in a text, also when its characters are escaped as in JSON or a URL."""
        if not self._wanted:
            return False
        return (
            self._in(text)
            or (b"\\" in text and self._in(_unescaped(text)))
            or (b"%" in text and (self._in(unquote_to_bytes(text))
                                 or self._in(unquote_to_bytes(text.replace(b"+", b" ")))))
        )

    def piece(self, text: bytes) -> bool:
        """Whether one of them is in what came so far, given the next piece of it."""
        if not self._wanted:
            return False
        joined = self._tail + text
        self._tail = joined[-self._keep:] if self._keep else b""
        return self._in(joined)

    def _in(self, text: bytes) -> bool:
        return any(one in text for one in self._wanted)


def of_headers(headers: Iterable[str]) -> list[str]:
    """The secrets in headers' values: each whole, and without a scheme such as ``Bearer``."""
    values = list(headers)
    return [*values, *(value.rpartition(" ")[2] for value in values if " " in value)]


def _spellings(value: str) -> set[bytes]:
    raw = value.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    found |= {quote(value, safe="").encode(), quote_plus(value).encode(), json.dumps(value)[1:-1].encode()}
    for offset in range(3):  # in the middle of a longer base64 text, a value starts at one of three places
        for make in (base64.b64encode, base64.urlsafe_b64encode):
            text = make(b"\0" * offset + raw).rstrip(b"=")
            start, end = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
            found.add(text[start:end])
    return found


def _unescaped(text: bytes) -> bytes:
    """A JSON text without escapes that need not be; another text as it is."""
    try:
        return msgspec.json.encode(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
