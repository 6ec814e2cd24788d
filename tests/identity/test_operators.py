"""Operating takes the right user in the core's own namespaces, alive."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest
from tests.identity.processes import Agent, started

from ringwall.call import Denied, Operator
from ringwall.identity.operators import OperatorConnection, OperatorPeers
from ringwall.identity.probe import Method, Probe

STRONG = Probe(method="inode", tree=True)


def answer(peers: OperatorPeers, agent: Agent) -> Operator | Denied:
    agent.do("connect")
    with agent.accept() as sock:
        connection = peers.open(sock)
        assert isinstance(connection, OperatorConnection)
        try:
            return peers.attest(connection.number)
        finally:
            peers.close(connection)


def code(found: Operator | Denied) -> str:
    assert isinstance(found, Denied)
    return found.code


@pytest.mark.parametrize("method", ["inode", "number", "peercred"])
def test_a_process_of_the_cores_own_user_is_an_operator_by_name(tmp_path: Path, method: Method) -> None:
    with started(tmp_path) as agent:
        found = answer(OperatorPeers(Probe(method=method, tree=True)), agent)
        assert isinstance(found, Operator)
        named = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == os.geteuid()]
        assert (found.uid, found.name) == (os.geteuid(), next(iter(named), f"uid-{os.geteuid()}"))


def test_a_named_operator_is_called_as_the_manifest_calls_this_uid(tmp_path: Path) -> None:
    with started(tmp_path) as agent:
        found = answer(OperatorPeers(STRONG, named={os.geteuid(): "alice", os.geteuid() + 1: "bob"}), agent)
        assert isinstance(found, Operator)
        assert (found.uid, found.name) == (os.geteuid(), "alice")


def test_another_user_is_refused(tmp_path: Path) -> None:
    with started(tmp_path) as agent:
        assert code(answer(OperatorPeers(STRONG, named={os.geteuid() + 1: "eve"}), agent)) == "not_operator"


@pytest.mark.needs_root
def test_an_ordinary_user_is_refused_by_a_core_that_runs_as_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with started(tmp_path) as agent:
        agent.do("become 12345")
        assert code(answer(OperatorPeers(STRONG), agent)) == "not_operator"


@pytest.mark.needs_root
def test_another_named_user_operates_a_core_that_runs_as_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with started(tmp_path) as agent:
        agent.do("become 12345")
        found = answer(OperatorPeers(STRONG, named={12345: "bob"}), agent)
        assert isinstance(found, Operator)
        assert (found.uid, found.name) == (12345, "bob")


@pytest.mark.parametrize("namespaces", [("--pid", "--fork"), ("--user", "--map-root-user")])
def test_a_process_in_other_namespaces_is_refused_although_its_uid_is_ours(
    tmp_path: Path, namespaces: tuple[str, ...]
) -> None:
    own = ("--user", "--map-root-user") if os.geteuid() and "--user" not in namespaces else ()
    with started(tmp_path, "unshare", *own, *namespaces, "--kill-child") as agent:
        assert code(answer(OperatorPeers(STRONG), agent)) == "peer_foreign"


def test_a_dead_operator_is_refused(tmp_path: Path) -> None:
    peers = OperatorPeers(STRONG)
    with started(tmp_path) as agent:
        agent.tell("hand-over")
        with agent.accept() as sock:
            connection = peers.open(sock)
            agent.process.wait()
            assert isinstance(connection, OperatorConnection)
            assert code(peers.attest(connection.number)) in {"peer_dead", "peer_unknown"}
            peers.close(connection)
            assert code(peers.attest(connection.number)) == "connection_closed"


def test_connections_are_bounded_and_unnamed_peers_are_nobody() -> None:
    peers = OperatorPeers(STRONG, max_connections=1)
    with socket.socket(socket.AF_INET) as sock:
        first = peers.open(sock)
        assert isinstance(first, OperatorConnection)
        assert code(peers.attest(first.number)) == "peer_unknown"
        second = peers.open(sock)
        assert isinstance(second, Denied)
        assert second.code == "too_many_connections"


def test_nobodys_connections_keep_another_operator_out(tmp_path: Path) -> None:
    peers = OperatorPeers(STRONG, named={os.geteuid(): "alice"}, max_connections=1)
    with started(tmp_path) as agent, socket.socket(socket.AF_INET) as nobody:
        assert isinstance(peers.open(nobody), OperatorConnection)
        assert isinstance(peers.open(nobody), Denied)
        assert isinstance(answer(peers, agent), Operator)
