"""What messages between agents need of their surroundings."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ringwall.call import Json, Last, LaunchId, SessionId
from ringwall.identity.spiffe import AnyId, SpiffeId


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnection:
    """One connection of a peer to the listener of an agent of ours.

    Args:
        number: names it.
        sender: who it is, proved by the certificate of the connection.
        receiver: the agent whose listener it came to.
        launch: of the receiver.
        session: of the receiver.
        serial: of the certificate, lower-case hex.
        expires_at: of the certificate, seconds since the epoch.

    """

    number: int
    sender: AnyId
    receiver: SpiffeId
    launch: LaunchId
    session: SessionId
    serial: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One JSON-RPC answer, or the data of one event of a streamed answer; ``envelope`` as it came beside it."""

    body: bytes
    envelope: str = ""


class Line(Protocol):
    """A tenant's sidecar, as the effect of messages sees it. Each ends with a Last, whatever happens."""

    def send(
        self, *, launch: str, peer: str, url: str, body: bytes, envelope: str, stream: bool, call: str
    ) -> AsyncGenerator[Answer | Last, None]:
        """To a peer, over mutual TLS, as this launch."""
        ...

    def deliver(
        self, *, launch: str, port: int, body: bytes, stream: bool, call: str
    ) -> AsyncGenerator[Answer | Last, None]:
        """To the own server of a launched agent, inside its network namespace."""
        ...

    async def notify(self, *, launch: str, port: int, path: str, body: bytes, token: str) -> Last:
        """POST a push notification to the agent itself; any answer of 2xx is the end ``done``."""
        ...

    async def card(self, *, launch: str, peer: str, url: str) -> bytes:
        """A peer's card as it comes. Raises Unavailable or Refused."""
        ...

    async def own_card(self, *, launch: str, port: int) -> bytes:
        """The card that an agent's own server gives. Raises Unavailable."""
        ...


class Vouching(Protocol):
    """What this core says of what leaves, and what it believes of what comes. See ``peers.envelope``."""

    def seal(
        self, *, sender: str, receiver: str, body: bytes, label: str, chain: Sequence[str], record: str, trace: str,
        reply_to: str = "",
    ) -> tuple[str, str]:
        """A signature over all of this, and its id."""
        ...

    def open(self, token: str, *, sender: str, receiver: str, body: bytes, reply_to: str = "") -> Vouched:
        """What was vouched for. Raises Refused (``envelope_...``)."""
        ...


class Vouched(Protocol):
    """What an opened envelope says."""

    @property
    def label(self) -> str: ...


class Views(Protocol):
    """A task as an answer shows it: see ``wire.a2a.task_of``."""

    @property
    def task(self) -> str: ...
    @property
    def context(self) -> str: ...
    @property
    def state(self) -> str: ...


def answers(token: str, number: int = 0) -> str:
    """What the envelope of an answer says it answers: the request's own envelope, by its SHA-256.

    Args:
        token: that envelope.
        number: of an event in a stream, from 0: so that who carries them can neither repeat nor exchange any.

    """
    asked = f"{number}#{token}"  # in this order: a text that somebody calls an envelope may end in a number
    return hashlib.sha256(asked.encode("ascii", "replace")).hexdigest()


def error_chunk(code: int, message: str, data: Json) -> Json:
    """A server's own error on its way through the rings: the closed schemas know no result of this shape."""
    return {"error": {"code": code, "message": message, **({} if data is None else {"data": data})}}
