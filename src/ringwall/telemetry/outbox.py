"""The core's end of the exporter's process: so many spans wait here, the rest is dropped and counted."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from ringwall.errors import BadInput, Unavailable
from ringwall.telemetry import protocol
from ringwall.telemetry.metrics import Result
from ringwall.telemetry.protocol import MAX_BATCH, Hello, Span, Spans
from ringwall.wire.frames import Link

MAX_WAITING: Final = 4096  # spans kept while the collector is slow: some 4 MB, and seconds of a busy installation
MAX_FLIGHT: Final = 8  # batches given and not done with; the exporter's process holds no more than these
FLUSH_SECONDS: Final = 0.2  # how long a span waits for company


class Outbox:
    """Hands spans to one exporter after the other. Used from one event loop.

    Args:
        hello: what each new process is told first.
        count: takes what became of how many spans.
        on_fault: the process broke the protocol: end it.

    """

    def __init__(self, hello: Hello, count: Callable[[Result, int], None], on_fault: Callable[[], None]) -> None:
        self._hello = hello
        self._count = count
        self._on_fault = on_fault
        self._waiting: deque[Span] = deque()
        self._flight: deque[int] = deque()  # sizes of the batches under way
        self._link: Link | None = None
        self._mark = object()  # of the link that counts
        self._timer: asyncio.TimerHandle | None = None

    def put(self, span: Span) -> None:
        """Take a span at once, or drop it."""
        if len(self._waiting) >= MAX_WAITING:
            self._count("dropped", 1)
            return
        self._waiting.append(span)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    async def attach(self, sock: socket.socket) -> None:
        """A new process is there. Raises Unavailable: it is gone already."""
        self.detach()
        mark = self._mark = object()
        self._link = await Link.open(sock, self._frame, lambda: self._lost(mark))
        self._link.send(protocol.encode(self._hello))
        self._flush()

    def detach(self) -> None:
        """The process is gone, and what it had with it."""
        before, self._link, self._mark = self._link, None, object()
        if before is not None:
            before.close()
        if self._flight:
            self._count("dropped", sum(self._flight))
            self._flight.clear()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._link is not None and len(self._flight) < MAX_FLIGHT:
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            self._flight.append(len(batch))
            try:
                self._link.send(protocol.encode(Spans(batch)))
            except Unavailable:
                self.detach()
                return

    def _frame(self, raw: bytes) -> None:
        if self._link is None:
            return  # behind nonsense, in the same read
        try:
            done = protocol.from_exporter(raw)
            if not self._flight or done.sent + done.failed != self._flight[0]:
                raise BadInput("the exporter is done with what it was not given", code="bad_frame")
        except BadInput:
            self.detach()
            self._on_fault()
            return
        self._flight.popleft()
        self._count("sent", done.sent)
        self._count("failed", done.failed)
        self._flush()

    def _lost(self, mark: object) -> None:
        if mark is self._mark:  # and not a process before this one
            self.detach()
