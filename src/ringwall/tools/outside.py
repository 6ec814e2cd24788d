"""HTTP to strangers, from the sidecar: one request, one answer, nothing followed and nothing kept.

No proxy, certificate or credential comes from the environment; no redirect is followed, no cookie kept, nothing
decompressed; a request is never sent twice. A name is resolved once for each connection, see ``tools.addresses``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import string
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple, cast

import httpcore2
import httpx2

from ringwall.errors import BadInput
from ringwall.tools.addresses import Addresses, OutsideFault, Resolve
from ringwall.tools.answer import KEPT, MAX_HEADER, HttpAnswer, decode_answer, encode_answer
from ringwall.tools.echo import Echoes
from ringwall.tools.places import Place, place

__all__ = ["HttpAnswer", "Outside", "OutsideFault", "Streamed", "decode_answer", "encode_answer"]

CONNECT_S: Final = 10.0  # seconds for one connection, TLS included
KEEP_S: Final = 30.0  # seconds an idle connection is kept
MAX_HEADERS: Final = 64 << 10  # bytes of an answer's headers
_OWNED: Final = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "accept-encoding", "te", "upgrade",
    "expect", "trailer", "proxy-authorization", "proxy-connection", "user-agent",
})
"""What the client itself says; who asks for another value is up to something."""
_TOKEN: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")  # RFC 9110, section 5.6.2


class Streamed(NamedTuple):
    """An answer whose body is still coming. ``headers`` as in HttpAnswer; the iterator raises OutsideFault."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterator[bytes]


class Outside:
    """A client for one server, with pooled connections.

    Args:
        private: networks (CIDR) its names may lead to although they are not public.
        literal: hosts the operator wrote, see ``Addresses``.
        timeout_s: seconds for a whole answer; of a stream for its headers, and then for each next piece.
        max_bytes: how long an answer may be.
        connections: how many at once; more requests wait for CONNECT_S.
        resolve: asks for a name's addresses.
        tls: what servers must prove; None: the machine's certificate authorities.

    """

    def __init__(self, *, private: Sequence[str] = (), literal: Sequence[str] = (), timeout_s: float,
                 max_bytes: int, connections: int = 64, resolve: Resolve | None = None,
                 tls: ssl.SSLContext | None = None) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or httpx2.create_ssl_context(trust_env=False),
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEP_S,
            network_backend=_Checked(Addresses(private=private, literal=literal, resolve=resolve)))

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *,
                   secrets: Sequence[str] = ()) -> HttpAnswer:
        """Send one request and give its answer, whatever its status; a redirect is an answer.

        Args:
            method: in upper case.
            url: http or https, ASCII, encoded; sent as it is.
            headers: besides those the client sets itself (``_OWNED``), which are refused.
            body: sent with its length; with GET and HEAD only if there is one.
            secrets: values that must not come back.

        Raises:
            OutsideFault: ``address_refused``, ``bad_arguments``, ``upstream_unreachable`` (nothing was sent);
                ``upstream_slow``, ``upstream_broken``, ``result_too_large``, ``bad_answer``,
                ``upstream_echoes_secret``.

        """
        where, sent = _place(url), _headers(headers)
        echoes = Echoes(secrets)
        with _Faults():
            async with asyncio.timeout(self._timeout_s), self._ask(method, where, sent, body) as (response, kept):
                whole = await _read(response, self._max_bytes)
        if any(echoes.whole(value.encode()) for value in kept.values()) or echoes.whole(whole):
            raise OutsideFault("upstream_echoes_secret", response.status)
        return HttpAnswer(status=response.status, headers=kept, body=whole)

    @contextlib.asynccontextmanager
    async def stream(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *,
                     quiet_s: float | None = None) -> AsyncGenerator[Streamed, None]:
        """Send one request and give its answer while it comes. Its length is not bounded here, each pause is.

        Arguments and errors as for ``send``; leaving the context ends the request. ``quiet_s``: how long it may be
        silent between two pieces; None: ``timeout_s``.
        """
        where, sent = _place(url), _headers(headers)
        async with contextlib.AsyncExitStack() as stack:
            with _Faults():
                async with asyncio.timeout(self._timeout_s):
                    response, kept = await stack.enter_async_context(self._ask(method, where, sent, body, quiet_s))
            pieces = self._pieces(response, quiet_s or self._timeout_s)
            stack.push_async_callback(pieces.aclose)
            yield Streamed(response.status, kept, pieces)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    @contextlib.asynccontextmanager
    async def _ask(self, method: str, where: Place, headers: list[tuple[bytes, bytes]], body: bytes,
                   quiet_s: float | None = None) -> AsyncGenerator[tuple[httpcore2.Response, dict[str, str]], None]:
        url = httpcore2.URL(scheme=where.scheme, host=where.host, port=where.port, target=where.target)
        own = [(b"Host", where.authority.encode()), (b"Accept-Encoding", b"identity"),
               (b"User-Agent", b"ringwall")]
        connect = min(CONNECT_S, self._timeout_s / 2)  # so that what was never sent is not taken for slow
        limits = {"connect": connect, "pool": connect, "read": quiet_s or self._timeout_s, "write": self._timeout_s}
        content = body if body or method not in {"GET", "HEAD", "DELETE"} else None
        async with self._pool.stream(method, url, headers=[*own, *headers], content=content,
                                     extensions={"timeout": limits}) as response:
            yield response, _kept(response)

    async def _pieces(self, response: httpcore2.Response, quiet_s: float) -> AsyncGenerator[bytes, None]:
        pieces = aiter(response.aiter_stream())
        while True:
            try:
                with _Faults():
                    async with asyncio.timeout(quiet_s):
                        piece = await anext(pieces)
            except StopAsyncIteration:
                return
            yield piece


class _Checked(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were judged, and no other way."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._backend = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's)
                          local_address: str | None = None,
                          socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
                          ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                return await self._first(host, port, socket_options)
        except TimeoutError as fault:
            raise httpcore2.ConnectTimeout from fault

    async def _first(self, host: str, port: int, options: Iterable[httpcore2.SOCKET_OPTION] | None,
                     ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._addresses.of(host)
        each = CONNECT_S / len(addresses)
        fault: Exception = httpcore2.ConnectError()
        for address in addresses:
            try:
                return await self._backend.connect_tcp(str(address), port, timeout=each, socket_options=options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as refused:
                fault = refused
        raise fault


class _Faults:
    """Turns the HTTP client's errors into OutsideFault. A limit of time that is inside it counts as theirs."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None,
                 trace: TracebackType | None) -> None:
        match fault:
            case httpcore2.ConnectError() | httpcore2.ConnectTimeout() | httpcore2.PoolTimeout():
                raise OutsideFault("upstream_unreachable") from fault
            case TimeoutError() | httpcore2.TimeoutException():
                raise OutsideFault("upstream_slow") from fault
            case httpcore2.NetworkError() | httpcore2.ProtocolError() | httpcore2.UnsupportedProtocol():
                raise OutsideFault("upstream_broken") from fault
            case _:
                pass


async def _read(response: httpcore2.Response, most: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    async for piece in response.aiter_stream():
        length += len(piece)
        if length > most:
            raise OutsideFault("result_too_large", response.status)
        parts.append(piece)
    return b"".join(parts)


def _kept(response: httpcore2.Response) -> dict[str, str]:
    """The headers that are kept. Raises OutsideFault for an answer that cannot be read in one way."""
    found: dict[str, str] = {}
    size = 0
    for raw, value in response.headers:
        name = raw.decode("latin-1").lower()
        size += len(raw) + len(value)
        if name == "content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise OutsideFault("bad_answer", response.status)  # we said that we take none: it may be a bomb
        if name not in KEPT:
            continue
        if name in found or len(value) > MAX_HEADER or not value.isascii():
            raise OutsideFault("bad_answer", response.status)
        found[name] = value.decode("ascii").strip()
    if size > MAX_HEADERS:
        raise OutsideFault("result_too_large", response.status)
    return found


def _place(url: str) -> Place:
    try:
        return place(url)
    except BadInput as fault:
        raise OutsideFault("bad_arguments") from fault


def _headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As they are sent. Raises OutsideFault (``bad_arguments``)."""
    names = [name.lower() for name in headers]
    if len(set(names)) != len(names) or not _OWNED.isdisjoint(names):
        raise OutsideFault("bad_arguments")
    for name, value in headers.items():
        # RFC 9110, section 5.5, without tabs and other bytes: nothing that a reader could break a line at
        if not name or not set(name) <= _TOKEN or not value.isascii() or not value.isprintable():
            raise OutsideFault("bad_arguments")
    return [(name.encode("ascii"), value.strip().encode("ascii")) for name, value in headers.items()]
