"""``ringwall mcp``: lines on one side, the door on the other."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from tests.doors.fakes import looped
from tests.doors.mcp.fakes import ALICE, FakeWall, listening

from ringwall.call import LaunchId, SessionId
from ringwall.cli.mcp import Bridge, events
from ringwall.clock import SystemClock
from ringwall.doors.agent import AgentDoor
from ringwall.doors.listener import DoorServer
from ringwall.doors.mcp import McpDoor
from ringwall.identity.probe import Probe
from ringwall.identity.registry import Launch, Registry, nobody

PROGRAM = [sys.executable, "-m", "ringwall.cli.main", "mcp"]


def environment(url: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "RINGWALL_DOOR_URL": url.removesuffix("/mcp")}


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_sdks_client_speaks_over_pipes_and_answers_questions(mode: Any) -> None:
    async def answer(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Bo"})

    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def talk(url: str) -> None:
        program = StdioServerParameters(command=PROGRAM[0], args=PROGRAM[1:], env=environment(url))
        async with Client(stdio_client(program), mode=mode, elicitation_callback=answer) as client:
            assert "tin__echo" in {tool.name for tool in (await client.list_tools()).tools}
            found = await client.call_tool("box__echo", {"text": "hi"})
            assert found.content[0].text == "hi"  # type: ignore[union-attr]
            await client.call_tool("box__chatty", {}, progress_callback=hear)
            asked = await client.call_tool("box__ask", {})
            assert '"Bo"' in asked.content[0].text  # type: ignore[union-attr]
            assert (await client.read_resource("note://a")).contents[0].text == "A note"  # type: ignore[union-attr]

    with listening() as (url, _):
        asyncio.run(talk(url))
    assert heard == [1.0, 2.0]


def test_one_server_and_bad_lines_and_the_end_of_the_input() -> None:
    start = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
             "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t"}}}
    lines = [json.dumps(start).encode(), b"{nonsense", b"", b"x" * ((1 << 20) + 5)]
    with listening() as (url, wall):
        done = subprocess.run([*PROGRAM, "--server", "tin"], input=b"\n".join(lines) + b"\n", capture_output=True,
                              env=environment(url), timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        said = [json.loads(line) for line in done.stdout.splitlines()]
        assert said[0]["result"]["capabilities"] == {"tools": {"listChanged": True}}
        assert {one["error"]["code"] for one in said[1:]} <= {-32700, -32600}
        assert any("longer than" in one["error"]["message"] for one in said[1:])
        assert wall.names() == ["ringwall/list"]


def test_a_door_that_is_not_there_is_told_to_whoever_waits() -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
    env = {"PATH": os.environ["PATH"], "RINGWALL_DOOR": "/nowhere/door.sock"}
    line = json.dumps(ping).encode() + b"\n"
    done = subprocess.run(PROGRAM, input=line, capture_output=True, env=env, timeout=60, check=False)
    assert json.loads(done.stdout)["error"]["code"] == -32000
    assert done.returncode == 0


def test_the_command_loads_nothing_of_the_runtime() -> None:
    look = ("import json, sys, ringwall.cli.main as m; m.verb('mcp'); "
            "print(json.dumps([n for n in sys.modules if n.startswith('ringwall')]))")
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stdout))
    assert loaded <= {"ringwall", "ringwall.cli", "ringwall.cli.main", "ringwall.cli.mcp", "ringwall._client",
                      "ringwall.errors", "ringwall.aio"}


def test_over_the_doors_own_socket_nothing_else_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: lines, HTTP over the Unix socket, the real door's protocol, MCP."""
    monkeypatch.setenv("RINGWALL_DOOR", str(tmp_path / "door.sock"))
    lines, theirs = os.pipe()
    start = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
             "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t"}}}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "hi"}}}
    answered = threading.Event()

    class Out(io.BytesIO):
        def flush(self) -> None:
            if b'"id":2' in self.getvalue():
                answered.set()

    said = Out()
    wall = FakeWall()
    with door_with_mcp(tmp_path, wall), os.fdopen(lines, "rb") as reads, os.fdopen(theirs, "wb") as writes:
        bridge = threading.Thread(target=Bridge("/mcp/box", reads, said).run)
        bridge.start()
        writes.write(json.dumps(start).encode() + b"\n" + json.dumps(call).encode() + b"\n")
        writes.flush()
        assert answered.wait(30)
        writes.close()
        bridge.join(30)
    found = [json.loads(line) for line in said.getvalue().splitlines()]
    assert found[1]["result"] == {"content": [{"type": "text", "text": "hi"}]}
    assert wall.names() == ["ringwall/list", "box/echo"]


@contextmanager
def door_with_mcp(folder: Path, wall: FakeWall) -> Generator[None]:
    """An agent's door as the core opens it; this process is the agent."""
    handle = os.pidfd_open(os.getpid())
    registry = Registry(Probe(method="inode", tree=True, reads=True), frozen=nobody, max_connections=16)
    registry.register(Launch(id=LaunchId("l1"), spiffe_id=ALICE, pidfd=handle, pidns_fd=None, processes="one",
                             session=SessionId("s1"), confined=True, strength="full"))
    os.close(handle)
    with looped() as loop:
        mcp = McpDoor(wall, wall, SystemClock(), wall)
        server = DoorServer(AgentDoor(wall, registry, wall, {"mcp": mcp}), registry)

        def run(work: Coroutine[Any, Any, Any]) -> None:
            asyncio.run_coroutine_threadsafe(work, loop).result(30)

        run(server.add(LaunchId("l1"), folder / "door.sock"))
        try:
            yield
        finally:
            run(server.close())
            run(mcp.close())
            registry.withdraw(LaunchId("l1"))


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20),
                max_size=5))
@settings(max_examples=100, deadline=None)
def test_events_come_out_as_they_went_in(texts: list[str]) -> None:
    stream = b": ping\n\n" + b"".join(b"event: message\ndata: %s\n\n" % text.encode() for text in texts)
    assert list(events(io.BytesIO(stream))) == [text.encode() for text in texts]
