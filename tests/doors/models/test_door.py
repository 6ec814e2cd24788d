"""The doors of model providers: what an SDK asks and gets, and what none of its headers can do."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doors.models.bench import (
    DONE,
    OPEN,
    ORIGIN,
    PATHS,
    RECORD,
    FakeOffers,
    FakeWall,
    Reply,
    ask,
    closed,
    request,
    stop,
    text,
    whole,
)
from tests.models import provider

from ringwall.call import Chunk, Last
from ringwall.doors.models.door import ModelDoor
from ringwall.doors.protocol import Presence
from ringwall.interface import HeldCall, Refusal


def told(reply: Reply) -> tuple[int, str, str]:
    """Status, whether to try again, and the record."""
    return reply.status, reply.headers["x-should-retry"], reply.headers["ringwall-record"]


STREAM = (Chunk(value=OPEN), text("hel"), text("lo"), closed(), DONE)


@pytest.mark.parametrize("api", provider.APIS)
def test_an_answer_comes_whole_in_the_providers_shape(api: str) -> None:
    wall = FakeWall(whole(api), DONE)
    reply = ask(wall, PATHS[api], request(api))
    assert reply.status == 200 and reply.json == wall.items[0].value  # type: ignore[union-attr]
    assert reply.headers["ringwall-record"] == RECORD
    assert reply.headers["content-length"] == str(len(reply.body))
    (admitted,) = wall.admitted
    assert admitted == {"api": api, "body": base64.b64encode(json.dumps(request(api)).encode()).decode()}


@pytest.mark.parametrize("api", provider.APIS)
def test_a_stream_goes_out_piece_by_piece_and_ends_once_the_call_is_settled(api: str) -> None:
    wall = FakeWall(*STREAM)
    reply = ask(wall, PATHS[api], request(api, stream=True))
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert reply.headers["ringwall-record"] == RECORD
    assert "hel" in reply.body.decode() and reply.ended
    assert wall.told[1] >= 2, "the head and the first event were out before the second piece was asked for"
    assert wall.told == sorted(wall.told) and wall.told[2] < wall.told[3]
    assert wall.settled < len(wall.sent), "the end follows the outcome"
    last = reply.events[-1]
    assert {"chat": last == "[DONE]", "responses": last != "[DONE]" and last.get("type") == "response.completed",
            "messages": last != "[DONE]" and last.get("type") == "message_stop"}[api]


@pytest.mark.parametrize("api", provider.APIS)
@pytest.mark.parametrize("end", [stop(), Last(end="failed", error={"code": "upstream_broken", "reason": "gone"})])
def test_a_stop_in_the_middle_is_the_providers_error_and_no_normal_end(api: str, end: Any) -> None:
    wall = FakeWall(*STREAM[:2], end)
    reply = ask(wall, PATHS[api], request(api, stream=True))
    assert reply.status == 200 and reply.ended
    code = "injection" if end is not None and not isinstance(end, Last) else "upstream_broken"
    assert code in reply.body.decode() and RECORD in reply.body.decode()
    for marker in (b"[DONE]", b"response.completed", b"message_stop"):
        assert marker not in reply.body


@pytest.mark.parametrize("api", provider.APIS)
def test_a_stop_before_anything_was_out_has_a_status(api: str) -> None:
    reply = ask(FakeWall(stop()), PATHS[api], request(api, stream=True))
    assert told(reply) == (403, "false", RECORD)
    assert "injection" in reply.body.decode()


@pytest.mark.parametrize(("code", "status"), [
    ("upstream_limited", 429), ("upstream_slow", 504), ("model_timeout", 504), ("sidecar_unavailable", 503),
    ("wrong_wire", 400), ("upstream_failed", 502), ("bad_answer", 502), ("model_not_granted", 403),
])
@pytest.mark.parametrize("api", provider.APIS)
def test_what_failed_has_a_status_and_is_not_repeated_by_the_sdk(api: str, code: str, status: int) -> None:
    wall = FakeWall(Last(end="failed", error={"code": code, "reason": "why"}))
    reply = ask(wall, PATHS[api], request(api))
    assert (reply.status, reply.headers["x-should-retry"]) == (status, "false")
    assert "why" in reply.body.decode() and "error" in reply.json


@pytest.mark.parametrize("items", [(DONE,), (whole("chat"), whole("chat"), DONE), ()])
def test_an_answer_that_is_none_is_said_to_be_none(items: Any) -> None:
    assert ask(FakeWall(*items), PATHS["chat"], request("chat")).status == 502


@pytest.mark.parametrize("api", provider.APIS)
def test_a_refusal_has_its_code_record_and_no_retry(api: str) -> None:
    wall = FakeWall()
    wall.admission = Refusal(code="not_granted", reason="not given", record=RECORD)
    reply = ask(wall, PATHS[api], request(api))
    assert told(reply) == (403, "false", RECORD)
    assert "not_granted" in reply.body.decode()
    wall = FakeWall()
    wall.passages = [Refusal(code="rate_limited", reason="too many", retry_after=1.5)]
    reply = ask(wall, PATHS[api], request(api))
    assert (reply.status, reply.headers["retry-after"]) == (429, "2")
    assert "x-should-retry" not in reply.headers


def test_a_thread_of_the_provider_is_refused_so_that_the_sdk_sends_everything_again() -> None:
    wall = FakeWall()
    wall.admission = Refusal(code="thread_unsupported_request", reason="send the whole history", record=RECORD)
    reply = ask(wall, PATHS["messages"], request("messages"))
    assert (reply.status, reply.json["error"]["details"]["error_code"]) == (400, "thread_unsupported_request")


@pytest.mark.parametrize("api", provider.APIS)
def test_a_held_call_is_answered_with_its_record_and_spent_with_a_header(api: str) -> None:
    held = HeldCall(record="acme/9", question="may it?")
    wall = FakeWall()
    wall.passages = [held]
    reply = ask(wall, PATHS[api], request(api))
    assert told(reply) == (409, "false", "acme/9")
    assert "acme/9" in reply.body.decode() and wall.waits == []
    wall = FakeWall(whole(api), DONE)
    assert ask(wall, PATHS[api], request(api), ringwall_approval="acme/9").status == 200
    assert wall.admitted[0]["approval"] == "acme/9"


@pytest.mark.parametrize("over", [True, False])
def test_one_may_wait_for_a_human(over: bool) -> None:
    wall = FakeWall(whole("chat"), DONE)
    wall.passages, wall.over = [HeldCall(record="acme/9", question="may it?")], over
    reply = ask(wall, PATHS["chat"], request("chat"), prefer="wait=99999")
    assert wall.waits == [("acme/9", 3600.0)]
    assert reply.status == (200 if over else 409)
    approvals = [call.approval.record if call.approval else None for call in wall.performed]
    assert approvals == ([None, "acme/9"] if over else [None])


def test_what_sdks_send_besides_is_tolerated_and_goes_nowhere() -> None:
    wall = FakeWall(whole("messages"), DONE)
    reply = ask(wall, PATHS["messages"], request("messages"), query=b"beta=true", authorization="Bearer sk-stolen",
                x_api_key="sk-stolen", anthropic_beta="x", anthropic_version="2026-10-21", openai_organization="o",
                traceparent="not one")
    assert reply.status == 200
    assert set(wall.admitted[0]) == {"api", "body"}
    assert "sk-stolen" not in str(wall.admitted) + str(wall.sent)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    wall = FakeWall(whole("chat"), DONE)
    ask(wall, PATHS["chat"], request("chat"), traceparent=trace)
    assert wall.admitted[0]["trace"] == trace


@pytest.mark.parametrize(("provider_", "names"), [("openai", ["main", "small"]), ("anthropic", ["claude"])])
def test_an_agent_is_listed_only_its_own_models_of_this_provider(provider_: str, names: list[str]) -> None:
    wall = FakeWall()
    reply = ask(wall, f"/{provider_}/v1/models", method="GET", query=b"limit=100")
    assert (reply.status, [one["id"] for one in reply.json["data"]]) == (200, names)
    assert wall.knocks == [b""] and wall.admitted == []
    assert ask(FakeWall(), f"/{provider_}/v1/models/{names[0]}", method="GET").json["id"] == names[0]
    missing = ask(FakeWall(), f"/{provider_}/v1/models/other", method="GET")
    assert (missing.status, missing.headers["x-should-retry"]) == (404, "false")


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", PATHS["chat"], 405), ("POST", "/openai/v1/models", 405), ("POST", "/openai/v1/files", 404),
    ("POST", "/anthropic/v1/complete", 404), ("GET", "/openai/v1/modelsx", 404), ("POST", "/openai/", 404),
    ("POST", "/openai/v1/chat/completions/", 404),
])
def test_everything_else_counts_as_an_attempt_and_is_refused(method: str, path: str, status: int) -> None:
    wall = FakeWall()
    reply = ask(wall, path, {}, method=method)
    assert (reply.status, reply.headers["x-should-retry"]) == (status, "false")
    assert len(wall.knocks) == 1 and wall.admitted == []
    assert wall.turned == [{404: "unknown_path", 405: "unknown_method"}[status]]
    wall = FakeWall()
    wall.knocked = Refusal(code="too_many_attempts", reason="too many", retry_after=1.0)
    assert ask(wall, path, {}, method=method).status == 429


def test_a_body_that_is_not_json_goes_no_further() -> None:
    wall = FakeWall()
    assert ask(wall, PATHS["chat"], b"x", content_type="text/plain").status == 415
    assert wall.admitted == []


def test_tokens_are_counted_by_length_and_nothing_else_is_counted() -> None:
    body = request("messages")
    del body["max_tokens"]
    short = ask(FakeWall(), PATHS["messages"] + "/count_tokens", body)
    assert short.status == 200 and short.json["input_tokens"] > 10
    body["messages"][0]["content"] = "word " * 1000
    long = ask(FakeWall(), PATHS["messages"] + "/count_tokens", body)
    assert 1200 < long.json["input_tokens"] - short.json["input_tokens"] < 1300
    for wrong in (b"{", b"[]", b'{"messages": []}', b'{"a": 1, "a": 2}'):
        reply = ask(FakeWall(), PATHS["messages"] + "/count_tokens", wrong)
        assert reply.status == 400 and reply.json["type"] == "error"


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_no_path_does_more_than_be_answered(path: str) -> None:
    for base in ("/openai/", "/anthropic/"):
        assert ask(FakeWall(), base + path, {}).status in {400, 404, 405}


def test_who_leaves_in_the_middle_ends_the_call() -> None:
    wall = FakeWall(*STREAM)
    presence = Presence()

    async def send(message: Any) -> None:
        wall.sent.append(message)
        if len(wall.sent) == 3:
            presence.leave()
            await asyncio.sleep(0)

    scope = {"method": "POST", "raw_path": PATHS["chat"].encode(), "query_string": b"",
             "headers": [(b"content-type", b"application/json")]}
    raw = json.dumps(request("chat", stream=True)).encode()

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            await ModelDoor(wall, wall, FakeOffers()).answer(scope, raw, presence, ORIGIN, send)

    asyncio.run(run())
    assert len(wall.sent) == wall.settled == 3
