"""How Ringwall's own helper processes are confined: guard, sidecars, brokers, endpoint processes, connectors."""

from __future__ import annotations

import sys
from pathlib import Path

from ringwall.confine.spec import Confinement, ResourceLimits
from ringwall.runtime.views import (
    GUARD_LIMITS,
    SERVER_LIMITS,
    SIDECAR_LIMITS,
    SPIRE,
    Surroundings,
    confinement,
    own_python,
    real,
)


def guard_view(*, uid: int | None, around: Surroundings) -> Confinement:
    """The guard: Ringwall's own code to read, one descriptor to talk over."""
    return confinement(
        name="guard",
        argv=(sys.executable, "-m", "ringwall.guard.service", "--second-filter"),
        binds=own_python(),
        tmp_mib=1,
        uid=uid,
        profile="guard",
        limits=GUARD_LIMITS,
        self_test=around.probes(),
    )


def sidecar_view(*, tenant: str, uid: int | None, around: Surroundings) -> Confinement:
    """A tenant's sidecar."""
    return _outward(f"sidecar-{tenant}", "ringwall.runtime.sidecar", uid, around, SIDECAR_LIMITS, tmp_mib=16)


def broker_view(*, tenant: str, uid: int | None, around: Surroundings) -> Confinement:
    """Who makes a tenant's credentials."""
    return _outward(f"broker-{tenant}", "ringwall.vault.brokers.service", uid, around, SIDECAR_LIMITS)


def endpoint_view(*, name: str, uid: int | None, around: Surroundings,
                  module: str = "ringwall.identity.endpoint.service") -> Confinement:
    """A process that asks one bundle endpoint, serves ours, or tells a collector."""
    return _outward(name, module, uid, around, SERVER_LIMITS)


def _outward(
    name: str, module: str, uid: int | None, around: Surroundings, limits: ResourceLimits, *, tmp_mib: int = 1
) -> Confinement:
    """Ringwall's own code with the host's network to call out, and no file of anybody's."""
    return confinement(
        name=name,
        argv=(sys.executable, "-m", module),
        binds=own_python(),
        tmp_mib=tmp_mib,
        uid=uid,
        profile="sidecar",
        limits=limits,
        self_test=tuple(probe for probe in around.probes() if probe.kind != "connect_tcp"),
    )


def connector_view(*, name: str, uid: int | None, around: Surroundings, path: Path) -> Confinement:
    """What connects to a SPIRE agent as one agent's uid: that socket's folder, nothing to write, no network."""
    return confinement(
        name=name,
        argv=(sys.executable, "-m", "ringwall.identity.spire.connector", f"{SPIRE}/{path.name}"),
        binds=[*own_python(), real(path.parent, SPIRE)],
        tmp_mib=1,
        uid=uid,
        profile="guard",
        limits=SERVER_LIMITS,
        self_test=around.probes(),
    )
