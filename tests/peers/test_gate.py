"""Connections that wait for the core's word: whichever of word and socket comes first, and when none comes."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.peers.hostile import as_svid
from tests.peers.support import ANA, SAM, A, Authority, B, Side, ask, code, go, sides, until

from ringwall.peers import gate
from ringwall.peers.gate import Admission
from ringwall.peers.pipe import MAX_EARLY, Outer
from ringwall.peers.protocol import Incoming


class Fake(asyncio.Transport):
    """A transport that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[object] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said.append(bytes(data))

    def is_closing(self) -> bool:
        return "abort" in self.said

    def abort(self) -> None:
        self.said.append("abort")

    def close(self) -> None:
        self.said.append("close")

    def pause_reading(self) -> None:
        self.said.append("pause")

    def resume_reading(self) -> None:
        self.said.append("resume")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def waiting(admission: Admission) -> tuple[Outer, Fake]:
    outer, transport = Outer(lambda _: None), Fake()
    outer.connection_made(transport)
    admission.ask("l1", [b"c"], outer)
    return outer, transport


@pytest.mark.parametrize("first", ["pipe", "word"])
def test_word_and_socket_may_come_in_any_order_and_early_bytes_are_not_lost(first: str) -> None:
    async def run() -> None:
        asked: list[Incoming] = []
        admission = Admission(asked.append)
        outer, transport = waiting(admission)
        outer.data_received(b"early")
        core, theirs = socket.socketpair()
        core.setblocking(False)
        if first == "pipe":
            admission.pipe(1, theirs)
            admission.admit(1, True)
        else:
            admission.admit(1, True)
            admission.pipe(1, theirs)
        got = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(core, 99), 20)
        assert (asked, got) == ([Incoming(connection=1, launch="l1", chain=[b"c"])], b"early")
        await until(lambda: "resume" in transport.said)
        outer.connection_lost(None)
        assert await asyncio.get_running_loop().sock_recv(core, 99) == b""
        core.close()
        await admission.close()

    go(run())


def test_a_socket_for_a_connection_that_is_refused_or_unknown_is_closed() -> None:
    async def run() -> None:
        admission = Admission(lambda _: None)
        _, transport = waiting(admission)
        admission.admit(1, False)
        for number in (1, 2):
            core, theirs = socket.socketpair()
            admission.pipe(number, theirs)
            assert core.recv(1) == b""
            core.close()
        assert any(isinstance(one, bytes) and one.startswith(b"HTTP/1.1 403 ") for one in transport.said)
        await admission.close()

    go(run())


def test_more_than_may_wait_are_refused_and_more_early_bytes_than_may_come_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "MAX_JUDGED", 2)

    async def run() -> None:
        asked: list[Incoming] = []
        admission = Admission(asked.append)
        (outer, first), _, (_, third) = waiting(admission), waiting(admission), waiting(admission)
        assert len(asked) == 2
        assert any(isinstance(one, bytes) and one.startswith(b"HTTP/1.1 403 ") for one in third.said)
        outer.data_received(bytes(MAX_EARLY + 1))
        assert first.is_closing()
        await admission.close()

    go(run())


def test_a_core_that_says_nothing_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "JUDGE_S", 0.1)

    async def run() -> None:
        async with sides() as (ana, sam):
            async def silent(message: Incoming) -> socket.socket | None:
                await asyncio.Event().wait()
                return None

            sam.line.on_incoming = silent
            assert code((await ask(ana, sam.url, SAM))[1]) == ("unknown", "peer_broken")
            for task in sam.line._judging:
                task.cancel()

    go(run())


@pytest.mark.parametrize("liar", [A, B], ids=["another authority", "its own"])
def test_whoever_borrows_a_name_does_not_use_up_its_places(
    monkeypatch: pytest.MonkeyPatch, liar: Authority
) -> None:
    monkeypatch.setattr(gate, "MAX_OF_ONE", 1)

    async def run() -> None:
        async with sides() as (_, sam):
            asked: list[Incoming] = []

            async def silent(message: Incoming) -> socket.socket | None:
                asked.append(message)
                await asyncio.Event().wait()
                return None

            sam.line.on_incoming = silent
            port = sam.listener.getsockname()[1]
            with await asyncio.to_thread(as_svid, port, liar.svid(SAM)):
                await until(lambda: len(asked) == 1)
                with await asyncio.to_thread(as_svid, port, B.svid(SAM)) as honest:
                    if liar is A:
                        await until(lambda: len(asked) == 2)
                    else:
                        assert (await asyncio.to_thread(honest.recv, 12)) == b"HTTP/1.1 403"
            for task in sam.line._judging:
                task.cancel()

    go(run())


def test_however_many_wait_all_others_have_their_turn_between_two_of_them() -> None:
    async def run() -> None:
        async with sides() as (_, sam):
            turns, seen = 0, list[int]()

            async def judge(message: Incoming) -> socket.socket | None:
                seen.append(turns)
                return None

            async def others() -> None:
                nonlocal turns
                while len(seen) < 50:
                    await asyncio.sleep(0)
                    turns += 1

            sam.line.on_incoming = judge
            other = asyncio.ensure_future(others())
            await until(lambda: sam.line._gated)
            for number in range(1, 51):
                sam.line._incoming(Incoming(connection=number, launch="l1", chain=[b"c"]))
            await asyncio.wait_for(other, 20)
            assert len(set(seen)) == 50

    go(run())


def test_a_gate_without_an_identity_lets_nobody_in_and_a_second_one_takes_the_place_of_the_first() -> None:
    async def run() -> None:
        side = Side()
        await side.start()
        await side.line.gate("l1", side.listener)
        await until(lambda: side.sidecar._hands is not None and "l1" in side.sidecar._hands._launches)
        port = side.listener.getsockname()[1]
        with pytest.raises(OSError):
            await asyncio.to_thread(as_svid, port, A.svid(ANA))
        await side.line.identity(B.svid(SAM), "l1")
        other = socket.create_server(("127.0.0.1", 0))
        await side.line.gate("l1", other)
        first = side.sidecar._hands._launches["l1"].gate
        await until(lambda: side.sidecar._hands._launches["l1"].gate is not first)
        with await asyncio.to_thread(as_svid, other.getsockname()[1], A.svid(ANA)) as sock:
            assert sock.version() == "TLSv1.3"
        other.close()
        await side.stop()

    go(run())
