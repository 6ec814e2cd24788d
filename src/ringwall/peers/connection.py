"""One HTTP/1.1 connection of the sidecar, to a peer or to an agent's own server: one request at a time on it.

Whatever is odd about a connection ends it: an answer must never reach another question. From the first byte of a
request on, an end that is no answer is unknown: what was asked may have happened.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, cast

from ringwall.errors import BadInput
from ringwall.peers.http import AnswerReader, Head
from ringwall.peers.protocol import PeerCode
from ringwall.tools.protocol import MAX_CHUNKS, MAX_RESULT, Code
from ringwall.wire.a2a.sse import SseEvent, SseReader

IDLE_S: Final = 120.0  # without a byte of the answer; servers of events send a comment every 15 s
OK: Final = 200
# In TLS 1.3 a client learns only after its handshake that the server does not take its certificate.
_NOT_LET_IN: Final = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """What each failure is called, by who it was that failed."""

    unreachable: PeerCode
    broken: PeerCode
    slow: PeerCode
    refused: PeerCode
    bad_answer: PeerCode


PEER: Final = Codes(unreachable="peer_unreachable", broken="peer_broken", slow="peer_slow", refused="peer_refused",
                    bad_answer="peer_bad_answer")
AGENT: Final = Codes(unreachable="agent_unreachable", broken="agent_broken", slow="agent_slow",
                     refused="agent_bad_answer", bad_answer="agent_bad_answer")


class PeerFault(Exception):
    """A request without a good answer. ``end``: ``failed`` if it had no effect for sure."""

    def __init__(self, code: Code, end: Literal["failed", "unknown"], status: int = 0) -> None:
        super().__init__(code)
        self.code: Code = code
        self.end: Literal["failed", "unknown"] = end
        self.status = status


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        codes: what its failures are called.
        until_close: see ``http.AnswerReader``.
        beside: bytes that each event counts for more than it has.

    """

    def __init__(self, codes: Codes, *, until_close: bool = False, beside: int = 0) -> None:
        self._codes = codes
        self._beside = beside
        self._until_close = until_close
        self._lost = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._fault: PeerFault | None = None
        self._heard = asyncio.Event()
        self._limit: asyncio.TimerHandle | None = None
        self._first = True  # nothing has come yet
        self.trust = 0
        """Which word about whom to trust it was judged by."""

    @property
    def usable(self) -> bool:
        """It can take a request."""
        return self._transport is not None and not self._transport.is_closing() and self._reader is None

    @property
    def quiet(self) -> bool:
        """Nothing has come that nobody asked for, and it has not been closed, as far as the kernel knows."""
        if not self.usable or self._transport is None:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    @property
    def ssl_object(self) -> object:
        """Of the finished handshake."""
        return self._transport.get_extra_info("ssl_object") if self._transport is not None else None

    @property
    def remaining(self) -> float:
        """Seconds until its limit."""
        return self._limit.when() - asyncio.get_running_loop().time() if self._limit is not None else 0.0

    def limit(self, seconds: float) -> None:
        """Close it in so many seconds, whatever it does then."""
        if self._limit is not None:
            self._limit.cancel()
        self._limit = asyncio.get_running_loop().call_later(max(seconds, 0.0), self.abort)

    def abort(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()

    async def tell(self, request: bytes) -> None:
        """Send a request of which only the status is of interest. Raises PeerFault: none of 2xx, or none."""
        async with self._asking(request, AnswerReader(receipt=True)) as reader:
            while not reader.whole:
                await self._wait()
                if reader.head is not None and not 200 <= reader.head.status < 300:
                    self._check(reader.head, stream=True)

    async def leave(self, seconds: float) -> None:
        """Say that no request comes any more; whoever is at the other end has so long to close, in peace."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write_eof()
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            self.abort()

    async def ask(self, request: bytes, *, stream: bool) -> AsyncGenerator[SseEvent, None]:
        """Send a request; its answer, or each event of a streamed one, as ``SseEvent``.

        Args:
            request: all its bytes.
            stream: whether the answer may be a stream of events.

        Raises:
            PeerFault: ``failed`` if nothing was sent, or the server says so; else ``unknown``.

        """
        async with self._asking(request, AnswerReader(until_close=self._until_close)) as reader:
            async for event in self._answer(reader, stream):
                yield event

    @asynccontextmanager
    async def _asking(self, request: bytes, reader: AnswerReader) -> AsyncGenerator[AnswerReader]:
        """From the request to the end of its answer; the connection lives on only if both are whole."""
        if self._transport is None or not self.usable:
            raise self._fault or PeerFault(self._codes.unreachable, "failed")
        transport, self._reader = self._transport, reader
        self._heard.clear()
        transport.write(request)
        try:
            yield reader
        except BadInput as fault:
            raise self._bad(fault) from None
        finally:
            if not reader.reusable or transport.get_write_buffer_size() or self._heard.is_set():
                self.abort()
            self._reader = None

    async def _answer(self, reader: AnswerReader, stream: bool) -> AsyncGenerator[SseEvent, None]:
        events = SseReader()
        pieces = size = 0
        while True:
            await self._wait()
            head = reader.head
            if head is None:
                continue
            self._check(head, stream)
            if head.kind == "events":
                data = bytes(reader.body)
                reader.body.clear()
                for event in events.feed(data):
                    pieces, size = pieces + 1, size + len(event.data) + len(event.envelope) + self._beside
                    if pieces > MAX_CHUNKS or size > MAX_RESULT:
                        raise BadInput("an answer has too many events", code="result_too_large")
                    yield event
            if reader.whole:
                break
        if head.kind == "events":
            events.end()
        elif len(reader.body) + len(head.envelope) > MAX_RESULT:
            raise BadInput("an answer is too large", code="result_too_large")
        else:
            yield SseEvent(data=bytes(reader.body), envelope=head.envelope)

    async def _wait(self) -> None:
        """Until there is something new. Raises PeerFault."""
        try:
            async with asyncio.timeout(IDLE_S):
                await self._heard.wait()
        except TimeoutError:
            raise PeerFault(self._codes.slow, "unknown") from None
        self._heard.clear()
        if self._fault is not None:
            raise self._fault

    def _check(self, head: Head, stream: bool) -> None:
        """Raises PeerFault for an answer that is none to what was asked."""
        status = head.status
        if status == OK:
            if head.kind == "events" and not stream:
                raise PeerFault(self._codes.bad_answer, "unknown", status)
        elif 400 <= status < 500:
            raise PeerFault(self._codes.refused, "failed", status)
        elif status >= 500:
            raise PeerFault(self._codes.broken, "unknown", status)
        else:  # a redirect, or a success without an answer
            raise PeerFault(self._codes.bad_answer, "unknown", status)

    def _bad(self, fault: BadInput) -> PeerFault:
        large = fault.code == "result_too_large"
        return PeerFault("result_too_large" if large else self._codes.bad_answer, "unknown")

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By asyncio's contract; uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self.abort()  # nobody asked
            return
        self._first = False
        try:
            self._reader.feed(data)
        except BadInput as fault:
            self._fail(self._bad(fault))
            self.abort()
        self._heard.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._limit is not None:
            self._limit.cancel()
        if self._first and isinstance(exc, ssl.SSLError) and exc.reason in _NOT_LET_IN:
            # The other side did not accept our certificate, so it has not read what we sent.
            self._fail(PeerFault(self._codes.refused, "failed"))
        elif self._reader is not None and not self._ended(self._reader, exc):
            self._fail(PeerFault(self._codes.broken, "unknown"))
        self._heard.set()
        self._lost.set()

    @staticmethod
    def _ended(reader: AnswerReader, exc: Exception | None) -> bool:
        """Whether the answer is whole, now that nothing more comes."""
        try:
            if exc is None:
                reader.closed()
        except BadInput:
            return False
        return reader.whole

    def _fail(self, fault: PeerFault) -> None:
        if self._fault is None:
            self._fault = fault
