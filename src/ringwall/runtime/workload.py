"""The Workload API as the core runs it: a socket beside the door of each launch whose role has ``svid``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ringwall.call import LaunchId
from ringwall.clock import Clock
from ringwall.doors.listener import bound
from ringwall.identity.registry import Registry
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.interface import Authority
from ringwall.identity.svid.tokens import TokenValidator
from ringwall.identity.workload.companions import health, reflection
from ringwall.identity.workload.envoy import DISCOVERY
from ringwall.identity.workload.issuing import Issuing, Wall
from ringwall.identity.workload.messages import WORKLOAD
from ringwall.identity.workload.sds import OwnSecrets, SecretDiscovery
from ringwall.identity.workload.server import WorkloadServer
from ringwall.identity.workload.service import WorkloadApi
from ringwall.interface import Journal
from ringwall.manifest.types import Manifest

SOCKET: Final = "svid.sock"  # its name in the folder of a launch's door


class Workload:
    """The sockets of all launches.

    Args:
        manifest: whose role has ``svid``.
        registry: who is launched.
        authority: issues SVIDs.
        issuing: the effect of kind "secret".
        wall: the one path of every call.
        journal: where refusals are counted.
        clock: what time it is.

    """

    def __init__(self, *, manifest: Manifest, registry: Registry, authority: Authority, issuing: Issuing,
                 wall: Wall, journal: Journal, clock: Clock) -> None:
        self._manifest = manifest
        api = WorkloadApi(
            authority=authority,
            issuing=issuing,
            wall=wall,
            validator=TokenValidator(authority.bundles, clock, revoked=authority.revoked),
            registry=registry,
            entitled=lambda who: entitled(manifest, who),
            journal=journal,
            clock=clock,
        )
        own = OwnSecrets(authority=authority, api=api, issuing=issuing, wall=wall, journal=journal)
        discovery = SecretDiscovery(authority=authority, secrets=own, clock=clock)
        names = frozenset({"", WORKLOAD.service, f"{DISCOVERY.package}.{DISCOVERY.service}"})
        self._server = WorkloadServer(
            {**api.methods(), **discovery.methods(), **health(api.serving, names), **reflection()}, registry, clock)

    async def add(self, launch: LaunchId, who: SpiffeId, folder: Path) -> None:
        """Open a launch's socket, if it is entitled to one. Its folder must be this launch's own.

        Raises:
            BadInput, Unavailable: as ``doors.listener.bound``.

        """
        if entitled(self._manifest, who):
            await self._server.listen(launch, bound(folder / SOCKET, 0o666))

    async def remove(self, launch: LaunchId) -> None:
        """Close it; what it serves ends. Harmless where there is none."""
        await self._server.remove(launch)

    async def close(self) -> None:
        """Close all."""
        await self._server.close()


def entitled(manifest: Manifest, who: SpiffeId) -> bool:
    """Whether an agent's role has ``svid``."""
    tenant = manifest.tenants.get(who.tenant)
    agent = tenant.agents.get(who.agent) if tenant is not None else None
    if tenant is None or agent is None or agent.role != who.role or who.trust_domain != manifest.trust_domain:
        return False
    role = tenant.roles.get(agent.role)
    return role is not None and role.svid is not None
