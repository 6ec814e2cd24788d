"""Streams that a client loses and comes back for (2025-11-25)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.doors.mcp.fakes import Answered, Client, FakeWall, text
from tests.doors.mcp.test_door import run

from ringwall.call import Call, Json
from ringwall.doors.mcp import tapes
from ringwall.doors.mcp.tapes import Tape, Tapes


class Slow(FakeWall):
    """``box/slow`` says something, and goes on when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.scripts["box/slow"] = self.slow

    async def slow(self, wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
        yield {"event": {"method": "notifications/message", "params": {"level": "info", "data": "begun"}}}
        wall.started.set()
        await self.go.wait()
        yield {"event": {"method": "notifications/message", "params": {"level": "info", "data": "more"}}}
        yield text("done")


def ids(found: Answered) -> list[str]:
    return [line[4:] for line in found.body.decode().splitlines() if line.startswith("id: ")]


async def hung_up(client: Client, wall: Slow) -> Answered:
    """A call whose client hangs up after the first event."""
    found = Answered()
    asking = asyncio.create_task(client.ask("tools/call", {"name": "box__slow"}, answer=found))
    await found.until(lambda: len(found.events) == 1)
    client.presences[-1].leave()
    with pytest.raises(asyncio.CancelledError):
        await asking
    return found


def back(client: Client, last: str, **more: Any) -> Any:
    return client.send(b"", method="GET", headers={"last-event-id": last}, **more)


def test_a_stream_begins_with_an_id_and_when_to_come_back_and_every_event_has_its_own() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        found = await client.ask("tools/call", {"name": "box__chatty"})
        assert found.body.startswith(f"id: {ids(found)[0]}\nretry: {tapes.RETRY_MS}\ndata: \n\n".encode())
        assert len(set(ids(found))) == len(ids(found)) == 1 + len(found.events)

    run(work())


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
def test_clients_of_other_revisions_get_no_event_without_a_message(version: str) -> None:
    async def work() -> None:
        client = Client(FakeWall())
        if version == "2026-07-28":
            log = {"io.modelcontextprotocol/logLevel": "debug"}
            found = await client.stateless("tools/call", {"name": "box__chatty"}, meta=log)
        else:
            await client.open(version=version)
            found = await client.ask("tools/call", {"name": "box__chatty"})
        assert found.events and not ids(found)

    run(work())


def test_whoever_comes_back_gets_what_was_missed_and_the_answer_once_more_and_the_call_ran_once() -> None:
    async def work() -> None:
        wall = Slow()
        client = Client(wall)
        await client.open()
        lost = await hung_up(client, wall)
        again = Answered()
        resuming = asyncio.create_task(back(client, ids(lost)[-1], answer=again))
        await again.until(lambda: bool(again.body))
        wall.go.set()
        await resuming
        assert [event.get("method", "result") for event in again.events] == ["notifications/message", "result"]
        assert again.over
        assert wall.ends[-1] == "box/slow finished"
        once_more = await back(client, ids(lost)[0])
        assert [event["params"]["data"] for event in once_more.events[:2]] == ["begun", "more"]
        assert ids(once_more) == ids(lost)[1:] + ids(again)
        assert wall.names().count("box/slow") == 1
        await client.door.close()

    run(work())


def test_nobody_elses_stream_can_be_taken_up() -> None:
    async def work() -> None:
        wall = Slow()
        client = Client(wall)
        await client.open()
        lost = await hung_up(client, wall)
        same_launch, other = Client(wall, door=client.door), Client(wall, door=client.door, launch="l2")
        for thief in (same_launch, other):
            await thief.open()
            assert (await back(thief, ids(lost)[-1])).status == 400
        for odd in ("x", f"{ids(lost)[0][:-2]}-x", "-1", ids(lost)[0] + "9" * 20):
            assert (await back(client, odd)).status == 400
        await client.door.close()
        assert wall.ends[-1] == "box/slow cancelled"

    run(work())


def test_whoever_does_not_come_back_has_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "GRACE_S", 0.0)

    async def work() -> None:
        wall = Slow()
        client = Client(wall)
        await client.open()
        lost = await hung_up(client, wall)
        while "box/slow cancelled" not in wall.ends:  # noqa: ASYNC110 (a timer of 0 s)
            await asyncio.sleep(0)
        assert (await back(client, ids(lost)[0])).status == 400

    run(work())


@pytest.mark.parametrize(("most", "sizes", "left"), [
    (10, [4, 4, 4], [1, 2]), (10, [4, 11], []), (3, [1] * 5, [2, 3, 4]),
])
def test_what_is_kept_for_one_launch_is_bounded(monkeypatch: pytest.MonkeyPatch, most: int, sizes: list[int],
                                                left: list[int]) -> None:
    monkeypatch.setattr(tapes, "MAX_BYTES", most)

    async def work() -> None:
        kept, other = Tapes(), Tape("l2", "s")
        kept.keep(other)
        other.add(b"x" * most)
        made = [Tape("l1", "s") for _ in sizes]
        for tape, size in zip(made, sizes, strict=True):
            kept.keep(tape)
            tape.add(b"x" * size)
            kept.trim(tape)
        assert [n for n, tape in enumerate(made) if kept.find(tape.id(0), "l1", "s")] == left
        assert kept.find(other.id(1), "l2", "s") == (other, 1)
        assert sum(tape.size for tape in made) <= most
        gone = [tape for n, tape in enumerate(made) if n not in left]
        assert [tape.add(b"x" * 1000) for tape in gone] == [tape.id(2) for tape in gone]
        assert not any(tape.size for tape in gone)
        for tape in gone:
            assert [item async for item in tape.after(0)] == []
        await kept.close()

    run(work())


def test_where_the_servers_stream_ends_early_the_clients_does_and_the_rest_is_had_by_coming_back() -> None:
    async def work() -> None:
        class Pausing(Slow):
            async def slow(self, wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
                async for piece in super().slow(wall, call):
                    yield piece
                    if not self.go.is_set():
                        yield {"event": {"method": "ringwall/paused", "params": {}}}
                        self.go.set()

        wall = Pausing()
        client = Client(wall)
        await client.open()
        found = await client.ask("tools/call", {"name": "box__slow"})
        assert [event["params"]["data"] for event in found.events] == ["begun"]
        rest = await back(client, ids(found)[-1])
        assert rest.events[0]["params"]["data"] == "more" and "result" in rest.events[-1]

    run(work())
