"""HTTP/1.1 as a client needs it to ask one OPA: a request's bytes, and a strict reader of one answer (sans-I/O)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import httptools

from ringwall.errors import BadInput

MAX_HEAD: Final = 16 << 10  # OPA sends some 150 bytes
MAX_BODY: Final = 1 << 20  # a decision has under 2 KiB; reasons are constants of the policy
Method = Literal["GET", "POST", "PUT", "PATCH"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One whole answer. ``reusable``: the connection may carry another request."""

    status: int
    body: bytes
    reusable: bool


def request(method: Method, target: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    """The bytes of one request. ``target`` is ours: a path with its query, in ASCII."""
    head = (f"{method} {target} HTTP/1.1\r\nHost: opa\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    return head.encode("ascii") + body


def _bad(what: str) -> BadInput:
    return BadInput(f"OPA's answer {what}", code="bad_http")


class ResponseReader:
    """Reads exactly one answer from the bytes of a connection. After an error it is of no further use.

    Args:
        most: bytes of body that are accepted.

    """

    def __init__(self, most: int = MAX_BODY) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._most = most
        self._head = 0
        self._in_body = False
        self._body = bytearray()
        self._begun = False
        self._whole = False
        self._reusable = False
        self._fault = ""

    @property
    def begun(self) -> bool:
        """Whether any byte of the answer has come."""
        return self._head > 0

    def feed(self, data: bytes) -> Response | None:
        """Take what has come; the answer once it is whole.

        Raises:
            BadInput: this is not one HTTP/1.1 answer within the limits (``bad_http``).

        """
        if self._whole:
            raise _bad("is followed by bytes that nobody asked for")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise _bad(self._fault or f"is not HTTP/1.1: {str(error)[:200]}") from None
        if self._fault:
            raise _bad(self._fault)
        if not self._in_body:
            self._head += len(data)
            if self._head > MAX_HEAD:
                raise _bad(f"has a head of more than {MAX_HEAD} bytes")
        return self._response() if self._whole else None

    def _response(self) -> Response:
        status = int(self._parser.get_status_code())
        if self._parser.get_http_version() != "1.1" or not 200 <= status <= 599:
            raise _bad(f"has the status {status} in HTTP/{self._parser.get_http_version()}")
        return Response(status=status, body=bytes(self._body), reusable=self._reusable)

    # -- called by httptools

    def on_message_begin(self) -> None:
        if self._begun:
            self._fault = "is followed by another that nobody asked for"
        self._begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-encoding" and value.lower() != b"identity":
            self._fault = "is compressed, which nobody asked for"

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._most:
            self._fault = f"has more than {self._most} bytes"

    def on_message_complete(self) -> None:
        self._whole = True
        self._reusable = bool(self._parser.should_keep_alive())  # the parser knows it now only
