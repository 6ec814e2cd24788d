"""The page that Prometheus asks for, as an ASGI application: one path, one method, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from ringwall.clock import Clock
from ringwall.telemetry.metrics import CONTENT_TYPE, Metrics, Now

PATH: Final = "/metrics"
AGE_SECONDS: Final = 1.0  # a page is made at most so often, however often it is asked for
LOOPBACK: Final = frozenset({"127.0.0.1", "[::1]", "localhost"})  # whom a browser may have asked for

_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class MetricsPage:
    """Makes the page, bit by bit, so that calls go on meanwhile.

    Args:
        metrics: what was counted.
        now: what is asked for; never slow.
        clock: a monotonic one.

    """

    def __init__(self, metrics: Metrics, now: Callable[[], Awaitable[Now]], clock: Clock) -> None:
        self._metrics = metrics
        self._now = now
        self._clock = clock
        self._made = b""
        self._at = float("-inf")
        self._making = asyncio.Lock()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: _Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        status, body, more = 200, b"", list[tuple[bytes, bytes]]()
        if not _here(scope["headers"]):
            status = 421  # RFC 9110, section 15.5.20: a name that leads here and is not ours (DNS rebinding)
        elif scope["path"] != PATH:
            status = 404
        elif scope["method"] != "GET":
            status, more = 405, [(b"allow", b"GET")]
        else:
            body, more = await self.page(), [(b"content-type", CONTENT_TYPE.encode())]
        headers = [(b"content-length", str(len(body)).encode()), (b"x-content-type-options", b"nosniff"), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def page(self) -> bytes:
        """The text as it is now, or was a moment ago."""
        async with self._making:
            if self._clock.monotonic() - self._at >= AGE_SECONDS:
                parts: list[bytes] = []
                for part in self._metrics.pages(await self._now()):
                    parts.append(part)
                    await asyncio.sleep(0)  # between two metrics everybody else goes on
                self._made, self._at = b"".join(parts), self._clock.monotonic()
            return self._made


def _here(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the one Host header names this machine."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        return False
    host, _, port = hosts[0].decode("latin-1").rpartition(":")
    return (host if port.isdigit() else hosts[0].decode("latin-1")).lower() in LOOPBACK
