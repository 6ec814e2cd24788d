"""The line between supervisor and core: whole typed messages with their descriptors, or no line at all."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import run

from ringwall.errors import BadInput, Unavailable
from ringwall.runtime.control import (
    MAX_DESCRIPTORS,
    MAX_PACKET,
    Control,
    Done,
    Exited,
    Go,
    Message,
    Ready,
    Spawn,
    decode,
)


class Ends:
    """A line and the bare socket at its other end."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.messages: list[tuple[Message, list[int]]] = []
        self.closings = 0
        self.something = asyncio.Event()
        self.line = Control(ours, self._message, self._closed)

    def _message(self, message: Message, descriptors: list[int]) -> None:
        self.messages.append((message, descriptors))
        self.something.set()

    def _closed(self) -> None:
        self.closings += 1
        self.something.set()

    def close(self) -> None:
        self.line.close()
        self.peer.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@given(st.binary(max_size=200))
def test_any_packet_is_a_message_or_bad_input(packet: bytes) -> None:
    with pytest.raises(BadInput):
        decode(packet)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["type", "id", "child", "status", "code", "summary"]),
                        inner | st.sampled_from(["Go", "Exited", "Done"]), max_size=4), max_leaves=8))
def test_any_json_is_a_message_or_bad_input(value: object) -> None:
    try:
        message = decode(msgspec.json.encode(value))
    except BadInput as fault:
        assert fault.code == "bad_control_message"
    else:
        assert decode(msgspec.json.encode(message)) == message


def test_messages_arrive_whole_with_their_descriptors() -> None:
    async def scenario() -> None:
        ends = Ends()
        reading, writing = os.pipe()
        order = Spawn(id=1, spec=msgspec.Raw(b"{}"), numbers=[0])
        ends.line.send(order, [writing])
        packet, received, _, _ = socket.recv_fds(ends.peer, MAX_PACKET, MAX_DESCRIPTORS)
        assert decode(packet) == order
        os.write(received[0], b"x")
        assert os.read(reading, 1) == b"x"
        socket.send_fds(ends.peer, [msgspec.json.encode(Exited(child=1, status=2))], [reading])
        await ends.something.wait()
        message, given_to_us = ends.messages[0]
        assert message == Exited(child=1, status=2)
        assert not os.get_inheritable(given_to_us[0])
        for number in (reading, writing, *received, *given_to_us):
            os.close(number)
        ends.close()

    run(scenario())


@pytest.mark.parametrize("packet", [b"", b"garbage", b"{}", b'{"type":"Exited","child":"x","status":1}',
                                    b"[" * 5000, b"x" * (MAX_PACKET + 1)])
def test_a_packet_that_is_no_message_ends_the_line_once_and_keeps_no_descriptor(packet: bytes) -> None:
    async def scenario() -> None:
        ends = Ends()
        reading, writing = os.pipe()
        before = descriptors()
        if packet:
            socket.send_fds(ends.peer, [packet], [reading])
        else:
            ends.peer.shutdown(socket.SHUT_WR)
        await ends.something.wait()
        assert ends.messages == []
        ends.line.close()
        assert ends.closings == 1
        assert descriptors() == before - 1  # our end of the line
        with pytest.raises(Unavailable):
            ends.line.send(Ready(summary=""))
        os.close(reading)
        os.close(writing)
        ends.peer.close()

    run(scenario())


def test_more_descriptors_than_can_arrive_are_not_sent_and_end_the_line_when_received() -> None:
    async def scenario() -> None:
        ends = Ends()
        reading, writing = os.pipe()
        with pytest.raises(BadInput):
            ends.line.send(Ready(summary=""), [reading] * (MAX_DESCRIPTORS + 1))
        before = descriptors()
        socket.send_fds(ends.peer, [msgspec.json.encode(Go(id=1, child=1))], [reading] * (MAX_DESCRIPTORS + 4))
        await ends.something.wait()
        assert ends.messages == []
        assert descriptors() == before - 1
        os.close(reading)
        os.close(writing)
        ends.peer.close()

    run(scenario())


def test_a_message_that_is_too_large_is_refused_here_and_the_line_lives() -> None:
    async def scenario() -> None:
        ends = Ends()
        with pytest.raises(BadInput):
            ends.line.send(Ready(summary="x" * MAX_PACKET))
        ends.line.send(Ready(summary="y"))
        assert decode(ends.peer.recv(MAX_PACKET)) == Ready(summary="y")
        ends.close()

    run(scenario())


def test_a_slow_peer_gets_everything_in_order() -> None:
    async def scenario() -> None:
        ends = Ends()
        many = [Done(id=number, cause="x" * 50_000) for number in range(20)]
        for message in many:
            ends.line.send(message)
        loop = asyncio.get_running_loop()
        ends.peer.setblocking(False)
        for message in many:
            assert decode(await loop.sock_recv(ends.peer, MAX_PACKET)) == message
        ends.close()

    run(scenario())


def test_what_waits_for_a_slow_peer_is_let_go_with_the_line() -> None:
    async def scenario() -> None:
        ends = Ends()
        reading, writing = os.pipe()
        before = descriptors()
        for _ in range(20):
            ends.line.send(Ready(summary="x" * 50_000), [reading])
        ends.line.close()
        assert descriptors() == before - 1
        os.close(reading)
        os.close(writing)
        ends.peer.close()

    run(scenario())
