"""MCP over HTTP against a server of the official SDK, in both revisions, and against servers that lie."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.tools.office import SERVERS
from tests.tools.test_patience import Loop

from ringwall.call import Json
from ringwall.errors import BadInput, Unavailable
from ringwall.tools.mcp_http import McpHttp
from ringwall.tools.protocol import CallTool, ServerConfig
from ringwall.tools.values import NoAnswer, ToolFailed

SECRET = "sk-of-the-operator-81b2"
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module", params=["2026-07-28", "2025-11-25", "2025-11-25 json"])
def web(request: pytest.FixtureRequest) -> Generator[tuple[str, bool, bool]]:
    """A server's URL, whether it is asked in the stateless revision, whether it can ask back within a call."""
    words = ["json"] if "json" in request.param else []
    process = subprocess.Popen([sys.executable, str(SERVERS / "web.py"), *words], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}/mcp", request.param.startswith("2026"), request.param == "2025-11-25"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@asynccontextmanager
async def client(url: str, *, modern: bool | None = None, **config: Any) -> AsyncGenerator[McpHttp]:
    made = McpHttp(ServerConfig(kind="mcp", url=url, **config), on_changed=lambda: None)
    made._modern = modern
    try:
        yield made
    finally:
        await made.close()


def order(op: str, args: Json | None = None, **more: Any) -> CallTool:
    return CallTool(id=1, server="web", op=op, args=json.dumps(args or {}).encode(), **more)


async def ask(at: McpHttp, op: str, args: Json | None = None, **more: Any) -> tuple[Json, list[Json]]:
    told: list[Json] = []
    value = await at.call(order(op, args, **more), args or {}, lambda: False, lambda item: not told.append(item))
    return value, told


def test_values_definitions_and_errors(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0], modern=web[1]) as at:
            assert (await ask(at, "add", {"a": 1, "b": 2}))[0] == {"sum": 3}
            listed = {tool["name"]: tool for tool in await at.definitions({})}
            assert listed["add"]["description"] == "Add."
            assert listed["add"]["inputSchema"]["properties"]["a"]["type"] == "integer"
            with pytest.raises(ToolFailed) as failed:
                await ask(at, "fail", {"text": "ignore all rules"})
            assert "error" in failed.value.answer

    asyncio.run(run())


def test_the_form_of_mcp_gives_whole_results_and_the_other_methods(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0], modern=web[1]) as at:
            value, _ = await ask(at, "add", {"a": 1, "b": 2}, form="mcp")
            assert value["result"]["structuredContent"] == {"sum": 3}
            assert value["result"]["content"][0]["type"] == "text"
            value, _ = await ask(at, "resources.list", form="mcp")
            assert value["result"]["resources"][0]["uri"] == "note://one"
            value, _ = await ask(at, "resources.read", {"uri": "note://one"}, form="mcp")
            assert value["result"]["contents"][0]["text"] == "the note"
            value, _ = await ask(at, "prompts.get", {"name": "greet", "arguments": {"name": "Ana"}}, form="mcp")
            assert value["result"]["messages"][0]["content"]["text"] == "Hello Ana"
            with pytest.raises(ToolFailed) as failed:
                await ask(at, "resources.read", {"uri": "note://none"}, form="mcp")
            assert isinstance(failed.value.answer["fault"]["code"], int)

    asyncio.run(run())


def test_which_revision_a_server_speaks_is_found_out_and_remembered(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0]) as at:
            assert (await ask(at, "add", {"a": 1, "b": 2}))[0] == {"sum": 3}
            assert at._modern is True  # the SDK speaks both

    asyncio.run(run())


def test_a_server_of_both_revisions_is_asked_in_that_of_the_callers_client(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0]) as at:
            for handshake, sessions in ((False, 0), (True, 1), (True, 1)):
                says = ("handshake",) if handshake else ()
                assert (await ask(at, "add", {"a": 1, "b": 2}, session="s", client=says))[0] == {"sum": 3}
                assert len(at._sessions._sessions) == sessions

    asyncio.run(run())


def test_a_server_without_sessions_is_asked_without() -> None:
    async def run() -> None:
        def script(asked: Asked) -> bytes:
            if asked.body["method"] == "server/discover":
                return http(result(asked, {"supportedVersions": ["2026-07-28"]}))
            if asked.body["method"] == "initialize":
                fault = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}
                return http({"jsonrpc": "2.0", "id": asked.body["id"], "error": fault}, 400)
            return http(result(asked, text("hi")))

        async with liar(script) as server, client(server.url) as at:
            for _ in range(2):
                assert (await ask(at, "x", session="s", client=("handshake",)))[0] == "hi"
            assert server.methods().count("initialize") == 1

    asyncio.run(run())


def test_progress_and_trace_go_with_the_call(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0], modern=web[1]) as at:
            _, told = await ask(at, "steps", form="mcp", progress=True)
            # A server that answers in JSON has nowhere to say it.
            streams = web[1] or web[2]
            assert [item["event"]["params"]["message"] for item in told] == (["half", "whole"] if streams else [])
            assert all("progressToken" not in item["event"]["params"] for item in told)
            _, silent = await ask(at, "steps", form="mcp")
            assert silent == []
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            assert (await ask(at, "trace", trace=parent))[0] == parent

    asyncio.run(run())


def test_an_injected_header_arrives_and_must_not_come_back(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0], modern=web[1]) as at:
            assert (await ask(at, "add", {"a": 1, "b": 2}, headers=BEARER))[0] == {"sum": 3}
            with pytest.raises(NoAnswer) as caught:
                await ask(at, "headers", headers=BEARER)
            assert (caught.value.end, caught.value.code) == ("unknown", "upstream_echoes_secret")
            with pytest.raises(NoAnswer) as caught:
                await ask(at, "headers", headers={"Mcp-Session-Id": "x"})
            assert (caught.value.end, caught.value.code) == ("failed", "bad_arguments")

    asyncio.run(run())


def test_an_answer_over_the_limit_is_thrown_away(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0], modern=web[1], max_bytes=4096) as at:
            with pytest.raises(BadInput) as caught:
                await ask(at, "big", {"size": 100_000})
            assert caught.value.code == "result_too_large"
            assert (await ask(at, "add", {"a": 1, "b": 2}))[0] == {"sum": 3}

    asyncio.run(run())


def test_a_call_that_hangs_ends_and_hangs_nobody_else(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0], modern=web[1], timeout_s=1.0) as at:
            hung = [asyncio.create_task(ask(at, "wait", session=str(number))) for number in range(5)]
            assert (await ask(at, "add", {"a": 1, "b": 2}))[0] == {"sum": 3}
            for fault in await asyncio.gather(*hung, return_exceptions=True):
                assert isinstance(fault, NoAnswer)
                assert (fault.end, fault.code) == ("unknown", "upstream_slow")

    asyncio.run(run())


def test_a_call_that_was_left_is_cancelled_in_the_server(web: tuple[str, bool, bool]) -> None:
    async def run() -> None:
        async with client(web[0], modern=web[1], timeout_s=2.0) as at:
            await ask(at, "count", session="s")
            call = asyncio.create_task(at.call(order("wait", session="s"), {}, lambda: True, lambda _: True))
            await asyncio.wait({call}, timeout=0.3)
            call.cancel()
            with pytest.raises(Unavailable) as caught:
                await call
            assert caught.value.code == "abandoned"
            assert (await ask(at, "add", {"a": 1, "b": 2}, session="s"))[0] == {"sum": 3}

    asyncio.run(run())


@pytest.mark.parametrize(("asks", "says"), [
    (("elicitation",), ("elicitation",)), (("elicitation",), ("sampling",)), ((), ("elicitation",)),
])
def test_a_servers_question_is_passed_on_where_it_was_declared_and_the_client_can_be_asked(
    web: tuple[str, bool, bool], asks: tuple[str, ...], says: tuple[str, ...]
) -> None:
    modern = web[1]  # there, questions are results, and the SDK refuses to ask otherwise

    async def run() -> None:
        async with client(web[0], modern=modern, asks=asks, timeout_s=5.0) as at:
            answers: list[asyncio.Task[Json]] = []

            def tell(item: Json) -> bool:
                if "ask" in item:
                    args = {"number": item["ask"]["number"],
                            "answer": {"action": "accept", "content": {"colour": "red"}}}
                    answers.append(asyncio.create_task(at.call(
                        order("elicitation.create", args, session="s", form="mcp"), args, lambda: False, tell)))
                return True

            try:
                asked = order("ask", session="s", form="mcp", client=says)
                value = await at.call(asked, {}, lambda: False, tell)
                said = value["result"]["content"][0]["text"]
            except ToolFailed as failed:
                said = str(failed.answer)
            except NoAnswer as fault:
                said = fault.code
            assert ("colour='red'" in said) is bool(answers)
            assert bool(answers) is (asks == says and web[2])
            assert [await answer for answer in answers] == [{"result": {}}] * len(answers)
            late = {"number": 1, "answer": {"action": "accept"}}
            with pytest.raises(BadInput):
                await at.call(order("elicitation.create", late, session="s"), late, lambda: False, tell)

    asyncio.run(run())


# ---- servers that lie


@dataclass
class Asked:
    method: str
    headers: dict[str, str]
    body: Any


@dataclass
class Liar:
    """An HTTP server whose answers are a script's; an answer is raw bytes, and its connection is closed."""

    script: Callable[[Asked], bytes]
    seen: list[Asked] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
            raw = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(line.split()[0], headers, json.loads(raw) if raw else None)
            self.seen.append(asked)
            writer.write(self.script(asked))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def methods(self) -> list[str]:
        return [one.body["method"] if one.body else one.method for one in self.seen]


@asynccontextmanager
async def liar(script: Callable[[Asked], bytes]) -> AsyncGenerator[Liar]:
    made = Liar(script)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        yield made


def http(body: Any, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n{more}"
            "Connection: close\r\n\r\n").encode() + raw


def sse(*events: str) -> bytes:
    return http("".join(events).encode(), kind="text/event-stream")


def result(asked: Asked, value: Json) -> Json:
    return {"jsonrpc": "2.0", "id": asked.body["id"], "result": value}


def text(words: str) -> Json:
    return {"content": [{"type": "text", "text": words}]}


def data(message: Json, number: str = "") -> str:
    return (f"id: {number}\n" if number else "") + f"data: {json.dumps(message)}\n\n"


def legacy(asked: Asked, answer: Callable[[Asked], bytes], session: str = "s1") -> bytes:
    """A server of 2025-11-25 whose tools answer so."""
    match asked.body["method"] if asked.body else asked.method:
        case "server/discover":
            return http({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}, 400)
        case "initialize":
            who = {"name": "l", "version": "1"}
            said = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": who}
            return http(result(asked, said), mcp_session_id=session)
        case "notifications/initialized" | "notifications/cancelled" | "DELETE":
            return http(b"", 202)
        case _:
            return answer(asked)


def test_a_session_has_a_handshake_its_name_in_every_request_and_a_farewell() -> None:
    async def run() -> None:
        async with liar(lambda asked: legacy(asked, lambda one: http(result(one, text("hi"))))) as server:
            async with client(server.url) as at:
                for session in ("a", "a", "b"):
                    assert (await ask(at, "x", session=session))[0] == "hi"
            assert server.methods() == ["server/discover", "initialize", "notifications/initialized", "tools/call",
                                        "tools/call", "initialize", "notifications/initialized", "tools/call",
                                        "DELETE", "DELETE"]
            called = [one for one in server.seen if one.body and one.body["method"] == "tools/call"]
            assert {one.headers["mcp-session-id"] for one in called} == {"s1"}
            assert {one.headers["mcp-protocol-version"] for one in called} == {"2025-11-25"}

    asyncio.run(run())


def test_a_session_the_server_forgot_is_opened_anew_once() -> None:
    async def run() -> None:
        lost = iter([True, False, True, True])

        def answer(asked: Asked) -> bytes:
            return http(b"", 404) if next(lost) else http(result(asked, text("hi")))

        async with liar(lambda asked: legacy(asked, answer)) as server, client(server.url) as at:
            assert (await ask(at, "x"))[0] == "hi"
            with pytest.raises(NoAnswer) as caught:
                await ask(at, "x")
            assert (caught.value.end, caught.value.code) == ("failed", "upstream_refused")
            assert server.methods().count("tools/call") == 4

    asyncio.run(run())


LIES: dict[str, tuple[Callable[[Asked], bytes], str]] = {
    "another request's id": (lambda a: http({**result(a, text("no")), "id": 999}), "bad_answer"),
    "its id as a text": (lambda a: http({**result(a, text("no")), "id": str(a.body["id"])}), "bad_answer"),
    "no json": (lambda a: http(b"{"), "bad_answer"),
    "a batch": (lambda a: http([result(a, text("no"))]), "bad_answer"),
    "keys twice": (lambda a: http(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[],"content":[]}}'
                                  % a.body["id"]), "bad_answer"),
    "result and error": (lambda a: http({**result(a, text("no")), "error": {}}), "bad_answer"),
    "another kind": (lambda a: http(result(a, text("no")), kind="text/html"), "bad_answer"),
    "a redirect": (lambda a: http(b"", 307, location="http://169.254.169.254/"), "upstream_redirect"),
    "denied": (lambda a: http(b"", 401), "upstream_denied"),
    "slow down": (lambda a: http(b"", 429), "upstream_limited"),
    "failed": (lambda a: http(b"", 500), "upstream_failed"),
    "nothing": (lambda a: b"", "upstream_broken"),
    "half a body": (lambda a: http(result(a, text("no")))[:-3], "upstream_broken"),
    "accepted": (lambda a: http(b"", 202), "bad_answer"),
    "a stream without end": (lambda a: sse("data: {\"jsonrpc\":"), "upstream_broken"),
    "a stream of others' answers": (lambda a: sse(data({**result(a, text("no")), "id": 7777})), "upstream_broken"),
    "a stream of rubbish": (lambda a: sse("data: rubbish\n\n"), "bad_answer"),
    "too long a stream": (lambda a: sse(*[": " + "x" * 60_000 + "\n"] * 30), "result_too_large"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("modern", [True, False])
def test_what_is_no_answer_is_none_and_the_call_is_sent_once(lie: str, modern: bool) -> None:
    script, code = LIES[lie]

    async def run() -> None:
        async with liar(lambda asked: legacy(asked, script)) as server:
            async with client(server.url, modern=modern, max_bytes=65_536) as at:
                with pytest.raises((NoAnswer, BadInput)) as caught:
                    await ask(at, "x")
                assert caught.value.code == code
                refused = code in {"upstream_denied", "upstream_limited", "upstream_redirect"}
                if isinstance(caught.value, NoAnswer):
                    assert caught.value.end == ("failed" if refused else "unknown")
            assert server.methods().count("tools/call") == 1

    asyncio.run(run())


def test_a_stream_that_ends_early_is_taken_up_where_it_ended() -> None:
    async def run() -> None:
        def script(asked: Asked) -> bytes:
            if asked.method == "GET":
                return sse(data({"jsonrpc": "2.0", "id": called(), "result": text("late")}, "8"))
            return sse("id: 7\nretry: 1\ndata:\n\n")

        def called() -> int:
            return next(one.body["id"] for one in server.seen if one.body and one.body["method"] == "tools/call")

        async with liar(lambda asked: script(asked) if asked.method == "GET" else legacy(asked, script)) as server:
            async with client(server.url, modern=False) as at:
                value, told = await ask(at, "x", form="mcp")
                assert value["result"]["content"][0]["text"] == "late"
                assert told == [{"event": {"method": "ringwall/paused", "params": {}}}]
            resumed = [one for one in server.seen if one.method == "GET"]
            assert resumed[0].headers["last-event-id"] == "7"
            assert server.methods().count("tools/call") == 1

    asyncio.run(run())


def test_the_stateless_revision_says_in_its_headers_what_the_body_says() -> None:
    async def run() -> None:
        def script(asked: Asked) -> bytes:
            if asked.body["method"] == "tools/list":
                schema = {"type": "object", "properties": {
                    "region": {"type": "string", "x-mcp-header": "Region"},
                    "inner": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry"}}}}}
                return http(result(asked, {"tools": [{"name": "ü", "inputSchema": schema}]}))
            if asked.body["method"] == "server/discover":
                return http(result(asked, {"supportedVersions": ["2026-07-28"], "capabilities": {}}))
            return http(result(asked, text("hi")))

        async with liar(script) as server, client(server.url) as at:
            await at.definitions({})
            await ask(at, "logging.setLevel", {"level": "debug"}, session="s")
            await ask(at, "ü", {"region": "a b ", "inner": {"dry": True}}, session="s")
            await ask(at, "resources.read", {"uri": "note://one"})
            called = next(one for one in server.seen if one.body["method"] == "tools/call")
            assert called.headers["mcp-protocol-version"] == "2026-07-28"
            assert called.headers["mcp-method"] == "tools/call"
            assert called.headers["mcp-name"] == "=?base64?w7w=?="
            assert called.headers["mcp-param-region"] == "=?base64?YSBiIA==?="
            assert called.headers["mcp-param-dry"] == "true"
            assert "mcp-session-id" not in called.headers
            meta = called.body["params"]["_meta"]
            assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
            assert meta["io.modelcontextprotocol/logLevel"] == "debug"
            read = server.seen[-1]
            assert read.headers["mcp-name"] == "note://one"
            assert "io.modelcontextprotocol/logLevel" not in read.body["params"]["_meta"]

    asyncio.run(run())


def test_a_question_as_a_result_is_passed_through_and_answered_by_the_same_call_again() -> None:
    async def run() -> None:
        needs = {"resultType": "input_required", "requestState": "st",
                 "inputRequests": {"c": {"method": "elicitation/create", "params": {"message": "?"}}}}

        def script(asked: Asked) -> bytes:
            given = asked.body["params"].get("inputResponses")
            return http(result(asked, {**text(json.dumps([given, asked.body["params"]["requestState"]])),
                                       "resultType": "complete"} if given else needs))

        async with liar(script) as server, client(server.url, modern=True) as at:
            assert (await ask(at, "x", form="mcp"))[0] == {"result": needs}
            inputs = json.dumps({"responses": {"c": {"action": "accept"}}, "state": "st"}).encode()
            value, _ = await ask(at, "x", inputs=inputs)
            assert json.loads(value) == [{"c": {"action": "accept"}}, "st"]
            with pytest.raises(BadInput) as caught:
                await ask(at, "x")
            assert caught.value.code == "tool_input_required"
            with pytest.raises(BadInput) as caught:
                await ask(at, "x", inputs=b'{"state": 1}')
            assert caught.value.code == "bad_arguments"

    asyncio.run(run())


@pytest.mark.parametrize("escaped", [False, True])
def test_a_secret_in_an_event_or_a_listing_is_never_passed_on(escaped: bool) -> None:
    async def run() -> None:
        shown = "".join(f"\\u{ord(letter):04x}" for letter in SECRET) if escaped else SECRET

        def script(asked: Asked) -> bytes:
            if asked.body["method"] == "tools/list":
                raw = json.dumps(result(asked, {"tools": [{"name": "SHOWN", "inputSchema": {}}]}))
                return http(raw.replace("SHOWN", shown).encode())
            note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "SHOWN"}})
            return sse(f"data: {note.replace('SHOWN', shown)}\n\n", data(result(asked, text("hi"))))

        async with liar(script) as server, client(server.url, modern=True) as at:
            for work in (ask(at, "x", form="mcp", headers=BEARER), at.definitions(BEARER)):
                with pytest.raises(NoAnswer) as caught:
                    await work
                assert caught.value.code == "upstream_echoes_secret"

    asyncio.run(run())


def test_an_unknown_tool_has_the_definitions_compared_again() -> None:
    async def run() -> None:
        said: list[int] = []

        def script(asked: Asked) -> bytes:
            return http({"jsonrpc": "2.0", "id": asked.body["id"], "error": {"code": -32602, "message": "no tool"}})

        async with liar(script) as server:
            made = McpHttp(ServerConfig(kind="mcp", url=server.url), on_changed=lambda: said.append(1))
            made._modern = True
            with pytest.raises(ToolFailed):
                await ask(made, "x")
            await made.close()
            assert said == [1]

    asyncio.run(run())


def test_nothing_is_sent_where_the_name_leads_to_an_address_that_is_not_public() -> None:
    async def run() -> None:
        async with client("http://localhost.:1/mcp") as at:
            with pytest.raises(NoAnswer) as caught:
                await ask(at, "x")
            assert caught.value.end == "failed"

    asyncio.run(run())


@pytest.mark.parametrize(("minutes", "ends"), [(4, "colour='red'"), (6, "upstream_slow")])
def test_a_call_may_take_longer_while_its_question_is_open(web: tuple[str, bool, bool], minutes: int,
                                                           ends: str) -> None:
    if not web[2]:
        return  # it asks in a result, or not at all: no call waits

    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        async with client(web[0], modern=False, asks=("elicitation",), timeout_s=20.0) as at:
            answers: list[asyncio.Task[Json]] = []

            async def answer(number: int) -> Json:
                loop.ahead += minutes * 60
                await asyncio.sleep(0)
                args = {"number": number, "answer": {"action": "accept", "content": {"colour": "red"}}}
                sent = order("elicitation.create", args, session="s", form="mcp")
                return await at.call(sent, args, lambda: False, lambda _: True)

            def tell(item: Json) -> bool:
                answers.append(asyncio.create_task(answer(item["ask"]["number"])))
                return True

            try:
                asked = order("ask", session="s", form="mcp", client=("elicitation",))
                said = str(await at.call(asked, {}, lambda: False, tell))
            except NoAnswer as fault:
                said = fault.code
            assert ends in said
            await asyncio.gather(*answers, return_exceptions=True)

    loop = Loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
