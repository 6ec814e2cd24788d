"""The agent's door passes bytes to the wall untouched and answers with a status that fits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.doors.fakes import ALICE, LAUNCH, Served, post, served

from ringwall.call import Approval, Chunk, Denied, Last, Process
from ringwall.doors.agent import MAX_WAIT_S, ROUTES
from ringwall.errors import Unavailable
from ringwall.interface import HeldCall, Refusal, Stopped


def ask(door: Served, data: bytes) -> tuple[int, dict[str, Any], bytes]:
    head, _, body = door.exchange(data).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body), head.lower()


def test_a_result_comes_with_its_record(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        status, body, head = ask(door, post())
        assert (status, body) == (200, {"result": "fine", "record": "acme/57"})
        assert b"content-type: application/json" in head
        assert b"server:" not in head
        assert b"date:" not in head
        assert door.wall.settled == ["finished"]


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'{"a":1,"a":2}', b"[" * 100_000, b"NaN", b"\x00" * 10])
def test_bad_json_reaches_the_wall_byte_for_byte_because_only_the_wall_parses(tmp_path: Path, raw: bytes) -> None:
    with served(tmp_path) as door:
        door.wall.admission = Refusal(code="bad_json", reason="the body is not JSON", record="acme/3")
        status, body, _ = ask(door, post(body=raw))
        assert (status, body["error"]["record"]) == (400, "acme/3")
        assert door.wall.seen[0][2] == raw


def test_the_subject_is_the_attested_process_and_never_what_the_request_names(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        ask(door, post(body=b'{"subject":"spiffe://evil/"}', more=b"X-Subject: bob\r\n"))
        origin, kind, _ = door.wall.seen[0]
        assert isinstance(origin.subject, Process)
        assert (origin.subject.spiffe_id, origin.subject.launch, origin.subject.number) == (ALICE, LAUNCH, 0)
        assert (origin.session, origin.key, kind) == ("s1", str(ALICE), "tool")


def test_listing_is_the_walls_own_tool_and_takes_no_arguments(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        for raw in (b"", b"{}"):
            assert ask(door, post("/v1/tools/list", raw))[0] == 200
        assert {raw for _, _, raw in door.wall.seen} == {b'{"tool":"ringwall/list","args":{}}'}
        status, body, _ = ask(door, post("/v1/tools/list", b'{"tool":"docs/read"}'))
        assert (status, body["error"]["code"]) == (400, "bad_body")


def test_a_completion_may_come_in_pieces(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.items = [Chunk(value="o", whole=False), Chunk(value="k", whole=False), Last(end="done")]
        assert ask(door, post("/v1/models/complete"))[1]["result"] == "ok"
        assert door.wall.seen[0][1] == "model"


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (Refusal(code="not_granted", reason="no"), 403),
        (Refusal(code="approval_unavailable", reason="no"), 403),
        (Refusal(code="rate_exceeded", reason="no", retry_after=1.2), 429),
        (Refusal(code="bad_argument", reason="no"), 400),
        (Refusal(code="invalid_arguments", reason="no", errors=("a", "b")), 400),
        (Refusal(code="guard_unavailable", reason="no"), 503),
        (Refusal(code="ring_failed", reason="no"), 503),
    ],
)
def test_each_refusal_has_a_status_and_is_told_in_full(tmp_path: Path, refusal: Refusal, status: int) -> None:
    with served(tmp_path) as door:
        door.wall.passage = refusal
        found, body, head = ask(door, post())
        assert found == status
        assert body["error"]["code"] == refusal.code
        assert tuple(body["error"].get("errors", ())) == refusal.errors
        assert (b"retry-after: 2" in head) == (status == 429)
        door.wall.admission = refusal
        assert ask(door, post())[0] == status


def test_held_stopped_failed_and_unknown_are_told_apart(tmp_path: Path) -> None:
    stop = Stopped(Denied(code="secret", reason="withheld", detail={"rule": "aws"}))
    with served(tmp_path) as door:
        door.wall.passage = HeldCall(record="acme/9", question="pay?")
        assert ask(door, post())[:2] == (
            409,
            {"error": {"code": "held", "reason": "a human must approve this call first",
                       "remedy": "repeat it with the approval acme/9", "record": "acme/9"}},
        )
        door.wall.passage = None
        door.wall.items = [Chunk(value="half", whole=False), stop]
        status, body, _ = ask(door, post())
        assert (status, body["error"]) == (403, {"code": "secret", "reason": "withheld", "record": "acme/57"})
        door.wall.items = [Last(end="failed", error={"code": "tool_error", "reason": "boom"})]
        status, body, _ = ask(door, post())
        assert (status, body["error"]["code"], body["error"]["reason"]) == (502, "tool_error", "boom")
        door.wall.items = [Last(end="unknown")]
        assert ask(door, post())[1]["error"]["code"] == "effect_unknown"
        door.wall.items = []
        assert ask(door, post())[0] == 502


def waiting(seconds: bytes) -> bytes:
    return post(more=b"Prefer: respond-async, wait=%s\r\n" % seconds)


def test_who_does_not_want_to_wait_gets_the_held_call_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.passage = HeldCall(record="acme/9", question="pay?")
        for data in (post(), waiting(b"0"), waiting(b"-1"), waiting(b"soon"), waiting(b"9999999")):
            assert ask(door, data)[0] == 409
        assert door.wall.waits == []


def test_who_waits_has_the_same_call_cross_the_wall_again_with_the_approval(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.passage = HeldCall(record="acme/9", question="pay?")
        door.wall.later, door.wall.over = [None], True
        assert ask(door, waiting(b"30"))[:2] == (200, {"result": "fine", "record": "acme/57"})
        assert door.wall.waits == [("acme/9", 30.0)]
        first, second = door.wall.performed
        assert (first.approval, first.digest) == (None, second.digest)
        assert second.approval == Approval(record="acme/9")
        assert len(door.wall.seen) == 1  # parsed once: what was held is what runs
        assert door.wall.settled == ["finished", "finished"]


def test_the_first_passage_is_over_before_anybody_waits(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.passage, door.wall.block = HeldCall(record="acme/9", question="pay?"), asyncio.Event()
        with door.connect() as sock:
            sock.sendall(waiting(b"30"))
            assert door.wall.started.wait(30)
            assert door.wall.settled == ["finished"]
            door.wall.settling.clear()
        assert door.wall.settling.wait(30)
        assert door.wall.settled == ["finished", "stopped waiting"]
        assert len(door.wall.performed) == 1  # nobody was left to answer, so nothing ran


def test_a_wait_that_nobody_ends_is_answered_as_held_and_one_that_was_denied_as_refused(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.passage = HeldCall(record="acme/9", question="pay?")
        assert ask(door, waiting(b"99999"))[0] == 409
        assert door.wall.waits == [("acme/9", MAX_WAIT_S)]
        door.wall.over = True
        door.wall.later = [Refusal(code="approval_denied", reason="no", record="acme/10")]
        status, body, _ = ask(door, waiting(b"1"))
        assert (status, body["error"]["code"]) == (403, "approval_denied")
        door.wall.passage = HeldCall(record="a/1", question="?")
        door.wall.later = [HeldCall(record="a/2", question="?")]
        status, body, _ = ask(door, waiting(b"1"))
        assert (status, body["error"]["record"]) == (409, "a/2")


UNFIT = [[Chunk(value=1), Chunk(value=2)], [Chunk(value="\ud800")], [Chunk(value=object())]]


@pytest.mark.parametrize("items", UNFIT)
def test_a_result_that_cannot_be_sent_is_a_failure_with_its_record(tmp_path: Path, items: list[Chunk]) -> None:
    with served(tmp_path) as door:
        door.wall.items = [*items, Last(end="done")]
        status, body, _ = ask(door, post())
        assert (status, body["error"]["code"], body["error"]["record"]) == (502, "bad_result", "acme/57")


def test_a_reason_that_json_cannot_carry_is_still_told(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.admission = Refusal(code="bad_name", reason="\ud800 is no name", record="acme/1")
        status, body, _ = ask(door, post())
        assert (status, body["error"]["reason"]) == (400, "? is no name")


def test_faults_of_the_wall_are_refusals_and_not_results(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.wall.admission = Unavailable("the core is stopping", code="stopping")
        assert ask(door, post())[0] == 503
        door.wall.admission = KeyError("bug: details that an agent must not see")
        status, body, _ = ask(door, post())
        assert status == 500
        assert "details" not in json.dumps(body)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (post("/v1/nothing"), 404, "unknown_path"),
        (post("/v1/tools/%63all"), 404, "unknown_path"),
        (post("/v1/tools/call/"), 404, "unknown_path"),
        (post("//v1/tools/call"), 404, "unknown_path"),
        (post("/v1/tools/call?x=1"), 400, "bad_query"),
        (b"GET /v1/tools/call HTTP/1.1\r\nConnection: close\r\n\r\n", 405, "unknown_method"),
        (post().replace(b"application/json", b"text/plain"), 415, "unknown_type"),
        (post().replace(b"application/json", b"application/json; charset=latin-1"), 415, "unknown_type"),
        (post(more=b"Content-Type: text/html\r\n"), 415, "unknown_type"),
        (post(more=b"Content-Encoding: gzip\r\n"), 415, "unknown_type"),
        (post().replace(b"Content-Type", b"X-Type"), 415, "unknown_type"),
    ],
)
def test_what_is_no_request_of_this_door_is_told_precisely(
    tmp_path: Path, data: bytes, status: int, code: str
) -> None:
    with served(tmp_path) as door:
        found, body, _ = ask(door, data)
        assert (found, body["error"]["code"]) == (status, code)
        assert (door.wall.seen, door.wall.turned) == ([], [code])  # no call, and on the record all the same


def test_every_route_is_reachable(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        bodies = {path: b'{"read":"key"}' if route.shape else b"{}" for path, route in ROUTES.items()}
        assert [ask(door, post(path, body))[0] for path, body in bodies.items()] == [200] * len(ROUTES)


def test_reading_a_secret_is_a_call_of_its_own_kind_with_the_body_as_it_came(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        assert ask(door, post("/v1/secrets/read", b' {"read": "key"}'))[0] == 200
        assert [(kind, raw) for _, kind, raw in door.wall.seen] == [("secret", b' {"read": "key"}')]


@pytest.mark.parametrize("raw", [
    b"", b"{}", b"[]", b'{"read":1}', b'{"read":"key","svid":"x509"}', b'{"svid":"x509"}', b'{"read":"\xff"}',
    b'{"svid":"jwt","audience":["x"]}', b"[" * 100_000, b'{"read":"key"',
])
def test_nothing_else_of_that_kind_can_be_asked_for_there(tmp_path: Path, raw: bytes) -> None:
    with served(tmp_path) as door:
        status, body, _ = ask(door, post("/v1/secrets/read", raw))
        assert (status, body["error"]["code"]) == (400, "bad_body")
        assert (door.wall.seen, door.wall.turned) == ([], ["bad_body"])


def test_an_unattested_process_asks_too_so_that_its_refusal_is_recorded(tmp_path: Path) -> None:
    frozen: set[str] = set()
    with served(tmp_path, frozen=lambda _: "".join(frozen)) as door:
        with door.connect() as sock:
            frozen.add("a test")
            sock.sendall(post())
            sock.recv(10)
        assert isinstance(door.wall.seen[0][0].subject, Process)


def test_a_tools_own_words_reach_the_agent_only_when_the_end_is_known(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        for end, said in (("failed", "no such invoice"), ("unknown", "not known")):
            door.wall.items = [Chunk(value={"error": "no such invoice"}),
                               Last(end=end, error={"code": "tool_error", "reason": "not known"})]
            status, body, _ = ask(door, post())
            assert (status, body["error"]["reason"]) == (502, said)
