"""Programs that leave, do not read or send nonsense: refused with a code, or an outcome on the record."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from tests.faults.gatehouse import PATHS, House, ask, completion, good, mcp, post, status
from tests.models import provider
from tests.stack import Puppet, wait_for

pytestmark = pytest.mark.confined

# A connection that stays open between two orders.
SEND = """
import os, socket, sys
sys.kept = socket.socket(socket.AF_UNIX)
sys.kept.connect(os.environ['RINGWALL_DOOR'])
sys.kept.sendall({data!r}.encode('latin-1'))
answer = True
"""
LEAVE = "import sys; sys.kept.close(); answer = True"
READ = """
import sys
said = b''
while piece := sys.kept.recv(65536):
    said += piece
answer = said.decode('latin-1')
"""
CALL = {"name": "gate", "arguments": {}}


@pytest.fixture(autouse=True)
def afresh(house: House) -> Generator[None]:
    house.reset()
    yield
    house.world.go.set()
    house.model.go.set()


@pytest.fixture(scope="module", autouse=True)
def all_is_well_in_the_end(house: House, ana: Puppet) -> Generator[None]:
    """The same processes as at the start go on working."""
    before = [house.stack.pid(name) for name in ("core", "guard", "sidecar-acme")]
    yield
    house.works(ana)
    assert [house.stack.pid(name) for name in ("core", "guard", "sidecar-acme")] == before


def python(agent: Puppet, text: str, **more: Any) -> Any:
    answer = agent.do("python", text=text.format(**more) if more else text)
    assert "result" in answer, answer
    return answer["result"]


def nothing_ran(house: House, before: int) -> None:
    assert house.ends(before) == []
    assert house.world.asked == house.model.seen == []


# --- leaving


@pytest.mark.parametrize("server", ["new", "old", "web"])
def test_a_client_that_leaves_in_the_middle_of_a_call_leaves_an_outcome(
    house: House, ana: Puppet, server: str
) -> None:
    before = house.newest()
    python(ana, SEND, data=mcp("tools/call", CALL, at=f"/mcp/{server}"))
    wait_for("the server to be asked", lambda: house.world.count(server, "gate"))
    python(ana, LEAVE)
    [(target, end, _)] = house.ends(before)
    assert (target, end) in {(f"{server}/gate", "unknown"), (f"{server}/gate", "cancelled")}
    assert house.world.asked == [(server, "gate")]


def test_a_client_that_leaves_before_the_first_word_of_a_stream_leaves_an_outcome(
    house: House, ana: Puppet
) -> None:
    before = house.newest()
    python(ana, SEND, data=completion("s_gate"))
    wait_for("the upstream to be asked", house.model.begun.is_set)
    python(ana, LEAVE)
    assert house.ends(before) == [("openai-s_gate", "unknown", "caller_left")]
    house.model.go.set()
    assert len(house.model.seen) == 1


def test_a_client_that_does_not_read_holds_up_nobody_and_is_ended_when_it_leaves(
    house: House, ana: Puppet, ben: Puppet
) -> None:
    before = house.newest()
    python(ana, SEND, data=completion("s_flood"))
    wait_for("the upstream to be left", house.model.left.is_set)  # what one answer may have is bounded
    assert good(ask(ben, "s_normal")[1]) and ben.call("new/fine") == {"result": "fine"}
    assert good(ask(ana, "s_normal")[1])
    python(ana, LEAVE)
    ends = dict(one[:2] for one in house.ends(before))
    assert ends["openai-s_flood"] in {"unknown", "failed", "cancelled"}
    assert len([path for path, _, _ in house.model.seen if "flood" in path]) == 1


# --- nonsense


def asked(api: str = "chat", **more: Any) -> bytes:
    return json.dumps({**provider.request(api), "model": "openai-normal", **more}).encode()


DEEP = b"[" * 5000 + b"]" * 5000
BODIES = {
    "cut off": asked()[:-9],
    "twice the same name": asked().replace(b'"model"', b'"model": "openai-s_normal", "model"', 1),
    "deep": asked().replace(b'"hi"', DEEP),
    "no utf-8": asked().replace(b'"hi"', b'"\xff"'),
    "half a surrogate": asked().replace(b'"hi"', b'"\\ud800"'),
    "an infinite number": asked(temperature=0).replace(b"0}", b"1e999}"),
    "something behind it": asked() + b"{}",
    "a batch": b"[" + asked() + b"]",
    "nothing": b"",
}


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("api", PATHS)
def test_a_body_that_is_no_request_is_refused_on_the_record(house: House, ana: Puppet, api: str, what: str) -> None:
    before = house.newest()
    code, body = status(ana.do("raw", data=post(PATHS[api], BODIES[what])))
    assert code == 400, body
    error = json.loads(body)["error"]
    assert error.get("code") or error["type"]
    [record] = house.since(before, "refused_before_call")
    assert record.clear["event"]["code"] in body
    nothing_ran(house, before)


RPC = mcp("tools/call", {"name": "fine", "arguments": {}}, at="/mcp/new").partition("\r\n\r\n")[2].encode()
MESSAGES = {
    "cut off": RPC[:-9],
    "twice the same name": RPC.replace(b'"arguments"', b'"name": "gate", "arguments"', 1),
    "deep": RPC.replace(b'"arguments": {}', b'"arguments": ' + DEEP),
    "no utf-8": RPC.replace(b'"arguments": {}', b'"arguments": {"a": "\xff"}'),
    "something behind it": RPC + b"{}",
    "a batch": b"[" + RPC + b"]",
    "nothing": b"",
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_message_that_is_none_is_refused(house: House, ana: Puppet, what: str) -> None:
    before = house.newest()
    lines = ("Accept: application/json, text/event-stream", "Mcp-Protocol-Version: 2026-07-28",
             "Mcp-Method: tools/call", "Mcp-Name: fine")
    code, body = status(ana.do("raw", data=post("/mcp/new", MESSAGES[what], *lines)))
    assert code == 400, body
    assert json.loads(body)["error"]["code"] < 0
    nothing_ran(house, before)


@pytest.mark.parametrize("line", [
    "Mcp-Name: gate", "Mcp-Method: tools/list", "Mcp-Protocol-Version: 2025-11-25", "Mcp-Session-Id: s1",
    "Content-Type: text/plain", "Content-Encoding: gzip", "Origin: https://evil.example",
])
def test_headers_that_say_something_else_than_the_body_are_refused(house: House, ana: Puppet, line: str) -> None:
    before = house.newest()
    sent = mcp("tools/call", {"name": "fine", "arguments": {}}, line, at="/mcp/new")
    name = line.partition(":")[0]
    head, _, body = sent.partition("\r\n\r\n")
    kept = [one for one in head.split("\r\n") if not one.startswith(f"{name}:") or one == line]
    code, said = status(ana.do("raw", data="\r\n".join([*kept, "", body])))
    assert 400 <= code < 500, (code, said)
    nothing_ran(house, before)


FINE = mcp("tools/call", {"name": "fine", "arguments": {}}, at="/mcp/new")
GATE = mcp("tools/call", CALL, at="/mcp/new")


@pytest.mark.parametrize(("old", "new"), [
    ("Content-Length: ", "Content-Length: 0\r\nContent-Length: "),  # two lengths
    ("Content-Length: ", "Transfer-Encoding: chunked\r\nContent-Length: "),  # two framings
    ("Content-Length: ", "Transfer-Encoding: identity\r\nContent-Length: "),
    ("Content-Length: ", "Content-Length: +"), ("Content-Length: ", "Content-Length: 0x"),
    ("Content-Length: ", "Content-Length : "), ("Content-Length: ", " Content-Length: "),
])
def test_a_request_that_can_be_read_in_two_ways_is_not_read(house: House, ana: Puppet, old: str, new: str) -> None:
    before = house.newest()
    code, said = status(ana.do("raw", data=FINE.replace(old, new, 1) + GATE))
    assert code == 0 or 400 <= code < 500, (code, said)
    nothing_ran(house, before)


def test_a_second_request_behind_the_first_is_answered_after_it_or_not_at_all(house: House, ana: Puppet) -> None:
    """Pipelined: each is judged by itself, in order, and none twice."""
    before = house.newest()
    stay = FINE.replace("Connection: close", "Connection: keep-alive")
    answer = ana.do("raw", data=stay + stay + FINE)
    ends = house.ends(before)
    assert 1 <= len(ends) <= 3
    assert set(ends) == {("new/fine", "done", "")}
    assert house.world.asked == [("new", "fine")] * len(ends)
    assert answer["body"].count('"fine"') == len(ends)


def test_what_follows_a_request_that_closes_is_not_looked_at(house: House, ana: Puppet) -> None:
    before = house.newest()
    ana.do("raw", data=FINE + GATE)
    assert house.ends(before) == [("new/fine", "done", "")]
    assert house.world.asked == [("new", "fine")]


def test_a_body_that_stops_short_is_no_request(house: House, ana: Puppet) -> None:
    before = house.newest()
    for data in (FINE[:-5], completion("normal")[:-5]):
        python(ana, SEND, data=data)
        python(ana, LEAVE)
    assert ana.call("new/fine") == {"result": "fine"}
    assert house.ends(before) == [("new/fine", "done", "")]
    assert house.model.seen == []


def test_a_client_that_reads_late_gets_the_same_as_one_that_reads_at_once(house: House, ana: Puppet) -> None:
    before = house.newest()
    python(ana, SEND, data=completion("s_normal"))
    assert wait_for("the outcome", lambda: house.ends(before)) == [("openai-s_normal", "done", "")]
    assert good(python(ana, READ))
