"""Frames: whole ones come out however the bytes are cut, and nothing else does."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import run, until

from ringwall.errors import BadInput, Unavailable
from ringwall.wire.frames import MAX_FRAME, Framer, Link, encode

PAYLOADS = st.lists(st.binary(max_size=50), max_size=6)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(PAYLOADS, st.lists(st.integers(0, 400), max_size=10))
def test_frames_come_out_whole_however_they_were_cut(payloads: list[bytes], at: list[int]) -> None:
    framer = Framer()
    data = b"".join(map(encode, payloads))
    assert [frame for piece in cut(data, at) for frame in framer.feed(piece)] == payloads
    assert framer.pending == 0


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_hostile_bytes_give_frames_within_the_limit_or_bad_input(pieces: list[bytes]) -> None:
    framer = Framer(limit=64)
    whole = b"".join(pieces)
    used = 0
    try:
        for piece in pieces:
            for frame in framer.feed(piece):
                assert len(frame) <= 64
                assert whole[used : used + 4 + len(frame)] == encode(frame)
                used += 4 + len(frame)
            assert framer.pending < 4 + 64
    except BadInput as fault:
        assert fault.code == "frame_too_long"
        assert int.from_bytes(whole[used : used + 4], "big") > 64


def test_a_frame_at_the_limit_passes_and_one_above_does_not() -> None:
    assert Framer(limit=3).feed(encode(b"abc")) == [b"abc"]
    with pytest.raises(BadInput):
        Framer(limit=3).feed(encode(b"abcd")[:4])
    with pytest.raises(BadInput):
        encode(bytes(MAX_FRAME + 1))


class Ends:
    """A link and the bare socket at its other end."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed = asyncio.Event()
        self.closings = 0

    def _closed(self) -> None:
        self.closings += 1
        self.closed.set()

    async def open(self) -> None:
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.link = await Link.open(ours, self.frames.append, self._closed)


def test_a_link_carries_frames_both_ways() -> None:
    async def scenario() -> None:
        ends = Ends()
        await ends.open()
        ends.link.send(b"out")
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(ends.peer, 100) == encode(b"out")
        await loop.sock_sendall(ends.peer, encode(b"in") + encode(b""))
        await until(lambda: len(ends.frames) == 2)
        assert ends.frames == [b"in", b""]
        assert ends.link.alive
        ends.peer.close()
        await ends.closed.wait()
        assert not ends.link.alive
        with pytest.raises(Unavailable):
            ends.link.send(b"x")

    run(scenario())


def test_a_peer_that_announces_too_much_loses_the_link() -> None:
    async def scenario() -> None:
        ends = Ends()
        await ends.open()
        await asyncio.get_running_loop().sock_sendall(ends.peer, b"\xff\xff\xff\xff")
        await ends.closed.wait()
        assert ends.frames == []
        ends.peer.close()

    run(scenario())


def test_closing_is_told_once() -> None:
    async def scenario() -> None:
        ends = Ends()
        await ends.open()
        ends.link.close()
        ends.link.close()
        await ends.closed.wait()
        ends.link.close()
        await asyncio.sleep(0)
        assert ends.closings == 1
        assert ends.link.queued == 0
        ends.peer.close()

    run(scenario())
