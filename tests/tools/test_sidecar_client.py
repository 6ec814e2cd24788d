"""The core's client against a sidecar that is taken over: the test speaks the sidecar's part itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tools.office import gather, no_pins

from ringwall.call import Last
from ringwall.clock import SystemClock
from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.tools import protocol
from ringwall.tools.keeper import STEADY_S, Keeper
from ringwall.tools.keepers import NEWS
from ringwall.tools.pending import Calls, Pending
from ringwall.tools.protocol import (
    Attach,
    CallModel,
    CallTool,
    Cancel,
    Changed,
    Ended,
    FromSidecar,
    Hello,
    ListTools,
    Lost,
    ModelConfig,
    Piece,
    Ready,
    ServerConfig,
)
from ringwall.tools.sidecar_client import SidecarClient, Times
from ringwall.wire import frames


class Fake:
    """The sidecar's part."""

    def __init__(self, client: SidecarClient, downs: list[str]) -> None:
        self.client = client
        self.downs = downs
        self._framer = frames.Framer()
        self._frames: list[bytes] = []

    async def start(self) -> None:
        ours, self._sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        passing, self.passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        await self.client.attach(ours, passing)

    async def hears(self) -> object:
        while not self._frames:
            data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16)
            assert data, "the core closed the link"
            self._frames += self._framer.feed(data)
        return protocol.decode_to_sidecar(self._frames.pop(0))

    async def says(self, *messages: FromSidecar | bytes) -> None:
        for message in messages:
            raw = message if isinstance(message, bytes) else protocol.encode(message)
            await asyncio.get_running_loop().sock_sendall(self._sock, frames.encode(raw))

    async def is_cut_off(self) -> bool:
        """Whether the core has closed the link (frames on the way are read and forgotten)."""
        try:
            while await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16):
                pass
        except ConnectionError:
            pass
        return True

    def stop(self) -> None:
        self._sock.close()
        self.passed.close()


async def spawn(_name: str) -> tuple[int, int]:
    return os.open("/dev/null", os.O_WRONLY), os.open("/dev/null", os.O_RDONLY)


@asynccontextmanager
async def taken_over(times: Times | None = None) -> AsyncGenerator[Fake, None]:
    downs: list[str] = []
    hello = Hello(
        tenant="acme",
        servers={"b": ServerConfig(builtin="echo"), "s": ServerConfig()},
        models={"m": ModelConfig(url="http://127.0.0.1:1/v1")},
    )
    client = SidecarClient(
        hello=hello, spawn=spawn, verify=no_pins, clock=SystemClock(), times=times, on_down=downs.append
    )
    fake = Fake(client, downs)
    await fake.start()
    assert await fake.hears() == hello
    try:
        yield fake
    finally:
        client.close()
        fake.stop()


LIES: list[FromSidecar | bytes] = [
    b"",
    b"\xc1",
    b"{}",
    msgspec.msgpack.encode({"t": "piece"}),
    Piece(id=99, value=b"1"),
    Ended(id=99, end="done"),
    Ended(id=1, end="done", code="tool_error"),
    Ended(id=1, end="failed"),
    Lost(server="x", generation=1),
    Ready(server="b", generation=1),
    Changed(server="", generation=0),
    protocol.encode(CallTool(id=1, server="b", op="echo", args=b"{}")),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_frame_no_honest_sidecar_sends_ends_the_link_and_the_calls_unknown(lie: FromSidecar | bytes) -> None:
    async def run() -> None:
        async with taken_over() as fake:
            call = asyncio.create_task(gather(fake.client.run_tool("b", "echo", {"text": "a"})))
            assert await fake.hears() == CallTool(id=1, server="b", op="echo", args=b'{"text":"a"}')
            await fake.says(lie)
            values, last = await call
            assert (values, last.end) == ([], "unknown")
            assert last.error is not None
            assert last.error["code"] == "sidecar_lost"
            assert await fake.is_cut_off()
            assert len(fake.downs) == 1
            assert "bad_frame" in fake.downs[0]
            assert not fake.client.alive

    asyncio.run(run())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_garbage_never_ends_a_call_as_done(garbage: list[bytes]) -> None:
    async def run() -> None:
        async with taken_over() as fake:
            call = asyncio.create_task(gather(fake.client.run_tool("b", "echo", {"text": "a"})))
            await fake.hears()
            try:
                await fake.says(*garbage)
            except ConnectionError:
                pass
            values, last = await call
            assert (values, last.end) == ([], "unknown")

    asyncio.run(run())


def test_an_over_long_frame_ends_the_link() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            await asyncio.get_running_loop().sock_sendall(fake._sock, (frames.MAX_FRAME + 1).to_bytes(4, "big"))
            assert await fake.is_cut_off()
            assert len(fake.downs) == 1

    asyncio.run(run())


def test_more_pieces_or_bytes_than_one_call_may_return_end_the_link() -> None:
    async def run(pieces: list[FromSidecar]) -> None:
        async with taken_over() as fake:
            call = asyncio.create_task(gather(fake.client.run_tool("b", "echo", {"text": "a"})))
            await fake.hears()
            try:
                await fake.says(*pieces)
            except ConnectionError:
                pass
            _, last = await call
            assert last.end == "unknown"
            assert await fake.is_cut_off()

    half = b'"' + b"x" * (5 << 20) + b'"'
    asyncio.run(run([Piece(id=1, value=half), Piece(id=1, value=half)]))
    asyncio.run(run([Piece(id=1, value=b"1")] * (protocol.MAX_CHUNKS + 1)))


def test_a_value_that_is_no_json_ends_only_its_own_call() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            for number, value in enumerate((b"{", b"NaN", b"\xff", b"[" * 5000), 1):
                call = asyncio.create_task(gather(fake.client.run_tool("b", "echo", {"text": "a"})))
                await fake.hears()
                await fake.says(Piece(id=number, value=value), Ended(id=number, end="done"))
                values, last = await call
                assert (values, last.end, last.error) == (
                    [],
                    "unknown",
                    {"code": "bad_answer", "reason": protocol.REASONS["bad_answer"]},
                )
                assert await fake.hears() == Cancel(id=number, why="caller")
            assert fake.client.alive

    asyncio.run(run())


def test_a_call_that_is_not_answered_ends_in_time_and_is_cancelled() -> None:
    async def run() -> None:
        async with taken_over(Times(tool_s=0.05)) as fake:
            _, last = await gather(fake.client.run_tool("b", "echo", {"text": "a"}))
            assert (last.end, last.error and last.error["code"]) == ("unknown", "tool_timeout")
            await fake.hears()
            assert await fake.hears() == Cancel(id=1, why="timeout")
            async with aclosing(fake.client.run_model("m", b"{}", {}, seconds=0.05)) as answer:
                async for item in answer:
                    assert isinstance(item, Last)
                    assert (item.end, item.error and item.error["code"]) == ("failed", "model_timeout")
            # Late answers to calls that are over are nobody's.
            await fake.says(Piece(id=1, value=b"1"), Ended(id=1, end="done"))
            call = asyncio.create_task(gather(fake.client.run_tool("b", "echo", {"text": "b"}, seconds=20)))
            await fake.says(Ended(id=2, end="done"))
            await fake.hears()
            await fake.hears()
            await fake.hears()
            await fake.says(Piece(id=3, value=b'"x"'), Ended(id=3, end="done"))
            values, last = await call
            assert (values, last.end) == (["x"], "done")

    asyncio.run(run())


def test_a_streamed_answer_may_have_many_pieces_and_each_has_its_own_time_but_not_without_end() -> None:
    async def pieces(count: int, *, stream: bool) -> tuple[int, Last, bool]:
        async with taken_over() as fake:
            calls = fake.client.run_model("m", b"{}", {}, seconds=20, api="messages", stream=stream)
            taken = asyncio.create_task(gathered(calls))
            asked = await fake.hears()
            assert isinstance(asked, CallModel) and (asked.api, asked.stream) == ("messages", stream)
            await fake.says(*[Piece(id=1, value=b"1")] * count, Ended(id=1, end="done"))
            came, last = await taken
            return len(came), last, fake.client.alive

    async def gathered(items: AsyncGenerator[bytes | Last, None]) -> tuple[list[bytes], Last]:
        came: list[bytes] = []
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Last):
                    return came, item
                came.append(item)
        raise AssertionError("no end")

    async def run() -> None:
        count, last, alive = await pieces(protocol.MAX_CHUNKS + 1, stream=True)
        assert (count, last.end, alive) == (protocol.MAX_CHUNKS + 1, "done", True)
        _, last, alive = await pieces(2, stream=False)
        assert (last.end, alive) == ("unknown", False), "an answer that is no stream is one piece"

    asyncio.run(run())


def test_a_stream_that_says_nothing_for_too_long_ends_however_much_it_had_said() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            calls = fake.client.run_model("m", b"{}", {}, seconds=0.05, stream=True)
            async with aclosing(calls):
                first = asyncio.ensure_future(anext(calls))
                await fake.hears()
                await fake.says(Piece(id=1, value=b"1"))
                assert await first == b"1"
                last = await anext(calls)
            assert isinstance(last, Last)
            assert (last.end, last.error and last.error["code"]) == ("failed", "model_timeout")
            assert await fake.hears() == Cancel(id=1, why="timeout")

    asyncio.run(run())


def test_a_server_is_used_only_after_its_handshake_and_its_pipes_are_passed() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            call = asyncio.create_task(gather(fake.client.run_tool("s", "op", {})))
            fake.passed.setblocking(True)
            raw, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, fake.passed, 4096, 4)
            assert protocol.decode_passed(raw) == Attach(server="s", generation=1)
            assert len(descriptors) == 2
            for number in descriptors:
                os.close(number)
            await fake.says(Ready(server="s", generation=7), Ready(server="s", generation=1))
            assert await fake.hears() == ListTools(id=1, server="s")
            await fake.says(
                protocol.Definitions(id=1, definitions=b'[{"name":"op","inputSchema":{}}]'), Ended(id=1, end="done")
            )
            assert await fake.hears() == CallTool(id=2, server="s", op="op", args=b"{}")
            await fake.says(Lost(server="s", generation=6), Piece(id=2, value=b"1"), Ended(id=2, end="done"))
            assert (await call)[0] == [1]

    asyncio.run(run())


def test_a_server_that_comes_back_with_another_definition_does_not_get_the_call_judged_by_the_old_one() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            judged_by, lists = b"old", [b"old"]
            call = asyncio.create_task(
                gather(fake.client.run_tool("s", "op", {}, still=lambda: lists[0] == judged_by))
            )
            fake.passed.setblocking(True)
            _, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, fake.passed, 4096, 4)
            for number in descriptors:
                os.close(number)
            await fake.says(Ready(server="s", generation=1))
            assert await fake.hears() == ListTools(id=1, server="s")
            lists[0] = b"new"
            await fake.says(
                protocol.Definitions(id=1, definitions=b'[{"name":"op","inputSchema":{}}]'), Ended(id=1, end="done")
            )
            values, last = await call
            assert (values, last.end, (last.error or {})["code"]) == ([], "failed", "definition_changed")

    asyncio.run(run())


@pytest.mark.parametrize(
    "definitions", [b"{}", b"[1]", b'[{"name":1,"inputSchema":{}}]', b'[{"name":"a"}]', b"[", b""]
)
def test_definitions_that_are_none_are_refused(definitions: bytes) -> None:
    async def run() -> None:
        async with taken_over() as fake:
            call = asyncio.create_task(fake.client.definitions("b"))
            await fake.hears()
            await fake.says(protocol.Definitions(id=1, definitions=definitions), Ended(id=1, end="done"))
            with pytest.raises(Unavailable) as caught:
                await call
            assert caught.value.code == "bad_answer"

    asyncio.run(run())


def test_a_sidecar_that_does_not_read_is_given_nothing_more() -> None:
    async def run() -> None:
        async with taken_over(Times(tool_s=0.01)) as fake:
            text = {"text": "x" * (7 << 20)}
            codes = {
                (await gather(fake.client.run_tool("b", "echo", text)))[1].error["code"]  # type: ignore[index]
                for _ in range(12)
            }
            assert codes == {"tool_timeout", "sidecar_busy"}

    asyncio.run(run())


class HandClock:
    """Time stands still until told."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def test_back_off_doubles_is_capped_and_ends_with_a_server_that_stays() -> None:
    clock, passed = HandClock(), list[int]()

    async def listing(_name: str) -> list[object]:
        return []

    async def failing(_name: str) -> tuple[int, int]:
        raise RingwallError("no such program", code="cannot_confine")

    def hand_over(message: Attach, _pipes: tuple[int, int]) -> None:
        passed.append(message.generation)
        keeper.shook_hands(message.generation)

    def made(start: object) -> Keeper:
        return Keeper(
            name="s",
            spawn=start,
            hand_over=hand_over,
            listing=listing,  # type: ignore[arg-type]
            verify=no_pins,
            clock=clock,
            start_s=5,
        )

    async def works(_name: str) -> tuple[int, int]:
        return 0, 0

    async def pauses(keeper: Keeper) -> list[float]:
        found: list[float] = []
        for _ in range(10):
            with pytest.raises(Unavailable) as caught:
                await keeper.ready()
            assert caught.value.code == "cannot_confine"
            found.append(keeper._not_before - clock.time)
            clock.time = keeper._not_before
        return found

    assert asyncio.run(pauses(made(failing))) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]

    async def falls(keeper: Keeper) -> None:
        for steady in (False, False, True):
            await keeper.ready()
            clock.time += STEADY_S if steady else 1
            keeper.lost(passed[-1])
            if passed[-1] == 2:
                with pytest.raises(Unavailable) as caught:
                    await keeper.ready()
                assert caught.value.code == "server_restarting"
                clock.time += 0.5
        assert keeper._not_before == clock.time  # stayed long enough: no pause
        await keeper.ready()
        assert passed == [1, 2, 3, 4]

    keeper = made(works)
    asyncio.run(falls(keeper))


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(BadInput):
        frames.encode(bytes(frames.MAX_FRAME + 1))


async def left(fake: Fake, call: str, freed: list[str], seconds: float = 20) -> None:
    """Call, hang up, and have something given back once the tool is over."""
    async with aclosing(fake.client.run_tool("b", "echo", {"text": "a"}, seconds=seconds, call=call)) as answer:
        step = asyncio.ensure_future(anext(answer))
        while isinstance(await fake.hears(), Cancel):
            pass
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)

    async def free() -> None:
        freed.append(call)

    assert fake.client.afterwards(call, free)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0)


def test_what_a_call_holds_is_kept_until_the_sidecar_says_its_end() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            freed: list[str] = []
            await left(fake, "c1", freed)
            await left(fake, "c2", freed)
            await fake.says(Piece(id=2, value=b"1"), Ended(id=2, end="done"))
            await until(lambda: freed)
            assert freed == ["c2"]
            assert len(fake.client.link.calls) == 1
            await fake.says(Ended(id=1, end="unknown", code="abandoned"))
            await until(lambda: len(freed) == 2)
            assert fake.client.alive

    asyncio.run(run())


def test_it_is_kept_no_longer_than_the_tools_time_and_the_sidecar_is_told_that_it_is_over() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            freed: list[str] = []
            await left(fake, "c1", freed, seconds=0.2)
            await until(lambda: freed)
            assert await fake.hears() == Cancel(id=1, why="caller")
            assert await fake.hears() == Cancel(id=1, why="timeout")
            await fake.says(Ended(id=1, end="unknown", code="abandoned"))
            assert len(fake.client.link.calls) == 0

    asyncio.run(run())


@pytest.mark.parametrize("how", ["link", "server"])
def test_it_is_given_back_when_what_worked_on_it_is_gone(how: str) -> None:
    async def run() -> None:
        async with taken_over() as fake:
            freed: list[str] = []
            await left(fake, "c1", freed)
            if how == "link":
                fake.client.close()
            else:
                fake.client.link.calls.server_lost("b")
            await until(lambda: freed)

    asyncio.run(run())


def test_a_call_that_has_its_end_or_was_never_left_has_no_afterwards() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            call = asyncio.create_task(gather(fake.client.run_tool("b", "echo", {"text": "a"}, call="c1")))
            await fake.hears()
            assert not fake.client.afterwards("c1", _never)
            await fake.says(Piece(id=1, value=b"1"), Ended(id=1, end="done"))
            await call
            assert not fake.client.afterwards("c1", _never)
            assert not fake.client.afterwards("", _never)

    asyncio.run(run())


async def _never() -> None:
    raise AssertionError


STRAYS: list[FromSidecar] = [
    Piece(id=1, value=b"1"), Ended(id=1, end="done"), protocol.Definitions(id=1, definitions=b"[]"),
]


@pytest.mark.parametrize("stray", STRAYS)
def test_a_frame_about_a_call_that_had_its_end_ends_the_link(stray: FromSidecar) -> None:
    async def run() -> None:
        async with taken_over() as fake:
            await left(fake, "c1", [])
            await fake.says(Ended(id=1, end="unknown", code="abandoned"), stray)
            assert await fake.is_cut_off()
            assert "bad_frame" in fake.downs[0]

    asyncio.run(run())


@pytest.mark.parametrize("pieces", [[Piece(id=1, value=b"")] * (protocol.MAX_CHUNKS + 1),
                                    [Piece(id=1, value=b"x" * (1 << 20))] * 9])
def test_a_call_nobody_waits_for_may_not_be_answered_without_end_either(pieces: list[FromSidecar]) -> None:
    async def run() -> None:
        async with taken_over() as fake:
            await left(fake, "c1", [])
            with contextlib.suppress(ConnectionError):
                await fake.says(*pieces)
            assert await fake.is_cut_off()
            assert "bad_frame" in fake.downs[0]

    asyncio.run(run())


def test_answers_that_nobody_reads_are_bounded_over_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringwall.tools.pending.MAX_UNREAD", 3 << 20)
    calls, waiting = Calls(), [Pending() for _ in range(4)]
    for number, pending in enumerate(waiting, 1):
        calls.sent(number, pending)
    for number in (1, 2, 3):
        calls.hear(Piece(id=number, value=b"x" * (1 << 20)))
    calls.taken(waiting[0], 1 << 20)  # read
    calls.hear(Piece(id=4, value=b"x" * (1 << 20)))
    with pytest.raises(BadInput):
        calls.hear(Piece(id=1, value=b"x"))


def test_a_sidecar_that_owes_too_many_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringwall.tools.pending.MAX_LEFT", 3)

    async def run() -> None:
        async with taken_over(Times(tool_s=0.01)) as fake:
            for _ in range(4):
                await gather(fake.client.run_tool("b", "echo", {"text": "a"}))
            assert await fake.is_cut_off()
            assert "owes" in fake.downs[0]

    asyncio.run(run())


def test_news_of_servers_beyond_what_starts_and_listings_explain_ends_the_link() -> None:
    async def run() -> None:
        async with taken_over() as fake:
            await fake.says(*[Changed(server="s", generation=1)] * NEWS)
            await fake.says(*[Changed(server="s", generation=1)])
            assert await fake.is_cut_off()
            assert "news" in fake.downs[0]

    asyncio.run(run())
