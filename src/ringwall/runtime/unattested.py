"""Doors for clients that nobody launched: agents whose manifest says ``attestation = "none"``.

Such a client is some process of the user who runs Ringwall: an editor, a desktop app. It has a session as a
launched agent has, but nobody gave it a task, so nothing it asks for is named by one; and its labels stay from one
start to the next, because it may remember what it was shown.
"""

from __future__ import annotations

import os
import secrets as random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringwall.call import Event, Json, LaunchId, SessionId
from ringwall.doors.listener import DoorServer
from ringwall.identity.registry import Launch, Registry
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Journal
from ringwall.manifest.types import Manifest
from ringwall.runtime.sessions import Session, Sessions
from ringwall.runtime.state import State

NONE: Final = "none"  # what is attested, and how strongly


def client_socket(state: Path, tenant: str, agent: str) -> Path:
    """Where a client of this name finds its door: below a folder that only this user can enter."""
    return state / "clients" / tenant / f"{agent}.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattested:
    """Opens the doors of clients when the core starts; they stay until it ends.

    Args:
        manifest: names the clients.
        state: where their sockets lie.
        registry: attests each connection.
        doors: serve them.
        sessions: where their sessions are opened.
        journal: where each is written down before its door is open.

    """

    manifest: Manifest
    state: State
    registry: Registry
    doors: DoorServer
    sessions: Sessions
    journal: Journal

    async def open(self) -> None:
        """Open every door. Raises AuditError, BadInput or Unavailable: then nothing may start."""
        for tenant in self.manifest.tenants.values():
            for agent in tenant.agents.values():
                if agent.attestation == NONE:
                    await self._open(tenant.name, agent.name, agent.role)

    async def _open(self, tenant: str, agent: str, role: str) -> None:
        launch, session = LaunchId(random.token_hex(8)), SessionId(random.token_hex(8))
        who = SpiffeId.make(trust_domain=self.manifest.trust_domain, tenant=tenant, agent=agent, role=role)
        context = str(self.state.workspace(tenant, agent).resolve())
        body: Mapping[str, Json] = {"launch": launch, "attestation": NONE, "confined": False, "strength": NONE,
                                    "context": context}
        await self.journal.note(Event(type="launch", tenant=tenant, subject=str(who), session=session,
                                      body=dict(body), sealed={"command": [], "task": ""}))
        self.sessions.open(Session(id=session, tenant=tenant, agent=agent, launch=launch, context=context, task=""))
        # There is no process of its own to wait for: it can ask as long as the core lives.
        own = os.pidfd_open(os.getpid())
        try:
            self.registry.register(Launch(id=launch, spiffe_id=who, pidfd=own, pidns_fd=None, processes="one",
                                          session=session, confined=False, strength=NONE))
        finally:
            os.close(own)
        path = client_socket(self.state.root, tenant, agent)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.doors.add_client(launch, path)
