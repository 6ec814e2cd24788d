"""wire/a2a/sse.py: streams of events, written and read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.wire.a2a import SseEvent, SseReader, sse_event

JWS = "eyJh.eyJi.c-_9"


def read(*pieces: bytes, end: bool = True) -> list[SseEvent]:
    reader = SseReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    if end:
        reader.end()
    return events


def refused(*pieces: bytes, end: bool = True) -> str:
    with pytest.raises(BadInput) as caught:
        read(*pieces, end=end)
    return caught.value.code


@pytest.mark.parametrize("envelope", ["", JWS])
@pytest.mark.parametrize("error", [True, False])
def test_an_event_survives_being_written_and_read(envelope: str, error: bool) -> None:
    event = sse_event(b'{"a":"\xc3\xbc: x"}', envelope, error=error)
    assert read(event) == [SseEvent(data=b'{"a":"\xc3\xbc: x"}', envelope=envelope)]
    assert event.startswith(b"event: error\n") is error


@pytest.mark.parametrize(("data", "envelope"), [
    (b"a\nb", ""), (b"a\rb", ""), (b"a\r\ndata: b", ""), (b"a", "x\ndata: b"), (b"a", "x y"), (b"a", "ü"),
])
def test_nothing_breaks_out_of_its_line(data: bytes, envelope: str) -> None:
    with pytest.raises(BadInput):
        sse_event(data, envelope)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_all_three_ends_of_lines_are_read(newline: bytes) -> None:
    lines = [b": ping", b"", b"event: message", b"id: 7", b"retry: 10", b"data: a", b"data:b", b"data:  c", b"",
    b"data", b""]
    stream = newline.join([*lines, b""])
    expected = [SseEvent(data=b"a\nb\n c"), SseEvent(data=b"")]
    assert read(stream) == expected
    assert read(*(stream[at:at + 1] for at in range(len(stream)))) == expected


def test_a_code_point_split_over_two_pieces_is_whole_again() -> None:
    stream = sse_event("ü€😀".encode())
    for at in range(len(stream)):
        assert read(stream[:at], b"", stream[at:]) == [SseEvent(data="ü€😀".encode())]


def test_lines_without_data_are_no_event() -> None:
    assert read(b"event: x\n\n\n\n: comment\n\nid: 1\n\n") == []


@pytest.mark.parametrize("stream", [
    b"data: a", b"data: a\n", b"data: a\n\ndata: b\n", b"event: x\n", b": ping", b"d",
    f"ringwall: {JWS}\n".encode(),
])
def test_a_stream_that_ends_in_the_middle_is_refused(stream: bytes) -> None:
    assert refused(stream) == "a2a_truncated"


@pytest.mark.parametrize("stream", [
    b"\xef\xbb\xbfdata: a\n\n", b"Data: a\n\n", b"date: a\n\n", b" data: a\n\n", b"HTTP/1.1 200 OK\n", b"{}\n",
    f"ringwall: {JWS}\n\n".encode(), f"ringwall: {JWS}\nringwall: {JWS}\ndata: a\n\n".encode(),
    b"ringwall: \ndata: a\n\n", b"ringwall: a b\ndata: a\n\n", b"ringwall: \xc3\xbc\ndata: a\n\n",
    b"ringwall: " + b"a" * 20_000 + b"\ndata: a\n\n",
])
def test_what_other_readers_would_drop_in_silence_is_refused(stream: bytes) -> None:
    assert refused(stream, end=False) == "a2a_bad_sse"


def test_an_envelope_belongs_to_one_event_only() -> None:
    stream = sse_event(b"a", JWS) + sse_event(b"b")
    assert read(stream) == [SseEvent(data=b"a", envelope=JWS), SseEvent(data=b"b")]


@pytest.mark.parametrize("pieces", [
    [b"x" * 200], [b"data: " + b"x" * 101 + b"\n"], [b"data: " + b"x" * 60 + b"\n"] * 2, [b":" + b"x" * 300],
    [b"x" * 90, b"x" * 90],
])
def test_an_event_or_a_line_that_is_too_long_is_refused(pieces: list[bytes]) -> None:
    reader = SseReader(max_event=100)
    with pytest.raises(BadInput) as caught:
        for piece in pieces:
            reader.feed(piece)
    assert caught.value.code == "result_too_large"


def test_a_stream_that_never_ends_is_refused() -> None:
    reader = SseReader(max_stream=100)
    with pytest.raises(BadInput) as caught:
        for _ in range(20):
            reader.feed(b": ping\n\n")
    assert caught.value.code == "result_too_large"


def outcome(pieces: list[bytes]) -> list[SseEvent] | str:
    try:
        return read(*pieces)
    except BadInput as fault:
        return fault.code


LINES = st.sampled_from([b"data: a", b"data", b"data: \xc3\xbc", b"", b"", b": c", b"event: e",
    b"ringwall: a.b.c", b"x: y"])
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
    lambda lines: b"".join(line + newline for line, newline in lines)) | st.binary(max_size=40)


@settings(max_examples=150, deadline=None)
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=6))
def test_how_a_stream_is_cut_changes_nothing(stream: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[one:other] for one, other in pairwise(edges)]
    assert outcome(pieces) == outcome([stream]) == outcome([bytes([one]) for one in stream])


@settings(max_examples=200, deadline=None)
@given(events=st.lists(st.tuples(
    st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")),
    st.sampled_from(["", JWS])), max_size=5))
def test_what_is_written_is_what_is_read(events: list[tuple[bytes, str]]) -> None:
    stream = b"".join(sse_event(data, envelope) for data, envelope in events)
    assert read(stream) == [SseEvent(data=data, envelope=envelope) for data, envelope in events]
