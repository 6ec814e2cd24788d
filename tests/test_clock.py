"""A limit behaves as ``asyncio.timeout`` does, whether its work waits or not."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.clock import Limit


def test_work_that_does_not_wait_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer() -> int:
        return 7

    def no_timer(_: float) -> NoReturn:
        raise AssertionError("a timer was set")

    monkeypatch.setattr(asyncio, "timeout", no_timer)
    assert asyncio.run(Limit(1.0).run(answer())) == 7


def test_work_that_fails_before_it_waits_fails_as_it_is() -> None:
    async def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(Limit(1.0).run(fail()))


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.integers(), max_size=8))
def test_work_gets_every_answer_it_waits_for_in_order(steps: list[int]) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()

        async def work() -> list[int]:
            got: list[int] = []
            for step in steps:
                future: asyncio.Future[int] = loop.create_future()
                loop.call_soon(future.set_result, step)
                got.append(await future)
            return got

        return await Limit(60.0).run(work())

    assert asyncio.run(main()) == steps


def test_an_error_that_work_waits_for_reaches_it() -> None:
    async def main() -> str:
        async def work() -> str:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.get_loop().call_soon(future.set_exception, KeyError("gone"))
            try:
                await future
            except KeyError:
                return "handled"
            return "missed"

        return await Limit(60.0).run(work())

    assert asyncio.run(main()) == "handled"


def test_work_that_waits_too_long_is_cancelled_and_cleans_up() -> None:
    ended: list[str] = []

    async def main() -> None:
        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")

        limit = Limit(0.0)
        with pytest.raises(TimeoutError):
            await limit.run(work())
        assert limit.expired

    asyncio.run(main())
    assert ended == ["cleaned up"]


def test_an_answer_of_work_that_would_not_be_cancelled_counts_as_late() -> None:
    async def main() -> tuple[int, bool]:
        async def stubborn() -> int:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return 3
            return 4

        limit = Limit(0.0)
        return await limit.run(stubborn()), limit.expired

    assert asyncio.run(main()) == (3, True)


def test_a_cancelled_caller_is_cancelled_and_not_told_of_a_time_out() -> None:
    seen: list[str] = []

    async def main() -> None:
        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("work")
                raise

        task = asyncio.create_task(Limit(60.0).run(work()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["work"]
