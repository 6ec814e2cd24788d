"""HTTP/1.1 as the sidecar speaks it to peers and to agents' own servers: a request's bytes, an answer's reader.

Sans-I/O. The set of headers is closed, nothing is decompressed, no redirect is known; an answer that is anything
but one answer to one request is refused, and so is every byte behind it. Source: RFC 9112.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import httptools

from ringwall.errors import BadInput
from ringwall.peers.protocol import MAX_ENVELOPE, MAX_URL
from ringwall.tools.message import MAX_RESULT

MAX_HEAD: Final = 32 << 10  # bytes of status line and headers: an envelope, and as much again
MAX_TRAILERS: Final = 4 << 10  # bytes of framing and trailers beside the body, beyond a share of it
ENVELOPE: Final = "Ringwall-Envelope"
VERSION: Final = "1.0"  # of A2A
PORT: Final = 443
MAX_LABEL: Final = 63  # characters between two dots of a host (RFC 1035, section 2.3.4)
_TOKEN: Final = frozenset(string.ascii_letters + string.digits + "-_.=")  # a compact JWS
_PATH: Final = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/%")  # RFC 3986, section 3.3
_HOST: Final = frozenset(string.ascii_letters + string.digits + "-._:[]")

Kind = Literal["json", "events"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to connect and what to ask for. ``authority``: as the Host header has it."""

    host: str
    port: int
    authority: str
    path: str


def https(url: str) -> Address:
    """Read a peer's URL. Raises BadInput (``bad_arguments``)."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable():
        raise _arguments("a peer's URL is too long or not printable ASCII")
    try:
        found = urlsplit(url)
        port = found.port or PORT
    except ValueError:
        raise _arguments("a peer's URL is malformed") from None
    host = found.hostname or ""
    if found.scheme != "https" or not host or "@" in found.netloc or found.query or found.fragment:
        raise _arguments("a peer's URL is not https://host:port/path")
    labels = [] if ":" in host else host.removesuffix(".").split(".")
    if not set(found.netloc) <= _HOST or not all(1 <= len(label) <= MAX_LABEL for label in labels):
        raise _arguments("a peer's URL has a host that is none")
    return Address(host=host, port=port, authority=found.netloc, path=path(found.path or "/"))


def path(text: str) -> str:
    """Check a path that a request will name. Raises BadInput (``bad_arguments``)."""
    if not text.startswith("/") or not set(text) <= _PATH:
        raise _arguments("a path is none")
    return text


def post(address: Address, body: bytes, *, envelope: str = "", stream: bool = False) -> bytes:
    """The bytes of a JSON-RPC request. Raises BadInput: the envelope cannot stand in a header."""
    if len(envelope) > MAX_ENVELOPE or not set(envelope) <= _TOKEN:
        raise _arguments("an envelope is no compact JWS")
    head = [
        f"POST {address.path} HTTP/1.1",
        f"Host: {address.authority}",
        "Content-Type: application/json",
        f"Accept: {'text/event-stream, ' if stream else ''}application/json",
        "Accept-Encoding: identity",
        f"A2A-Version: {VERSION}",
        f"Content-Length: {len(body)}",
    ]
    if envelope:
        head.append(f"{ENVELOPE}: {envelope}")
    return "\r\n".join([*head, "", ""]).encode("ascii") + body


def push(address: Address, body: bytes, token: str) -> bytes:
    """The bytes of a push notification (A2A 1.0, section 4.3). Raises BadInput: the token is no header value."""
    if not token.isascii() or not token.isprintable() or token != token.strip():
        raise _arguments("the token of a push notification is no header value")
    head = [
        f"POST {address.path} HTTP/1.1",
        f"Host: {address.authority}",
        "Content-Type: application/json",
        f"A2A-Version: {VERSION}",
        f"Content-Length: {len(body)}",
    ]
    if token:
        head.append(f"X-A2A-Notification-Token: {token}")
    return "\r\n".join([*head, "", ""]).encode("ascii") + body


def get(address: Address) -> bytes:
    """The bytes of a request for a card."""
    head = [
        f"GET {address.path} HTTP/1.1",
        f"Host: {address.authority}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        f"A2A-Version: {VERSION}",
    ]
    return "\r\n".join([*head, "", ""]).encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Of an answer. ``envelope``: as it came, empty if there was none."""

    status: int
    kind: Kind
    envelope: str


class AnswerReader:
    """Reads exactly one answer. After an error it is of no further use.

    ``until_close``: whether one without a length may end with its connection (RFC 9112, section 6.3): only where
    nobody between can cut it short.

    ``body`` has what has come of it and was not taken; ``head`` is set once it is whole; ``whole`` once all is.

    Args:
        receipt: only the status counts; what the body is, is nobody's business.

    """

    def __init__(self, *, receipt: bool = False, until_close: bool = False) -> None:
        self._receipt = receipt
        self._until_close = until_close
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._outside = 0  # bytes that are not body
        self._size = 0
        self._fault = ""
        self._kept = False
        self.head: Head | None = None
        self.body = bytearray()
        self.whole = False

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        return self.whole and self._kept

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            BadInput: ``bad_http``, or ``result_too_large``.

        """
        before = self._size
        try:
            # The last byte by itself: the parser swallows line ends behind an answer without a word.
            for part in (data[:-1], data[-1:]):
                if part and self.whole:
                    raise _bad("is followed by bytes that nobody asked for")
                self._parser.feed_data(part)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise self._failure() or _bad(f"is not HTTP/1.1: {str(error)[:100]!a}") from None
        fault = self._failure()
        if fault is not None:
            raise fault
        self._outside += len(data) - (self._size - before)
        if self._outside > (MAX_HEAD if self.head is None else MAX_HEAD + MAX_TRAILERS + self._size):
            raise _bad("has too much beside its body")

    def closed(self) -> None:
        """The connection ended. Raises BadInput (``bad_http``): the answer is not whole."""
        sized = self._headers.keys() & {b"content-length", b"transfer-encoding"}
        if self._until_close and self.head is not None and not sized:
            self.whole = True
        if not self.whole:
            raise _bad("ends too early")

    def _failure(self) -> BadInput | None:
        if not self._fault:
            return None
        if self._fault == "size":
            return BadInput(f"an answer has more than {MAX_RESULT} bytes", code="result_too_large")
        return _bad(self._fault)

    # -- called by httptools

    def on_message_begin(self) -> None:
        if self.head is not None:
            self._fault = "is followed by another that nobody asked for"

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is not None:
            return  # a trailer: allowed, and nobody's business
        low = name.lower()
        if low in self._headers and low in _ONCE:
            self._fault = "has a header twice"
        self._headers[low] = value.strip()

    def on_headers_complete(self) -> None:
        status, version = int(self._parser.get_status_code()), self._parser.get_http_version()
        headers = self._headers
        if version != "1.1" or not 200 <= status <= 599:
            self._fault = "has another version, or is no final status"
        elif headers.get(b"content-encoding", b"identity").lower() != b"identity":
            self._fault = "is compressed, which nobody asked for"
        elif headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self._fault = "has an unknown transfer encoding"
        elif b"transfer-encoding" in headers and b"content-length" in headers:
            self._fault = "has two lengths"
        media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        kind: Kind = "events" if media == b"text/event-stream" else "json"
        if status == 200 and kind == "json" and media not in _JSON and not self._receipt:
            self._fault = self._fault or "is neither JSON nor a stream of events"
        self.head = Head(status=status, kind=kind, envelope=self._envelope())

    def _envelope(self) -> str:
        text = self._headers.get(ENVELOPE.lower().encode(), b"").decode("latin-1")
        if len(text) > MAX_ENVELOPE or not set(text) <= _TOKEN:
            self._fault = self._fault or "has an envelope that is none"
        return text

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_RESULT:
            self._fault = self._fault or "size"
        elif self.head is not None and self.head.status == 200 and not self._receipt:
            self.body += data

    def on_message_complete(self) -> None:
        self.whole = True
        self._kept = bool(self._parser.should_keep_alive())  # the parser knows it now only


_ONCE: Final = frozenset(
    {b"content-type", b"content-length", b"transfer-encoding", b"content-encoding", ENVELOPE.lower().encode()}
)
_JSON: Final = frozenset({b"application/json", b"application/a2a+json"})


def _bad(what: str) -> BadInput:
    return BadInput(f"the answer {what}", code="bad_http")


def _arguments(what: str) -> BadInput:
    return BadInput(what, code="bad_arguments")
