"""HTTP/1.1 towards strangers: a request's bytes, and the reader of one answer. Sans-I/O. Source: RFC 9112.

The parser is httptools'. What it leaves to us is here: what a body's end is, what may be read in one way only, and
how much of anything there may be. Nothing is decompressed, no other protocol is switched to, and bytes behind an
answer are looked at by nobody: they cost the connection.
"""

from __future__ import annotations

import string
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

import httptools

from ringwall.errors import BadInput

MAX_HEAD: Final = 64 << 10  # bytes of an answer's headers; common servers send at most 8 to 32 KiB
MAX_FIELDS: Final = 256  # headers of one answer
MAX_INTERIM: Final = 64  # answers of 1xx before the final one: a proxy's "still processing" once a second
MAX_TRAILERS: Final = 16 << 10  # bytes of trailers and chunk extensions, beyond a share of the body
FRAMING: Final = 8  # bytes of framing for each of the body: a chunk of one byte has five
MAX_PIECE: Final = 16 << 10  # bytes of a body taken at once; model streams join a step's texts, up to 64 Ki
_START: Final = b"HTTP/1."
_BODILESS: Final = frozenset({204, 304})
_TOKEN: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")  # RFC 9110, section 5.6.2
_ONE_LENGTH: Final = frozenset({b"content-length", b"transfer-encoding"})


def checked(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as they are sent. Raises BadInput (``bad_arguments``) for any that is not plain."""
    names = {name.lower() for name in headers}
    if len(names) != len(headers):
        raise BadInput("a request has a header twice", code="bad_arguments")
    for name, value in headers.items():
        # RFC 9110, section 5.5, without tabs and other bytes: nothing that a reader could break a line at
        if not name or not set(name) <= _TOKEN or not value.isascii() or not value.isprintable():
            raise BadInput("a request has a header that is not plain", code="bad_arguments")
    return [(name.encode("ascii"), value.strip().encode("ascii")) for name, value in headers.items()]


def request(method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes | None) -> bytes:
    """A request's bytes. That no part can end a line is the caller's to see to.

    Args:
        method: in upper case.
        target: path and query, as they are sent.
        headers: ``checked``, with ``Host``, without a length.
        body: None: there is none, and no length is sent.

    """
    parts = [f"{method} {target} HTTP/1.1\r\n".encode("ascii")]
    parts += [b"%b: %b\r\n" % header for header in headers]
    if body is not None:
        parts.append(b"Content-Length: %d\r\n" % len(body))
    return b"".join([*parts, b"\r\n", body or b""])


class AnswerReader:
    """Reads one answer. After an error it is of no further use.

    ``status`` is set, and ``headers`` are all there, once the head of the final answer is; ``whole`` once all is.

    Args:
        bodiless: the request was a HEAD.

    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self._bodiless = bodiless
        self._parser: Any = httptools.HttpResponseParser(self)
        self._line = bytearray()  # the status line while it comes
        self._begun = False
        self._pieces: deque[bytes] = deque()
        self._outside = 0  # bytes that are not body
        self._size = 0  # bytes of body
        self._fields = 0  # bytes of headers, those of 1xx included
        self._interim = 0
        self._fault: BadInput | None = None
        self._until_close = False
        self._kept = False
        self._surplus = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case, values without the white space around them."""
        self.waiting = 0
        """Bytes of the body that were not taken."""
        self.whole = False

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        return self.whole and self._kept and not self._surplus

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            BadInput: ``bad_http``, or ``result_too_large`` for the headers.

        """
        if not self._begun:
            data = self._begin(data)
            if not data:
                return
        before = self._size
        try:
            # The last byte by itself: the parser swallows line ends behind an answer without a word.
            for part in (data[:-1], data[-1:]):
                if self.whole:
                    self._surplus = self._surplus or bool(part)
                elif part:
                    self._parser.feed_data(part)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.whole:
                raise self._fault or _bad(f"is not HTTP/1.1: {str(error)[:100]!a}") from None
            self._surplus = True
        if self._fault is not None:
            raise self._fault
        self._outside += len(data) - (self._size - before)
        if not self.whole:
            self._measure()

    def take(self) -> bytes:
        """What has come of the body and was not taken, at most MAX_PIECE of it."""
        parts: list[bytes] = []
        left = MAX_PIECE
        while self._pieces and len(self._pieces[0]) <= left:
            parts.append(self._pieces.popleft())
            left -= len(parts[-1])
        taken = b"".join(parts)
        self.waiting -= len(taken)
        return taken

    def closed(self) -> None:
        """The connection ended. Raises BadInput (``bad_http``): the answer is not whole."""
        if self.status and self._until_close:
            self.whole = True
        if not self.whole:
            raise _bad("ends too early")

    def _begin(self, data: bytes) -> bytes:
        """All so far, once it is a line: the parser takes other protocols too, and empty lines before an answer."""
        self._line += data
        if len(self._line) > MAX_HEAD and b"\n" not in self._line[:MAX_HEAD]:
            raise _large()
        if b"\n" not in data:
            return b""
        self._begun = True
        if not self._line.startswith(_START):
            raise _bad("is not HTTP/1.1 or 1.0")
        return bytes(self._line)

    def _measure(self) -> None:
        if not self.status and self._outside > MAX_HEAD:
            raise _large()
        if self._outside > MAX_HEAD + MAX_TRAILERS + FRAMING * self._size:
            raise _bad("has too much beside its body")

    # --- called by httptools

    def on_message_begin(self) -> None:
        self._surplus = self._surplus or self.whole

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status or self._fault is not None:
            return  # a trailer: allowed, and nobody's business; or behind the answer
        self._fields += len(name) + len(value)
        if self._fields > MAX_HEAD or len(self.headers) >= MAX_FIELDS:
            self._fault = _large()
        self.headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        if self.status or self._fault is not None:
            return
        status, version = int(self._parser.get_status_code()), str(self._parser.get_http_version())
        lengths = [header for header in self.headers if header[0] in _ONE_LENGTH]
        if version not in {"1.0", "1.1"} or status < 100 or status == 101:
            self._fault = _bad("has another version, or switches to another protocol")
        elif len(lengths) > 1:
            self._fault = _bad("has two lengths")
        elif lengths and lengths[0][0] == b"transfer-encoding" and (
                version == "1.0" or lengths[0][1].lower() != b"chunked"):
            self._fault = _bad("has an unknown transfer encoding")
        elif status < 200:
            self._skip(bool(lengths))
        else:
            self._final(status, version, bool(lengths))

    def _skip(self, sized: bool) -> None:
        """A 1xx: the final answer comes behind it."""
        self._interim += 1
        if sized or self._interim > MAX_INTERIM:
            self._fault = _bad("has a body before it, or too many interim answers")
        self.headers.clear()

    def _final(self, status: int, version: str, sized: bool) -> None:
        told = [value.lower() for name, value in self.headers if name == b"connection"]
        options = {option.strip() for value in told for option in value.split(b",")}
        self.status = status
        self.whole = self._bodiless or status in _BODILESS
        self._until_close = not sized
        self._kept = version == "1.1" and b"close" not in options and (sized or self.whole)

    def on_body(self, data: bytes) -> None:
        if self.whole or self._fault is not None:
            return
        self._pieces.extend(data[at:at + MAX_PIECE] for at in range(0, len(data), MAX_PIECE))
        self._size += len(data)
        self.waiting += len(data)

    def on_message_complete(self) -> None:
        self.whole = self.whole or self.status > 0


def _bad(what: str) -> BadInput:
    return BadInput(f"the answer {what}", code="bad_http")


def _large() -> BadInput:
    return BadInput(f"an answer's headers are more than {MAX_HEAD} bytes or {MAX_FIELDS}", code="result_too_large")
