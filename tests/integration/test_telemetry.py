"""Under ``ringwall up``: a scrape counts what happened, a collector hears of it; neither hears what was said."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Puppet, Stack, wait_for
from tests.telemetry.collector import Collector, attributes, collector
from tests.telemetry.pages import nonzero, samples

pytestmark = pytest.mark.confined

MARK = "hostilemark"
MANIFEST = """
version = 1
trust_domain = "acme.example"
[telemetry]
metrics = "127.0.0.1:{port}"
otlp = "{otlp}"
[tools.echo]
builtin = "echo"
clearance = "private"
[tools.ledger]
python = "ledger_tool"
read_only = [{code}, {data}]
clearance = "private"
[tools.ledger.ops.look]
effect = "read"
args = {{ path = "selector:path" }}
[tenants.acme.roles.clerk.tools]
"echo/echo" = []
"ledger/look" = {{ resources = [{grant}], approval = "always" }}
[tenants.acme.agents.ana]
role = "clerk"
"""
HELD = """
import ringwall
try:
    ringwall.call_tool('ledger/look', path={path!r})
except ringwall.Held:
    answer = 'held'
"""
RAW = """
import http.client, json, os, socket
door = http.client.HTTPConnection('door')
door.sock = socket.socket(socket.AF_UNIX)
door.sock.connect(os.environ['RINGWALL_DOOR'])
door.request('POST', '/v1/tools/call', json.dumps({{'tool': {tool!r}, 'args': {args!r}, 'trace': {trace!r}}}),
             {{'content-type': 'application/json'}})
answer = door.getresponse().status
"""
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Watched:
    def __init__(self, stack: Stack, port: int, otlp: Collector) -> None:
        self.stack, self.port, self.otlp = stack, port, otlp

    def page(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def counted(self) -> Mapping[str, float]:
        """Calls of agents and what came of them; a page is a second old at most."""
        found = nonzero(samples(self.page().encode()), "ringwall_calls_total", "ringwall_refusals_total",
                        "ringwall_held_calls", "ringwall_calls_running", "ringwall_telemetry_faults_total")
        return {key: value for key, value in found.items() if "kind=operate" not in key}


@pytest.fixture(scope="module")
def watched() -> Generator[Watched]:
    port = free_port()

    def manifest(folder: Path) -> str:
        quoted = {"code": folder / "p", "data": folder / "data", "grant": f"path:{folder / 'data'}/"}
        return MANIFEST.format(port=port, otlp=otlp.url, **{k: json.dumps(str(v)) for k, v in quoted.items()})

    def prepare(folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "a").write_text("note")

    with collector() as otlp, Stack(manifest, prepare) as running:
        yield Watched(running, port, otlp)


def python(agent: Puppet, text: str, **more: Any) -> Any:
    return agent.do("python", text=text.format(**more))["result"]


def test_a_run_is_counted_exactly_and_told_without_content(watched: Watched) -> None:
    stack = watched.stack
    with stack.puppet("acme/ana") as agent:
        for number in range(3):
            said = f"{MARK} said {number}"
            assert agent.call("echo/echo", text=said) == {"result": {"text": said}}
        assert agent.call(f"echo/{MARK}")["code"] == "not_granted"
        assert agent.call("echo/echo", **{MARK: MARK})["code"] == "invalid_arguments"
        assert "code" in agent.call(f"{MARK} \n}} 1")
        assert python(agent, HELD, path=str(stack.folder / "data" / "a")) == "held"
        assert python(agent, RAW, tool="echo/echo", args={"text": MARK}, trace=CALLER) == 200
    wanted = {
        "ringwall_calls_total{end=done,kind=tool}": 4, "ringwall_calls_total{end=refused,kind=tool}": 3,
        "ringwall_calls_total{end=held,kind=tool}": 1, "ringwall_held_calls": 1,
        "ringwall_refusals_total{code=not_granted,ring=capability}": 1,
        "ringwall_refusals_total{code=invalid_arguments,ring=capability}": 1,
        "ringwall_refusals_total{code=bad_name,ring=admission}": 1,
    }
    wait_for(f"{wanted} instead of {watched.counted()}", lambda: watched.counted() == wanted, 10)
    page = watched.page()
    assert MARK not in page
    assert "ana" not in page
    found = samples(page.encode())
    assert found["ringwall_added_seconds_count{kind=tool}"] == 4
    assert found["ringwall_ring_seconds_count{ring=identity}"] >= 7
    assert found["ringwall_log_append_seconds_count"] >= 4
    assert found["ringwall_log_sync_seconds_count"] > 0
    assert found["ringwall_guard_seconds_count{direction=arguments}"] >= 4
    assert found["ringwall_process_up{process=guard}"] == 1
    assert found["ringwall_process_restarts_total{process=sidecar-acme}"] == 0
    assert found["ringwall_log_bytes{log=acme}"] > 0
    assert found["ringwall_telemetry_faults_total"] == 0

    def tools() -> list[Any]:
        return [span for span in watched.otlp.spans if attributes(span)["ringwall.kind"] == "tool"]

    wait_for("seven spans", lambda: len(tools()) == 7)
    assert sorted(span.name for span in tools()) == sorted(
        ["execute_tool echo/echo"] * 5 + ["execute_tool", "execute_tool ledger/look"])
    told = {attributes(span)["ringwall.record"]: attributes(span) for span in tools()}
    types = {f"acme/{record.number}": record.type for record in stack.records("acme", "intent", "refused", "held")}
    assert {name: {"allow": "intent", "deny": "refused", "ask": "held"}[one["ringwall.decision"]]
            for name, one in told.items()} == {name: types[name] for name in told}
    assert all(one["ringwall.spiffe_id"] == "spiffe://acme.example/tenant/acme/agent/ana/role/clerk"
               for one in told.values())
    [linked] = [span for span in tools() if span.links]
    assert linked.links[0].trace_id.hex() == CALLER[3:35]
    assert linked.trace_id.hex() != CALLER[3:35]
    assert MARK.encode() not in watched.otlp.raw
    assert b"note" not in watched.otlp.raw


def test_a_collector_that_is_down_costs_calls_nothing(watched: Watched) -> None:
    watched.otlp.status = 500
    with watched.stack.puppet("acme/ana") as agent:
        assert agent.call("echo/echo", text="x") == {"result": {"text": "x"}}
    wait_for("failed spans", lambda: nonzero(samples(watched.page().encode()), "ringwall_spans_total").get(
        "ringwall_spans_total{result=failed}", 0) > 0)
    watched.otlp.status = 200


def test_the_exporters_process_is_started_again_and_calls_go_on(watched: Watched) -> None:
    stack = watched.stack
    before = stack.pid("telemetry")
    os.kill(before, signal.SIGKILL)
    with stack.puppet("acme/ana") as agent:
        assert agent.call("echo/echo", text="x") == {"result": {"text": "x"}}
    wait_for("a new process", lambda: (now := stack.running("telemetry")) is not None and now != before)
    heard = len(watched.otlp.spans)
    with stack.puppet("acme/ana") as agent:
        assert agent.call("echo/echo", text="x") == {"result": {"text": "x"}}
    wait_for("its spans", lambda: len(watched.otlp.spans) > heard)


def test_nobody_inside_reaches_the_page(watched: Watched) -> None:
    with watched.stack.puppet("acme/ana") as agent:
        text = ("import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 2)\n"
                "    answer = 'there'\nexcept OSError:\n    answer = 'not there'")
        assert python(agent, text, port=watched.port) == "not there"
