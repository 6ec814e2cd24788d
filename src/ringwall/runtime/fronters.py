"""Who connects as the Envoy in front: a process of its uid, alive, in the core's own namespaces; so no agent's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ringwall.call import Denied, LaunchId
from ringwall.identity import pidfd
from ringwall.identity.operators import OperatorConnection, OperatorPeers
from ringwall.identity.pidfd import HasOptions
from ringwall.identity.probe import Probe
from ringwall.identity.sending import compare

_NAME = "envoy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronter:
    """One connection of Envoy's. ``key``: as ``registry.Connection`` has it."""

    number: int
    connection: OperatorConnection
    key: tuple[int, int] | None


class Fronters:
    """Connections of one of Envoy's sockets. Implements ``doors.interface.Peers``.

    Args:
        probe: how processes are told apart on this machine.
        uid: Envoy's.
        most: connections at a time.
        refused: told of whoever is turned away.
        closed: told of the number of each connection that is over.

    """

    def __init__(
        self, probe: Probe, uid: int, *, most: int, refused: Callable[[Denied], None],
        closed: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.probe = probe
        self._peers = OperatorPeers(probe, named={uid: _NAME}, max_connections=most)
        self._refused = refused
        self._closed = closed
        self._open: dict[int, Fronter] = {}

    def open(self, sock: HasOptions) -> Fronter | Denied:
        """Take a connection, or say why not."""
        found = self._peers.open(sock)
        denied = found if isinstance(found, Denied) else self._denied(found.number)
        if isinstance(found, Denied) or denied is not None:
            if not isinstance(found, Denied):
                self._peers.close(found)
            assert denied is not None  # noqa: S101 (of either)
            self._refused(denied)
            return denied
        peer = found.peer
        key = pidfd.key(peer) if peer is not None and self.probe.method == "inode" else None
        made = self._open[found.number] = Fronter(number=found.number, connection=found, key=key)
        return made

    def close(self, connection: Fronter) -> None:
        """It is over. Harmless when repeated."""
        if self._open.pop(connection.number, None) is not None:
            self._peers.close(connection.connection)
            self._closed(connection.number)

    def attest(self, number: int) -> Denied | None:
        """Why the process behind a connection is not Envoy now; None: it is. Costs some 60 us."""
        return self._denied(number)

    def sender(self, number: int, process: int | None) -> Denied | None:
        """See ``Registry.sender``."""
        found = self._open.get(number)
        if found is None or found.connection.peer is None:
            return Denied(code="connection_closed", reason="the connection this came over is closed")
        return compare(found.connection.peer, found.key, process)

    def _denied(self, number: int) -> Denied | None:
        found = self._peers.attest(number)
        if not isinstance(found, Denied):
            return None
        code = "not_envoy" if found.code == "not_operator" else found.code
        return replace(found, code=code, reason=f"this is not the Envoy in front: {found.reason}",
                       remedy="run Envoy as [a2a] envoy_uid says, outside any container")


class SdsKeeper:
    """The same for a Workload API's server. Implements ``identity.workload.server.Keeper``."""

    def __init__(self, fronters: Fronters) -> None:
        self._fronters = fronters
        self.probe = fronters.probe

    def open(self, launch: LaunchId, sock: HasOptions) -> Fronter | Denied:
        """See ``Fronters.open``."""
        return self._fronters.open(sock)

    def close(self, connection: Fronter) -> None:
        """See ``Fronters.close``."""
        self._fronters.close(connection)

    def sender(self, number: int, process: int | None) -> Denied | None:
        """See ``Fronters.sender``."""
        return self._fronters.sender(number, process)
