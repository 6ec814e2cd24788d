"""Agents that talk to each other: through two walls and two sidecars, over real mutual TLS."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Stack

pytestmark = pytest.mark.confined

SERVE = 9801
MANIFEST = """
version = 1
trust_domain = "acme.example"

[tools.echo]
builtin = "echo"
clearance = "private"

[tenants.acme.roles.asker.tools]
"echo/echo" = []
[tenants.acme.roles.worker.tools]
"echo/echo" = []
[tenants.acme.roles.plain]
[tenants.globex.roles.guest]

[tenants.acme.agents.ana]
role = "asker"
send = {{ sam = ["quote"] }}
[tenants.acme.agents.poor]
role = "plain"
send = {{ sam = ["quote"] }}
[tenants.acme.agents.eve]
role = "plain"
[tenants.acme.agents.sam]
role = "worker"
listen = "127.0.0.1:{sam}"
serve = {serve}
skills.quote = {{}}
skills.other = {{}}
[tenants.acme.agents.sam.receive]
ana = ["quote"]
poor = ["quote"]
"globex/gus" = {{ skills = ["quote"], lends = ["echo/echo"] }}
[tenants.globex.agents.gus]
role = "guest"
send = {{ "acme/sam" = ["quote"] }}
[tenants.globex.agents.kim]
role = "guest"
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def manifest(folder: Path) -> str:
    return MANIFEST.format(sam=free_port(), serve=SERVE)


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(manifest) as running:
        yield running


@contextmanager
def serving(stack: Stack, agent: str) -> Generator[Any]:
    """An agent's A2A server, while the block runs."""
    with stack.begin(agent, [sys.executable, "a2a_agent.py", str(SERVE)]) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, stack.told.read_text()
        yield process


def said(stack: Stack, agent: Any, peer: str, part: Any, **more: Any) -> Any:
    """What came of one message."""
    parts = [part] if isinstance(part, dict) else part
    return agent.do("send", peer=peer, skill="quote", parts=parts, more=more)


def told(answer: Any) -> Any:
    """What the other agent's first part holds."""
    assert "result" in answer, answer
    part = answer["result"]["message"]["parts"][0]
    return part.get("text", part.get("data"))


def messages(stack: Stack, tenant: str, kind: str) -> list[dict[str, Any]]:
    return [r.clear["message"] | {"verdicts": r.clear["verdicts"]}  # type: ignore[operator]
            for r in stack.records(tenant, kind) if r.clear.get("kind") == "message"]


def test_the_allowed_pair_talks_and_both_logs_say_so_with_one_trace(stack: Stack) -> None:
    with serving(stack, "acme/sam"), stack.puppet("acme/ana") as ana:
        before = len(messages(stack, "acme", "intent"))
        assert told(said(stack, ana, "sam", "hello")) == "you said hello"
        out, came = messages(stack, "acme", "intent")[before:]
    assert (out["direction"], came["direction"]) == ("out", "in")
    assert out["trace"] == came["trace"]
    assert (came["sender"], came["receiver"]) == (out["sender"], out["receiver"])
    assert "hello" not in json.dumps([r.clear for r in stack.records("acme")])
    assert stack.verify().ok


def test_a_pair_of_two_tenants_talks_and_each_log_has_its_half(stack: Stack) -> None:
    with serving(stack, "acme/sam"), stack.puppet("globex/gus") as gus:
        assert told(said(stack, gus, "acme/sam", "hello")) == "you said hello"
    assert [m["direction"] for m in messages(stack, "globex", "intent")] == ["out"]
    assert "in" in [m["direction"] for m in messages(stack, "acme", "intent")]


@pytest.mark.parametrize(("agent", "peer"), [
    ("acme/eve", "sam"), ("globex/kim", "acme/sam"), ("globex/gus", "acme/ana"), ("acme/ana", "globex/gus"),
    ("acme/ana", "nobody"), ("acme/sam", "ana"),
])
def test_all_others_are_refused_on_the_record(stack: Stack, agent: str, peer: str) -> None:
    with stack.puppet(agent) as asker:
        answer = said(stack, asker, peer, "hello")
    assert answer["code"] == "not_granted", answer
    assert stack.record(answer["record"]).clear["type"] == "refused"


def test_an_agent_can_do_for_another_only_what_both_may(stack: Stack) -> None:
    """ana may echo herself; gus may not, but is lent it; what neither was given stays refused."""
    with serving(stack, "acme/sam"):
        order = {"data": {"do": "call", "tool": "echo/echo", "args": {"text": "x"}}}
        with stack.puppet("acme/ana") as ana, stack.puppet("globex/gus") as gus:
            assert told(said(stack, ana, "sam", order)) == {"result": {"text": "x"}}
            assert told(said(stack, gus, "acme/sam", order)) == {"result": {"text": "x"}}


def test_while_a_task_of_another_is_unfinished_its_limits_hold(stack: Stack) -> None:
    """poor may not echo, and nobody lent it: neither while the message is answered nor while its task goes on."""
    call = {"data": {"do": "call", "tool": "echo/echo", "args": {"text": "x"}}}
    with serving(stack, "acme/sam"), stack.puppet("acme/poor") as poor, stack.puppet("acme/ana") as ana:
        assert told(said(stack, poor, "sam", call))["error"] == "beyond_delegation"
        task = said(stack, poor, "sam", {"data": {"do": "task"}})["result"]["task"]["id"]
        assert told(said(stack, ana, "sam", call))["error"] == "beyond_delegation"
        done = said(stack, poor, "sam", {"data": {"do": "task", "id": task, "state": "TASK_STATE_COMPLETED"}},
                    task_id=task)
        assert done["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert told(said(stack, ana, "sam", call)) == {"result": {"text": "x"}}


def test_a_message_is_delivered_once(stack: Stack) -> None:
    with serving(stack, "acme/sam"), stack.puppet("acme/ana") as ana:
        assert told(said(stack, ana, "sam", "hello", message_id="once")) == "you said hello"
        again = said(stack, ana, "sam", "hello", message_id="once")
        assert "error" in again and "result" not in again
        assert told(said(stack, ana, "sam", {"data": {"do": "seen"}})).count("once") == 1


def rpc(agent: Any, method: str, params: Any) -> Any:
    """A JSON-RPC request at the agent's own door, as bytes; its answer, or the events of it."""
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    head = (f"POST /a2a/sam HTTP/1.1\r\nHost: ringwall\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n")
    return agent.do("raw", data=head + body)


def test_a_stream_of_events_comes_through_in_order(stack: Stack) -> None:
    message = {"messageId": "s1", "role": "ROLE_USER", "parts": [{"text": "one two three"}]}
    with serving(stack, "acme/sam"), stack.puppet("acme/ana") as ana:
        found = rpc(ana, "SendStreamingMessage", {"message": message})
        assert found["status"] == "HTTP/1.1 200 OK"
        lines = [line[6:] for line in found["body"].splitlines() if line.startswith("data: ")]
        events = [json.loads(line)["result"] for line in lines]
        assert [next(iter(event)) for event in events] == ["task", *["artifactUpdate"] * 3, "statusUpdate"]
        words = [event["artifactUpdate"]["artifact"]["parts"][0]["text"] for event in events[1:4]]
        assert words == ["one", "two", "three"]


def test_a_task_is_its_callers_alone(stack: Stack) -> None:
    with serving(stack, "acme/sam"), stack.puppet("acme/ana") as ana, stack.puppet("acme/poor") as poor:
        task = said(stack, ana, "sam", {"data": {"do": "task"}})["result"]["task"]["id"]
        assert json.loads(_json(rpc(ana, "GetTask", {"id": task})))["result"]["id"] == task
        for method in ("GetTask", "CancelTask"):
            assert json.loads(_json(rpc(poor, method, {"id": task})))["error"]["code"] == -32001
        assert task in _json(rpc(ana, "ListTasks", {}))
        assert task not in _json(rpc(poor, "ListTasks", {}))
        canceled = json.loads(_json(rpc(ana, "CancelTask", {"id": task})))["result"]
        assert canceled["status"]["state"] == "TASK_STATE_CANCELED"


def _json(found: Any) -> str:
    """The body of an answer, which may be in chunks."""
    return next(line for line in found["body"].splitlines() if line.startswith("{"))
