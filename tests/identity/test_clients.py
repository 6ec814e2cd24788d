"""A client that nobody launched: of this user, outside every confined namespace, and called what it is."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from tests.identity.processes import ALICE, Agent, started

from ringwall.call import Allowed, Call, CallId, Denied, Facts, LaunchId, Process, SessionId, Target
from ringwall.identity.clients import Clients
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import Method, Probe
from ringwall.identity.registry import Attestation, Connection, Launch, Registry
from ringwall.identity.ring import IdentityRing

ID = LaunchId("c1")


def registry(method: Method = "inode", *, frozen: str = "", most: int = 8) -> Registry:
    made = Registry(Probe(method=method, tree=True), frozen=lambda who: frozen, max_connections=most)
    own = os.pidfd_open(os.getpid())
    made.register(Launch(id=ID, spiffe_id=ALICE, pidfd=own, pidns_fd=None, processes="one",
                         session=SessionId("s1"), confined=False, strength="none"))
    os.close(own)
    return made


def attested(found: Registry, agent: Agent) -> tuple[Connection, Attestation | Denied]:
    agent.do("connect")
    with agent.accept() as sock:
        connection = found.open_client(ID, sock)
        assert isinstance(connection, Connection)
        return connection, found.attest(connection.number)


@pytest.mark.parametrize("method", ["inode", "number", "peercred"])
def test_a_process_of_this_user_is_let_in_and_said_to_be_attested_by_nothing(
        tmp_path: Path, method: Method) -> None:
    found = registry(method)
    with started(tmp_path) as agent:
        connection, told = attested(found, agent)
        assert isinstance(told, Attestation)
        assert (told.via, told.strength, told.confined, told.confinement) == ("none", "none", False, "none")
        assert (told.spiffe_id, told.session) == (ALICE, "s1")
        agent.process.kill()
        agent.process.wait()
        dead = found.attest(connection.number)
        assert isinstance(dead, Denied) and dead.code == "peer_dead"
        found.close(connection)
    found.withdraw(ID)


def test_what_the_identity_ring_says_of_it_stands_in_the_facts(tmp_path: Path) -> None:
    found = registry()
    ring = IdentityRing(found, OperatorPeers(found.probe))
    with started(tmp_path) as agent:
        connection, _ = attested(found, agent)
        subject = Process(spiffe_id=ALICE, launch=ID, connection=connection.number, number=0)
        call = Call.make(id=CallId("x"), kind="tool", subject=subject, session=SessionId("s1"),
                         target=Target(name="a/b"), args={})
        facts: Facts = {}
        assert asyncio.run(ring.enter(call, facts)).verdict == Allowed()
        told = facts["identity"]
        assert (told["attestation"], told["strength"], told["confined"]) == ("none", "none", False)
        found.close(connection)
    found.withdraw(ID)


@pytest.mark.needs_root
def test_another_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = registry()
    with started(tmp_path) as agent:
        agent.do("become 12345")
        connection, told = attested(found, agent)
        assert isinstance(told, Denied) and told.code == "peer_foreign"
        assert "another user" in told.reason
        found.close(connection)
    found.withdraw(ID)


@pytest.mark.parametrize("namespaces", [("--pid", "--fork"), ("--user", "--map-root-user")])
def test_a_process_in_namespaces_of_its_own_is_refused_although_its_uid_is_ours(
        tmp_path: Path, namespaces: tuple[str, ...]) -> None:
    own = ("--user", "--map-root-user") if os.geteuid() and "--user" not in namespaces else ()
    found = registry()
    with started(tmp_path, "unshare", *own, *namespaces, "--kill-child") as agent:
        connection, told = attested(found, agent)
        assert isinstance(told, Denied) and told.code == "peer_foreign"
        found.close(connection)
    found.withdraw(ID)


def test_nobody_is_let_in_while_it_is_frozen_or_after_it_is_withdrawn(tmp_path: Path) -> None:
    found = registry(frozen="by rita")
    with started(tmp_path) as agent:
        connection, told = attested(found, agent)
        assert isinstance(told, Denied) and told.code == "frozen"
        found.withdraw(ID)
        gone = found.attest(connection.number)
        assert isinstance(gone, Denied) and gone.code == "launch_withdrawn"
        found.close(connection)


def test_a_flood_of_connections_is_turned_away_and_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    found, pairs = registry(most=2), [socket.socketpair() for _ in range(3)]
    opened = [found.open_client(ID, ours) for ours, _ in pairs]
    assert [isinstance(one, Denied) for one in opened] == [False, False, True]
    for one in opened:
        if isinstance(one, Connection):
            found.close(one)
    clients = Clients(found.probe, max_connections=1)
    first = clients.open(pairs[0][0])
    assert not isinstance(first, Denied) and isinstance(clients.open(pairs[1][0]), Denied)
    clients.close(first)
    found.withdraw(ID)
    for pair in pairs:
        for one in pair:
            one.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
