"""The core's side of an endpoint process: orders out, bounded answers in."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ringwall.errors import BadInput, Unavailable
from ringwall.identity.endpoint import protocol
from ringwall.identity.endpoint.protocol import Failed, Fetch, Fetched, FromProcess, Publish, ToProcess
from ringwall.wire.frames import Link

ANSWER_SECONDS: Final = 60.0  # the process's own limits are far below; starting it takes a second


class EndpointClient:
    """One endpoint process after the other. While there is none, every order fails.

    Args:
        on_up: a new process is there, which knows nothing yet.
        on_fault: the process broke the protocol, or its link closed: end it.

    """

    def __init__(self, *, on_up: Callable[[], None], on_fault: Callable[[], None]) -> None:
        self._on_up = on_up
        self._on_fault = on_fault
        self._link: Link | None = None
        self._mark = object()  # of the link that counts
        self._passing: socket.socket | None = None
        self._waiting: dict[int, asyncio.Future[FromProcess]] = {}
        self._ids = itertools.count(1)

    async def attach(self, link: socket.socket, passing: socket.socket, listening: socket.socket | None) -> None:
        """A new process is there. ``listening``: what it serves on, if it serves; a copy goes to it.

        Raises:
            Unavailable: it is gone already.

        """
        self.detach()
        self._passing = passing
        try:
            if listening is not None:
                socket.send_fds(passing, [b"\0"], [listening.fileno()])
        except OSError as fault:
            link.close()
            raise Unavailable(f"the endpoint process takes no socket: {fault}", code="link_closed") from fault
        mark = self._mark = object()
        self._link = await Link.open(link, self._frame, lambda: self._lost(mark))
        self._on_up()

    def detach(self) -> None:
        """The process is gone: whoever waits is told."""
        before, self._link, self._mark = self._link, None, object()
        if before is not None:
            before.close()
        if self._passing is not None:
            self._passing.close()
            self._passing = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_down())

    async def fetch(
        self, url: str, *, ca: str = "", spiffe_id: str = "", authorities: Sequence[bytes] = ()
    ) -> bytes:
        """The bytes at an endpoint; see ``protocol.Fetch``.

        Raises:
            Unavailable: a code of ``protocol.Code``, ``link_closed``, or ``endpoint_slow``.

        """
        number = next(self._ids)
        found = await self._ask(Fetch(id=number, url=url, ca=ca, spiffe_id=spiffe_id,
                                      authorities=list(authorities)))
        if not isinstance(found, Fetched):
            raise self._nonsense()
        return found.body

    async def publish(self, chain: bytes, key: bytes, pages: Mapping[str, bytes]) -> None:
        """Have these pages served. Raises as ``fetch``."""
        number = next(self._ids)
        found = await self._ask(Publish(id=number, chain=chain, key=key, pages=dict(pages)))
        if isinstance(found, Fetched):
            raise self._nonsense()

    async def _ask(self, order: ToProcess) -> FromProcess:
        if self._link is None:
            raise _down()
        waiting: asyncio.Future[FromProcess] = asyncio.get_running_loop().create_future()
        self._waiting[order.id] = waiting
        try:
            self._link.send(protocol.encode(order))
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await waiting
        except TimeoutError:
            self._on_fault()
            raise Unavailable("the endpoint process does not answer", code="endpoint_slow") from None
        finally:
            self._waiting.pop(order.id, None)
        if isinstance(found, Failed):
            shown = "".join(one if one.isprintable() else "?" for one in found.cause[:protocol.MAX_CAUSE])
            raise Unavailable(shown, code=found.code)
        return found

    def _frame(self, raw: bytes) -> None:
        if self._link is None:
            return  # behind nonsense, in the same read
        try:
            message = protocol.from_process(raw)
            waiting = self._waiting.get(message.id)
            if waiting is None or waiting.done():
                raise BadInput("the endpoint process answers what nobody asked", code="bad_frame")
        except BadInput:
            self.detach()
            self._on_fault()
            return
        waiting.set_result(message)

    def _lost(self, mark: object) -> None:
        if mark is not self._mark:
            return  # of a process before this one
        self.detach()
        self._on_fault()

    def _nonsense(self) -> Unavailable:
        self._on_fault()
        return Unavailable("the endpoint process answered something else", code="endpoint_broken")


def _down() -> Unavailable:
    return Unavailable("the endpoint process is not running", code="link_closed", remedy="`ringwall status`")
