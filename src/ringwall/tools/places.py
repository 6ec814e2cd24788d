"""Where a request goes: a URL in its parts, and whether it lies below another. Both core and sidecar ask."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from ringwall.errors import BadInput

MAX_URL: Final = 16_384
_OVERLONG: Final = ((b".", b"\xc0\xae"), (b".", b"\xe0\x80\xae"), (b"/", b"\xc0\xaf"), (b"/", b"\xe0\x80\xaf"))
"""No UTF-8 (RFC 3629, section 3), and read as such by old decoders."""
DECODINGS: Final = 3  # how often a careless chain of servers may decode one path
_PORTS: Final = {"http": 80, "https": 443}
_IN_URL: Final = frozenset(string.ascii_letters + string.digits + "-._~:/?[]@!$&'()*+,;=%")


@dataclass(frozen=True, slots=True)
class Place:
    """A URL in the parts that a request needs."""

    scheme: str
    host: str  # in lower case, without brackets
    port: int
    target: str  # path and query as they are sent

    @property
    def authority(self) -> str:
        """Host and port for the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whom the request goes to."""
        return self.scheme, self.host, self.port


def place(url: str) -> Place:
    """Take a URL apart. Raises BadInput (``bad_url``) unless it has one reading only."""
    bad = BadInput("is not an http or https URL in plain, encoded spelling", code="bad_url")
    if not 0 < len(url) <= MAX_URL or not set(url) <= _IN_URL:
        raise bad
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise bad from None
    shown = f"[{host}]" if ":" in host else host
    plain = parts.netloc.lower() in {shown, f"{shown}:{port}"}  # no user, nothing behind a bracket, no "0443"
    if parts.scheme not in _PORTS or not host or not plain or port == 0:
        raise bad
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, port or _PORTS[parts.scheme], target)


def below(url: str, prefixes: Iterable[str]) -> bool:
    """Whether a URL is one of these, or below one that ends in ``/``. A path that could climb is below none."""
    try:
        asked = place(url)
    except BadInput:
        return False
    path = asked.target.partition("?")[0]
    if climbs(path):
        return False
    for prefix in prefixes:
        top = place(prefix)
        if top.origin != asked.origin:
            continue
        if path.startswith(top.target) if prefix.endswith("/") else asked.target == top.target:
            return True
    return False


def climbs(path: str) -> bool:
    """Whether anybody could read a ``.`` or ``..`` segment in a path, however often it is decoded on its way."""
    for _ in range(DECODINGS + 1):
        if any(_seen(segment) in {".", ".."} for segment in path.replace("\\", "/").split("/")):
            return True
        raw = unquote_to_bytes(path)
        for text, overlong in _OVERLONG:
            raw = raw.replace(overlong, text)
        path = raw.decode(errors="replace")
    return False


def _seen(segment: str) -> str:
    """A segment as the most careless server reads it: cut where parameters, a query or a C string's end begin, one
    form for all dots, and nothing invisible."""
    for end in ";?#\0":
        segment = segment.partition(end)[0]
    return "".join(c for c in unicodedata.normalize("NFKC", segment) if c.isprintable() and c != " ")
