"""Agents that attack the door and the core; the door goes on serving others meanwhile."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator

import pytest
from tests.stack import ROOT, Puppet, Stack, wait_for

pytestmark = pytest.mark.confined

HEAD = "POST /v1/tools/call HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GARBAGE = {
    "no http": "\x00\x01\x02garbage\r\n\r\n",
    "tls": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two lengths": HEAD + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}  ",
    "both framings": HEAD + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "huge header": HEAD + "X: " + "a" * (64 << 10) + "\r\n\r\n",
    "huge length": HEAD + f"Content-Length: {1 << 40}\r\n\r\n",
    "negative length": HEAD + "Content-Length: -1\r\n\r\n",
    "upgrade": "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
}


@pytest.fixture(scope="module")
def other(stack: Stack) -> Generator[Puppet]:
    with stack.puppet("acme/tess") as puppet:
        yield puppet


@pytest.fixture(scope="module")
def attacker(stack: Stack) -> Generator[Puppet]:
    with stack.puppet("acme/flo") as puppet:
        yield puppet


@pytest.fixture(autouse=True)
def others_are_served(stack: Stack, other: Puppet) -> Generator[None]:
    """After each attack another agent's call works, and nothing was restarted."""
    yield
    assert other.call("echo/echo", text="x")["result"] == {"text": "x"}
    found = stack.status()
    assert found["restarts"] == 0
    assert all(process["restarts"] == 0 for process in found["processes"]), found


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_answered_with_an_error_or_the_end(attacker: Puppet, data: str) -> None:
    answer = attacker.do("raw", data=data, expect="}}")
    assert answer["status"][:12] in {"HTTP/1.1 400", "HTTP/1.1 413", "HTTP/1.1 431", "HTTP/1.1 415"}, answer
    assert json.loads(answer["body"])["error"]["code"]


BODIES = {
    "not json": "{",
    "no object": "[]",
    "empty": "",
    "twice": '{"tool":"echo/echo","tool":"echo/echo","args":{"text":"x"}}',
    "nan": '{"tool":"echo/echo","args":{"text":NaN}}',
    "deep": '{"tool":"echo/echo","args":' + '{"a":' * 5000 + "1" + "}" * 5001,
    "surrogate": '{"tool":"echo/echo","args":{"text":"\\ud800"}}',
    "not utf-8": '{"tool":"echo/echo","args":{"text":"\xff"}}',
    "another key": '{"tool":"echo/echo","args":{"text":"x"},"tenant":"globex"}',
    "unknown tool": '{"tool":"echo/nothing","args":{}}',
    "another tenant's tool": '{"tool":"globex/x","args":{}}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused_on_the_record(stack: Stack, attacker: Puppet, name: str) -> None:
    body = BODIES[name]
    data = f"{HEAD}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    answer = attacker.do("raw", data=data)
    assert answer["status"].split()[1] in {"400", "403"}, answer
    error = json.loads(answer["body"])["error"]
    assert error["code"]
    assert stack.record(error["record"]).type in {"refused", "refused_before_call"}


def test_a_body_that_is_too_large_is_not_taken(stack: Stack) -> None:
    text = ("import socket, os; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['RINGWALL_DOOR']); "
            f"s.sendall({(HEAD + 'Transfer-Encoding: chunked').encode()!r} + b'\\r\\n\\r\\n')\n"
            "chunk = b'100000\\r\\n' + b'a' * (1 << 20) + b'\\r\\n'\n"
            "try:\n    for _ in range(64): s.sendall(chunk)\nexcept OSError: pass\n"
            "print(s.recv(65536).decode())")
    ran = stack.python("acme/flo", text)
    assert b"413" in ran.out, ran
    assert b"body_too_large" in ran.out


def test_a_flood_of_connections_is_turned_away_and_leaves_room_for_others(stack: Stack) -> None:
    text = ("import socket, os, json, ringwall\nkept = []\n"
            "for _ in range(300):\n"
            "    s = socket.socket(socket.AF_UNIX); s.connect(os.environ['RINGWALL_DOOR']); kept.append(s)\n"
            "kept[-1].settimeout(20); print(kept[-1].recv(65536).decode().replace(chr(13), ''))\n")
    ran = stack.python("acme/flo", text)
    assert b"429" in ran.out
    assert b"too_many_connections" in ran.out


def test_a_flood_of_attempts_becomes_counted_records(stack: Stack) -> None:
    text = ("import ringwall, collections\nseen = collections.Counter()\n"
            "while seen['too_many_attempts'] < 100 and seen.total() < 5000:\n"
            "    try: ringwall.call_tool('echo/nothing')\n"
            "    except ringwall.RingwallError as fault: seen[fault.code] += 1\n"
            "import json; print(json.dumps(seen))")
    ran = stack.python("acme/flo", text)
    limited = ran.json["too_many_attempts"]
    assert limited == 100, ran.json

    def counted() -> int:
        found = stack.records("acme", "refused_before_call")
        return sum(int(r.clear["count"]) for r in found if r.body["code"] == "too_many_attempts")

    wait_for("all of them to be counted", lambda: counted() == limited)
    assert len([r for r in stack.records("acme") if r.clear.get("count")]) < 30


def test_a_process_outside_the_agents_confinement_is_refused_at_its_door_and_recorded(stack: Stack) -> None:
    with stack.puppet("acme/ana") as agent:
        door = stack.state / "doors" / agent.run / "door.sock"
        body = b'{"tool":"echo/echo","args":{"text":"from outside"}}'
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(door))
            sock.settimeout(20)
            sock.sendall(HEAD.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        assert b" 403 " in answer.partition(b"\r\n")[0], answer
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert error["code"] in {"peer_foreign", "peer_unknown"}
        record = stack.record(error["record"])
        assert record.type == "refused"
        assert record.clear["verdicts"][0][:2] == ["identity", "denied"]
        assert agent.call("echo/echo", text="inside")["result"]


def test_a_connection_that_an_agent_hands_to_its_child_is_cut_off_and_that_is_recorded(stack: Stack) -> None:
    text = ("import json, os, socket, struct, ringwall\n"
            "mine = socket.socket(socket.AF_UNIX); mine.connect('/run/ringwall/door.sock')\n"
            "body = b'{\"tool\":\"echo/echo\",\"args\":{\"text\":\"borrowed\"}}'\n"
            f"raw = {HEAD.encode()!r} + b'Content-Length: %d\\r\\n\\r\\n' % len(body) + body\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    as_parent = struct.pack('3i', os.getppid(), os.getuid(), os.getgid())\n"
            "    try: mine.sendmsg([raw], [(socket.SOL_SOCKET, 2, as_parent)]); os._exit(1)\n"  # SCM_CREDENTIALS
            "    except PermissionError: mine.sendall(raw); os._exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "answer = b''\n"
            "while piece := mine.recv(65536): answer += piece\n"
            "error = json.loads(answer.partition(b'\\r\\n\\r\\n')[2])['error']\n"
            "print(json.dumps({'code': error['code'], 'own': ringwall.call_tool('echo/echo', text='own')}))")
    ran = stack.python("acme/ana", text)
    assert ran.json["code"] == "sender_foreign"
    assert ran.json["own"]

    def counted() -> list[tuple[str, object]]:
        return [(r.type, r.body["launch"]) for r in stack.records("acme", "refused_before_call")
                if r.body["code"] == "sender_foreign"]

    wait_for("it to be recorded", counted)


@pytest.mark.skipif(not ROOT, reason="only root can become an ordinary uid")
def test_another_user_reaches_neither_doors_nor_the_operator_socket(stack: Stack) -> None:
    text = ("import socket, sys\n"
            "for path in sys.argv[1:]:\n"
            "    try: socket.socket(socket.AF_UNIX).connect(path); print('in')\n"
            "    except OSError as fault: print(fault.errno)")
    with stack.puppet("acme/ana") as agent:
        paths = [str(stack.state / "doors" / agent.run / "door.sock"), str(stack.state / "operator.sock")]
        done = subprocess.run(["/usr/bin/python3", "-c", text, *paths], user=12345, group=12345, extra_groups=[],
                              capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == ["13", "13"]


@pytest.mark.parametrize("what", ["kill", "stop", "ptrace", "memory", "environment"])
def test_an_agent_can_neither_signal_nor_trace_nor_read_the_runtime(stack: Stack, what: str) -> None:
    pids = [stack.pid("core"), stack.pid("guard"), stack.pid("sidecar-acme"), stack.pid("acme/ledger"),
            stack.process.pid if stack.process else 0, os.getpid()]  # fmt: skip
    text = f"from attempts import attempt; print([attempt({what!r}, str(pid)) for pid in {pids}])"
    ran = stack.run("acme/flo", [sys.executable, "-c", text])
    results = json.loads(ran.out.decode().replace("'", '"'))
    assert len(results) == len(pids)
    assert all(result.startswith("E") for result in results), results
