"""An authority with everything around it faked but its keys, its disk and its clock's rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.fakes import FakeClock, FakeJournal

from ringwall.call import Denied, LaunchId
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.store import KeyStore
from ringwall.identity.svid.tokens import TokenValidator
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.keys.file import FileRootKeys

START = 1_800_000_000.0
ANA = SpiffeId.parse("spiffe://example.org/tenant/acme/agent/ana/role/reader")
ONE, TWO = LaunchId("l1"), LaunchId("l2")
ROOT = FileRootKeys(b"k" * 32)


class World:
    """``frozen``: agents and why; ``denied``: launches and why."""

    def __init__(self, folder: Path, *, foreign: Mapping[str, Bundle] | None = None) -> None:
        self.folder = folder / "identity"
        self.clock = FakeClock()
        self.clock.seconds = START
        self.journal = FakeJournal()
        self.frozen: dict[SpiffeId, str] = {}
        self.denied: dict[LaunchId, Denied] = {}
        self.foreign = dict(foreign or {})
        self.authority = self.restarted()

    def restarted(self, *, domain: str = "example.org") -> EmbeddedAuthority:
        """Another core on the same disk; ``start`` is the test's."""
        self.authority = EmbeddedAuthority(
            trust_domain=domain, issuer="https://id.example.org",
            store=KeyStore(self.folder, ROOT, domain), clock=self.clock, journal=self.journal,
            entitled=lambda _, launch: self.denied.get(launch), frozen=lambda who: self.frozen.get(who, ""),
            foreign=lambda: self.foreign,
        )
        return self.authority

    def verifier(self) -> X509Verifier:
        return X509Verifier(self.authority.bundles, self.clock, revoked=self.authority.revoked)

    def validator(self) -> TokenValidator:
        return TokenValidator(self.authority.bundles, self.clock, revoked=self.authority.revoked)

    async def later(self, seconds: float, step: float = 60.0) -> None:
        """Time goes on, and the authority looks at it as often as it would."""
        until = self.clock.seconds + seconds
        while self.clock.seconds < until:
            self.clock.seconds = min(until, self.clock.seconds + step)
            await self.authority.turn()

    def noted(self) -> list[tuple[str, str]]:
        return [(event.type, event.body["use"]) for event in self.journal.of("note")]
