"""A2A at an agent's own door: what a path means, and how each answer of the wall is worded."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doors.fakes import FakeWall, Served, post, read_all, served
from tests.impostor import code_of

from ringwall.call import Call, CallId, Chunk, Denied, Json, Kind, Last, SessionId, Target
from ringwall.doors.a2a import PREFIX, Place, named, place_of, rpc_id
from ringwall.interface import HeldCall, Origin, Refusal, Stopped

SEND = json.dumps({"jsonrpc": "2.0", "id": "q1", "method": "SendMessage", "params": {}}).encode()


class TalkingWall(FakeWall):
    """Takes everything for a message of this method."""

    def __init__(self, method: str = "SendMessage") -> None:
        super().__init__()
        self.method = method

    async def admit(self, origin: Origin, kind: Kind, raw: bytes) -> Call | Refusal:
        made = await super().admit(origin, kind, raw)
        if isinstance(made, Refusal):
            return made
        args: dict[str, Json] = {"method": self.method, "envelope": {"trace": "ab" * 16}}
        return Call.make(id=CallId("c"), kind=kind, subject=origin.subject, session=SessionId("s1"),
                         target=Target(name="sam/quote"), args=args)

    def asked(self) -> dict[str, Any]:
        """The newest request, as the resolver gets it."""
        found = json.loads(self.seen[-1][2])
        return {**found, "body": base64.b64decode(found["body"])}


@pytest.fixture
def door(tmp_path: Path) -> Generator[Served]:
    with served(tmp_path, wall=TalkingWall()) as found:
        yield found


def wall_of(door: Served) -> TalkingWall:
    assert isinstance(door.wall, TalkingWall)
    return door.wall


def asked(door: Served, path: str = "/a2a/sam", body: bytes = SEND, *, method: str = "POST",
          more: str = "") -> tuple[int, bytes]:
    """Status and body of an answer."""
    whole = post(path, body).replace(b"POST ", method.encode() + b" ", 1)
    data = door.exchange(whole.replace(b"Host: x\r\n", b"Host: x\r\n" + more.encode(), 1))
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), rest


@pytest.mark.parametrize(("path", "place"), [
    ("sam", Place(wire="rpc", peer="sam")), ("sam/", Place(wire="rpc", peer="sam")),
    ("acme/sam", Place(wire="rpc", peer="acme/sam")), ("acme/sam/", Place(wire="rpc", peer="acme/sam")),
    ("sam/.well-known/agent-card.json", Place(wire="card", peer="sam")),
    ("acme/sam/.well-known/agent-card.json", Place(wire="card", peer="acme/sam")),
    ("sam/rest/message:send", Place(wire="rest", peer="sam", rest="/message:send")),
    ("acme/sam/rest/tasks/a/b", Place(wire="rest", peer="acme/sam", rest="/tasks/a/b")),
    ("sam/rest//message:send", Place(wire="rest", peer="sam", rest="//message:send")),
    ("sam/rest/%2e%2e", Place(wire="rest", peer="sam", rest="/%2e%2e")),
    ("push/0a1b", Place(wire="push", rest="0a1b")),
    ("", None), ("/", None), ("//sam", None), (".", None), ("..", None), ("../sam", None), ("sam/..", None),
    ("s%61m", None), ("sam%2Frest", None), ("sam;a", None), ("sam?x", None), ("a/b/c", None), ("a/b/c/", None),
    ("sam\\x", None), ("sam/.well-known/x", None), ("push/a%20b", None), ("push/a/b", None),
])  # fmt: skip
def test_a_path_means_one_thing_or_nothing(path: str, place: Place | None) -> None:
    assert place_of(path) == place


@given(st.text(alphabet="ab./%:;\\ -_~rest", max_size=30))
@settings(max_examples=200, deadline=None)
def test_whatever_the_path_a_peer_in_it_has_a_plain_name(path: str) -> None:
    place = place_of(path)
    if place is not None:
        assert place.wire == "push" or named(place.peer)
        assert not {"%", "\\", ";", " "} & set(place.peer)
        assert ".." not in place.peer.split("/")


@given(st.binary(max_size=60) | st.sampled_from([
    b'{"id": 1}', b'{"id": true}', b'{"id": 1.5}', b'{"id": [1]}', b'{"id": "a", "id": "b"}', b"[1]", b"{"]))
@settings(max_examples=100, deadline=None)
def test_the_number_of_a_request_is_a_text_a_whole_number_or_unknown(raw: bytes) -> None:
    assert type(rpc_id(raw)) in {str, int, type(None)}


def test_the_wall_gets_the_bytes_as_they_came_and_the_name_from_the_path(door: Served) -> None:
    odd = b'{"b": 1,  "a": "\xc3\xbc"}'
    assert asked(door, "/a2a/acme/sam", odd)[0] == 200
    assert wall_of(door).asked() == {"wire": "rpc", "body": odd, "peer": "acme/sam"}
    asked(door, "/a2a/sam/rest/tasks/t?historyLength=1", b"", method="GET")
    http = {"method": "GET", "path": "/tasks/t", "query": "historyLength=1"}
    assert wall_of(door).asked() == {"wire": "rest", "body": b"", "peer": "sam", "http": http}
    asked(door, "/a2a/push/77", odd)
    assert wall_of(door).asked() == {"wire": "push", "body": odd, "peer": "", "push": "77"}
    asked(door, more="Ringwall-Approval: acme/3\r\n")
    assert wall_of(door).asked()["approval"] == "acme/3"
    assert {kind for _, kind, _ in wall_of(door).seen} == {"message"}


@pytest.mark.parametrize(("path", "method", "status"), [
    ("/a2a/", "POST", 404), ("/a2a/sam", "GET", 404), ("/a2a/push/7", "GET", 404), ("/a2a", "POST", 404),
    ("/a2a/../v1/tools/call", "POST", 404),
])
def test_where_there_is_nothing_the_wall_is_not_asked(door: Served, path: str, method: str, status: int) -> None:
    answer = asked(door, path, method=method)
    assert (answer[0], code_of(json.loads(answer[1]))) == (status, "unknown_path")
    assert not wall_of(door).seen


@pytest.mark.parametrize(("version", "spoken"), [
    ("1.0", True), ("1.0.1", True), ("", True), ("0.3", False), ("1.1", False), ("2.0", False), ("10", False),
    ("1.00", False), ("1.0\r\nA2A-Version: 1.0", False), ("1.0x", False), ("v1.0", False),
])
@pytest.mark.parametrize("path", ["/a2a/sam", "/a2a/sam/rest/message:send"])
def test_only_version_1_0_is_spoken(door: Served, version: str, spoken: bool, path: str) -> None:
    status, body = asked(door, path, more=f"A2A-Version: {version}\r\n")
    assert bool(wall_of(door).seen) == spoken
    if not spoken:
        error = json.loads(body)["error"]
        assert error["code"] == (-32009 if path == "/a2a/sam" else 400), error
        assert status == (200 if path == "/a2a/sam" else 400)


@pytest.mark.parametrize("path", ["/a2a/sam", "/a2a/sam/rest/message:send"])
@pytest.mark.parametrize("where", ["admission", "passage"])
def test_a_refusal_has_its_code_its_record_and_when_to_come_again(door: Served, path: str, where: str) -> None:
    refusal = Refusal(code="rate_limited", reason="too often", record="acme/7", retry_after=1.5)
    setattr(door.wall, where, refusal)
    status, body = asked(door, path)
    answer = json.loads(body)
    details = answer["error"].get("data") or answer["error"]["details"]
    assert status == (200 if path == "/a2a/sam" else 429)
    assert code_of(answer) == "rate_limited"
    assert [one["retryDelay"] for one in details if "retryDelay" in one] == ["1.500s"]
    assert details[0]["metadata"]["record"] == "acme/7"


def test_an_answer_keeps_the_number_of_its_request(door: Served) -> None:
    door.wall.items = [Chunk(value={"message": {"messageId": "m"}}), Last(end="done")]
    assert json.loads(asked(door)[1]) == {"jsonrpc": "2.0", "id": "q1", "result": {"message": {"messageId": "m"}}}
    assert json.loads(asked(door, "/a2a/sam/rest/message:send")[1]) == {"message": {"messageId": "m"}}


@pytest.mark.parametrize("item", [
    Last(end="unknown", error={"code": "peer_broken", "reason": "it broke"}),
    Last(end="failed", error={"code": "peer_unreachable", "reason": "nobody there"}),
    Last(end="unknown"), Last(end="done"),
    Stopped(Denied(code="secret_found", reason="no")),
])
def test_whatever_goes_wrong_is_an_error_with_a_code_and_no_result(door: Served, item: Last | Stopped) -> None:
    for path in ("/a2a/sam", "/a2a/sam/rest/message:send", "/a2a/sam/.well-known/agent-card.json"):
        door.wall.items = [item]
        answer = json.loads(asked(door, path)[1])
        assert code_of(answer), answer
        assert "result" not in answer


def test_a_held_message_says_with_what_to_ask_again_and_can_be_waited_for(door: Served) -> None:
    door.wall.passage = HeldCall(record="acme/9", question="may it?")
    answer = json.loads(asked(door)[1])
    assert code_of(answer) == "held"
    door.wall.over, door.wall.later = True, [None]
    done = json.loads(asked(door, more="Prefer: wait=5\r\n")[1])
    assert done["result"] == "fine"
    assert door.wall.waits == [("acme/9", 5.0)]
    assert door.wall.performed[-1].approval is not None


def test_events_go_out_one_by_one_and_an_end_that_is_wrong_is_the_last_event(door: Served) -> None:
    wall_of(door).method = "SendStreamingMessage"
    last = Last(end="unknown", error={"code": "peer_broken"})
    door.wall.items = [Chunk(value={"n": 1}), Chunk(value={"n": 2}), last]
    whole = asked(door)[1].decode()
    lines = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: ")]
    assert [one.get("result") for one in lines] == [{"n": 1}, {"n": 2}, None]
    assert code_of(lines[-1]) == "peer_broken"
    assert [one["id"] for one in lines] == ["q1"] * 3
    door.wall.items = [Stopped(Denied(code="secret_found", reason="no"))]
    assert code_of(json.loads(asked(door)[1])) == "secret_found"  # before the first event: an answer by itself


def test_who_leaves_while_the_peer_is_asked_ends_the_call(door: Served) -> None:
    for method in ("SendMessage", "SendStreamingMessage"):
        wall_of(door).method = method
        door.wall.settling.clear()
        door.wall.started.clear()
        door.on_loop(lambda: setattr(door.wall, "block", asyncio.Event()))
        with door.connect() as sock:
            sock.sendall(post("/a2a/sam", SEND))
            assert door.wall.started.wait(20)
            sock.shutdown(socket.SHUT_RDWR)
        assert door.wall.settling.wait(20)
        assert door.wall.settled[-1] == "cancelled"


def test_no_body_becomes_anything_but_what_the_wall_says_of_it(door: Served) -> None:
    for body in (b"", b"{", b"\xff", b"[" * 5000, b'{"id": "\\ud800"}', b'{"id": %s}' % (b"9" * 400)):
        door.wall.admission = Refusal(code="bad_json", reason="it is none", record="acme/1")
        answer = json.loads(asked(door, body=body)[1])
        assert (code_of(answer), answer["id"]) == ("bad_json", None), body


def test_the_prefix_is_that_of_no_other_door(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(post(f"{PREFIX}sam", SEND))
        assert read_all(sock).startswith(b"HTTP/1.1 200 OK")
