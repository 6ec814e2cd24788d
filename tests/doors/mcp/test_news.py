"""News of servers at the door: which news it is, to whom it may concern, and no word of a server's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.doors.mcp.fakes import Answered, Client, FakeWall
from tests.doors.mcp.test_door import run

from ringwall.interface import Refusal

ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
NOTE = {"resourceSubscriptions": ["note://a", "note://b", "note://a"]}


@asynccontextmanager
async def follows(client: Client, wanted: Any = None) -> AsyncGenerator[Answered]:
    """A client that listens; ``wanted``: in 2026-07-28."""
    found = Answered()
    if wanted is None:
        work = client.send(b"", method="GET", answer=found)
    else:
        work = client.stateless("subscriptions/listen", {"notifications": wanted}, answer=found,
                                capabilities={"roots": {}})
    task = asyncio.create_task(work)
    await found.until(lambda: bool(found.body))
    presence = client.presences[-1]
    try:
        yield found
    finally:
        presence.leave()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_a_session_hears_of_its_servers_lists_and_of_the_resources_it_subscribed_to() -> None:
    async def work() -> None:
        wall = FakeWall()
        client = Client(wall)
        await client.open({"elicitation": {}})
        async with follows(client) as found:
            assert [(name, says) for name, says, _ in wall.listeners] == [
                (name, ("handshake", "elicitation")) for name in ("box", "tin")]
            listener = wall.listeners[0][2]
            changed = listener.changed
            listener.tell("updated", "note://a")  # nobody subscribed
            await client.ask("resources/subscribe", {"uri": "note://a"})
            assert changed.is_set() and listener.uris == {"note://a"}
            for what, uri in (("prompts", ""), ("resources", ""), ("updated", "note://b"), ("updated", "note://a")):
                listener.tell(what, uri)
            await found.until(lambda: len(found.events) == 3)
            assert [event["method"].removeprefix("notifications/") for event in found.events] == [
                "prompts/list_changed", "resources/list_changed", "resources/updated"]
            assert found.events[2]["params"] == {"uri": "note://a"}

    run(work())


def test_a_refused_subscription_is_none() -> None:
    async def work() -> None:
        wall = FakeWall()
        client = Client(wall)
        await client.open()
        wall.passages["box/resources.subscribe"] = Refusal(code="not_granted", reason="no", record="acme/1")
        async with follows(client):
            assert "error" in (await client.ask("resources/subscribe", {"uri": "note://a"})).json
            assert wall.listeners[0][2].uris == frozenset()

    run(work())


def test_whoever_listens_without_a_session_is_told_what_it_asked_for_and_was_let_through_to() -> None:
    async def work() -> None:
        wall = FakeWall()
        client = Client(wall, path="/mcp/box")
        async with follows(client, {"promptsListChanged": True, **NOTE}) as found:
            told = {"promptsListChanged": True, "resourceSubscriptions": ["note://a", "note://b"]}
            assert found.events[0]["params"]["notifications"] == told
            assert [body["args"] for body in wall.bodies if body["tool"] == "box/resources.subscribe"] == [
                {"uri": "note://a"}, {"uri": "note://b"}]
            [(name, says, listener)] = wall.listeners
            assert (name, says, listener.uris) == ("box", ("roots",), {"note://a", "note://b"})
            for what, uri in (("tools", ""), ("resources", ""), ("updated", "note://z"), ("updated", "note://a"),
                              ("prompts", "")):
                listener.tell(what, uri)
            await found.until(lambda: len(found.events) == 3)
            meta = {"io.modelcontextprotocol/subscriptionId": 1}
            assert found.events[1:] == [
                {"jsonrpc": "2.0", "method": "notifications/resources/updated",
                 "params": {"_meta": meta, "uri": "note://a"}},
                {"jsonrpc": "2.0", "method": "notifications/prompts/list_changed", "params": {"_meta": meta}}]

    run(work())


def test_resources_that_the_wall_refuses_are_not_acknowledged() -> None:
    async def work() -> None:
        wall = FakeWall()
        wall.passages["box/resources.subscribe"] = Refusal(code="not_granted", reason="no", record="acme/1")
        client = Client(wall, path="/mcp/box")
        async with follows(client, {**ALL, **NOTE}) as found:
            assert found.events[0]["params"]["notifications"] == ALL
            assert wall.listeners[0][2].uris == frozenset()
        async with follows(client, NOTE) as found:
            assert found.events[0]["params"]["notifications"] == {}
            assert len(wall.listeners) == 1  # nothing to hear

    run(work())


def test_each_resource_of_one_request_is_an_attempt_of_its_own() -> None:
    async def work() -> None:
        wall = FakeWall()
        many = [f"note://{number}" for number in range(20)]
        async with follows(Client(wall, path="/mcp/box"), {"resourceSubscriptions": many}) as found:
            assert found.events[0]["params"]["notifications"]["resourceSubscriptions"] == many
            assert wall.knocks == 1 + len(many)

    run(work())


def test_a_flood_of_news_is_cut_and_the_newest_stay_out() -> None:
    async def work() -> None:
        wall = FakeWall()
        client = Client(wall)
        await client.open()
        async with follows(client) as found:
            for _ in range(1000):
                wall.listeners[0][2].tell("tools")
            await found.until(lambda: len(found.events) == 64)
            wall.listeners[0][2].tell("prompts")
            await found.until(lambda: len(found.events) == 65)
            assert found.events[-1]["method"] == "notifications/prompts/list_changed"

    run(work())
