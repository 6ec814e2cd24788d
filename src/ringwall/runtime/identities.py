"""Where SVIDs come from, as the core runs it: the authority, other domains' bundles, what withdraws an SVID."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ringwall.call import Json
from ringwall.clock import Clock
from ringwall.errors import BadInput, ManifestError
from ringwall.identity.registry import Registry
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.federation import LOOK_SECONDS, Federation
from ringwall.identity.svid.store import KeyStore
from ringwall.interface import Journal
from ringwall.keys.interface import RootKeys
from ringwall.manifest.place import check_place, writable_folders
from ringwall.manifest.types import Manifest
from ringwall.runtime.freeze import Freezes
from ringwall.runtime.runs import Tasks
from ringwall.runtime.state import State

FOLDER = "identity"  # below the state folder


class Identities:
    """The authority of one core, and what it depends on.

    Args:
        manifest: the trust domain, the issuer, who is federated.
        state: where keys are kept.
        keys: wrap them.
        clock: for validity and rotation.
        journal: where changes of keys are noted.
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
        files = {domain: one.bundle for domain, one in settings.federation.items()}
        self.federation = Federation(files, self._only_ours)
        self.authority = EmbeddedAuthority(
            trust_domain=manifest.trust_domain,
            issuer=settings.issuer or f"https://{manifest.trust_domain}",
            store=KeyStore(state.root / FOLDER, keys, manifest.trust_domain),
            clock=clock,
            journal=journal,
            entitled=registry.entitled,
            frozen=freezes.agent,
            foreign=self.federation.bundles,
        )
        registry.on_withdraw = self.authority.revoke
        freezes.on_change = self.authority.changed

    async def start(self, tasks: Tasks) -> None:
        """Take or make the keys, and keep them turning from now on. Raises RingwallError: nothing may start."""
        self.federation.look()
        await self.authority.start()
        tasks.start(self.authority.tend())
        tasks.start(self._watch())

    def status(self) -> Json:
        """For ``ringwall status`` and ``doctor``."""
        known = self.federation.bundles()
        return {
            **self.authority.status(),
            "federated": {
                domain: {"sequence": known[domain].sequence if domain in known else None,
                         "known": domain in known, "fault": self.federation.faults.get(domain, "")}
                for domain in self._manifest.identity.federation
            },
        }

    async def _watch(self) -> None:
        """Foreign bundles, as their owners change them."""
        while self._manifest.identity.federation:
            await asyncio.sleep(LOOK_SECONDS)
            if self.federation.look():  # a few small files: a moment of the loop
                self.authority.changed()

    def _only_ours(self, path: Path) -> None:
        """Raises BadInput: whoever can write the bundle decides who is believed."""
        try:
            check_place(path, writable_folders(self._manifest))
        except ManifestError as fault:
            raise BadInput(fault.problems[0].replace("\n ", ""), code="svid_bundle_exposed",
                           remedy=fault.remedy) from fault
