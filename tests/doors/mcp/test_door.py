"""MCP at an agent's own door: who may ask, what becomes a call, and how each end of a call is worded."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doors.mcp.fakes import Client, FakeWall, fixed, stops

from ringwall.clock import SystemClock
from ringwall.doors.mcp import McpDoor
from ringwall.doors.mcp.offers import joined, target
from ringwall.doors.mcp.places import server_of
from ringwall.doors.mcp.sessions import Sessions
from ringwall.interface import HeldCall, Refusal

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(limited())


@pytest.mark.parametrize(("path", "server"), [
    ("/mcp", ""), ("/mcp/", ""), ("/mcp/box", "box"), ("/mcp/b.x-1_", "b.x-1_"), ("/mcp/..", None),
    ("/mcp/.", None),
    ("/mcp/a/b", None), ("/mcp/%62ox", None), ("/mcpx", None), ("/mcp/b;x", None), ("/mcp//box", None),
])  # fmt: skip
def test_a_path_names_a_server_all_of_them_or_nothing(path: str, server: str | None) -> None:
    assert server_of(path) == server


_PLAIN = st.text(alphabet="ab_.-", min_size=1, max_size=8)


@given(_PLAIN, _PLAIN)
@settings(max_examples=200, deadline=None)
def test_a_joined_name_means_its_own_server_and_operation_or_is_not_given_out(server: str, op: str) -> None:
    name = joined(server, op)
    assert name is None or target(name, "") == (server, op)


@pytest.mark.parametrize(("headers", "server", "status"), [
    ({}, ("127.0.0.1", 8000), 200), ({"host": "localhost:8000"}, ("127.0.0.1", 8000), 200),
    ({"host": "[::1]:8000"}, ("127.0.0.1", 8000), 200),
    ({"origin": "http://127.0.0.1:8000"}, ("127.0.0.1", 8000), 200),
    ({"host": "evil.example.com"}, ("127.0.0.1", 8000), 403), ({"host": ""}, ("127.0.0.1", 8000), 403),
    ({"host": "127.0.0.1:9"}, ("127.0.0.1", 8000), 403), ({"host": "127.0.0.1"}, ("127.0.0.1", 8000), 403),
    ({"origin": "http://evil.example.com"}, ("127.0.0.1", 8000), 403),
    ({"origin": "null"}, ("127.0.0.1", 8000), 403),
    ({"origin": "https://127.0.0.1:8000"}, ("127.0.0.1", 8000), 403),
    ({"host": "anything"}, None, 200), ({"host": "x", "origin": "http://localhost"}, None, 403),
])  # fmt: skip
def test_a_web_page_that_reaches_the_loopback_is_turned_away(headers: dict[str, str], server: Any,
                                                             status: int) -> None:
    async def work() -> int:
        client = Client(wall := FakeWall())
        client.headers = headers
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
                "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}}
        answered = (await client.send(body, server=server)).status
        assert wall.turned == (["mcp_foreign"] if answered == 403 else [])
        return answered

    assert run(work()) == status


def test_every_request_costs_an_attempt_also_one_that_is_no_call() -> None:
    async def work() -> None:
        wall = FakeWall()
        client = Client(wall)
        await client.send(b"{")
        await client.send(b"", method="GET")
        await client.send(b"", method="DELETE")
        await client.open()
        await client.ask("ping")
        assert wall.knocks == 5
        wall.no = Refusal(code="too_many_attempts", reason="slow down", retry_after=2.0)
        found = await client.ask("ping")
        assert found.status == 429
        assert found.json["error"]["data"]["code"] == "too_many_attempts"
        assert found.json["id"] == 1
        assert wall.names() == ["ringwall/list"]

    run(work())


@pytest.mark.parametrize(("raw", "status", "code"), [
    (b"{", 400, -32700), (b'{"jsonrpc":"2.0","id":1,"method":"ping","id":2}', 400, -32700), (b"[]", 400, -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","x":1}', 400, -32600), (b'{"jsonrpc":"2.0","id":1}', 400, -32600),
])  # fmt: skip
def test_what_is_no_message_is_refused_before_anything_else(raw: bytes, status: int, code: int) -> None:
    async def work() -> None:
        found = await Client(wall := FakeWall()).send(raw)
        assert (found.status, found.json["error"]["code"]) == (status, code)
        assert len(wall.turned) == 1  # on the record, by its code

    run(work())


def test_other_types_and_methods_are_refused() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        assert (await client.send({}, headers={"content-type": "text/plain"})).status == 415
        assert (await client.send({}, headers={"accept": "text/html"})).status == 406
        assert (await client.send({}, method="PUT")).status == 405
        client.path = "/mcp/a/b"
        assert (await client.send({})).status == 404

    run(work())


# --- sessions


def test_a_session_announces_what_the_role_may_and_lists_no_reserved_operation() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        found = (await client.open()).json["result"]
        assert found["protocolVersion"] == "2025-11-25"
        assert set(found["capabilities"]) == {"tools", "resources", "prompts", "completions", "logging"}
        tools = (await client.ask("tools/list")).events[-1]["result"]["tools"]
        assert [tool["name"] for tool in tools][-2:] == ["box__region", "tin__echo"]
        assert not any("." in tool["name"] for tool in tools)
        only = Client(client.wall, path="/mcp/tin", door=client.door)
        assert (await only.open()).json["result"]["capabilities"] == {"tools": {"listChanged": True}}
        tools = (await only.ask("tools/list", headers={"accept": "application/json"})).json["result"]["tools"]
        assert [tool["name"] for tool in tools] == ["echo"]

    run(work())


@pytest.mark.parametrize(("wished", "given"), [
    ("2025-11-25", "2025-11-25"), ("2025-06-18", "2025-06-18"), ("2025-03-26", "2025-11-25"), ("x", "2025-11-25")])
def test_a_handshake_agrees_on_a_revision(wished: str, given: str) -> None:
    async def work() -> None:
        found = await Client(FakeWall()).open(version=wished)
        assert found.json["result"]["protocolVersion"] == given

    run(work())


def test_a_session_belongs_to_its_launch_and_its_path_and_ends_when_it_is_told_to() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        assert (await client.ask("ping")).json == {"jsonrpc": "2.0", "id": 1, "result": {}}
        thief = Client(client.wall, launch="l2", door=client.door)
        thief.session = client.session
        assert (await thief.ask("ping")).status == 404
        other = Client(client.wall, path="/mcp/box", door=client.door)
        other.session = client.session
        assert (await other.ask("ping")).status == 404
        assert (await client.ask("ping", headers={"mcp-protocol-version": "2025-06-18"})).status == 400
        assert (await client.ask("ping", headers={"mcp-protocol-version": "2025-11-25"})).status == 200
        assert (await client.send(b"", method="DELETE")).status == 204
        assert (await client.ask("ping")).status == 404
        client.session = ""
        assert (await client.ask("ping")).status == 400

    run(work())


def test_a_launch_that_opens_sessions_without_end_loses_its_oldest_and_nobody_elses() -> None:
    async def work() -> None:
        wall, door = FakeWall(), McpDoor(FakeWall(), FakeWall(), SystemClock(), FakeWall())
        mine, first = Client(wall, launch="l2", door=door), Client(wall, door=door)
        await mine.open()
        await first.open()
        for _ in range(32):
            await Client(wall, door=door).open()
        assert (await first.ask("ping")).status == 404
        assert (await mine.ask("ping")).status == 200

    run(work())


def test_a_session_keeps_of_a_clients_capabilities_only_what_is_ever_looked_at() -> None:
    """Anything else is a mebibyte of the agent's own for an hour, 32 times."""
    told: dict[str, Any] = {"elicitation": {"form": {}}, "roots": {"x": "y" * 99}, "experimental": {"a" * 9: [{}]}}
    made = Sessions(SystemClock()).open("l1", "", "2025-11-25", told)
    assert made is not None
    assert made.capabilities == {"elicitation": {}, "roots": {}}


# --- calls


def test_a_call_of_a_tool_is_one_call_through_the_wall() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
        meta = {"traceparent": trace, "progressToken": 9, "ringwall/approval": "acme/3"}
        found = await client.ask("tools/call", {"name": "box__echo", "arguments": {"text": "hi"}, "_meta": meta})
        assert found.json["result"] == {"content": [{"type": "text", "text": "hi"}]}
        assert client.wall.bodies[-1] == {"tool": "box/echo", "args": {"text": "hi"}, "form": "mcp",
                                          "progress": True, "approval": "acme/3", "trace": trace,
                                          "client": ["handshake"]}
        at = Client(client.wall, path="/mcp/box", door=client.door)
        await at.open()
        await at.ask("tools/call", {"name": "echo", "_meta": {"traceparent": "00-" + "ZZ" * 26}})
        assert client.wall.bodies[-1] == {"tool": "box/echo", "args": {}, "form": "mcp", "progress": False,
                                          "client": ["handshake"]}

    run(work())


@pytest.mark.parametrize("name", ["echo", "__echo", "box__resources.read", "box__", "box__elicitation.create"])
def test_a_name_that_is_no_tool_is_no_call(name: str) -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        assert (await client.ask("tools/call", {"name": name})).json["error"]["code"] == -32602
        assert client.wall.names() == ["ringwall/list"]

    run(work())


def test_an_operation_that_the_wall_refuses_is_told_so_that_a_model_can_read_it() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        client.wall.passages["box/echo"] = Refusal(code="not_granted", reason="this role may not", record="acme/9",
                                                   remedy="ask the operator", errors=("text: too long",))
        found = (await client.ask("tools/call", {"name": "box__echo"})).json["result"]
        assert found["isError"] is True
        assert found["_meta"] == {"ringwall/code": "not_granted", "ringwall/record": "acme/9"}
        words = found["content"][0]["text"]
        for part in ("not_granted", "this role may not", "text: too long", "ask the operator", "acme/9"):
            assert part in words
        client.wall.passages["box/resources.read"] = Refusal(code="not_granted", reason="no", record="acme/10")
        error = (await client.ask("resources/read", {"uri": "note://a"})).json["error"]
        assert error["code"] == -32000
        assert error["data"] == {"code": "not_granted", "reason": "no", "record": "acme/10"}

    run(work())


def test_a_held_call_names_the_approval_that_it_waits_for_or_waits_for_it() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        client.wall.passages["box/echo"] = HeldCall(record="acme/4", question="really?")
        found = (await client.ask("tools/call", {"name": "box__echo"})).json["result"]
        assert found["isError"] is True
        assert '"ringwall/approval": "acme/4"' in found["content"][0]["text"]
        waited = await client.ask("tools/call", {"name": "box__echo", "arguments": {"text": "yes"}},
                                  headers={"prefer": "wait=5"})
        assert waited.json["result"]["content"][0]["text"] == "yes"
        assert client.wall.waits == [("acme/4", 5.0)]
        assert client.wall.calls[-1].approval is not None

    run(work())


@pytest.mark.parametrize(("tool", "code"), [("odd", "bad_answer"), ("stops", "secret_found"),
                                            ("asks", "tool_input_required")])
def test_an_answer_that_may_not_go_out_is_an_error_of_the_tool(tool: str, code: str) -> None:
    async def work() -> None:
        client = Client(FakeWall())
        client.wall.scripts["box/stops"] = stops
        wants = {"roots/list": {"method": "roots/list"}}
        client.wall.scripts["box/asks"] = fixed({"resultType": "input_required", "inputRequests": wants})
        await client.open()
        found = (await client.ask("tools/call", {"name": f"box__{tool}"})).json["result"]
        assert found["isError"] is True
        assert found["_meta"]["ringwall/code"] == code

    run(work())


def test_the_servers_own_errors_are_its_own_words() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        failed = (await client.ask("tools/call", {"name": "box__fails"})).json["result"]
        assert failed == {"content": [{"type": "text", "text": "no such page"}], "isError": True}
        broke = (await client.ask("tools/call", {"name": "box__breaks"})).json["error"]
        assert (broke["code"], broke["data"]) == (-32021, {"requiredCapabilities": {"sampling": {}}})
        missing = await client.ask("resources/read", {"uri": "note://b"})
        assert (missing.status, missing.json["error"]["code"]) == (200, -32002)
        again = await client.stateless("tools/call", {"name": "box__breaks"})
        assert again.status == 400

    run(work())


@pytest.mark.parametrize(("method", "params", "field"), [
    ("resources/list", {}, "resources"), ("resources/templates/list", {}, "resourceTemplates"),
    ("resources/read", {"uri": "note://a"}, "contents"), ("prompts/list", {}, "prompts"),
    ("prompts/get", {"name": "greet", "arguments": {"who": "Bo"}}, "messages"),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"},
                             "argument": {"name": "who", "value": "B"}}, "completion"),
    ("resources/subscribe", {"uri": "note://a"}, ""), ("logging/setLevel", {"level": "info"}, ""),
])  # fmt: skip
def test_each_other_method_is_a_call_of_the_operation_with_its_reserved_name(method: str, params: Any,
                                                                             field: str) -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        found = (await client.ask(method, params)).json["result"]
        assert set(found) == ({field} if field else set())
        assert client.wall.bodies[-1]["args"] == params
        tin = Client(client.wall, path="/mcp/tin", door=client.door)
        await tin.open()
        assert (await tin.ask(method, params)).json["error"]["code"] == -32601

    run(work())


def test_progress_and_log_of_a_call_come_as_events_before_its_result() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        wanted = {"name": "box__chatty", "_meta": {"progressToken": "mine"}}
        found = await client.ask("tools/call", wanted)
        assert found.headers["content-type"] == "text/event-stream"
        assert [event.get("method") for event in found.events] == [
            "notifications/progress", "notifications/progress", "notifications/message", None]
        assert found.events[0]["params"] == {"progressToken": "mine", "progress": 1}
        whole = await client.ask("tools/call", wanted, headers={"accept": "application/json"})
        assert whole.json["result"]["content"][0]["text"] == "said all"
        quiet = await client.stateless("tools/call", {"name": "box__chatty"})
        assert quiet.json["result"]["content"][0]["text"] == "said all"
        level = {"io.modelcontextprotocol/logLevel": "info"}
        loud = await client.stateless("tools/call", {"name": "box__chatty"}, meta=level)
        assert [event.get("method") for event in loud.events] == ["notifications/message", None]
        above = {"io.modelcontextprotocol/logLevel": "error"}
        assert (await client.stateless("tools/call", {"name": "box__chatty"}, meta=above)).json["id"] == 1

    run(work())


def test_whoever_hangs_up_ends_the_call_and_the_outcome_is_recorded() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        asking = asyncio.create_task(client.ask("tools/call", {"name": "box__slow"}))
        await client.wall.started.wait()
        client.presences[-1].leave()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert client.wall.ends[-1] == "box/slow cancelled"

    run(work())


def test_a_request_is_cancelled_by_its_id_in_its_own_session_only() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        other = Client(client.wall, door=client.door)
        await other.open()
        asking = asyncio.create_task(client.ask("tools/call", {"name": "box__slow"}, number=5))
        await client.wall.started.wait()
        wish = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
        assert (await other.send(wish)).status == 202
        assert client.wall.ends == ["ringwall/list finished"] * 2
        again = await client.ask("tools/call", {"name": "box__echo"}, number=5)
        assert again.json["error"]["code"] == -32600
        assert (await client.send(wish)).status == 202
        found = await asking
        assert found.over
        assert found.events == []
        assert client.wall.ends[-1] == "box/slow cancelled"
        await client.ask("tools/call", {"name": "box__echo"}, number=5)
        assert client.wall.ends[-1] == "box/echo finished"

    run(work())
