"""Credentials that the core hands to this process, over the descriptor it was started with.

Frames (``wire.frames``) of one JSON object each: ``{"give": id, "whose": agent, "values": {...}, "expires_at":
seconds}`` and ``{"drop": id}``. What is dropped or has expired is forgotten, and ends the call that works with it;
when the core is gone, so is all that it gave.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import msgspec

from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.wire.frames import Framer

MAX_FRAME: Final = 1 << 20  # bytes: eight values of 32 KiB, each character escaped, with their names
MAX_HELD: Final = 4096  # credentials at once: far more than one tenant's agents have calls in 900 s
WAIT_S: Final = 5.0  # for a credential that a call names; it was sent before the call, over another way
LOOK_S: Final = 1.0  # between looks at the clock while there is something that can expire: clocks are set
_CHUNK: Final = 1 << 16


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    """Either of the two. Members that a later core adds say nothing here."""

    give: str = ""
    whose: str = ""
    drop: str = ""
    values: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    expires_at: float = 0.0

    def __repr__(self) -> str:
        return "<credential>"


class Given:
    """One credential.

    Args:
        values: ``access_key_id``, ``password``, ... by name.
        expires_at: seconds since the epoch.
        whose: the agent that it is for.

    """

    def __init__(self, values: Mapping[str, str], expires_at: float, whose: str = "") -> None:
        self.values = values
        self.expires_at = expires_at
        self.whose = whose
        self._lock = threading.Lock()
        self._ended = False
        self._closers: dict[int, Callable[[], None]] = {}

    @property
    def ended(self) -> bool:
        """Whether it may not be used any more."""
        return self._ended

    @contextmanager
    def using(self, close: Callable[[], None]) -> Generator[None]:
        """Work with it.

        Args:
            close: called once, in another thread, if it ends meanwhile: shuts the connection that is worked over,
                so that the work fails now. Must not block.

        Raises:
            Refused: ``credential_ended``, instead of whatever the work raised for that reason.

        """
        key = id(close)
        with self._lock:
            if self._ended:
                raise _ended()
            self._closers[key] = close
        try:
            yield
        except Exception as fault:
            if self._ended:
                raise _ended() from fault
            raise
        finally:
            with self._lock:
                self._closers.pop(key, None)

    def end(self) -> None:
        """It may not be used any more. Idempotent."""
        with self._lock:
            self._ended = True
            closers = list(self._closers.values())
            self._closers.clear()
        for close in closers:
            close()


class Hand:
    """This process's end of the descriptor. ``begin`` starts its thread.

    Args:
        sock: connected stream socket; ours from now on.
        clock: tells when credentials expire.
        over: told, in another thread, that no credential will come any more.

    """

    def __init__(self, sock: socket.socket, clock: Clock, over: Callable[[], None] = lambda: None) -> None:
        self._sock = sock
        self._clock = clock
        self._tell = over
        self._framer = Framer(MAX_FRAME)
        self._changed = threading.Condition()
        self._held: dict[str, Given] = {}
        self._over = False

    def begin(self) -> None:
        """Read from now on."""
        threading.Thread(target=self._read, name="credentials", daemon=True).start()

    def take(self, name: str, seconds: float = WAIT_S) -> Given:
        """The credential of this name, as soon as it is here.

        Args:
            name: as the call has it.
            seconds: to wait for it.

        Raises:
            Unavailable: ``credential_missing``: it did not come, or is gone already.

        """
        with self._changed:
            self._changed.wait_for(lambda: name in self._held or self._over, seconds)
            found = self._held.get(name)
        if found is None or found.ended or found.expires_at <= self._clock.now():
            raise Unavailable("there is no credential for this call", code="credential_missing")
        return found

    def _read(self) -> None:
        try:
            while self._step():
                pass
        finally:
            with self._changed:
                left = list(self._held.values())
                self._held.clear()
                self._over = True
                self._changed.notify_all()
            for one in left:
                one.end()
            self._sock.close()
            self._tell()

    def _step(self) -> bool:
        """Whether to go on."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        ready = poll.poll(LOOK_S * 1000 if self._held else None)
        try:
            data = self._sock.recv(_CHUNK) if ready else None
            frames = self._framer.feed(data) if data else []
            messages = [msgspec.json.decode(frame, type=_Message) for frame in frames]
        except (OSError, BadInput, msgspec.MsgspecError, UnicodeError, RecursionError):
            return False  # the core does not write such things: whoever does gets nothing more out of us
        for message in messages:
            self._apply(message)
        self._expire()
        return data != b""

    def _apply(self, message: _Message) -> None:
        with self._changed:
            name = message.give or message.drop
            held = self._held.get(name)
            if message.give and held is not None and held.values == message.values:
                held.expires_at = message.expires_at  # renewed: what works with it goes on
                return
            gone = self._held.pop(name, None)
            if message.give and len(self._held) < MAX_HELD:
                self._held[message.give] = Given(message.values, message.expires_at, message.whose)
                self._changed.notify_all()
        if gone is not None:
            gone.end()

    def _expire(self) -> None:
        now = self._clock.now()
        with self._changed:
            over = [name for name, one in self._held.items() if one.expires_at <= now]
            gone = [self._held.pop(name) for name in over]
        for one in gone:
            one.end()


_CURRENT: Final[ContextVar[Given]] = ContextVar("credential")


@contextmanager
def during(given: Given) -> Generator[None]:
    """The call in this context works with this credential; so do threads that are given the context."""
    token = _CURRENT.set(given)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Given:
    """The credential of the call under way. Raises Unavailable (``credential_missing``)."""
    found = _CURRENT.get(None)
    if found is None:
        raise Unavailable("this call came without a credential", code="credential_missing")
    return found


def _ended() -> Refused:
    return Refused("the credential of this call was withdrawn, or has expired", code="credential_ended",
                   remedy="ask again")
