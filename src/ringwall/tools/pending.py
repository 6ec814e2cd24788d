"""A call under way, in the core: what the sidecar has said of it so far, within bounds."""

from __future__ import annotations

import asyncio

from ringwall.call import End, Last
from ringwall.errors import BadInput
from ringwall.tools import protocol
from ringwall.tools.protocol import REASONS, Definitions, Ended, Piece


class Pending:
    """A call under way. Bounded: an answer has at most MAX_RESULT bytes in MAX_CHUNKS pieces."""

    __slots__ = ("bytes", "items", "pieces")

    def __init__(self) -> None:
        self.items: asyncio.Queue[bytes | Last | None] = asyncio.Queue()
        self.pieces = 0
        self.bytes = 0

    def add(self, item: bytes | Last) -> None:
        """What the sidecar said. Raises BadInput when it is more than one call may return."""
        if isinstance(item, bytes):
            self.pieces += 1
            self.bytes += len(item)
            if self.pieces > protocol.MAX_CHUNKS or self.bytes > protocol.MAX_RESULT:
                raise BadInput("the sidecar answers more than one call may return", code="bad_frame")
        self.items.put_nowait(item)

    def expire(self) -> None:
        """It is too late: ``next`` gives None once all that came in time is taken."""
        self.items.put_nowait(None)

    async def next(self) -> bytes | Last | None:
        """The next item, or None when it is too late."""
        return await self.items.get()


def item_of(message: Piece | Ended | Definitions) -> bytes | Last:
    """What the core makes of an answer's frame. Raises BadInput for an end that contradicts itself."""
    match message:
        case Piece():
            return message.value
        case Definitions():
            return message.definitions
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
