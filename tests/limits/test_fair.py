"""limits/fair.py: a tenant that floods waits for itself, and others do not wait for it."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.call import CallId
from ringwall.limits.fair import Turns


def names(tenant: str, count: int) -> list[CallId]:
    return [CallId(f"{tenant}{number}") for number in range(count)]


def test_another_tenants_call_gets_in_at_once_beside_a_flood() -> None:
    async def run() -> None:
        turns = Turns(inside=4, each=2, waiting=50, seconds=60.0)
        flood = [asyncio.create_task(turns.take("flood", call)) for call in names("f", 40)]
        await asyncio.sleep(0)
        assert sum(task.done() for task in flood) == 2
        assert await turns.take("calm", CallId("c0"))
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)

    asyncio.run(run())


def test_tenants_that_wait_take_turns() -> None:
    async def run() -> None:
        turns = Turns(inside=1, each=1, waiting=50, seconds=60.0)
        assert await turns.take("first", CallId("x"))
        order: list[str] = []

        async def one(tenant: str, call: CallId) -> None:
            assert await turns.take(tenant, call)
            order.append(tenant)
            turns.done(call)

        tasks = [asyncio.create_task(one(tenant, call)) for tenant in ("flood", "ana", "bob")
                 for call in names(tenant, 20 if tenant == "flood" else 2)]
        await asyncio.sleep(0)
        turns.done(CallId("x"))
        await asyncio.gather(*tasks)
        assert order[:6] == ["flood", "ana", "bob", "flood", "ana", "bob"]
        assert len(order) == 24

    asyncio.run(run())


def test_a_caller_who_gives_up_as_his_turn_comes_harms_nobody() -> None:
    """Cancelling a task cancels what it waits for at once; the task itself hears of it only later."""
    async def run() -> None:
        turns = Turns(inside=1, each=1, waiting=50, seconds=60.0)
        assert await turns.take("calm", CallId("c0"))
        gone, next_ = [asyncio.create_task(turns.take("flood", call)) for call in names("f", 2)]
        await asyncio.sleep(0)
        gone.cancel()
        turns.done(CallId("c0"))  # before the one who is gone has left the line
        assert await asyncio.wait_for(next_, 10.0)
        turns.done(CallId("f1"))
        assert await turns.take("calm", CallId("c1"))
        await asyncio.gather(gone, return_exceptions=True)

    asyncio.run(run())


def test_too_many_that_wait_are_refused_at_once_and_one_that_waits_too_long_later() -> None:
    async def run() -> None:
        turns = Turns(inside=1, each=1, waiting=1, seconds=0.0)
        assert await turns.take("a", CallId("in"))
        assert not await turns.take("a", CallId("late"))
        patient = Turns(inside=1, each=1, waiting=1, seconds=60.0)
        assert await patient.take("a", CallId("in"))
        waiting = asyncio.create_task(patient.take("a", CallId("waits")))
        await asyncio.sleep(0)
        assert not await patient.take("a", CallId("too many"))
        patient.done(CallId("in"))
        assert await waiting
        turns.done(CallId("never in"))

    asyncio.run(run())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "done", "cancel", "turn"]),
                          st.integers(0, 30)), max_size=60), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_however_calls_come_and_go_no_turn_is_lost_or_given_twice(
        plan: list[tuple[str, str, int]], inside: int, each: int) -> None:
    async def run() -> None:
        turns = Turns(inside=inside, each=each, waiting=100, seconds=60.0)
        tasks: dict[str, asyncio.Task[bool]] = {}
        here: dict[str, str] = {}

        def came(call: str, tenant: str, task: asyncio.Task[bool]) -> None:
            if not task.cancelled() and task.result():
                here[call] = tenant

        for number, (tenant, what, which) in enumerate(plan):
            call = f"{tenant}{number}"
            if what == "take":
                tasks[call] = task = asyncio.create_task(turns.take(tenant, CallId(call)))
                task.add_done_callback(lambda done, c=call, t=tenant: came(c, t, done))
            elif what == "done" and here:
                gone = sorted(here)[which % len(here)]
                del here[gone]
                turns.done(CallId(gone))
            elif what == "cancel" and tasks:
                tasks[sorted(tasks)[which % len(tasks)]].cancel()
            elif what == "turn":
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert len(here) <= inside
            assert all(list(here.values()).count(name) <= each for name in "abc")
        for _ in range(len(plan) + 2):  # whoever waits gets in once others leave
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for call in list(here):
                del here[call]
                turns.done(CallId(call))
        assert all(task.done() for task in tasks.values())
        assert [await turns.take("z", CallId(f"z{number}")) for number in range(min(inside, each))]

    asyncio.run(run())
