"""The exporter's process: ``python -m ringwall.telemetry.service``, started confined by the supervisor.

Descriptor 3 is the framed stream to the core. The OpenTelemetry SDK, with protobuf and an HTTP client in its train,
is imported here and nowhere else: the core neither waits for the collector nor reads what it answers.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from typing import Final

from ringwall.errors import BadInput, Unavailable
from ringwall.telemetry import protocol
from ringwall.telemetry.otel import Exporter
from ringwall.telemetry.protocol import Done, Hello, Spans
from ringwall.wire.frames import Link

LINK: Final = 3


class Service:
    """Sends what the core gives, one batch after the other. One per process."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Spans] = asyncio.Queue()  # as many as the core has under way
        self._exporter: Exporter | None = None
        self._link: Link | None = None
        self._over = asyncio.Event()
        self._fault = ""

    async def run(self, link: socket.socket) -> int:
        """Serve until the core's link closes or SIGTERM comes. Returns the exit code."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._over.set)
        self._link = await Link.open(link, self._frame, self._over.set)
        sending = asyncio.create_task(self._send())
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait([sending, over], return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, over):
            task.cancel()
        await asyncio.gather(sending, over, return_exceptions=True)
        self._link.close()
        if self._fault:
            print(f"ringwall telemetry: {self._fault}", file=sys.stderr)
            return 1
        return 0

    async def _send(self) -> None:
        while True:
            batch = await self._batches.get()
            exporter = self._exporter
            taken = exporter is not None and await asyncio.to_thread(exporter.export, batch.spans)
            sent = len(batch.spans) if taken else 0
            try:
                if self._link is not None:
                    self._link.send(protocol.encode(Done(sent=sent, failed=len(batch.spans) - sent)))
            except Unavailable:
                self._over.set()

    def _frame(self, raw: bytes) -> None:
        try:
            message = protocol.to_exporter(raw)
            if isinstance(message, Hello) is (self._exporter is not None):
                raise BadInput("the core says hello once, and first", code="bad_frame")
        except BadInput as fault:
            # The core is the one we obey: if it cannot be understood, no next frame can be either.
            self._fault = str(fault)
            self._over.set()
            return
        if isinstance(message, Hello):
            self._exporter = Exporter(message)
        else:
            self._batches.put_nowait(message)


async def _run() -> int:
    return await Service().run(socket.socket(fileno=LINK))


def main() -> int:
    """Run on descriptor 3. Exit code 0: the core's link closed, or SIGTERM; 1: the core spoke nonsense."""
    logging.disable(logging.CRITICAL)  # the SDK writes a line for each failed request; the core counts them
    return asyncio.run(_run())


if __name__ == "__main__":
    sys.exit(main())
