"""The client against a guard that lies, dies, hangs or talks nonsense: a refusal each time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest
from tests.guard.helpers import CARD, GITHUB, LyingGuard, engine, opened, service_process

from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.guard import client as module
from ringwall.guard.client import GuardClient
from ringwall.guard.protocol import MAX_ANSWER, Answer, encode, from_guard
from ringwall.guard.service import MAX_STREAMS
from ringwall.wire import frames

TEXT = f"key {GITHUB} here"


async def refused(asked: Awaitable[object]) -> str:
    with pytest.raises(RingwallError) as caught:
        await asked
    return caught.value.code


def test_a_real_service_answers_and_survives_many_streams() -> None:
    async def run() -> None:
        with service_process() as (_, sock):
            async with opened(sock) as client:
                assert client.state.alive and client.state.rules == engine().version and not client.state.degraded
                assert "secrets" in client.state.stages
                answers = await asyncio.gather(
                    *(client.scan(f"s{n}", "prompt", [TEXT, str(n)], True) for n in range(50))
                )
                assert all(
                    [(f.text, f.start, f.end, f.category) for f in a.found] == [(0, 4, 44, "secret")]
                    for a in answers
                )
                for number in range(3):
                    await client.scan("long", "response", [f"part {number}"], number == 2)
                assert client.state.waiting == 0
                client.close()
                assert not client.state.alive

    asyncio.run(run())


def test_forgotten_streams_are_told_together_with_the_next_request_or_when_there_are_many() -> None:
    async def run() -> None:
        with service_process() as (_, sock):
            async with opened(sock) as client:
                # Far more than the guard holds at once: it would refuse if it were never told.
                for number in range(MAX_STREAMS + 10):
                    await client.scan(f"s{number}", "response", ["x"], False)
                    client.forget(f"s{number}")
                names = [f"t{number}" for number in range(2 * module.MAX_DROPPED)]
                for name in names:
                    await client.scan(name, "response", ["x"], False)
                for name in names:
                    client.forget(name)
                assert (await client.scan("again", "response", [TEXT], True)).found

    asyncio.run(run())


def test_a_text_of_many_batches_is_scanned_whole() -> None:
    async def run() -> None:
        with service_process() as (_, sock):
            async with opened(sock) as client:
                text = "line of text\n" * 5040 + TEXT + "\nmore" * 9000  # the secret lies at the first cut
                assert text.index(GITHUB) < 65536 < text.index(GITHUB) + len(GITHUB) + 60
                found = (await client.scan("s", "tool_result", ["x", text, CARD], True)).found
                assert [(f.text, f.category) for f in found] == [(1, "secret"), (2, "card")]
                assert text[found[0].start : found[0].end] == GITHUB

    asyncio.run(run())


def test_a_guard_killed_while_a_scan_waits_is_a_refusal_and_a_new_one_can_be_attached() -> None:
    async def run() -> None:
        with service_process() as (process, sock):
            async with opened(sock) as client:
                await client.scan("s", "response", ["part one"], False)
                os.kill(process.pid, signal.SIGSTOP)
                waiting = asyncio.ensure_future(client.scan("s", "response", ["part two"], False))
                await asyncio.sleep(0)
                os.kill(process.pid, signal.SIGKILL)
                assert await refused(waiting) == "guard_unreachable"
                assert await refused(client.scan("t", "prompt", ["x"], True)) == "guard_unreachable"
                assert not client.state.alive
        with service_process() as (_, sock):
            await client.attach(sock)
            assert [f.category for f in (await client.scan("s", "response", [TEXT], True)).found] == ["secret"]
            client.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(run())


def test_a_hung_guard_is_a_timeout_and_its_late_answers_are_nobodys() -> None:
    async def run() -> None:
        with service_process() as (process, sock):
            async with opened(sock) as client:
                client._seconds = 0.05
                os.kill(process.pid, signal.SIGSTOP)
                assert await refused(client.scan("s", "prompt", [TEXT], False)) == "guard_timeout"
                os.kill(process.pid, signal.SIGCONT)
                client._seconds = 10
                assert (await client.scan("s", "prompt", ["fine"], True)).found == ()
                assert client.state.waiting == 0

    asyncio.run(run())


def test_a_cancelled_scan_leaves_the_stream_usable() -> None:
    async def run() -> None:
        with service_process() as (process, sock):
            async with opened(sock) as client:
                os.kill(process.pid, signal.SIGSTOP)
                task = asyncio.ensure_future(client.scan("s", "prompt", ["a"], False))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                os.kill(process.pid, signal.SIGCONT)
                assert (await client.scan("s", "prompt", ["a"], True)).found == ()

    asyncio.run(run())


def changed(raw: bytes, **fields: object) -> bytes:
    said = from_guard(raw)
    assert isinstance(said, Answer)
    return encode(msgspec.structs.replace(said, **fields))


LIES: dict[str, Callable[[bytes, bytes], Sequence[bytes]]] = {
    "findings left out": lambda _, raw: [changed(raw, findings=[])],
    "unsigned": lambda _, raw: [changed(raw, mac=bytes(32))],
    "other rules": lambda _, raw: [changed(raw, rules="0" * 64)],
    "other stream": lambda _, raw: [changed(raw, stream="9:other")],
    "other number": lambda _, raw: [changed(raw, sequence=7)],
    "nonsense": lambda _, raw: [b"nonsense"],
    "empty": lambda _, raw: [b""],
    "cut off": lambda _, raw: [raw[:-1]],
    "one byte more": lambda _, raw: [raw + b"\x00"],
    "a bomb of arrays": lambda _, raw: [b"\x91" * 100_000],
    "a bomb of lengths": lambda _, raw: [b"\x96\xa6answer\xa31:s\x00\xdd\xff\xff\xff\xff"],
    "far too long": lambda _, raw: [b"\x00" * (MAX_ANSWER + 1)],
    "a failure nobody knows": lambda _, raw: [msgspec.msgpack.encode(["failed", "1:s", 0, "all_is_well"])],
    "a second greeting": lambda _, raw: [msgspec.msgpack.encode(["ready", 1, "0" * 64, [], [], bytes(32)])],
    "a request": lambda request, _: [request],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_guard_that_lies_is_refused_and_cut_off(lie: str) -> None:
    async def run() -> None:
        guard = LyingGuard(LIES[lie])
        async with opened(guard.ours) as client:
            assert await refused(client.scan("s", "prompt", [TEXT], False)) == "guard_bad_verdict"
            assert not client.state.alive
            assert await refused(client.scan("t", "prompt", ["x"], True)) == "guard_unreachable"
            await guard.close()

    asyncio.run(run())


def test_an_answer_given_before_is_refused_for_other_bytes() -> None:
    async def run() -> None:
        first: list[bytes] = []

        def stale(_: bytes, raw: bytes) -> Sequence[bytes]:
            first.append(raw)
            return [first[0]] if len(first) == 1 else [changed(first[0], sequence=len(first) - 1)]

        guard = LyingGuard(stale)
        async with opened(guard.ours) as client:
            assert (await client.scan("s", "prompt", ["harmless"], False)).found == ()
            assert await refused(client.scan("s", "prompt", [TEXT], False)) == "guard_bad_verdict"
            await guard.close()

    asyncio.run(run())


def test_swapped_answers_are_refused() -> None:
    async def run() -> None:
        kept: list[bytes] = []

        def swap(_: bytes, raw: bytes) -> Sequence[bytes]:
            kept.append(raw)
            if len(kept) < 2:
                return []
            return [changed(kept[1], stream="1:a"), changed(kept[0], stream="2:b")]

        guard = LyingGuard(swap)
        async with opened(guard.ours) as client:
            one = asyncio.ensure_future(client.scan("a", "prompt", [TEXT], True))
            two = asyncio.ensure_future(client.scan("b", "prompt", ["harmless"], True))
            assert {await refused(one), await refused(two)} == {"guard_bad_verdict"}
            await guard.close()

    asyncio.run(run())


def test_an_answer_recorded_on_an_earlier_connection_is_refused() -> None:
    async def run() -> None:
        seen: list[bytes] = []
        for expected in ("", "guard_bad_verdict"):
            guard = LyingGuard(lambda _, raw: [seen[0]] if seen else [seen.append(raw) or raw])
            async with opened(guard.ours) as client:
                asked = client.scan("s", "prompt", ["harmless"], True)
                if expected:
                    assert await refused(asked) == expected
                else:
                    assert (await asked).found == ()
                await guard.close()

    asyncio.run(run())


def test_an_over_long_frame_ends_the_link() -> None:
    async def run() -> None:
        guard = LyingGuard(lambda *_: [struct.pack(">I", frames.MAX_FRAME + 1) + b"x" * 8], framed=False)
        async with opened(guard.ours) as client:
            assert await refused(client.scan("s", "prompt", [TEXT], True)) == "guard_unreachable"
            await guard.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "greeting",
    [
        b"nonsense",
        msgspec.msgpack.encode(["ready", 1, "0" * 64, [], [], bytes(32)]),
        msgspec.msgpack.encode(["failed", "s", 0, "guard_limit"]),
    ],
)
def test_a_guard_that_does_not_greet_with_the_key_is_not_used(greeting: bytes) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(frames.encode(greeting))
        assert await refused(GuardClient.open(ours)) == "guard_bad_verdict"
        theirs.close()

    asyncio.run(run())


def test_a_guard_that_is_gone_or_silent_at_the_start_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        assert await refused(GuardClient.open(ours)) in {"guard_unreachable", "link_closed"}
        ours, theirs = socket.socketpair()
        monkeypatch.setattr(module, "READY_SECONDS", 0.05)
        assert await refused(GuardClient.open(ours)) == "guard_timeout"
        theirs.close()

    asyncio.run(run())


def test_more_than_the_guard_keeps_up_with_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        with service_process() as (process, sock):
            async with opened(sock) as client:
                os.kill(process.pid, signal.SIGSTOP)
                monkeypatch.setattr(module, "MAX_WAITING", 3)
                tasks = [asyncio.ensure_future(client.scan(f"s{n}", "prompt", ["x"], True)) for n in range(3)]
                await asyncio.sleep(0)
                assert await refused(client.scan("more", "prompt", ["x"], True)) == "guard_overloaded"
                os.kill(process.pid, signal.SIGCONT)
                assert all(a.found == () for a in await asyncio.gather(*tasks))
                monkeypatch.setattr(module, "MAX_WAITING_CHARACTERS", 10)
                assert await refused(client.scan("wide", "prompt", ["x" * 11], True)) == "guard_overloaded"

    asyncio.run(run())


def test_text_that_is_no_unicode_or_over_the_limits_is_refused_and_the_guard_goes_on() -> None:
    async def run() -> None:
        with service_process() as (_, sock):
            async with opened(sock) as client:
                with pytest.raises(BadInput, match="bad_text"):
                    await client.scan("s", "prompt", ["\ud800"], False)
                assert await refused(client.scan("t", "prompt", ["\ufdfa" * 60_000], False)) == "guard_limit"
                assert (await client.scan("s", "prompt", ["fine"], True)).found == ()
                with pytest.raises(Unavailable):
                    client.close()
                    await client.scan("s", "prompt", ["fine"], True)

    asyncio.run(run())


def test_the_service_ends_by_itself_when_its_core_is_gone_or_talks_nonsense() -> None:
    with service_process() as (process, sock):
        sock.close()
        assert process.wait(timeout=20) == 0
    with service_process() as (process, sock):
        sock.sendall(frames.encode(b"nonsense"))
        assert process.wait(timeout=20) == 1
        assert process.stderr is not None and b"bad_guard_frame" in process.stderr.read()
