"""``http`` and ``https`` URLs (RFC 3986), read without any of the repairs that browsers make.

``https://host/a/b?q=1`` is ``("https://host", "a", "b", "?q=1")``; a trailing slash is an empty last segment.
A fragment never reaches a server and is dropped.
"""

from __future__ import annotations

import string
from typing import Final
from urllib.parse import quote

from ringwall.capability.resources.host import canonical_host
from ringwall.capability.resources.text import Canonical, bad, clean, percent_decode

MAX_URL: Final = 8192  # what common servers take in a request line
_WHAT: Final = "url"
_PORTS: Final = {"http": 80, "https": 443}
_NEVER: Final = frozenset('"<>\\^`{|} ')  # RFC 3986, section 2: no URL holds these unencoded
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")
_IN_SEGMENT: Final = "!$&'()*+,;=:@"  # sub-delims, ":" and "@" (pchar, section 3.3)


def canonical(text: str) -> Canonical:
    """Give the one spelling of a URL. Raises BadInput."""
    clean(text, _WHAT, MAX_URL)
    if not text.isascii() or not _NEVER.isdisjoint(text):
        raise bad(_WHAT, text, "holds characters that must be percent-encoded")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        raise bad(_WHAT, text, "is not an http or https URL")
    main, asked, query = rest.partition("#")[0].partition("?")
    authority, _, path = main.partition("/")
    origin = f"{scheme}://{_authority(authority, scheme, text)}"
    segments = _segments(path, text)
    tail = f"?{_query(query, text)}" if asked and query else ""
    key = () if segments == [""] else tuple(segments)
    return Canonical(f"{origin}/{'/'.join(segments)}{tail}", (origin, *key, *([tail] if tail else [])))


def _authority(text: str, scheme: str, url: str) -> str:
    if "@" in text:
        raise bad(_WHAT, url, "names a user in front of the host")
    if "%" in text:
        raise bad(_WHAT, url, "has a percent-encoded host")
    head, bracket, tail = text.rpartition("]")
    host, colon, port = tail.partition(":")
    host = canonical_host(head + bracket + host, _WHAT)
    if not colon or not port:
        return host
    if not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise bad(_WHAT, url, "has a port that is not between 1 and 65535")
    return host if int(port) == _PORTS[scheme] else f"{host}:{int(port)}"


def _segments(path: str, url: str) -> list[str]:
    parts = path.split("/")
    if "" in parts[:-1]:
        raise bad(_WHAT, url, "has an empty path segment, which servers read in different ways")
    return [_segment(part, url) for part in parts]


def _segment(part: str, url: str) -> str:
    decoded = percent_decode(part, _WHAT)
    if decoded.partition(";")[0].partition("?")[0].strip() in {".", ".."}:  # "..;" and ".. " are ".." to some
        raise bad(_WHAT, url, "has a '.' or '..' segment")
    if "/" in decoded or "\\" in decoded or not decoded.isprintable():
        raise bad(_WHAT, url, "hides a separator or an invisible character in a path segment")
    if not decoded.isascii():
        clean(decoded, _WHAT, MAX_URL)
    return quote(decoded, safe=_IN_SEGMENT)


def _query(query: str, url: str) -> str:
    """Decode what needs no encoding, upper-case the rest; what a query means is up to its server."""
    first, *encoded = query.split("%")
    out = [first]
    for part in encoded:
        digits = part[:2]
        if len(digits) != 2 or not set(digits) <= set(string.hexdigits):
            raise bad(_WHAT, url, "has a '%' in its query that encodes nothing")
        char = chr(int(digits, 16))
        out.append((char if char in _UNRESERVED else f"%{digits.upper()}") + part[2:])
    return "".join(out)


def pattern(text: str) -> tuple[Canonical, bool]:
    """``https://host/a`` is one URL, ``https://host/a/`` all below it, with any query. Raises BadInput."""
    if "#" in text:
        raise bad(_WHAT, text, "has a fragment, which no server ever sees")
    found = canonical(text)
    if "?" in text or not text.endswith("/"):
        return found, False
    return Canonical(found.id, found.key[:-1] if found.key[-1] == "" else found.key), True
