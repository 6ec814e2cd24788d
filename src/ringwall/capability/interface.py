"""What resolving a message needs of others: whose task is whose, and what a core vouches for."""

from __future__ import annotations

from typing import Literal, Protocol

from ringwall.call import SessionId
from ringwall.identity.spiffe import SpiffeId

Direction = Literal["out", "in"]


class Two(Protocol):
    """The two agents of a task: see ``peers.task.Pair``."""

    @property
    def local(self) -> SpiffeId: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def other(self) -> str: ...


class Push(Protocol):
    """A configuration for push notifications: see ``peers.pushes.Push``."""

    @property
    def pair(self) -> Two: ...
    @property
    def task(self) -> str: ...


class Pushes(Protocol):
    """Who asked to be told of which task: see ``peers.pushes.Pushes``."""

    def get(self, name: str) -> Push:
        """By our name for it. Raises BadInput (``unknown_push``)."""
        ...


class Tasks(Protocol):
    """Whose task is whose: see ``peers.tasks.TaskBook``."""

    @property
    def pushes(self) -> Pushes: ...

    def skill(self, *, local: SpiffeId, direction: Direction, other: str, task: str) -> str:
        """The skill of a task of these two. Raises BadInput (``unknown_task``)."""
        ...

    def open_for_message(self, *, local: SpiffeId, direction: Direction, other: str, task: str = "",
                         context: str = "") -> None:
        """Raises BadInput: no message may go to this task or context, or no new task may begin."""
        ...

    def acting_for(self, session: SessionId | None) -> tuple[str, ...]:
        """On whose behalf this session works now."""
        ...


class Said(Protocol):
    """What an opened envelope says: see ``peers.envelope.Envelope``."""

    @property
    def label(self) -> str: ...
    @property
    def chain(self) -> tuple[str, ...]: ...
    @property
    def record(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def trace(self) -> str: ...


class Opens(Protocol):
    """Opens envelopes: see ``peers.envelope.Envelopes``."""

    def open(self, token: str, *, sender: str, receiver: str, body: bytes, reply_to: str = "") -> Said:
        """Raises Refused (``envelope_...``)."""
        ...
