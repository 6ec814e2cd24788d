"""Model upstreams over HTTP, in the three wires of ``wire.models``. Runs in the sidecar only.

No proxy or certificate setting is taken from the environment, no redirect is followed, nothing is decompressed.
A request is repeated only where nothing was begun: no connection was made, or the upstream says that it has not
looked at it (429, 503, 529). A key lives in one request's headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ringwall.call import Json, canonical
from ringwall.errors import BadInput
from ringwall.models.echo import Echo, Echoed
from ringwall.tools.addresses import MAX_ADDRESSES, Address, Lookups, OutsideFault
from ringwall.tools.authorities import machine
from ringwall.tools.connections import Connection, Pool
from ringwall.tools.http1 import AnswerReader, checked, request
from ringwall.tools.places import Place, place
from ringwall.tools.protocol import MAX_RESULT, MAX_STREAM_PIECES, Code, ModelConfig
from ringwall.wire import sse
from ringwall.wire.models import wire
from ringwall.wire.models.interface import MAX_RESPONSE, Api, ModelWire, StreamReader

CONNECT_TRIES: Final = 3
RETRY_PAUSE_S: Final = 0.1  # doubled each time where no connection was made
ASKED_PAUSE_S: Final = 0.5  # doubled each time where the upstream asks to come back and does not say when
MAX_RETRY_AFTER_S: Final = 10.0  # whoever asks for more time gets it, from somebody who comes back later
JITTER: Final = 0.25  # of a pause, at most, on top: several agents do not come back in the same instant
MAX_CONNECTIONS: Final = 64  # to one upstream; more calls wait for a connection within connect_s
MAX_EVENT: Final = MAX_RESPONSE  # bytes: the last event of the responses API repeats the answer and its tools
MAX_STREAM: Final = 64 << 20  # bytes: an event a token, of some 200 bytes, for the longest of answers
TAIL_S: Final = 0.2  # for the end of the response behind the end of the stream in it
STREAM_S: Final = 3600.0  # how long a stream may take in all: the longest answers of today take some ten minutes
ANTHROPIC_VERSION: Final = "2023-06-01"  # the only one whose shapes ``wire.models`` knows, and the newest
_AGAIN: Final = frozenset({429, 503, 529})  # nothing was begun: RFC 6585, RFC 9110; 529 is Anthropic's "overloaded"
# Ours alone: anything more would be a fingerprint, or an invitation to compress.
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "ringwall",
                   "Connection": "keep-alive"}
_OWNED: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "content-type",
        "accept",
        "accept-encoding",
        "te",
        "upgrade",
        "expect",
        "trailer",
        "anthropic-version",
        "anthropic-beta",
    }
)
_CODES: Final[Mapping[str, Code]] = {
    "result_too_large": "result_too_large",
    "too_many_values": "too_many_values",
    "truncated": "upstream_broken",
    "upstream_failed": "upstream_failed",
    "upstream_limited": "upstream_limited",
}


class UpstreamFault(Exception):
    """A model call that gave no completion: a code of ``tools.protocol`` and the HTTP status, 0 if none."""

    def __init__(self, code: Code, status: int = 0) -> None:
        super().__init__(code)
        self.code: Code = code
        self.status = status


@contextmanager
def _faults() -> Generator[None]:
    """What can be wrong with an answer, as a code."""
    try:
        yield
    except BadInput as fault:
        raise UpstreamFault(_CODES.get(fault.code, "bad_answer"), 200) from fault
    except Echoed as fault:
        raise UpstreamFault("upstream_echoes_secret", 200) from fault
    except TimeoutError as fault:
        raise UpstreamFault("upstream_slow") from fault
    except OutsideFault as fault:
        raise UpstreamFault(fault.code, fault.status) from fault


class Upstream:
    """One upstream with its pooled connections."""

    def __init__(self, config: ModelConfig) -> None:
        self._base = config.url.rstrip("/")
        self._config = config
        self._headers = _HEADERS | ({"anthropic-version": ANTHROPIC_VERSION} if config.wire == "anthropic" else {})
        self._lookups = Lookups()
        self._pool = Pool(self._find, tls=machine(), most=MAX_CONNECTIONS)

    async def complete(self, api: Api, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Send one request and give the answer, parsed strictly and written anew.

        Args:
            api: in whose words.
            body: the request's JSON, as it leaves.
            headers: what the core injects, for instance the key.

        Raises:
            UpstreamFault: with the code.

        """
        spoken, asked, echo = self._prepared(api, body, headers)
        with _faults():
            async with AsyncExitStack() as opened:
                came = await self._open(opened, spoken, body, headers, "application/json")
                raw = await _read(came)
            value, _ = spoken.parse_answer(raw, asked)
            echo.check(value)  # an upstream that gives its key back would hand it to the agent
        whole = msgspec.json.encode(value)
        if len(whole) > MAX_RESULT:  # our form of it has more names than some upstreams' have
            raise UpstreamFault("result_too_large", 200)
        return whole

    async def stream(self, api: Api, body: bytes, headers: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Send one request that asks for a stream, and give its pieces (``wire.models.pieces``) as JSON.

        Whoever closes this closes the connection, and with it what the upstream does.

        Raises:
            UpstreamFault: with the code, also after some pieces.

        """
        spoken, asked, echo = self._prepared(api, body, headers)
        with _faults():
            async with AsyncExitStack() as opened:
                came = await self._open(opened, spoken, body, headers, "text/event-stream")
                pieces = await opened.enter_async_context(aclosing(self._pieces(came, spoken, asked, echo)))
                bounded = await opened.enter_async_context(aclosing(_within(pieces)))
                async for raw in bounded:
                    yield raw

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._pool.close()

    def _prepared(self, api: Api, body: bytes, headers: Mapping[str, str]) -> tuple[ModelWire, Json, Echo]:
        if any(name.lower() in _OWNED for name in headers):
            raise UpstreamFault("bad_arguments")
        try:
            return wire(api), msgspec.json.decode(body), Echo(list(headers.values()))
        except msgspec.DecodeError as fault:
            raise UpstreamFault("bad_arguments") from fault

    async def _pieces(
        self, came: _Came, spoken: ModelWire, asked: Json, echo: Echo
    ) -> AsyncGenerator[Json, None]:
        """Pieces as they come; comments that keep the connection open are no pieces."""
        events = sse.Reader(max_event=MAX_EVENT, max_stream=MAX_STREAM)
        reader = spoken.reader(asked)
        loop = asyncio.get_running_loop()
        over = loop.time() + STREAM_S
        while True:
            async with asyncio.timeout_at(min(loop.time() + self._config.read_s, over)):
                made = await _next(came, events, reader)
            for piece in echo.feed(made or []):
                yield piece
            if made is None or reader.done:
                break
        if not reader.done:
            events.end()
        rest, _ = reader.end()
        for piece in [*echo.feed(rest), *echo.end()]:
            yield piece
        with contextlib.suppress(TimeoutError):  # what ends here can be used again, and what does not is closed
            async with asyncio.timeout(TAIL_S):
                await came.piece()

    async def _open(
        self, opened: AsyncExitStack, spoken: ModelWire, body: bytes, headers: Mapping[str, str], kind: str
    ) -> _Came:
        """The answer of status 200 and the right kind, its body unread."""
        tries, asked = CONNECT_TRIES, self._config.retries
        pause, longer = RETRY_PAUSE_S, ASKED_PAUSE_S
        where = self._place(spoken.path)
        sent = self._request(where, body, {**headers, "Accept": kind})
        while True:
            reader = AnswerReader()
            async with AsyncExitStack() as one:
                try:
                    connection = await one.enter_async_context(
                        self._pool.ask(where, sent, reader, self._config.connect_s))
                except OutsideFault:  # nothing was sent
                    tries -= 1
                    if not tries:
                        raise
                    wait, pause = pause, pause * 2
                else:
                    async with asyncio.timeout(self._config.read_s):
                        await connection.head(reader)
                    came = _Came(connection, reader, self._config.read_s)
                    if came.status not in _AGAIN or not asked:
                        _check(came, kind)
                        opened.push_async_exit(one.pop_all())
                        return came
                    asked -= 1
                    wait, longer = _told(came, longer), longer * 2
                    if wait > MAX_RETRY_AFTER_S:
                        _check(came, kind)
            await asyncio.sleep(_jittered(wait))

    def _place(self, path: str) -> Place:
        try:
            parts = urlsplit(self._base + path)
            host = parts.hostname or ""
            port = parts.port or (443 if parts.scheme == "https" else 80)  # in one spelling
            return place(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{parts.path}")
        except (ValueError, BadInput) as fault:
            raise UpstreamFault("upstream_unreachable") from fault

    def _request(self, where: Place, body: bytes, headers: Mapping[str, str]) -> bytes:
        given = {name.lower() for name in headers}
        own = {name: value for name, value in self._headers.items() if name.lower() not in given}
        try:
            return request("POST", where.target, checked({"Host": where.authority, **own, **headers}), body)
        except BadInput as fault:
            raise UpstreamFault("bad_arguments") from fault

    async def _find(self, host: str) -> tuple[Address, ...]:
        """Where the operator's own URL leads: that is theirs to decide."""
        with contextlib.suppress(ValueError):
            return (ipaddress.ip_address(host),)
        try:
            found = [ipaddress.ip_address(text.partition("%")[0]) for text in await self._lookups(host)]
        except (OSError, ValueError) as fault:
            raise OutsideFault("upstream_unreachable") from fault
        return tuple(dict.fromkeys(found))[:MAX_ADDRESSES]


class _Came:
    """An answer that is coming."""

    def __init__(self, connection: Connection, reader: AnswerReader, quiet_s: float) -> None:
        self._connection = connection
        self._reader = reader
        self._quiet_s = quiet_s
        self.status = reader.status
        self.headers: dict[str, str] = {}
        for name, value in reader.headers:  # one that is there twice has neither value
            text = name.decode("latin-1")
            before = f"{self.headers[text]}, " if text in self.headers else ""
            self.headers[text] = before + value.decode("latin-1")

    async def piece(self) -> bytes:
        """The next bytes of its body; none: it is whole. Raises OutsideFault, TimeoutError."""
        ready = self._connection.ready(self._reader)
        if ready:
            return ready
        async with asyncio.timeout(self._quiet_s):
            return await self._connection.piece(self._reader)


async def _within(pieces: AsyncIterator[Json]) -> AsyncGenerator[bytes, None]:
    """Pieces as JSON, as far as the core takes them: what is more ends this call, and not the sidecar's link.

    Readers count characters; one in a piece of its own has 40 bytes there, and many are longer than one byte.
    """
    number = size = 0
    async for piece in pieces:
        raw = canonical(piece)
        number, size = number + 1, size + len(raw)
        if number > MAX_STREAM_PIECES or size > MAX_RESULT:
            raise UpstreamFault("result_too_large", 200)
        yield raw


async def _next(came: _Came, events: sse.Reader, reader: StreamReader) -> list[Json] | None:
    """The pieces of the next bytes; None: there are no more."""
    while data := await came.piece():
        made = [piece for event in events.feed(data) for piece in reader.feed(event)]
        if made or reader.done:
            return made
    return None


async def _read(came: _Came) -> bytes:
    parts: list[bytes] = []
    length = 0
    while piece := await came.piece():
        length += len(piece)
        if length > MAX_RESPONSE:
            raise UpstreamFault("result_too_large", came.status)
        parts.append(piece)
    return b"".join(parts)


def _told(came: _Came, pause: float) -> float:
    """How long the upstream wants to be left alone: whole seconds (RFC 9110 section 10.2.3), or what we think."""
    said = came.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 10 else pause


def _jittered(pause: float) -> float:
    return pause * (1 + JITTER * secrets.randbelow(1000) / 1000)


def _check(came: _Came, kind: str) -> None:
    """Raises UpstreamFault unless the answer is one. The body of anything else is nobody's business."""
    match came.status:
        case 200:
            told = came.headers.get("content-type", "").partition(";")[0].strip().lower()
            encoding = came.headers.get("content-encoding", "identity").lower()
            if told != kind or encoding != "identity":
                raise UpstreamFault("bad_answer", 200)
        case 401 | 403 as status:
            raise UpstreamFault("upstream_denied", status)
        case 429 | 503 | 529 as status:
            raise UpstreamFault("upstream_limited", status)
        case status if 300 <= status < 400:
            raise UpstreamFault("upstream_redirect", status)
        case status if 400 <= status < 500:
            raise UpstreamFault("upstream_refused", status)
        case status:
            raise UpstreamFault("upstream_failed", status)
