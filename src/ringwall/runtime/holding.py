"""All secrets of one core: the vault, what makes credentials, who may have which, what operators do with them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from ringwall.audit.journal import AuditJournal
from ringwall.call import Call, Chunk, Facts, Json, Last, SessionId
from ringwall.capability.details import Scopes
from ringwall.capability.resources import parse_pattern
from ringwall.clock import Clock
from ringwall.errors import RingwallError, Unavailable
from ringwall.interface import Effect, Journal
from ringwall.keys.sources import source
from ringwall.manifest.types import Manifest
from ringwall.runtime.acts import Act
from ringwall.runtime.brokering import SYSTEM, Brokering, CoreTokens, CoreTransit
from ringwall.runtime.children import Inherited
from ringwall.runtime.freeze import Freezes
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.identities import Identities
from ringwall.runtime.leasing import Leasing
from ringwall.runtime.output import Held
from ringwall.runtime.reading_secrets import READ, Alerts, ReadEffect
from ringwall.runtime.runs import Tasks
from ringwall.runtime.secrets import FileSecrets
from ringwall.runtime.sessions import Sessions
from ringwall.runtime.state import State
from ringwall.runtime.uploads import Uploads
from ringwall.runtime.vaulting import Vaulting
from ringwall.runtime.views import Surroundings
from ringwall.store.interface import Store
from ringwall.store.lost import LostStore
from ringwall.store.sqlite import SqliteStore
from ringwall.tools.giving import Giving
from ringwall.vault.embedded import EmbeddedVault
from ringwall.vault.interface import Owner
from ringwall.vault.kept import KeptSecrets
from ringwall.vault.leases import Leases
from ringwall.vault.orders import AgentOrders
from ringwall.vault.using import UsingSecrets

FOLDER: Final = "vault"  # below the state folder
_BRINGING: Final = frozenset({"vault.init", "vault.put", "vault.import", "vault.undelete", "vault.unseal",
                              "vault.restore"})
"""After these there may be a secret that was wanted before: nobody waits for the next try of who wanted it."""
REVOKE_S: Final = 4.0  # for providers, when an agent ends or everything stops: the supervisor waits ten
EndSession: TypeAlias = Callable[[str, str, SessionId], Awaitable[None]]


class Holding:
    """Secrets and leases of one core.

    Args:
        manifest: which there are, and for whom.
        state: where they are kept.
        clock: for every life.
        journal: no record, no credential and no change.
        files: what lies in files.
        identities: issue the tokens that say for whom something is asked.
        freezes: who may use nothing now.
        uploads: values on their way in, beside operators' calls.
        giving: takes credentials back from workers.
        counted: adds one to the metric of readings.

    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        state: State,
        clock: Clock,
        journal: Journal,
        files: FileSecrets,
        identities: Identities,
        freezes: Freezes,
        uploads: Uploads,
        giving: Giving,
        counted: Callable[[], None],
    ) -> None:
        self._manifest = manifest
        self._identities = identities
        self._freezes = freezes
        self.fault = ""  # why nothing is minted
        self._brought: Callable[[], None] = lambda: None  # told after each of _BRINGING
        folder = state.root / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self._stores = tuple(_opened(folder / name) for name in ("vault.db", "leases.db"))
        vault = self._vault = EmbeddedVault(self._stores[0], clock)
        self._clock = clock
        tokens = CoreTokens(identities.authority)
        self.brokering = Brokering(manifest, state, clock)
        kept = KeptSecrets(manifest, files.value, vault)
        self.leases = Leases(
            store=self._stores[1], vault=vault, journal=journal, clock=clock, brokers=self.brokering.get,
            orders=AgentOrders(kept, manifest.vaults, tokens, manifest.trust_domain), frozen=self._frozen,
            on_drop=lambda credential: giving.drop(credential.lease), trust_domain=manifest.trust_domain,
            revision=manifest.revision,
        )  # fmt: skip
        self.scopes = Scopes(manifest, parse_pattern)
        self.using = UsingSecrets(
            manifest, kept, self.brokering.get, tokens, lambda call: self.scopes.of(call), self.leases  # noqa: PLW0108
        )
        transit = CoreTransit(manifest, self.brokering, tokens) if manifest.vault.root == "transit" else None
        self.vaulting = Vaulting(
            vault=vault, source=source(manifest.vault, folder, transit), uploads=uploads, journal=journal,
            clock=clock, manifest=manifest, files=files.value,
        )  # fmt: skip
        self._leasing = Leasing(self.leases)
        alerts = Alerts(clock, lambda line: print(line, file=sys.stderr, flush=True), counted)
        self._reading = ReadEffect(self.using, journal, alerts)
        self._told_before = freezes.on_change
        freezes.on_change = self._freeze_changed

    def acts(self) -> dict[str, Act]:
        """What operators do with secrets and leases, by verb."""
        acts = self.vaulting.acts()
        return {**acts, **{verb: self._bringing(acts[verb]) for verb in _BRINGING}, **self._leasing.acts()}

    def tightening(self) -> dict[str, Act]:
        """Those of them that must not wait for a part that is down."""
        return {**self.vaulting.tightening(), **self._leasing.tightening()}

    def effect(self, issuing: Effect) -> Effect:
        """Of calls of kind "secret": readings here, everything else (SVIDs) there."""
        return _Secrets(self._reading, issuing)

    def known(self, owner: Owner) -> Held:
        """Values that must not stand in what this agent prints."""
        vault = self._vault
        return Held(lambda: self.using.known((owner,)), lambda: (vault.state, vault.sequence), self._clock)

    async def open(
        self, audit: AuditJournal, helpers: Helpers, around: Surroundings, tasks: Tasks,
        inherited: Sequence[Inherited],
    ) -> None:
        """Start the brokers, open the vault if nobody has to be asked, take up the leases of a core before this.

        Args:
            audit: how far the vault was, by the log.
            helpers: keep the brokers running.
            around: what those do not see.
            tasks: background work.
            inherited: agents that outlived that core.

        Raises:
            RingwallError: a file of certificates is missing.

        """
        self._brought = helpers.ask_again
        self.brokering.start(helpers, around)
        self.vaulting.restore(audit)
        if self._manifest.vault.root == "transit":
            with suppress(Unavailable):  # it is not opened then, and ``status`` says why
                await self.brokering.ready(helpers, SYSTEM)
            await self._identities.published()  # a vault that has been restarted asks for our keys to let us in
        await self.vaulting.open_at_start()
        alive = {(str(agent.meta["tenant"]), str(agent.meta["agent"])) for agent in inherited}
        try:
            await self.leases.restore(lambda one: (one.tenant, one.agent) in alive and not self._frozen(one))
        except RingwallError as fault:  # they stay closed: nothing is minted, and who uses none goes on
            self.fault = str(fault)
            print(f"ringwall: no credentials are made: {fault}", file=sys.stderr, flush=True)
            return
        tasks.start(self.leases.run())

    def after(self, end_session: EndSession, sessions: Sessions) -> EndSession:
        """What is done when a session has ended: with an agent's last one its leases end, too."""

        async def end(tenant: str, agent: str, session: SessionId) -> None:
            await end_session(tenant, agent, session)
            if not any((one.tenant, one.agent) == (tenant, agent) for one in sessions.all()):
                role = self._manifest.tenants[tenant].agents[agent].role
                owner = Owner(tenant=tenant, agent=agent, role=role)
                self.leases.ended(owner)
                with suppress(TimeoutError):  # who sees that an agent has ended finds its credentials revoked
                    async with asyncio.timeout(REVOKE_S):
                        await self.leases.told(owner)

        return end

    def status(self) -> Json:
        """For ``ringwall status`` and ``doctor``."""
        leases = self.leases.listed()
        late = [f"{one.secret}/{one.lease}: {one.fault}" for one in leases if one.fault]
        needed = any(one.source == "vault" for one in self._manifest.secrets.values())
        return {
            "vault": {**self.vaulting.status(), "needed": needed},
            "leases": {"held": len(leases), "fault": self.fault, "late": len(late),
                       "first": late[0] if late else ""},
        }  # fmt: skip

    async def close(self, *, for_good: bool) -> None:
        """Issue nothing more; the databases last. ``for_good``: no core comes after this one, so all leases end."""
        if for_good:
            self.leases.freeze(lambda owner: True, "stopped")
            with suppress(TimeoutError):  # what is not revoked by then, the next start revokes
                async with asyncio.timeout(REVOKE_S):
                    await self.leases.settled()
        await self.leases.close()
        for store in self._stores:
            store.close()

    def _bringing(self, act: Act) -> Act:
        async def done(call: Call) -> Json:
            answer = await act(call)
            self._brought()
            self.leases.unsealed()
            return answer

        return done

    def _frozen(self, owner: Owner) -> str:
        found = (one for one in self._freezes.held() if one.covers_agent(owner.tenant, owner.agent))
        return next((one.reason for one in found), "")

    def _freeze_changed(self) -> None:
        self._told_before()
        if self._freezes.held():
            self.leases.freeze(lambda owner: bool(self._frozen(owner)))


def _opened(path: Path) -> Store:
    """A database, or what stands for one that cannot be used: the rest of the core runs all the same."""
    try:
        return SqliteStore(path)
    except RingwallError as fault:
        print(f"ringwall: {path.name}: {fault}", file=sys.stderr, flush=True)
        return LostStore(fault)


class _Secrets:
    """Implements ``interface.Effect``: which of the two a call is for, its target says."""

    def __init__(self, reading: Effect, issuing: Effect) -> None:
        self._reading = reading
        self._issuing = issuing

    def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        chosen = self._reading if call.target.name.startswith(READ) else self._issuing
        return chosen.run(call, facts)
