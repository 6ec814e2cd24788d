"""Who waits for news: that lists changed, that watched resources did. What news it is, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from ringwall.call import Subject, Trait
from ringwall.doors.interface import Ears
from ringwall.doors.mcp.reply import PING_S, Reply
from ringwall.doors.protocol import Presence
from ringwall.wire.mcp.methods import MAX_WATCHED

MAX_STREAMS: Final = 16  # of one launch that wait for news; each holds a connection
MAX_NEWS: Final = 64  # that one stream has not read yet; what does not fit is left out: all say "look again"
MAX_SERVERS: Final = 16  # that one stream listens to; others are at paths of their own
READY_S: Final = 3.0  # for servers to listen to us listening, before a client is told that it hears them
METHODS: Final = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "updated": "notifications/resources/updated",
}


class Watched:
    """The resources that a client watches."""

    def __init__(self, uris: Sequence[str] = ()) -> None:
        self.uris = frozenset(uris)
        self.changed = asyncio.Event()

    def add(self, uri: str) -> None:
        """One more; beyond MAX_WATCHED the server is told, and the client is not."""
        if uri not in self.uris and len(self.uris) < MAX_WATCHED:
            self._set(self.uris | {uri})

    def remove(self, uri: str) -> None:
        """One less."""
        if uri in self.uris:
            self._set(self.uris - {uri})

    def _set(self, uris: frozenset[str]) -> None:
        self.uris = uris
        self.changed.set()
        self.changed = asyncio.Event()


class Stream:
    """One client that listens. Implements ``interface.Listener``.

    Args:
        launch: its launch.
        who: its process, as attested.
        watched: its resources.
        form: news, and the URI of what was updated, as a message; None: it did not ask for that.

    """

    def __init__(self, launch: str, who: Subject, watched: Watched,
                 form: Callable[[str, str], bytes | None]) -> None:
        self.launch, self.who = launch, who
        self.news: asyncio.Queue[bytes] = asyncio.Queue(MAX_NEWS)
        self._watched = watched
        self._form = form
        self._heard: set[str] = set()
        self._hears = asyncio.Event()

    @property
    def uris(self) -> frozenset[str]:
        """See ``Listener``."""
        return self._watched.uris

    @property
    def changed(self) -> asyncio.Event:
        """See ``Listener``."""
        return self._watched.changed

    def ready(self, server: str) -> None:
        """See ``Listener``."""
        self._heard.add(server)
        self._hears.set()

    def tell(self, what: str, uri: str = "") -> None:
        """See ``Listener``."""
        message = self._form(what, uri) if what != "updated" or uri in self.uris else None
        if message is not None and not self.news.full():
            self.news.put_nowait(message)

    async def hears(self, servers: Sequence[str]) -> None:
        """Return when it hears all of these, as far as it ever will."""
        while not self._heard.issuperset(servers):
            self._hears.clear()
            await self._hears.wait()


class News:
    """Everybody who waits for news.

    Args:
        ears: listens to servers.

    """

    def __init__(self, ears: Ears) -> None:
        self._ears = ears
        self._open: set[Stream] = set()

    def changed(self, tenant: str) -> None:
        """The tools of this tenant's agents are others now."""
        for stream in self._open:
            if stream.who.tenant == tenant:
                stream.tell("tools")

    async def follow(self, stream: Stream, servers: Sequence[str], client: tuple[Trait, ...], reply: Reply,
                     presence: Presence, first: bytes | None = None) -> None:
        """Tell of news until the client goes.

        Args:
            stream: the client.
            servers: whom it may hear.
            client: what it says of itself.
            reply: where to.
            presence: of the client.
            first: said when the servers are heard; None: nothing is, and the stream begins at once.

        """
        if sum(1 for one in self._open if one.launch == stream.launch) >= MAX_STREAMS:
            await reply.empty(429)
            return
        self._open.add(stream)
        heard = servers[:MAX_SERVERS]
        hearing = [asyncio.create_task(self._ears.hear(stream.who, stream.launch, server, client, stream))
                   for server in heard]
        try:
            with presence.waiting():
                if first is None:
                    await reply.open()
                else:
                    await _at_most(READY_S, stream.hears(heard))
                    await reply.event(first)
                while True:
                    message = await _next(stream)
                    await (reply.ping() if message is None else reply.event(message))
        finally:
            self._open.discard(stream)
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)


async def _next(stream: Stream) -> bytes | None:
    """News; None after PING_S of silence."""
    try:
        async with asyncio.timeout(PING_S):
            return await stream.news.get()
    except TimeoutError:
        return None


async def _at_most(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass  # it hears the others
