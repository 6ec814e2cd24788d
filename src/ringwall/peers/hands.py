"""What the sidecar does about peers: keys and trust in memory, gates, connections both ways. Decides nothing.

Frames of the link and descriptors of the socket beside it have no common order: whichever comes first for a launch
makes a place for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Final

from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.peers import http, local, tls
from ringwall.peers.client import PeerClient
from ringwall.peers.connection import PeerFault
from ringwall.peers.gate import Admission, Gate
from ringwall.peers.protocol import (
    Admit,
    Deliver,
    Dismiss,
    FetchCard,
    FetchOwn,
    Identity,
    Incoming,
    Inside,
    Notify,
    PeerCall,
    PeerNews,
    PeerPiece,
    Pipe,
    SendPeer,
    Trust,
)
from ringwall.peers.protocol import Gate as GateMessage
from ringwall.tools.protocol import Ended

MAX_GONE: Final = 1024  # dismissed launches that are remembered: descriptors for them may still be on the way


class _Launch:
    """What was given for one launch."""

    def __init__(self, owner: Hands, name: str) -> None:
        self._owner = owner
        self._contexts: tls.Contexts | None = None
        self._made_for = -1  # which trust
        self._identity: Identity | None = None
        self._name = name
        self.gate: Gate | None = None
        self.inside = local.InsideSockets()
        self.client = PeerClient(
            context=self._client_context,
            until=self._until,
            trust=lambda: owner.trusted,
            verifier=owner.verifier,
            clock=owner.clock,
        )

    def identify(self, identity: Identity) -> None:
        """Take a (newer) SVID. Raises BadInput: it cannot be used."""
        self._identity = identity
        self._contexts = self._make(identity)

    def listen(self, listener: socket.socket) -> Gate | None:
        """Open the gate; the one that was there before is returned, to be closed."""
        before = self.gate
        self.gate = Gate(
            launch=self._name, listener=listener, context=self._server_context, until=self._until,
            admission=self._owner.admission, clock=self._owner.clock,
        )
        return before

    async def close(self) -> None:
        """Forget the key, close everything."""
        self._identity = self._contexts = None
        self.client.close()
        self.inside.close()
        if self.gate is not None:
            await self.gate.close()

    def _make(self, identity: Identity) -> tls.Contexts:
        self._made_for = self._owner.trusted
        return tls.contexts(identity.chain, identity.key, self._owner.authorities())

    def _current(self) -> tls.Contexts | None:
        """For the next handshake: of the newest SVID and the newest trust."""
        if self._identity is None or self._identity.expires <= self._owner.clock.now():
            return None
        if self._contexts is None or self._made_for != self._owner.trusted:
            try:
                self._contexts = self._make(self._identity)
            except BadInput:  # it was good before: descriptors have run out; the next handshake tries again
                self._contexts = None
        return self._contexts

    def _server_context(self) -> ssl.SSLContext | None:
        found = self._current()
        return found.server if found is not None else None

    def _client_context(self) -> ssl.SSLContext | None:
        found = self._current()
        return found.client if found is not None else None

    def _until(self) -> float:
        return self._identity.expires if self._identity is not None else 0.0


class Hands:
    """Of one sidecar.

    Args:
        tell: sends to the core.
        clock: for the validity of certificates.

    """

    def __init__(self, tell: Callable[[Incoming | PeerPiece], None], clock: Clock) -> None:
        self._tell = tell
        self.clock = clock
        self._bundles: dict[str, Bundle] = {}
        self.trusted = 0
        """Grows with every word about whom to trust."""
        self.verifier = X509Verifier(lambda: self._bundles, clock)
        self.admission = Admission(tell)
        self._launches: dict[str, _Launch] = {}
        self._gone: dict[str, None] = {}  # in order
        self._closing: set[asyncio.Task[None]] = set()

    def authorities(self) -> list[bytes]:
        """Of every trust domain: what OpenSSL is told."""
        return [der for bundle in self._bundles.values() for der in bundle.authorities]

    def obey(self, message: PeerNews) -> None:
        """What needs no answer. Raises BadInput: it cannot be done."""
        match message:
            case Identity():
                self._gone.pop(message.launch, None)
                self._launch(message.launch).identify(message)
            case Trust():
                self._bundles = {
                    domain: Bundle(trust_domain=domain, authorities=tuple(found))
                    for domain, found in message.bundles.items()
                }
                self.trusted += 1
            case Dismiss():
                self._dismiss(message.launch)
            case Admit():
                self.admission.admit(message.connection, message.ok)

    def passed(self, message: GateMessage | Inside | Pipe, descriptors: Sequence[int]) -> None:
        """Take sockets, which are ours from now on. Raises BadInput: they are not what they must be."""
        sockets = _sockets(descriptors)
        if not sockets or (len(sockets) != 1 and not isinstance(message, Inside)):
            _close(sockets)
            raise BadInput("the core passed sockets in a way not agreed on", code="bad_frame")
        match message:
            case Pipe():
                self.admission.pipe(message.connection, sockets[0])
            case GateMessage() | Inside() if message.launch in self._gone:
                _close(sockets)
            case Inside():
                self._launch(message.launch).inside.add(sockets)
            case GateMessage():
                before = self._launch(message.launch).listen(sockets[0])
                if before is not None:
                    self._later(before.close())

    async def call(self, message: PeerCall) -> Ended:
        """One exchange: its answers are told, its end returned. Raises BadInput: it asks for the impossible."""
        launch = self._launches.get(message.launch)
        to_agent = isinstance(message, Deliver | Notify | FetchOwn)
        if launch is None:
            code = "agent_unreachable" if to_agent else "peer_unreachable"
            return Ended(id=message.id, end="failed", code=code)
        try:
            if isinstance(message, Notify):
                to = local.at(message.port, message.path)
                await launch.inside.tell(message.port, http.push(to, message.body, message.token))
            else:
                await self._answers(message, launch)
        except PeerFault as fault:
            return Ended(id=message.id, end=fault.end, code=fault.code, status=fault.status)
        return Ended(id=message.id, end="done", status=200)

    async def _answers(self, message: SendPeer | FetchCard | Deliver | FetchOwn, launch: _Launch) -> None:
        """Ask, and tell every answer. Raises PeerFault or BadInput."""
        match message:
            case SendPeer():
                to = http.https(message.url)
                request = http.post(to, message.body, envelope=message.envelope, stream=message.stream)
                answers = launch.client.ask(to, message.peer, request, stream=message.stream)
            case FetchCard():
                to = http.https(message.url)
                answers = launch.client.ask(to, message.peer, http.get(to), stream=False)
            case Deliver():
                to = local.at(message.port, message.path)
                request = http.post(to, message.body, stream=message.stream)
                answers = launch.inside.ask(message.port, request, stream=message.stream)
            case FetchOwn():
                to = local.at(message.port, message.path)
                answers = launch.inside.ask(message.port, http.get(to), stream=False)
        async with aclosing(answers):
            async for event in answers:
                # An agent's own server has no say in what its core vouches for.
                envelope = event.envelope if isinstance(message, SendPeer) else ""
                self._tell(PeerPiece(id=message.id, envelope=envelope, body=event.data))

    async def close(self) -> None:
        """Close everything."""
        await self.admission.close()
        for name in list(self._launches):
            self._dismiss(name)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _launch(self, name: str) -> _Launch:
        found = self._launches.get(name)
        if found is None:
            found = self._launches[name] = _Launch(self, name)
        return found

    def _dismiss(self, name: str) -> None:
        launch = self._launches.pop(name, None)
        self._gone[name] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]
        if launch is not None:
            self._later(launch.close())

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _sockets(descriptors: Sequence[int]) -> list[socket.socket]:
    """Stream sockets; if any is none, all are closed and there are none."""
    made: list[socket.socket] = []
    for at, number in enumerate(descriptors):
        try:
            sock = socket.socket(fileno=number)
        except OSError:
            for left in descriptors[at:]:
                os.close(left)
            _close(made)
            return []
        made.append(sock)
    if any(sock.type != socket.SOCK_STREAM for sock in made):
        _close(made)
        return []
    return made


def _close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
