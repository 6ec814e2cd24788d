"""What the requests of sessions were answered so far, kept for clients that lose their connection (2025-11-25).

A stream of events begins with an event that has nothing but an id. From then on its client may hang up and come
back with ``Last-Event-ID``; whoever does not in time has hung up for good, and the call is cancelled.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Final

GRACE_S: Final = 5.0  # without a reader: some times RETRY_MS, and no long time to work for nobody
KEPT_S: Final = 60.0  # an answer that is whole, and perhaps was not read
RETRY_MS: Final = 500  # what clients are told to wait before they come back
MAX_TAPES: Final = 64  # of one launch
MAX_BYTES: Final = 16 << 20  # of one launch, all its tapes together: two of the largest results
TOKEN_BYTES: Final = 12


class Tape:
    """One stream of events. ``name`` is unguessable; the ids of its events are ``name-number``."""

    def __init__(self, launch: str, session: str) -> None:
        self.launch = launch
        self.session = session
        self.name = secrets.token_urlsafe(TOKEN_BYTES).replace("-", "_")
        self.size = 0
        self.over = False
        self.readers = 0
        self.work: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._events: list[bytes] = []
        self._count = 0
        self._lost = False
        self._news = asyncio.Event()

    def id(self, number: int) -> str:
        """Of an event; 0 is the one before the first message."""
        return f"{self.name}-{number}"

    def add(self, message: bytes) -> str:
        """The next event; its id."""
        self._count += 1
        if not self._lost:
            self._events.append(message)
            self.size += len(message)
        self._wake()
        return self.id(self._count)

    def lose(self) -> None:
        """It is not kept any more; whoever reads it gets no more."""
        self._lost = True
        self._events.clear()
        self.size = 0
        self._wake()

    def end(self) -> None:
        """There will be no more."""
        self.over = True
        self._wake()

    async def after(self, number: int) -> AsyncGenerator[tuple[str, bytes], None]:
        """All events after this one, as they come, to the last."""
        while True:
            while number < len(self._events):
                number += 1
                yield self.id(number), self._events[number - 1]
            if self.over or self._lost:
                return
            news = self._news
            await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Tapes:
    """All of a door's."""

    def __init__(self) -> None:
        self._all: dict[str, Tape] = {}

    def keep(self, tape: Tape) -> None:
        """A client was told that it can come back to this one."""
        self._all[tape.name] = tape

    def find(self, id: str, launch: str, session: str) -> tuple[Tape, int] | None:  # noqa: A002
        """The tape and the number of an event, if both are this client's."""
        name, _, number = id.rpartition("-")
        tape = self._all.get(name)
        if tape is None or (tape.launch, tape.session) != (launch, session) or not number.isdecimal():
            return None
        return (tape, int(number)) if number.isascii() and len(number) <= 9 else None

    def trim(self, tape: Tape) -> None:
        """Keep within bounds what one launch is kept; the oldest go, those whose call still runs last."""
        own = [one for one in self._all.values() if one.launch == tape.launch]
        size, count = sum(one.size for one in own), len(own)
        for one in sorted(own, key=lambda one: not one.over):
            if size <= MAX_BYTES and count <= MAX_TAPES:
                return
            size, count = size - one.size, count - 1
            self.drop(one)

    def leave(self, tape: Tape, work: asyncio.Task[None]) -> None:
        """The client of this stream hung up while its call runs."""
        tape.work = work
        if tape.name in self._all:
            self._wait(tape)
        else:
            work.cancel()  # it was too long to be kept

    @contextmanager
    def reading(self, tape: Tape) -> Generator[None]:
        """Somebody came back for it."""
        tape.readers += 1
        if tape.timer is not None:
            tape.timer.cancel()
        try:
            yield
        finally:
            tape.readers -= 1
            if tape.readers == 0:
                self._wait(tape)

    def done(self, tape: Tape) -> None:
        """Its last event is there."""
        tape.end()
        if tape.name in self._all and tape.readers == 0:
            self._wait(tape)

    def drop(self, tape: Tape) -> None:
        """Nobody can come back to it any more; a call that runs for nobody is cancelled."""
        self._all.pop(tape.name, None)
        tape.lose()
        if tape.timer is not None:
            tape.timer.cancel()
        if tape.work is not None:
            tape.work.cancel()

    async def close(self) -> None:
        """Cancel what runs for nobody, and wait for it."""
        left = [tape.work for tape in self._all.values() if tape.work is not None]
        for tape in list(self._all.values()):
            self.drop(tape)
        if left:
            await asyncio.wait(left)

    def _wait(self, tape: Tape) -> None:
        if tape.timer is not None:
            tape.timer.cancel()
        seconds = KEPT_S if tape.over else GRACE_S
        tape.timer = asyncio.get_running_loop().call_later(seconds, self.drop, tape)
