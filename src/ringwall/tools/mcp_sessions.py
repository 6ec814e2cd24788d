"""Sessions with one MCP server over HTTP: one for each launch that calls it, and the tenant's own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

from ringwall.call import Json
from ringwall.tools.mcp_call import Questions
from ringwall.tools.mcp_headers import SESSION
from ringwall.tools.values import NoAnswer

MAX_SESSIONS: Final = 256  # with one server; as many launches as a machine carries
IDLE_S: Final = 600.0  # a session unused for so long is closed
Key: TypeAlias = tuple[str, tuple[str, ...]]
"""Whose session, and what that client can be asked: a server may be told only the truth."""


class Session:
    """One session. ``id``: the server's name for it; empty: it gave none, or there was no handshake yet."""

    def __init__(self, key: Key, numbers: itertools.count[int], on_idle: Callable[[Session], None]) -> None:
        self.key = key
        self.id = ""
        self.questions = Questions(key[1], numbers)
        self.lock = asyncio.Lock()
        self.users = 0
        self._version = ""
        self._on_idle = on_idle
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> bool:
        """The handshake is over."""
        return bool(self._version)

    @property
    def headers(self) -> dict[str, str]:
        """What names it in a request."""
        named = {SESSION: self.id} if self.id else {}
        return {"mcp-protocol-version": self._version, **named}

    def start(self, name: str, version: str) -> None:
        """The handshake gave it this name and this revision."""
        self.id, self._version = name, version

    @contextmanager
    def busy(self) -> Generator[None]:
        """While a call uses it, it is not idle."""
        self.rest(False)
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self.rest(self.users == 0)

    def rest(self, begins: bool) -> None:
        """Start or stop counting how long nobody uses it."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(IDLE_S, self._on_idle, self) if begins else None


class Sessions:
    """All of one server. ``retire`` is told of each that is given up while the server still knows it."""

    def __init__(self, retire: Callable[[Session], None]) -> None:
        self._retire = retire
        self._numbers = itertools.count(1)  # of questions: each names its session, too
        self._sessions: dict[Key, Session] = {}  # the one used longest ago first

    def known(self, key: Key) -> Session | None:
        """A session that has shaken hands."""
        found = self._sessions.get(key)
        return found if found is not None and found.ready else None

    def asking(self, name: str, number: Json) -> Session | None:
        """The session of this name whose server asked the question of this number, and waits."""
        return next((session for (its, _), session in self._sessions.items()
                     if its == name and type(number) is int and session.questions.has(number)), None)

    async def open(self, key: Key, handshake: Callable[[Session], Awaitable[None]]) -> Session:
        """The session of this key, with its handshake behind it.

        Raises:
            NoAnswer: ``upstream_unreachable``: there are too many in use.
            Others: as ``handshake``.

        """
        session = self._sessions.pop(key, None)
        if session is None:
            self._make_room()
            session = Session(key, self._numbers, self._idle)
        self._sessions[key] = session
        with session.busy():
            async with session.lock:
                if not session.ready:
                    await handshake(session)
        return session

    def forget(self, session: Session) -> None:
        """The server does not know it any more."""
        session.rest(False)
        if self._sessions.get(session.key) is session:
            del self._sessions[session.key]

    def close(self) -> None:
        """Give all up."""
        for session in list(self._sessions.values()):
            self._idle(session)

    def _make_room(self) -> None:
        if len(self._sessions) < MAX_SESSIONS:
            return
        idle = next((session for session in self._sessions.values() if session.users == 0), None)
        if idle is None:
            raise NoAnswer("failed", "upstream_unreachable")
        self._idle(idle)

    def _idle(self, session: Session) -> None:
        self.forget(session)
        if session.id:
            self._retire(session)
