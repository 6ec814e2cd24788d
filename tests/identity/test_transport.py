"""The transport does what asyncio's does, and says of each piece which process sent it."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import until

from ringwall.identity import pidfd, transport
from ringwall.identity.transport import SCM_PIDFD, SO_PASSRIGHTS, Acceptor, SenderTransport

MIB = 1 << 20
Loop = Callable[[], asyncio.AbstractEventLoop]


class Seen:
    """A protocol that keeps what happens to it."""

    def __init__(self) -> None:
        self.transport: SenderTransport
        self.senders: list[tuple[int, int] | None] = []
        self.pieces: list[bytes] = []
        self.told: list[str] = []
        self.over = False
        self.fault: Exception | None = None
        self.believes = True
        self.keeps_open = False
        self.raises = ""

    def connection_made(self, made: Any, /) -> None:
        self.transport = made
        if self.raises == "made":
            raise ValueError(self.raises)

    def connection_lost(self, exc: Exception | None, /) -> None:
        assert not self.over
        self.over, self.fault = True, exc

    def data_received(self, data: bytes, /) -> None:
        self.pieces.append(data)
        if self.raises == "data":
            raise ValueError(self.raises)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def sent_by(self, process: int | None) -> bool:
        self.senders.append(None if process is None else pidfd.key(process))
        return self.believes


class Place:
    """A listener and what became of its connections."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.seen: list[Seen] = []
        self.next = Seen()
        self.acceptor = Acceptor(self.sock, self._make, backlog=16)

    def _make(self) -> Seen:
        self.seen.append(self.next)
        self.next = Seen()
        return self.seen[-1]

    async def connect(self) -> tuple[socket.socket, Seen]:
        """Both ends."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        sock.setblocking(False)
        before = len(self.seen)
        await until(lambda: len(self.seen) > before)
        return sock, self.seen[-1]


Scenario = Callable[[Place], Awaitable[None]]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], list[dict[str, Any]]]:
    """Run a scenario; gives what the loop's exception handler was told."""

    def run(scenario: Scenario) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []

        async def whole() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
            before = descriptors()
            place = Place(tmp_path)
            try:
                async with asyncio.timeout(30):
                    await scenario(place)
            finally:
                place.acceptor.close()
                for seen in place.seen:
                    seen.transport.abort()
                await until(lambda: all(seen.over for seen in place.seen))
            assert descriptors() == before

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(whole())
        return told

    return run


Play = Callable[[Scenario], list[dict[str, Any]]]


async def drained(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or all until the other end closes."""
    loop, found = asyncio.get_running_loop(), bytearray()
    while len(found) < size and (data := await loop.sock_recv(sock, 1 << 16)):
        found += data
    return bytes(found)


def me() -> tuple[int, int]:
    handle = os.pidfd_open(os.getpid())
    try:
        return pidfd.key(handle)
    finally:
        os.close(handle)


def test_each_piece_has_its_sender_and_pieces_of_two_processes_are_never_one(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(place.path)
        for data in (b"a", b"b"):
            sock.sendall(data)
            command = [sys.executable, "-I", "-S", "-c", "import os; os.write(1, b'x'); os.write(1, b'y')"]
            await asyncio.to_thread(subprocess.run, command, stdout=sock.fileno(), check=True)
        await until(lambda: place.seen and len(b"".join(place.seen[0].pieces)) == 6)
        (seen,) = place.seen
        assert b"".join(seen.pieces) == b"axybxy"
        by = [sender for sender, piece in zip(seen.senders, seen.pieces, strict=True) for _ in piece]
        assert by[0] == by[3] == me()
        assert by[1] == by[2] != by[4] == by[5]
        assert None not in by
        assert me() not in (by[1], by[4])
        sock.close()

    assert play(scenario) == []


def test_a_piece_that_does_not_count_is_not_handed_on_and_ends_the_connection_after_the_last_words(
    play: Play,
) -> None:
    async def scenario(place: Place) -> None:
        place.next.believes = False
        sock, seen = await place.connect()
        seen.transport.write(b"last words")
        sock.send(b"x")
        assert await drained(sock, 100) == b"last words"
        await until(lambda: seen.over)
        assert (seen.pieces, seen.fault) == ([], None)
        sock.close()

    assert play(scenario) == []


def test_a_writer_is_asked_to_pause_until_the_peer_reads_and_nothing_is_lost(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock, seen = await place.connect()
        data = os.urandom(4 * MIB)
        seen.transport.write(data[:MIB])
        assert seen.told == ["pause"]
        assert 0 < seen.transport.get_write_buffer_size() < MIB
        seen.transport.write(memoryview(data)[MIB : 2 * MIB])
        seen.transport.writelines([data[2 * MIB : 3 * MIB], bytearray(data[3 * MIB :])])
        assert seen.told == ["pause"]
        assert await drained(sock, len(data)) == data
        await until(lambda: seen.told == ["pause", "resume"])
        assert seen.transport.get_write_buffer_size() == 0
        seen.transport.write(b"on")
        assert await drained(sock, 2) == b"on"
        sock.close()

    assert play(scenario) == []


def test_closing_sends_what_is_waiting_and_aborting_does_not(play: Play) -> None:
    async def scenario(place: Place) -> None:
        for close in (SenderTransport.close, SenderTransport.abort):
            sock, seen = await place.connect()
            seen.transport.write(b"z" * MIB)
            for _ in range(2):
                close(seen.transport)
            assert seen.transport.is_closing()
            assert not seen.transport.is_reading()
            seen.transport.write(b"too late")
            seen.transport.resume_reading()
            found = await drained(sock, 2 * MIB)
            await until(lambda seen=seen: seen.over)
            assert (len(found) == MIB) == (close is SenderTransport.close)
            assert len(found) <= MIB
            sock.close()

    assert play(scenario) == []


def test_after_an_end_of_writing_the_other_direction_goes_on(play: Play) -> None:
    async def scenario(place: Place) -> None:
        for size in (10, MIB):
            sock, seen = await place.connect()
            assert seen.transport.can_write_eof()
            seen.transport.write(b"q" * size)
            seen.transport.write_eof()
            seen.transport.write_eof()
            with pytest.raises(RuntimeError):
                seen.transport.write(b"more")
            assert len(await drained(sock, 2 * MIB)) == size
            sock.send(b"heard")
            await until(lambda seen=seen: seen.pieces == [b"heard"])
            sock.close()
            await until(lambda seen=seen: seen.over)
            assert seen.told[-1] == "eof"

    assert play(scenario) == []


def test_a_peer_that_ends_may_still_be_answered_by_a_protocol_that_wants_to(play: Play) -> None:
    async def scenario(place: Place) -> None:
        place.next.keeps_open = True
        sock, seen = await place.connect()
        sock.shutdown(socket.SHUT_WR)
        await until(lambda: seen.told == ["eof"])
        assert not seen.over
        seen.transport.write(b"answer")
        seen.transport.close()
        assert await drained(sock, 100) == b"answer"
        sock.close()

    assert play(scenario) == []


def test_a_paused_reader_reads_nothing_until_it_resumes(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock, seen = await place.connect()
        for _ in range(2):
            seen.transport.pause_reading()
        sock.send(b"x")
        for _ in range(50):
            await asyncio.sleep(0)
        assert seen.pieces == []
        for _ in range(2):
            seen.transport.resume_reading()
        await until(lambda: seen.pieces == [b"x"])
        sock.close()

    assert play(scenario) == []


def test_a_peer_that_vanishes_with_unread_bytes_ends_the_connection_with_its_fault(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock, seen = await place.connect()
        seen.transport.write(b"z" * MIB)
        sock.close()
        await until(lambda: seen.over)
        assert isinstance(seen.fault, OSError) or seen.told[-1] == "eof"

    assert play(scenario) == []


@pytest.mark.parametrize("where", ["made", "data"])
def test_a_protocol_that_fails_costs_its_own_connection_only_and_the_loop_is_told(play: Play, where: str) -> None:
    async def scenario(place: Place) -> None:
        place.next.raises = where
        sock, broken = await place.connect()
        sock.send(b"x")
        await until(lambda: broken.over)
        other, seen = await place.connect()
        other.send(b"y")
        await until(lambda: seen.pieces == [b"y"])
        sock.close()
        other.close()

    (told,) = play(scenario)
    assert isinstance(told["exception"], ValueError)


def test_urgent_bytes_neither_block_nor_spin(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock, seen = await place.connect()
        try:
            sock.send(b"!", socket.MSG_OOB)
        except OSError:
            pass  # a kernel without them
        for _ in range(50):
            await asyncio.sleep(0)
        sock.send(b"x")
        await until(lambda: b"x" in b"".join(seen.pieces))
        sock.close()

    assert play(scenario) == []


@contextmanager
def no_descriptors(spare: int) -> Generator[None]:
    """This process may open only so many more."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0) for _ in range(spare + 1)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1], old[1]))
    for descriptor in held:
        os.close(descriptor)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def test_without_a_descriptor_for_the_sender_nobody_is_believed(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock, seen = await place.connect()
        with no_descriptors(0):
            sock.send(b"x")
            await until(lambda: seen.senders)
        assert seen.senders == [None]
        sock.close()

    assert play(scenario) == []


def test_without_a_descriptor_for_a_connection_accepting_waits_and_goes_on(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "CROWDED_SECONDS", 0.0)

    async def scenario(place: Place) -> None:
        sock = socket.socket(socket.AF_UNIX)
        with no_descriptors(0):
            sock.connect(place.path)
            await until(lambda: "can be accepted" in caplog.text)
        await until(lambda: place.seen)
        sock.close()

    assert play(scenario) == []


def test_passed_descriptors_are_closed_and_the_sender_is_not_named(play: Play) -> None:
    async def scenario(place: Place) -> None:
        try:
            place.sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 1)
        except OSError:
            pass  # as it is before Linux 6.16
        for many in (1, 253):
            sock, seen = await place.connect()
            socket.send_fds(sock, [b"x"], [0] * many)
            await until(lambda seen=seen: seen.senders)
            assert seen.senders == [None]
            sock.close()

    assert play(scenario) == []  # which counts descriptors


def test_a_closed_listener_leaves_its_connections_alone(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock, seen = await place.connect()
        place.acceptor.close()
        place.acceptor.close()
        sock.send(b"x")
        await until(lambda: seen.pieces)
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(place.path)
        sock.close()

    assert play(scenario) == []


def test_limits_and_protocols_are_set_as_in_asyncio(play: Play) -> None:
    async def scenario(place: Place) -> None:
        sock, seen = await place.connect()
        one = seen.transport
        assert one.get_write_buffer_limits() == (16 << 10, 64 << 10)
        one.set_write_buffer_limits(high=100)
        assert one.get_write_buffer_limits() == (25, 100)
        one.set_write_buffer_limits(low=100)
        assert one.get_write_buffer_limits() == (100, 400)
        with pytest.raises(ValueError, match="at least"):
            one.set_write_buffer_limits(high=1, low=2)
        assert one.get_extra_info("socket").fileno() >= 0
        assert one.get_extra_info("sslcontext") is None
        assert one.get_protocol() is seen  # type: ignore[comparison-overlap]
        other = Seen()
        one.set_protocol(other)  # type: ignore[arg-type]
        sock.send(b"x")
        await until(lambda: other.pieces == [b"x"])
        one.set_protocol(seen)  # type: ignore[arg-type]
        sock.close()

    assert play(scenario) == []


CONTROL = st.tuples(
    st.sampled_from([socket.SOL_SOCKET, 0, 6]),
    st.sampled_from([SCM_PIDFD, 2, 3, 99]),
    st.binary(max_size=9) | st.binary(min_size=4, max_size=4),
)


@settings(max_examples=100)
@given(st.lists(CONTROL, max_size=4))
def test_one_whole_pidfd_is_a_sender_and_anything_else_beside_it_is_noticed(
    control: list[tuple[int, int, bytes]],
) -> None:
    found, only = transport.sender(control)
    whole = [data for level, kind, data in control if (level, kind, len(data)) == (socket.SOL_SOCKET, SCM_PIDFD, 4)]
    numbers = [int.from_bytes(data, sys.byteorder, signed=True) for data in whole]
    assert found is None or found in numbers
    assert found is None or found >= 0
    if only:
        assert len(control) == len(whole)
        assert len([number for number in numbers if number >= 0]) <= 1


def test_a_truncated_list_of_descriptors_is_closed_as_far_as_it_goes() -> None:
    one = os.dup(0)
    data = one.to_bytes(4, sys.byteorder) + b"\1\0"
    assert transport.sender([(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)]) == (None, False)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(one)
