"""What the strings and the free JSON of A2A messages may be. Each check raises ValueError with a short sentence."""

from __future__ import annotations

import base64
import binascii
import string
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from ringwall.call import Json, as_array, as_object

MAX_ID: Final = 256  # characters; a UUID has 36, and an id is a key of every table it goes into
MAX_NAME: Final = 256  # characters of what people call a thing
MAX_FILENAME: Final = 255  # bytes: NAME_MAX of Linux file systems
MAX_URL: Final = 2048  # characters; what servers and proxies take in general
MAX_TOKEN: Final = 1024  # characters of a page token or a push token: they travel in a query or a header
MAX_CREDENTIALS: Final = 4096  # characters of an Authorization header; the largest honest JWTs have as many
MAX_MEDIA_TYPE: Final = 127  # characters of each half: RFC 6838, section 4.2
MAX_URI_SCHEME: Final = 32  # characters; the longest registered ones have 25
MAX_AUTH_SCHEME: Final = 64  # characters; the longest registered ones have 20
MAX_FRACTION: Final = 9  # digits of a second: google.protobuf.Timestamp has nanoseconds
MAX_FREE_DEPTH: Final = 24  # protobuf gives up at 31 within a list of tasks: see the SDK's parsers
MAX_FREE_KEY: Final = 256  # characters of a key in free JSON
MAX_METADATA: Final = 1000  # values in one metadata object: it says something about a message, it is not one
MAX_DATA: Final = 50_000  # values in one data part: half of what a whole body may hold
MAX_EXACT: Final = 2**53 - 1  # free numbers are doubles at the receiver (google.protobuf.Value): above, they change

_SUFFIXES: Final = (":cancel", ":subscribe")  # would be read as a verb behind the id in HTTP+JSON
_PATH_SAFE: Final = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@")  # pchar, RFC 3986, 3.3
_LOWER: Final = frozenset(string.ascii_lowercase + string.digits)
_MODE: Final = _LOWER | frozenset("!#$&^_.+-")  # restricted-name, RFC 6838, section 4.2, lower case
_URI_SCHEME: Final = _LOWER | frozenset("+.-")  # RFC 3986, section 3.1, lower case
_AUTH_SCHEME: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'*+.^_`|~-")  # token, RFC 9110, 5.6.2
_SEPARATORS: Final = (("-", 4), ("-", 7), ("T", 10), (":", 13), (":", 16))  # of an RFC 3339 time
_SECONDS: Final = 19  # characters of a time up to its whole seconds


def visible(text: str) -> bool:
    """Whether a text holds visible ASCII characters only: no space, no control character."""
    return text.isascii() and text.isprintable() and " " not in text


def identifier(text: str, what: str) -> None:
    """An id that travels in bodies only. Visible ASCII: what cannot be confused with another at a glance."""
    if not 1 <= len(text) <= MAX_ID or not visible(text):
        raise ValueError(f"`{what}` must have 1 to {MAX_ID} visible ASCII characters")


def path_id(text: str, what: str) -> None:
    """An id that also travels as a segment of a path: it must read the same there without any escaping."""
    if not 1 <= len(text) <= MAX_ID or not _PATH_SAFE.issuperset(text) or text in {".", ".."}:
        raise ValueError(f"`{what}` must have 1 to {MAX_ID} characters that a URL's path may hold as they are")
    if text.endswith(_SUFFIXES):
        raise ValueError(f"`{what}` must not end in :cancel or :subscribe")


def token(text: str, what: str) -> None:
    """An opaque text that travels in a query or a header."""
    if len(text) > MAX_TOKEN or not visible(text):
        raise ValueError(f"`{what}` must have at most {MAX_TOKEN} visible ASCII characters")


def prose(text: str, what: str) -> None:
    """Free text: Unicode that UTF-8 can write, without NUL, which ends a text early for many programs."""
    if "\0" in text:
        raise ValueError(f"`{what}` must not hold the character NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"`{what}` must not hold half a surrogate pair") from None


def label(text: str, what: str) -> None:
    """A short text that people read: no control characters, nothing that changes direction, not too long."""
    if len(text) > MAX_NAME or not text.isprintable():
        raise ValueError(f"`{what}` must have at most {MAX_NAME} printable characters")


def filename(text: str) -> None:
    """The name of a file, never a path to it."""
    if len(text.encode()) > MAX_FILENAME or not text.isprintable():
        raise ValueError(f"`filename` must have at most {MAX_FILENAME} bytes, all of them printable")
    if "/" in text or "\\" in text or text in {".", ".."}:
        raise ValueError("`filename` must not be a path")


def mode(text: str, what: str) -> None:
    """A media type without parameters, or the bare words some agents declare (``text``); lower case."""
    halves = text.split("/")
    if len(halves) > 2 or not all(map(_restricted, halves)):
        raise ValueError(f"`{what}` must be a media type in lower case, without parameters")


def _restricted(name: str) -> bool:
    return 1 <= len(name) <= MAX_MEDIA_TYPE and name[0] in _LOWER and _MODE.issuperset(name)


def media_type(text: str, what: str) -> None:
    """A media type without parameters, lower case: RFC 6838, section 4.2."""
    mode(text, what)
    if "/" not in text:
        raise ValueError(f"`{what}` must be a media type: type/subtype")


def uri(text: str, what: str) -> None:
    """An absolute URI in visible ASCII: RFC 3986, section 4.3. What it may point to is for the rings to say."""
    begin, colon, rest = text.partition(":")
    good = 1 <= len(begin) <= MAX_URI_SCHEME and begin[0].isalpha() and _URI_SCHEME.issuperset(begin)
    if len(text) > MAX_URL or not (good and colon and rest) or not visible(text) or "\\" in text:
        raise ValueError(f"`{what}` must be an absolute URI of at most {MAX_URL} visible ASCII characters")


def web_url(text: str, what: str) -> None:
    """A URI that can be fetched over HTTP."""
    uri(text, what)
    if not text.startswith(("https://", "http://")):
        raise ValueError(f"`{what}` must begin with https:// or http://")


def timestamp(text: str, what: str) -> None:
    """RFC 3339 in UTC as protobuf writes it, ``2026-01-31T12:00:00.250Z``: one spelling of the zone."""
    point, fraction = text[_SECONDS:_SECONDS + 1], text[_SECONDS + 1:-1]
    digits = "".join((text[0:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:_SECONDS], fraction))
    right = text.isascii() and text.endswith("Z") and len(fraction) <= MAX_FRACTION and digits.isdigit()
    right = right and (point == "Z" or (point == "." and fraction != ""))
    if not right or not all(text[place] == one for one, place in _SEPARATORS):
        raise ValueError(f"`{what}` must be a time such as 2026-01-31T12:00:00.250Z")
    try:
        datetime.fromisoformat(text[:_SECONDS] + "+00:00")
    except ValueError:
        raise ValueError(f"`{what}` is no time that exists") from None


def scheme(text: str) -> None:
    """The name of an HTTP authentication scheme."""
    if not 1 <= len(text) <= MAX_AUTH_SCHEME or not _AUTH_SCHEME.issuperset(text):
        raise ValueError("`scheme` must be the name of an HTTP authentication scheme")


def credentials(text: str) -> None:
    """What follows the scheme in an Authorization header."""
    if len(text) > MAX_CREDENTIALS or not (text.isascii() and text.isprintable()):
        raise ValueError(f"`credentials` must have at most {MAX_CREDENTIALS} printable ASCII characters")


def canonical_base64(text: str, what: str) -> None:
    """Standard alphabet, padded, no spare bits, nothing between: RFC 4648, section 3."""
    tail = text[-4:]  # bits to spare, and so a second spelling, can only be there
    try:
        binascii.a2b_base64(text, strict_mode=True)
        again = base64.b64encode(binascii.a2b_base64(tail, strict_mode=True)).decode("ascii")
        same = again == tail and len(text) % 4 == 0
    except ValueError:  # binascii.Error is one
        same = False
    if not same:
        raise ValueError(f"`{what}` must be canonical Base64: standard alphabet, padded")


def each(check_uris: Iterable[str], what: str) -> None:
    """Each of several URIs, such as the extensions of a message."""
    for one in check_uris:
        uri(one, what)


def free(value: Json, what: str, limit: int) -> None:
    """Free JSON: bounded in depth and number, its numbers exact at the receiver, its texts without NUL."""
    level: list[Json] = [value]
    nodes = depth = 0
    while level:
        if depth > MAX_FREE_DEPTH:
            raise ValueError(f"`{what}` is nested more than {MAX_FREE_DEPTH} levels deep")
        nodes += len(level)
        if nodes > limit:
            raise ValueError(f"`{what}` holds more than {limit} values")
        below: list[Json] = []
        for item in level:
            if (fields := as_object(item)) is not None:
                for key in fields:
                    _key(key, what)
                below += fields.values()
            elif (items := as_array(item)) is not None:
                below += items
            else:
                _scalar(item, what)
        level = below
        depth += 1


def _key(key: str, what: str) -> None:
    if len(key) > MAX_FREE_KEY:
        raise ValueError(f"`{what}` has a key of more than {MAX_FREE_KEY} characters")
    prose(key, what)


def _scalar(item: Json, what: str) -> None:
    if isinstance(item, str):
        prose(item, what)
    elif isinstance(item, int) and not -MAX_EXACT <= item <= MAX_EXACT:
        raise ValueError(f"`{what}` holds a whole number beyond 2^53, which receivers would round; send it as text")


def base64url(text: str, what: str) -> None:
    """Canonical unpadded Base64 of the URL-safe alphabet, as in a JWS: RFC 7515, section 2."""
    plain = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    if "+" in text or "/" in text or "=" in text:
        raise ValueError(f"`{what}` must be unpadded base64url")
    canonical_base64(plain, what)
