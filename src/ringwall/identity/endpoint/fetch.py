"""Getting a bundle document over https, in both profiles (SPIFFE Federation, section 5). Runs in a confined
process.

One connection for each question: no redirect, no cookie, no proxy, nothing of the environment, no compression.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.parse
from typing import Any, Final

import httptools

from ringwall.clock import Clock
from ringwall.errors import RingwallError
from ringwall.identity.endpoint.protocol import MAX_CAUSE, Code, Fetch
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid.bundle import MAX_DOCUMENT
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import X509Verifier

FETCH_SECONDS: Final = 20.0  # name, connection, handshake and answer; an honest endpoint needs well under one
MAX_HEAD: Final = 32 << 10  # bytes of status line and headers
_PIECE: Final = 16 << 10
_DER: Final = 2  # _ssl.ENCODING_DER
_OK: Final = 200


class EndpointFault(Exception):
    """No document: a code of the protocol, and what was wrong."""

    def __init__(self, cause: str, *, code: Code) -> None:
        super().__init__(cause)
        self.code: Code = code
        self.cause = cause[:MAX_CAUSE]


async def fetch(order: Fetch, clock: Clock, *, seconds: float = FETCH_SECONDS) -> bytes:
    """The document. Raises EndpointFault."""
    try:
        async with asyncio.timeout(seconds):
            return await _fetch(order, clock)
    except TimeoutError:
        raise EndpointFault(f"no whole answer within {seconds:.0f} s", code="endpoint_slow") from None
    except ssl.SSLCertVerificationError as fault:
        raise EndpointFault(fault.verify_message or str(fault), code="endpoint_untrusted") from None
    except ssl.SSLError as fault:
        raise EndpointFault(f"TLS failed: {fault.reason or fault}", code="endpoint_broken") from None
    except (OSError, asyncio.IncompleteReadError) as fault:
        raise EndpointFault(str(fault), code="endpoint_unreachable") from None


async def _fetch(order: Fetch, clock: Clock) -> bytes:
    url = urllib.parse.urlsplit(order.url)
    host, port = url.hostname or "", url.port or 443
    if url.scheme != "https" or not host:
        raise EndpointFault("the URL is not https", code="endpoint_broken")
    reader, writer = await asyncio.open_connection(host, port, ssl=_context(order), server_hostname=host)
    try:
        if order.spiffe_id:
            _judge(writer.get_extra_info("ssl_object"), order, clock)
        writer.write(_request(url))
        return await _answer(reader)
    finally:
        writer.transport.abort()


def _request(url: urllib.parse.SplitResult) -> bytes:
    return (f"GET {url.path or '/'} HTTP/1.1\r\nHost: {url.netloc}\r\nAccept: application/json\r\n"
            "Accept-Encoding: identity\r\nUser-Agent: ringwall\r\nConnection: close\r\n\r\n").encode("ascii")


def _context(order: Fetch) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if order.spiffe_id:  # not the web's rules: ``_judge`` has ours, and nothing is sent before it
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif order.ca:
        context.load_verify_locations(cadata=order.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _judge(tls: Any, order: Fetch, clock: Clock) -> None:
    """Whether the endpoint is exactly who it must be. Raises EndpointFault."""
    try:
        domain = AnyId.parse(order.spiffe_id).trust_domain
        known = {domain: Bundle(trust_domain=domain, authorities=tuple(order.authorities))}
        X509Verifier(lambda: known, clock).verify(presented(tls), expected=order.spiffe_id)
    except RingwallError as no:
        raise EndpointFault(str(no), code="endpoint_untrusted") from None


def presented(tls: Any) -> list[bytes]:
    """The chain that a TLS peer presented, leaf first, DER each; nothing of it is verified."""
    if hasattr(tls, "get_unverified_chain"):  # from Python 3.13 on
        return list(tls.get_unverified_chain() or ())
    found = tls._sslobj.get_unverified_chain() or ()  # noqa: SLF001 (the only way there is before)
    return [one.public_bytes(_DER) for one in found]


async def _answer(reader: asyncio.StreamReader) -> bytes:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    try:
        while not answer.whole:
            data = await reader.read(_PIECE)
            if not data:
                raise EndpointFault("the answer is cut short, or says not how long it is", code="endpoint_broken")
            answer.count(len(data))
            parser.feed_data(data)
            if answer.headed and parser.get_status_code() != _OK:
                raise EndpointFault(f"HTTP status {parser.get_status_code()}", code="endpoint_status")
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
        raise EndpointFault(f"this is no HTTP answer: {fault}", code="endpoint_broken") from None
    if answer.encoding not in {"", "identity"}:
        raise EndpointFault("it is compressed although nobody asked for that", code="endpoint_broken")
    return bytes(answer.body)


class _Answer:
    """What the parser finds."""

    def __init__(self) -> None:
        self.headed = self.whole = False
        self.encoding = ""
        self.body = bytearray()
        self._bytes = 0

    def count(self, more: int) -> None:
        """Raises EndpointFault: more than a document and its headers have."""
        self._bytes += more
        if self._bytes > MAX_HEAD + MAX_DOCUMENT or (not self.headed and self._bytes > MAX_HEAD + _PIECE):
            raise EndpointFault(f"the answer has more than {MAX_DOCUMENT} bytes", code="endpoint_too_large")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-encoding":
            self.encoding = value.decode("latin-1").strip().lower()

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.whole = True


