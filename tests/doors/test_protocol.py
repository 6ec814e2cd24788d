"""A peer that is taken over gets a precise answer, a bounded share, and nothing else."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doors.fakes import LAUNCH, post, read_all, served

from ringwall.call import Chunk, Denied, Last
from ringwall.doors import protocol
from ringwall.doors.listener import SocketServer
from ringwall.doors.protocol import Door, DoorProtocol
from ringwall.identity.pidfd import HasOptions


def problem(raw: bytes) -> tuple[int, str]:
    """Status and code of the one response in these bytes, which must end the connection."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def chunked(*pieces: bytes) -> bytes:
    head = b"POST /v1/tools/call HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)


BIG = protocol.MAX_BODY + 1


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"\x16\x03\x01 TLS?\r\n\r\n", (400, "bad_http")),
        (b"\r\n\r\nSSH-2.0\r\n\r\n", (400, "bad_http")),
        (b"POST /v1/tools/call HTTP/9.9\r\n\r\n", (400, "bad_http")),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", (400, "bad_http")),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", (400, "bad_http")),
        (post(more=b"Content-Length: 2\r\n"), (400, "bad_http")),
        (post(more=b"Content-Length: 3\r\n"), (400, "bad_http")),
        (post(more=b"Transfer-Encoding: chunked\r\n"), (400, "bad_http")),
        (post().replace(b"Length: 2", b"Length: +2"), (400, "bad_http")),
        (post().replace(b"Length: 2", b"Length: 99999999999999999999999"), (400, "bad_http")),
        (post().replace(b"Length: 2", b"Length: %d" % BIG), (413, "body_too_large")),
        (post(more=b"X: %s\r\n" % (b"y" * protocol.MAX_HEAD)), (431, "head_too_large")),
        (b"POST /" + b"y" * 300_000, (431, "head_too_large")),
        (post(more=b"X: 1\r\n" * 4000), (431, "head_too_large")),
        (chunked(*[b"z" * 1_000_000] * 9), (413, "body_too_large")),
        (chunked(*[b"z"] * 40_000), (413, "bad_chunks")),
        (chunked(b"{}") + b"0\r\n" + b"T: " + b"t" * 200_000, (413, "bad_chunks")),
        (chunked() + b"5;" + b"e" * 200_000, (413, "bad_chunks")),
        (chunked() + b"zz\r\n", (400, "bad_http")),
    ],
)
def test_bad_http_is_answered_and_the_connection_ends(tmp_path: Path, data: bytes, answer: tuple[int, str]) -> None:
    with served(tmp_path) as door:
        assert problem(door.exchange(data)) == answer
        assert door.wall.seen == []


def test_a_chunked_body_within_the_limit_is_taken(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        raw = chunked(b'{"a"', b":1}").replace(b"Host: x", b"Connection: close") + b"0\r\n\r\n"
        assert door.exchange(raw).startswith(b"HTTP/1.1 200")
        assert door.wall.seen[0][2] == b'{"a":1}'


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(tmp_path: Path) -> None:
    with served(tmp_path) as door, door.connect() as sock:
        head, _, body = post(more=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_all(sock).startswith(b"HTTP/1.1 200")


def test_one_connection_serves_many_calls_but_no_pipelined_ones(tmp_path: Path) -> None:
    with served(tmp_path) as door, door.connect() as sock:
        for _ in range(3):
            sock.sendall(post(close=False))
            assert sock.recv(1 << 16).endswith(b"}")
        sock.sendall(post(close=False) + post(close=False) + b"\x00garbage")
        answers = read_all(sock)
        assert answers.count(b"HTTP/1.1 200") == 1
        assert answers.count(b"HTTP/1.1") == 1
        assert len(door.wall.seen) == 4


def test_garbage_behind_a_running_call_neither_stops_it_nor_piles_up(tmp_path: Path) -> None:
    with served(tmp_path) as door, door.connect() as sock:
        door.wall.block = door.on_loop(asyncio.Event)
        sock.sendall(post(close=False) + b"\x00\x01")
        assert door.wall.started.wait(30)
        try:
            for _ in range(100):
                sock.sendall(b"x" * 10_000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert door.wall.settling.wait(30)  # the flood ended the connection, and with it the call
        assert door.wall.settled == ["cancelled"]


def test_a_call_is_cancelled_and_settled_once_when_its_peer_goes(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.block = door.on_loop(asyncio.Event)
        sock = door.connect()
        sock.sendall(post(close=False))
        assert door.wall.started.wait(30)
        sock.close()
        assert door.wall.settling.wait(30)
        assert door.wall.settled == ["cancelled"]


def test_a_peer_that_is_gone_before_its_effect_begins_gets_no_effect(tmp_path: Path) -> None:
    presence = protocol.Presence()
    presence.leave()
    with pytest.raises(asyncio.CancelledError), presence.waiting():
        raise AssertionError("never reached")


def test_removing_a_door_cancels_its_calls_and_takes_the_socket_away(tmp_path: Path) -> None:
    with served(tmp_path) as door, door.connect() as sock:
        door.wall.block = door.on_loop(asyncio.Event)
        sock.sendall(post(close=False))
        assert door.wall.started.wait(30)
        door.run(door.server.remove(LAUNCH))
        assert door.wall.settled == ["cancelled"]
        assert read_all(sock) == b""
        assert not door.path.exists()
        door.run(door.server.remove(LAUNCH))


def test_a_flood_of_connections_is_turned_away_and_others_are_still_served(tmp_path: Path) -> None:
    with served(tmp_path, max_connections=5) as door:
        held = [door.connect() for _ in range(5)]
        for sock in held:
            sock.sendall(post(close=False))
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
        for _ in range(50):
            with door.connect() as extra:
                assert problem(read_all(extra)) == (429, "too_many_connections")
        held[0].sendall(post())
        assert b"200" in read_all(held[0])
        for sock in held:
            sock.close()


def test_five_hundred_connections_at_once_are_all_answered(tmp_path: Path) -> None:
    with served(tmp_path, max_connections=500) as door:
        gate = door.on_loop(asyncio.Event)
        door.loop.call_soon_threadsafe(gate.set)
        socks = [door.connect() for _ in range(500)]
        try:
            for sock in socks:
                sock.sendall(post())
            assert all(read_all(sock).startswith(b"HTTP/1.1 200") for sock in socks)
        finally:
            for sock in socks:
                sock.close()


def test_an_answer_that_came_early_ends_a_connection_whose_body_is_not_wanted(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        data = post().replace(b"Content-Length: 2", b"Content-Length: 8000000") + b"x" * 100
        with door.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)  # half a request, and nothing more will come
            assert read_all(sock) == b""
        assert door.wall.seen == []


# --- deadlines, driven by a clock of the test's own: the timers are called, not waited for


class Timers(asyncio.SelectorEventLoop):
    """A loop that keeps its timers, for the test to fire."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = super().call_later(1e6, callback, *args, context=context)
        self.timers.append((delay, handle))
        return handle

    def fire(self, seconds: float) -> bool:
        """Run the youngest live timer of this length now."""
        for delay, handle in reversed(self.timers):
            if delay == seconds and not handle.cancelled():
                handle._run()
                handle.cancel()
                return True
        return False


class Anybody:
    """Peers that nobody asks about."""

    def open(self, sock: HasOptions) -> str:
        return "somebody"

    def close(self, connection: Any) -> None:
        return None


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers with 300 kB, more than a socket buffers."""
    while (await receive()).get("more_body"):
        pass
    body = b"r" * 300_000
    fields = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def connected(loop: Timers, **limits: Any) -> tuple[socket.socket, DoorProtocol, Door]:
    door = Door(SocketServer(echo)._config, Anybody(), **limits)
    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    near.setblocking(False)
    far.setblocking(False)
    made = loop.run_until_complete(loop.connect_accepted_socket(lambda: DoorProtocol(door), far))
    return near, made[1], door


def turn(loop: Timers, near: socket.socket, *, until: str) -> bytes:
    """Run the loop until the peer sees the end, or a first byte."""

    async def seen() -> bytes:
        got = b""
        while True:
            try:
                data = await loop.sock_recv(near, 1 << 16)
            except ConnectionResetError:
                return got
            got += data
            if not data or until == "byte":
                return got

    return loop.run_until_complete(seen())


def settle(loop: Timers) -> None:
    async def turns() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    loop.run_until_complete(turns())


@pytest.mark.parametrize(
    ("sent", "deadline"),
    [
        (b"", protocol.HEAD_SECONDS),
        (b"\r\n\r\n", protocol.HEAD_SECONDS),
        (b"POST /v1/too", protocol.HEAD_SECONDS),
        (post()[:-4], protocol.HEAD_SECONDS),
        (post()[:-1], protocol.BODY_SECONDS),
        (chunked(b"{"), protocol.BODY_SECONDS),
    ],
)
def test_half_open_and_slow_requests_are_ended_by_a_deadline(sent: bytes, deadline: float) -> None:
    loop = Timers()
    near, _, door = connected(loop)
    loop.run_until_complete(loop.sock_sendall(near, sent))
    settle(loop)
    assert loop.fire(deadline)
    assert problem(turn(loop, near, until="end")) == (408, "too_slow")
    settle(loop)
    assert (door.held, door.protocols) == (0, set())
    near.close()
    loop.close()


def test_bytes_that_trickle_in_do_not_move_the_deadline() -> None:
    loop = Timers()
    near, _, _ = connected(loop)
    for byte in post()[:60]:
        loop.run_until_complete(loop.sock_sendall(near, bytes([byte])))
        settle(loop)
    armed = [delay for delay, handle in loop.timers if delay == protocol.HEAD_SECONDS]
    assert len(armed) == 1
    loop.fire(protocol.HEAD_SECONDS)
    assert problem(turn(loop, near, until="end")) == (408, "too_slow")
    near.close()
    loop.close()


def test_a_peer_that_does_not_read_its_answer_is_cut_off() -> None:
    loop = Timers()
    near, _, door = connected(loop)
    loop.run_until_complete(loop.sock_sendall(near, post(close=False)))
    settle(loop)
    assert loop.fire(protocol.UNREAD_SECONDS)
    settle(loop)
    assert door.protocols == set()
    near.close()
    loop.close()


def test_an_idle_connection_is_closed_and_a_used_one_keeps_no_deadline() -> None:
    loop = Timers()
    near, _, door = connected(loop)
    loop.run_until_complete(loop.sock_sendall(near, post(close=False)))
    got = b""
    while len(got) < 300_000:
        got += turn(loop, near, until="byte")
    live = [delay for delay, handle in loop.timers if not handle.cancelled()]
    assert live == [60]  # keep-alive alone
    loop.fire(60)
    settle(loop)
    assert door.protocols == set()
    near.close()
    loop.close()


def test_empty_lines_do_not_keep_an_idle_connection_open() -> None:
    loop = Timers()
    near, _, door = connected(loop)
    loop.run_until_complete(loop.sock_sendall(near, post(close=False)))
    got = 0
    while got < 300_000:
        got += len(turn(loop, near, until="byte"))
    loop.run_until_complete(loop.sock_sendall(near, b"\r\n"))
    settle(loop)
    assert loop.fire(protocol.HEAD_SECONDS)
    settle(loop)
    assert door.protocols == set()
    near.close()
    loop.close()


def test_bodies_of_one_door_share_a_bounded_memory() -> None:
    loop = Timers()
    near, _, door = connected(loop, max_held=1000)
    door.held = 900
    loop.run_until_complete(loop.sock_sendall(near, post(body=b"x" * 200)))
    assert problem(turn(loop, near, until="end")) == (429, "door_busy")
    assert door.held == 900
    near.close()
    loop.close()


def test_peers_that_are_turned_away_are_told_at_once_and_closed() -> None:
    class Nobody(Anybody):
        def open(self, sock: HasOptions) -> Any:
            return Denied(code="launch_withdrawn", reason="gone", detail={"why": "secret"})

    loop = Timers()
    door = Door(SocketServer(echo)._config, Nobody())
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    loop.run_until_complete(loop.connect_accepted_socket(lambda: DoorProtocol(door), far))
    raw = turn(loop, near, until="end")
    assert problem(raw) == (403, "launch_withdrawn")
    assert b"secret" not in raw
    near.close()
    loop.close()


PIECES = st.one_of(
    st.binary(max_size=60), st.sampled_from([post(), post()[:40], b"\r\n\r\n", chunked(b"{}"), b"0\r\n"])
)


@settings(max_examples=60, deadline=None)
@given(data=st.lists(PIECES, max_size=6))
def test_any_bytes_in_any_pieces_leave_nothing_behind(data: list[bytes]) -> None:
    loop = Timers()
    near, made, door = connected(loop)
    for piece in data:
        if piece and not made.transport.is_closing():
            made.data_received(piece)
            settle(loop)
    near.close()
    settle(loop)
    made.abort()
    settle(loop)
    assert (door.held, door.protocols, door.state.tasks) == (0, set(), set())
    assert all(handle.cancelled() for delay, handle in loop.timers if delay != 60)
    loop.close()


def test_a_large_result_arrives_whole(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.items = [Chunk(value="r" * 8_000_000), Last(end="done")]
        raw = door.exchange(post())
        assert len(json.loads(raw.partition(b"\r\n\r\n")[2])["result"]) == 8_000_000
