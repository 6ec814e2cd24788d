"""authorization_details: one object has one reading, and everything else is refused."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.manifest.details import ACTIONS, TYPE, Detail, granted, parse, spell
from ringwall.manifest.types import Grant

GOOD: dict[str, Any] = {
    "type": TYPE, "identifier": "store/get", "actions": ["read"], "locations": ["s3:reports/2026/"],
    "max": {"amount": 200}, "approval": "always",
}
_names = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64).filter(
    lambda name: name not in {".", ".."})
_details = st.builds(
    Detail,
    identifier=st.tuples(_names, _names).map("/".join),
    actions=st.lists(st.sampled_from(sorted(ACTIONS)), min_size=1, unique=True).map(tuple),
    locations=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.isprintable).map(
        "path:{}".format), unique=True, max_size=5).map(tuple),
    max=st.dictionaries(_names, st.floats(-1e15, 1e15), max_size=3),
    approval=st.sampled_from(["never", "always"]),
)
_json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
                     lambda inner: (st.lists(inner, max_size=4)
                                    | st.dictionaries(st.text(max_size=10), inner, max_size=4)),
                     max_leaves=10)


@given(_details)
def test_what_is_spelled_is_read_as_the_same(detail: Detail) -> None:
    assert parse(spell(detail)) == detail
    assert spell(parse(spell(detail))) == spell(detail)


def test_a_grant_is_spelled_with_what_it_says_and_nothing_else() -> None:
    assert spell(granted(Grant(tool="a/b"), "read")) == {
        "type": TYPE, "identifier": "a/b", "actions": ["read"], "locations": []}
    whole = Grant(tool="store/get", resources=("s3:reports/2026/",), max={"amount": 200}, approval="always")
    assert spell(granted(whole, "read")) == GOOD
    assert granted(whole, "read", ("s3:reports/2026/a",)).locations == ("s3:reports/2026/a",)


@pytest.mark.parametrize("changes", [
    {"type": "tool"}, {"type": None}, {"type": TYPE.upper()}, {"identifier": "get"}, {"identifier": "a/b/c"},
    {"identifier": "../get"}, {"identifier": "a/"}, {"identifier": 5}, {"identifier": "a/b\n"}, {"actions": []},
    {"actions": "read"}, {"actions": ["read", "read"]}, {"actions": ["s3:GetObject"]}, {"actions": [["read"]]},
    {"locations": "s3:a"}, {"locations": ["s3"]}, {"locations": ["s3:"]}, {"locations": [":x"]}, {"locations": [5]},
    {"locations": ["s3:a", "s3:a"]}, {"locations": ["S3:a"]}, {"locations": ["s3:a\n"]},
    {"locations": ["s3:\u202ea"]},
    {"locations": ["s3:" + "a" * 9000]}, {"locations": [f"s3:{n}" for n in range(1025)]}, {"locations": None},
    {"max": []}, {"max": {"a": True}}, {"max": {"a": "1"}}, {"max": {"a": float("nan")}},
    {"max": {"a": 1e16}},
    {"max": {"a b": 1}}, {"max": {f"a{n}": 1 for n in range(65)}}, {"approval": "sometimes"},
    {"approval": ["never"]},
    {"approval": None}, {"privileges": ["all"]}, {"datatypes": []}, {"Locations": []},
])
def test_an_object_that_says_anything_else_is_refused(changes: dict[str, Any]) -> None:
    assert parse(GOOD).identifier == "store/get"
    with pytest.raises(BadInput) as fault:
        parse({**GOOD, **changes})
    assert fault.value.code == "bad_detail"


@pytest.mark.parametrize("missing", ["type", "identifier", "actions"])
def test_an_object_without_what_it_is_about_is_refused(missing: str) -> None:
    with pytest.raises(BadInput):
        parse({name: value for name, value in GOOD.items() if name != missing})


@given(_json, st.sampled_from([*GOOD, "x"]))
def test_whatever_comes_is_an_object_or_bad_input(value: Any, member: str) -> None:
    for one in (value, {**GOOD, member: value}):
        try:
            found = parse(one)
        except BadInput as fault:
            assert fault.code == "bad_detail"
            assert str(fault).isprintable()
        else:
            assert parse(spell(found)) == found
