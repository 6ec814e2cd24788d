"""Pieces, and the readers and writers between them and the providers' events."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.models.support import (
    APIS,
    USAGE,
    asked,
    call,
    close,
    code,
    kept,
    opened,
    read,
    text,
    written,
)

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire.models import Api, parse_piece, wire, with_usage
from ringwall.wire.models.pieces import MAX_ARGUMENTS, MAX_TEXT, Part
from ringwall.wire.sse import Reader

every = pytest.mark.parametrize("api", APIS)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


# --- pieces


@pytest.mark.parametrize(
    "piece",
    [
        opened("chat"),
        text(0, "a"),
        text(1, "", "refusal"),
        text(2, "x", "thinking"),
        call(3),
        close(),
        close(usage=None),
        close("sequence", sequence="END"),
        {"part": 1, "opaque": {"signature": "c2ln"}},
        close(usage={**USAGE, "cached": 3, "reasoning": 4, "estimated": True}),
    ],
)
def test_a_piece_is_read_as_it_was_written(piece: Json) -> None:
    assert parse_piece(json.dumps(piece).encode()) == piece


@pytest.mark.parametrize(
    "piece",
    [
        None,
        [],
        "x",
        {},
        {"zebra": 1},
        {"open": {"id": "", "created": 0, "model": "m"}},
        {**text(0, "a"), "zebra": 1},
        text(-1, "a"),
        text(1 << 20, "a"),
        text(0, "a", "shout"),
        text(0, "x" * (MAX_TEXT + 1)),
        call(0, name=""),
        call(0, number=""),
        call(0, arguments="x" * (MAX_ARGUMENTS + 1)),
        {**call(0), **text(0, "a")},
        close("tired"),
        close(usage={"tokens_in": -1, "tokens_out": 0}),
        close(usage={"tokens_in": 1}),
        {"part": 0, "opaque": {"a": 1}},
        {"part": 0, "opaque": {str(n): "x" for n in range(5)}},
        {"part": True, "kind": "text", "text": "x"},
    ],
)
def test_what_is_no_piece_is_refused(piece: Json) -> None:
    assert code(lambda: parse_piece(json.dumps(piece).encode())) == "bad_answer"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.sampled_from([b'{"part":0,"part":1,"kind":"text","text":""}', b'{"open":' * 70]))
def test_any_bytes_are_a_piece_or_bad_input(raw: bytes) -> None:
    try:
        piece = parse_piece(raw)
    except BadInput as fault:
        assert fault.code == "bad_answer"
    else:
        assert parse_piece(msgspec.json.encode(piece)) == piece


def test_an_estimate_goes_into_a_closing_piece_that_counts_nothing() -> None:
    estimate = Usage(tokens_in=3, tokens_out=4)
    assert with_usage(close(usage=None), estimate) == close(
        usage={"tokens_in": 3, "tokens_out": 4, "estimated": True}
    )
    assert with_usage(close(), estimate) == close()
    assert with_usage(text(0, "a"), estimate) == text(0, "a")


# --- writers and readers together


@every
def test_what_a_writer_writes_its_reader_reads(api: Api) -> None:
    spoken, request = wire(api), asked(api, stream=True)
    pieces = [opened(api), text(0, "a"), text(0, "b"), call(1), call(2, number="c2"), close("tool_calls")]
    if api == "chat":
        request = asked(api, stream=True, stream_options={"include_usage": True})
    found, usage = read(spoken, written(spoken, pieces, request), request)
    assert kept(found) == kept(pieces)
    assert (found[0], found[-1]["close"]["finish"]) == (opened(api), "tool_calls")
    assert usage == Usage(tokens_in=11, tokens_out=7)
    assert spoken.whole(found, request) == spoken.whole(pieces, request)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(APIS),
    st.lists(st.tuples(st.sampled_from(["text", "again", "call"]), TEXTS), max_size=8),
    st.integers(1, 40),
)
def test_texts_and_calls_survive_any_writer_and_reader(api: Api, parts: list[tuple[str, str]], size: int) -> None:
    spoken, request = wire(api), asked(api, stream=True)
    pieces, part = [opened(api)], 0
    for number, (kind, said) in enumerate(parts):
        if kind == "call":
            part += 1
            arguments = json.dumps({"city": said}, ensure_ascii=False, separators=(",", ":"))
            pieces.append(call(part, number=f"c{number}", arguments=arguments))
            part += 1
        else:
            # Chat has one text: a call does not end it.
            part += kind == "text" and api != "chat"
            pieces.append(text(part, said))
    pieces.append(close("tool_calls"))
    stream = written(spoken, pieces, request)
    once, _ = read(spoken, stream, request)
    cut, reader = Reader(max_event=1 << 20, max_stream=1 << 20), spoken.reader(request)
    twice = [
        piece
        for at in range(0, len(stream), size)
        for event in cut.feed(stream[at : at + size])
        for piece in reader.feed(event)
    ]
    assert twice + reader.end()[0] == once
    told = [piece for piece in pieces if "kind" in piece]
    assert "".join(piece["text"] for piece in once if "kind" in piece) == "".join(piece["text"] for piece in told)
    assert [piece["call"] for piece in once if "call" in piece] == [
        piece["call"] for piece in pieces if "call" in piece
    ]


@every
def test_a_thought_is_given_back_with_its_seal(api: Api) -> None:
    if api == "chat":
        return
    spoken, request = wire(api), asked(api, stream=True)
    seal = {"signature": "c2ln"} if api == "messages" else {"encrypted_content": "c2ln"}
    named = [] if api == "messages" else [{"part": 0, "opaque": {"id": "rs_9"}}]
    pieces = [opened(api), *named, text(0, "hm", "thinking"), {"part": 0, "opaque": seal}, text(1, "yes"), close()]
    found, _ = read(spoken, written(spoken, pieces, request), request)
    assert [piece for piece in found if "close" not in piece] == pieces[:-1]
    answer = spoken.whole(found, request)
    thought = answer["content"][0] if api == "messages" else answer["output"][0]
    assert thought == (
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
        if api == "messages"
        else {
            "type": "reasoning",
            "id": "rs_9",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "c2ln",
        }
    )
    assert spoken.parse_answer(msgspec.json.encode(answer), request)[0] == answer


@every
def test_a_long_text_is_cut_into_pieces_that_fit(api: Api) -> None:
    spoken, request = wire(api), asked(api, stream=True)
    pieces = [opened(api), *(text(0, "ü" * MAX_TEXT) for _ in range(3)), close()]
    found, _ = read(spoken, written(spoken, pieces, request), request)
    assert kept(found) == kept(pieces)
    whole, _ = spoken.parse_answer(msgspec.json.encode(spoken.whole(pieces, request)), request)
    assert "ü" * 3 * MAX_TEXT in json.dumps(whole, ensure_ascii=False)


@every
def test_a_finish_with_calls_is_none_without_calls(api: Api) -> None:
    """As after a judge took them all out."""
    spoken, request = wire(api), asked(api, stream=True)
    pieces = [opened(api), text(0, "refused"), close("tool_calls")]
    answer = json.dumps(spoken.whole(pieces, request)) + written(spoken, pieces, request).decode()
    assert not {'"tool_use"', '"tool_calls"'} & set(answer.replace(":", " ").replace(",", " ").split())


@every
@pytest.mark.parametrize(
    "pieces",
    [
        [text(0, "a")],
        [close()],
        [opened("chat"), opened("chat")],
        [opened("chat"), close(), text(0, "a")],
        [opened("chat"), text(1, "a"), text(0, "b")],
        [opened("chat"), {"zebra": 1}],
    ],
)
def test_pieces_out_of_order_are_refused(api: Api, pieces: list[Json]) -> None:
    assert code(lambda: written(wire(api), pieces, asked(api))) == "bad_answer"


@every
def test_an_answer_that_does_not_close_is_not_ended(api: Api) -> None:
    spoken, request = wire(api), asked(api)
    assert code(lambda: written(spoken, [opened(api), text(0, "a")], request)) == "truncated"
    assert code(lambda: spoken.whole([opened(api), text(0, "a")], request)) == "truncated"


@every
def test_an_error_in_a_stream_says_what_and_where(api: Api) -> None:
    writer = wire(api).writer(asked(api))
    stream = writer.feed(opened(api)) + writer.error("sensitive_result", "a secret", "acme/7")
    last = json.loads(Reader(max_event=1 << 20, max_stream=1 << 20).feed(stream)[-1].data)
    assert last["error"]["message"] == "a secret"
    assert "acme/7" in json.dumps(last)
    assert "sensitive_result" in json.dumps(last)


@every
def test_an_answer_is_not_put_together_again_for_each_of_its_pieces(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the core half a minute for the longest of answers, while everybody else waits."""
    joined = 0

    def whole(part: Part) -> str:
        nonlocal joined
        joined += 1
        return "".join(part.texts)

    monkeypatch.setattr(Part, "text", property(whole))
    writer = wire(api).writer(asked(api))
    for piece in (opened(api), *(text(0, "a ") for _ in range(500)), close()):
        writer.feed(piece)
    assert joined < 20
