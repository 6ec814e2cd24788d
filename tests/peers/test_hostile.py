"""Peers that do not play by the rules: answers of every wrong kind, clients that flood, linger, or are not they."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.peers import hostile
from tests.peers.support import (
    ANA,
    EVE,
    OK,
    SAM,
    A,
    Authority,
    B,
    Side,
    Talk,
    ask,
    code,
    go,
    json_answer,
    sides,
    until,
)

from ringwall.errors import BadInput
from ringwall.peers import gate, http
from ringwall.peers import pipe as pipes
from ringwall.peers.http import AnswerReader
from ringwall.peers.protocol import Admit, Incoming
from ringwall.tools import protocol
from ringwall.wire import frames

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNKNOWN_BAD = ("unknown", "peer_bad_answer")
ANSWERS: dict[str, tuple[bytes, tuple[str, str]]] = {
    "nothing": (b"", ("unknown", "peer_broken")),
    "garbage": (b"\x00\xff" * 50, UNKNOWN_BAD),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", ("unknown", "peer_broken")),
    "half a body": (OK + b"Content-Length: 10\r\n\r\n{", ("unknown", "peer_broken")),
    "a body until the end": (OK + b"\r\n{}", ("unknown", "peer_broken")),
    "a second answer behind it": (json_answer(b"1") + json_answer(b"2"), UNKNOWN_BAD),
    "a byte behind it": (json_answer(b"1") + b"x", UNKNOWN_BAD),
    "two lengths": (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", UNKNOWN_BAD),
    "two different lengths": (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", UNKNOWN_BAD),
    "a chunk size with a sign": (OK + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", UNKNOWN_BAD),
    "an encoding within": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", UNKNOWN_BAD),
    "compressed": (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", UNKNOWN_BAD),
    "two envelopes": (
        OK + b"Ringwall-Envelope: a\r\nRingwall-Envelope: b\r\nContent-Length: 1\r\n\r\n1", UNKNOWN_BAD),
    "an envelope of blanks": (OK + b"Ringwall-Envelope: a b\r\nContent-Length: 1\r\n\r\n1", UNKNOWN_BAD),
    "an envelope too long": (
        OK + b"Ringwall-Envelope: " + b"a" * (17 << 10) + b"\r\nContent-Length: 1\r\n\r\n1", UNKNOWN_BAD),
    "an endless head": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, UNKNOWN_BAD),
    "an endless chunk extension": (OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 80_000, UNKNOWN_BAD),
    "an older version": (OK.replace(b"1.1", b"1.0") + b"Content-Length: 1\r\n\r\n1", UNKNOWN_BAD),
    "only continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + json_answer(b"1"), UNKNOWN_BAD),
    "an upgrade": (b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", UNKNOWN_BAD),
    "a redirect": (b"HTTP/1.1 302 F\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n", UNKNOWN_BAD),
    "no content": (b"HTTP/1.1 204 N\r\n\r\n", UNKNOWN_BAD),
    "another type": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\n1", UNKNOWN_BAD),
    "events nobody asked for": (EVENTS + b"0\r\n\r\n", UNKNOWN_BAD),
    "refused": (b"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n", ("failed", "peer_refused")),
    "failed": (b"HTTP/1.1 500 N\r\nContent-Length: 0\r\n\r\n", ("unknown", "peer_broken")),
    "too large": (OK + b"Content-Length: 9000000\r\n\r\n" + b"x" * 9_000_000, ("unknown", "result_too_large")),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_a_wrong_kind_is_none_and_its_connection_is_not_used_again(name: str) -> None:
    said, expected = ANSWERS[name]

    async def run() -> None:
        async with sides() as (ana, sam):
            async def answering(head: bytes, body: bytes, talk: Talk) -> bool:
                talk.write(said if body == b"bad" else json_answer(body))
                return body != b"bad"

            sam.handler = answering
            answers, last = await ask(ana, sam.url, SAM, b"bad")
            assert (answers, code(last)) == ([], expected)
            answers, last = await ask(ana, sam.url, SAM, b'"good"')
            assert (answers[0].body, code(last)) == (b'"good"', ("done", ""))
            assert len(sam.seen) == 2

    go(run())


def test_what_comes_unasked_behind_an_answer_never_answers_the_next_request() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            async def twice(head: bytes, body: bytes, talk: Talk) -> bool:
                talk.write(json_answer(body))
                await talk.drain()
                await more.wait()
                talk.write(json_answer(b'"smuggled"'))
                return True

            more = asyncio.Event()
            sam.handler = twice
            for number in range(5):
                more.clear()
                answers, last = await ask(ana, sam.url, SAM, b"%d" % number)
                assert (answers[0].body, code(last)) == (b"%d" % number, ("done", ""))
                more.set()
                client = ana.sidecar._hands._launches["l1"].client
                await until(lambda one=client: not any(connection.usable for connection in one._all))
            assert len(sam.seen) == 5

    go(run())


@pytest.mark.parametrize("behind", [json_answer(b'"smuggled"'), None])
def test_a_kept_connection_that_was_closed_or_spoke_is_not_used_also_when_nobody_has_looked_yet(
    behind: bytes | None,
) -> None:
    async def run() -> None:
        async with sides() as (ana, _):
            svid, asked, sent = B.svid(SAM), threading.Semaphore(0), threading.Semaphore(0)
            over = threading.Event()

            def act(sock: ssl.SSLSocket) -> None:
                sock.recv(1 << 16)
                sock.sendall(json_answer(b"1"))
                asked.acquire(timeout=10)
                if behind is None:
                    sock.shutdown(socket.SHUT_RDWR)
                else:
                    sock.sendall(behind)
                sent.release()
                over.wait(timeout=10)

            with hostile.server(svid.chain, svid.key, act) as (port, _faults):
                await until(lambda: ana.sidecar._hands is not None and "l1" in ana.sidecar._hands._launches)
                client = ana.sidecar._hands._launches["l1"].client
                address = http.https(f"https://127.0.0.1:{port}/")
                for _ in range(3):
                    answers = client.ask(address, SAM, http.get(address), stream=False)
                    assert [answer.data async for answer in answers] == [b"1"]
                    asked.release()
                    sent.acquire(timeout=10)  # this loop stands still: it cannot have seen what came
                over.set()

    go(run())


@pytest.mark.parametrize(("said", "expected"), [
    (b"data: 1\n", ("unknown", "peer_bad_answer")),
    (b"ringwall: a b\ndata: 1\n\n", ("unknown", "peer_bad_answer")),
    (b"data: " + b"x" * 9_000_000, ("unknown", "result_too_large")),
    (b"data: 1\n\n" * 5000, ("unknown", "result_too_large")),
    (b":" * 9_000_000, ("unknown", "result_too_large")),
])
def test_streams_that_are_cut_or_too_large_end_as_unknown(said: bytes, expected: tuple[str, str]) -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            async def streaming(head: bytes, body: bytes, talk: Talk) -> bool:
                talk.write(EVENTS + b"%x\r\n" % len(said) + said + b"\r\n0\r\n\r\n")
                return True

            sam.handler = streaming
            assert code((await ask(ana, sam.url, SAM, stream=True))[1]) == expected

    go(run())


def test_a_stream_that_never_ends_is_ended_when_its_time_is_over() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            gone = asyncio.Event()

            async def streaming(head: bytes, body: bytes, talk: Talk) -> bool:
                talk.write(EVENTS + b"9\r\ndata: 1\n\n\r\n")
                await talk.gone()
                gone.set()
                return False

            sam.handler = streaming
            answers, last = await ask(ana, sam.url, SAM, stream=True, seconds=0.3)
            assert ([answer.body for answer in answers], code(last)) == ([b"1"], ("unknown", "peer_slow"))
            await asyncio.wait_for(gone.wait(), 20)

    go(run())


def test_a_server_that_does_not_take_our_certificate_has_not_read_what_we_sent() -> None:
    async def run() -> None:
        async with sides() as (ana, _):
            svid = B.svid(SAM)
            trusts = [B.signer.certificate]
            with hostile.server(svid.chain, svid.key, lambda sock: None, trusts=trusts) as (port, _faults):
                end = code((await ask(ana, f"https://127.0.0.1:{port}/", SAM))[1])
                assert end == ("failed", "peer_refused")

    go(run())


@settings(max_examples=150, deadline=None)
@example([EVENTS, b"0\r\n\r\n", b"\r"])
@example([OK, b"Content-Length: 2\r\n\r\n", b"{}", b"\r\n"])
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([
    OK, b"Content-Length: 2\r\n", b"\r\n", b"{}", EVENTS, b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
    b"HTTP/1.1 ",
])), max_size=12))
def test_any_bytes_are_an_answer_or_bad_input_however_they_are_cut(parts: list[bytes]) -> None:
    def read(pieces: list[bytes]) -> tuple[bytes, object]:
        reader = AnswerReader()
        try:
            for piece in pieces:
                if piece:
                    reader.feed(piece)
            reader.closed()
        except BadInput as fault:
            assert fault.code in {"bad_http", "result_too_large"}
            return b"", None
        return bytes(reader.body), reader.head

    whole = b"".join(parts)
    assert read([whole]) == read(parts) == read([whole[at:at + 1] for at in range(len(whole))])


# --- at the gate


def peer(side: Side, who: str = ANA, authority: Authority = A) -> ssl.SSLSocket:
    return hostile.as_svid(side.listener.getsockname()[1], authority.svid(who))


def ended(sock: ssl.SSLSocket) -> bool:
    try:
        return sock.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_only_tls_1_3_with_a_certificate_is_spoken_and_nothing_can_be_resumed() -> None:
    async def run() -> None:
        async with sides() as (_, sam):
            port = sam.listener.getsockname()[1]

            def first() -> None:
                with peer(sam) as sock:
                    assert (sock.version(), sock.session_reused) == ("TLSv1.3", False)
                    sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
                    assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
                    assert sock.session is None or not sock.session.has_ticket

            def older() -> None:
                context = hostile.careless(ssl.PROTOCOL_TLS_CLIENT)
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                hostile.load(context, A.svid(ANA).chain, A.svid(ANA).key)
                with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                    context.wrap_socket(sock)

            def bare() -> bytes:
                context = hostile.careless(ssl.PROTOCOL_TLS_CLIENT)
                with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10)) as sock:
                    sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
                    return sock.recv(1 << 16)

            await asyncio.to_thread(first)
            for refused in (older, bare):
                try:
                    assert not await asyncio.to_thread(refused)
                except OSError:
                    pass
            assert sam.seen == [ANA]

    go(run())


def test_clients_that_never_finish_their_handshake_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_HANDSHAKES", 8)

    async def run() -> None:
        async with sides() as (ana, sam):
            address = sam.listener.getsockname()
            idle = [socket.create_connection(address) for _ in range(40)]
            for sock in idle[::2]:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert code((await ask(ana, sam.url, SAM))[1]) == ("done", "")
            gate_ = sam.sidecar._hands._launches["l1"].gate
            await until(lambda: len(gate_._handshakes) <= 8)
            for sock in idle:
                sock.close()
            await until(lambda: not gate_._handshakes)

    go(run())


def test_a_handshake_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "HANDSHAKE_S", 0.1)

    async def run() -> None:
        async with sides() as (_, sam):
            with socket.create_connection(sam.listener.getsockname()) as sock:
                sock.settimeout(10)
                assert await asyncio.to_thread(sock.recv, 1) == b""

    go(run())


def test_one_peer_cannot_take_the_connections_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_OF_ONE", 3)

    async def run() -> None:
        async with sides() as (ana, sam):
            held = [await asyncio.to_thread(peer, sam, EVE) for _ in range(3)]
            await until(lambda: len(sam.seen) == 3)
            more = await asyncio.to_thread(peer, sam, EVE)
            assert (await asyncio.to_thread(more.recv, 1 << 10)).startswith(b"HTTP/1.1 403 ")
            assert code((await ask(ana, sam.url, SAM))[1]) == ("done", "")
            for sock in (more, held[0]):
                sock.close()
            opened = sam.sidecar._hands._launches["l1"].gate
            await until(lambda: [n for who, n in opened._counts.items() if who.endswith(EVE)] == [2])
            assert code((await ask(ana, sam.url, SAM))[1]) == ("done", "")
            with await asyncio.to_thread(peer, sam, EVE) as again:
                await until(lambda: sam.seen.count(EVE) == 4)
                assert again.version() == "TLSv1.3"
            for sock in held[1:]:
                sock.close()

    go(run())


def test_a_connection_nobody_speaks_on_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "IDLE_S", 0.1)

    async def run() -> None:
        async with sides() as (_, sam):
            with await asyncio.to_thread(peer, sam) as sock:
                assert await asyncio.to_thread(ended, sock)

    go(run())


def test_neither_side_is_read_faster_than_the_other_takes() -> None:
    async def run() -> None:
        async with sides() as (_, sam):
            async def flood(head: bytes, body: bytes, talk: Talk) -> bool:
                for _ in range(400):
                    talk.write(b"x" * (64 << 10))
                    await talk.drain()
                    counted.append(1)
                return False

            counted: list[int] = []
            sam.handler = flood
            with await asyncio.to_thread(peer, sam) as sock:
                await asyncio.to_thread(sock.sendall, b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                before = -1
                while before != len(counted):  # the sockets' own buffers fill, and then nothing moves
                    before = len(counted)
                    await asyncio.sleep(0.2)
                assert len(counted) < 300
                outer = next(iter(sam.sidecar._hands._launches["l1"].gate._open))
                assert outer._transport.get_write_buffer_size() < 1 << 20

                def rest() -> int:
                    total = 0
                    while data := sock.recv(1 << 20):
                        total += len(data)
                    return total

                assert await asyncio.to_thread(rest) == 400 * (64 << 10)

    go(run())


def test_requests_in_many_small_pieces_and_pipelined_ones_arrive_byte_for_byte() -> None:
    async def run() -> None:
        async with sides() as (_, sam):
            bodies: list[bytes] = []

            async def noting(head: bytes, body: bytes, talk: Talk) -> bool:
                bodies.append(body)
                talk.write(json_answer(body))
                return True

            sam.handler = noting

            def speak() -> bytes:
                with peer(sam) as sock:
                    for byte in b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" * 3:
                        sock.send(bytes([byte]))
                    got = b""
                    while got.count(b"abc") < 3:
                        got += sock.recv(1 << 16)
                    return got

            assert (await asyncio.to_thread(speak)).count(b"HTTP/1.1 200") == 3
            assert bodies == [b"abc"] * 3

    go(run())


# --- a sidecar that lies


@pytest.mark.parametrize("said", [
    [Incoming(connection=1, launch="l1", chain=[b"x"]), Incoming(connection=1, launch="l1", chain=[b"x"])],
    [Incoming(connection=7, launch="l1", chain=[b"x"]), Incoming(connection=6, launch="l1", chain=[b"x"])],
    [Incoming(connection=1, launch="other", chain=[b"x"])],
    [Incoming(connection=number, launch="l1", chain=[b"x"]) for number in range(1, 131)],
    [Incoming(connection=1, launch="l1", chain=[])],
    [Incoming(connection=1, launch="l1", chain=[b"x"] * 7)],
    [protocol.PeerPiece(id=1, envelope="", body=b"")],
    [Admit(connection=1, ok=True)],
])
def test_what_no_honest_sidecar_says_ends_the_link(said: list[object]) -> None:
    async def run() -> None:
        side, downs = Side(), list[str]()
        side.downs = downs
        side.client.link._on_down = downs.append

        async def slow(message: Incoming) -> socket.socket | None:
            await asyncio.Event().wait()
            return None

        side.line.on_incoming = slow
        ours, link = socket.socketpair()
        passing, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        side.passed = passed
        await side.client.attach(ours, passing)
        await side.line.gate("l1", side.listener)
        link.sendall(b"".join(frames.encode(protocol.encode(one)) for one in said))  # type: ignore[arg-type]
        await until(lambda: downs)
        assert "bad_frame" in downs[0]
        link.close()
        for task in side.line._judging:
            task.cancel()
        await side.stop()

    go(run())


def test_a_piece_of_the_wrong_kind_ends_the_link_and_the_call_is_unknown() -> None:
    async def run() -> None:
        side = Side()
        ours, link = socket.socketpair()
        passing, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        side.passed = passed
        await side.client.attach(ours, passing)
        asked = asyncio.ensure_future(ask(side, "https://h/", SAM))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        link.sendall(frames.encode(protocol.encode(protocol.Piece(id=1, value=b"1"))))
        assert code((await asked)[1]) == ("unknown", "sidecar_lost")
        link.close()
        await side.stop()

    go(run())
