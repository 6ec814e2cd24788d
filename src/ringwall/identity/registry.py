"""Launched agents, their connections, and the one question: is this connection's process really this agent's?

The launcher registers the pidfd of each process it starts, while that is still unreaped. A connection keeps
the pidfd of whoever called connect(). Both pin their process, so a recycled number, an exec, a handed-over
socket of a dead process or a fork cannot make one look like the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

from ringwall.call import Denied, LaunchId, SessionId
from ringwall.errors import Unavailable
from ringwall.identity import pidfd
from ringwall.identity.clients import Clients
from ringwall.identity.operators import OperatorConnection
from ringwall.identity.probe import Probe, Sender, Strength
from ringwall.identity.registered import Registered, by_number
from ringwall.identity.sending import compare, foreign
from ringwall.identity.spiffe import SpiffeId

MAX_CONNECTIONS: Final = 128  # of one launch: more than a thread pool needs; each costs the core two descriptors


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A process the runtime started. The registry duplicates both descriptors and closes its own copies.

    Args:
        id: names the launch.
        spiffe_id: who the process is.
        pidfd: of the launched process, opened while it was unreaped.
        pidns_fd: its pid namespace; None where there is none, and then ``tree`` accepts nobody but itself.
        processes: ``one``, only the launched process may call; ``tree``, descendants too.
        session: the task this launch works on.
        confined: False only after ``--unconfined``.
        strength: of the confinement, as the launcher found it.

    """

    id: LaunchId
    spiffe_id: SpiffeId
    pidfd: int
    pidns_fd: int | None
    processes: Literal["one", "tree"]
    session: SessionId
    confined: bool
    strength: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One accepted connection of a launch's door. ``peer`` is None when the kernel named no process.

    ``inside``: it came over the loopback of the launch's own network, which nobody else can reach; the kernel names
    no process of a TCP connection.
    """

    number: int
    launch: Launch
    peer: int | None
    inside: bool = False
    started: int = 0  # start time of the peer, read at accept; used by the weak method only
    key: tuple[int, int] | None = None  # pidfd.key(peer); used by the inode method, which tells senders by it
    client: OperatorConnection | None = None  # of a client that nobody launched


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """This connection's process lives and belongs to this launch, now."""

    launch: LaunchId
    spiffe_id: SpiffeId
    session: SessionId
    number: int  # 0: the launched process; n: a descendant, by its number in the agent's pid namespace
    strength: Strength
    confined: bool
    confinement: str
    sender: Sender = "connection"  # "every read": nobody but this process can have sent the request
    via: Via = "process"


Via = Literal["process", "namespace", "none"]
"""How the caller is known. ``namespace``: as some process of the launch, number 0 or not; ``none``: as some process
of this user, which nobody launched."""


def nobody(who: SpiffeId) -> str:
    """No agent is frozen."""
    return ""


def _ignored(launch: LaunchId) -> None:
    """Nobody wants to know."""


class Registry:
    """Registered launches and open connections. Used from one thread.

    ``on_withdraw`` is told of each launch that is withdrawn, ``on_foreign`` of each connection that another process
    than its own wrote to, as often as an agent likes; one listener each, set once.

    Args:
        probe: how processes are told apart on this machine.
        frozen: why an agent is frozen; empty if it is not.
        max_connections: of one launch at a time.

    """

    def __init__(
        self, probe: Probe, *, frozen: Callable[[SpiffeId], str] = nobody, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self.probe = probe
        self._frozen = frozen
        self._max = max_connections
        self._launches: dict[LaunchId, Registered] = {}
        self._connections: dict[int, Connection] = {}
        self._numbers = count(1)
        self._clients = Clients(probe, max_connections=max_connections)
        self._foreign: set[int] = set()  # open connections that another process wrote to
        self.on_withdraw: Callable[[LaunchId], None] = _ignored
        self.on_foreign: Callable[[Connection, Denied], None] = lambda connection, why: None

    def register(self, launch: Launch) -> None:
        """From now on this launch may be attested.

        Raises:
            Unavailable: the id is taken, the process is dead already, or a descriptor is no pidfd.

        """
        if launch.id in self._launches:
            raise Unavailable(f"launch {launch.id} is registered already", code="launch_exists")
        try:
            self._launches[launch.id] = Registered.of(launch)
        except (OSError, ValueError) as fault:
            cause = f"the descriptors of launch {launch.id} cannot be used: {fault}"
            raise Unavailable(cause, code="bad_pidfd") from fault

    def withdraw(self, launch: LaunchId) -> None:
        """Nothing of this launch is attested any more; its open connections are refused from now on."""
        gone = self._launches.pop(launch, None)
        if gone is not None:
            gone.close()
            self.on_withdraw(launch)

    def entitled(self, spiffe_id: SpiffeId, launch: LaunchId) -> Denied | None:
        """Why this launch may not have an SVID of this ID now; None: it may."""
        found = self._launches.get(launch)
        if found is None or not pidfd.alive(found.pidfd):
            return _denied("launch_withdrawn", "this agent is not running any more")
        if found.launch.spiffe_id != spiffe_id:
            return _denied("identity_mismatch", "this launch has another identity")
        return self._thawed(found.launch.spiffe_id)

    def receives(self, spiffe_id: SpiffeId, launch: LaunchId, session: str | None) -> Denied | None:
        """Why nothing may be delivered to this launch, under this ID and in this session; None: it may."""
        refused = self.entitled(spiffe_id, launch)
        if refused is None and session is not None and session != self._launches[launch].launch.session:
            return _denied("identity_mismatch", "this launch works in another session")
        return refused

    def thawed(self, who: SpiffeId) -> Denied | None:
        """Why this agent may do nothing now: it is frozen; None: it is not."""
        return self._thawed(who)

    def open(self, launch: LaunchId, sock: pidfd.HasOptions) -> Connection | Denied:
        """Take the peer of a freshly accepted connection.

        A peer that the kernel does not name still gets a connection, so that its call is refused on the
        record; only an unknown launch and a flood are turned away here.
        """
        found = self._room(launch)
        if isinstance(found, Denied):
            return found
        peer, started = self._peer(sock)
        key = pidfd.key(peer) if peer is not None and self.probe.method == "inode" else None
        connection = Connection(
            number=next(self._numbers), launch=found.launch, peer=peer, started=started, key=key
        )
        return self._keep(connection, found)

    def open_inside(self, launch: LaunchId) -> Connection | Denied:
        """A connection that was accepted on the loopback of this launch's own network.

        The caller vouches that the listener was made in that network, before the program started.
        """
        found = self._room(launch)
        if isinstance(found, Denied):
            return found
        if not found.launch.confined:  # it shares the host's network
            return _denied("peer_unknown", "an unconfined agent has no network of its own to be known by")
        connection = Connection(number=next(self._numbers), launch=found.launch, peer=None, inside=True)
        return self._keep(connection, found)

    def open_client(self, launch: LaunchId, sock: pidfd.HasOptions) -> Connection | Denied:
        """A connection of a client that nobody launched; the launch's process is the core itself then."""
        found = self._room(launch)
        if isinstance(found, Denied):
            return found
        client = self._clients.open(sock)
        if isinstance(client, Denied):
            return client
        connection = Connection(number=next(self._numbers), launch=found.launch, peer=None, client=client)
        return self._keep(connection, found)

    def _room(self, launch: LaunchId) -> Registered | Denied:
        found = self._launches.get(launch)
        if found is None:
            return Denied(code="launch_withdrawn", reason="this agent is not running any more")
        if found.connections >= self._max:
            return Denied(
                code="too_many_connections",
                reason=f"this agent has {self._max} connections open already",
                remedy="close connections, or use each for many calls",
                retry_after=1.0,
            )
        return found

    def _keep(self, connection: Connection, found: Registered) -> Connection:
        self._connections[connection.number] = connection
        found.connections += 1
        return connection

    def close(self, connection: Connection) -> None:
        """The connection is over. Harmless when repeated."""
        if self._connections.pop(connection.number, None) is None:
            return
        self._foreign.discard(connection.number)
        if connection.peer is not None:
            os.close(connection.peer)
        if connection.client is not None:
            self._clients.close(connection.client)
        found = self._launches.get(connection.launch.id)
        if found is not None and found.launch is connection.launch:
            found.connections -= 1

    def sender(self, number: int, process: int | None) -> Denied | None:
        """Why bytes that this process sent over a connection do not count; None: its peer has sent them.

        A denial is for good: nobody is attested over this connection again. Where the tree may call, each process
        opens a connection of its own.

        Args:
            number: ``Connection.number``.
            process: pidfd of the sender, as the kernel put it beside the bytes; None if it named nobody. Stays the
                caller's. Costs some 2 us, 60 us by the number method.

        """
        connection = self._connections.get(number)
        if connection is None:
            return _denied("connection_closed", "the connection this call came over is closed")
        if connection.peer is None:
            return None  # nobody is attested over it anyway; the call is refused on the record
        denied = compare(connection.peer, connection.key, process)
        if denied is not None and number not in self._foreign:
            self._foreign.add(number)
            self.on_foreign(connection, denied)
        return denied

    def attest(self, number: int) -> Attestation | Denied:
        """Whether the process behind this connection lives now and belongs to its launch.

        Args:
            number: ``Connection.number``. Costs some 15 us, 40 us for a descendant.

        """
        connection = self._connections.get(number)
        if connection is None:
            return _denied("connection_closed", "the connection this call came over is closed")
        if number in self._foreign:
            return foreign()
        found = self._launches.get(connection.launch.id)
        if found is None or found.launch is not connection.launch:
            return _denied("launch_withdrawn", "this agent is not running any more")
        return self._thawed(found.launch.spiffe_id) or self._compare(connection, found)

    def _thawed(self, who: SpiffeId) -> Denied | None:
        why = self._frozen(who)
        if not why:
            return None
        return Denied(code="frozen", reason="this agent is frozen", remedy="ask the operator", detail={"why": why})

    def _compare(self, connection: Connection, found: Registered) -> Attestation | Denied:
        if connection.inside:
            return self._within(found)
        if connection.client is not None:
            return self._clients.refused(connection.client) or self._attested(found, 0, "none")
        peer = connection.peer
        if peer is None or self.probe.method == "none":
            return _denied("peer_unknown", "the kernel does not say which process opened this connection")
        if connection.key == found.key:  # by inode, the launched process itself: both pidfds keep it from reuse
            return self._attested(found, 0, "process") if pidfd.alive(found.pidfd) else _dead()
        # Alive before and after: what was read in between was then read of a living process.
        if not pidfd.alive(found.pidfd, peer):
            return _dead()
        try:
            inside = self._number(connection, peer, found)
        except (OSError, ValueError) as fault:
            return _denied("peer_unknown", "the process behind this connection cannot be told", str(fault))
        if not pidfd.alive(found.pidfd, peer):
            return _dead()
        if inside is None:
            return _denied("peer_foreign", "only the launched process may call, and this is another one")
        return self._attested(found, inside, "process")

    def _within(self, found: Registered) -> Attestation | Denied:
        """Over its own loopback: while the launched process lives, pid 1 of its namespaces, so do they."""
        if not pidfd.alive(found.pidfd):
            return _denied("peer_dead", "the agent has exited")
        return self._attested(found, 0, "namespace")

    def _attested(self, found: Registered, number: int, via: Via) -> Attestation:
        return Attestation(
            launch=found.launch.id,
            spiffe_id=found.launch.spiffe_id,
            session=found.launch.session,
            number=number,
            strength=self.probe.strength if via != "none" else "none",
            confined=found.launch.confined,
            confinement=found.launch.strength,
            via=via,
            sender=self.probe.sender if via == "process" else "connection",
        )

    def _number(self, connection: Connection, peer: int, found: Registered) -> int | None:
        """0: the launched process; n: a descendant; None: another process. Raises OSError."""
        if self._same(connection, peer, found):
            return 0
        if found.launch.processes == "one" or found.pidns is None or not self.probe.tree:
            return None
        outer = pidfd.number(peer)
        if outer <= 0:
            raise OSError("the process was reaped, or lives outside our pid namespace")
        inner = pidfd.number_inside(found.pidns, outer)
        if inner <= 0:
            raise OSError("the process has no number in the agent's pid namespace")
        return inner

    def _same(self, connection: Connection, peer: int, found: Registered) -> bool:
        if self.probe.method == "inode":
            return pidfd.key(peer) == found.key
        seen = pidfd.number(peer)
        if seen <= 0:
            raise OSError("the process was reaped, or lives outside our pid namespace")
        same = seen == pidfd.number(found.pidfd)
        if self.probe.method == "peercred":
            return same and connection.started == found.started
        return same

    def _peer(self, sock: pidfd.HasOptions) -> tuple[int | None, int]:
        """The peer's pidfd and, for the weak method, its start time."""
        try:
            if self.probe.method in {"inode", "number"}:
                return pidfd.peer_pidfd(sock), 0
            if self.probe.method == "peercred":
                return by_number(pidfd.peer_credentials(sock).pid)
        except (OSError, ValueError):
            pass  # nobody can be named: attest() refuses and says so
        return None, 0


def _dead() -> Denied:
    return _denied("peer_dead", "the process that opened this connection, or its agent, has exited")


def _denied(code: str, reason: str, why: str = "") -> Denied:
    return Denied(
        code=code,
        reason=reason,
        remedy="call from the process that `ringwall run` started",
        detail={"why": why} if why else {},
    )
