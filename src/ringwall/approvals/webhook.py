"""Telling somebody on this machine that a call waits: one signed POST for each, as Standard Webhooks has it.

The core connects to loopback addresses and Unix sockets only, so whoever wants the message further away runs a
forwarder. It carries no argument: what an agent wrote is read in the terminal, filtered. Nothing that comes back
is believed, and nothing waits for it: `ringwall approvals watch` shows the same without any webhook.

Specification: Standard Webhooks 1.0.0 (headers ``webhook-id``, ``webhook-timestamp``, ``webhook-signature``;
HMAC-SHA256 over ``id.timestamp.body``, version ``v1``; keys ``whsec_`` and Base64).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import urllib.parse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from ringwall.approvals.item import Item
from ringwall.call import canonical
from ringwall.clock import Clock
from ringwall.errors import BadInput, RingwallError
from ringwall.manifest.types import ApprovalSettings

log = logging.getLogger(__name__)

MAX_QUEUE: Final = 256  # messages that wait to be sent; more held calls than may wait for one tenant
ATTEMPTS: Final = 4
FIRST_PAUSE_S: Final = 1.0  # doubled each time
SEND_S: Final = 5.0  # one attempt
MAX_STATUS_LINE: Final = 1024
MIN_KEY: Final = 24  # bytes; both from the specification
MAX_KEY: Final = 64
_PREFIX: Final = "whsec_"


def read_key(secret: bytes) -> bytes:
    """The key in ``whsec_<Base64>``. Raises BadInput (``bad_webhook_secret``)."""
    try:
        text = secret.decode("ascii")
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (UnicodeDecodeError, binascii.Error):
        text, key = "", b""
    if not text.startswith(_PREFIX) or not MIN_KEY <= len(key) <= MAX_KEY:
        raise BadInput(
            f"the webhook's secret is not {_PREFIX} and the Base64 of {MIN_KEY} to {MAX_KEY} bytes",
            code="bad_webhook_secret",
            remedy="printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\"",
        )
    return key


def signature(key: bytes, message: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    mac = hmac.digest(key, f"{message}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(mac).decode()}"


class Webhook:
    """Sends in the background. ``failed`` counts messages that were given up, for ``status``.

    Args:
        settings: where to.
        secret: reads the secret's bytes. Raises RingwallError.
        clock: for time stamps.
        sleep: pauses between attempts.

    """

    def __init__(
        self,
        settings: ApprovalSettings,
        secret: Callable[[], bytes],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._to = settings.webhook
        self._secret = secret
        self._clock = clock
        self._sleep = sleep
        self._queue: asyncio.Queue[Item] = asyncio.Queue(MAX_QUEUE)
        self.failed = 0
        self.sent = 0
        self.fault = ""

    def tell(self, item: Item) -> None:
        """Put one message in line; never waits."""
        if not self._to:
            return
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self.failed += 1
            self.fault = "too many messages wait"

    async def run(self) -> None:
        """Send what is in line, for ever."""
        while True:
            await self._deliver(await self._queue.get())

    async def _deliver(self, item: Item) -> None:
        pause = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(SEND_S):
                    await self._send(item)
            except (OSError, TimeoutError, RingwallError, ValueError) as fault:
                self.fault = f"{type(fault).__name__}: {fault}"[:200]
                if attempt < ATTEMPTS:
                    await self._sleep(pause)
                    pause *= 2
            else:
                self.sent += 1
                self.fault = ""
                return
        self.failed += 1
        log.error("the webhook was not told of %s: %s", item.record, self.fault)

    async def _send(self, item: Item) -> None:
        """Raises OSError, TimeoutError, BadInput, RingwallError, ValueError."""
        body = message_of(item)
        head = request_head(self._to, self._headers(item, body), len(body))
        if self._to.startswith("unix:"):
            path = self._to.removeprefix("unix:")
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_STATUS_LINE)
        else:
            url = urllib.parse.urlsplit(self._to)
            reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=MAX_STATUS_LINE)
        try:
            writer.write(head + body)
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.close()
        parts = line.split(b" ", 2)
        if len(parts) < 2 or parts[0] not in {b"HTTP/1.1", b"HTTP/1.0"} or parts[1][:1] != b"2":
            raise BadInput(f"the webhook answered {line[:80]!a}", code="webhook_refused")

    def _headers(self, item: Item, body: bytes) -> dict[str, str]:
        message, timestamp = f"msg_{item.record.replace('/', '_')}", int(self._clock.now())
        return {
            "webhook-id": message,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(read_key(self._secret()), message, timestamp, body),
        }


def message_of(item: Item) -> bytes:
    """What is told: who asks to use what, which rings want a human, until when. No argument, no question's text."""
    return canonical({
        "type": "approval.held",
        "timestamp": datetime.fromtimestamp(item.held, UTC).isoformat(),
        "data": {
            "id": item.record,
            "tenant": item.tenant,
            "agent": item.agent,
            "role": item.role,
            "session": item.session,
            "tool": item.target,
            "digest": item.digest,
            "questions": [{"ring": q.ring, "code": q.code} for q in item.questions],
            "expires": datetime.fromtimestamp(item.expires, UTC).isoformat(),
        },
    })


def request_head(to: str, headers: dict[str, str], length: int) -> bytes:
    """The head of one HTTP/1.1 request on a connection of its own."""
    if to.startswith("unix:"):
        host, path = "localhost", "/"
    else:
        url = urllib.parse.urlsplit(to)
        host, path = url.netloc, url.path or "/"
    fields = {"Host": host, "Content-Type": "application/json", "Content-Length": str(length),
              "Connection": "close", **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
