"""A wall behind which an MCP server answers, and a door in front of it that real clients can speak to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from ringwall.call import (
    Call,
    CallId,
    Chunk,
    Denied,
    Json,
    Kind,
    Last,
    LaunchId,
    Process,
    SessionId,
    Subject,
    Target,
)
from ringwall.clock import SystemClock
from ringwall.doors.http import read_body
from ringwall.doors.mcp import McpDoor
from ringwall.doors.protocol import Presence
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import HeldCall, Listener, Origin, Refusal, Stopped

ALICE = SpiffeId.make(trust_domain="example.org", tenant="acme", agent="alice", role="reader")
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}
REGION = {"type": "object", "properties": {"where": {"type": "string", "x-mcp-header": "Region"}}}
Script = Callable[["FakeWall", Call], AsyncGenerator[Json, None]]


def origin(launch: str = "l1") -> Origin:
    subject = Process(spiffe_id=ALICE, launch=LaunchId(launch), connection=1)
    return Origin(subject=subject, session="s1", key=str(ALICE))


def text(words: str) -> Json:
    return {"result": {"content": [{"type": "text", "text": words}]}}


class Answering:
    def __init__(self, wall: FakeWall, call: Call) -> None:
        self.record = f"acme/{len(wall.calls)}"
        self.last: Last | None = None
        self._wall = wall
        self._call = call

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        async for value in self._wall.run(self._call):
            if isinstance(value, Last):
                self.last = value
                return
            yield Chunk(value=value)
        self.last = Last(end="done")


class FakeWall:
    """Two servers: ``box`` with tools, resources, prompts and questions, and ``tin`` with one tool."""

    def __init__(self) -> None:
        self.turned: list[str] = []  # what the door refused by itself
        self.calls: list[Call] = []
        self.bodies: list[dict[str, Any]] = []
        self.knocks = 0
        self.ends: list[str] = []
        self.started = asyncio.Event()
        self.told: dict[int, asyncio.Future[Json]] = {}
        self.no: Refusal | None = None  # to every knock
        self.admission: Refusal | None = None
        self.passages: dict[str, Refusal | HeldCall] = {}
        self.scripts: dict[str, Script] = dict(SCRIPTS)
        self.listeners: list[tuple[str, tuple[str, ...], Listener]] = []
        self.waits: list[tuple[str, float]] = []

    def turned_away(self, origin: Origin, kind: Kind, code: str) -> None:
        self.turned.append(code)

    def knock(self, origin: Origin, kind: Kind, raw: bytes) -> Refusal | None:
        self.knocks += 1
        return self.no

    async def admit(self, origin: Origin, kind: Kind, raw: bytes, *, counted: bool = False) -> Call | Refusal:
        assert counted
        assert kind == "tool"
        if self.admission is not None:
            return self.admission
        body = json.loads(raw)
        self.bodies.append(body)
        return Call.make(id=CallId("c"), kind=kind, subject=origin.subject, session=SessionId("s1"),
                         target=Target(name=body["tool"]), args=body["args"], inputs=body.get("inputs"))

    async def hear(self, who: Subject, launch: str, server: str, client: tuple[str, ...],
                   listener: Listener) -> None:
        self.listeners.append((server, client, listener))
        listener.ready(server)
        await asyncio.Event().wait()

    async def weigh(self, origin: Origin, kind: Kind, raw: bytes) -> Denied | None:
        raise AssertionError("this door weighs nothing")

    @asynccontextmanager
    async def perform(self, call: Call) -> AsyncGenerator[Answering | HeldCall | Refusal, None]:
        self.calls.append(call)
        how = "finished"
        try:
            yield self.passages.get(call.target.name) or Answering(self, call)
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        finally:
            await asyncio.sleep(0)  # the outcome is written here
            self.ends.append(f"{call.target.name} {how}")

    async def decided(self, record: str, seconds: float) -> bool:
        self.waits.append((record, seconds))
        self.passages.clear()
        return True

    async def run(self, call: Call) -> AsyncGenerator[Json, None]:
        script = self.scripts.get(call.target.name)
        if script is None:
            yield {"fault": {"code": -32602, "message": "unknown"}}
            return
        async for value in script(self, call):
            yield value

    def names(self) -> list[str]:
        return [call.target.name for call in self.calls]

    async def ask(self, number: int) -> Json:
        """What an effect does that waits for the client's answer."""
        self.told[number] = asyncio.get_running_loop().create_future()
        return await self.told[number]


async def listing(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    ops = ["echo", "slow", "ask", "ask_all", "ask_first", "chatty", "fails", "breaks", "odd", "resources.list",
           "resources.read", "resources.templates", "resources.subscribe", "prompts.list", "prompts.get",
           "completion.complete", "logging.setLevel", "elicitation.create", "sampling.createMessage", "roots.list"]
    yield [*({"name": f"box/{op}", "description": f"does {op}", "inputSchema": SCHEMA} for op in ops),
           {"name": "box/region", "description": "", "inputSchema": REGION, "title": "Region"},
           {"name": "tin/echo", "description": "another", "inputSchema": SCHEMA}]


async def echo(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    yield text(str(call.args.get("text", "")))


async def slow(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    wall.started.set()
    await asyncio.Event().wait()
    yield text("never")


async def chatty(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    for step in (1, 2):
        params = {"progressToken": "theirs", "progress": step}
        yield {"event": {"method": "notifications/progress", "params": params}}
    yield {"event": {"method": "notifications/message", "params": {"level": "info", "data": "working"}}}
    yield {"event": {"method": "notifications/odd", "params": {}}}
    yield text("said all")


async def ask(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    yield {"ask": {"number": 7, "method": "elicitation/create",
                   "params": {"message": "Who?", "requestedSchema": schema}}}
    answer = await wall.ask(7)
    yield text(json.dumps(answer, sort_keys=True))


async def ask_all(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    yield {"ask": {"number": 1, "method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}}
    yield {"ask": {"number": 2, "method": "roots/list", "params": {}}}
    first, second = await asyncio.gather(wall.ask(1), wall.ask(2))
    yield text(json.dumps([first, second], sort_keys=True))


async def ask_first(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    """As a server of 2026-07-28 does."""
    if call.inputs is None:
        question = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {}}}
        yield {"result": {"resultType": "input_required", "inputRequests": {"who": question}, "requestState": "r1"}}
        return
    yield text(json.dumps(call.inputs, sort_keys=True))


async def answered(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    while call.args["number"] not in wall.told:  # noqa: ASYNC110 (a few turns of this loop at most)
        await asyncio.sleep(0)
    wall.told[call.args["number"]].set_result(call.args["answer"])
    yield {"result": {}}


async def fails(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    yield {"result": {"content": [{"type": "text", "text": "no such page"}], "isError": True}}
    yield Last(end="failed", error={"code": "tool_error", "reason": "the tool reported an error"})


async def breaks(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    data = {"requiredCapabilities": {"sampling": {}}}
    yield {"fault": {"code": -32021, "message": "needs sampling", "data": data}}
    yield Last(end="failed", error={"code": "tool_error", "reason": "the tool reported an error"})


async def odd(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    yield {"result": {"content": [{"type": "spell", "text": "abracadabra"}]}}


async def stops(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    raise Stopped(Denied(code="secret_found", reason="the answer holds a secret"))
    yield None


def fixed(value: Json) -> Script:
    async def run(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
        yield {"result": value}

    return run


async def resource(wall: FakeWall, call: Call) -> AsyncGenerator[Json, None]:
    if call.args["uri"] != "note://a":
        yield {"fault": {"code": -32002, "message": "Resource not found"}}
        yield Last(end="failed", error={"code": "tool_error", "reason": "the tool reported an error"})
        return
    yield {"result": {"contents": [{"uri": "note://a", "text": "A note"}]}}


SCRIPTS: dict[str, Script] = {
    "ringwall/list": listing, "box/echo": echo, "tin/echo": echo, "box/slow": slow, "box/chatty": chatty,
    "box/ask": ask, "box/ask_first": ask_first, "box/ask_all": ask_all, "box/fails": fails, "box/breaks": breaks,
    "box/odd": odd, "box/region": echo, "box/elicitation.create": answered, "box/sampling.createMessage": answered,
    "box/roots.list": answered, "box/resources.read": resource,
    "box/resources.list": fixed({"resources": [{"uri": "note://a", "name": "a"}]}),
    "box/resources.templates": fixed({"resourceTemplates": [{"uriTemplate": "note://{id}", "name": "notes"}]}),
    "box/resources.subscribe": fixed({}), "box/logging.setLevel": fixed({}),
    "box/prompts.list": fixed({"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": True}]}]}),
    "box/prompts.get": fixed({"messages": [{"role": "user", "content": {"type": "text", "text": "Greet them"}}]}),
    "box/completion.complete": fixed({"completion": {"values": ["one", "two"], "total": 2, "hasMore": False}}),
}  # fmt: skip


class Answered:
    """What one request was answered with."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self.more = asyncio.Event()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.over = not message.get("more_body", False)
        self.more.set()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return [json.loads(line[6:]) for line in self.body.decode().splitlines() if line.startswith("data: {")]

    async def until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self.more.clear()
            await self.more.wait()


class Client:
    """Speaks to a door without a socket in between."""

    def __init__(self, wall: FakeWall, *, path: str = "/mcp", launch: str = "l1",
                 door: McpDoor | None = None) -> None:
        self.wall = wall
        self.door = door or McpDoor(wall, wall, SystemClock(), wall)
        self.path = path
        self.launch = launch
        self.session = ""
        self.headers: dict[str, str] = {}
        self.presences: list[Presence] = []

    async def send(self, body: Json, *, method: str = "POST", headers: dict[str, str] | None = None,
                   server: tuple[str, int] | None = ("127.0.0.1", 8000),
                   answer: Answered | None = None) -> Answered:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"host": "127.0.0.1:8000", "content-type": "application/json",
                  "accept": "application/json, text/event-stream", **self.headers, **(headers or {})}
        if self.session:
            fields.setdefault("mcp-session-id", self.session)
        scope = {"type": "http", "method": method, "raw_path": self.path.encode(), "query_string": b"",
                 "headers": [(k.encode(), v.encode()) for k, v in fields.items() if v], "server": server}
        found = answer or Answered()
        presence = Presence()
        self.presences.append(presence)
        await self.door.answer(scope, raw, presence, origin(self.launch), found.send)
        return found

    async def open(self, capabilities: Json = None, version: str = "2025-11-25") -> Answered:
        params = {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": {"name": "t"}}
        found = await self.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        self.session = found.headers.get("mcp-session-id", "")
        return found

    async def ask(self, method: str, params: Json = None, *, number: int | str = 1, **more: Any) -> Answered:
        """A request in a session."""
        return await self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}, **more)

    async def stateless(self, method: str, params: Json = None, *, capabilities: Json = None, meta: Json = None,
                        headers: dict[str, str] | None = None, **more: Any) -> Answered:
        """A request of 2026-07-28."""
        own = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
               "io.modelcontextprotocol/clientCapabilities": capabilities or {}, **(meta or {})}
        params = {**(params or {}), "_meta": own}
        said = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
        name = params.get("name") or params.get("uri")
        if name and method in {"tools/call", "prompts/get", "resources/read"}:
            said["mcp-name"] = name
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return await self.send(body, headers={**said, **(headers or {})}, **more)


@contextmanager
def listening(wall_of: Callable[[], FakeWall] = FakeWall) -> Generator[tuple[str, FakeWall]]:
    """A door behind uvicorn, for real clients; its URL and its wall."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        ready, made = threading.Event(), list[Any]()

        def serve() -> None:
            asyncio.run(_serve(sock, wall_of, made, ready))

        thread = threading.Thread(target=serve)
        thread.start()
        ready.wait(30)
        wall, server = made
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp", wall
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(30)


async def _serve(sock: socket.socket, wall_of: Callable[[], FakeWall], made: list[Any],
                 ready: threading.Event) -> None:
    wall = wall_of()
    door = McpDoor(wall, wall, SystemClock(), wall)

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        raw = await read_body(receive)
        presence = Presence()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            presence.leave()

        watching = asyncio.create_task(watch())
        try:
            await door.answer(scope, raw or b"", presence, origin(), send)
        except asyncio.CancelledError:
            if not presence.gone:
                raise
        finally:
            watching.cancel()

    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical"))
    made += [wall, server]
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0)
    ready.set()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await door.close()
