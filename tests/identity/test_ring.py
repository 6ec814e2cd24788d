"""The identity ring attests on entry and again before every piece of an answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.identity.processes import ALICE, launch, started

from ringwall.call import Allowed, Call, CallId, Chunk, Denied, Facts, Operator, Process, SessionId, Subject, Target
from ringwall.identity.operators import OperatorConnection, OperatorPeers
from ringwall.identity.probe import Probe
from ringwall.identity.registry import Connection, Registry
from ringwall.identity.ring import IdentityRing
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Passage, Stopped, Targets

PROBE = Probe(method="inode", tree=True)


def call(subject: Subject, session: str | None = "s1") -> Call:
    return Call.make(
        id=CallId("c1"),
        kind="tool",
        subject=subject,
        session=SessionId(session) if session else None,
        target=Target(name="docs/read"),
        args={},
    )


def enter(ring: IdentityRing, wanted: Call) -> tuple[Passage, dict[str, Any]]:
    facts: Facts = {}
    passage = asyncio.run(ring.enter(wanted, facts))
    return passage, facts["identity"]


def test_an_answer_stops_when_the_process_has_died_meanwhile(tmp_path: Path) -> None:
    registry = Registry(PROBE)
    ring = IdentityRing(registry, OperatorPeers(PROBE))
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("connect")
        with agent.accept() as sock:
            connection = registry.open(record.id, sock)
            assert isinstance(connection, Connection)
            subject = Process(spiffe_id=ALICE, launch=record.id, connection=connection.number)
            shown = Targets(definitions={"docs/read": {}})
            passage, facts = enter(ring, call(subject))
            assert passage.verdict == Allowed()
            assert facts == {
                "attested": True,
                "attestation": "process",
                "strength": "strong",
                "sender": "connection",
                "number": 0,
                "confined": True,
                "confinement": "full",
            }
            chunk = Chunk(value=1)
            assert asyncio.run(passage.release(chunk)) == (chunk,)
            assert asyncio.run(passage.finish()) == ()
            assert asyncio.run(ring.lists(subject, shown)) == shown
            agent.process.kill()
            agent.process.wait()
            with pytest.raises(Stopped):
                asyncio.run(passage.release(chunk))
            with pytest.raises(Stopped):
                asyncio.run(passage.finish())
            assert asyncio.run(ring.lists(subject, shown)).definitions == {}
            refused, facts = enter(ring, call(subject))
            assert isinstance(refused.verdict, Denied)
            assert facts == {"attested": False, "code": "peer_dead"}
            registry.close(connection)


def test_a_call_that_names_somebody_else_than_its_connection_is_refused(tmp_path: Path) -> None:
    registry = Registry(PROBE)
    ring = IdentityRing(registry, OperatorPeers(PROBE))
    bob = SpiffeId.make(trust_domain="example.org", tenant="acme", agent="bob", role="payer")
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("connect")
        with agent.accept() as sock:
            connection = registry.open(record.id, sock)
            assert isinstance(connection, Connection)
            mine = Process(spiffe_id=ALICE, launch=record.id, connection=connection.number)
            for other in (replace(mine, spiffe_id=bob), replace(mine, number=2), replace(mine, launch="l2")):
                passage, _ = enter(ring, call(other))
                assert isinstance(passage.verdict, Denied)
                assert passage.verdict.code == "identity_mismatch"
            passage, _ = enter(ring, call(mine, session="of somebody else"))
            assert isinstance(passage.verdict, Denied)
            registry.close(connection)


def test_an_operator_is_attested_again_for_every_answer(tmp_path: Path) -> None:
    peers = OperatorPeers(PROBE)
    ring = IdentityRing(Registry(PROBE), peers)
    with started(tmp_path) as agent:
        agent.do("connect")
        with agent.accept() as sock:
            connection = peers.open(sock)
            assert isinstance(connection, OperatorConnection)
            operator = peers.attest(connection.number)
            assert isinstance(operator, Operator)
            passage, facts = enter(ring, call(operator, None))
            assert passage.verdict == Allowed()
            assert facts["attestation"] == "operator"
            other, _ = enter(ring, call(replace(operator, name="root of all"), None))
            assert isinstance(other.verdict, Denied)
            peers.close(connection)
            with pytest.raises(Stopped):
                asyncio.run(passage.release(Chunk(value=1)))
