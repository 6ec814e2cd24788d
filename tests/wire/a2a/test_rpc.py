"""wire/a2a/rpc.py: JSON-RPC, asked and answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.wire.a2a.examples import MESSAGE, PARAMS, SEND, places

from ringwall.errors import BadInput
from ringwall.wire import a2a


def refused(raw: bytes, **more: bool) -> str:
    with pytest.raises(BadInput) as caught:
        a2a.parse_rpc(raw, **more)
    return caught.value.code


def body(**fields: Any) -> bytes:
    whole = {"jsonrpc": "2.0", "id": "1", "method": "GetTask", "params": {"id": "t"}, **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


@pytest.mark.parametrize("method", sorted(PARAMS))
def test_a_request_survives_being_written_and_read(method: str) -> None:
    request = a2a.Request(method=method, params=a2a.check_params(method, PARAMS[method]), id=7)
    assert a2a.parse_rpc(a2a.rpc_request(request), extra=True) == request


@pytest.mark.parametrize("method", sorted(a2a.EXTRA))
def test_methods_of_ours_are_unknown_to_ordinary_clients(method: str) -> None:
    raw = body(method=method, params=PARAMS[method])
    assert refused(raw) == "a2a_unknown_method"
    assert a2a.parse_rpc(raw, extra=True).method == method


@pytest.mark.parametrize("number", [None, 0, -5, 2**53 - 1, "1", "", "x" * 256, "request 1/ü"])
def test_an_id_is_a_text_a_whole_number_or_null(number: Any) -> None:
    assert a2a.parse_rpc(body(id=number)).id == number


def test_an_absent_id_is_null_and_absent_parameters_are_none() -> None:
    assert a2a.parse_rpc(body(id=...)).id is None
    assert a2a.parse_rpc(body(method="ListTasks", params=...)).params == {}


@pytest.mark.parametrize("raw", [
    b"", b"{", b"null", b"1", b'"x"', b"\xef\xbb\xbf" + body(), b"\xff", body() + b"x", body()[:-1],
    body(jsonrpc="1.0"), body(jsonrpc=2.0), body(jsonrpc=...), body(method=...), body(method=1), body(method=None),
    body(id=True), body(id=1.5), body(id=2**53), body(id=[]), body(id={}), body(id="a\0"), body(id="\u202e"),
    body(id="x" * 257), body(id="a\n"),
    body(extra=1), body(Params={}), b"[" + body() + b"]", b"[]",
    body(method="getTask"), body(method="message/send"), body(method="GetTask "), body(method="x\x1b[2J"),
    body(params=None), body(params=[]), body(params=["t"]), body(params="t"),
    b'{"jsonrpc":"2.0","id":"1","id":"2","method":"GetTask","params":{"id":"t"}}',
    b'{"jsonrpc":"2.0","method":"ListTasks","method":"GetTask","params":{"id":"t"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"t","\\u0069d":"u"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"\\ud800"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"t"},"params":{"id":"u"}}',
    b'{"jsonrpc":"2.0","id":NaN,"method":"GetTask","params":{"id":"t"}}',
    b"[" * 100_000, b" " * ((8 << 20) + 1),
])
def test_what_is_no_request_is_refused_with_a_code(raw: bytes) -> None:
    code = refused(raw)
    assert code in {"a2a_bad_rpc", "a2a_unknown_method", "a2a_bad_params", "bad_json", "bad_utf8", "too_deep",
    "too_large",
                    "duplicate_key", "bad_number"}


@pytest.mark.parametrize("at", [at for at in places(SEND) if at and isinstance(at[-1], str)], ids=str)
def test_every_doubled_field_is_refused(at: tuple[str | int, ...]) -> None:
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": mark(SEND, at)})
    assert refused(text.replace('"\\u0001":', f'"{at[-1]}":').encode()) == "duplicate_key"


def mark(value: Any, at: tuple[str | int, ...]) -> Any:
    """A copy with a second field beside the one at this place, named U+0001 for the time being."""
    if len(at) == 1:
        return {**value, "\1": value[at[0]]}
    if isinstance(value, list):
        return [mark(one, at[1:]) if number == at[0] else one for number, one in enumerate(value)]
    return {name: mark(one, at[1:]) if name == at[0] else one for name, one in value.items()}


def answer(**fields: Any) -> bytes:
    return json.dumps({name: value for name, value in {"jsonrpc": "2.0", "id": 1,
    **fields}.items() if value is not ...}).encode()


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b"null", b'"x"', answer(), answer(result=1, error={"code": 1, "message": "x"}),
    answer(result={}, id=2), answer(result={}, id="1"), answer(result={}, id=True), answer(result={}, id=1.0),
    answer(result={}, id=None), answer(result={}, id=...), answer(result={}, jsonrpc="1.0"), answer(result={},
    jsonrpc=...),
    answer(result={}, more=1), answer(error=None), answer(error=[]), answer(error="x"), answer(error={}),
    answer(error={"code": "1", "message": "x"}), answer(error={"code": True, "message": "x"}),
    answer(error={"code": 1.0, "message": "x"}), answer(error={"code": 2**31, "message": "x"}),
    answer(error={"code": 1, "message": 1}), answer(error={"code": 1, "message": "x" * 4097}),
    answer(error={"code": 1, "message": "a\0"}), answer(error={"code": 1, "message": "x", "more": 1}),
    answer(error={"code": 1, "message": "x", "data": [0] * 2000}), answer(error={"code": 1, "message": "x",
    "data": "\0"}),
    answer(error={"code": 1, "message": "x"}, id=2), b'{"jsonrpc":"2.0","id":1,"result":1,"result":2}',
])
def test_an_answer_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        a2a.parse_rpc_answer(raw, 1)
    assert caught.value.code in {"a2a_bad_answer", "bad_json", "duplicate_key"}


def test_an_error_may_have_no_id_because_the_server_could_not_read_it() -> None:
    raw = answer(error={"code": -32700, "message": "not JSON"}, id=None)
    assert a2a.parse_rpc_answer(raw, 1) == a2a.Fault(code=-32700, message="not JSON")


@pytest.mark.parametrize("number", [None, 1, "1"])
def test_an_answer_survives_being_written_and_read(number: Any) -> None:
    fault = a2a.Fault(code=-32001, message="Task nöt found", data=[{"a": 1}])
    assert a2a.parse_rpc_answer(a2a.rpc_fault(number, fault), number) == fault
    assert a2a.parse_rpc_answer(a2a.rpc_fault(number, a2a.Fault(code=1, message="")), number) == a2a.Fault(
        code=1, message="")
    for result in (None, {"a": [1]}, {}):
        assert a2a.parse_rpc_answer(a2a.rpc_result(number, result), number) == result


PLAUSIBLE = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | st.text(max_size=3)},
    optional={
        "id": st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
        "method": st.sampled_from(sorted(PARAMS)) | st.text(max_size=9),
        "params": st.dictionaries(
            st.sampled_from(["id", "message", "taskId", "metadata", "tenant", "x"]),
            st.none() | st.text(max_size=5) | st.integers() | st.just(MESSAGE) | st.just({"a": [1.5]}), max_size=3),
        "x": st.none(),
    },
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=150, deadline=None)
@given(raw=PLAUSIBLE | st.binary(max_size=64), extra=st.booleans())
@example(raw=body(), extra=False)
def test_any_bytes_are_refused_or_have_one_meaning(raw: bytes, extra: bool) -> None:
    try:
        request = a2a.parse_rpc(raw, extra=extra)
    except BadInput as fault:
        assert fault.code
        return
    assert a2a.parse_rpc(a2a.rpc_request(request), extra=extra) == request


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=64) | st.dictionaries(
    st.sampled_from(["jsonrpc", "id", "result", "error"]),
    st.sampled_from(["2.0", 1, None, {}, {"code": 1, "message": "x"}, {"code": 1, "message": "x", "data": [{}]}]),
).map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_refused_or_has_one_meaning(raw: bytes) -> None:
    try:
        value = a2a.parse_rpc_answer(raw, 1)
    except BadInput as fault:
        assert fault.code
        return
    written = a2a.rpc_fault(1, value) if isinstance(value, a2a.Fault) else a2a.rpc_result(1, value)
    assert a2a.parse_rpc_answer(written, 1) == value
