"""A peer is attested by both ends of its connection: the receiver's process, and the sender's certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.identity.processes import ALICE, launch, started
from tests.identity.test_ring import call, enter

from ringwall.call import Allowed, Chunk, Denied, Json, LaunchId, Peer
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import Probe
from ringwall.identity.registry import Registry
from ringwall.identity.ring import IdentityRing, own
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Stopped, Targets

PROBE = Probe(method="inode", tree=True)
BOB = AnyId.parse("spiffe://example.org/tenant/acme/agent/bob/role/payer")
FAR = AnyId.parse("spiffe://far.example/tenant/acme/agent/bob/role/payer")


@dataclass
class Bench:
    frozen: set[str] = field(default_factory=set)
    gone: bool = False

    def __post_init__(self) -> None:
        self.registry = Registry(PROBE, frozen=lambda who: "a drill" if who.agent in self.frozen else "")
        self.ring = IdentityRing(self.registry, OperatorPeers(PROBE), peers=self._peers)

    def _peers(self, subject: Peer) -> dict[str, Json] | Denied:
        if self.gone:
            return Denied(code="peer_gone", reason="the connection is closed")
        return {"via": "tls", "serial": "0a", "trust_domain": subject.spiffe_id.trust_domain, "expires": 1.0,
                "attested": False}

    def code(self, subject: Peer, session: str | None = "s1") -> str:
        passage, facts = enter(self.ring, call(subject, session))
        assert facts["attested"] is (passage.verdict == Allowed())
        return passage.verdict.code if isinstance(passage.verdict, Denied) else ""


@contextmanager
def receiving(folder: Path) -> Generator[tuple[Bench, Peer]]:
    bench = Bench()
    with started(folder) as agent, launch(agent.process.pid) as record:
        bench.registry.register(record)
        yield bench, Peer(spiffe_id=BOB, receiver=ALICE, launch=record.id, connection=1)
        bench.registry.withdraw(record.id)


def peer(subject: Peer, **changed: object) -> Peer:
    return Peer(**{"spiffe_id": subject.spiffe_id, "receiver": subject.receiver, "launch": subject.launch,
                   "connection": 1, **changed})  # type: ignore[arg-type]


def test_a_peer_is_attested_by_its_connection_and_asked_for_again_before_every_piece(tmp_path: Path) -> None:
    with receiving(tmp_path) as (bench, subject):
        passage, facts = enter(bench.ring, call(subject))
        assert passage.verdict == Allowed()
        assert facts == {"attested": True, "attestation": "peer", "via": "tls", "serial": "0a",
                         "trust_domain": "example.org", "expires": 1.0}
        shown = Targets(definitions={"x": {}})
        assert asyncio.run(bench.ring.lists(subject, shown)) == shown
        assert asyncio.run(passage.release(Chunk(value=1))) == (Chunk(value=1),)
        bench.gone = True
        with pytest.raises(Stopped) as stopped:
            asyncio.run(passage.release(Chunk(value=1)))
        assert stopped.value.denied.code == "peer_gone"
        assert bench.code(subject) == "peer_gone"
        assert asyncio.run(bench.ring.lists(subject, shown)).definitions == {}


def test_a_frozen_end_refuses_and_a_namesake_in_another_trust_domain_is_not_frozen(tmp_path: Path) -> None:
    with receiving(tmp_path) as (bench, subject):
        passage, _ = enter(bench.ring, call(subject))
        bench.frozen = {"bob"}
        assert bench.code(subject) == "frozen"
        assert bench.code(peer(subject, spiffe_id=FAR)) == ""
        with pytest.raises(Stopped):
            asyncio.run(passage.finish())
        bench.frozen = {"alice"}
        assert bench.code(subject) == "frozen" and bench.code(peer(subject, spiffe_id=FAR)) == "frozen"


def test_a_message_reaches_only_the_launch_identity_and_session_it_names(tmp_path: Path) -> None:
    with receiving(tmp_path) as (bench, subject):
        assert bench.code(subject, "s2") == "identity_mismatch"
        assert bench.code(peer(subject, launch=LaunchId("l9"))) == "launch_withdrawn"
        other = SpiffeId.make(trust_domain="example.org", tenant="acme", agent="bob", role="reader")
        assert bench.code(peer(subject, receiver=other)) == "identity_mismatch"
        bench.registry.withdraw(subject.launch)
        assert bench.code(subject) == "launch_withdrawn"


def test_nobody_is_a_peer_where_no_connections_are_known(tmp_path: Path) -> None:
    with receiving(tmp_path) as (bench, subject):
        ring = IdentityRing(bench.registry, OperatorPeers(PROBE))
        passage, _ = enter(ring, call(subject))
        assert isinstance(passage.verdict, Denied) and passage.verdict.code == "peer_unknown"


def test_only_an_agents_id_of_the_own_trust_domain_is_ours() -> None:
    assert own(BOB, "example.org") == SpiffeId.parse(str(BOB))
    assert own(FAR, "example.org") is None
    assert own(AnyId.parse("spiffe://example.org/envoy"), "example.org") is None
