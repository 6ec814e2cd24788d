"""A connection is worth something only in the hands of the process that opened it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop
from tests.doors.fakes import LAUNCH, Served, post, read_all, served
from tests.fakes import until

from ringwall.call import Denied
from ringwall.identity.registry import Connection
from ringwall.identity.transport import SO_PASSRIGHTS, Acceptor

Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])

# Writes what it is told to its standard output, which is somebody's connection.
MOUTH = """
import os, sys
for line in sys.stdin:
    os.write(1, bytes.fromhex(line)); print('done', file=sys.stderr, flush=True)
"""
# Opens a connection, gives it away, and lives on until its standard input ends.
GIVER = """
import socket, sys
sys.stdin.readline()
mine = socket.socket(socket.AF_UNIX); mine.connect(sys.argv[1])
meeting = socket.socket(socket.AF_UNIX); meeting.connect(sys.argv[2])
socket.send_fds(meeting, [b'x'], [mine.fileno()])
sys.stdin.readline()
"""


class Child:
    """A process that holds a connection of ours."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def sends(self, data: bytes) -> None:
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.write(data.hex() + "\n")
        self._process.stdin.flush()
        assert self._process.stderr.readline() == "done\n"


@contextmanager
def child(sock: socket.socket) -> Generator[Child]:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", MOUTH], stdin=subprocess.PIPE, stdout=sock.fileno(),
                          stderr=subprocess.PIPE, text=True) as process:
        yield Child(process)


def problem(raw: bytes) -> str:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403"), raw
    return str(json.loads(body)["error"]["code"])


def opened(door: Served) -> list[Connection]:
    return door.on_loop(lambda: list(door.registry._connections.values()))


def idle(door: Served) -> None:
    """Wait until every connection is over."""
    door.run(until(lambda: not door.registry._connections))


@LOOPS
def test_a_child_that_inherited_the_connection_is_refused_and_the_call_never_happens(
    tmp_path: Path, loop: Loop
) -> None:
    with served(tmp_path, made=loop) as door, door.connect() as sock, child(sock) as thief:
        thief.sends(post())
        assert problem(read_all(sock)) == "sender_foreign"
        assert door.wall.seen == []


@LOOPS
def test_the_owner_is_served_until_another_process_writes_and_then_nobody_is(tmp_path: Path, loop: Loop) -> None:
    with served(tmp_path, made=loop) as door, door.connect() as sock, child(sock) as thief:
        for _ in range(3):
            sock.sendall(post(close=False))
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
        thief.sends(post(body=b'{"stolen":1}'))
        assert problem(read_all(sock)) == "sender_foreign"
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for _ in range(2):
                sock.sendall(post())
        assert [raw for _, _, raw in door.wall.seen] == [b"{}"] * 3


@LOOPS
@pytest.mark.parametrize("owner_first", [True, False])
def test_a_request_of_two_halves_by_two_processes_is_no_request(
    tmp_path: Path, loop: Loop, owner_first: bool
) -> None:
    with served(tmp_path, made=loop) as door, door.connect() as sock, child(sock) as thief:
        half = len(post()) // 2
        speakers = [sock.sendall, thief.sends] if owner_first else [thief.sends, sock.sendall]
        speakers[0](post()[:half])
        try:
            speakers[1](post()[half:])
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused already
        assert problem(read_all(sock)) == "sender_foreign"
        assert door.wall.seen == []


@LOOPS
def test_a_process_that_was_given_the_connection_of_a_living_agent_gets_nothing(tmp_path: Path, loop: Loop) -> None:
    handed(tmp_path, loop, ends=False)


@LOOPS
def test_a_process_that_writes_after_the_owner_has_exited_gets_nothing(tmp_path: Path, loop: Loop) -> None:
    handed(tmp_path, loop, ends=True)


def handed(folder: Path, loop: Loop, *, ends: bool) -> None:
    with socket.socket(socket.AF_UNIX) as meeting:
        meeting.bind(str(folder / "m.sock"))
        meeting.listen()
        command = [sys.executable, "-I", "-S", "-c", GIVER, str(folder / "door.sock"), str(folder / "m.sock")]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as agent:
            assert agent.stdin is not None
            with served(folder, pid=agent.pid, made=loop) as door:
                agent.stdin.write(b"go\n")
                agent.stdin.flush()
                met = meeting.accept()[0]
                with met, socket.socket(fileno=socket.recv_fds(met, 1, 1)[1][0]) as stolen:
                    stolen.settimeout(30)
                    if ends:
                        agent.communicate(b"\n")
                    stolen.sendall(post())
                    assert problem(read_all(stolen)) == "sender_foreign"
                assert door.wall.seen == []


@LOOPS
def test_a_call_that_runs_is_cancelled_when_another_process_writes_to_its_connection(
    tmp_path: Path, loop: Loop
) -> None:
    with served(tmp_path, made=loop) as door, door.connect() as sock, child(sock) as thief:
        door.wall.block = asyncio.Event()
        sock.sendall(post(close=False))
        assert door.wall.started.wait(30)
        thief.sends(b"x")
        assert door.wall.settling.wait(30)
        assert door.wall.settled == ["cancelled"]
        assert b"200 OK" not in read_all(sock)


def test_whoever_watches_is_told_once_for_each_connection_and_no_call_is_attested_over_it_again(
    tmp_path: Path,
) -> None:
    told: list[tuple[int, str]] = []
    with served(tmp_path) as door:
        door.registry.on_foreign = lambda connection, why: told.append((connection.number, why.code))
        with door.connect() as sock:
            sock.sendall(post(close=False))
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
            (connection,) = opened(door)

            def twice() -> list[object]:
                one = [door.registry.sender(connection.number, None) for _ in range(2)]
                return [*one, door.registry.attest(connection.number)]

            found = door.on_loop(twice)
            assert all(isinstance(one, Denied) for one in found)
            assert told == [(connection.number, "sender_unknown")]
        idle(door)
        assert door.registry._foreign == set()


@LOOPS
def test_descriptors_that_come_with_a_request_are_refused_and_closed(tmp_path: Path, loop: Loop) -> None:
    with served(tmp_path, made=loop) as door:
        with door.connect() as sock:
            try:
                socket.send_fds(sock, [post()], [0])
            except PermissionError:
                pass  # Linux 6.16: the kernel does not let them through
            else:
                assert problem(read_all(sock)) == "sender_unknown"
        listening = door.server._sockets._open[LAUNCH][0]
        assert isinstance(listening, Acceptor)
        try:
            listening._sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 1)
        except OSError:
            pass  # as it is before Linux 6.16
        before = held(door)
        for many in (1, 2, 253):
            with door.connect() as sock:
                socket.send_fds(sock, [post()], [0] * many)
                assert problem(read_all(sock)) == "sender_unknown"
            assert held(door) <= before
        assert door.wall.seen == []


def held(door: Served) -> int:
    idle(door)
    return len(list(Path("/proc/self/fd").iterdir()))


@LOOPS
def test_no_descriptor_stays_behind_however_many_requests_there_are(tmp_path: Path, loop: Loop) -> None:
    with served(tmp_path, made=loop) as door:
        door.exchange(post())
        before = held(door)
        with door.connect() as sock:
            for _ in range(200):
                for piece in (post(close=False)[:20], post(close=False)[20:]):
                    sock.sendall(piece)
                assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert held(door) <= before


def test_a_kernel_that_names_no_senders_still_has_the_check_of_the_connection(tmp_path: Path) -> None:
    with served(tmp_path, reads=False) as door:
        assert door.exchange(post()).startswith(b"HTTP/1.1 200")
        with door.connect() as sock, child(sock) as held_by_a_child:
            held_by_a_child.sends(post())
            assert read_all(sock).startswith(b"HTTP/1.1 200")  # what every read is looked at for
