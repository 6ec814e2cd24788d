"""Serving a handful of public pages over https, one a connection. Runs in a confined process; decides nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httptools

from ringwall.errors import BadInput
from ringwall.identity.svid.interface import REFRESH_HINT

MAX_REQUEST: Final = 8 << 10  # bytes; an honest one has 300
MAX_CONNECTIONS: Final = 128  # at a time; each is over in a moment
REQUEST_SECONDS: Final = 10.0  # for the handshake, and again for request and answer
_PIECE: Final = 4 << 10


class PageServer:
    """Serves on a listening socket, which stays its giver's: it is used through a copy."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._server: asyncio.Server | None = None
        self._pages: Mapping[str, bytes] = {}
        self._open = 0

    async def show(self, chain: bytes, key: bytes, pages: Mapping[str, bytes]) -> None:
        """Serve these pages with this certificate from the next connection on.

        Raises:
            BadInput: ``publish_unusable``; what was served before goes on.

        """
        context = _context(chain, key)
        before = self._server
        self._pages = dict(pages)
        self._server = await asyncio.start_server(
            self._one, sock=self._sock.dup(), ssl=context, ssl_handshake_timeout=REQUEST_SECONDS,
            limit=MAX_REQUEST)
        if before is not None:
            before.close()

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        if self._open >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                writer.write(answer(await _request(reader), self._pages))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError):
            pass  # nobody is there, or nobody who keeps to the protocol
        finally:
            self._open -= 1
            writer.transport.abort()


class _Request:
    """What the parser finds."""

    def __init__(self) -> None:
        self.whole = False
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_message_complete(self) -> None:
        self.whole = True


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Method and path; both empty: it is no request. Raises OSError."""
    request = _Request()
    parser = httptools.HttpRequestParser(request)
    size = 0
    try:
        while not request.whole:
            data = await reader.read(_PIECE)
            size += len(data)
            if not data or size > MAX_REQUEST:
                return "", ""
            parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return "", ""
    return parser.get_method().decode("latin-1"), request.url.decode("latin-1").partition("?")[0]


def answer(asked: tuple[str, str], pages: Mapping[str, bytes]) -> bytes:
    """The whole answer to a request, given as method and path."""
    method, path = asked
    if not method:
        return _written(400, "Bad Request")
    if method not in {"GET", "HEAD"}:
        return _written(405, "Method Not Allowed", more="Allow: GET, HEAD\r\n")
    body = pages.get(path)
    if body is None:
        return _written(404, "Not Found")
    more = f"Content-Type: application/json\r\nCache-Control: public, max-age={REFRESH_HINT}\r\n"
    return _written(200, "OK", body, more=more, head=method == "HEAD")


def _written(status: int, words: str, body: bytes = b"", *, more: str = "", head: bool = False) -> bytes:
    top = (f"HTTP/1.1 {status} {words}\r\n{more}Content-Length: {len(body)}\r\n"
           "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n")
    return top.encode("ascii") + (b"" if head else body)


def _context(chain: bytes, key: bytes) -> ssl.SSLContext:
    """Raises BadInput (``publish_unusable``)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0
    try:
        # Python takes them from files only. This process' /tmp is memory of its own, and nobody else sees it.
        with tempfile.TemporaryDirectory() as folder:
            certificate, private = Path(folder, "chain.pem"), Path(folder, "key.pem")
            certificate.write_bytes(chain)
            private.touch(mode=0o600)
            private.write_bytes(key)
            context.load_cert_chain(certificate, private, password=_no_passphrase)
    except (OSError, ValueError) as fault:
        raise BadInput(f"certificate and key cannot be used: {fault}", code="publish_unusable",
                       remedy="PEM both, the key without a passphrase and of that certificate") from None
    return context


def _no_passphrase() -> str:
    """Instead of asking a terminal."""
    raise ValueError("the key has a passphrase")
