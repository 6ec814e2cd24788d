"""What doors need from the rest: somebody who names peers, the wall, and for operators the runs.

Doors decide nothing. They turn bytes into questions and answers into bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ringwall.call import Call, Chunk, Denied, Json, Kind, Last, Subject, Trait
from ringwall.identity.pidfd import HasOptions
from ringwall.interface import HeldCall, Listener, Origin, Refusal

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class Peers(Protocol):
    """Names whoever is at the other end of an accepted connection."""

    def open(self, sock: HasOptions) -> Any | Denied:
        """Something to keep with the connection, or why it is turned away at once."""
        ...

    def close(self, connection: Any) -> None:
        """The connection is over. Called once for each that was opened."""
        ...


class Answer(Protocol):
    """A call that was let through, as the wall hands it out (``running.Running``)."""

    record: str
    last: Last | None

    def chunks(self) -> AsyncIterator[Chunk]:
        """Released pieces; ``last`` is set afterwards. Raises interface.Stopped."""
        ...


class Judge(Protocol):
    """The wall, as doors see it. Every failure is a Refusal, not an exception."""

    def knock(self, origin: Origin, kind: Kind, raw: bytes) -> Refusal | None: ...

    def turned_away(self, origin: Origin, kind: Kind, code: str) -> None: ...

    async def admit(
        self, origin: Origin, kind: Kind, raw: bytes, *, counted: bool = False
    ) -> Call | Refusal: ...

    async def weigh(self, origin: Origin, kind: Kind, raw: bytes) -> Denied | None: ...

    def perform(self, call: Call) -> AbstractAsyncContextManager[Answer | HeldCall | Refusal]: ...


class Desk(Protocol):
    """Where held calls wait, as doors see it."""

    async def decided(self, record: str, seconds: float) -> bool:
        """Wait at most so long; whether the held call of this record waits no more."""
        ...


class Ears(Protocol):
    """Listens to tool servers."""

    async def hear(
        self, who: Subject, launch: str, server: str, client: tuple[Trait, ...], listener: Listener
    ) -> None:
        """Listen to one server until cancelled; returns if that cannot be. ``client``: what the listener's own
        client says of itself."""
        ...


class RunStream(Protocol):
    """What one run tells, line by line: ``started``, ``stdout`` and ``stderr`` in Base64, at last ``exit``."""

    def __aiter__(self) -> AsyncIterator[dict[str, Json]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """An operator's act that was done: its answer, and the record of the call."""

    result: Json
    record: str


class Runs(Protocol):
    """Starting agents and talking to them. Every method goes through the wall inside."""

    async def operate(self, origin: Origin, raw: bytes) -> Acted | Refusal:
        """Do any act but ``run`` from the operator's bytes: ``{"verb": ..., "args": {...}}``."""
        ...

    async def upload(self, origin: Origin, name: str, data: bytes) -> Json | Refusal:
        """Keep bytes beside the calls for a moment, recorded nowhere; with a name, add to those. Their name."""
        ...

    async def download(self, origin: Origin, name: str) -> bytes | Refusal:
        """Bytes that an act left for this operator, once."""
        ...

    async def start(self, origin: Origin, raw: bytes) -> RunStream | Refusal:
        """Start a run from the operator's bytes."""
        ...

    async def attach(self, origin: Origin, run: str) -> RunStream | Refusal:
        """Follow a run that was started before, for instance by a core that is gone."""
        ...

    async def stdin(self, origin: Origin, run: str, data: bytes, eof: bool) -> Refusal | None:
        """Hand bytes to the run's standard input, then close it if ``eof``."""
        ...

    async def signal(self, origin: Origin, run: str, name: str) -> Refusal | None:
        """Send a signal by its name, for instance ``SIGTERM``."""
        ...

    async def status(self, origin: Origin) -> Json | Refusal:
        """What runs, at which strength."""
        ...
