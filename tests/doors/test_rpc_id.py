"""The id that a JSON-RPC answer says back, also where the request itself is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.doors.a2a import rpc_id


@pytest.mark.parametrize(("body", "found"), [
    (b'{"id":1}', 1),
    (b'{"params":{"id":3},"id":"x"}', "x"),
    (b'{"id":null}', None),
    (b'{"id":true}', None),
    (b'{"id":1.5}', None),
    (b'{"id":[1]}', None),
    (b'{"id":9007199254740993}', None),
    (b"[]", None),
    (b"{", None),
    (b'{"id":"\xff"}', None),
    (b'{"a":' * 100_000, None),
])
def test_only_a_text_or_a_number_that_every_parser_reads_alike_is_said_back(body: bytes, found: object) -> None:
    assert rpc_id(body) == found


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(body: bytes) -> None:
    assert rpc_id(body) is None or isinstance(rpc_id(body), str | int)


@given(st.one_of(st.text(), st.integers(-(2**53), 2**53)), st.dictionaries(st.text(), st.text()))
def test_it_is_the_id_of_the_request(number: str | int, more: dict[str, str]) -> None:
    assert rpc_id(json.dumps({**more, "id": number}).encode()) == number
