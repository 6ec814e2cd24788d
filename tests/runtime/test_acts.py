"""Acts of operators: behind the wall, one function a verb."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from tests.fakes import call, run

from ringwall.call import Call, Chunk, Facts, Json, Last, Operator
from ringwall.errors import BadInput, Unavailable
from ringwall.runtime.acts import Acts, arguments

ROOT = Operator(name="root", uid=0, connection=1)


class FakeLauncher:
    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        yield Chunk(value="launched")
        yield Last(end="done")


class Order(msgspec.Struct, forbid_unknown_fields=True):
    reason: str


async def echo(asked: Call) -> Json:
    return {"reason": arguments(asked, Order).reason}


async def broken(asked: Call) -> Json:
    raise Unavailable("it is down", code="down", remedy="start it")


def done(verb: str, args: Any = None) -> list[Chunk | Last]:
    acts = Acts(FakeLauncher(), {"echo": echo, "broken": broken})

    async def collect() -> list[Chunk | Last]:
        asked = call(verb, args, kind="operate", subject=ROOT, session=None)
        return [item async for item in acts.run(asked, {})]

    return run(collect())


def test_a_verb_is_answered_by_its_act_and_run_by_the_launcher() -> None:
    assert done("echo", {"reason": "x"}) == [Chunk(value={"reason": "x"}), Last(end="done")]
    assert done("run") == [Chunk(value="launched"), Last(end="done")]


def test_what_an_act_raises_is_how_it_failed_with_its_remedy() -> None:
    error = {"code": "down", "reason": "it is down", "remedy": "start it"}
    assert done("broken") == [Last(end="failed", error=error)]


def test_a_verb_that_nothing_answers_fails() -> None:
    (last,) = done("erase")
    assert isinstance(last, Last)
    assert last.end == "failed"
    assert last.error is not None
    assert last.error["code"] == "unknown_verb"


@pytest.mark.parametrize("args", [{}, {"reason": 1}, {"reason": "x", "more": 1}])
def test_arguments_that_a_verb_does_not_take_fail(args: Any) -> None:
    (last,) = done("echo", args)
    assert isinstance(last, Last)
    assert last.error is not None
    assert last.error["code"] == "bad_act"
    with pytest.raises(BadInput, match="bad_act"):
        arguments(call("echo", args), Order)
