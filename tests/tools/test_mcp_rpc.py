"""JSON-RPC from servers: one reading or none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.tools import mcp_headers, mcp_rpc
from ringwall.tools.mcp_rpc import Answer, Listing, Note, Request

WORDS = st.text(max_size=8)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
                    max_leaves=12)  # fmt: skip
PARTS = st.fixed_dictionaries({}, optional={
    "jsonrpc": st.sampled_from(["2.0", "1.0", 2]), "id": JSON, "method": JSON, "params": JSON, "result": JSON,
    "error": JSON,
})


@given(PARTS)
@settings(max_examples=200)
def test_any_object_is_one_kind_of_message_or_refused(parts: dict[str, Any]) -> None:
    try:
        found = mcp_rpc.parse(json.dumps(parts).encode())
    except BadInput as fault:
        assert fault.code == "bad_answer"
        return
    assert parts["jsonrpc"] == "2.0"
    match found:
        case Request():
            assert (found.id, found.method) == (parts["id"], parts["method"])
            assert type(found.id) in {int, str}
        case Note():
            assert "id" not in parts
            assert found.method == parts["method"]
        case Answer():
            assert "method" not in parts
            assert (found.result is None) != (found.error is None)
            assert ("result" in parts) != ("error" in parts)


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_any_bytes_are_a_message_or_refused(noise: bytes) -> None:
    for read in (mcp_rpc.parse, mcp_rpc.fields, mcp_rpc.error):
        try:
            read(noise)
        except BadInput as fault:
            assert fault.code in {"bad_answer", "too_many_values"}


@pytest.mark.parametrize(("raw", "code"), [
    (b'{"a":1,"a":2}', "bad_answer"), (b'{"a":' * 200 + b"1" + b"}" * 200, "bad_answer"),
    (b'{"a":[' + b"1," * 100_001 + b"1]}", "too_many_values"), (b"[]", "bad_answer"),
    (b'{"a":"\\ud800"}', "bad_answer"), (b'{"a":1e999}', "bad_answer"), (b"", "bad_answer"),
])
def test_what_has_more_than_one_reading_or_is_too_much_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        mcp_rpc.fields(raw)
    assert caught.value.code == code


def page(value: Any) -> Answer:
    return Answer(1, result=json.dumps(value).encode())


TOOL = {"name": "a", "inputSchema": {}}


@pytest.mark.parametrize("value", [
    {}, {"tools": {}}, {"tools": ["a"]}, {"tools": [{"name": "a"}]}, {"tools": [{"inputSchema": {}}]},
    {"tools": [{**TOOL, "inputSchema": []}]}, {"tools": [{**TOOL, "name": 1}]}, {"tools": [TOOL, TOOL]},
    {"tools": [{**TOOL, "annotations": "x"}]}, {"tools": [{**TOOL, "description": {}}]},
    {"tools": [{**TOOL, "title": 1}]},
])
def test_a_listing_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(BadInput):
        Listing().add(page(value))


def test_a_listing_keeps_what_is_pinned_and_has_an_end() -> None:
    listing = Listing()
    assert listing.add(page({"tools": [{**TOOL, "icons": [], "title": None}], "nextCursor": "2"})) == "2"
    with pytest.raises(BadInput):
        listing.add(page({"tools": [TOOL]}))
    assert listing.tools == [TOOL]
    endless = Listing()
    with pytest.raises(BadInput):
        for number in range(100):
            endless.add(page({"tools": [{**TOOL, "name": str(number)}], "nextCursor": "x"}))


def test_a_server_without_tools_lists_none() -> None:
    listing = Listing()
    assert listing.add(Answer(1, error=b'{"code":-32601,"message":"no"}')) is None
    assert listing.tools == []
    with pytest.raises(BadInput):
        Listing().add(Answer(1, error=b'{"code":-32603,"message":"no"}'))


@given(st.text(max_size=60))
def test_a_header_gives_back_the_text_it_was_made_of(text: str) -> None:
    from mcp.shared.inbound import decode_header_value  # another's reading of the same standard

    try:
        sent = mcp_headers.encoded(text)
    except UnicodeEncodeError:
        return  # a lone surrogate, which no call can hold
    assert sent.isascii()
    assert sent.isprintable()
    assert decode_header_value(sent) == text


@pytest.mark.parametrize("name", ["", "a b", "a\r\nX: y", "ü", "x" * 1025])
def test_a_sessions_name_that_cannot_be_sent_back_is_none(name: str) -> None:
    assert mcp_headers.session_id(name) is None
    assert mcp_headers.session_id("abc-123") == "abc-123"
