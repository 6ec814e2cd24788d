"""What operators do with the vault's secrets, by name: put, look, delete, destroy, take over from files.

No call carries a value: it is handed in beside the call (``uploads``), and nothing here gives one back.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final

import msgspec

from ringwall.audit.journal import AuditJournal
from ringwall.call import Call, Json
from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.interface import Journal
from ringwall.keys.interface import RootSource
from ringwall.manifest.types import Manifest, Role
from ringwall.runtime.acts import Act, arguments
from ringwall.runtime.sealing import Sealing, operator
from ringwall.runtime.uploads import Uploads
from ringwall.runtime.vault_notes import KINDS, LOG, VaultNotes
from ringwall.vault.embedded import EmbeddedVault
from ringwall.vault.interface import Owner

KEPT: Final = frozenset({"file", "vault"})
"""Sources in the manifest of secrets that can be put. From a file too: it is moved before the manifest says so."""


class _Of(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose secret. ``broker``: Ringwall's own, of this tenant. ``role``: else the agent's in the manifest."""

    tenant: str
    name: str
    agent: str = ""
    role: str = ""
    broker: bool = False


class _Put(_Of, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``every``: all agents of the tenant whose role has the secret. ``cas``: the newest version there must be."""

    upload: str
    every: bool = False
    cas: int | None = None


class _Import(_Of, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``secret``: one of the manifest whose file is read."""

    secret: str
    every: bool = False


class _Version(_Of, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int


class _Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str = ""


class Vaulting:
    """The acts ``vault.*``.

    Args:
        vault: the embedded one.
        source: keeps its root key.
        uploads: what no call may carry.
        journal: each change is durable there before it happens.
        clock: for shares that wait for the others.
        manifest: who there is, and what is a secret.
        files: the value of a secret that is in a file.

    """

    def __init__(
        self, *, vault: EmbeddedVault, source: RootSource, uploads: Uploads, journal: Journal, clock: Clock,
        manifest: Manifest, files: Callable[[str], bytes],
    ) -> None:
        self._vault = vault
        self._uploads = uploads
        self._manifest = manifest
        self._files = files
        self._notes = VaultNotes(vault, journal)
        self._sealing = Sealing(vault=vault, source=source, uploads=uploads, notes=self._notes, clock=clock,
                                manifest=manifest)

    def acts(self) -> dict[str, Act]:
        """Every act ``vault.*`` by its verb."""
        return {
            **self._sealing.acts(),
            "vault.put": self._sealing.whole(self._put),
            "vault.import": self._sealing.whole(self._import),
            "vault.list": self._list,
            "vault.versions": self._versions,
            "vault.delete": self._changing("secret_deleted", self._vault.delete),
            "vault.undelete": self._changing("secret_undeleted", self._vault.undelete),
            "vault.destroy": self._changing("secret_destroyed", self._vault.destroy),
        }

    def tightening(self) -> dict[str, Act]:
        """What must not wait for a part that is down."""
        return {"vault.seal": self._sealing.acts()["vault.seal"]}

    def restore(self, audit: AuditJournal) -> None:
        """Take from the log how far the vault's file was. Raises AuditError."""
        self._notes.restore(audit.records(LOG, types=KINDS))

    async def open_at_start(self) -> None:
        """Open it if nobody has to be asked: after ``restore``. What fails is in ``status``."""
        await self._sealing.open_at_start()

    def status(self) -> Json:
        """For ``ringwall status`` and ``doctor``."""
        return self._sealing.status()

    # --- the acts

    async def _put(self, call: Call) -> Json:
        order, who = arguments(call, _Put), operator(call)
        value = self._uploads.inward.take(who, order.upload)
        owners = self._owners(order, every=order.every)
        return {"put": [await self._kept(call, owner, order.name, value, order.cas) for owner in owners]}

    async def _import(self, call: Call) -> Json:
        order = arguments(call, _Import)
        owners = self._owners(order, every=order.every)
        secret = self._manifest.secrets.get(order.secret)
        if secret is None or secret.source != "file":
            raise BadInput(f"{order.secret[:64]!r} is no secret in a file", code="unknown_secret",
                           remedy="name one of [secrets] with from = \"file\"")
        value = await asyncio.to_thread(self._files, order.secret)
        return {"put": [await self._kept(call, owner, order.name, value, None) for owner in owners]}

    async def _kept(self, call: Call, owner: Owner, name: str, value: bytes, cas: int | None) -> Json:
        """Raises RingwallError; of several owners, those before this one have it then, as the log says."""
        self._sealing.usable()
        await self._notes.before("secret_put", call, {**_named(owner, name), "cas": cas})
        version = await asyncio.to_thread(lambda: self._vault.put(owner, name, value, cas=cas))
        await self._notes.after(call)
        return {**_named(owner, name), "version": version}

    async def _list(self, call: Call) -> Json:
        order = arguments(call, _Tenant)
        self._sealing.usable()
        found = await asyncio.to_thread(self._vault.listed, order.tenant)
        return {"secrets": [{**_named(one.owner, one.name), "version": one.version, "state": one.state}
                            for one in found]}

    async def _versions(self, call: Call) -> Json:
        order = arguments(call, _Of)
        self._sealing.usable()
        owner = self._owner(order)
        found = self._vault.versions(owner, order.name)
        return {**_named(owner, order.name), "versions": [dataclasses.asdict(one) for one in found]}

    def _changing(self, event: str, change: Callable[[Owner, str, int], None]) -> Act:
        """An act on one version."""

        async def act(call: Call) -> Json:
            order = arguments(call, _Version)
            self._sealing.usable()
            owner = self._owner(order)
            known = {one.version for one in self._vault.versions(owner, order.name)}
            if order.version not in known:
                raise BadInput(f"there is no version {order.version} of {order.name[:64]}", code="no_such_secret",
                               remedy="`ringwall vault versions` lists them")
            named = {**_named(owner, order.name), "version": order.version}
            await self._notes.before(event, call, named)
            await asyncio.to_thread(change, owner, order.name, order.version)
            await self._notes.after(call)
            return named

        return self._sealing.whole(act)

    # --- whose

    def _owners(self, order: _Of, *, every: bool) -> list[Owner]:
        """For whom a value is put: agents there are, and a name that the manifest has. Raises BadInput."""
        secret, tenant = self._manifest.secrets.get(order.name), self._manifest.tenants.get(order.tenant)
        if secret is None or secret.source not in KEPT:
            raise BadInput(f"the manifest has no secret {order.name[:64]!r} that the vault could keep",
                           code="unknown_secret", remedy=f"[secrets.{order.name[:64]}] from = \"vault\"")
        if tenant is None:
            raise BadInput(f"there is no tenant {order.tenant[:64]!r}", code="unknown_tenant",
                           remedy="one of " + ", ".join(self._manifest.tenants))
        if every + order.broker + bool(order.agent) != 1 or ((every or order.broker) and order.role):
            raise BadInput("either one agent, or all of the tenant, or Ringwall itself", code="bad_act",
                           remedy="TENANT/AGENT, or TENANT with --all or --broker")
        if every:
            owners = [Owner(tenant=tenant.name, agent=agent.name, role=agent.role)
                      for agent in tenant.agents.values() if _has(tenant.roles[agent.role], order.name)]
            if not owners:
                raise BadInput(f"no agent of {tenant.name} has a role with the secret {order.name}",
                               code="unknown_agent", remedy="name it in a role's `secrets`, or name one agent")
            return owners
        if order.agent and order.agent not in tenant.agents:
            raise BadInput(f"{tenant.name} has no agent {order.agent[:64]!r}", code="unknown_agent",
                           remedy="one of " + ", ".join(tenant.agents))
        if order.role and order.role not in tenant.roles:
            raise BadInput(f"{tenant.name} has no role {order.role[:64]!r}", code="unknown_agent",
                           remedy="one of " + ", ".join(tenant.roles))
        return [self._owner(order)]

    def _owner(self, order: _Of) -> Owner:
        """Whose, also of those that the manifest has no more. Raises BadInput."""
        if order.broker == bool(order.agent):
            raise BadInput("either one agent, or Ringwall itself", code="bad_act",
                           remedy="TENANT/AGENT, or TENANT with --broker")
        if order.broker:
            return Owner.broker(order.tenant)
        tenant = self._manifest.tenants.get(order.tenant)
        agent = tenant.agents.get(order.agent) if tenant is not None else None
        role = order.role or (agent.role if agent is not None else "")
        if not role:
            raise BadInput(f"the manifest has no agent {order.tenant[:64]}/{order.agent[:64]} now",
                           code="unknown_agent", remedy="say in which role it was: --role")
        return Owner(tenant=order.tenant, agent=order.agent, role=role)


def _has(role: Role, name: str) -> bool:
    return name in role.secrets or (role.read is not None and name in role.read.secrets)


def _named(owner: Owner, name: str) -> dict[str, Json]:
    return {"tenant": owner.tenant, "agent": owner.agent, "role": owner.role, "name": name}

