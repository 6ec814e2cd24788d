"""Answers that come event by event through two walls: in order, or ended, and never more than was judged."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from tests.impostor import SKILL, code_of
from tests.stack import Puppet, Stack, wait_for
from tests.talking import Server, body, messages, serving

pytestmark = pytest.mark.confined


@pytest.fixture(scope="module")
def sam(stack: Stack) -> Generator[Server]:
    with serving(stack, program="stream_agent.py") as server:
        yield server


def task(name: str, state: str = "TASK_STATE_WORKING") -> dict[str, Any]:
    return {"task": {"id": name, "contextId": "c", "status": {"state": state}}}


def status(name: str, state: str) -> dict[str, Any]:
    return {"statusUpdate": {"taskId": name, "contextId": "c", "status": {"state": state}}}


def artifact(name: str, text: str) -> dict[str, Any]:
    return {"artifactUpdate": {"taskId": name, "contextId": "c",
                               "artifact": {"artifactId": "a", "parts": [{"text": text}]}}}


def asked(message: str, say: list[Any], **order: Any) -> str:
    one = {"messageId": message, "role": "ROLE_USER", "parts": [{"data": {"say": say, **order}}],
           "metadata": {SKILL: "quote"}}
    return json.dumps({"jsonrpc": "2.0", "id": "q", "method": "SendStreamingMessage", "params": {"message": one}})


def request(message: str, say: list[Any], **order: Any) -> str:
    return f"POST /a2a/sam HTTP/1.1\r\n{body(asked(message, say, **order))}"


def events(answer: str) -> list[Any]:
    """Of a streamed answer as the door gives it, chunked; or the one answer there was."""
    if not answer.startswith("{"):
        pieces, rest = [], answer
        while rest:
            size, _, rest = rest.partition("\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2:]
        answer = "".join(pieces)
        lines = [line[6:] for line in answer.replace("\r\n", "\n").split("\n") if line.startswith("data: ")]
        return [json.loads(line) for line in lines]
    return [json.loads(answer)]


def streamed(sender: Puppet, message: str, say: list[Any], **order: Any) -> tuple[list[Any], str]:
    """What was shown, and the code at the end, if there was one."""
    answer = sender.do("raw", data=request(message, say, **order))
    assert answer["status"] == "HTTP/1.1 200 OK", answer
    found = events(answer["body"])
    shown = [one["result"] for one in found if "result" in one]
    codes = [code_of(one) for one in found if "error" in one]
    assert len(codes) <= 1, found
    assert not codes or "error" in found[-1]
    return shown, codes[0] if codes else ""


def ends(stack: Stack, direction: str) -> tuple[str, str]:
    """How the newest message that way ended."""
    that_way = [one for one in messages(stack, "acme", "intent") if one.clear["message"]["direction"] == direction]
    outcome = wait_for("its outcome", lambda: stack.outcome(f"acme/{that_way[-1].number}"))
    return outcome.clear["end"], outcome.clear["code"]


def test_events_arrive_in_order_and_both_logs_know_the_end(stack: Stack, ana: Puppet, sam: Server) -> None:
    words = [artifact("t1", f"word {n}") for n in range(50)]
    say = [task("t1"), *words, status("t1", "TASK_STATE_COMPLETED")]
    shown, code = streamed(ana, "s1", say)
    assert (shown, code) == (say, "")
    assert ends(stack, "out")[0] == ends(stack, "in")[0] == "done"


@pytest.mark.parametrize(("name", "late"), [
    ("artifact", artifact("t2", "late")), ("status", status("t2", "TASK_STATE_WORKING")),
    ("another end", status("t2", "TASK_STATE_FAILED")), ("another task", artifact("t9", "stray")),
    ("another context", {"artifactUpdate": {**artifact("t2", "x")["artifactUpdate"], "contextId": "d"}}),
])
def test_nothing_is_shown_that_does_not_belong_to_a_task_that_is_over(
    stack: Stack, ana: Puppet, sam: Server, name: str, late: dict[str, Any]
) -> None:
    own = name.replace(" ", "-")
    said = json.loads(json.dumps([task("t2"), status("t2", "TASK_STATE_COMPLETED"), late]).replace("t2", own))
    shown, code = streamed(ana, f"late-{own}", said)
    assert shown == said[:2]
    assert code, "the end of the stream says that something was wrong"
    assert ends(stack, "in")[0] != "done"


@pytest.mark.parametrize(("name", "piece"), [
    ("a wrong number", 'data: {"jsonrpc": "2.0", "id": 7, "result": %s}\n\n'),
    ("no version", 'data: {"id": {ID}, "result": %s}\n\n'),
    ("an unknown field", 'data: {"jsonrpc": "2.0", "id": {ID}, "result": {"statusUpdate": {"x": 1}}}\n\n'),
    ("two fields of one name", 'data: {"jsonrpc": "2.0", "id": {ID}, "id": {ID}, "result": %s}\n\n'),
    ("no JSON", "data: hello\n\n"),
    ("two events in one", 'data: {"jsonrpc": "2.0", "id": {ID}, "result": %s}\ndata: {}\n\n'),
    ("half an event", 'data: {"jsonrpc": "2.0", "id": {ID}, "res'),
    ("a zero byte", "data: \0\n\n"),
])
def test_a_stream_with_a_bad_event_ends_there(
    stack: Stack, ana: Puppet, sam: Server, name: str, piece: str
) -> None:
    own = name.replace(" ", "-")
    bad = piece.replace("%s", json.dumps(artifact(own, "bad")))
    shown, code = streamed(ana, f"bad-{own}", [task(own), bad, artifact(own, "behind")])
    assert shown in ([task(own)], [])  # none: it was read together with what was wrong
    assert code
    assert ends(stack, "in")[0] != "done"


def test_a_server_that_breaks_off_leaves_an_unknown_end(stack: Stack, ana: Puppet, sam: Server) -> None:
    shown, code = streamed(ana, "cut", [task("cut"), 'data: {"jsonrpc"'], then="cut")
    assert shown == [task("cut")]
    assert code == "agent_broken"
    assert ends(stack, "in") == ("unknown", "agent_broken")
    assert ends(stack, "out")[0] == "unknown" or ends(stack, "out")[1] == "peer_error"


def test_an_endless_stream_ends_by_its_limit(stack: Stack, ana: Puppet, sam: Server) -> None:
    shown, code = streamed(ana, "endless", [artifact("endless", "x" * 60_000)], times=200)
    assert (code, 0 < len(shown) < 200) == ("result_too_large", True), len(shown)
    assert ends(stack, "in") == ("unknown", "result_too_large")


def test_who_leaves_a_stream_ends_it_everywhere(stack: Stack, ana: Puppet, sam: Server) -> None:
    data = request("left", [task("left")], then="hang")
    answer = ana.do("raw", data=data, expect="TASK_STATE_WORKING")
    assert "TASK_STATE_WORKING" in answer["body"]
    wait_for("the server to see it", lambda: json.loads(sam.process.stdout.readline()) == {"closed": "left"})
    assert ends(stack, "out")[0] in {"stopped", "unknown", "cancelled"}
    assert ends(stack, "in")[0] in {"stopped", "unknown", "cancelled"}


def test_a_stream_that_is_no_stream_is_one_answer(stack: Stack, ana: Puppet, sam: Server) -> None:
    one = '{"jsonrpc": "2.0", "id": {ID}, "error": {"code": -32004, "message": "not streamed here"}}'
    answer = ana.do("raw", data=request("whole", [one], type="application/json"))
    [found] = events(answer["body"])
    assert found["error"]["code"] == -32004
    for kind in ("text/html", "application/octet-stream", "multipart/mixed"):
        shown, code = streamed(ana, f"as-{kind}".replace("/", "-"), [one], type=kind)
        assert (shown, code) == ([], "agent_bad_answer")
