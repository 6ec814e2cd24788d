"""Where SVIDs come from, as the core runs it: the authority, other domains' bundles, what withdraws an SVID."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ringwall.audit.budget import BEFORE_CALL
from ringwall.call import Denied, Event, Json
from ringwall.clock import Clock
from ringwall.errors import BadInput, ManifestError
from ringwall.identity.registry import Connection, Registry
from ringwall.identity.spire.authority import SpireAuthority
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.federation import LOOK_SECONDS, Federation
from ringwall.identity.svid.polling import Polling, noted
from ringwall.identity.svid.store import KeyStore
from ringwall.interface import Journal
from ringwall.keys.interface import RootKeys
from ringwall.manifest.place import check_place, writable_folders
from ringwall.manifest.types import Manifest
from ringwall.runtime.endpoints import Askers, Publisher
from ringwall.runtime.freeze import Freezes
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.runs import Tasks
from ringwall.runtime.spire import Callers
from ringwall.runtime.state import State
from ringwall.runtime.views import Surroundings

FOLDER = "identity"  # below the state folder
KEPT = "federated"  # below that: what endpoints gave


class Identities:
    """The authority of one core, and what it depends on.

    Args:
        manifest: the trust domain, the issuer, who is federated.
        state: where keys are kept.
        keys: wrap them.
        clock: for validity and rotation.
        journal: where changes of keys are noted, and connections that somebody else wrote to.
        registry: who is launched; a withdrawn launch loses what it was issued.
        freezes: who gets nothing now.

    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        state: State,
        keys: RootKeys,
        clock: Clock,
        journal: Journal,
        registry: Registry,
        freezes: Freezes,
    ) -> None:
        self._manifest = manifest
        settings = manifest.identity
        issuer = settings.issuer or f"https://{manifest.trust_domain}"
        self._state = state
        self._journal = journal
        self.federation = Federation(
            {domain: one.bundle for domain, one in settings.federation.items() if one.bundle is not None},
            self._only_ours,
            endpoints=[domain for domain, one in settings.federation.items() if one.endpoint],
            kept=state.root / FOLDER / KEPT,
        )
        self.source = "spire" if settings.spire is not None else ""
        self._callers = Callers(settings.spire, state) if settings.spire is not None else None
        self.authority: EmbeddedAuthority | SpireAuthority
        self._publisher: Publisher | None = None
        if self._callers is not None:
            self.authority = SpireAuthority(
                trust_domain=manifest.trust_domain,
                socket=str(settings.spire),
                own=self._callers.own,
                caller=self._callers.of,
                single=self._callers.single,
                clock=clock,
                journal=journal,
                entitled=registry.entitled,
                frozen=freezes.agent,
                foreign=self.federation.bundles,
            )
        else:
            self.authority = EmbeddedAuthority(
                trust_domain=manifest.trust_domain,
                issuer=issuer,
                store=KeyStore(state.root / FOLDER, keys, manifest.trust_domain),
                clock=clock,
                journal=journal,
                entitled=registry.entitled,
                frozen=freezes.agent,
                foreign=self.federation.bundles,
            )
            self._publisher = Publisher(settings, issuer=issuer, authority=self.authority, clock=clock)
        self._askers = Askers(settings.federation)
        self._polling = Polling(
            self._askers.domains, federation=self.federation, fetch=self._askers.fetch, clock=clock,
            journal=journal, changed=self.authority.changed,
        )
        registry.on_withdraw = self.authority.revoke
        registry.on_foreign = self._foreign
        freezes.on_change = self.authority.changed

    async def start(self, tasks: Tasks) -> None:
        """Take or make the keys, and keep them turning from now on. Raises RingwallError: nothing may start."""
        self.federation.look()
        self.federation.restore()
        if isinstance(self.authority, SpireAuthority):
            tasks.start(self.authority.tend())
            await self.authority.start()
        else:
            await self.authority.start()
            tasks.start(self.authority.tend())
        for bundle in self.federation.bundles().values():
            await noted(self._journal, bundle, "start")
        tasks.start(self._watch())

    def reach(self, helpers: Helpers, around: Surroundings, tasks: Tasks) -> None:
        """Ask other domains' endpoints, and serve ours, from now on: each in a process of its own."""
        self._askers.start(helpers, self._state, around, self._polling, tasks)
        if self._publisher is not None:
            self._publisher.start(helpers, self._state, around, tasks)
        if self._callers is not None:
            self._callers.start(helpers, around)

    async def published(self) -> None:
        """Return when our keys can be fetched where they are published; at once if that is nowhere, and after
        ``endpoints.START_S`` in any case."""
        if self._publisher is not None:
            await self._publisher.served()

    def _foreign(self, connection: Connection, why: Denied) -> None:
        """Somebody else wrote to an agent's connection. An agent can have that done in floods: it is counted."""
        launch = connection.launch
        body: dict[str, Json] = {"kind": "connection", "code": why.code, "launch": launch.id}
        self._journal.count(Event(type=BEFORE_CALL, tenant=launch.spiffe_id.tenant, subject=str(launch.spiffe_id),
                                  session=launch.session, body=body))

    def status(self) -> Json:
        """For ``ringwall status`` and ``doctor``."""
        return {
            **self.authority.status(),
            "federated": {domain: self._federated(domain) for domain in self._manifest.identity.federation},
            "published": self._publisher.status() if self._publisher is not None else None,
        }

    def _federated(self, domain: str) -> Json:
        known = self.federation.bundles().get(domain)
        asked = self._polling.status(domain) if domain in self._askers.domains else None
        faults = [self.federation.faults.get(domain, ""), asked["fault"] if asked is not None else ""]
        return {
            "sequence": known.sequence if known is not None else None,
            "known": known is not None,
            "fault": "; ".join(fault for fault in faults if fault),
            "answered": asked["answered"] if asked is not None else None,
        }

    async def _watch(self) -> None:
        """Foreign bundles in files, as their owners change them."""
        while self._manifest.identity.federation:
            await asyncio.sleep(LOOK_SECONDS)
            changed = self.federation.look()  # a few small files: a moment of the loop
            if changed:
                self.authority.changed()
            for domain in changed:
                await noted(self._journal, self.federation.bundles()[domain], "file")

    def _only_ours(self, path: Path) -> None:
        """Raises BadInput: whoever can write the bundle decides who is believed."""
        try:
            check_place(path, writable_folders(self._manifest))
        except ManifestError as fault:
            raise BadInput(fault.problems[0].replace("\n ", ""), code="svid_bundle_exposed",
                           remedy=fault.remedy) from fault
