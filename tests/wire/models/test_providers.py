"""What providers send as streams, honest and hostile, and what the readers make of it."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.models.support import (
    APIS,
    asked,
    call,
    close,
    code,
    events,
    kept,
    opened,
    read,
    written,
)

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire.models import Api, wire
from ringwall.wire.models.pieces import MAX_ARGUMENTS, MAX_CALLS
from ringwall.wire.sse import Event

every = pytest.mark.parametrize("api", APIS)
DONE = b"data: [DONE]\n\n"


def chunk(delta: Json, finish: str | None = None, **more: Json) -> Json:
    return {
        "id": "answer-1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "main",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def calling(index: int, **function: str) -> Json:
    return {
        "tool_calls": [
            {
                "index": index,
                **({"id": function.pop("id")} if "id" in function else {}),
                "type": "function",
                "function": function,
            }
        ]
    }


def streams() -> dict[str, bytes]:
    """A whole stream of each provider, as it sends them."""
    response = {
        "id": "answer-1",
        "object": "response",
        "created_at": 5.0,
        "model": "main",
        "output": [],
        "status": "in_progress",
    }
    done = {**response, "status": "completed", "usage": {"input_tokens": 11, "output_tokens": 7}}
    item = {"type": "message", "id": "m", "role": "assistant", "content": []}
    called = {
        "type": "function_call",
        "id": "f",
        "call_id": "c1",
        "name": "weather",
        "arguments": '{"city":"Bonn"}',
    }
    message = {
        "id": "answer-1",
        "type": "message",
        "role": "assistant",
        "model": "main",
        "content": [],
        "usage": {
            "input_tokens": 8,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 1,
            "output_tokens": 1,
        },
    }
    return {
        "chat": events(
            {"id": "", "choices": [], "created": 0, "model": "", "prompt_filter_results": []},
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "He"}),
            chunk({"content": "llo"}),
            chunk(calling(0, id="c1", name="weather", arguments="")),
            chunk(calling(0, arguments='{"city":')),
            chunk(calling(0, arguments='"Bonn"}')),
            chunk({}, "tool_calls"),
            {
                **chunk({}),
                "choices": [],
                "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
            },
        )
        + DONE,
        "responses": events(
            {"type": "response.created", "response": response},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": {}},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "He"},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "l"},
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {**item, "content": [{"type": "output_text", "text": "Hello"}]},
            },
            {"type": "response.output_item.added", "output_index": 1, "item": {**called, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{"},
            {"type": "response.output_item.done", "output_index": 1, "item": called},
            {"type": "response.completed", "response": done},
        ),
        "messages": events(
            {"type": "message_start", "message": message},
            {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "He"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "llo"}},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "content_block_start",
                "index": 1,
                "content_block": {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
            },
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": '{"city": "Bo'},
            },
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": 'nn"}'},
            },
            {"type": "content_block_stop", "index": 1},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
        ),
    }


@every
def test_a_providers_stream_becomes_pieces(api: Api) -> None:
    found, usage = read(wire(api), streams()[api], asked(api, stream=True))
    assert kept(found) == [[0, "text", "Hello"], ["c1", "weather", '{"city":"Bonn"}']]
    assert found[-1]["close"]["finish"] == "tool_calls"
    assert usage == Usage(tokens_in=11, tokens_out=7)


@every
def test_a_stream_without_its_end_is_truncated(api: Api) -> None:
    spoken, request, stream = wire(api), asked(api, stream=True), streams()[api]
    whole = [part + b"\n\n" for part in stream.split(b"\n\n")[:-1]]
    for stop in range(len(whole)):
        with pytest.raises(BadInput) as caught:
            read(spoken, b"".join(whole[:stop]), request)
        assert caught.value.code == "truncated"


@every
def test_nothing_follows_the_end(api: Api) -> None:
    spoken, request, stream = wire(api), asked(api, stream=True), streams()[api]
    assert code(lambda: read(spoken, stream + stream, request)) == "bad_answer"


@every
@pytest.mark.parametrize(
    "change",
    [
        (b"weather", b"shell"),
        (b'"c1"', b'""'),
        (b"data: {", b"data: ["),
        (b'"index": 1', b'"index": "1"'),
        (b"assistant", b"user"),
    ],
)
def test_a_stream_that_is_not_right_is_refused(api: Api, change: tuple[bytes, bytes]) -> None:
    stream = streams()[api]
    if change[0] in stream:
        assert code(lambda: read(wire(api), stream.replace(*change), asked(api, stream=True))) == "bad_answer"


@every
def test_tools_that_were_not_offered_are_not_called(api: Api) -> None:
    for more in ({"tools": None}, {"tool_choice": {"type": "none"} if api == "messages" else "none"}):
        with pytest.raises(BadInput, match="unoffered tool call"):
            read(wire(api), streams()[api], asked(api, stream=True, **more))


@every
def test_one_id_is_one_call_and_calls_have_a_number(api: Api) -> None:
    spoken, request = wire(api), asked(api, stream=True)
    for calls in ([call(1), call(2)], [call(n, number=f"c{n}") for n in range(MAX_CALLS + 1)]):
        stream = written(spoken, [opened(api), *calls, close("tool_calls")], request)
        assert code(lambda stream=stream: read(spoken, stream, request)) == "bad_answer"
        whole = msgspec.json.encode(spoken.whole([opened(api), *calls, close("tool_calls")], request))
        assert code(lambda whole=whole: spoken.parse_answer(whole, request)) == "bad_answer"


def test_arguments_in_pieces_have_a_bound() -> None:
    half = "x" * (MAX_ARGUMENTS // 2 + 1)
    chat = events(chunk(calling(0, id="c1", name="weather", arguments=half)), chunk(calling(0, arguments=half)))
    assert code(lambda: read(wire("chat"), chat, asked("chat", stream=True))) == "result_too_large"
    begin = b"\n\n".join(streams()["messages"].split(b"\n\n")[:7]) + b"\n\n"
    more = events(
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": half}}
    )
    assert (
        code(lambda: read(wire("messages"), begin + more * 2, asked("messages", stream=True))) == "result_too_large"
    )


@pytest.mark.parametrize(
    "stream",
    [
        events(chunk(calling(0, id="c1", name="weather")), chunk(calling(0, id="c2", name="weather"))),
        events(chunk(calling(0, id="c1", name="weather")), chunk(calling(0, name="shell"))),
        events(chunk({"content": "a"}, "stop"), chunk({"content": "b"})),
        events(chunk({"function_call": {"name": "weather", "arguments": "{}"}})),
        events({"error": {"message": "no"}}),
        events({**chunk({"content": "a"}), "choices": [{"index": 1, "delta": {}}]}),
        events({**chunk({"content": "a"}), "id": ""}),
    ],
)
def test_hostile_chunks_are_refused(stream: bytes) -> None:
    assert code(lambda: read(wire("chat"), stream + DONE, asked("chat", stream=True))) == "bad_answer"


@pytest.mark.parametrize(
    "change",
    [
        (b'"text": "Hello"', b'"text": "Hullo"'),
        (b'"text": "Hello"', b'"text": "H"'),
        (b"response.completed", b"response.failed"),
        (b'"status": "completed"', b'"status": "cancelled"'),
        (b'"type": "function_call"', b'"type": "mcp_call"'),
        (b'"type": "message"', b'"type": "web_search_call"'),
        (b'"type": "output_text"', b'"type": "output_audio"'),
        (b'"output_index": 1', b'"output_index": 0'),
        (b"response.created", b"response.queued"),
        (b'"delta": "l"}', b'"delta": "l", "x": "\\ud800"}'),
    ],
)
def test_hostile_responses_are_refused(change: tuple[bytes, bytes]) -> None:
    stream = streams()["responses"]
    assert change[0] in stream
    assert code(lambda: read(wire("responses"), stream.replace(*change), asked("responses", stream=True))) in {
        "bad_answer",
        "truncated",
    }


def test_the_last_event_of_responses_may_not_hide_a_call() -> None:
    hidden = [{"type": "function_call", "call_id": f"c{n}", "name": "weather", "arguments": "{}"} for n in range(2)]
    stream = streams()["responses"]
    at = stream.rindex(b'"output": []')
    stream = stream[:at] + b'"output": ' + json.dumps(hidden).encode() + stream[at + 12 :]
    assert code(lambda: read(wire("responses"), stream, asked("responses", stream=True))) == "bad_answer"


@pytest.mark.parametrize(
    "change",
    [
        (b'{\\"city', b"{city"),
        (b"text_delta", b"input_json_delta"),
        (b"message_delta", b"message_echo"),
        (b'"content": []', b'"content": [{"type": "text", "text": "x"}]'),
        (b'"index": 1', b'"index": 0'),
        (b'"type": "tool_use"', b'"type": "server_tool_use"'),
        (b"ping", b"error"),
        (b'nn\\"}', b'", \\"city\\": 1}'),
    ],
)
def test_hostile_messages_are_refused(change: tuple[bytes, bytes]) -> None:
    stream = streams()["messages"]
    assert change[0] in stream
    changed = stream.replace(*change)
    assert code(lambda: read(wire("messages"), changed, asked("messages", stream=True))) == "bad_answer"


def test_a_call_that_was_cut_off_is_left_out() -> None:
    stream = (
        streams()["messages"]
        .replace(b'nn\\"}', b"nn")
        .replace(b'"stop_reason": "tool_use"', b'"stop_reason": "max_tokens"')
    )
    found, _ = read(wire("messages"), stream, asked("messages", stream=True))
    assert kept(found) == [[0, "text", "Hello"]]
    assert found[-1]["close"]["finish"] == "length"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(APIS), st.integers(0, 2500), st.binary(min_size=1, max_size=4), st.booleans())
def test_any_bytes_are_an_answer_or_bad_input(api: Api, at: int, patch: bytes, insert: bool) -> None:
    spoken, request, stream = wire(api), asked(api, stream=True), bytearray(streams()[api])
    at %= len(stream)
    stream[at : at + (0 if insert else len(patch))] = patch
    for data in (bytes(stream), patch):
        try:
            read(spoken, data, request)
        except BadInput as fault:
            assert fault.code in {"bad_answer", "truncated", "result_too_large", "bad_sse"}
    for name in ("", "ping", "error"):
        try:
            spoken.reader(request).feed(Event(data=patch, name=name))
        except BadInput as fault:
            assert fault.code == "bad_answer"
