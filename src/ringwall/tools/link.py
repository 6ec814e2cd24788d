"""The core's end of the link to one tenant's sidecar, across its restarts: call numbers, ends, descriptors.

``SidecarClient`` and ``peers.line.PeerLine`` share it. The sidecar may be taken over: its frames are decoded into
closed types, and a frame that no honest sidecar could send closes the link. Once a call's frame has left, a lost
sidecar or a time-out is an unknown end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, Literal

from ringwall.call import End, Last, Usage
from ringwall.clock import Clock
from ringwall.errors import BadInput, Unavailable
from ringwall.peers.protocol import Incoming, PeerPiece
from ringwall.tools import protocol
from ringwall.tools.patience import Alarm, Patience
from ringwall.tools.pending import AnyPending, Awaited, Calls, Part, last, size_of, then
from ringwall.tools.protocol import (
    REASONS,
    Cancel,
    Changed,
    Definitions,
    Ended,
    Lost,
    News,
    OutletRefused,
    Passed,
    Piece,
    Ready,
    ToSidecar,
)
from ringwall.wire.frames import Link

MAX_PENDING: Final = 1024  # calls of one tenant at once
MAX_QUEUED: Final = 64 << 20  # bytes the sidecar has not read; more means that it does not read


class SidecarLink:
    """One tenant's link.

    Args:
        clock: for durations.
        on_news: told what the sidecar says of tool servers; raises BadInput for what no honest sidecar says.
        on_lost: told whenever a link is gone, after every call under way was ended.
        on_down: told once, with the cause, when a sidecar is lost; the runtime ends and starts it anew.

    """

    def __init__(
        self,
        *,
        clock: Clock,
        on_news: Callable[[News], None],
        on_lost: Callable[[], None],
        on_down: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_news = on_news
        self._on_lost = on_lost
        self._on_down = on_down
        self._link: Link | None = None
        self._descriptors: socket.socket | None = None
        self._epoch = 0
        self._fault = ""
        self._next = 1
        self._freeing: set[asyncio.Task[None]] = set()
        self.calls = Calls()
        self.on_up: Callable[[], None] = _nothing
        """Told when a fresh sidecar is there, which knows nothing yet; before any of its frames."""
        self.on_incoming: Callable[[Incoming], None] = _unasked
        """Told of peers' connections; raises BadInput for what no honest sidecar says."""

    async def open(self, link: socket.socket, descriptors: socket.socket, first: ToSidecar) -> None:
        """Talk to a fresh sidecar over these two sockets, which are ours from now on."""
        self.close()
        self._epoch += 1
        epoch = self._epoch
        self._fault = ""
        descriptors.setblocking(False)
        self._descriptors = descriptors
        self._link = await Link.open(link, lambda raw: self._frame(epoch, raw), lambda: self._closed(epoch))
        self._link.send(protocol.encode(first))
        self.on_up()

    @property
    def alive(self) -> bool:
        """The link is up."""
        return self._link is not None and self._link.alive

    @property
    def epoch(self) -> int:
        """Grows with every sidecar."""
        return self._epoch

    def close(self) -> None:
        """Close both sockets; an honest sidecar ends then. Pending calls end as unknown."""
        if self._link is not None:
            self._link.close()
        self._lose()

    def tell(self, message: ToSidecar) -> None:
        """Send what needs no answer. Raises Unavailable or BadInput (it is too long)."""
        link = self._link
        if link is None or not link.alive:
            raise Unavailable(REASONS["sidecar_unavailable"], code="sidecar_unavailable")
        if link.queued > MAX_QUEUED:
            raise Unavailable(REASONS["sidecar_busy"], code="sidecar_busy")
        link.send(protocol.encode(message))

    def hand_over(self, message: Passed, descriptors: Sequence[int]) -> None:
        """Pass descriptors; the caller's stay open. Raises Unavailable."""
        try:
            if self._descriptors is None:
                raise Unavailable(REASONS["sidecar_unavailable"], code="sidecar_unavailable")
            socket.send_fds(self._descriptors, [protocol.encode(message)], list(descriptors))
        except BlockingIOError as fault:
            raise Unavailable(REASONS["sidecar_busy"], code="sidecar_busy") from fault
        except OSError as fault:
            raise Unavailable(REASONS["sidecar_unavailable"], code="sidecar_unavailable") from fault

    async def exchange(
        self,
        make: Callable[[int], ToSidecar],
        *,
        seconds: float,
        late: tuple[End, str],
        pending: Awaited[Part],
        over: float | None = None,
        patience: Callable[[Patience], None] | None = None,
    ) -> AsyncGenerator[Part | Last, None]:
        """Send one call, give its answer piece by piece, end with a Last whatever happens.

        Args:
            make: the frame, given its number.
            seconds: how long to wait for the end.
            late: the end, and its code, if that was too short.
            pending: collects what the sidecar says.
            over: how long to wait for the end, where ``seconds`` is for each piece; None: it is for all.
            patience: takes what makes ``seconds`` stand still while a question is open.

        """
        started = self._clock.monotonic()
        number, fault = self._send_call(make, pending)
        if fault:
            yield last("failed", fault, REASONS[fault])
            return
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        timer = Alarm(pending.expire)
        timer.at(started_at + seconds)
        if patience is not None:
            patience(Patience(timer.at, seconds))
        end_at = None if over is None else started_at + over
        why: Literal["caller", "timeout", ""] = "caller"
        try:
            while (item := await pending.next()) is not None and not isinstance(item, Last):
                self.calls.taken(pending, size_of(item))
                if end_at is not None:
                    timer.cancel()  # how long our reader takes is not the sidecar's doing
                yield item
                if end_at is not None:
                    timer.at(min(loop.time() + seconds, end_at))
            why = "" if item is not None else "timeout"
            end = last(*late, REASONS[late[1]]) if item is None else item
            yield Last(end=end.end, error=end.error, usage=Usage(seconds=self._clock.monotonic() - started))
        finally:
            timer.cancel()
            self._leave(number, pending, why, max(timer.left, 0.0) if why == "caller" and pending.call else None)

    def afterwards(self, call: str, free: Callable[[], Awaitable[None]]) -> bool:
        """Give something back only when a call can do nothing more, although nobody waits for it.

        Args:
            call: the id of the judged call.
            free: run once its tool has answered, or is gone, or its time is over; may raise Unavailable.

        Returns:
            False: it can do nothing more now; ``free`` was not run.

        """
        over = self.calls.after(call)
        if over is None:
            return False
        task = asyncio.ensure_future(then(over, free))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)
        return True

    def end(self, fault: BadInput) -> None:
        """End the link: what speaks there is no honest sidecar."""
        self._fault = str(fault)
        if self._link is not None:
            self._link.close()

    def _send_call(self, make: Callable[[int], ToSidecar], pending: AnyPending) -> tuple[int, str]:
        """Send a call: its number, or the code of why nothing was sent."""
        if len(self.calls) >= MAX_PENDING and self.alive:
            return 0, "sidecar_busy"
        number = self._next
        try:
            self.tell(make(number))
        except Unavailable as fault:
            return 0, fault.code if fault.code in REASONS else "sidecar_unavailable"
        except (BadInput, ValueError):
            return 0, "bad_arguments"
        self._next += 1
        self.calls.sent(number, pending)
        return number, ""

    def _leave(self, number: int, pending: AnyPending, why: Literal["caller", "timeout", ""],
               seconds: float | None) -> None:
        """Nobody waits for this call any more: tell the sidecar, unless it said the end itself."""
        if why and self._link is not None and self._link.alive:
            self._link.send(protocol.encode(Cancel(id=number, why=why)))
        try:
            self.calls.leave(number, pending, seconds, lambda: self._too_late(number))
        except BadInput as fault:
            self.end(fault)

    def _too_late(self, number: int) -> None:
        """A call that was left took all its time, too."""
        if self._link is not None and self._link.alive:
            self._link.send(protocol.encode(Cancel(id=number, why="timeout")))

    def _frame(self, epoch: int, raw: bytes) -> None:
        if epoch != self._epoch or self._link is None or not self._link.alive:
            return
        try:
            message = protocol.decode_from_sidecar(raw)
            match message:
                case Piece() | Ended() | Definitions() | PeerPiece():
                    self.calls.hear(message)
                case Incoming():
                    self.on_incoming(message)
                case Ready() | Lost() | Changed() | OutletRefused():
                    self._on_news(message)
        except BadInput as fault:
            self.end(fault)

    def _closed(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        down = self._link is not None
        self._lose()
        if down and self._on_down is not None:
            self._on_down(self._fault or "the sidecar closed its link")

    def _lose(self) -> None:
        """End every call under way: it may have taken effect."""
        self._link = None
        if self._descriptors is not None:
            self._descriptors.close()
            self._descriptors = None
        self.calls.lose()
        self._on_lost()


def _nothing() -> None:
    """Nobody needs to know."""


def _unasked(message: Incoming) -> None:
    """No gate was ever given to this sidecar."""
    raise BadInput("the sidecar speaks of a peer although it has no gate", code="bad_frame")
