"""HTTP to strangers, from the sidecar: one request, one answer, nothing followed and nothing kept.

No proxy, certificate or credential comes from the environment; no redirect is followed, no cookie kept, nothing
decompressed; a request is never sent twice. A name is resolved once for each connection, see ``tools.addresses``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Final, NamedTuple

from ringwall.errors import BadInput
from ringwall.tools.addresses import Addresses, OutsideFault, Resolve
from ringwall.tools.answer import KEPT, MAX_HEADER, HttpAnswer, decode_answer, encode_answer
from ringwall.tools.authorities import machine
from ringwall.tools.connections import CONNECT_S, Connection, Pool
from ringwall.tools.echo import Echoes
from ringwall.tools.http1 import AnswerReader, checked, request
from ringwall.tools.places import Place, place

__all__ = ["HttpAnswer", "Outside", "OutsideFault", "Streamed", "decode_answer", "encode_answer"]

_OWNED: Final = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "accept-encoding", "te", "upgrade",
    "expect", "trailer", "proxy-authorization", "proxy-connection", "user-agent",
})
"""What the client itself says; who asks for another value is up to something."""


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
        addresses = Addresses(private=private, literal=literal, resolve=resolve)
        self._pool = Pool(addresses.of, tls=tls or machine(), most=connections)

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
        try:
            async with asyncio.timeout(self._timeout_s), \
                    self._ask(method, where, sent, body) as (connection, reader):
                kept = _kept(reader)
                whole = await _read(connection, reader, self._max_bytes)
        except TimeoutError as fault:
            raise OutsideFault("upstream_slow") from fault
        if any(echoes.whole(value.encode()) for value in kept.values()) or echoes.whole(whole):
            raise OutsideFault("upstream_echoes_secret", reader.status)
        return HttpAnswer(status=reader.status, headers=kept, body=whole)

    @contextlib.asynccontextmanager
    async def stream(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *,
                     quiet_s: float | None = None) -> AsyncGenerator[Streamed, None]:
        """Send one request and give its answer while it comes. Its length is not bounded here, each pause is.

        Arguments and errors as for ``send``; leaving the context ends the request. ``quiet_s``: how long it may be
        silent between two pieces; None: ``timeout_s``.
        """
        where, sent = _place(url), _headers(headers)
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timeout_s):
                    connection, reader = await stack.enter_async_context(self._ask(method, where, sent, body))
            except TimeoutError as fault:
                raise OutsideFault("upstream_slow") from fault
            pieces = _pieces(connection, reader, quiet_s or self._timeout_s)
            stack.push_async_callback(pieces.aclose)
            yield Streamed(reader.status, _kept(reader), pieces)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def _ask(self, method: str, where: Place, headers: list[tuple[bytes, bytes]],
                   body: bytes) -> AsyncGenerator[tuple[Connection, AnswerReader], None]:
        own = [(b"Host", where.authority.encode()), (b"Accept-Encoding", b"identity"),
               (b"User-Agent", b"ringwall")]
        connect = min(CONNECT_S, self._timeout_s / 2)  # so that what was never sent is not taken for slow
        content = body if body or method not in {"GET", "HEAD", "DELETE"} else None
        reader = AnswerReader(bodiless=method == "HEAD")
        asked = request(method, where.target, [*own, *headers], content)
        async with self._pool.ask(where, asked, reader, connect) as connection:
            await connection.head(reader)
            yield connection, reader


async def _pieces(connection: Connection, reader: AnswerReader, quiet_s: float) -> AsyncGenerator[bytes, None]:
    while True:
        piece = connection.ready(reader)
        if not piece:
            try:
                async with asyncio.timeout(quiet_s):
                    piece = await connection.piece(reader)
            except TimeoutError as fault:
                raise OutsideFault("upstream_slow") from fault
        if not piece:
            return
        yield piece


async def _read(connection: Connection, reader: AnswerReader, most: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    while piece := await connection.piece(reader):
        length += len(piece)
        if length > most:
            raise OutsideFault("result_too_large", reader.status)
        parts.append(piece)
    return b"".join(parts)


def _kept(reader: AnswerReader) -> dict[str, str]:
    """The headers that are kept. Raises OutsideFault for an answer that cannot be read in one way."""
    found: dict[str, str] = {}
    for raw, value in reader.headers:
        name = raw.decode("latin-1")
        if name == "content-encoding" and value.lower() not in {b"", b"identity"}:
            raise OutsideFault("bad_answer", reader.status)  # we said that we take none: it may be a bomb
        if name not in KEPT:
            continue
        if name in found or len(value) > MAX_HEADER or not value.isascii():
            raise OutsideFault("bad_answer", reader.status)
        found[name] = value.decode("ascii").strip()
    return found


def _place(url: str) -> Place:
    try:
        return place(url)
    except BadInput as fault:
        raise OutsideFault("bad_arguments") from fault


def _headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As they are sent. Raises OutsideFault (``bad_arguments``)."""
    if not _OWNED.isdisjoint(name.lower() for name in headers):
        raise OutsideFault("bad_arguments")
    try:
        return checked(headers)
    except BadInput as fault:
        raise OutsideFault("bad_arguments") from fault
