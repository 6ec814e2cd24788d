"""Agents that talk to each other, as the core runs it: their SVIDs in the sidecars, their listeners, who comes.

A sidecar holds an agent's SVID only while that agent is launched. Who knocks at a listener is judged here, by the
strict verifier, before one byte of a request is looked at, and again before each piece of an answer.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from uvicorn.config import Config

from ringwall.call import Call, Denied, Json, LaunchId, Peer, SessionId
from ringwall.clock import Clock
from ringwall.doors.interface import App
from ringwall.doors.protocol import Door
from ringwall.doors.shares import Shares
from ringwall.errors import Refused, RingwallError
from ringwall.flow.book import LabelBook
from ringwall.identity.pidfd import HasOptions
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.interface import Authority
from ringwall.manifest.types import Agent
from ringwall.peers.interface import PeerConnection
from ringwall.peers.line import PeerLine
from ringwall.peers.protocol import Incoming
from ringwall.runtime.callers import Callers, Place
from ringwall.runtime.runs import Tasks
from ringwall.runtime.sessions import Session, Sessions

RETRY_SECONDS: Final = 10.0  # after an SVID could not be had
PORT_SECONDS: Final = 1.0  # after a port could not: the sidecar closes its copy of the one before in milliseconds
LOOK_SECONDS: Final = 5.0  # the wall clock may jump while we sleep: until we look, nobody is reached
KEEP_ALIVE_SECONDS: Final = 300
BACKLOG: Final = 1024


@dataclass(slots=True, kw_only=True)
class _Talking:
    """One launch of an agent that talks to others."""

    session: Session
    spiffe_id: SpiffeId
    agent: Agent
    inside: tuple[int, ...]
    listener: socket.socket | None = None
    fronted: bool = False
    renewing: asyncio.Task[None] | None = None
    door: Door | None = None
    handed: bool = False  # this sidecar has the inside sockets: twice would be one socket for two conversations
    gated: bool = False  # and the listener

    @property
    def listening(self) -> bool:
        """Whether it is this launch that the agent's peers reach."""
        return self.fronted or self.listener is not None

    @property
    def place(self) -> Place:
        """Where its peers come to."""
        return Place(receiver=self.spiffe_id, launch=self.session.launch, session=self.session.id)


class Front(Protocol):
    """An Envoy that stands in front and ends the TLS instead of the sidecars. See ``fronting``."""

    async def open(self, place: Place, /) -> None:
        """Take what came for this launch. Raises RingwallError."""
        ...

    async def close(self, launch: LaunchId, /) -> None:
        """Take nothing more for it. Harmless where there is nothing."""
        ...


class Peering:
    """All of it, for one core.

    Args:
        callers: judges who comes, and knows who is there.
        authority: issues SVIDs, knows bundles.
        sessions: of launches.
        book: labels.
        clock: what time it is.
        tasks: background work whose fault ends the core.
        app: the peers' door.
        begins: told of each session that may talk, before it does.
        front: ends the TLS of those who come; None: the sidecars do.

    """

    def __init__(
        self,
        *,
        callers: Callers,
        authority: Authority,
        sessions: Sessions,
        book: LabelBook,
        clock: Clock,
        tasks: Tasks,
        app: Callable[[], App],
        begins: Callable[[SessionId, SpiffeId], None],
        front: Front | None = None,
    ) -> None:
        self._callers = callers
        self._authority = authority
        self._sessions = sessions
        self._book = book
        self._clock = clock
        self._tasks = tasks
        self._app = app
        self._begins = begins
        self._front = front
        self._lines: dict[str, PeerLine] = {}
        self._talking: dict[LaunchId, _Talking] = {}
        self._waiting: dict[int, PeerConnection] = {}  # by descriptor, until its door has taken it
        self._ends: dict[int, asyncio.TimerHandle] = {}  # by connection: when its certificate expires
        self.problems: dict[str, str] = {}

    # --- sidecars

    def serve(self, lines: Mapping[str, PeerLine]) -> None:
        """Take the tenants' lines; from now on whatever a fresh sidecar must know is told to it."""
        self._lines = dict(lines)
        for tenant, line in lines.items():
            line.on_incoming = lambda knock, tenant=tenant: self._knock(tenant, knock)
            line.on_up = lambda tenant=tenant: self._tasks.start(self._tell_all(tenant))
            self._tasks.start(self._tell_all(tenant))
        self._authority.on_change(lambda: self._tasks.start(self._trust_all()))

    def line(self, tenant: str) -> PeerLine | None:
        """The line of a tenant's sidecar."""
        return self._lines.get(tenant)

    async def _trust_all(self) -> None:
        for tenant in self._lines:
            await self._trying(tenant, self._trust(tenant))

    async def _trust(self, tenant: str) -> None:
        await self._lines[tenant].trust(self._authority.bundles())

    async def _tell_all(self, tenant: str) -> None:
        """A fresh sidecar: trust, then each launch."""
        if not await self._trying(tenant, self._trust(tenant)):
            return
        for launch, talking in list(self._talking.items()):
            if talking.spiffe_id.tenant == tenant:
                talking.handed = talking.gated = False
                self._renew(launch, talking)

    async def _trying(self, whose: str, work: Awaitable[None]) -> bool:
        """Whether it worked; what did not is shown, and tried again with the next sidecar."""
        try:
            await work
        except RingwallError as fault:
            self.problems[whose] = str(fault)
            return False
        self.problems.pop(whose, None)
        return True

    # --- launches

    async def add(self, session: Session, spiffe_id: SpiffeId, agent: Agent, inside: Sequence[int]) -> None:
        """A launch may talk from now on. ``inside``: sockets of its network namespace, which stay its child's."""
        if not talks(agent) or spiffe_id.tenant not in self._lines:
            return
        self._begins(session.id, spiffe_id)
        talking = self._talking[session.launch] = _Talking(
            session=session, spiffe_id=spiffe_id, agent=agent, inside=tuple(inside)
        )
        await self._open(talking)
        self._renew(session.launch, talking)

    async def _open(self, talking: _Talking) -> None:
        """Make the listener, unless another launch of the same agent has it."""
        address = talking.agent.listen
        if not address or any(other.listening and other.agent.listen == address
                              for other in self._talking.values()):
            return
        if self._front is not None:
            await self._behind(self._front, talking)
            return
        host, _, port = address.rpartition(":")
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            talking.listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
        except OSError as fault:
            what = f"nothing can listen on {address}: {fault.strerror}"
            if self.problems.get(address) != what:  # it is tried again: the one before may be about to end
                print(f"ringwall: {talking.spiffe_id}: {what}", file=sys.stderr, flush=True)
            self.problems[address] = what
            return
        self.problems.pop(address, None)
        talking.listener.setblocking(False)
        config = Config(
            self._app(),  # pyright: ignore[reportArgumentType] (ASGI, typed without uvicorn's private types)
            http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        talking.door = Door(config, _Admitted(self), shares=shares)

    async def _behind(self, front: Front, talking: _Talking) -> None:
        try:
            await front.open(talking.place)
        except RingwallError as fault:
            self.problems[talking.agent.listen] = str(fault)
            print(f"ringwall: {talking.spiffe_id}: {fault}", file=sys.stderr, flush=True)
            return
        talking.fronted = True

    def _renew(self, launch: LaunchId, talking: _Talking) -> None:
        if talking.renewing is not None:
            talking.renewing.cancel()
        talking.renewing = asyncio.create_task(self._identity(launch, talking))

    async def _identity(self, launch: LaunchId, talking: _Talking) -> None:
        """Give the sidecar an SVID and what belongs to it, then a new one at half of its life, for ever."""
        who, line = str(talking.spiffe_id), self._lines[talking.spiffe_id.tenant]
        while True:
            since = until = self._clock.now()
            try:
                svid = await self._authority.x509_svid(talking.spiffe_id, launch)
                await line.identity(svid, launch)
                await self._hand_over(line, launch, talking)
                self.problems.pop(who, None)
                until += max(1.0, (svid.expires_at - since) / 2)
            except RingwallError as fault:  # or frozen, or over: `ringwall thaw` launches nothing, so look again
                self.problems[who] = str(fault)
                until += RETRY_SECONDS
            # By the wall clock, which may jump while we sleep; back, and the SVID is one of the future.
            while since - LOOK_SECONDS <= (now := self._clock.now()) < until:
                closed = not talking.listening and talking.agent.listen in self.problems
                await asyncio.sleep(min(until - now, PORT_SECONDS if closed else LOOK_SECONDS))
                if closed:
                    await self._trying(who, self._hand_over(line, launch, talking))

    async def _hand_over(self, line: PeerLine, launch: LaunchId, talking: _Talking) -> None:
        """What this sidecar does not have yet."""
        if talking.inside and not talking.handed:
            await line.inside(launch, talking.inside)
            talking.handed = True
        if not talking.listening:
            await self._open(talking)
        if talking.listener is not None and not talking.gated:
            await line.gate(launch, talking.listener)
            talking.gated = True

    async def remove(self, launch: LaunchId) -> None:
        """The launch is over: its listener closes, or goes to another launch of the same agent."""
        talking = self._talking.pop(launch, None)
        if talking is None:
            return
        if talking.renewing is not None:
            talking.renewing.cancel()
        for problem in (str(talking.spiffe_id), talking.agent.listen):
            self.problems.pop(problem, None)
        line = self._lines[talking.spiffe_id.tenant]
        await self._trying(talking.spiffe_id.tenant, line.dismiss(launch))
        if talking.door is not None:
            talking.door.disconnect()
        if talking.fronted and self._front is not None:
            await self._front.close(launch)
        if talking.listener is not None:
            talking.listener.close()
        if not talking.listening:
            return
        for other_launch, other in list(self._talking.items()):
            if other.spiffe_id == talking.spiffe_id:
                await self._open(other)
                self._renew(other_launch, other)
                break

    async def close(self) -> None:
        """End everything."""
        for launch in list(self._talking):
            await self.remove(launch)

    # --- who comes

    async def _knock(self, tenant: str, knock: Incoming) -> socket.socket | None:
        """Judge a certificate; the sidecar's end of the connection, or None."""
        launch = LaunchId(knock.launch)
        talking = self._talking.get(launch)
        if talking is None or talking.door is None or talking.spiffe_id.tenant != tenant:
            return None
        try:
            proved = self._callers.judge(talking.place, knock.chain)
            connection = self._callers.admit(talking.place, proved, knock.chain)
        except Refused:
            return None
        try:
            return await self._connect(talking.door, connection)
        except OSError:  # no descriptors are left
            self._callers.gone(connection)
            self._callers.refused(talking.place, "too_many_connections", str(proved.spiffe_id))
            return None

    async def _connect(self, door: Door, connection: PeerConnection) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._waiting[ours.fileno()] = connection
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(door.protocol, ours)
        # A connection lives no longer than the certificate that proved it, and its timer no longer than itself:
        # certificates of others may have years.
        if self._callers.there(connection):
            left = max(0.0, connection.expires_at - self._clock.now())
            self._ends[connection.number] = loop.call_later(left, transport.abort)
        return theirs

    def taken(self, descriptor: int) -> PeerConnection | Denied:
        """Its door has it now."""
        return self._waiting.pop(descriptor, None) or Denied(code="peer_unknown", reason="nobody was admitted")

    def gone(self, connection: PeerConnection) -> None:
        """It is closed."""
        self._callers.gone(connection)
        end = self._ends.pop(connection.number, None)
        if end is not None:
            end.cancel()

    # --- labels, status

    def label(self, call: Call) -> str:
        """Of all that the calling process, or the receiver of the message, was shown so far."""
        session = self._sessions.get(call.session)
        return str(self._book.current(session.context)) if session is not None else "U secret"

    def receivers_label(self, peer: Peer) -> str:
        """Of all that the receiver was shown so far."""
        talking = self._talking.get(peer.launch)
        return str(self._book.current(talking.session.context)) if talking is not None else "U secret"

    def status(self) -> Json:
        """For ``ringwall status``."""
        return {
            "terminator": "sidecar" if self._front is None else "envoy",
            "listening": {
                str(one.spiffe_id): {"address": one.agent.listen, "connections": self._callers.count(launch)}
                for launch, one in self._talking.items()
                if one.listening
            },
            "problems": dict(self.problems),
        }


class _Admitted:
    """Connections that the core let in, for their door."""

    def __init__(self, peering: Peering) -> None:
        self._peering = peering

    def open(self, sock: HasOptions) -> PeerConnection | Denied:
        """See ``doors.interface.Peers``."""
        return self._peering.taken(sock.fileno())  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType, reportUnknownArgumentType]

    def close(self, connection: PeerConnection) -> None:
        """See ``doors.interface.Peers``."""
        self._peering.gone(connection)


def shares(connection: PeerConnection) -> Shares:
    """Of the memory for requests to one agent: a peer gets a quarter at most, its tenant or trust domain a half."""
    who = connection.sender
    whole = f"{who.trust_domain}/{who.path[1]}" if who.trust_domain == connection.receiver.trust_domain \
        and len(who.path) > 1 else who.trust_domain
    return (str(who), 4), (whole, 2)


def talks(agent: Agent) -> bool:
    """Whether an agent sends or takes messages at all."""
    return bool(agent.send or agent.receive)


