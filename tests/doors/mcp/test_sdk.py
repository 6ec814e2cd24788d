"""The SDK's own client against the door: both ways of speaking."""

from __future__ import annotations

import asyncio
from typing import Any

import mcp_types as types
import pytest
from mcp.client.client import Client
from tests.doors.mcp.fakes import listening


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_the_sdks_client_lists_calls_reads_and_completes(mode: Any) -> None:
    async def talk(url: str) -> None:
        async with Client(url, mode=mode) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"box__echo", "tin__echo"} <= names
            assert not any("resources" in name for name in names)
            result = await client.call_tool("box__echo", {"text": "hello"})
            assert result.content[0].text == "hello"  # type: ignore[union-attr]
            refused = await client.call_tool("box__fails", {})
            assert refused.is_error
            assert [str(one.uri) for one in (await client.list_resources()).resources] == ["note://a"]
            assert (await client.read_resource("note://a")).contents[0].text == "A note"  # type: ignore[union-attr]
            assert [one.name for one in (await client.list_prompts()).prompts] == ["greet"]
            assert (await client.get_prompt("greet", {"who": "Bo"})).messages[0].role == "user"
            found = await client.complete(types.PromptReference(type="ref/prompt", name="greet"),
                                          {"name": "who", "value": "B"})
            assert found.completion.values == ["one", "two"]

    with listening() as (url, wall):
        asyncio.run(talk(url))
        assert all(how.endswith("finished") for how in wall.ends)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_sdks_client_answers_a_question_of_the_servers(mode: Any) -> None:
    async def answer(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Bo"})

    async def talk(url: str) -> str:
        async with Client(url, mode=mode, elicitation_callback=answer) as client:
            result = await client.call_tool("box__ask", {})
            return str(result.content[0].text)  # type: ignore[union-attr]

    with listening() as (url, wall):
        assert '"Bo"' in asyncio.run(talk(url))
        assert "box/elicitation.create" in wall.names()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_sdks_client_hears_of_progress(mode: Any) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def talk(url: str) -> None:
        async with Client(url, mode=mode) as client:
            await client.call_tool("box__chatty", {}, progress_callback=hear)

    with listening() as (url, wall):
        asyncio.run(talk(url))
        assert heard == [1.0, 2.0]
        assert any(body["tool"] == "box/chatty" and body["progress"] for body in wall.bodies)
