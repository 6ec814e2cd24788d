"""Peers that were let in, whoever ended their TLS (a sidecar, or an Envoy in front): judged, counted, attested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from ringwall.call import Denied, Event, Json, LaunchId, Peer, SessionId
from ringwall.clock import Clock
from ringwall.errors import Refused
from ringwall.identity.registry import Registry
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.identity.svid.interface import Authority
from ringwall.identity.svid.verifier import Verified, X509Verifier
from ringwall.interface import Journal
from ringwall.peers.interface import PeerConnection

MAX_CONNECTIONS: Final = 256  # of all peers to one agent; each costs the core a descriptor and some 20 KB
MAX_OF_ONE: Final = 64  # of one peer to one agent: nobody takes all the places
MAX_STRANGERS: Final = 64  # of all who may send nothing to it; they are let in to be told so, by a record
MAX_OF_DOMAIN: Final = 128  # of one other trust domain: its authority can be as many peers as it likes


Knows = Callable[[SpiffeId, AnyId], bool]
"""Whether the manifest lets an agent (the first) have anything from a peer at all."""


def everybody(receiver: SpiffeId, peer: AnyId) -> bool:
    """Nobody is a stranger: for those who have no manifest to ask."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where peers come to: one launch of an agent."""

    receiver: SpiffeId
    launch: LaunchId
    session: SessionId


class Callers:
    """Who is let in, and who is there.

    Args:
        registry: who lives.
        authority: knows bundles and what was revoked.
        journal: where refused peers are counted.
        clock: what time it is.
        knows: tells strangers from those who may send something.

    """

    def __init__(
        self, *, registry: Registry, authority: Authority, journal: Journal, clock: Clock, knows: Knows = everybody
    ) -> None:
        self._knows = knows
        self._registry = registry
        self._authority = authority
        self._journal = journal
        self._clock = clock
        self._verifier = X509Verifier(authority.bundles, clock, revoked=authority.revoked)
        self._connections: dict[int, PeerConnection] = {}
        self._proofs: dict[int, _Proof] = {}  # by connection
        self._known: dict[LaunchId, set[int]] = {}
        self._numbers = count(1)

    def judge(self, place: Place, chain: Sequence[bytes]) -> Verified:
        """Who presents these certificates, leaf first, DER each. Raises Refused, and counts it."""
        try:
            return self._verifier.verify(chain)
        except Refused as fault:
            self.refused(place, fault.code)
            raise

    def admit(self, place: Place, proved: Verified, chain: Sequence[bytes]) -> PeerConnection:
        """Let a peer in that this chain has proved, until ``gone``. Raises Refused, and counts it."""
        denied = self._registry.entitled(place.receiver, place.launch) or self._crowded(place, proved)
        if denied is not None:
            # A stranger's domain is enough: it may have any number of names, and each would be a record.
            known = self._knows(place.receiver, proved.spiffe_id)
            self.refused(place, denied.code, str(proved.spiffe_id if known else AnyId(
                trust_domain=proved.spiffe_id.trust_domain, path=())))
            raise Refused(denied.reason, code=denied.code)
        connection = PeerConnection(
            number=next(self._numbers), sender=proved.spiffe_id, receiver=place.receiver, launch=place.launch,
            session=place.session, serial=proved.number, expires_at=proved.expires_at,
        )
        self._connections[connection.number] = connection
        self._proofs[connection.number] = _Proof(tuple(chain), self._authorities(proved.spiffe_id))
        self._known.setdefault(place.launch, set()).add(connection.number)
        return connection

    def refused(self, place: Place, code: str, who: str = "") -> None:
        """Count somebody who was turned away; ``who`` as far as it is proved."""
        self._journal.count(Event(
            type="peer_refused", tenant=place.receiver.tenant, subject=who, session=place.session,
            body={"receiver": str(place.receiver), "code": code},
        ))

    def there(self, connection: PeerConnection) -> bool:
        """Whether it is not over yet."""
        return connection.number in self._connections

    def gone(self, connection: PeerConnection) -> None:
        """It is over. Harmless when repeated."""
        self._connections.pop(connection.number, None)
        self._proofs.pop(connection.number, None)
        known = self._known.get(connection.launch, set())
        known.discard(connection.number)
        if not known:
            self._known.pop(connection.launch, None)

    def count(self, launch: LaunchId) -> int:
        """How many are there now."""
        return len(self._known.get(launch, ()))

    def attest(self, peer: Peer) -> dict[str, Json] | Denied:
        """For the identity ring: the facts about a peer, now."""
        found = self._connections.get(peer.connection)
        if found is None or (found.sender, found.receiver, found.launch) != (
            peer.spiffe_id, peer.receiver, peer.launch,
        ):
            return Denied(code="connection_closed", reason="the connection this message came over is closed")
        denied = self._registry.entitled(peer.receiver, peer.launch)
        if denied is not None:
            return denied
        if self._clock.now() >= found.expires_at:
            return Denied(code="svid_expired", reason="the peer's certificate has expired")
        if self._authority.revoked(str(found.sender), found.serial):
            return Denied(code="svid_revoked", reason="the peer's certificate was revoked")
        denied = self._still(found)
        if denied is not None:
            return denied
        return {
            "attested": True,
            "via": "tls",
            "serial": found.serial,
            "trust_domain": found.sender.trust_domain,
            "expires": found.expires_at,
        }

    def _still(self, found: PeerConnection) -> Denied | None:
        """Judge its chain again if the bundle of its trust domain is another since: a key may be withdrawn."""
        proof, now = self._proofs[found.number], self._authorities(found.sender)
        if proof.authorities == now:
            return None
        try:
            self._verifier.verify(proof.chain, expected=str(found.sender))
        except Refused as fault:
            return Denied(code=fault.code, reason="the peer's certificate does not count any more")
        self._proofs[found.number] = _Proof(proof.chain, now)
        return None

    def _authorities(self, who: AnyId) -> tuple[bytes, ...]:
        bundle = self._authority.bundles().get(who.trust_domain)
        return bundle.authorities if bundle is not None else ()

    def _crowded(self, place: Place, proved: Verified) -> Denied | None:
        there = [self._connections[number].sender for number in self._known.get(place.launch, ())]
        if len(there) < min(MAX_OF_ONE, MAX_STRANGERS, MAX_OF_DOMAIN):
            return None
        who, own = proved.spiffe_id, place.receiver.trust_domain
        full = len(there) >= MAX_CONNECTIONS or sum(one == who for one in there) >= MAX_OF_ONE
        if who.trust_domain != own:
            full = full or sum(one.trust_domain == who.trust_domain for one in there) >= MAX_OF_DOMAIN
        if not full and not self._knows(place.receiver, who):
            full = sum(not self._knows(place.receiver, one) for one in there) >= MAX_STRANGERS
        if full:
            return Denied(code="too_many_connections", reason="too many connections to this agent are open")
        return None


@dataclass(frozen=True, slots=True)
class _Proof:
    """What a peer showed, and whom of its trust domain was believed when that was judged."""

    chain: tuple[bytes, ...]
    authorities: tuple[bytes, ...]
