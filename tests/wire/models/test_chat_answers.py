"""The chat completions wire: what is believed of an answer."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.models.chats import CALL, CHAT, FUNCTION, answer, parse_chat_response, raw, request

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire.models.chat import parse_chat_request
from ringwall.wire.models.interface import MAX_RESPONSE, estimate


def test_an_answer_is_written_anew_without_what_is_unknown() -> None:
    sent = answer(
        usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "details": {"x": 1}}, service_tier="x"
    )
    sent["choices"][0]["message"] |= {
        "annotations": [{"url": "https://x"}],
        "audio": {},
        "tool_calls": [{**CALL, "index": 0}],
    }
    sent["choices"][0]["logprobs"] = {"content": []}
    value, usage = parse_chat_response(raw(sent))
    assert usage == Usage(tokens_in=3, tokens_out=4)
    assert value["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hello", "refusal": None, "tool_calls": [CALL]},
        }
    ]
    assert set(value) == {"id", "object", "created", "model", "choices", "usage"}
    assert value["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert parse_chat_response(msgspec.json.encode(value)) == (value, usage)


def test_an_upstream_that_does_not_count_is_said_not_to_and_estimated() -> None:
    assert parse_chat_response(raw(answer()))[1] is None
    assert estimate(b"x" * 9, b"") == Usage(tokens_in=3, tokens_out=0)


def broken() -> list[bytes]:
    message = {"role": "assistant", "content": "x"}
    choices: list[Json] = [
        [],
        [{}],
        [{"index": 0, "message": message}] * 2,
        [{"index": 1, "message": message}],
        [{"index": 0, "message": {"role": "user", "content": "x"}}],
        [{"index": 0, "message": {**message, "content": 1}}],
        [{"index": 0, "message": message, "finish_reason": "tired"}],
        [
            {
                "index": 0,
                "message": {
                    **message,
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
                    ],
                },
            }
        ],
        [{"index": 0, "message": {**message, "tool_calls": [{**CALL, "type": "web_search"}]}}],
    ]
    usages: list[Json] = [
        {},
        {"prompt_tokens": -1, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": "1", "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 1.5, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 1 << 50, "completion_tokens": 0, "total_tokens": 0},
        5,
    ]
    return [
        b"",
        b"{",
        b"[]",
        b"null",
        b"<html>",
        b"\xff",
        b'{"a":' * 5000,
        raw(answer())[:-1],
        raw(answer(object="error")),
        raw(answer(id=1)),
        raw(answer(created="now")),
        raw(answer())[:-1] + b',"zz":"\\ud800"}',
        raw(answer(model="\ud800")),
        *(raw(answer(choices=item)) for item in choices),
        *(raw(answer(usage=item)) for item in usages),
    ]


@pytest.mark.parametrize("body", broken())
def test_what_is_no_completion_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        parse_chat_response(body)
    assert caught.value.code == "bad_answer"


def test_an_answer_over_the_limit_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        parse_chat_response(b" " * (MAX_RESPONSE + 1))
    assert caught.value.code == "result_too_large"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_any_bytes_are_a_completion_or_bad_input(at: int, patch: bytes) -> None:
    body = bytearray(raw(answer(usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})))
    body[at % len(body) : at % len(body) + len(patch)] = patch
    for data in (bytes(body), patch):
        try:
            value, _ = parse_chat_response(data)
        except BadInput:
            continue
        assert parse_chat_response(msgspec.json.encode(value))[0] == value


def test_calls_can_be_taken_out_of_an_answer() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    sent = answer(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    value, _ = parse_chat_response(raw(sent))
    assert [call.id for call in CHAT.tool_calls(value)] == ["c1", "c2"]
    one = CHAT.without_calls(value, {"c1": "no"})
    assert one["choices"][0]["message"] == {
        "role": "assistant",
        "content": "no",
        "refusal": None,
        "tool_calls": [{**CALL, "id": "c2"}],
    }
    assert one["choices"][0]["finish_reason"] == "tool_calls"
    none = CHAT.without_calls(one, {"c2": "nor this"})
    assert (none["choices"][0]["message"]["content"], none["choices"][0]["finish_reason"]) == (
        "no\nnor this",
        "stop",
    )
    assert len(CHAT.tool_calls(value)) == 2  # the original stays


def test_a_tool_that_was_not_offered_is_not_called() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    sent = raw(answer(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}]))
    for asked in ({}, {"tools": [FUNCTION], "tool_choice": "none"}):
        with pytest.raises(BadInput, match="unoffered tool call"):
            CHAT.parse_answer(sent, parse_chat_request(request(**asked)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
        (418, "invalid_request_error"),
    ],
)
def test_a_refusal_has_the_providers_shape(status: int, kind: str) -> None:
    assert json.loads(CHAT.error(status, "limited", "too fast", "acme/7")) == {
        "error": {"message": "too fast", "type": kind, "param": None, "code": "limited", "record": "acme/7"}
    }
