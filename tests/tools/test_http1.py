"""The reader of one answer from a stranger: what it takes, in whatever pieces it comes, and all it does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.tools.http1 import MAX_FIELDS, MAX_HEAD, MAX_INTERIM, MAX_PIECE, AnswerReader, request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(*parts: bytes, bodiless: bool = False, end: bool = False) -> AnswerReader:
    reader = AnswerReader(bodiless=bodiless)
    for part in parts:
        reader.feed(part)
    if end:
        reader.closed()
    return reader


def seen(parts: list[bytes], *, bodiless: bool = False, end: bool = False) -> tuple[object, ...]:
    """All that a reader has to say about an answer."""
    try:
        reader = read(*parts, bodiless=bodiless, end=end)
    except BadInput as fault:
        return ("fault", fault.code)
    return reader.status, reader.headers, reader.take(), reader.whole, reader.reusable


@pytest.mark.parametrize(
    ("answer", "body", "reusable"),
    [
        (OK + b"Content-Length: 2\r\n\r\nab", b"ab", True),
        (OK + b"Content-Length: 0\r\n\r\n", b"", True),
        (CHUNKED + b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: 1\r\n\r\n", b"abc", True),
        (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nab", b"ab", False),
        (OK + b"Connection: x , Close\r\nContent-Length: 2\r\n\r\nab", b"ab", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", b"ab", False),
        (b"HTTP/1.1 204 No\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n", b"", True),
    ],
)
def test_a_whole_answer_is_known_as_one(answer: bytes, body: bytes, reusable: bool) -> None:
    reader = read(answer)
    assert (reader.whole, reader.take(), reader.reusable) == (True, body, reusable)
    assert all(name != b"link" for name, _ in reader.headers)


@pytest.mark.parametrize("tail", [b"x", b"\r\n", b"\n", OK, OK + b"Content-Length: 0\r\n\r\n"])
@pytest.mark.parametrize("answer", [OK + b"Content-Length: 2\r\n\r\nab", CHUNKED + b"2\r\nab\r\n0\r\n\r\n",
                                    b"HTTP/1.1 204 No\r\n\r\n"])
@pytest.mark.parametrize("apart", [True, False])
def test_bytes_behind_an_answer_change_nothing_but_cost_the_connection(
        answer: bytes, tail: bytes, apart: bool) -> None:
    reader = read(answer, tail) if apart else read(answer + tail)
    assert (reader.status, reader.whole, reader.take()) == (read(answer).status, True, read(answer).take())
    assert not reader.reusable
    assert len(reader.headers) <= 1


def test_the_answer_to_a_head_has_no_body_whatever_it_says() -> None:
    assert read(OK + b"Content-Length: 5\r\n\r\n", bodiless=True).reusable
    assert read(CHUNKED, bodiless=True).reusable
    surplus = read(OK + b"Content-Length: 5\r\n\r\nhello", bodiless=True)
    assert (surplus.whole, surplus.take(), surplus.reusable) == (True, b"", False)


def test_a_body_without_a_length_ends_with_its_connection_and_others_do_not() -> None:
    reader = read(OK + b"\r\nab")
    assert not reader.whole
    reader.closed()
    assert (reader.whole, reader.take(), reader.reusable) == (True, b"ab", False)
    for short in (b"", b"HTTP/1.1 2", OK, OK + b"Content-Length: 3\r\n\r\nab", CHUNKED + b"2\r\nab\r\n",
                  b"HTTP/1.1 100 C\r\n\r\n"):
        with pytest.raises(BadInput):
            read(short, end=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 103 E\r\nContent-Length: 1\r\n\r\na" + OK + b"\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Content-Length: 2, 2\r\n\r\nab",
        OK + b"Content-Length: +2\r\n\r\nab",
        OK + b"Content-Length: 99999999999999999999\r\n\r\nab",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"2\r\nabc\r\n",
        OK + b"A : b\r\n\r\n",
        OK + b": b\r\n\r\n",
        OK + b"A: b\r\n c\r\n\r\n",
        OK + b"A: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n\n",
    ],
)
def test_what_may_be_read_in_two_ways_is_read_in_none(answer: bytes) -> None:
    assert seen([answer]) == ("fault", "bad_http")
    assert seen([answer[n : n + 1] for n in range(len(answer))]) == ("fault", "bad_http")


def test_there_is_a_limit_to_everything_but_the_body() -> None:
    large = ("fault", "result_too_large")
    assert seen([OK + b"X: " + b"a" * MAX_HEAD + b"\r\n\r\n"]) == large
    assert seen([OK + b"X: ", *[b"a" * 1000] * 100]) == large
    assert seen([b"HTTP/1.1 200 " + b"a" * (MAX_HEAD + 1)]) == large
    assert seen([b"a" * 1000] * 100) == large
    fields = [b"X-%d: a\r\n" % n for n in range(MAX_FIELDS + 1)]
    assert seen([OK, *fields, b"\r\n"]) == large
    assert seen([OK, *fields[1:], b"\r\n"])[0] == 200
    interim = b"HTTP/1.1 100 C\r\n\r\n"
    assert seen([interim] * (MAX_INTERIM + 1)) == ("fault", "bad_http")
    assert seen([*[interim] * MAX_INTERIM, OK + b"Content-Length: 0\r\n\r\n"])[0] == 200
    beside = ("fault", "bad_http")
    assert seen([CHUNKED + b"1;", *[b"a" * 1000] * 100]) == beside
    assert seen([CHUNKED + b"0\r\n", *[b"A: b\r\n" * 100] * 200]) == beside
    assert seen([CHUNKED, *[b"1\r\na\r\n"] * 50_000])[0] == 200  # what a stream of small pieces looks like


FIELD = st.sampled_from([b"Content-Length: 2", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y",
                         b"Connection: close", b"Content-Type: a/b; c=d", b"A B: c", b"X:\xe9", b"Upgrade: h2c"])
HEAD = st.builds(
    lambda start, fields: b"\r\n".join([start, *fields, b"", b""]),
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 100 Continue",
                     b"HTTP/1.1 302", b"HTTP/1.1 101 S", b"RTSP/1.0 200 OK"]),
    st.lists(FIELD, max_size=3))
TAIL = st.sampled_from([b"ab", b"2\r\nab\r\n", b"0\r\n\r\n", b"0\r\nT: u\r\n\r\n", b"\r\n", b"hello", b""])
ANSWER = st.lists(HEAD | TAIL | st.binary(max_size=6), max_size=6).map(b"".join)


@given(answer=ANSWER, cuts=st.sets(st.integers(0, 250)), bodiless=st.booleans(), end=st.booleans())
@settings(max_examples=400)
def test_an_answer_is_the_same_however_it_is_cut(
        answer: bytes, cuts: set[int], bodiless: bool, end: bool) -> None:
    places = sorted(cut for cut in cuts if cut < len(answer))
    parts = [answer[a:b] for a, b in zip([0, *places], [*places, len(answer)], strict=True)]
    assert seen(parts, bodiless=bodiless, end=end) == seen([answer], bodiless=bodiless, end=end)


@given(st.lists(st.binary(max_size=40), max_size=10))
@settings(max_examples=200)
def test_hostile_bytes_are_no_answer_or_bad_input(parts: list[bytes]) -> None:
    assert seen([OK, *parts])
    assert seen([CHUNKED, *parts], end=True)
    assert seen(parts)


def test_a_body_is_taken_in_steps_however_it_came() -> None:
    body = bytes(range(256)) * 1000
    reader = read(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    taken: list[bytes] = []
    while reader.waiting:
        taken.append(reader.take())
    assert b"".join(taken) == body and max(map(len, taken)) == MAX_PIECE
    assert reader.take() == b""


def test_a_request_has_a_length_only_where_it_has_a_body() -> None:
    host = [(b"Host", b"a")]
    assert request("GET", "/b?c", host, None) == b"GET /b?c HTTP/1.1\r\nHost: a\r\n\r\n"
    assert request("POST", "/", host, b"") == b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    assert request("PUT", "/", host, b"xy") == b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy"
