"""One JSON-RPC message: what is read, what is refused, and that reading never fails otherwise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.mcp.support import code_of

from ringwall.errors import BadInput
from ringwall.wire.mcp import rpc
from ringwall.wire.mcp.rpc import Answer, Fault, Notification, Request


def test_a_request_a_notification_and_both_kinds_of_answer_are_told_apart() -> None:
    assert rpc.parse(b'{"jsonrpc":"2.0","id":1,"method":"ping"}') == Request(id=1, method="ping")
    assert rpc.parse(b'{"jsonrpc":"2.0","method":"a/b","params":{"x":1}}') == Notification(
        method="a/b", params={"x": 1})
    assert rpc.parse(b'{"jsonrpc":"2.0","id":"q","result":{}}') == Answer(id="q", result={})
    assert rpc.parse(b'{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"no"}}') == Answer(
        id=2, fault=Fault(code=-1, message="no"))


@pytest.mark.parametrize("raw", [
    b"[]", b"1", b"{}", b'{"id":1,"method":"ping"}', b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":9007199254740992,"method":"ping"}', b'{"jsonrpc":"2.0","id":1,"method":""}',
    b'{"jsonrpc":"2.0","id":1,"method":7}', b'{"jsonrpc":"2.0","id":1,"method":"p\\u0456ng"}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', b'{"jsonrpc":"2.0","id":1,"method":"ping","x":1}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', b'{"jsonrpc":"2.0","id":1}',
    b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}',
    b'{"jsonrpc":"2.0","id":1,"result":3}', b'{"jsonrpc":"2.0","id":1,"error":"no"}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":""}}', b'{"jsonrpc":"2.0","result":{}}',
    b'{"jsonrpc":"2.0","id":"' + b"x" * 257 + b'","method":"ping"}',
])  # fmt: skip
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    assert code_of(lambda: rpc.parse(raw)) == "mcp_bad_rpc"


@pytest.mark.parametrize(("raw", "code"), [
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', "duplicate_key"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"', "bad_json"),
    (b'{"jsonrpc":"2.0","id":1,"method":"p","params":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}", "too_deep"),
    (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', "bad_utf8"),
    (b" " * (1 << 20) + b"{}", "too_large"),
])  # fmt: skip
def test_a_message_has_one_reading_or_none(raw: bytes, code: str) -> None:
    assert code_of(lambda: rpc.parse(raw)) == code


_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                       lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner,
                                                                                   max_size=3), max_leaves=8)
_MESSAGES = st.fixed_dictionaries({}, optional={
    "jsonrpc": st.sampled_from(["2.0", "1.0", 2]), "id": _VALUES, "method": st.sampled_from(["ping", ""]) | _VALUES,
    "params": _VALUES, "result": _VALUES, "error": _VALUES, "extra": _VALUES})  # fmt: skip


@given(_MESSAGES)
@settings(max_examples=200, deadline=None)
def test_any_object_is_a_message_or_a_refusal(value: object) -> None:
    raw = json.dumps(value).encode()
    try:
        found = rpc.parse(raw)
    except BadInput:
        return
    if isinstance(found, Request):
        assert rpc.parse(rpc.request(found.id, found.method, found.params)) == found
        assert rpc.rpc_id(raw) == found.id


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_message_or_a_refusal(raw: bytes) -> None:
    rpc.rpc_id(raw)
    try:
        rpc.parse(raw)
    except BadInput as fault:
        assert fault.code


def test_the_id_of_a_refused_message_is_said_back_where_it_can_be_told() -> None:
    assert rpc.rpc_id(b'{"id":"q","method":[]}') == "q"
    assert rpc.rpc_id(b'{"id":{"a":1}}') is None
    assert rpc.rpc_id(b'{"id":1') is None
    assert rpc.rpc_id(b'{"id":"' + b"x" * 300 + b'"}') is None


def test_what_goes_out_is_one_line() -> None:
    said = rpc.error(None, Fault(code=-32000, message="two\nlines", data={"record": "acme/1"}))
    assert b"\n" not in said
    assert json.loads(said) == {"jsonrpc": "2.0", "id": None, "error": {
        "code": -32000, "message": "two\nlines", "data": {"record": "acme/1"}}}
    assert json.loads(rpc.notification("n")) == {"jsonrpc": "2.0", "method": "n"}
