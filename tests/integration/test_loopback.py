"""A door over TCP: programs that know no Unix sockets call their tools on 127.0.0.1 of their own network."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Stack, kill

pytestmark = pytest.mark.confined

PORT = 8433
MANIFEST = f"""
version = 1
trust_domain = "acme.example"
[tools.echo]
builtin = "echo"
clearance = "private"
[tenants.acme.roles.clerk.tools]
"echo/echo" = []
[tenants.acme.agents.ana]
role = "clerk"
door = {PORT}
[tenants.acme.agents.tess]
role = "clerk"
processes = "tree"
door = {PORT}
[tenants.acme.agents.plain]
role = "clerk"
"""
CALL = """
import json, os, urllib.error, urllib.request
def call(text):
    request = urllib.request.Request(os.environ['RINGWALL_DOOR_URL'] + '/v1/tools/call', method='POST',
        data=json.dumps({'tool': 'echo/echo', 'args': {'text': text}}).encode(),
        headers={'Content-Type': 'application/json'})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer: return json.load(answer)
    except urllib.error.HTTPError as refused: return json.load(refused)
"""


def manifest(folder: Path) -> str:
    return MANIFEST


@pytest.fixture(scope="module")
def inside() -> Generator[Stack]:
    with Stack(manifest) as running:
        yield running


def facts(stack: Stack, text: str) -> list[Any]:
    """What the identity ring found about the calls with this text."""
    found = [r for r in stack.records("acme", "intent") if text in json.dumps(stack.body("acme", r))]
    return [record.clear["identity"] for record in found]


def test_urllib_calls_a_tool_and_the_record_says_its_network_named_it(inside: Stack) -> None:
    ran = inside.python("acme/ana", CALL + "print(json.dumps(call('by-tcp')))")
    assert ran.code == 0, ran.err
    assert ran.json["result"]["text"] == "by-tcp"
    assert [(fact["attestation"], fact["number"]) for fact in facts(inside, "by-tcp")] == [("namespace", 0)]


def test_the_unix_socket_stays_and_names_the_process(inside: Stack) -> None:
    text = "import ringwall; print(ringwall.call_tool('echo/echo', text='by-unix')['text'])"
    ran = inside.python("acme/ana", text)
    assert ran.out == b"by-unix\n", ran.err
    assert [fact["attestation"] for fact in facts(inside, "by-unix")] == ["process"]


def test_two_agents_with_the_same_port_are_two_subjects(inside: Stack) -> None:
    with inside.puppet("acme/ana") as ana, inside.puppet("acme/tess") as tess:
        for name, agent in (("ana", ana), ("tess", tess)):
            said = agent.do("python", text=CALL + f"answer = call('same-port-{name}')")["result"]
            record = inside.record(said["record"])
            assert record.clear["subject"].endswith(f"/agent/{name}/role/clerk")


def test_a_descendant_calls_over_tcp_where_the_tree_may_and_cannot_exist_where_it_may_not(inside: Stack) -> None:
    text = CALL + f"""
import subprocess, sys
try: print(subprocess.run([sys.executable, '-c', {CALL!r} + "print(json.dumps(call('child')))"], check=True,
                          capture_output=True).stdout.decode(), end='')
except PermissionError: print(json.dumps('none'))
"""
    assert inside.python("acme/tess", text).json["result"]["text"] == "child"
    assert inside.python("acme/ana", text).json == "none"


def test_an_agent_without_a_port_has_no_loopback(inside: Stack) -> None:
    text = f"""
import os, socket, json
try: socket.create_connection(('127.0.0.1', {PORT})); said = 'ok'
except OSError as e: said = e.strerror
print(json.dumps([said, 'RINGWALL_DOOR_URL' in os.environ]))
"""
    assert inside.python("acme/plain", text).json == ["Permission denied", False]


def test_the_escape_program_finds_no_way_out_over_the_loopback(inside: Stack) -> None:
    ran = inside.run("acme/tess", [sys.executable, "-m", "ringwall.redteam.escape"])
    assert b"0 got out" in ran.out, ran.out.decode()


def test_an_unconfined_agent_has_no_door_over_tcp(inside: Stack) -> None:
    text = "import os, json; print(json.dumps('RINGWALL_DOOR_URL' in os.environ))"
    ran = inside.python("acme/ana", text, options=["--unconfined"])
    assert ran.json is False, ran.err


def test_the_door_over_tcp_outlives_a_core_with_its_agent(inside: Stack) -> None:
    with inside.puppet("acme/ana") as agent:
        before = agent.do("python", text=CALL + "answer = call('before-restart')")["result"]
        assert before["result"]["text"] == "before-restart"
        ready = sum(line.startswith("ringwall: ready") for line in inside.log)
        kill(inside.pid("core"))
        inside.wait_ready(ready + 1)
        after = agent.do("python", text=CALL + "answer = call('after-restart')")["result"]
        assert after["result"]["text"] == "after-restart"
        assert [fact["attestation"] for fact in facts(inside, "after-restart")] == ["namespace"]
