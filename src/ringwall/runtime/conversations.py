"""Messages between agents, put together: who vouches, whose task is whose, the effect, the peers' door."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from ringwall.audit.journal import AuditJournal
from ringwall.call import Call, Chunk, Denied, Facts, Json, Last, Peer, SessionId, as_object
from ringwall.capability.messages import Messages
from ringwall.capability.peers import check_answer
from ringwall.clock import Clock
from ringwall.doors.peers import PeersDoor
from ringwall.errors import BadInput
from ringwall.flow.book import LabelBook
from ringwall.identity.registry import Registry
from ringwall.identity.spire.authority import SpireAuthority
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.interface import Effect, Journal, Origin
from ringwall.manifest.types import Manifest
from ringwall.peers.effect import MessageEffect
from ringwall.peers.envelope import Envelopes
from ringwall.peers.envoy import Senders
from ringwall.peers.line import PeerLine
from ringwall.peers.pushing import Pushing
from ringwall.peers.tasks import TaskBook
from ringwall.runtime.callers import Callers
from ringwall.runtime.fronting import Fronting
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.peering import Peering
from ringwall.runtime.runs import Tasks
from ringwall.runtime.sessions import Sessions
from ringwall.wall import Wall


class Conversations:
    """Everything about messages of one core.

    Args:
        manifest: who talks to whom.
        authority: SVIDs, bundles, signatures.
        registry: who lives.
        sessions: of launches.
        labels: what each was shown.
        journal: the log.
        clock: what time it is.
        tasks: background work.
        ids: fresh call ids.
        folder: where an Envoy in front finds its sockets, unless the manifest says another.

    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        authority: EmbeddedAuthority | SpireAuthority,
        registry: Registry,
        sessions: Sessions,
        labels: LabelBook,
        journal: Journal,
        clock: Clock,
        tasks: Tasks,
        ids: Callable[[], str],
        folder: Path,
    ) -> None:
        self._door: PeersDoor | None = None
        self.book = TaskBook(journal=journal, clock=clock)
        self.envelopes = Envelopes(
            sign=authority.sign, bundles=authority.bundles, trust_domain=manifest.trust_domain, clock=clock
        )
        self._callers = Callers(registry=registry, authority=authority, journal=journal, clock=clock,
                                knows=Senders(manifest).know)
        self._front = Fronting(
            settings=manifest.a2a, folder=folder, probe=registry.probe, authority=authority, callers=self._callers,
            journal=journal, clock=clock, app=self._app,
        ) if manifest.a2a.terminator == "envoy" else None
        self.peering = Peering(
            callers=self._callers, authority=authority, sessions=sessions, book=labels,
            clock=clock, tasks=tasks, app=self._app, begins=self.book.inherit, front=self._front,
        )
        self._messages = Messages(manifest=manifest, book=self.book, envelopes=self.envelopes, ids=ids)
        self.effect: Effect = MessageEffect(
            manifest=manifest, lines=self.peering.line, vouching=self.envelopes, book=self.book,
            pushing=Pushing(manifest, self.book.pushes), label=self.peering.label,
            bundles=authority.bundles, sign=authority.sign,
            fits=lambda call, value: check_answer(manifest, call, value),
        )

    def restore(self, tenant: str, audit: AuditJournal) -> None:
        """Take what the log knows of a tenant's tasks. Raises AuditError."""
        types = frozenset({"task", "message"})
        self.book.restore(tenant, (record.body for record in audit.records(tenant, types=types)))
        for record in audit.records(tenant, types=frozenset({"push"})):
            try:
                sealed = as_object(audit.unsealed(tenant, record))
            except BadInput:  # forgotten, or not to be read: it is as if it had not been made
                sealed = None
            self.book.pushes.restore(tenant, record.body, sealed)

    async def serve(self, wall: Wall, helpers: Helpers) -> None:
        """From now on messages come and go; the sidecars are there.

        Raises RingwallError: an Envoy that stands in front could not reach the core.
        """
        self._door = PeersDoor(wall, self.envelopes, self.peering.receivers_label)
        self.peering.serve({tenant: PeerLine(sidecar.link) for tenant, sidecar in helpers.sidecars.items()})
        if self._front is not None:
            await self._front.start()

    async def close(self) -> None:
        """End all of it."""
        await self.peering.close()
        if self._front is not None:
            await self._front.stop()

    def resolve(self, origin: Origin, raw: bytes) -> Call:
        """Bytes to a call of kind ``message``. Raises BadInput."""
        return self._messages.resolve(origin, raw)

    def acting_for(self, session: SessionId | None) -> tuple[str, ...]:
        """On whose behalf a session works now."""
        return self.book.acting_for(session)

    def attest(self, peer: Peer) -> dict[str, Json] | Denied:
        """For the identity ring."""
        return self._callers.attest(peer)

    def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """The effect."""
        return self.effect.run(call, facts)

    def status(self) -> Json:
        """For ``ringwall status``."""
        return {**self.peering.status(), "tasks": self.book.status()}

    def _app(self) -> PeersDoor:
        if self._door is None:
            raise RuntimeError("there is no peers' door before the wall stands")
        return self._door
