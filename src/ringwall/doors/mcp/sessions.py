"""The sessions of clients that speak a revision with a handshake (2025-11-25)."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Final

from ringwall.call import Json, Trait, as_object
from ringwall.clock import Clock
from ringwall.doors.mcp.news import Watched
from ringwall.wire.mcp import revisions
from ringwall.wire.mcp.methods import CLIENT_CAPABILITY
from ringwall.wire.mcp.rpc import Answer, Id

MAX_SESSIONS: Final = 32  # of one launch; a program has one for each server it connects to
IDLE_S: Final = 3600.0  # a session nobody used for so long is forgotten
MAX_QUESTIONS: Final = 64  # of servers, that a client has not answered
TOKEN_BYTES: Final = 24
_TRAITS: Final[tuple[Trait, ...]] = ("elicitation", "sampling", "roots")
_ASKED: Final = frozenset(CLIENT_CAPABILITY.values())


def traits(capabilities: Json) -> tuple[Trait, ...]:
    """What a client that says this of itself can be asked."""
    return tuple(one for one in _TRAITS if one in (as_object(capabilities) or {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A server's question that a client was shown.

    ``waiting``: who takes the answer; None: it goes to the server, as a call of its own.
    """

    server: str
    number: int
    method: str
    waiting: asyncio.Future[Answer] | None = None


@dataclass(slots=True, kw_only=True)
class Session:
    """One client's. Bound to the launch that opened it, and to the path it was opened at."""

    id: str
    launch: str
    server: str
    revision: str
    capabilities: dict[str, Json]
    used: float
    running: dict[Id, asyncio.Task[None]] = field(default_factory=dict[Id, "asyncio.Task[None]"])
    questions: dict[Id, Question] = field(default_factory=dict[Id, Question])
    watched: Watched = field(default_factory=Watched)
    streams: int = 0
    asked: int = 0

    def ask(self, question: Question) -> str | None:
        """The id under which a question goes to the client; None: too many wait already."""
        if len(self.questions) >= MAX_QUESTIONS:
            return None
        self.asked += 1
        name = f"ringwall-{self.asked}"
        self.questions[name] = question
        return name

    @property
    def client(self) -> tuple[Trait, ...]:
        """What servers may know of this client."""
        return ("handshake", *traits(self.capabilities))

    @property
    def resumes(self) -> bool:
        """Whether a stream can be taken up again: older clients take an event without data for a message."""
        return self.revision == revisions.WITH_SESSION[0]

    @property
    def busy(self) -> bool:
        return bool(self.running) or self.streams > 0


class Sessions:
    """All of a door's.

    Args:
        clock: for idle times.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: dict[str, Session] = {}

    def open(self, launch: str, server: str, revision: str, capabilities: dict[str, Json]) -> Session | None:
        """A new session; the launch's oldest idle one goes if it has too many. None: all of them are busy."""
        now = self._clock.monotonic()
        for stale in [one for one in self._all.values() if not one.busy and now - one.used > IDLE_S]:
            del self._all[stale.id]
        own = [one for one in self._all.values() if one.launch == launch]
        if len(own) >= MAX_SESSIONS:
            idle = [one for one in own if not one.busy]
            if not idle:
                return None
            del self._all[min(idle, key=lambda one: one.used).id]
        # What else a client says of itself is a mebibyte of its own making, and a session stays for an hour.
        known: dict[str, Json] = {name: {} for name in _ASKED if name in capabilities}
        made = Session(id=secrets.token_urlsafe(TOKEN_BYTES), launch=launch, server=server, revision=revision,
                       capabilities=known, used=now)
        self._all[made.id] = made
        return made

    def find(self, name: str, launch: str, server: str) -> Session | None:
        """The session of that name, if it is this launch's and was opened at this path."""
        found = self._all.get(name)
        if found is None or found.launch != launch or found.server != server:
            return None
        now = self._clock.monotonic()
        if not found.busy and now - found.used > IDLE_S:
            del self._all[name]
            return None
        found.used = now
        return found

    def close(self, session: Session) -> None:
        """The client ends it, and with it what runs in it."""
        self._all.pop(session.id, None)
        for task in session.running.values():
            task.cancel()
