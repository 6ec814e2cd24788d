"""The responses wire: what a request may hold, and what is believed of an answer."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.models.support import asked

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire.models import ToolCallAsked, wire
from ringwall.wire.models.interface import MAX_RESPONSE

WIRE = wire("responses")
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
SEARCH = {"type": "web_search", "search_context_size": "low"}
PICTURE = "data:image/png;base64,AAAA"
PDF = "data:application/pdf;base64,JVBERg=="
CALLED = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "weather",
    "arguments": "{}",
    "status": "completed",
}
SAID = {
    "type": "message",
    "id": "msg_0",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}],
}


def parse(**more: Json) -> Json:
    return WIRE.parse_request({"model": "main", "input": "hi", **more})


def answer(*items: Json, **more: Json) -> bytes:
    return json.dumps(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 5,
            "model": "main",
            "status": "completed",
            "output": list(items),
            **more,
        }
    ).encode()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"instructions": "s", "temperature": 0, "top_p": 1, "max_output_tokens": 5, "user": "u"},
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}, "max_tool_calls": 3},
        {"tools": [SEARCH]},
        {"stream": True},
        {"truncation": "auto"},
        {"include": ["reasoning.encrypted_content"]},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"text": {"verbosity": "low", "format": {"type": "text"}}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"$ref": "#/a"}, "strict": True}}},
        {
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "look"},
                        {"type": "input_image", "image_url": PICTURE, "detail": "low"},
                        {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
                    ],
                }
            ]
        },
        {
            "input": [
                {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
                {"type": "reasoning", "id": "rs", "encrypted_content": "x", "summary": []},
            ]
        },
    ],
)
def test_what_clients_send_passes_unchanged(more: Json) -> None:
    assert parse(**more) == {"model": "main", "input": "hi", **more}


@pytest.mark.parametrize(
    "more",
    [
        {"store": False},
        {"background": False},
        {"include": []},
        {"previous_response_id": None},
        {"metadata": {}},
        {"conversation": None, "prompt": None},
        {"stream": False},
        {"stream_options": {"include_obfuscation": False}},
        {"tools": []},
        {"service_tier": "auto"},
        {"top_logprobs": 0},
        {"tools": None, "text": None},
    ],
)
def test_what_says_nothing_is_dropped(more: Json) -> None:
    assert parse(**more) == {"model": "main", "input": "hi"}


def test_what_clients_echo_from_answers_is_taken_without_what_refers_to_the_provider() -> None:
    """openai-agents and the SDK give whole items back; what was not encrypted was stored, and is not now."""
    items = [
        {"role": "user", "content": "hi"},
        {"id": "rs_1", "type": "reasoning", "summary": [], "status": None, "encrypted_content": None},
        {**SAID, "phase": None},
        {**CALLED, "caller": None, "namespace": None, "parsed_arguments": {}},
        {"type": "function_call_output", "id": None, "call_id": "c1", "output": "r", "status": "completed"},
    ]
    assert parse(input=items)["input"] == [
        {"type": "message", "role": "user", "content": "hi"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
    ]


def user(part: Json) -> Json:
    return {"input": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"store": True}, "kept at the provider"),
        ({"store": 0}, "store"),
        ({"previous_response_id": "r"}, "whole conversation"),
        ({"conversation": "c"}, "send all of it"),
        ({"prompt": {"id": "p"}}, "template"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"background": True}, "background"),
        ({"service_tier": "flex"}, "operator"),
        ({"top_logprobs": 3}, "redaction"),
        ({"prompt_cache_key": "k"}, "cache"),
        ({"context_management": []}, "judged"),
        ({"zebra": 1}, "zebra"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"include": "x"}, "include"),
        ({"stream_options": {"x": 1}}, "stream_options"),
        ({"tools": [{"type": "mcp", "server_url": "x"}]}, "past the wall"),
        *(
            ({"tools": [{"type": kind}]}, "past the wall")
            for kind in (
                "file_search",
                "code_interpreter",
                "image_generation",
                "computer_use_preview",
                "local_shell",
                "shell",
                "custom",
                "apply_patch",
                "tool_search",
                "namespace",
            )
        ),
        ({"tools": ["x"]}, "tool"),
        ({"tools": {}}, "tools"),
        ({"tools": [{**SEARCH, "zebra": 1}]}, "zebra"),
        ({"tools": [{"type": "web_search_9999"}]}, "web_search"),
        ({"tools": [TOOL] * 513}, "512"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "defer_loading"),
        ({"tools": [{**TOOL, "async": True}]}, "async"),
        ({"tools": [{**TOOL, "parameters": {"$ref": "https://x"}}]}, "refers"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"$ref": "file:///x"}}}}, "refers"),
        ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice"),
        (user({"type": "input_image", "image_url": "https://x.example/a.png"}), "fetch"),
        (user({"type": "input_image", "file_id": "f"}), "file"),
        (user({"type": "input_file", "file_id": "f"}), "file"),
        (user({"type": "input_file", "file_url": "https://x"}), "fetch"),
        (user({"type": "input_file", "file_data": "data:text/html;base64,AAAA"}), "Base64"),
        (user({"type": "input_image", "image_url": "data:image/png;base64,AAB="}), "Base64"),
        (user({"type": "input_audio", "input_audio": {}}), "input_audio"),
        ({"input": [{"type": "item_reference", "id": "m"}]}, "send it whole"),
        ({"input": [{"id": "m"}]}, "send it whole"),
        ({"input": [{**CALLED, "caller": {"type": "program", "caller_id": "x"}}]}, "past the wall"),
        ({"input": [{**CALLED, "namespace": "n"}]}, "namespace"),
        *(
            ({"input": [{"type": kind}]}, "past the wall")
            for kind in (
                "web_search_call",
                "mcp_call",
                "computer_call",
                "code_interpreter_call",
                "compaction_trigger",
                "zebra",
            )
        ),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [1]}, "item"),
        ({"input": {}}, "input"),
    ],
)
def test_what_would_leave_the_wall_or_is_unknown_is_refused_by_name(more: Json, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        parse(**more)
    assert caught.value.code == "bad_request"
    assert caught.value.remedy


def test_it_leaves_with_nothing_stored() -> None:
    assert WIRE.outgoing(parse(stream=True), "gpt") == {
        "model": "gpt",
        "input": "hi",
        "stream": True,
        "store": False,
    }
    assert WIRE.provider_tools(parse(tools=[TOOL])) == ()
    assert WIRE.provider_tools(parse(tools=[TOOL, SEARCH])) == ("web_search",)


def test_an_answer_is_written_anew_without_what_is_unknown() -> None:
    said = {
        **SAID,
        "id": "msg_abc",
        "zebra": 1,
        "content": [
            {"type": "output_text", "text": "hello", "annotations": [{"type": "url_citation", "url": "https://x"}]}
        ],
    }
    usage = {
        "input_tokens": 3,
        "output_tokens": 4,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    value, counted = WIRE.parse_answer(
        answer(said, CALLED, usage=usage, instructions="s", tools=[TOOL]), asked("responses")
    )
    assert counted == Usage(tokens_in=3, tokens_out=4)
    assert value["output"] == [SAID, CALLED]
    assert value["tools"] == []
    assert value["usage"]["total_tokens"] == 7
    assert WIRE.parse_answer(msgspec.json.encode(value), asked("responses")) == (value, counted)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_answer"),
        (b"[]", "bad_answer"),
        (b"\xff", "bad_answer"),
        (answer()[:-1], "bad_answer"),
        (answer(object="error"), "bad_answer"),
        (answer(status="failed"), "bad_answer"),
        (answer(status="in_progress"), "bad_answer"),
        (answer({**CALLED, "name": "shell"}), "bad_answer"),
        (answer(CALLED, CALLED), "bad_answer"),
        (answer({**CALLED, "call_id": ""}), "bad_answer"),
        (answer({**CALLED, "namespace": "x"}), "bad_answer"),
        (answer({"type": "mcp_call"}), "bad_answer"),
        (answer({"type": "web_search_call"}), "bad_answer"),
        (answer({**SAID, "role": "user"}), "bad_answer"),
        (answer({**SAID, "content": [{"type": "output_audio"}]}), "bad_answer"),
        (answer(id=1), "bad_answer"),
        (answer(model="\ud800"), "bad_answer"),
        (answer(usage={}), "bad_answer"),
        (b" " * (MAX_RESPONSE + 1), "result_too_large"),
    ],
)
def test_what_is_no_response_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        WIRE.parse_answer(body, asked("responses"))
    assert caught.value.code == code


def test_what_a_search_leaves_is_left_out_where_it_was_asked_for() -> None:
    request = parse(tools=[SEARCH])
    value, _ = WIRE.parse_answer(answer({"type": "web_search_call", "action": {"query": "q"}}, SAID), request)
    assert value["output"] == [SAID]
    with pytest.raises(BadInput):
        WIRE.parse_answer(answer({"type": "code_interpreter_call"}), request)


@pytest.mark.parametrize(
    ("reason", "status"), [("max_output_tokens", "incomplete"), ("content_filter", "incomplete")]
)
def test_an_answer_that_was_cut_off_says_so(reason: str, status: str) -> None:
    value, _ = WIRE.parse_answer(
        answer(SAID, status="incomplete", incomplete_details={"reason": reason}), asked("responses")
    )
    assert (value["status"], value["incomplete_details"]) == (status, {"reason": reason})


def test_calls_can_be_taken_out_of_an_answer() -> None:
    value, _ = WIRE.parse_answer(answer(SAID, CALLED), asked("responses"))
    assert WIRE.tool_calls(value) == [ToolCallAsked(id="c1", name="weather", arguments="{}")]
    without = WIRE.without_calls(value, {"c1": "refused"})
    assert WIRE.tool_calls(without) == []
    assert without["output"][1]["content"][0]["text"] == "refused"
    assert WIRE.without_calls(value, {}) == value
    assert len(WIRE.tool_calls(value)) == 1  # the original stays


def test_an_estimate_is_marked() -> None:
    value, usage = WIRE.parse_answer(answer(SAID), asked("responses"))
    assert (value["usage"], usage) == (None, None)
    told = WIRE.estimated(value, Usage(tokens_in=1, tokens_out=2))
    assert told["usage"]["estimated"] is True
    assert told["usage"]["total_tokens"] == 3


names = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "id",
        "call_id",
        "output",
        "summary",
        "name",
        "image_url",
        "arguments",
        "encrypted_content",
        "status",
    ]
)
words = st.sampled_from(
    [
        "message",
        "reasoning",
        "function_call",
        "user",
        "assistant",
        "input_text",
        "output_text",
        "",
        "function_call_output",
        "input_image",
        "refusal",
        "x",
        PICTURE,
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["input", "tools", "tool_choice", "text", "stream", "include", "store", "reasoning", "stream_options"]
        ),
        values,
    ),
    values,
)
def test_any_json_is_a_closed_request_or_bad_input(fields: Json, item: Json) -> None:
    for value in (
        fields,
        {**fields, "input": [item]},
        {"input": [item, {"role": "user", "content": [item]}]},
        item,
    ):
        try:
            parsed = WIRE.parse_request(value)
        except BadInput as fault:
            assert fault.code == "bad_request"
        else:
            assert WIRE.parse_request(parsed) == parsed
