"""An Envoy in front of the core, as the core runs it: a Unix socket for each agent that listens, and one for SDS.

Envoy ends the TLS, and lets through whom its configuration names. Which certificate a peer presented is all that it
is asked; the core judges that certificate by itself, for each request (``frontdoor``).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ringwall.call import Event, Json, LaunchId
from ringwall.clock import Clock
from ringwall.doors.interface import App
from ringwall.doors.listener import bound
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.identity.probe import Probe
from ringwall.identity.svid.interface import Authority, X509Svid
from ringwall.identity.workload import wire
from ringwall.identity.workload.sds import MAX_WHY, SecretDiscovery
from ringwall.identity.workload.server import Exchange, Status, WorkloadServer
from ringwall.identity.workload.service import stale
from ringwall.interface import Journal
from ringwall.manifest.types import A2ASettings
from ringwall.peers.envoy import SDS_SOCKET, socket_of
from ringwall.runtime.callers import Callers, Place
from ringwall.runtime.frontdoor import FrontDoor
from ringwall.runtime.fronters import Fronters, SdsKeeper

PEERS: Final = "peers"  # the folder of the sockets, below the state folder
MAX_SDS: Final = 64  # connections for secrets; Envoy opens one for each 32 of them
SDS_BURST, SDS_REFILL = 65_536.0, 4_096.0  # frames; each secret costs some 27: Envoy sends 61 KB about itself
_ENVOY: Final = LaunchId("envoy")  # no launch: what the one socket for secrets is called


class Fronting:
    """All of it, for one core. Implements ``peering.Front``.

    Args:
        settings: Envoy's uid and folder.
        folder: where its sockets are unless the settings say another.
        probe: how processes are told apart on this machine.
        authority: issues SVIDs, knows bundles.
        callers: judges who comes.
        journal: where refusals are counted.
        clock: what time it is.
        app: the peers' door.

    """

    def __init__(
        self, *, settings: A2ASettings, folder: Path, probe: Probe, authority: Authority, callers: Callers,
        journal: Journal, clock: Clock, app: Callable[[], App],
    ) -> None:
        self._uid = os.geteuid() if settings.envoy_uid is None else settings.envoy_uid
        self._given = settings.envoy_folder
        self._folder = settings.envoy_folder or folder
        self._probe = probe
        self._authority = authority
        self._callers = callers
        self._clock = clock
        self._app = app
        self._doors: dict[LaunchId, FrontDoor] = {}
        fronters = Fronters(probe, self._uid, most=MAX_SDS,
                            refused=lambda denied: _count(journal, "peer_refused", {"code": denied.code}))
        self._secrets = LaunchedSecrets(authority=authority, clock=clock, fronters=fronters, journal=journal)
        discovery = SecretDiscovery(authority=authority, secrets=self._secrets, clock=clock)
        self._server = WorkloadServer(
            discovery.methods(), SdsKeeper(fronters), clock, burst=SDS_BURST, refill=SDS_REFILL)

    async def start(self) -> None:
        """Open the socket for secrets. Raises RingwallError: the folder is unfit, or Envoy could not enter it."""
        self._prepare()
        await self._server.listen(_ENVOY, self._bound(self._folder / SDS_SOCKET))

    async def stop(self) -> None:
        """Close everything."""
        for launch in tuple(self._doors):
            await self.close(launch)
        await self._server.close()

    async def open(self, place: Place) -> None:
        """Take what Envoy receives for this launch. Raises RingwallError."""
        path = socket_of(self._folder, place.receiver)
        try:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            path.parent.chmod(0o755)  # whatever the umask: Envoy may be another user
        except OSError as fault:
            raise Unavailable(f"{path.parent} cannot be made: {fault.strerror}", code="envoy_folder") from fault
        door = FrontDoor(place=place, uid=self._uid, probe=self._probe, authority=self._authority,
                         callers=self._callers, clock=self._clock, app=self._app)
        await door.listen(path, self._bound(path))
        self._doors[place.launch] = door
        self._secrets.add(place)

    async def close(self, launch: LaunchId) -> None:
        """Take nothing more for it. Harmless where there is nothing."""
        door = self._doors.pop(launch, None)
        if door is not None:
            self._secrets.remove(door.place)
            await door.close()

    def _bound(self, path: Path) -> socket.socket:
        """A socket that Envoy's user, and no other, can connect to."""
        sock = bound(path, 0o600)
        try:
            if self._uid != os.geteuid():
                os.chown(path, self._uid, -1)
        except OSError as fault:
            sock.close()
            raise Unavailable(f"{path} cannot be given to uid {self._uid}: {fault.strerror}", code="envoy_uid",
                              remedy="run Envoy as the user who runs Ringwall, or Ringwall as root") from fault
        return sock

    def _prepare(self) -> None:
        try:
            if self._given is None:
                self._folder.mkdir(mode=0o700, exist_ok=True)
            found = self._folder.stat()
        except OSError as fault:
            raise RingwallError(f"{self._folder}, the folder of Envoy's sockets, cannot be used: {fault.strerror}",
                                code="envoy_folder", remedy=f"mkdir -m 755 {self._folder}") from fault
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise RingwallError(f"others may write {self._folder}, the folder of Envoy's sockets",
                                code="envoy_folder",
                                remedy="use a folder that belongs to the user who runs Ringwall, with mode 755")
        if self._given is None and self._uid not in {0, os.geteuid()}:
            raise RingwallError(f"uid {self._uid} cannot enter the state folder", code="envoy_folder",
                                remedy='name one that it can enter: [a2a] envoy_folder = "/run/ringwall-envoy"')


class LaunchedSecrets:
    """SVIDs of the agents that listen now, for the Envoy in front of them. Implements ``sds.Secrets``.

    Args:
        authority: issues.
        clock: for half lives.
        fronters: says whether it is Envoy that asks.
        journal: where what Envoy rejects is counted.

    """

    def __init__(self, *, authority: Authority, clock: Clock, fronters: Fronters, journal: Journal) -> None:
        self._authority = authority
        self._clock = clock
        self._fronters = fronters
        self._journal = journal
        self._places: dict[str, Place] = {}
        self._held: dict[str, X509Svid] = {}  # one for all of Envoy's streams
        self._callbacks: dict[object, Callable[[], None]] = {}

    def add(self, place: Place) -> None:
        """Its SVID may be had from now on."""
        self._places[str(place.receiver)] = place
        self._changed(place)

    def remove(self, place: Place) -> None:
        """It may not be had any more; what Envoy has is worth nothing once its launch is withdrawn."""
        self._places.pop(str(place.receiver), None)
        self._changed(place)

    def _changed(self, place: Place) -> None:
        self._held.pop(str(place.receiver), None)
        for callback in tuple(self._callbacks.values()):
            callback()

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See ``sds.Secrets``."""
        mark, end = object(), self._authority.on_change(callback)
        self._callbacks[mark] = callback

        def ended() -> None:
            end()
            self._callbacks.pop(mark, None)

        return ended

    def check(self, exchange: Exchange) -> None:
        """See ``sds.Secrets``."""
        denied = self._fronters.attest(exchange.connection.number)
        if denied is not None:
            raise Status(wire.PERMISSION_DENIED, f"{denied.code}: {denied.reason}")

    async def svid(self, exchange: Exchange, name: str) -> X509Svid | None:
        """See ``sds.Secrets``."""
        place = self._places.get(name)
        if place is None:
            return None
        held = self._held.get(name)
        if held is None or stale(held, self._authority, self._clock):
            try:
                held = await self._authority.x509_svid(place.receiver, place.launch)
            except Refused:  # frozen, or over just now: there is none, and when that changes, all look again
                return None
            if self._places.get(name) is not place:
                return None
            self._held[name] = held
        return held

    def rejected(self, exchange: Exchange, why: str) -> None:
        """See ``sds.Secrets``."""
        _count(self._journal, "secret_rejected", {"why": why[:MAX_WHY]})


def _count(journal: Journal, kind: str, body: dict[str, Json]) -> None:
    """An event of no tenant's."""
    journal.count(Event(type=kind, tenant="system", body=body))
