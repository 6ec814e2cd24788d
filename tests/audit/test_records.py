from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.support import a_call, verdicts

from ringwall.audit.records import (
    MAX_HASHES,
    call_record,
    cut_record,
    effects,
    event_record,
    keyed_hashes,
    outcome_record,
    parse_record,
)
from ringwall.audit.recovery import OPENS
from ringwall.audit.sessions import SessionKey
from ringwall.call import Event, Outcome, canonical
from ringwall.errors import BadInput

KEY = SessionKey("k1", "s1", b"k" * 32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8),
                                                                inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80)
@given(args=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), JSON, max_size=4))
def test_any_call_is_written_as_one_canonical_record_and_read_back_whole(args: dict[str, object]) -> None:
    call = a_call(args)
    raw = call_record(call, verdicts(), type="intent", now=1.5, key=KEY, standing={})
    record = parse_record(3, raw)
    assert (record.type, record.time, record.key_id) == ("intent", 1.5, "k1")
    assert record.clear["digest"] == call.digest
    body = record.unseal(KEY)
    assert canonical(body["input"]["call"]["args"]) == canonical(args)
    assert b"\0" not in raw
    assert effects(raw) == OPENS


@settings(max_examples=200)
@given(raw=st.one_of(st.binary(max_size=200), JSON.map(canonical),
                     st.dictionaries(st.sampled_from(["v", "type", "time", "of", "end", "verdicts", "body"]),
                                     st.sampled_from([1, "intent", "outcome", None, [], [[1]], 2.0, "x", {}]))
                     .map(canonical)))
def test_arbitrary_bytes_are_a_record_or_refused_with_a_code(raw: bytes) -> None:
    try:
        record = parse_record(0, raw)
    except BadInput as fault:
        assert fault.code == "bad_record"
    else:
        whole = msgspec.json.decode(raw)
        whole.pop("body", None)
        assert record.clear == whole
    assert effects(raw) is None or isinstance(effects(raw), int)


@pytest.mark.parametrize("raw", [
    b'{"time":1,"type":"x","v":1} ', b'{"type":"x","time":1,"v":1}', b'{"time":1,"type":"x","v":2}',
    b'{"time":1,"time":1,"type":"x","v":1}', b'{"time":true,"type":"x","v":1}', b"[]", b"", b"[" * 5000,
    b'{"end":"done","of":true,"time":1,"type":"outcome","v":1}', b'{"time":1,"type":"intent","v":1}',
    b'{"body":"!","time":1,"type":"x","v":1}', b'{"body":1,"time":1,"type":"x","v":1}',
])
def test_what_is_not_exactly_a_record_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput, match="bad_record"):
        parse_record(0, raw)


@settings(max_examples=60)
@given(place=st.integers(0, 5000), bit=st.integers(0, 7))
def test_a_changed_record_never_opens(place: int, bit: int) -> None:
    raw = bytearray(call_record(a_call(), verdicts(), type="intent", now=1.5, key=KEY, standing={}))
    raw[place % len(raw)] ^= 1 << bit
    try:
        body = parse_record(0, bytes(raw)).unseal(KEY)
    except BadInput:
        return
    assert body is None  # the key "body" itself was renamed


def test_the_hashes_of_a_huge_call_are_bounded() -> None:
    found = keyed_hashes({"a": [list(range(1000))] * 50, "b": {str(n): n for n in range(5000)}}, KEY, named=True)
    assert len(found) <= MAX_HASHES + 1


def test_what_an_agent_names_the_parts_of_a_model_request_does_not_stand_in_clear() -> None:
    request = {"tools": [{"function": {"parameters": {"ghp_s3cret": {}, "x": 1}}}], "logit_bias": {"4111": 1}}
    call = dataclasses.replace(a_call(request), kind="model")
    raw = call_record(call, verdicts(), type="refused", now=1.5, key=KEY, standing={})
    assert b"ghp_s3cret" not in raw
    assert b"4111" not in canonical(parse_record(0, raw).clear["hashes"])
    assert list(parse_record(0, raw).clear["hashes"]) == ["*"]


def test_an_outcome_keeps_its_reason_sealed() -> None:
    raw = outcome_record(7, Outcome(end="failed", code="tool_error", reason="card 4111 was refused"), now=1.0,
                         call="c1", subject="s", key=KEY, session="s1")
    assert b"4111" not in raw
    assert effects(raw) == 7
    assert parse_record(8, raw).unseal(KEY) == {"reason": "card 4111 was refused"}


def test_a_cut_and_an_event_do_not_touch_open_intents() -> None:
    cut = cut_record(now=1.0, tenant="acme", segment=0, offset=5, size=6, sha256="0")
    assert parse_record(0, cut).type == "cut"
    event = event_record(Event(type="launch", tenant="acme", body={"of": 3}), now=1.0, standing={})
    assert effects(cut) is None
    assert effects(event) is None
