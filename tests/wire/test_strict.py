"""wire/strict.py: one reading or none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.call import canonical
from ringwall.errors import BadInput
from ringwall.wire import strict

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner, max_size=4),
    max_leaves=20,
)

REFUSED = [
    (b"", "bad_json"),
    (b"  ", "bad_json"),
    (b'{"a":1', "bad_json"),
    (b'{"a":1}x', "bad_json"),
    (b"[1,]", "bad_json"),
    (b"01", "bad_json"),
    (b"'a'", "bad_json"),
    (b"NaN", "bad_json"),
    (b"[Infinity]", "bad_json"),
    (b"-Infinity", "bad_json"),
    (b"1e999", "bad_number"),
    (b"-1e999", "bad_number"),
    (b"1" * 65, "bad_number"),
    (b"1" * 5000, "bad_number"),
    (b"[-" + b"9" * 65 + b"]", "bad_number"),
    (b"\xef\xbb\xbf{}", "bad_json"),
    ('{"a":1}'.encode("utf-16"), "bad_json"),
    (b'"\xff"', "bad_utf8"),
    (b'"\xc0\xaf"', "bad_utf8"),
    (b'"\xed\xa0\x80"', "bad_utf8"),
    (b'"\\ud800"', "bad_json"),
    (b'"\\udc00\\ud800"', "bad_json"),
    (b'"\x00"', "bad_json"),
    (b'"\n"', "bad_json"),
    (b'{"a":1,"a":1}', "duplicate_key"),
    (b'{"a":1,"a":2}', "duplicate_key"),
    (b'{"a":1,"\\u0061":2}', "duplicate_key"),
    (b'{"a" :1, "b":[{"c":{"d":1 , "d"\n:2}}]}', "duplicate_key"),
    (b'{"x":"a:b","a":1,"a":1}', "duplicate_key"),
    (b'{"x\\\\":"\\\\","a":1,"a":"\\":"}', "duplicate_key"),
    (b'{"":1,"":2}', "duplicate_key"),
    (b"[" * 65 + b"]" * 65, "too_deep"),
    (b"[" * 200_000, "too_deep"),
    (b'{"a":' * 100_000, "too_deep"),
    (b"[" + b"0," * 100_000 + b"0]", "too_many_values"),
    (b'"' + b"a" * (1 << 20) + b'"', "too_large"),
]


@pytest.mark.parametrize(("raw", "code"), REFUSED, ids=[f"{raw[:24]!r}" for raw, _ in REFUSED])
def test_what_has_no_single_reading_is_refused_with_its_code(raw: bytes, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        strict.parse(raw)
    assert caught.value.code == code


def test_the_deepest_allowed_body_still_passes() -> None:
    raw = b"[" * 64 + b"]" * 64
    assert canonical(strict.parse(raw)) == raw


def test_integers_beyond_two_to_the_53_keep_every_digit() -> None:
    assert strict.parse(b"[9007199254740993,18446744073709551616]") == [9007199254740993, 18446744073709551616]


def test_colons_and_quotes_inside_strings_are_not_taken_for_keys() -> None:
    value = {"a:b": ":::", 'q"': '\\":"', "\\": "\\\\:", "u": "\u0022:\u005c"}
    assert strict.parse(json.dumps(value).encode()) == value


@given(JSON_VALUES)
@settings(max_examples=150, deadline=None)
def test_any_value_comes_back_as_it_was_written(value: object) -> None:
    spaced = json.dumps(value, indent=1, ensure_ascii=False).encode()
    for raw in (canonical(value), json.dumps(value).encode(), spaced):
        assert strict.parse(raw) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), JSON_VALUES, min_size=1,
                       max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_repeating_any_key_of_any_object_is_refused(value: dict[str, object], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    body = canonical(value)[:-1] + b"," + json.dumps(key).encode() + b":null}"
    with pytest.raises(BadInput) as caught:
        strict.parse(b'{"outer":[' + body + b"]}")
    assert caught.value.code == "duplicate_key"


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0123456789eE+-.truefalsn \n').map(str.encode))
@settings(max_examples=300, deadline=None)
def test_hostile_bytes_give_a_value_or_bad_input_and_nothing_else(raw: bytes) -> None:
    try:
        value = strict.parse(raw)
    except BadInput:
        return
    assert strict.parse(canonical(value)) == value


@given(st.binary(max_size=8), st.integers(0, 60), JSON_VALUES)
@settings(max_examples=150, deadline=None)
def test_a_damaged_body_gives_a_value_or_bad_input(junk: bytes, at: int, value: object) -> None:
    good = canonical(value)
    for raw in (good[:at], good[:at] + junk + good[at:], good[:at] + junk):
        try:
            strict.parse(raw)
        except BadInput as error:
            assert error.code != "bad_input"
