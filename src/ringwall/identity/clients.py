"""Clients that nobody launched: any process of the core's own user, outside every confined namespace.

Nothing says which program such a process runs, so what is attested is only that no other user and no confined
process asks. Facts and records call it what it is: ``"attestation": "none"``.
"""

from __future__ import annotations

import dataclasses
import os

from ringwall.call import Denied
from ringwall.identity import pidfd
from ringwall.identity.operators import OperatorConnection, OperatorPeers
from ringwall.identity.probe import Probe


class Clients:
    """Open connections of clients' doors. Used from one thread.

    Args:
        probe: how processes are told apart on this machine.
        max_connections: of all clients together.

    """

    def __init__(self, probe: Probe, *, max_connections: int) -> None:
        # The same question as at the operators' socket, with one user who may.
        self._peers = OperatorPeers(probe, named={os.geteuid(): "client"}, max_connections=max_connections)

    def open(self, sock: pidfd.HasOptions) -> OperatorConnection | Denied:
        """Take the peer of a freshly accepted connection; turns away only a flood."""
        return self._peers.open(sock)

    def close(self, connection: OperatorConnection) -> None:
        """The connection is over. Harmless when repeated."""
        self._peers.close(connection)

    def refused(self, connection: OperatorConnection) -> Denied | None:
        """Why the process behind a connection may not ask now; None: it may."""
        found = self._peers.attest(connection.number)
        if not isinstance(found, Denied):
            return None
        code = "peer_foreign" if found.code == "not_operator" else found.code
        reason = "this process is of another user" if found.code == "not_operator" else found.reason
        return dataclasses.replace(
            found, code=code, reason=reason,
            remedy="only processes of the user who runs Ringwall may ask here, and none that is confined",
        )
