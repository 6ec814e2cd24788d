"""The reader of OPA's answers: one answer exactly, however its bytes are cut, or a refusal."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.policy.opa.http import MAX_HEAD, Response, ResponseReader, request

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"result\": 1}"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{\"resu\r\n7\r\nlt\": 1}\r\n0\r\n\r\n"


def read(parts: list[bytes], most: int = 1000) -> Response | None:
    reader = ResponseReader(most)
    found: Response | None = None
    for part in parts:
        found = reader.feed(part)
    return found


@given(st.sampled_from([LENGTH, CHUNKS]), st.lists(st.integers(0, len(LENGTH)), max_size=6))
def test_an_answer_is_the_same_however_it_is_cut(raw: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parts = [raw[a:b] for a, b in pairwise(edges)]
    assert read(parts) == Response(status=200, body=b'{"result": 1}', reusable=True)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_a_refusal_or_not_all_there(raw: bytes) -> None:
    try:
        found = read([raw])
    except BadInput as fault:
        assert fault.code == "bad_http"
    else:
        assert found is None or 200 <= found.status <= 599


@given(st.sampled_from([LENGTH, CHUNKS]), st.integers(0, len(LENGTH) - 1), st.integers(0, 255))
def test_one_changed_byte_gives_no_longer_body_than_was_sent(raw: bytes, at: int, byte: int) -> None:
    at %= len(raw)
    try:
        found = read([raw[:at] + bytes([byte]) + raw[at + 1:]])
    except BadInput:
        return
    assert found is None or len(found.body) <= len(raw)


@given(st.integers(0, len(LENGTH) - 1))
def test_a_part_of_an_answer_is_no_answer(cut: int) -> None:
    assert read([LENGTH[:cut]]) is None


@pytest.mark.parametrize("parts", [
    [LENGTH, b"x"], [LENGTH + LENGTH], [LENGTH + b"x"], [b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD],
    [b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1001],
    [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"],
    [b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    [b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"],
    [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"],
])
def test_what_is_not_one_answer_within_its_limits_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(BadInput):
        read(parts)


def test_an_answer_without_a_length_has_no_end() -> None:
    assert read([b"HTTP/1.1 200 OK\r\n\r\n{}"]) is None


def test_a_connection_that_will_be_closed_is_not_used_again() -> None:
    found = read([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"])
    assert found is not None and not found.reusable


def test_a_request_says_how_long_it_is() -> None:
    head, _, body = request("POST", "/v1/data", b"{}").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/data HTTP/1.1\r\nHost: ") and b"Content-Length: 2" in head and body == b"{}"
