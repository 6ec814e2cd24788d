"""An endpoint process: ``python -m ringwall.identity.endpoint.service``, started confined by the supervisor.

Descriptor 3 is the framed stream to the core; over descriptor 4, a SEQPACKET socket, the core passes the listening
socket if pages are to be served. There is one process for each trust domain that is asked, and one that serves: a
hostile endpoint that takes its asker over can lie about its own domain only, which it may anyway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Final

from ringwall.clock import SystemClock
from ringwall.errors import BadInput, Unavailable
from ringwall.identity.endpoint import protocol
from ringwall.identity.endpoint.fetch import EndpointFault, fetch
from ringwall.identity.endpoint.protocol import Failed, Fetch, Fetched, FromProcess, Publish, Published, ToProcess
from ringwall.identity.endpoint.serve import PageServer
from ringwall.wire.frames import Link

LINK: Final = 3
DESCRIPTORS: Final = 4
MAX_TASKS: Final = 16  # orders under way; the core gives one after the other


class Endpoint:
    """Carries out what the core asks. One per process."""

    def __init__(self, descriptors: socket.socket) -> None:
        self._descriptors = descriptors
        self._clock = SystemClock()
        self._link: Link | None = None
        self._server: PageServer | None = None
        self._given = asyncio.Event()  # the listening socket is there
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._fault = ""

    async def run(self, link: socket.socket) -> int:
        """Serve until the core's link closes or SIGTERM comes. Returns the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._over.set)
        self._descriptors.setblocking(False)
        loop.add_reader(self._descriptors.fileno(), self._passed)
        self._link = await Link.open(link, self._frame, self._over.set)
        try:
            await self._over.wait()
        finally:
            loop.remove_reader(self._descriptors.fileno())
            await self._close()
        if self._fault:
            print(f"ringwall endpoint: {self._fault}", file=sys.stderr)
            return 1
        return 0

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        if self._link is not None:
            self._link.close()

    def _frame(self, raw: bytes) -> None:
        try:
            message = protocol.to_process(raw)
            if len(self._tasks) >= MAX_TASKS:
                raise BadInput("the core asks for too much at a time", code="bad_frame")
        except BadInput as fault:
            # The core is the one we obey: if it cannot be understood, no next frame can be either.
            self._fault = str(fault)
            self._over.set()
            return
        task = asyncio.create_task(self._serve(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: ToProcess) -> None:
        self._tell(await (self._fetch(message) if isinstance(message, Fetch) else self._publish(message)))

    async def _fetch(self, order: Fetch) -> FromProcess:
        try:
            return Fetched(id=order.id, body=await fetch(order, self._clock))
        except EndpointFault as fault:
            return Failed(id=order.id, code=fault.code, cause=fault.cause)

    async def _publish(self, order: Publish) -> FromProcess:
        await self._given.wait()
        if self._server is None:
            return Failed(id=order.id, code="publish_unusable", cause="there is no socket to serve on")
        try:
            await self._server.show(order.chain, order.key, order.pages)
        except BadInput as fault:
            return Failed(id=order.id, code="publish_unusable", cause=fault.cause[:protocol.MAX_CAUSE])
        return Published(id=order.id)

    def _tell(self, message: FromProcess) -> None:
        if self._link is None:
            return
        try:
            self._link.send(protocol.encode(message))
        except Unavailable:
            self._over.set()

    def _passed(self) -> None:
        """The listening socket arrives."""
        try:
            raw, descriptors, flags, _ = socket.recv_fds(self._descriptors, 1, 1)
        except BlockingIOError:
            return
        if not raw:
            self._over.set()
            return
        if flags & socket.MSG_CTRUNC or len(descriptors) != 1 or self._server is not None:
            for number in descriptors:
                os.close(number)
            self._fault = "the core passed descriptors in a way not agreed on"
            self._over.set()
            return
        listening = socket.socket(fileno=descriptors[0])
        listening.setblocking(False)
        self._server = PageServer(listening)
        self._given.set()


async def _run() -> int:
    return await Endpoint(socket.socket(fileno=DESCRIPTORS)).run(socket.socket(fileno=LINK))


def main() -> int:
    """Run on descriptors 3 and 4. Exit code 0: the core's link closed, or SIGTERM; 1: the core spoke nonsense."""
    # asyncio tells of each failed handshake; standard error is an operator's terminal, and strangers cause them.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    return asyncio.run(_run())


if __name__ == "__main__":
    sys.exit(main())
