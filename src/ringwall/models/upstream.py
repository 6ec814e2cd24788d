"""OpenAI-compatible model upstreams over HTTP. Runs in the sidecar only; ``httpx2`` is imported nowhere else.

No proxy or certificate setting is taken from the environment, no redirect is followed, nothing is decompressed,
and a request is repeated only when not a byte of it was sent. A key lives in one request's headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Final

import httpx2
import msgspec

from ringwall.errors import BadInput
from ringwall.tools.protocol import Code, ModelConfig
from ringwall.wire.openai import MAX_RESPONSE, parse_chat_response

CONNECT_TRIES: Final = 3
RETRY_PAUSE_S: Final = 0.1  # doubled each time
MIN_SECRET: Final = 8  # characters; a shorter value is in any text, and no key
MAX_CONNECTIONS: Final = 64  # to one upstream; more calls wait for a connection within connect_s
# Ours alone: anything more would be a fingerprint, or an invitation to compress.
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "ringwall",
}
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
    }
)


class UpstreamFault(Exception):
    """A model call that gave no completion: a code of ``tools.protocol`` and the HTTP status, 0 if none."""

    def __init__(self, code: Code, status: int = 0) -> None:
        super().__init__(code)
        self.code: Code = code
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    kind: str
    encoding: str
    body: bytes


class Upstream:
    """One upstream with its pooled connections."""

    def __init__(self, config: ModelConfig) -> None:
        self._url = config.url.rstrip("/") + "/chat/completions"
        self._client = httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            verify=True,
            http2=False,
            headers=_HEADERS,
            timeout=httpx2.Timeout(config.read_s, connect=config.connect_s, pool=config.connect_s),
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        )
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))  # no state between calls

    async def complete(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Send one chat completion request and give the answer, parsed strictly and written anew.

        Args:
            body: the request's JSON.
            headers: what the core injects, for instance the key.

        Raises:
            UpstreamFault: with the code.

        """
        if any(name.lower() in _OWNED for name in headers):
            raise UpstreamFault("bad_arguments")
        try:
            answer = await self._send(body, headers)
        except httpx2.TimeoutException as fault:
            raise UpstreamFault("upstream_slow") from fault
        except (httpx2.TransportError, httpx2.InvalidURL) as fault:
            raise UpstreamFault("upstream_broken") from fault
        _check(answer)
        try:
            value, _ = parse_chat_response(answer.body)
        except BadInput as fault:
            raise UpstreamFault("bad_answer", answer.status) from fault
        written = msgspec.json.encode(value)
        # An upstream that gives its key back would hand it to the agent.
        if any(secret in written for secret in _secrets(headers)):
            raise UpstreamFault("upstream_echoes_secret", answer.status)
        return written

    async def _send(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        pause = RETRY_PAUSE_S
        for left in reversed(range(CONNECT_TRIES)):
            try:
                async with self._client.stream("POST", self._url, content=body, headers=dict(headers)) as response:
                    return await _read(response)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as fault:
                if not left:
                    raise UpstreamFault("upstream_unreachable") from fault
            await asyncio.sleep(pause)
            pause *= 2
        raise UpstreamFault("upstream_unreachable")

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._client.aclose()


async def _read(response: httpx2.Response) -> _Answer:
    parts: list[bytes] = []
    length = 0
    if response.status_code == 200:  # the body of anything else is nobody's business
        async for piece in response.aiter_raw():
            length += len(piece)
            if length > MAX_RESPONSE:
                raise UpstreamFault("result_too_large", response.status_code)
            parts.append(piece)
    return _Answer(
        status=response.status_code,
        body=b"".join(parts),
        kind=response.headers.get("content-type", "").partition(";")[0].strip().lower(),
        encoding=response.headers.get("content-encoding", "identity").strip().lower(),
    )


def _check(answer: _Answer) -> None:
    match answer.status:
        case 200:
            if answer.kind != "application/json" or answer.encoding != "identity":
                raise UpstreamFault("bad_answer", 200)
        case 401 | 403:
            raise UpstreamFault("upstream_denied", answer.status)
        case 429:
            raise UpstreamFault("upstream_limited", answer.status)
        case status if 300 <= status < 400:
            raise UpstreamFault("upstream_redirect", status)
        case status if 400 <= status < 500:
            raise UpstreamFault("upstream_refused", status)
        case status:
            raise UpstreamFault("upstream_failed", status)


def _secrets(headers: Mapping[str, str]) -> list[bytes]:
    """The values we must not see again, without a scheme such as ``Bearer``."""
    values = [value.rpartition(" ")[2] for value in headers.values()]
    return [value.encode() for value in values if len(value) >= MIN_SECRET]
