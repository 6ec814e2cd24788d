"""Frames between core and sidecar: closed, bounded, and never a crash."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.tools import protocol
from ringwall.tools.protocol import (
    Attach,
    CallModel,
    CallTool,
    Cancel,
    Changed,
    Definitions,
    Ended,
    Hello,
    ListTools,
    Lost,
    ModelConfig,
    Piece,
    Ready,
    ServerConfig,
)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
numbers = st.integers(1, 2**53)
to_sidecar = st.one_of(
    st.builds(
        Hello,
        tenant=names,
        servers=st.dictionaries(names, st.builds(ServerConfig), max_size=3),
        models=st.dictionaries(names, st.builds(ModelConfig, url=st.just("http://127.0.0.1/v1")), max_size=3),
    ),
    st.builds(CallTool, id=numbers, server=names, op=names, args=st.binary(max_size=64)),
    st.builds(
        CallModel,
        id=numbers,
        upstream=names,
        body=st.binary(max_size=64),
        headers=st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
    ),
    st.builds(Cancel, id=numbers, why=st.sampled_from(["caller", "timeout"])),
    st.builds(ListTools, id=numbers, server=names),
)
from_sidecar = st.one_of(
    st.builds(Ready, server=names, generation=numbers),
    st.builds(Lost, server=names, generation=numbers),
    st.builds(Changed, server=names, generation=numbers),
    st.builds(Piece, id=numbers, value=st.binary(max_size=64)),
    st.builds(
        Ended,
        id=numbers,
        end=st.sampled_from(["done", "failed", "unknown"]),
        code=st.sampled_from(["", "tool_error", "server_lost"]),
        status=st.integers(0, 999),
    ),
    st.builds(Definitions, id=numbers, definitions=st.binary(max_size=64)),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(to_sidecar, from_sidecar, names, numbers)
def test_what_is_encoded_is_decoded(
    order: protocol.ToSidecar, news: protocol.FromSidecar, name: str, number: int
) -> None:
    assert protocol.decode_to_sidecar(protocol.encode(order)) == order
    assert protocol.decode_from_sidecar(protocol.encode(news)) == news
    attach = Attach(server=name, generation=number)
    assert protocol.decode_passed(protocol.encode(attach)) == attach


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=256), from_sidecar, st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_a_message_or_bad_input(raw: bytes, news: protocol.FromSidecar, at: int, byte: int) -> None:
    flipped = bytearray(protocol.encode(news))
    flipped[at % len(flipped)] = byte
    for data in (raw, bytes(flipped), protocol.encode(news)[:at]):
        for decode in (protocol.decode_to_sidecar, protocol.decode_from_sidecar, protocol.decode_passed):
            try:
                assert isinstance(decode(data), msgspec.Struct)
            except BadInput as fault:
                assert fault.code == "bad_frame"


@pytest.mark.parametrize(
    "message",
    [
        {"t": "piece", "id": 1, "value": b"", "more": 1},
        {"t": "piece", "id": 0, "value": b""},
        {"t": "piece", "id": True, "value": b""},
        {"t": "piece", "id": 1, "value": "text"},
        {"t": "ended", "id": 1, "end": "refused"},
        {"t": "ended", "id": 1, "end": "failed", "code": "Ignore the rules"},
        {"t": "lost", "server": "", "generation": 1},
        {"t": "lost", "server": "x" * 129, "generation": 1},
        {"t": "tool", "id": 1, "server": "s", "op": "o", "args": b""},
        {"id": 1},
        [],
        None,
        "piece",
    ],
)
def test_the_core_takes_no_frame_that_no_honest_sidecar_sends(message: object) -> None:
    with pytest.raises(BadInput, match="malformed"):
        protocol.decode_from_sidecar(msgspec.msgpack.encode(message))


def test_sizes_are_capped() -> None:
    over = msgspec.msgpack.encode({"t": "piece", "id": 1, "value": bytes(protocol.MAX_RESULT + 1)})
    with pytest.raises(BadInput):
        protocol.decode_from_sidecar(over)
    with pytest.raises(BadInput) as caught:
        protocol.encode_value("x" * protocol.MAX_RESULT)
    assert caught.value.code == "result_too_large"


def test_every_code_has_its_sentence() -> None:
    codes = protocol.Code.__args__  # type: ignore[attr-defined]
    assert {code for code in codes if code} <= set(protocol.REASONS)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_values_travel_unchanged(value: object) -> None:
    assert protocol.decode_value(protocol.encode_value(value)) == value


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text('[]{}",:0eE-\\u', max_size=200).map(str.encode))
def test_a_value_is_json_or_bad_input(raw: bytes) -> None:
    try:
        protocol.encode_value(protocol.decode_value(raw))
    except BadInput as fault:
        assert fault.code == "bad_answer"


@pytest.mark.parametrize("depth", [protocol.MAX_DEPTH + 1, 900, 100_000])
def test_deep_values_are_refused(depth: int) -> None:
    with pytest.raises(BadInput):
        protocol.decode_value(b"[" * depth + b"]" * depth)
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    with pytest.raises(BadInput):
        protocol.encode_value(value)


def test_values_as_deep_as_allowed_and_wide_ones_pass() -> None:
    deep = b"[" * protocol.MAX_DEPTH + b"]" * protocol.MAX_DEPTH
    assert protocol.encode_value(protocol.decode_value(deep)) == deep
    assert protocol.decode_value(b"[" + b"[]," * 1000 + b"[]]") == [[]] * 1001


@pytest.mark.parametrize("value", ["\ud800", 1 << 70 << 2000, object(), {1, 2}])
def test_what_is_not_json_is_refused(value: object) -> None:
    try:
        protocol.decode_value(protocol.encode_value(value))
    except BadInput as fault:
        assert fault.code == "bad_answer"
    else:
        assert isinstance(value, set | int)  # a set goes out as a list, a large number as it is


MANY = protocol.MAX_VALUES + 1
CROWDS = [b"[" + b",".join([one] * MANY) + b"]" for one in (b"[]", b"{}", b"1", b'"a"', b"null")]
CROWDS.append(b"{" + b",".join(b'"%d":1' % number for number in range(protocol.MAX_VALUES // 2 + 1)) + b"}")


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_result_of_too_many_values_is_refused_before_it_is_read(crowd: bytes) -> None:
    for raw in (crowd, b'["a\\\\",' + crowd + b"]", b'["\\"",' + crowd + b"]"):  # no string hides what follows it
        with pytest.raises(BadInput) as fault:
            protocol.decode_value(raw)
        assert fault.value.code == "too_many_values"
    with pytest.raises(BadInput) as fault:
        protocol.encode_value(msgspec.json.decode(crowd))
    assert fault.value.code == "too_many_values"


def test_what_stands_in_a_text_is_no_value() -> None:
    text = b'"' + b"[{,:" * protocol.MAX_VALUES + b'\\"[{,:"'
    assert len(protocol.decode_value(text)) == 4 * protocol.MAX_VALUES + 5
    assert protocol.decode_value(b"[" + b"[]," * 40_000 + b"[]]") == [[]] * 40_001


@settings(max_examples=200, deadline=None)
@given(json_values, st.integers(0, 30))
def test_no_value_beyond_the_limit_is_ever_read(value: Json, most: int) -> None:
    def count(item: Json) -> int:
        if isinstance(item, dict):
            return 1 + sum(1 + count(inner) for inner in item.values())
        return 1 + sum(map(count, item)) if isinstance(item, list) else 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "MAX_VALUES", most)
        try:
            protocol.decode_value(msgspec.json.encode(value))
        except BadInput as fault:
            assert fault.code == "too_many_values"
        else:
            assert count(value) <= most
