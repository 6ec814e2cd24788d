"""A call's time stands still while a question is open, for so long and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ringwall.tools.asking import Asking
from ringwall.tools.patience import MAX_ASKING_S, Alarm, Patience


class Loop(asyncio.SelectorEventLoop):
    """Whose clock the test sets forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def run(work: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    loop = Loop()
    try:
        loop.run_until_complete(asyncio.wait_for(work(loop), 10_000))
    finally:
        loop.close()


class Timed:
    """A call of 30 s."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.over = False
        self.alarm = Alarm(self.end)
        self.patience = Patience(self.alarm.at, 30.0)

    def end(self) -> None:
        self.over = True

    async def after(self, seconds: float) -> bool:
        """Whether it is over so much later."""
        self.loop.ahead += seconds
        for _ in range(3):
            await asyncio.sleep(0)
        return self.over


def test_the_time_a_question_is_open_does_not_count() -> None:
    async def work(loop: Loop) -> None:
        call = Timed(loop)
        assert not await call.after(20)
        call.patience.asked()
        call.patience.asked()
        assert not await call.after(100)
        call.patience.answered()
        assert not await call.after(100)  # the other one is open still
        call.patience.answered()
        assert not await call.after(9)
        assert await call.after(2)

    run(work)


def test_all_questions_of_a_call_together_get_five_minutes() -> None:
    async def work(loop: Loop) -> None:
        call = Timed(loop)
        for _ in range(3):
            call.patience.asked()
            assert not await call.after(100)
            call.patience.answered()
        call.patience.asked()
        assert not await call.after(29)
        assert MAX_ASKING_S == 300
        assert await call.after(2)

    run(work)


def test_the_core_knows_which_call_an_answer_gives_its_time_back() -> None:
    async def work(loop: Loop) -> None:
        asking = Asking()
        one, other = Timed(loop), Timed(loop)
        first, second = asking.of("web"), asking.of("web")
        first.begin(one.patience)
        second.begin(other.patience)
        for value in ({"ask": {"number": 7}}, {"ask": {"number": True}}, {"ask": 7}, {"event": {}}, "ask", None):
            first.hear(value)
        second.hear({"ask": {"number": 7}})  # that number is taken: it gains nothing
        assert not await one.after(40)
        assert await other.after(0)
        asking.answered("web", "elicitation.create", {"number": 8})
        asking.answered("mail", "elicitation.create", {"number": 7})
        asking.answered("web", "add", {"number": 7})
        assert not await one.after(40)
        asking.answered("web", "elicitation.create", {"number": 7})
        assert not await one.after(29)
        assert await one.after(2)
        first.over()
        asking.answered("web", "elicitation.create", {"number": 7})

    run(work)
