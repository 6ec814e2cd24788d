"""MCP's own messages through a real sidecar: whole results, progress, logs, questions; over pipes and over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from contextlib import aclosing
from typing import Any

import pytest
from tests.tools.office import SERVERS, Sidecar, gather, sidecar
from tests.tools.test_patience import Loop

from ringwall.call import Json, Last
from ringwall.errors import BadInput
from ringwall.tools import mcp_ops
from ringwall.tools.mcp_call import MAX_TOLD
from ringwall.tools.mcp_news import decode
from ringwall.tools.pending import Pending
from ringwall.tools.protocol import Heard, Listen, OutletRefused, ServerConfig
from ringwall.tools.shape import Shape
from ringwall.tools.sidecar_client import Wish

RAW = {"raw": [str(SERVERS / "raw.py")]}
MCP = Wish(form="mcp", client=("elicitation",), progress=True)


async def ask(at: Sidecar, op: str, args: Json | None = None, wish: Wish = MCP,
              server: str = "raw") -> tuple[list[Json], str, str]:
    values, last = await gather(at.client.run_tool(server, op, args or {}, wish=wish))
    return values, last.end, last.error["code"] if last.error else ""


def test_a_whole_result_comes_as_the_server_wrote_it() -> None:
    async def run() -> None:
        async with sidecar(RAW) as at:
            whole = {"content": [{"type": "text", "text": "plain"}]}
            assert await ask(at, "plain") == ([{"result": whole}], "done", "")
            values, end, code = await ask(at, "refuse")
            assert (values, end, code) == ([{"fault": {"code": -32000, "message": "Connection closed"}}], "failed",
                                           "tool_error")
            assert await ask(at, "shapeless") == ([], "unknown", "bad_answer")
            values, end, _ = await ask(at, "echo", {"text": "hi"}, server="builtin")
            assert values[0]["result"]["structuredContent"] == {"text": "hi"}

    asyncio.run(run())


def test_progress_and_logs_come_before_the_result_and_only_those_of_the_call() -> None:
    async def run() -> None:
        async with sidecar(RAW) as at:
            values, end, _ = await ask(at, "tell")
            assert end == "done"
            assert values == [
                {"event": {"method": "notifications/progress", "params": {"progress": 1}}},
                {"event": {"method": "notifications/message", "params": {"level": "info", "data": "logged"}}},
                {"result": {"content": [{"type": "text", "text": "told"}], "_meta": {"a": 1}}},
            ]
            values, _, _ = await ask(at, "tell", wish=Wish())
            assert values == ["told"]
            values, _, _ = await ask(at, "tell", wish=Wish(form="mcp"))
            assert [next(iter(value)) for value in values] == ["event", "result"]  # the log alone

    asyncio.run(run())


def test_what_is_logged_while_two_calls_run_is_nobodys() -> None:
    async def run() -> None:
        async with sidecar(RAW) as at, aclosing(at.client.run_tool("raw", "silent", {})) as other:
            waits = asyncio.ensure_future(anext(other))
            await ask(at, "plain")  # behind it in the same pipe
            values, _, _ = await ask(at, "tell")
            methods = [value.get("event", {}).get("method") for value in values]
            assert methods == ["notifications/progress", None]
            waits.cancel()
            await asyncio.gather(waits, return_exceptions=True)

    asyncio.run(run())


def test_a_flood_of_events_is_cut_off_and_the_result_still_comes() -> None:
    async def run() -> None:
        async with sidecar(RAW) as at:
            values, end, _ = await ask(at, "flood")
            assert (len(values), end) == (MAX_TOLD + 1, "done")
            assert values[-1]["result"]["content"][0]["text"] == "flooded"
            assert at.downs == []

    asyncio.run(run())


@pytest.mark.parametrize(("asks", "wish", "told"), [
    (("elicitation",), MCP, True), ((), MCP, False), (("elicitation",), Wish(), False),
    (("elicitation",), Wish(form="mcp", client=("roots",)), False),
])
def test_a_question_is_passed_on_where_it_was_declared_and_can_be_told(
    asks: tuple[Any, ...], wish: Wish, told: bool
) -> None:
    async def run() -> None:
        async with sidecar(RAW, configs={"raw": ServerConfig(asks=asks)}) as at:
            questions, said = 0, ""
            async with aclosing(at.client.run_tool("raw", "elicit", {}, wish=wish)) as answer:
                async for item in answer:
                    if isinstance(item, Last):
                        assert item.end == "done"
                    elif "ask" in item.value:
                        questions += 1
                        ask_ = item.value["ask"]
                        assert (ask_["method"], ask_["params"]["message"]) == ("elicitation/create", "?")
                        given = {"number": ask_["number"], "answer": {"action": "decline"}}
                        assert await ask(at, "sampling.createMessage", given) == ([], "failed", "bad_arguments")
                        assert await ask(at, "elicitation.create", given) == ([{"result": {}}], "done", "")
                        assert await ask(at, "elicitation.create", given) == ([], "failed", "bad_arguments")
                    else:
                        said = json.dumps(item.value)
            assert questions == int(told)
            assert ("decline" in said) is told
            assert ("error" in said) is not told

    asyncio.run(run())


def test_a_question_is_answered_by_the_session_that_was_asked_and_no_other() -> None:
    """Over pipes all launches of a tenant share one server, and the numbers of its questions are easily guessed."""
    async def run() -> None:
        configs = {"raw": ServerConfig(asks=("elicitation",))}
        mine, other = (Wish(form="mcp", client=("elicitation",), session=name) for name in ("mine", "other"))
        async with sidecar(RAW, configs=configs) as at:
            said = ""
            async with aclosing(at.client.run_tool("raw", "elicit", {}, wish=mine)) as answer:
                async for item in answer:
                    if isinstance(item, Last):
                        assert item.end == "done"
                    elif "ask" in item.value:
                        given = {"number": item.value["ask"]["number"], "answer": {"action": "accept"}}
                        assert await ask(at, "elicitation.create", given, other) == ([], "failed", "bad_arguments")
                        given["answer"] = {"action": "decline"}
                        assert await ask(at, "elicitation.create", given, mine) == ([{"result": {}}], "done", "")
                    else:
                        said = json.dumps(item.value)
            assert "decline" in said

    asyncio.run(run())


def test_a_question_while_two_calls_run_is_refused() -> None:
    async def run() -> None:
        configs = {"raw": ServerConfig(asks=("elicitation",))}
        async with (
            sidecar(RAW, configs=configs) as at,
            aclosing(at.client.run_tool("raw", "silent", {})) as other,
        ):
            waits = asyncio.ensure_future(anext(other))
            await ask(at, "plain")
            values, _, _ = await ask(at, "elicit")
            assert "error" in values[0]["result"]["content"][0]["text"]
            waits.cancel()
            await asyncio.gather(waits, return_exceptions=True)

    asyncio.run(run())


def test_reserved_operations_are_methods_and_a_trace_goes_along() -> None:
    async def run() -> None:
        async with sidecar(RAW) as at:
            asked = {"uri": "note://one"}
            assert await ask(at, "resources.read", asked, Wish(form="mcp")) == (
                [{"result": {"asked": asked}}], "done", "")
            assert await ask(at, "resources.read", asked, Wish()) == ([{"asked": asked}], "done", "")
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            values, _, _ = await ask(at, "meta", wish=Wish(trace=parent))
            assert json.loads(values[0]) == {"traceparent": parent}
            assert await ask(at, "resources.read", {**asked, "_meta": {}}) == ([], "failed", "bad_arguments")

    asyncio.run(run())


def test_each_reserved_operation_has_a_method_and_a_closed_definition() -> None:
    for name, definition in mcp_ops.RESERVED.items():
        assert definition["name"] == name
        assert definition["inputSchema"]["additionalProperties"] is False
        assert "/" in mcp_ops.method_of(name)
        assert mcp_ops.method_of(name) != "tools/call"
    assert mcp_ops.method_of("read") == "tools/call"
    assert set(mcp_ops.ANSWERS) <= set(mcp_ops.RESERVED)


@pytest.mark.parametrize("values", [
    [{"result": {}}, {"result": {}}], [{"result": {}}, {"event": {}}], [{"other": {}}], ["text"], [{}],
    [{"result": {}, "event": {}}], [{"result": []}],
])
def test_chunks_that_are_none_of_mcps_are_not_believed(values: list[Json]) -> None:
    shape = Shape("mcp")
    with pytest.raises(BadInput):
        for value in values:
            shape.check(value)


def test_a_question_that_was_not_declared_is_not_believed_of_a_sidecar_either() -> None:
    """A server of 2026-07-28 can put one into any result, whatever it was offered."""
    question: Json = {"method": "elicitation/create", "params": {"mode": "url", "url": "https://phish.example"}}
    wants: Json = {"resultType": "input_required", "inputRequests": {"k": question}, "requestState": "s"}
    for chunk in ({"ask": {"number": 1, **question}}, {"result": wants}, {"ask": {"number": 1}}):
        with pytest.raises(BadInput) as caught:
            Shape("mcp", asks=("roots", "sampling")).check(chunk)
        assert caught.value.code == "tool_input_required"
    for chunk in ({"ask": {"number": 1, **question}}, {"result": wants}):
        assert Shape("mcp", asks=("elicitation",)).check(chunk) == chunk


def test_an_mcp_server_over_http_through_the_sidecar_is_pinned_before_its_first_call() -> None:
    process = subprocess.Popen([sys.executable, str(SERVERS / "web.py")], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
    verified: list[str] = []

    async def run() -> None:
        gone = "http://127.0.0.1:1/mcp"
        configs = {"web": ServerConfig(kind="mcp", url=url), "gone": ServerConfig(kind="mcp", url=gone)}
        async with sidecar(configs=configs, verify=lambda server, _: verified.append(server)) as at:
            for _ in range(2):
                values, end, _ = await ask(at, "add", {"a": 1, "b": 2}, server="web")
                assert (values[0]["result"]["structuredContent"], end) == ({"sum": 3}, "done")
            assert verified == ["web"]
            values, _, _ = await ask(at, "steps", server="web")
            assert [next(iter(value)) for value in values] == ["event", "event", "result"]
            assert (await ask(at, "nothing", server="web"))[1:] == ("failed", "tool_error")
            headers = {"Authorization": "Bearer sk-of-the-operator-81b2"}
            assert await ask(at, "headers", wish=Wish(headers=headers), server="web") == (
                [], "unknown", "upstream_echoes_secret")
            assert await ask(at, "add", server="gone") == ([], "failed", "upstream_unreachable")
            assert at.downs == []

    try:
        asyncio.run(run())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_an_outlet_is_served_by_the_sidecar_and_its_refusals_reach_the_core() -> None:
    refused: list[OutletRefused] = []

    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        with listener, socket.create_server(("127.0.0.1", 0)) as far:
            place = f"127.0.0.1:{far.getsockname()[1]}"
            configs = {"raw": ServerConfig(network=(place,))}
            async with sidecar(RAW, configs=configs, on_refused=refused.append) as at:
                at.spawner.listeners["raw"] = listener
                assert (await ask(at, "plain"))[1] == "done"
                for wanted, status in ((place, b"200"), ("169.254.169.254:80", b"403")):
                    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
                    writer.write(f"CONNECT {wanted} HTTP/1.1\r\n\r\n".encode())
                    async with asyncio.timeout(20):
                        assert (await reader.readuntil(b"\r\n\r\n"))[9:12] == status
                    writer.close()
                    await writer.wait_closed()
                assert (await ask(at, "plain"))[1] == "done"  # behind the news on the same link
                assert refused == [OutletRefused(server="raw", code="not_listed", count=1)]

    asyncio.run(run())


def test_what_a_server_over_pipes_says_by_itself_is_heard_too() -> None:
    async def run() -> None:
        async with sidecar(RAW) as at:
            await ask(at, "plain")
            listening = at.client.link.exchange(lambda number: Listen(id=number, server="raw"), seconds=30.0,
                                                late=("failed", "tool_timeout"), pending=Pending("raw"))
            async with aclosing(listening):
                assert decode(await anext(listening)) == Heard(what="listening")  # type: ignore[arg-type]
                await ask(at, "change")
                assert decode(await anext(listening)) == Heard(what="tools")  # type: ignore[arg-type]
            for server, code in (("builtin", "no_such_operation"), ("none", "no_such_server")):
                [end] = [item async for item in at.client.link.exchange(
                    lambda number, at=server: Listen(id=number, server=at), seconds=30.0,  # type: ignore[misc]
                    late=("failed", "tool_timeout"), pending=Pending(server))]
                assert isinstance(end, Last) and end.error is not None
                assert (end.end, end.error["code"]) == ("failed", code)
            assert at.downs == []

    asyncio.run(run())


@pytest.mark.parametrize(("minutes", "ends"), [(4, ("done", "")), (6, ("unknown", "tool_timeout"))])
def test_the_core_waits_longer_while_a_question_is_open(minutes: int, ends: tuple[str, str]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        async with sidecar(RAW, configs={"raw": ServerConfig(asks=("elicitation",))}) as at:
            found = ("", "")
            async with aclosing(at.client.run_tool("raw", "elicit", {}, wish=MCP, seconds=20.0)) as answer:
                async for item in answer:
                    if isinstance(item, Last):
                        found = (item.end, item.error["code"] if item.error else "")
                    elif "ask" in item.value:
                        loop.ahead += minutes * 60
                        await asyncio.sleep(0)
                        given = {"number": item.value["ask"]["number"], "answer": {"action": "decline"}}
                        await ask(at, "elicitation.create", given)
            assert found == ends

    loop = Loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
