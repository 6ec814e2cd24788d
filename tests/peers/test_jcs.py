"""RFC 8785: the examples of the RFC, and what has no canonical form."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.peers.jcs import canonicalize

# RFC 8785, appendix B: the bits of a double, and its spelling.
NUMBERS = [
    (0x0000000000000000, "0"), (0x8000000000000000, "0"), (0x0000000000000001, "5e-324"),
    (0x8000000000000001, "-5e-324"), (0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"),
    (0x4340000000000000, "9007199254740992"), (0x4430000000000000, "295147905179352830000"),
    (0x44B52D02C7E14AF5, "9.999999999999997e+22"), (0x44B52D02C7E14AF6, "1e+23"),
    (0x444B1AE4D6E2EF4E, "999999999999999700000"), (0x444B1AE4D6E2EF50, "1e+21"),
    (0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"), (0x3EB0C6F7A0B5ED8D, "0.000001"),
    (0x41B3DE4355555553, "333333333.3333332"), (0xBECBF647612F3696, "-0.0000033333333333333333"),
]


@pytest.mark.parametrize(("bits", "spelt"), NUMBERS)
def test_numbers_are_spelt_as_the_rfc_says(bits: int, spelt: str) -> None:
    assert canonicalize(struct.unpack(">d", bits.to_bytes(8, "big"))[0]).decode() == spelt


def test_the_example_of_the_rfc() -> None:
    value = json.loads(
        r'{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        r'"string":"\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}')
    assert canonicalize(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}')


def test_keys_are_sorted_by_their_utf_16() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(canonicalize(dict.fromkeys(keys)))) == [
        "\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [
    2**53, -(2**53), float("nan"), float("inf"), "\ud800", {"\ud800": 1}, {1: 2}, b"x", {"a": {1}}, deep(100_000),
], ids=[str(number) for number in range(10)])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(BadInput) as no:
        canonicalize(value)
    assert no.value.code == "card_malformed"


@given(value=st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12))
@settings(max_examples=80, deadline=None)
def test_it_is_json_of_the_same_value_and_has_one_spelling(value: Any) -> None:
    made = canonicalize(value)
    assert json.loads(made, parse_int=float) == value
    assert canonicalize(json.loads(made, parse_int=float)) == made  # every number is a double
