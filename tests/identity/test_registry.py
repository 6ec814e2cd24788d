"""Connections are attested by the process behind them, and by nothing it could fake."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.identity.processes import ALICE, launch, started, unshared

from ringwall.call import Denied, LaunchId
from ringwall.errors import Unavailable
from ringwall.identity import pidfd
from ringwall.identity.probe import Method, Probe
from ringwall.identity.registry import Attestation, Connection, Registry

METHODS: tuple[Method, ...] = ("inode", "number", "peercred")


@pytest.fixture
def descriptors() -> Generator[None]:
    """Every descriptor that a test opened is closed again."""
    before = set(Path("/proc/self/fd").iterdir())
    yield
    assert set(Path("/proc/self/fd").iterdir()) == before


def of(method: Method, *, tree: bool = True) -> Registry:
    return Registry(Probe(method=method, tree=tree))


def opened(registry: Registry, sock: socket.socket) -> Connection:
    found = registry.open(LaunchId("l1"), sock)
    assert isinstance(found, Connection)
    return found


def refused(answer: Attestation | Denied) -> str:
    assert isinstance(answer, Denied)
    return answer.code


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("descriptors")
def test_the_launched_process_is_attested_until_it_dies(tmp_path: Path, method: Method) -> None:
    registry = of(method)
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("connect")
        with agent.accept() as sock:
            connection = opened(registry, sock)
            found = registry.attest(connection.number)
            assert isinstance(found, Attestation)
            assert (found.spiffe_id, found.number, found.confined) == (ALICE, 0, True)
            assert found.strength == ("weak" if method == "peercred" else "strong")
            agent.process.kill()
            agent.process.wait()
            assert refused(registry.attest(connection.number)) == "peer_dead"
            registry.close(connection)
            registry.close(connection)
            assert refused(registry.attest(connection.number)) == "connection_closed"
        registry.withdraw(record.id)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("descriptors")
def test_a_forked_child_is_refused_where_one_process_may_call(tmp_path: Path, method: Method) -> None:
    registry = of(method)
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("fork-connect")
        with agent.accept() as sock:
            connection = opened(registry, sock)
            assert refused(registry.attest(connection.number)) == "peer_foreign"
            registry.close(connection)
        registry.withdraw(record.id)


@pytest.mark.parametrize("method", ["inode", "number"])
@pytest.mark.usefixtures("descriptors")
def test_a_descendant_is_attested_by_its_own_number_where_the_tree_may_call(tmp_path: Path, method: Method) -> None:
    registry = of(method)
    with started(tmp_path, *unshared("--pid")) as agent:
        agent.do("connect")
        with agent.accept() as first:
            inner = pidfd.peer_credentials(first).pid  # unshare's child, pid 1 of its namespace
            with launch(inner, "tree") as record:
                registry.register(record)
                agent.do("fork-connect")
                with agent.accept() as second:
                    init, child = opened(registry, first), opened(registry, second)
                    answers = [registry.attest(connection.number) for connection in (init, child)]
                    numbers = [answer.number for answer in answers if isinstance(answer, Attestation)]
                    assert numbers == [0, 2]
                    os.kill(inner, signal.SIGKILL)
                    agent.process.wait()
                    assert refused(registry.attest(child.number)) == "peer_dead"
                    registry.close(init)
                    registry.close(child)
                registry.withdraw(record.id)


@pytest.mark.usefixtures("descriptors")
def test_a_stranger_is_refused_by_a_tree(tmp_path: Path) -> None:
    registry = of("inode")
    with started(tmp_path, *unshared("--pid")) as agent:
        agent.do("connect")
        with agent.accept() as first, launch(pidfd.peer_credentials(first).pid, "tree") as record:
            registry.register(record)
            with socket.socket(socket.AF_UNIX) as mine:
                mine.connect(str(tmp_path / "door.sock"))
                with agent.accept() as sock:
                    connection = opened(registry, sock)
                    assert refused(registry.attest(connection.number)) == "peer_unknown"
                    registry.close(connection)
            registry.withdraw(record.id)


def test_a_tree_means_one_process_where_the_kernel_cannot_tell_descendants(tmp_path: Path) -> None:
    registry = of("inode", tree=False)
    with started(tmp_path) as agent, launch(agent.process.pid, "tree") as record:
        registry.register(record)
        agent.do("fork-connect")
        with agent.accept() as sock:
            connection = opened(registry, sock)
            assert refused(registry.attest(connection.number)) == "peer_foreign"
            registry.close(connection)


@pytest.mark.parametrize("accepted", ["before the exit", "after the exit"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("descriptors")
def test_a_connection_handed_to_a_child_dies_with_the_process_that_opened_it(
    tmp_path: Path, method: Method, accepted: str
) -> None:
    registry = of(method)
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.tell("hand-over")
        if accepted == "after the exit":
            agent.process.wait()
        with agent.accept() as sock:
            connection = opened(registry, sock)
            agent.process.wait()
            assert sock.recv(1) == b"x"  # what it sent still arrives
            assert refused(registry.attest(connection.number)) in {"peer_dead", "peer_unknown"}
            registry.close(connection)
        registry.withdraw(record.id)


@pytest.mark.usefixtures("descriptors")
def test_identity_names_a_process_so_another_program_in_it_keeps_it(tmp_path: Path) -> None:
    registry = of("inode")
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("exec")
        with agent.accept() as sock:
            connection = opened(registry, sock)
            found = registry.attest(connection.number)
            assert isinstance(found, Attestation)
            assert found.number == 0
            registry.close(connection)
        registry.withdraw(record.id)


def test_withdrawn_and_frozen_launches_are_refused_on_open_connections(tmp_path: Path) -> None:
    why = {"now": ""}
    registry = Registry(Probe(method="inode", tree=True), frozen=lambda who: why["now"] if who else "")
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("connect")
        with agent.accept() as sock:
            connection = opened(registry, sock)
            why["now"] = "three secrets"
            frozen = registry.attest(connection.number)
            assert refused(frozen) == "frozen"
            assert isinstance(frozen, Denied)
            assert "secrets" not in frozen.reason + frozen.remedy
            why["now"] = ""
            assert isinstance(registry.attest(connection.number), Attestation)
            registry.withdraw(record.id)
            assert refused(registry.attest(connection.number)) == "launch_withdrawn"
            assert isinstance(registry.open(record.id, sock), Denied)
            registry.register(record)  # the same name again is another launch for old connections
            registry.close(connection)
            assert refused(registry.attest(connection.number)) == "connection_closed"


def test_an_svid_is_for_a_living_launch_of_exactly_that_identity_that_is_not_frozen(tmp_path: Path) -> None:
    why = {"now": ""}
    registry = Registry(Probe(method="inode", tree=True), frozen=lambda who: why["now"] if who else "")
    gone: list[str] = []
    registry.on_withdraw = gone.append
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        who, other = record.spiffe_id, dataclasses.replace(record.spiffe_id, agent="other")
        assert registry.entitled(who, record.id) is None
        assert code(registry.entitled(other, record.id)) == "identity_mismatch"
        assert code(registry.entitled(who, LaunchId("other"))) == "launch_withdrawn"
        why["now"] = "three secrets"
        assert code(registry.entitled(who, record.id)) == "frozen"
        why["now"] = ""
        agent.process.kill()
        agent.process.wait()
        assert code(registry.entitled(who, record.id)) == "launch_withdrawn"
        assert gone == []
        registry.withdraw(record.id)
        registry.withdraw(record.id)
        assert gone == [record.id]


def code(denied: Denied | None) -> str:
    return denied.code if denied is not None else ""


def test_an_old_connection_does_not_belong_to_a_new_launch_of_the_same_name(tmp_path: Path) -> None:
    registry = of("inode")
    with started(tmp_path) as agent, launch(agent.process.pid) as record, launch(agent.process.pid) as again:
        registry.register(record)
        agent.do("connect")
        with agent.accept() as sock:
            connection = opened(registry, sock)
            registry.withdraw(record.id)
            registry.register(again)
            assert refused(registry.attest(connection.number)) == "launch_withdrawn"
            registry.close(connection)


def test_connections_of_one_launch_are_bounded_and_closing_makes_room(tmp_path: Path) -> None:
    registry = Registry(Probe(method="inode", tree=True), max_connections=2)
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("connect")
        with agent.accept() as sock:
            first, _ = opened(registry, sock), opened(registry, sock)
            third = registry.open(record.id, sock)
            assert isinstance(third, Denied)
            assert (third.code, third.retry_after) == ("too_many_connections", 1.0)
            registry.close(first)
            assert isinstance(registry.open(record.id, sock), Connection)


def test_a_socket_without_a_nameable_peer_gets_a_connection_that_is_never_attested(tmp_path: Path) -> None:
    registry = of("inode")
    with launch(os.getpid()) as record, socket.socket(socket.AF_INET) as sock:
        registry.register(record)
        connection = opened(registry, sock)
        assert connection.peer is None
        assert refused(registry.attest(connection.number)) == "peer_unknown"


def test_without_any_working_method_everybody_is_refused() -> None:
    registry = of("none")
    near, far = socket.socketpair()
    with launch(os.getpid()) as record, near, far:
        registry.register(record)
        assert refused(registry.attest(opened(registry, near).number)) == "peer_unknown"


def test_the_registry_keeps_its_own_descriptors_so_reused_numbers_change_nothing(tmp_path: Path) -> None:
    registry = of("inode")
    with started(tmp_path) as agent:
        with launch(agent.process.pid) as record:
            registry.register(record)
        stranger = os.pidfd_open(os.getpid())
        try:
            agent.do("connect")
            with agent.accept() as sock:
                assert isinstance(registry.attest(opened(registry, sock).number), Attestation)
        finally:
            os.close(stranger)


@pytest.mark.usefixtures("descriptors")
def test_dead_processes_foreign_descriptors_and_taken_names_cannot_be_registered(tmp_path: Path) -> None:
    registry = of("inode")
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        with pytest.raises(Unavailable, match="launch_exists"):
            registry.register(record)
        registry.withdraw(record.id)
        agent.process.kill()
        agent.process.wait()
        with pytest.raises(Unavailable, match="bad_pidfd"):
            registry.register(record)
    with pytest.raises(Unavailable, match="bad_pidfd"):
        registry.register(record)  # its descriptors are closed


@pytest.mark.parametrize("connection", [0, -1, 7, 1 << 70])
def test_numbers_that_name_no_connection_are_refused(connection: int) -> None:
    assert refused(of("inode").attest(connection)) == "connection_closed"


@pytest.mark.usefixtures("descriptors")
def test_a_connection_of_its_own_network_is_attested_by_that_network_until_the_agent_dies(tmp_path: Path) -> None:
    registry = of("inode")
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        connection = registry.open_inside(LaunchId("l1"))
        assert isinstance(connection, Connection)
        assert (connection.peer, connection.inside) == (None, True)
        found = registry.attest(connection.number)
        assert isinstance(found, Attestation)
        assert (found.spiffe_id, found.number, found.via, found.sender) == (ALICE, 0, "namespace", "connection")
        agent.process.kill()
        agent.process.wait()
        assert refused(registry.attest(connection.number)) == "peer_dead"
        registry.close(connection)
        registry.withdraw(LaunchId("l1"))


@pytest.mark.usefixtures("descriptors")
def test_a_network_that_is_the_hosts_or_nobodys_attests_nobody(tmp_path: Path) -> None:
    registry = of("inode")
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        assert _code(registry.open_inside(LaunchId("l1"))) == "launch_withdrawn"
        registry.register(dataclasses.replace(record, confined=False))
        assert _code(registry.open_inside(LaunchId("l1"))) == "peer_unknown"
        registry.withdraw(LaunchId("l1"))
        registry.register(record)
        connection = registry.open_inside(LaunchId("l1"))
        assert isinstance(connection, Connection)
        registry.withdraw(LaunchId("l1"))
        assert refused(registry.attest(connection.number)) == "launch_withdrawn"
        registry.close(connection)


@pytest.mark.usefixtures("descriptors")
def test_both_doors_of_a_launch_share_its_connections(tmp_path: Path) -> None:
    registry = Registry(Probe(method="inode", tree=True), max_connections=2)
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        agent.do("connect")
        with agent.accept() as sock:
            one, two = opened(registry, sock), registry.open_inside(LaunchId("l1"))
            assert isinstance(two, Connection)
            assert _code(registry.open_inside(LaunchId("l1"))) == "too_many_connections"
            assert _code(registry.open(LaunchId("l1"), sock)) == "too_many_connections"
            registry.close(two)
            again = registry.open_inside(LaunchId("l1"))
            assert isinstance(again, Connection)
            for each in (one, again):
                registry.close(each)
        registry.withdraw(LaunchId("l1"))


def _code(answer: Connection | Denied) -> str:
    assert isinstance(answer, Denied)
    return answer.code


@pytest.mark.parametrize("method", ["inode", "number"])
@pytest.mark.usefixtures("descriptors")
def test_only_what_the_peer_itself_sends_counts_and_one_other_sender_is_enough(
    tmp_path: Path, method: Method
) -> None:
    registry = Registry(Probe(method=method, tree=True, reads=True))
    told: list[str] = []
    registry.on_foreign = lambda connection, why: told.append(why.code)
    with started(tmp_path) as agent, launch(agent.process.pid, "tree") as record:
        registry.register(record)
        itself, other = os.pidfd_open(agent.process.pid), os.pidfd_open(os.getpid())
        agent.do("connect")
        with agent.accept() as sock:
            for who, code in ((other, "sender_foreign"), (None, "sender_unknown"), (0, "sender_")):
                connection = opened(registry, sock)
                assert registry.sender(connection.number, itself) is None
                found = registry.attest(connection.number)
                assert isinstance(found, Attestation)
                assert found.sender == "every read"
                denied = registry.sender(connection.number, who)
                assert isinstance(denied, Denied)
                assert denied.code.startswith(code)
                assert registry.sender(connection.number, itself) is None  # and still:
                assert refused(registry.attest(connection.number)) == "sender_foreign"
                registry.close(connection)
                assert isinstance(registry.sender(connection.number, itself), Denied)
            assert len(told) == 3
        os.close(itself)
        os.close(other)
        registry.withdraw(record.id)


@pytest.mark.parametrize("method", ["inode", "number"])
@pytest.mark.usefixtures("descriptors")
def test_a_descendant_may_not_write_to_another_ones_connection_even_where_the_tree_may_call(
    tmp_path: Path, method: Method
) -> None:
    registry = Registry(Probe(method=method, tree=True, reads=True))
    with started(tmp_path, *unshared("--pid")) as agent:
        agent.do("connect")
        with agent.accept() as first, launch(pidfd.peer_credentials(first).pid, "tree") as record:
            registry.register(record)
            agent.do("fork-connect")
            with agent.accept() as second:
                init, child = opened(registry, first), opened(registry, second)
                handles = [pidfd.peer_pidfd(sock) for sock in (first, second)]
                assert registry.sender(init.number, handles[0]) is None
                assert registry.sender(child.number, handles[1]) is None
                assert isinstance(registry.attest(child.number), Attestation)
                denied = registry.sender(init.number, handles[1])
                assert isinstance(denied, Denied)
                assert denied.code == "sender_foreign"
                for handle in handles:
                    os.close(handle)
                registry.close(init)
                registry.close(child)
            registry.withdraw(record.id)


@pytest.mark.usefixtures("descriptors")
def test_a_connection_whose_peer_nobody_names_is_refused_on_the_record_and_not_by_its_sender(
    tmp_path: Path,
) -> None:
    registry = Registry(Probe(method="inode", tree=True, reads=True))
    with started(tmp_path) as agent, launch(agent.process.pid) as record:
        registry.register(record)
        with socket.socket(socket.AF_INET) as nobody:
            connection = opened(registry, nobody)
            assert registry.sender(connection.number, None) is None
            assert refused(registry.attest(connection.number)) == "peer_unknown"
            registry.close(connection)
        registry.withdraw(record.id)
