"""The Anthropic messages wire: what a request may hold, and what is believed of an answer."""

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

WIRE = wire("messages")
USER = {"role": "user", "content": "hi"}
TOOL = {"name": "weather", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
CACHE = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}
USED = {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Bonn"}}
BASE: Json = {"model": "main", "max_tokens": 9, "messages": [USER]}


def parse(**more: Json) -> Json:
    return WIRE.parse_request({**BASE, **more})


def blocks(*content: Json, role: str = "user") -> Json:
    return {"messages": [{"role": role, "content": list(content)}]}


def answer(*content: Json, **more: Json) -> bytes:
    return json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "main",
            "content": list(content),
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 4},
            **more,
        }
    ).encode()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 1, "top_p": 0.5, "top_k": 3, "stop_sequences": ["END"], "metadata": {"user_id": "u"}},
        {"system": "s"},
        {"system": [{"type": "text", "text": "s", **CACHE}]},
        {"stream": True},
        CACHE,
        {"tools": [{**TOOL, **CACHE, "description": "d", "strict": True}], "tool_choice": {"type": "any"}},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}},
        {
            "tools": [
                {"type": "bash_20250124", "name": "bash"},
                {"type": "memory_20250818", "name": "memory"},
                {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
                {"type": "computer_20250124", "name": "computer", "display_width_px": 9, "display_height_px": 9},
            ]
        },
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"$ref": "#/a"}}}},
        {"messages": [USER, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}, USER]},
        blocks(
            {"type": "text", "text": "t", **CACHE}, IMAGE, {**PDF, "title": "t", "citations": {"enabled": True}}
        ),
        blocks(
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "is_error": True,
                "content": [{"type": "text", "text": "r"}, IMAGE],
            },
            {"type": "tool_result", "tool_use_id": "c2"},
        ),
        blocks(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            {**USED, "input": {"city": None}},
            role="assistant",
        ),
    ],
)
def test_what_clients_send_passes_unchanged(more: Json) -> None:
    assert parse(**more) == {**BASE, **more}


@pytest.mark.parametrize(
    "more",
    [
        {"stream": False},
        {"service_tier": "auto"},
        {"container": None, "thread": None},
        {"tools": []},
        {"tools": None},
        {"mcp_servers": []},
        {"speed": "standard"},
        {"context_management": None},
    ],
)
def test_what_says_nothing_is_dropped(more: Json) -> None:
    assert parse(**more) == BASE


def test_what_clients_echo_from_answers_is_taken_and_dropped() -> None:
    echoed = blocks(
        {"type": "text", "text": "a", "citations": None},
        {"type": "text", "text": "b", "citations": []},
        {**USED, "caller": {"type": "direct"}, "toolset_name": None},
        role="assistant",
    )
    assert parse(**echoed)["messages"][0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        USED,
    ]
    assert parse(tools=[{**TOOL, "type": "custom", "defer_loading": False, "allowed_callers": ["direct"]}]) == {
        **BASE,
        "tools": [TOOL],
    }


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url", "url": "https://x", "name": "n"}]}, "past the wall"),
        ({"context_management": {}}, "judged"),
        ({"compaction": {}}, "judged"),
        ({"service_tier": "standard_only"}, "operator"),
        ({"diagnostics": {"previous_message_id": "m"}}, "kept"),
        ({"fallbacks": [1]}, "operator"),
        ({"zebra": 1}, "zebra"),
        ({"metadata": {"user_id": "u", "x": 1}}, "metadata"),
        ({"temperature": 2}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"tools": ["x"]}, "tool"),
        ({"tools": [TOOL] * 513}, "512"),
        *(
            ({"tools": [{"type": kind, "name": "n"}]}, "past the wall")
            for kind in (
                "code_execution_20250825",
                "web_fetch_20250910",
                "tool_search_tool_regex_20251119",
                "mcp_toolset",
                "zebra",
            )
        ),
        ({"tools": [{"type": "computer_toolset_20260801"}]}, "toolset"),
        ({"tools": [{"type": "bash_1999", "name": "bash"}]}, "tool"),
        ({"tools": [{**SEARCH, "zebra": 1}]}, "zebra"),
        ({"tools": [{**SEARCH, "type": "web_search_9"}]}, "tool"),
        ({"tools": [{**SEARCH, "allowed_callers": ["code_execution_20260120"]}]}, "allowed_callers"),
        ({"tools": [{**TOOL, "allowed_callers": ["code_execution_20260120"]}]}, "past the wall"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "past the wall"),
        ({"tools": [{**TOOL, "input_schema": {"$ref": "https://x"}}]}, "refers"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"$ref": "https://x"}}}}, "refers"),
        (blocks({"type": "image", "source": {"type": "url", "url": "https://x"}}), "fetch"),
        (blocks({"type": "image", "source": {"type": "file", "file_id": "f"}}), "kept"),
        (blocks({"type": "document", "source": {"type": "url", "url": "https://x"}}), "fetch"),
        (
            blocks({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}),
            "text block",
        ),
        (blocks({"type": "image", "source": {**IMAGE["source"], "data": "AA"}}), "Base64"),
        (blocks({"type": "image", "source": {**IMAGE["source"], "media_type": "image/svg+xml"}}), "media_type"),
        (
            blocks(
                {
                    "type": "tool_result",
                    "tool_use_id": "c",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}],
                }
            ),
            "fetch",
        ),
        (blocks({"type": "container_upload", "file_id": "f"}), "container_upload"),
        (
            blocks({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, role="assistant"),
            "past the wall",
        ),
        (
            blocks({"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, role="assistant"),
            "past the wall",
        ),
        (
            blocks({**USED, "caller": {"type": "code_execution_20250825", "tool_id": "x"}}, role="assistant"),
            "past the wall",
        ),
        (blocks({**USED, "input": "{}"}, role="assistant"), "input"),
        (blocks(IMAGE, role="assistant"), "image"),
        (blocks(), "content"),
        (blocks("x"), "block"),
    ],
)
def test_what_would_leave_the_wall_or_is_unknown_is_refused_by_name(more: Json, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        parse(**more)
    assert caught.value.code == "bad_request"
    assert caught.value.remedy


def test_a_thread_is_refused_so_that_the_sdk_sends_the_whole_conversation() -> None:
    with pytest.raises(BadInput, match="whole conversation") as caught:
        parse(thread={"type": "new"})
    body = json.loads(WIRE.error(400, caught.value.code, caught.value.cause, ""))
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request"}
    assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["web_search_20250305", "web_search_20260209", "web_search_20260318"])
def test_a_search_is_a_provider_tool_that_only_the_model_starts(kind: str) -> None:
    request = parse(tools=[TOOL, {**SEARCH, "type": kind, "allowed_domains": ["x.example"]}])
    assert WIRE.provider_tools(request) == ("web_search",)
    assert request["tools"][1]["allowed_callers"] == ["direct"]
    assert WIRE.parse_request(request) == request
    assert WIRE.provider_tools(parse(tools=[TOOL, {"type": "bash_20250124", "name": "bash"}])) == ()
    found = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "a"},
    ]
    assert WIRE.parse_answer(answer(*found), request)[0]["content"] == found[2:]
    for refused in ({**found[0], "name": "web_fetch"}, {"type": "code_execution_tool_result"}):
        with pytest.raises(BadInput):
            WIRE.parse_answer(answer(refused), request)


def test_an_answer_is_written_anew_without_what_is_unknown() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        USED,
    ]
    sent = [
        content[0],
        content[1],
        {**content[2], "citations": [{"url": "https://x"}]},
        content[3],
        {**USED, "caller": {"type": "direct"}},
    ]
    usage = {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1}
    value, counted = WIRE.parse_answer(
        answer(*sent, usage=usage, stop_reason="tool_use", container={"id": "c"}), asked("messages")
    )
    assert value["content"] == content
    assert set(value) == {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
    assert counted == Usage(tokens_in=6, tokens_out=4)
    assert WIRE.parse_answer(msgspec.json.encode(value), asked("messages")) == (value, counted)


def test_only_a_stop_sequence_that_was_asked_for_is_told() -> None:
    for asked_for, told in ((["END"], "END"), (["OTHER"], None)):
        request = parse(stop_sequences=asked_for)
        value, _ = WIRE.parse_answer(answer(stop_reason="stop_sequence", stop_sequence="END"), request)
        assert value["stop_sequence"] == told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        answer()[:-1],
        answer(type="error"),
        answer(role="user"),
        answer(id=""),
        answer(content=None),
        answer({**USED, "name": "shell"}),
        answer(USED, USED),
        answer({**USED, "id": ""}),
        answer({**USED, "input": "{}"}),
        answer({**USED, "toolset_name": "x"}),
        answer({"type": "server_tool_use", "id": "s", "name": "web_search"}),
        answer({"type": "web_search_tool_result"}),
        answer({"type": "zebra"}),
        answer(stop_reason="tired"),
        answer(usage={"input_tokens": -1}),
        answer({"type": "text", "text": "\ud800"}),
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        WIRE.parse_answer(body, asked("messages"))
    assert caught.value.code == "bad_answer"


def test_calls_can_be_taken_out_of_an_answer() -> None:
    value, _ = WIRE.parse_answer(answer(USED, {**USED, "id": "c2"}, stop_reason="tool_use"), asked("messages"))
    assert WIRE.tool_calls(value)[0] == ToolCallAsked(id="c1", name="weather", arguments='{"city":"Bonn"}')
    one = WIRE.without_calls(value, {"c1": "refused"})
    assert (one["content"][0], one["stop_reason"]) == ({"type": "text", "text": "refused"}, "tool_use")
    assert WIRE.without_calls(one, {"c2": "refused"})["stop_reason"] == "end_turn"
    assert len(WIRE.tool_calls(value)) == 2  # the original stays


def test_an_estimate_is_marked() -> None:
    value, usage = WIRE.parse_answer(answer(usage=None), asked("messages"))
    assert (value["usage"], usage) == (None, None)
    assert WIRE.estimated(value, Usage(tokens_in=1, tokens_out=2))["usage"] == {
        "input_tokens": 1,
        "output_tokens": 2,
        "estimated": True,
    }


names = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "id",
        "tool_use_id",
        "source",
        "data",
        "name",
        "media_type",
        "input",
        "thinking",
        "signature",
        "cache_control",
        "citations",
    ]
)
words = st.sampled_from(
    [
        "text",
        "image",
        "document",
        "user",
        "assistant",
        "tool_use",
        "tool_result",
        "thinking",
        "",
        "base64",
        "image/png",
        "AAAA",
        "ephemeral",
        "x",
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
            [
                "messages",
                "tools",
                "tool_choice",
                "system",
                "stream",
                "thinking",
                "thread",
                "stop_sequences",
                "metadata",
            ]
        ),
        values,
    ),
    values,
)
def test_any_json_is_a_closed_request_or_bad_input(fields: Json, item: Json) -> None:
    for value in (fields, {**BASE, **fields}, parse_like(item, "user"), parse_like(item, "assistant"), item):
        try:
            parsed = WIRE.parse_request(value)
        except BadInput as fault:
            assert fault.code in {"bad_request", "thread_unsupported_request"}
        else:
            assert WIRE.parse_request(parsed) == parsed


def parse_like(item: Json, role: str) -> Json:
    return {
        **BASE,
        "messages": [item, {"role": role, "content": [item, {"type": "text", "text": "a"}]}],
        "tools": [item, TOOL],
    }
