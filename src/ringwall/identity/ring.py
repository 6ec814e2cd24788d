"""The identity ring: the process behind the call lives, is registered, and is who the call says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ringwall.call import (
    Allowed,
    Call,
    Chunk,
    Denied,
    End,
    Facts,
    Json,
    Operator,
    Peer,
    Process,
    RingName,
    Subject,
    Usage,
    Verdict,
)
from ringwall.errors import BadInput
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.registry import Registry
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Passage, Stopped, Targets

_NOBODY: Final = Targets(definitions={})


def nothing(call: Call) -> None:
    """No call waits."""


def no_peers(subject: Peer) -> Denied:
    """Nobody is proved by a certificate here."""
    return Denied(code="peer_unknown", reason="no connection of this peer is open")


class IdentityRing:
    """Attests on entry, and again before every piece of an answer.

    Args:
        registry: launches and their connections.
        operators: connections of the operator socket.
        waits: what a call has to wait for before it is attested: a freeze that is being decided.
        peers: what is known of a peer's connection now (``via``, ``serial``, ``trust_domain``, ``expires``), or why
            it is refused. Asked for every call and before every piece of an answer.
        source: who issues SVIDs where that is not our own authority; it stands in the facts, so in every record.

    """

    name: RingName = "identity"

    def __init__(
        self,
        registry: Registry,
        operators: OperatorPeers,
        waits: Callable[[Call], Awaitable[object] | None] = nothing,
        peers: Callable[[Peer], dict[str, Json] | Denied] = no_peers,
        source: str = "",
    ) -> None:
        self._source: dict[str, Json] = {"identity": source} if source else {}
        self._registry = registry
        self._operators = operators
        self._waits = waits
        self._peers = peers

    async def enter(self, call: Call, facts: Facts) -> Passage:
        """Refuses unless the subject is attested at this moment; facts say how strongly."""
        waiting = self._waits(call)
        if waiting is not None:
            await waiting
        found = self.check(call.subject, call.session)
        if isinstance(found, Denied):
            facts[self.name] = {"attested": False, "code": found.code}
            return _Watched(self, call, found)
        facts[self.name] = found
        return _Watched(self, call, Allowed())

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Everything to a living, attested subject; nothing to anybody else."""
        return _NOBODY if isinstance(self.check(subject, None), Denied) else targets

    def check(self, subject: Subject, session: str | None) -> dict[str, Json] | Denied:
        """The facts about this subject now, or why it is refused.

        Args:
            subject: as the call names it.
            session: must be the launch's own where it is given.

        """
        if isinstance(subject, Operator):
            return self._operator(subject)
        if isinstance(subject, Peer):
            return self._peer(subject, session)
        return self._process(subject, session)

    def _peer(self, subject: Peer, session: str | None) -> dict[str, Json] | Denied:
        """Both ends: the receiver runs, and in this session; the sender's connection stands; neither is frozen."""
        refused = self._registry.receives(subject.receiver, subject.launch, session)
        if refused is None and (sender := own(subject.spiffe_id, subject.receiver.trust_domain)) is not None:
            refused = self._registry.thawed(sender)
        if refused is not None:
            return refused
        found = self._peers(subject)
        return found if isinstance(found, Denied) else {**found, "attested": True, "attestation": "peer"}

    def _process(self, subject: Process, session: str | None) -> dict[str, Json] | Denied:
        found = self._registry.attest(subject.connection)
        if isinstance(found, Denied):
            return found
        named = (subject.launch, subject.spiffe_id, subject.number)
        if named != (found.launch, found.spiffe_id, found.number):
            return _mismatch()
        if session is not None and session != found.session:
            return _mismatch()
        return {
            **self._source,
            "attested": True,
            "attestation": found.via,
            "strength": found.strength,
            "sender": found.sender,
            "number": found.number,
            "confined": found.confined,
            "confinement": found.confinement,
        }

    def _operator(self, subject: Operator) -> dict[str, Json] | Denied:
        found = self._operators.attest(subject.connection)
        if isinstance(found, Denied):
            return found
        if found != subject:
            return _mismatch()
        return {"attested": True, "attestation": "operator", "strength": self._registry.probe.strength}


class _Watched:
    """The subject is attested again before anything goes out to it."""

    def __init__(self, ring: IdentityRing, call: Call, verdict: Verdict) -> None:
        self.verdict = verdict
        self._ring = ring
        self._call = call

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        self._alive()
        return (chunk,)

    async def finish(self) -> Sequence[Chunk]:
        self._alive()
        return ()

    async def leave(self, end: End, usage: Usage) -> None:
        return None

    def _alive(self) -> None:
        found = self._ring.check(self._call.subject, self._call.session)
        if isinstance(found, Denied):
            raise Stopped(found)


def own(who: AnyId, trust_domain: str) -> SpiffeId | None:
    """The same ID as one of this installation's agents; None: of another trust domain, or no agent."""
    if who.trust_domain != trust_domain:
        return None
    try:
        return SpiffeId.parse(str(who))
    except BadInput:
        return None


def _mismatch() -> Denied:
    return Denied(code="identity_mismatch", reason="the call names another subject than its connection")
