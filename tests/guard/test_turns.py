"""One caller's slow texts fill one caller's line: nobody else waits for more than one of them."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from tests.guard.helpers import opened, service_process

import ringwall.guard.client as client_module
from ringwall.errors import Unavailable
from ringwall.guard.client import GuardClient
from ringwall.guard.turns import MAX_LINE, SMALL, Turns

BIG = SMALL + 1


def test_small_requests_run_together_and_big_ones_alone() -> None:
    async def run() -> None:
        turns = Turns()
        await turns.take("a", 10, 1.0)
        await turns.take("b", 10, 1.0)
        big = asyncio.ensure_future(turns.take("c", BIG, 1.0))
        await asyncio.sleep(0)
        assert not big.done()
        turns.give_back(10)
        turns.give_back(10)
        await big

    asyncio.run(run())


def test_a_caller_with_a_long_line_lets_every_other_caller_in_before_its_next_request() -> None:
    async def run() -> None:
        turns, order = Turns(), list[str]()

        async def one(caller: str) -> None:
            await turns.take(caller, BIG, 60.0)
            order.append(caller)

        await turns.take("flood", BIG, 1.0)
        flood = [asyncio.ensure_future(one("flood")) for _ in range(10)]
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(one("bob")), asyncio.ensure_future(one("eve"))]
        await asyncio.sleep(0)
        for _ in range(12):
            turns.give_back(BIG)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*flood, *others)
        assert order[:3] == ["bob", "eve", "flood"]

    asyncio.run(run())


def test_a_line_that_is_full_refuses_its_own_caller_only() -> None:
    async def run() -> None:
        turns = Turns()
        await turns.take("flood", BIG, 1.0)
        line = [asyncio.ensure_future(turns.take("flood", BIG, 60.0)) for _ in range(MAX_LINE)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await turns.take("flood", BIG, 60.0)
        assert refused.value.code == "guard_overloaded"
        bob = asyncio.ensure_future(turns.take("bob", 1, 60.0))
        await asyncio.sleep(0)
        turns.give_back(BIG)
        turns.give_back(BIG)
        await bob
        turns.close(Unavailable("gone", code="guard_unreachable"))
        ends = await asyncio.gather(*line, return_exceptions=True)
        assert sum(isinstance(end, Unavailable) for end in ends) == MAX_LINE - 1

    asyncio.run(run())


def test_who_waited_too_long_or_was_cancelled_leaves_no_turn_behind() -> None:
    async def run() -> None:
        turns = Turns()
        await turns.take("a", BIG, 1.0)
        with pytest.raises(Unavailable):
            await turns.take("b", BIG, 0.0)
        cancelled = asyncio.ensure_future(turns.take("c", BIG, 60.0))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert turns.waiting == 0
        late = asyncio.ensure_future(turns.take("d", BIG, 60.0))
        await asyncio.sleep(0)
        turns.give_back(BIG)
        late.cancel()  # the turn has come, and nobody takes it
        await asyncio.gather(late, return_exceptions=True)
        await turns.take("e", BIG, 0.0)

    asyncio.run(run())


def test_one_agents_flood_of_slow_texts_does_not_keep_another_agents_text_from_the_guard() -> None:
    async def run() -> None:
        slow = "token=" * 10_000  # names that promise a secret and keep none: among the dearest texts
        with service_process() as (_, sock):
            async with opened(sock) as guard:
                flood = [asyncio.ensure_future(guard.scan(f"acme/ana/{n}", "prompt", [slow] * 8, True))
                         for n in range(40)]
                await asyncio.sleep(0)
                found = await guard.scan("other/bob/1", "prompt", ["hello"], True)
                assert found.found == ()
                assert sum(task.done() for task in flood) <= 1
                for task in flood:
                    task.cancel()
                await asyncio.gather(*flood, return_exceptions=True)

    asyncio.run(run())


def test_a_guard_that_hangs_is_reported_so_that_it_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        faults: list[str] = []
        monkeypatch.setattr(client_module, "HUNG_SECONDS", 0.0)
        with service_process() as (process, sock):
            guard = GuardClient(seconds=0.05, on_fault=lambda: faults.append("hangs"))
            await guard.attach(sock)
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(Unavailable):
                await guard.scan("a/b/1", "prompt", ["x"], True)
            assert faults == ["hangs"]
            assert not guard.state.alive
            os.kill(process.pid, signal.SIGCONT)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(run())
