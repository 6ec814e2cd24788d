"""Calls under way, in the core: what the sidecar has said of them so far, within bounds.

Every call that was sent gets exactly one end from an honest sidecar, also when nobody waits for it any more.
Until then the frames about it are bounded; after it there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from ringwall.call import End, Json, Last
from ringwall.errors import BadInput, Unavailable
from ringwall.peers.protocol import PeerPiece
from ringwall.tools import protocol
from ringwall.tools.protocol import REASONS, Definitions, Ended, Piece

Part = TypeVar("Part", bytes, PeerPiece)

MAX_UNREAD: Final = 256 << 20  # bytes of answers nobody has taken yet: 32 of the largest at the same moment
MAX_LEFT: Final = 4096  # calls nobody waits for and without an end: a sidecar that owes more does not work


class Awaited(Generic[Part]):
    """A call under way. Bounded: an answer has at most MAX_RESULT bytes in ``most`` pieces.

    Args:
        server: the tool server it was sent to; empty for models, listings and peers.
        call: the id of the judged call; empty if there is none.
        kind: what its answer consists of; anything else is no honest sidecar's.
        most: how many pieces it may have.

    """

    __slots__ = ("bytes", "call", "items", "kind", "left", "most", "over", "pieces", "server", "timer", "unread")

    def __init__(self, server: str, call: str, kind: type[Part], most: int = protocol.MAX_CHUNKS) -> None:
        self.server = server
        self.call = call
        self.kind: type[Part] = kind
        self.most = most
        self.items: asyncio.Queue[Part | Last | None] = asyncio.Queue()
        self.pieces = 0
        self.bytes = 0
        self.unread = 0
        self.left = False  # nobody waits for it any more
        self.over: asyncio.Future[None] | None = None  # made when it was left: done when it can do nothing more
        self.timer: asyncio.TimerHandle | None = None

    def add(self, item: bytes | PeerPiece | Last) -> None:
        """What the sidecar said. Raises BadInput when it is not, or more than, what one call may return."""
        if not isinstance(item, Last):
            if not isinstance(item, self.kind):
                raise BadInput("the sidecar answers what was not asked", code="bad_frame")
            self.pieces += 1
            self.bytes += size_of(item)
            if self.pieces > self.most or self.bytes > protocol.MAX_RESULT:
                raise BadInput("the sidecar answers more than one call may return", code="bad_frame")
        if not self.left:
            self.items.put_nowait(item)

    def expire(self) -> None:
        """It is too late: ``next`` gives None once all that came in time is taken."""
        self.items.put_nowait(None)

    async def next(self) -> Part | Last | None:
        """The next item, or None when it is too late."""
        return await self.items.get()


class Pending(Awaited[bytes]):
    """A tool's, a model's or a listing's."""

    def __init__(self, server: str = "", call: str = "", most: int = protocol.MAX_CHUNKS) -> None:
        super().__init__(server, call, bytes, most)


class PeerPending(Awaited[PeerPiece]):
    """A peer's, or an agent's own server's."""

    def __init__(self, call: str = "") -> None:
        super().__init__("", call, PeerPiece)


AnyPending: TypeAlias = Awaited[Any]


class Calls:
    """Every call of one link that the sidecar owes an end."""

    def __init__(self) -> None:
        self._owed: dict[int, AnyPending] = {}
        self._working: set[int] = set()  # of them: somebody waits, or the tool may still be at work
        self._after: dict[str, int] = {}  # of these: nobody waits; by the id of the judged call
        self._unread = 0

    def __len__(self) -> int:
        """How many somebody waits for, or whose tools may still be at work."""
        return len(self._working)

    def sent(self, number: int, pending: AnyPending) -> None:
        """A call is on its way."""
        self._owed[number] = pending
        self._working.add(number)

    def hear(self, message: Piece | Ended | Definitions | PeerPiece) -> None:
        """One frame about a call. Raises BadInput for what no honest sidecar sends."""
        pending = self._owed.get(message.id)
        if pending is None:
            raise BadInput("the sidecar speaks of a call that was never made or is over", code="bad_frame")
        item = item_of(message)
        pending.add(item)
        if isinstance(item, Last):
            self._end(message.id, pending)
        elif not pending.left:
            pending.unread += size_of(item)
            self._unread += size_of(item)
            if self._unread > MAX_UNREAD:
                raise BadInput("the sidecar answers faster than anybody reads", code="bad_frame")

    def taken(self, pending: AnyPending, size: int) -> None:
        """A piece was read."""
        pending.unread -= size
        self._unread -= size

    def leave(self, number: int, pending: AnyPending, seconds: float | None, late: Callable[[], None]) -> None:
        """Nobody waits for a call any more.

        Args:
            number: of the call.
            pending: what was heard of it.
            seconds: how long its tool may go on at most; None: it is taken to have stopped.
            late: called when it did.

        Raises:
            BadInput: the sidecar owes too many ends.

        """
        self.taken(pending, pending.unread)
        pending.left = True
        if number not in self._owed:  # its end is here, perhaps unread
            return
        if seconds is None:
            self._working.discard(number)
        else:
            loop = asyncio.get_running_loop()
            pending.over = loop.create_future()
            pending.timer = loop.call_later(seconds, self._late, number, late)
            self._after[pending.call] = number
        if len(self._owed) - len(self._working) > MAX_LEFT:
            raise BadInput(f"the sidecar owes the ends of more than {MAX_LEFT} calls", code="bad_frame")

    def after(self, call: str) -> asyncio.Future[None] | None:
        """Done when a call that was left can do nothing more; None: it can do nothing already."""
        number = self._after.get(call)
        return None if number is None else self._owed[number].over

    def server_lost(self, server: str) -> None:
        """A server is gone: what it worked on is over."""
        for number in list(self._after.values()):
            if self._owed[number].server == server:
                self._settle(number)

    def lose(self) -> None:
        """The link is gone, and all tool servers behind it: end every call under way."""
        for number, pending in list(self._owed.items()):
            if not pending.left:
                pending.items.put_nowait(last("unknown", "sidecar_lost", REASONS["sidecar_lost"]))
            self._end(number, pending)

    def _end(self, number: int, pending: AnyPending) -> None:
        self._settle(number)
        self._working.discard(number)
        del self._owed[number]

    def _late(self, number: int, tell: Callable[[], None]) -> None:
        self._settle(number)
        tell()

    def _settle(self, number: int) -> None:
        """A call that was left can do nothing more."""
        pending = self._owed[number]
        if pending.over is None:
            return
        self._working.discard(number)
        self._after.pop(pending.call, None)
        if pending.timer is not None:
            pending.timer.cancel()
        if not pending.over.done():
            pending.over.set_result(None)


def size_of(item: bytes | PeerPiece) -> int:
    """Bytes of a piece."""
    return len(item) if isinstance(item, bytes) else item.size


def item_of(message: Piece | Ended | Definitions | PeerPiece) -> bytes | PeerPiece | Last:
    """What the core makes of an answer's frame. Raises BadInput for an end that contradicts itself."""
    match message:
        case Piece():
            return message.value
        case Definitions():
            return message.definitions
        case PeerPiece():
            return message
        case Ended(end="done", code=""):
            return Last(end="done")
        case Ended(end="done") | Ended(code=""):
            raise BadInput("the sidecar contradicts itself about how a call ended", code="bad_frame")
        case Ended():
            tail = f" (HTTP status {message.status})" if message.status else ""
            return last(message.end, message.code, REASONS[message.code] + tail)


def last(end: End, code: str, reason: str) -> Last:
    """An end that is not a good one."""
    return Last(end=end, error={"code": code, "reason": reason})


async def then(over: asyncio.Future[None], free: Callable[[], Awaitable[None]]) -> None:
    """Once a call can do nothing more, give back what it held."""
    await asyncio.shield(over)
    try:
        await free()
    except Unavailable:
        pass  # a store that is down: it lets go of what nobody renews


def is_definition(item: Json) -> bool:
    """Whether a listed item has at least what a tool's definition must have."""
    if not isinstance(item, dict):
        return False
    fields = cast("dict[str, Json]", item)
    return isinstance(fields.get("name"), str) and isinstance(fields.get("inputSchema"), dict)
