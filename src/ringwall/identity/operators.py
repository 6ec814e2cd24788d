"""Who is at the operator socket: a local user in the core's own namespaces.

A uid alone proves nothing here: without root an agent's user namespace maps to the core's own uid. So the peer
must also be in the core's own pid and user namespace, read while the peer's pidfd says that it lives.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

from ringwall.call import Denied, Operator
from ringwall.identity import pidfd
from ringwall.identity.probe import Probe

MAX_OPERATORS: Final = 64  # connections of one operator; each running `ringwall run` holds a few
_NAMESPACES: Final = ("pid", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConnection:
    """One accepted connection of the operator socket."""

    number: int
    peer: int | None
    pid: int
    uid: int


class OperatorPeers:
    """Open connections of the operator socket. Used from one thread.

    Args:
        probe: how processes are told apart on this machine.
        named: who may operate, uid -> name. None or empty: root and the core's own user, by their user names.
        max_connections: of one operator at a time, and of all other users together: nobody keeps another from
            the kill switch.

    """

    def __init__(
        self, probe: Probe, *, named: Mapping[int, str] | None = None, max_connections: int = MAX_OPERATORS
    ) -> None:
        self._probe = probe
        self._max = max_connections
        self._names = dict(named) if named else {uid: _name(uid) for uid in (0, os.geteuid())}
        self._connections: dict[int, OperatorConnection] = {}
        self._numbers = count(1)

    def open(self, sock: pidfd.HasOptions) -> OperatorConnection | Denied:
        """Take the peer of a freshly accepted connection; turns away only a flood."""
        peer, pid, uid = self._peer(sock)
        if self._crowd(uid) >= self._max:
            if peer is not None:
                os.close(peer)
            return Denied(
                code="too_many_connections",
                reason=f"{self._max} connections of this operator are open already",
                remedy="end some of them",
                retry_after=1.0,
            )
        connection = OperatorConnection(number=next(self._numbers), peer=peer, pid=pid, uid=uid)
        self._connections[connection.number] = connection
        return connection

    def _crowd(self, uid: int) -> int:
        """How many connections this operator has; of a user who is none: all such users."""
        name = self._names.get(uid)
        return sum(self._names.get(one.uid) == name for one in self._connections.values())

    def close(self, connection: OperatorConnection) -> None:
        """The connection is over. Harmless when repeated."""
        if self._connections.pop(connection.number, None) is not None and connection.peer is not None:
            os.close(connection.peer)

    def attest(self, number: int) -> Operator | Denied:
        """The operator behind this connection, or why it is none.

        Args:
            number: ``OperatorConnection.number``.

        """
        connection = self._connections.get(number)
        if connection is None:
            return _denied("connection_closed", "the connection this call came over is closed")
        if connection.peer is None or connection.pid <= 0:
            return _denied("peer_unknown", "the kernel does not say which process opened this connection")
        name = self._names.get(connection.uid)
        if name is None:
            return _denied("not_operator", "this user may not operate Ringwall")
        foreign = self._foreign(connection.peer, connection.pid)
        if foreign is not None:
            return foreign
        return Operator(name=name, uid=connection.uid, connection=number)

    def _foreign(self, peer: int, pid: int) -> Denied | None:
        """None if the peer lives in our own namespaces."""
        try:
            # The number must be the pinned process's: SO_PEERCRED alone may name a successor.
            ours = pidfd.alive(peer) and pidfd.number(peer) == pid
            same = ours and all(pidfd.namespace(pid, kind) == pidfd.namespace("self", kind) for kind in _NAMESPACES)
            # A second reason, should an agent ever stand in our namespaces: its restrictions cannot be shed.
            same = same and pidfd.restrictions(pid) <= pidfd.restrictions("self")
        except (OSError, ValueError) as fault:
            return _denied(
                "peer_unknown",
                "the namespaces of the calling process cannot be read",
                f"{fault}; root may operate only a core that runs as root",
            )
        if not ours or not pidfd.alive(peer):
            return _denied("peer_dead", "the process that opened this connection has exited")
        return None if same else _denied("peer_foreign", "this process is not in the core's own namespaces")

    def _peer(self, sock: pidfd.HasOptions) -> tuple[int | None, int, int]:
        try:
            found = pidfd.peer_credentials(sock)
            if self._probe.method in {"inode", "number"}:
                return pidfd.peer_pidfd(sock), found.pid, found.uid
            if self._probe.method == "peercred":
                return os.pidfd_open(found.pid), found.pid, found.uid
        except (OSError, ValueError):
            pass  # nobody can be named: attest() refuses and says so
        return None, 0, -1


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def _denied(code: str, reason: str, why: str = "") -> Denied:
    return Denied(
        code=code,
        reason=reason,
        remedy="run `ringwall` as the user who runs `ringwall up`, outside any container",
        detail={"why": why} if why else {},
    )
