"""wire/sse.py: streams of events, written and read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.wire.sse import MAX_NAME, Event, Reader, event

LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
PLAIN = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=10)


def read(*pieces: bytes, end: bool = True) -> list[Event]:
    reader = Reader(max_event=1000, max_stream=10_000)
    events = [one for piece in pieces for one in reader.feed(piece)]
    if end:
        reader.end()
    return events


def outcome(pieces: list[bytes]) -> list[Event] | str:
    try:
        return read(*pieces)
    except BadInput as fault:
        return fault.code


def test_what_was_written_is_read() -> None:
    assert read(event(b'{"a":1}', name="delta", id="7", retry=20), event(b"")) == [
        Event(data=b'{"a":1}', name="delta", id="7", retry=20), Event(data=b"", id="7")]


@pytest.mark.parametrize(("stream", "events"), [
    (b"", []),
    (b"\n\r\n\r\n\n", []),
    (b": comment\n\n", []),
    (b"data\n\n", [Event(data=b"")]),
    (b"data:a\ndata: b\ndata:  c\n\n", [Event(data=b"a\nb\n c")]),
    (b"data: a\r\rdata: b\n\r\ndata: c\r\n\n", [Event(data=b"a"), Event(data=b"b"), Event(data=b"c")]),
    (b"event: x\n\ndata: a\n\n", [Event(data=b"a")]),  # an event without data is none
    (b"event: x\nevent: y\ndata: a\n\n", [Event(data=b"a", name="y")]),
    (b"id: 1\n\ndata: a\n\nid\ndata: b\n\n", [Event(data=b"a", id="1"), Event(data=b"b")]),
    (b"id: 1\nid: a\0b\ndata: a\n\n", [Event(data=b"a", id="1")]),
    (b"retry: 5\nretry: x\nretry: -1\nretry: 1234567890\ndata: a\n\n", [Event(data=b"a", retry=5)]),
    (b"retry: 5\n\ndata: a\n\ndata: b\n\n", [Event(data=b"a", retry=5), Event(data=b"b")]),
    (b"Data: a\n data: a\nzebra: a\ndata : a\ndata: b\n\n", [Event(data=b"b")]),
    (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [Event(data=b"a")]),
    ("data: ü€😀\u2028\x85\x0b\n\n".encode(), [Event(data="ü€😀\u2028\x85\x0b".encode())]),
])
def test_streams_are_read_as_the_standard_says(stream: bytes, events: list[Event]) -> None:
    assert read(stream) == events
    assert read(*(stream[at:at + 1] for at in range(len(stream)))) == events


@pytest.mark.parametrize("stream", [b"data: a", b"data: a\n", b"data: a\n\ndata: b\r", b"x", b": comment"])
def test_a_stream_that_ends_within_an_event_is_an_error(stream: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        read(stream)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(("stream", "code"), [
    (b"data: " + b"x" * 1001, "result_too_large"),
    (b"x" * 1100, "result_too_large"),
    (b"data: " + b"x" * 600 + b"\ndata: " + b"x" * 600, "result_too_large"),
    (b"data:\n" * 1500, "result_too_large"),
    (b":\n" * 6000, "result_too_large"),
    (b"id: \xff\n", "bad_sse"),
    (b"event: \xed\xa0\x80\n", "bad_sse"),
])
def test_what_is_too_large_or_no_text_is_refused(stream: bytes, code: str) -> None:
    for pieces in ([stream], [stream[at:at + 7] for at in range(0, len(stream), 7)]):
        with pytest.raises(BadInput) as caught:
            read(*pieces, b"\n", end=False)
        assert caught.value.code == code


def test_a_name_has_a_bound_of_its_own() -> None:
    reader = Reader(max_event=1 << 20, max_stream=1 << 20)
    with pytest.raises(BadInput, match="bytes"):
        reader.feed(b"id: " + b"x" * (MAX_NAME + 1) + b"\n")


@pytest.mark.parametrize(("data", "more"), [
    (b"a\nb", {}), (b"a\r", {}), (b"", {"name": "a\nb"}), (b"", {"name": "a\0"}), (b"", {"id": "a\r"}),
    (b"", {"id": "\ud800"}), (b"", {"retry": -1})])
def test_nothing_breaks_out_of_an_event(data: bytes, more: dict[str, str]) -> None:
    with pytest.raises(BadInput) as caught:
        event(data, **more)  # type: ignore[arg-type]
    assert caught.value.code == "bad_sse"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b"data", b"event", b"id", b"retry", b":", b" ", b"\r", b"\n", b"\n\n", b"\r\n",
                                 b"1", b"\0", b"\xef\xbb\xbf", "ü".encode(), b"\xff", b"x" * 400]), max_size=30),
       st.lists(st.integers(0, 4000), max_size=12))
def test_any_way_to_cut_a_stream_gives_the_same_events(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert outcome([stream[start:stop] for start, stop in pairwise(places)]) == outcome([stream])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(LINE, PLAIN, PLAIN.filter(bool), st.none() | st.integers(0, 10**9 - 1)), max_size=5),
       st.integers(1, 9))
def test_any_written_events_are_read_back(written: list[tuple[str, str, str, int | None]], size: int) -> None:
    stream = b"".join(event(data.encode(), name=name, id=number, retry=retry)
                      for data, name, number, retry in written)
    assert read(*(stream[at:at + size] for at in range(0, len(stream), size))) == [
        Event(data=data.encode(), name=name, id=number, retry=retry) for data, name, number, retry in written]
