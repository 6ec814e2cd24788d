"""What an MCP server says by itself: that a list changed, that a resource did. Runs in the sidecar.

No word of the server's is passed on, only which of these it was, and a URI only where it was asked to watch that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeVar

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.tools import mcp_rpc
from ringwall.tools.mcp_rpc import Note
from ringwall.tools.protocol import MAX_CHUNKS, Heard, Listen

List = Literal["tools", "prompts", "resources"]
GATHER_S: Final = 0.05  # the same news within this time is one
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
LISTS: Final[Mapping[str, List]] = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
}
T = TypeVar("T")
UPDATED: Final = "notifications/resources/updated"


class Ear:
    """One listener's.

    Args:
        uris: of the resources it watches.
        tell: takes a piece of the answer to ``Listen``.

    """

    def __init__(self, uris: Collection[str], tell: Callable[[bytes], None]) -> None:
        self._uris = frozenset(uris)
        self._tell = tell
        self._due: dict[Heard, asyncio.TimerHandle] = {}
        self._told = 0
        self.full = asyncio.Event()
        """Set when no more fits into one answer; the core listens anew then."""

    def ready(self) -> None:
        """The server listens to us listening."""
        self._put(Heard(what="listening"))

    def hear(self, note: Note) -> None:
        """Something the server says. Raises BadInput."""
        if note.method == ACKNOWLEDGED:
            self.ready()
        elif note.method in LISTS:
            self._put(Heard(what=LISTS[note.method]))
        elif note.method == UPDATED:
            uri = mcp_rpc.fields(note.params).get("uri")
            if isinstance(uri, str) and uri in self._uris:
                self._put(Heard(what="updated", uri=uri))

    def close(self) -> None:
        """Say what is due, and no more."""
        for heard, timer in list(self._due.items()):
            timer.cancel()
            self._send(heard)

    def _put(self, heard: Heard) -> None:
        if heard in self._due or self.full.is_set():
            return
        self._told += 1
        if self._told >= MAX_CHUNKS - 1:
            self.full.set()
        later = 0.0 if heard.what == "listening" else GATHER_S
        self._due[heard] = asyncio.get_running_loop().call_later(later, self._send, heard)

    def _send(self, heard: Heard) -> None:
        self._due.pop(heard, None)
        self._tell(msgspec.json.encode(heard))


class Ears:
    """All that listen to one server: what it says on the stream of a call is for them as well."""

    def __init__(self) -> None:
        self._all: set[Ear] = set()

    @contextmanager
    def open(self, message: Listen, tell: Callable[[bytes], None]) -> Generator[Ear]:
        """One more."""
        ear = Ear(message.uris, tell)
        self._all.add(ear)
        try:
            yield ear
        finally:
            self._all.discard(ear)
            ear.close()

    def hear(self, note: Note) -> None:
        """Something the server says to nobody in particular. Raises BadInput."""
        for ear in self._all:
            ear.hear(note)


async def until(full: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Do something until it is done, or full; then None."""
    task, filled = asyncio.create_task(work), asyncio.create_task(full.wait())
    try:
        await asyncio.wait({task, filled}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, filled):
            one.cancel()
        await asyncio.gather(task, filled, return_exceptions=True)


def subscription(uris: Collection[str]) -> dict[str, Json]:
    """The parameters of ``subscriptions/listen`` (2026-07-28)."""
    wanted: dict[str, Json] = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    if uris:
        wanted["resourceSubscriptions"] = sorted(uris)
    return {"notifications": wanted}


def decode(raw: bytes) -> Heard:
    """A piece, as the core reads it. Raises BadInput (``bad_answer``)."""
    try:
        return msgspec.json.decode(raw, type=Heard)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise BadInput("the sidecar tells news that are none", code="bad_answer") from fault
