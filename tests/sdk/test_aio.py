"""The same functions for asyncio."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.doors.fakes import LAUNCH, Served, served

from ringwall import aio
from ringwall.call import Chunk, Last
from ringwall.errors import Limited, Unavailable
from ringwall.interface import Refusal


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Served]:
    with served(tmp_path) as found:
        monkeypatch.setenv("RINGWALL_DOOR", str(found.path))
        yield found


def test_many_tasks_call_at_once_and_connections_are_used_again(door: Served) -> None:
    async def scene() -> None:
        for _ in range(5):
            assert await asyncio.gather(*(aio.call_tool("a/b", n=n) for n in range(6))) == ["fine"] * 6

    asyncio.run(scene())
    assert len({origin.subject.connection for origin, _, _ in door.wall.seen}) == 6


def test_the_three_functions_mirror_the_blocking_ones(door: Served) -> None:
    async def scene() -> None:
        door.wall.items = [Chunk(value=[{"name": "docs/read"}]), Last(end="done")]
        assert await aio.list_tools() == [{"name": "docs/read"}]
        door.wall.items = [Chunk(value={"id": "x"}), Last(end="done")]
        assert await aio.complete("small", [{"role": "user", "content": "hi"}]) == {"id": "x"}
        door.wall.passage = Refusal(code="rate", reason="slow", retry_after=3.0)
        with pytest.raises(Limited):
            await aio.call_tool("a/b")

    asyncio.run(scene())


def test_cancelling_a_call_cancels_it_behind_the_door(door: Served) -> None:
    async def scene() -> None:
        door.wall.block = door.on_loop(asyncio.Event)
        task = asyncio.create_task(aio.call_tool("a/b"))
        await asyncio.to_thread(door.wall.started.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert door.wall.settling.wait(30)
    assert door.wall.settled == ["cancelled"]


def test_a_connection_that_was_closed_while_idle_is_opened_anew(door: Served) -> None:
    async def scene() -> None:
        await aio.call_tool("a/b")
        await asyncio.to_thread(door.run, door.server.remove(LAUNCH))
        with pytest.raises(Unavailable, match="no_door"):
            await aio.call_tool("a/b")
        await asyncio.to_thread(door.run, door.server.add(LAUNCH, door.path))
        assert await aio.call_tool("a/b") == "fine"

    asyncio.run(scene())


def test_large_requests_and_answers_cross_whole(door: Served) -> None:
    door.wall.items = [Chunk(value="r" * 5_000_000), Last(end="done")]

    async def scene() -> None:
        assert len(await aio.call_tool("a/b", x="y" * 3_000_000)) == 5_000_000

    asyncio.run(scene())
    assert len(door.wall.seen[0][2]) > 3_000_000


def test_a_loop_that_ends_takes_its_connections_along(door: Served) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        asyncio.run(aio.call_tool("a/b"))
        gc.collect()
        assert len(aio.default()._idle) == 0
