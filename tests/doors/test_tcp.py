"""The same door over TCP: on a listener that was made elsewhere, attested by the network it was made in."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.doors.fakes import LAUNCH, Served, post, read_all, served

from ringwall.call import Process
from ringwall.errors import Unavailable


def opened(door: Served) -> tuple[str, int]:
    """Open it, as the launcher does with a copy of the descriptor that it keeps."""
    listener = socket.create_server(("127.0.0.1", 0))
    door.run(door.server.add_tcp(LAUNCH, listener))
    return listener.getsockname()


def exchange(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(data)
        return read_all(sock)


def test_a_call_over_tcp_is_the_launchs_own_and_named_by_its_network(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        address = opened(door)
        assert b"200 OK" in exchange(address, post())
        assert b"200 OK" in door.exchange(post())
        over_tcp, over_unix = (origin.subject for origin, _, _ in door.wall.seen)
        assert isinstance(over_tcp, Process)
        assert isinstance(over_unix, Process)
        assert (over_tcp.launch, over_tcp.number) == (over_unix.launch, 0)


def test_both_doors_close_together_and_the_listeners_other_copy_can_be_served_again(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        door.run(door.server.add_tcp(LAUNCH, socket.socket(fileno=os.dup(listener.fileno()))))
        assert b"200 OK" in exchange(address, post())
        door.run(door.server.remove(LAUNCH))
        # Another core takes over: what came in between waits in the listener's queue.
        with listener, socket.create_connection(address, timeout=30) as waiting:
            waiting.sendall(post())
            door.run(door.server.add_tcp(LAUNCH, socket.socket(fileno=os.dup(listener.fileno()))))
            assert b"200 OK" in read_all(waiting)


def test_one_launch_has_one_door_over_tcp_and_the_second_listener_is_closed(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        opened(door)
        second = socket.create_server(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="door_exists"):
            door.run(door.server.add_tcp(LAUNCH, second))
        assert second.fileno() == -1


def test_a_withdrawn_launch_has_nobody_at_its_door_over_tcp(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        address = opened(door)
        door.on_loop(lambda: door.registry.withdraw(LAUNCH))
        assert b"launch_withdrawn" in exchange(address, post())
        assert door.wall.seen == []


def test_hostile_bytes_over_tcp_meet_the_same_limits(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        address = opened(door)
        assert b"400" in exchange(address, b"\x16\x03\x01\x00\x00 hello\r\n\r\n")
        assert b"431" in exchange(address, b"POST / HTTP/1.1\r\nX: " + b"x" * (20 << 10))
        assert b"413" in exchange(address, b"POST /v1/tools/call HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
        assert door.wall.seen == []
