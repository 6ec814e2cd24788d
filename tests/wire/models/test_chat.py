"""The chat completions wire: what a request may hold, and what is believed of an answer."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.models.chats import CALL, CHAT, FUNCTION, USER, request

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.wire.models.chat import parse_chat_request


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"model": "main"},
        {"temperature": 0},
        {"temperature": 1.5, "top_p": 0.1, "seed": 7, "user": "u"},
        {"max_tokens": 5},
        {"max_completion_tokens": 5},
        {"stop": "x"},
        {"stop": ["x", "y"]},
        {"tools": [FUNCTION], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "read"}}},
        {"response_format": {"type": "json_object"}},
        {"frequency_penalty": -2, "presence_penalty": 2.0},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": "#/$defs/a"}}}},
        {"reasoning_effort": "low"},
        {"logit_bias": {"50256": -100}},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"web_search_options": {"search_context_size": "low"}},
    ],
)
def test_what_clients_send_passes_unchanged(more: Json) -> None:
    assert parse_chat_request(request(**more)) == request(**more)


@pytest.mark.parametrize(
    "more",
    [
        {"n": 1},
        {"stream": False},
        {"store": False},
        {"logprobs": False},
        {"tools": None},
        {"metadata": {}},
        {"stream": None, "audio": None, "web_search_options": None},
        {"modalities": ["text"]},
        {"stream_options": {"include_obfuscation": False}},
        {"stream_options": {"include_usage": False}},
    ],
)
def test_what_says_nothing_is_dropped(more: Json) -> None:
    assert parse_chat_request(request(**more)) == request()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"stream": 0}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"zebra": 1}}, "zebra"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"store": True}, "kept at the provider"),
        ({"metadata": {"a": "b"}}, "kept at the provider"),
        ({"previous_response_id": "r"}, "kept at the provider"),
        ({"web_search_options": {"zebra": 1}}, "zebra"),
        ({"moderation": {"model": "m"}}, "operator"),
        ({"n": 2}, "one answer"),
        ({"n": True}, "one answer"),
        ({"logprobs": True}, "piece by piece"),
        ({"top_logprobs": 2}, "piece by piece"),
        ({"functions": []}, "use tools"),
        ({"modalities": ["text", "audio"]}, "text"),
        ({"audio": {"voice": "x"}}, "text"),
        ({"zebra": 1}, "zebra"),
        ({"tools": [{"type": "web_search"}]}, "past the wall"),
        ({"tools": [{"type": "mcp", "server_url": "x"}]}, "mcp"),
        ({"tools": [{"function": {"name": "f"}}]}, "past the wall"),
        ({"tools": ["x"]}, "past the wall"),
        ({"tools": [{**FUNCTION, "server": "x"}]}, "server"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 1 << 70}, "seed"),
        ({"stop": []}, "stop"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "https://x/s"}}}]},
            "refers",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"a": [{"$ref": "file:///etc"}]}},
                }
            },
            "refers",
        ),
    ],
)
def test_what_would_leave_the_wall_or_is_unknown_is_refused_by_name(more: Json, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        parse_chat_request(request(**more))
    assert caught.value.code == "bad_request"
    assert caught.value.remedy


def test_messages_of_every_role_pass() -> None:
    picture = "data:image/png;base64," + base64.b64encode(b"picture").decode()
    messages = [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
            ],
        },
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "result"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": "no"},
    ]
    assert parse_chat_request({"messages": messages}) == {"messages": messages}


def test_what_clients_echo_from_answers_is_taken_and_dropped() -> None:
    """openai after ``chat.completions.stream()`` and ``parse()``: see notes on clients."""
    echoed = {
        "role": "assistant",
        "content": "c",
        "annotations": [],
        "audio": None,
        "function_call": None,
        "parsed": {"x": 1},
        "refusal": None,
        "tool_calls": [{**CALL, "index": 0, "function": {**CALL["function"], "parsed_arguments": {"x": 1}}}],
    }  # type: ignore[dict-item]
    assert parse_chat_request({"messages": [USER, echoed]}) == {
        "messages": [USER, {"role": "assistant", "content": "c", "tool_calls": [CALL]}]
    }


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "name": "f", "content": "x"},
        {"role": "user"},
        {"role": "user", "content": None},
        {"role": "user", "content": []},
        {"role": "user", "content": "x", "annotations": []},
        {"content": "x"},
        "x",
        {"role": "assistant", "audio": {"id": "a"}},
        {"role": "assistant", "function_call": {"name": "f"}},
        {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]},
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]},
        {"role": "assistant", "tool_calls": ["x"]},
        {"role": "tool", "content": "x"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]},
        *(
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
            for url in (
                "https://x.example/a.png",
                "data:text/html;base64,AA==",
                "data:image/svg+xml;base64,AA==",
                "data:image/png,AA",
                "data:image/png;base64,!!",
                "data:image/png;base64,A",
                "DATA:IMAGE/PNG;BASE64,AA==",
                " data:image/png;base64,AA==",
                "file:///etc/passwd",
            )
        ),
    ],
)
def test_other_messages_are_refused(message: Json) -> None:
    with pytest.raises(BadInput) as caught:
        parse_chat_request({"messages": [message]})
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("value", [None, [], "x", {}, {"messages": None}, {"messages": []}, {"messages": {}}])
def test_what_is_no_request_is_refused(value: Json) -> None:
    with pytest.raises(BadInput):
        parse_chat_request(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "image_url",
                    "url",
                    "tool_calls",
                    "function",
                    "name",
                    "id",
                    "$ref",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["messages", "tools", "tool_choice", "response_format", "stop", "stream", "n"]),
        json_values | st.lists(json_values, max_size=3),
    ),
    json_values,
)
def test_any_json_is_a_closed_request_or_bad_input(fields: Json, message: Json) -> None:
    for value in (fields, {**fields, "messages": [USER, message]}):
        try:
            parsed = parse_chat_request(value)
        except BadInput as fault:
            assert fault.code == "bad_request"
        else:
            assert parse_chat_request(parsed) == parsed  # canonical: nothing left to change


def test_a_document_goes_inside_the_request() -> None:
    part = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}}
    message = {"role": "user", "content": [part]}
    assert parse_chat_request({"messages": [message]}) == {"messages": [message]}
    for data in (
        "data:text/html;base64,JVBERg==",
        "https://x.example/a.pdf",
        "JVBERg==",
        "data:application/pdf;base64,",
    ):
        with pytest.raises(BadInput):
            parse_chat_request({"messages": [{"role": "user", "content": [{**part, "file": {"file_data": data}}]}]})


def test_a_search_is_a_provider_tool() -> None:
    assert CHAT.provider_tools(parse_chat_request(request(web_search_options={}))) == ("web_search",)
    assert CHAT.provider_tools(parse_chat_request(request(tools=[FUNCTION]))) == ()


def test_a_stream_leaves_with_its_tokens_counted() -> None:
    assert CHAT.outgoing(parse_chat_request(request(stream=True)), "gpt") == {
        "messages": [USER],
        "model": "gpt",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert CHAT.outgoing(parse_chat_request(request()), "gpt") == {"messages": [USER], "model": "gpt"}
