"""What servers ask clients, and what 2026-07-28 does without sessions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.doors.mcp.fakes import Answered, Client, FakeWall, fixed
from tests.doors.mcp.test_door import run

from ringwall.interface import Refusal

NAME = {"action": "accept", "content": {"name": "Bo"}}


def test_a_question_goes_to_the_client_and_its_answer_is_a_call_of_its_own() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open({"elicitation": {}})
        found = Answered()
        asking = asyncio.create_task(client.ask("tools/call", {"name": "box__ask"}, answer=found))
        await found.until(lambda: len(found.events) == 1)
        question = found.events[0]
        assert question["method"] == "elicitation/create"
        assert question["params"]["message"] == "Who?"
        reply = {"jsonrpc": "2.0", "id": question["id"], "result": NAME}
        thief = Client(client.wall, door=client.door)
        await thief.open()
        assert (await thief.send(reply)).status == 400
        assert (await client.send(reply)).status == 202
        await asking
        assert json.loads(found.events[1]["result"]["content"][0]["text"]) == NAME
        assert client.wall.bodies[-1] == {"tool": "box/elicitation.create", "form": "mcp", "progress": False,
                                          "args": {"number": 7, "answer": NAME}}
        assert (await client.send(reply)).status == 400  # answered once

    run(work())


def test_a_server_that_asks_by_its_result_can_be_answered_in_a_session_too() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open({"elicitation": {}})
        found = Answered()
        call = {"name": "box__ask_first", "_meta": {"ringwall/approval": "acme/1"}}
        asking = asyncio.create_task(client.ask("tools/call", call, answer=found))
        await found.until(lambda: len(found.events) == 1)
        assert found.events[0]["method"] == "elicitation/create"
        reply = {"jsonrpc": "2.0", "id": found.events[0]["id"], "result": NAME}
        assert (await client.send(reply)).status == 202
        await asking
        given = {"responses": {"who": NAME}, "state": "r1"}
        assert json.loads(found.events[1]["result"]["content"][0]["text"]) == given
        tried = [body for body in client.wall.bodies if body["tool"] == "box/ask_first"]
        assert [body.get("inputs") for body in tried] == [None, given]
        assert [body.get("approval") for body in tried] == ["acme/1", None]  # a yes is to one call

    run(work())


@pytest.mark.parametrize("how", ["refuses", "cancels", "cannot"])
def test_whoever_does_not_answer_gets_no_result(how: str) -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open({} if how == "cannot" else {"elicitation": {}})
        found = Answered()
        asking = asyncio.create_task(client.ask("tools/call", {"name": "box__ask_first"}, number=3, answer=found))
        await found.until(lambda: found.over or len(found.events) == 1)
        if how == "refuses":
            error = {"code": -1, "message": "no"}
            await client.send({"jsonrpc": "2.0", "id": found.events[0]["id"], "error": error})
        elif how == "cancels":
            await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}})
        await asking
        ends = [one["result"] for one in (found.events or [found.json]) if "result" in one]
        codes = [end["_meta"]["ringwall/code"] for end in ends]
        assert codes == ([] if how == "cancels" else ["tool_input_required"])
        assert client.wall.names().count("box/ask_first") == 1

    run(work())


def test_a_server_that_asks_for_ever_is_not_followed_for_ever() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        client.wall.scripts["box/ask_first"] = fixed({"resultType": "input_required", "requestState": "on"})
        await client.open({"elicitation": {}})
        found = await client.ask("tools/call", {"name": "box__ask_first"})
        assert found.json["result"]["_meta"]["ringwall/code"] == "tool_input_required"
        assert client.wall.names().count("box/ask_first") == 11

    run(work())


def test_an_answer_that_the_wall_refuses_tells_the_client_and_frees_the_server() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open({"elicitation": {}})
        no = Refusal(code="above_clearance", reason="not for this server", record="acme/8")

        client.wall.passages["box/elicitation.create"] = no
        found = Answered()
        asking = asyncio.create_task(client.ask("tools/call", {"name": "box__ask"}, answer=found))
        await found.until(lambda: len(found.events) == 1)
        reply = {"jsonrpc": "2.0", "id": found.events[0]["id"], "result": NAME}
        told = await client.send(reply)
        assert (told.status, told.json["error"]["data"]["code"]) == (403, "above_clearance")
        tried = [body["args"]["answer"] for body in client.wall.bodies if body["tool"] == "box/elicitation.create"]
        assert tried == [NAME, {"error": {"code": -32000, "message": "the answer was refused"}}]
        client.wall.told[7].set_result("enough")
        await asking

    run(work())


@pytest.mark.parametrize(("capabilities", "accept"), [({}, "application/json, text/event-stream"),
                                                      ({"elicitation": {}}, "application/json")])
def test_a_client_that_cannot_be_asked_is_not_and_the_server_is_told(capabilities: Any, accept: str) -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open(capabilities)
        found = await client.ask("tools/call", {"name": "box__ask"}, headers={"accept": accept})
        said = json.loads(found.json["result"]["content"][0]["text"])
        assert said["error"]["message"] == "the client cannot be asked this"

    run(work())


def test_in_2026_07_28_a_question_is_a_result_and_the_answer_comes_with_the_same_request() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        can = {"elicitation": {}, "roots": {}}
        found = (await client.stateless("tools/call", {"name": "box__ask_all"}, capabilities=can)).json["result"]
        assert found["resultType"] == "input_required"
        assert {one["method"] for one in found["inputRequests"].values()} == {"elicitation/create", "roots/list"}
        state, keys = found["requestState"], sorted(found["inputRequests"])
        assert client.wall.ends == []  # the call goes on
        again = {"name": "box__ask_all", "requestState": state, "inputResponses": {keys[0]: NAME, "other": {}}}
        stranger = Client(client.wall, launch="l2", door=client.door)
        for who, request in ((stranger, again), (client, {**again, "requestState": state + "x"}),
                             (client, {**again, "arguments": {"text": "other"}})):
            refused = await who.stateless("tools/call", request, capabilities=can)
            assert (refused.status, refused.json["error"]["code"]) == (400, -32602)
        missing = (await client.stateless("tools/call", again, capabilities=can)).json["result"]
        assert sorted(missing["inputRequests"]) == keys[1:]
        used = await client.stateless("tools/call", again, capabilities=can)
        assert used.json["error"]["code"] == -32602  # a state is good once
        last = {"name": "box__ask_all", "requestState": missing["requestState"],
                "inputResponses": {keys[1]: {"roots": []}}}
        whole = (await client.stateless("tools/call", last, capabilities=can)).json["result"]
        assert whole["resultType"] == "complete"
        assert json.loads(whole["content"][0]["text"]) == [NAME, {"roots": []}]
        assert [name for name in client.wall.ends if name.startswith("box/ask_all")] == ["box/ask_all finished"]

    run(work())


def test_in_2026_07_28_only_what_the_client_declared_is_asked() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        found = (await client.stateless("tools/call", {"name": "box__ask_all"},
                                        capabilities={"roots": {}})).json["result"]
        assert [one["method"] for one in found["inputRequests"].values()] == ["roots/list"]
        assert client.wall.told[1].result()["error"]["code"] == -32000
        await client.door.close()
        assert client.wall.ends[-1] == "box/ask_all cancelled"

    run(work())


def test_calls_that_wait_for_answers_are_few_and_the_oldest_goes() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        for _ in range(9):
            await client.stateless("tools/call", {"name": "box__ask"}, capabilities={"elicitation": {}})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert client.wall.ends == ["box/ask cancelled"]
        await client.door.close()
        assert len(client.wall.ends) == 9

    run(work())


def test_a_state_of_the_servers_own_is_given_back_to_it_with_the_answers() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        again = {"name": "box__echo", "requestState": "theirs", "inputResponses": {"k": NAME}}
        await client.stateless("tools/call", again)
        assert client.wall.bodies[-1]["inputs"] == {"responses": {"k": NAME}, "state": "theirs"}

    run(work())


def test_discovery_says_what_is_there_and_results_are_not_to_be_kept() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        found = await client.stateless("server/discover")
        assert found.headers.get("mcp-session-id") is None
        assert found.json["result"]["supportedVersions"] == ["2026-07-28"]
        names = {"tools", "resources", "prompts", "completions", "logging"}
        assert set(found.json["result"]["capabilities"]) == names
        assert found.json["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "ringwall"
        tools = (await client.stateless("tools/list")).json["result"]
        assert (tools["ttlMs"], tools["cacheScope"], tools["resultType"]) == (0, "private", "complete")
        read = (await client.stateless("resources/read", {"uri": "note://a"})).json["result"]
        assert (read["ttlMs"], read["cacheScope"]) == (0, "private")

    run(work())


@pytest.mark.parametrize(("headers", "status", "code"), [
    ({"mcp-method": "tools/list"}, 400, -32020), ({"mcp-name": "box__other"}, 400, -32020),
    ({"mcp-name": ""}, 400, -32020), ({"mcp-method": ""}, 400, -32020), ({"mcp-protocol-version": ""}, 400, -32020),
    ({"mcp-protocol-version": "2025-11-25"}, 400, -32020), ({}, 200, 0),
])  # fmt: skip
def test_headers_that_contradict_the_body_refuse_the_request(headers: dict[str, str], status: int,
                                                             code: int) -> None:
    async def work() -> None:
        client = Client(FakeWall())
        found = await client.stateless("tools/call", {"name": "box__echo"}, headers=headers)
        assert found.status == status
        assert found.json.get("error", {}).get("code", 0) == code
        assert client.wall.names() == ([] if code else ["box/echo"])

    run(work())


def test_a_session_is_held_to_the_headers_it_sends_too() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        found = await client.ask("tools/call", {"name": "box__echo"}, headers={"mcp-name": "box__region"})
        assert found.json["error"]["code"] == -32020
        assert client.wall.names() == ["ringwall/list"]

    run(work())


def test_arguments_that_a_schema_wants_repeated_are_compared() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.stateless("tools/list")
        call = {"name": "box__region", "arguments": {"where": "eu"}}
        assert (await client.stateless("tools/call", call)).json["error"]["code"] == -32020
        wrong = await client.stateless("tools/call", call, headers={"mcp-param-region": "us"})
        assert wrong.json["error"]["code"] == -32020
        assert (await client.stateless("tools/call", call, headers={"mcp-param-region": "eu"})).status == 200

    run(work())


@pytest.mark.parametrize("method", ["initialize", "ping", "resources/subscribe", "logging/setLevel", "no/such"])
def test_a_method_that_is_not_there_is_not_found(method: str) -> None:
    async def work() -> None:
        found = await Client(FakeWall()).stateless(method, {})
        assert (found.status, found.json["error"]["code"]) == (404, -32601)

    run(work())


def test_notifications_without_a_session_are_taken_and_answers_are_not() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        client.headers = {"mcp-protocol-version": "2026-07-28"}
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await client.send(note)).status == 202
        assert (await client.send({"jsonrpc": "2.0", "id": 1, "result": {}})).status == 400

    run(work())


@pytest.mark.parametrize("stateless", [False, True])
def test_whoever_listens_is_told_that_the_tools_changed(stateless: bool) -> None:
    async def work() -> None:
        client, found = Client(FakeWall()), Answered()
        if stateless:
            wanted = {"notifications": {"toolsListChanged": True, "promptsListChanged": True}}
            listening = asyncio.create_task(client.stateless("subscriptions/listen", wanted, answer=found))
        else:
            await client.open()
            listening = asyncio.create_task(client.send(b"", method="GET", answer=found))
        await found.until(lambda: bool(found.body))
        client.door.changed("other")
        client.door.changed("acme")
        news = 2 if stateless else 1
        await found.until(lambda: len(found.events) == news)
        assert found.events[-1]["method"] == "notifications/tools/list_changed"
        if stateless:
            own = {"io.modelcontextprotocol/subscriptionId": 1}
            assert found.events[0] == {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                                       "params": {"_meta": own, "notifications": wanted["notifications"]}}
            assert found.events[1]["params"] == {"_meta": own}
        client.presences[-1].leave()
        with pytest.raises(asyncio.CancelledError):
            await listening

    run(work())


def test_streams_of_one_launch_are_bounded() -> None:
    async def work() -> None:
        client = Client(FakeWall())
        await client.open()
        open_ = [Answered() for _ in range(16)]
        tasks = [asyncio.create_task(client.send(b"", method="GET", answer=one)) for one in open_]
        for one in open_:
            await one.until(lambda one=one: bool(one.body))  # type: ignore[misc]
        assert (await client.send(b"", method="GET")).status == 429
        for presence in client.presences:
            presence.leave()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await client.send(b"", method="GET", headers={"mcp-protocol-version": "2026-07-28"})).status == 405
        assert (await client.send(b"", method="GET", headers={"accept": "application/json"})).status == 406

    run(work())
