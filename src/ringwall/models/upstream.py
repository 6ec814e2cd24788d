"""Model upstreams over HTTP, in the three wires of ``wire.models``. Runs in the sidecar only.

No proxy or certificate setting is taken from the environment, no redirect is followed, nothing is decompressed.
A request is repeated only where nothing was begun: no connection was made, or the upstream says that it has not
looked at it (429, 503, 529). A key lives in one request's headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from http.cookiejar import DefaultCookiePolicy
from typing import Final

import httpx2
import msgspec

from ringwall.call import Json, canonical
from ringwall.errors import BadInput
from ringwall.models.echo import Echo, Echoed
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
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "ringwall"}
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


class Upstream:
    """One upstream with its pooled connections."""

    def __init__(self, config: ModelConfig) -> None:
        self._base = config.url.rstrip("/")
        self._config = config
        self._client = httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            verify=True,
            http2=False,
            headers=_HEADERS | ({"anthropic-version": ANTHROPIC_VERSION} if config.wire == "anthropic" else {}),
            timeout=httpx2.Timeout(config.read_s, connect=config.connect_s, pool=config.connect_s),
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        )
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))  # no state between calls

    async def complete(self, api: Api, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Send one request and give the answer, parsed strictly and written anew.

        Args:
            api: in whose words.
            body: the request's JSON, as it leaves.
            headers: what the core injects, for instance the key.

        Raises:
            UpstreamFault: with the code.

        """
        spoken, request, echo = self._prepared(api, body, headers)
        try:
            async with AsyncExitStack() as opened:
                response = await self._open(opened, spoken, body, headers, "application/json")
                raw = await _read(response)
            value, _ = spoken.parse_answer(raw, request)
            echo.check(value)  # an upstream that gives its key back would hand it to the agent
        except BadInput as fault:
            raise UpstreamFault(_CODES.get(fault.code, "bad_answer"), 200) from fault
        except Echoed as fault:
            raise UpstreamFault("upstream_echoes_secret", 200) from fault
        except httpx2.TimeoutException as fault:
            raise UpstreamFault("upstream_slow") from fault
        except (httpx2.TransportError, httpx2.InvalidURL) as fault:
            raise UpstreamFault("upstream_broken") from fault
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
        spoken, request, echo = self._prepared(api, body, headers)
        try:
            async with AsyncExitStack() as opened:
                response = await self._open(opened, spoken, body, headers, "text/event-stream")
                pieces = await opened.enter_async_context(aclosing(self._pieces(response, spoken, request, echo)))
                bounded = await opened.enter_async_context(aclosing(_within(pieces)))
                async for raw in bounded:
                    yield raw
        except BadInput as fault:
            raise UpstreamFault(_CODES.get(fault.code, "bad_answer"), 200) from fault
        except Echoed as fault:
            raise UpstreamFault("upstream_echoes_secret", 200) from fault
        except (httpx2.TimeoutException, TimeoutError) as fault:
            raise UpstreamFault("upstream_slow") from fault
        except (httpx2.TransportError, httpx2.InvalidURL) as fault:
            raise UpstreamFault("upstream_broken") from fault

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._client.aclose()

    def _prepared(self, api: Api, body: bytes, headers: Mapping[str, str]) -> tuple[ModelWire, Json, Echo]:
        if any(name.lower() in _OWNED for name in headers):
            raise UpstreamFault("bad_arguments")
        try:
            return wire(api), msgspec.json.decode(body), Echo(list(headers.values()))
        except msgspec.DecodeError as fault:
            raise UpstreamFault("bad_arguments") from fault

    async def _pieces(
        self, response: httpx2.Response, spoken: ModelWire, request: Json, echo: Echo
    ) -> AsyncGenerator[Json, None]:
        """Pieces as they come; comments that keep the connection open are no pieces."""
        events = sse.Reader(max_event=MAX_EVENT, max_stream=MAX_STREAM)
        reader = spoken.reader(request)
        loop = asyncio.get_running_loop()
        over = loop.time() + STREAM_S
        async with aclosing(response.aiter_raw()) as came:
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
                    await anext(came, b"")

    async def _open(
        self, opened: AsyncExitStack, spoken: ModelWire, body: bytes, headers: Mapping[str, str], kind: str
    ) -> httpx2.Response:
        """The response of status 200 and the right kind, its body unread."""
        tries, asked = CONNECT_TRIES, self._config.retries
        pause, longer = RETRY_PAUSE_S, ASKED_PAUSE_S
        while True:
            sent = self._client.stream(
                "POST", self._base + spoken.path, content=body, headers={**headers, "Accept": kind}
            )
            async with AsyncExitStack() as one:
                try:
                    response = await one.enter_async_context(sent)
                except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as fault:
                    tries -= 1
                    if not tries:
                        raise UpstreamFault("upstream_unreachable") from fault
                    wait, pause = pause, pause * 2
                else:
                    if response.status_code not in _AGAIN or not asked:
                        _check(response, kind)
                        opened.push_async_exit(one.pop_all())
                        return response
                    asked -= 1
                    wait, longer = _told(response, longer), longer * 2
                    if wait > MAX_RETRY_AFTER_S:
                        _check(response, kind)
            await asyncio.sleep(_jittered(wait))


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


async def _next(came: AsyncIterator[bytes], events: sse.Reader, reader: StreamReader) -> list[Json] | None:
    """The pieces of the next bytes; None: there are no more."""
    async for data in came:
        made = [piece for event in events.feed(data) for piece in reader.feed(event)]
        if made or reader.done:
            return made
    return None


async def _read(response: httpx2.Response) -> bytes:
    parts: list[bytes] = []
    length = 0
    async for piece in response.aiter_raw():
        length += len(piece)
        if length > MAX_RESPONSE:
            raise UpstreamFault("result_too_large", response.status_code)
        parts.append(piece)
    return b"".join(parts)


def _told(response: httpx2.Response, pause: float) -> float:
    """How long the upstream wants to be left alone: whole seconds (RFC 9110 section 10.2.3), or what we think."""
    said: str = response.headers.get("retry-after", "").strip()
    return float(said) if said.isascii() and said.isdigit() and len(said) < 10 else pause


def _jittered(pause: float) -> float:
    return pause * (1 + JITTER * secrets.randbelow(1000) / 1000)


def _check(response: httpx2.Response, kind: str) -> None:
    """Raises UpstreamFault unless the answer is one. The body of anything else is nobody's business."""
    match response.status_code:
        case 200:
            told = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            encoding = response.headers.get("content-encoding", "identity").strip().lower()
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
