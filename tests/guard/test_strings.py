"""JSON values become flat texts and come back changed only where they must be."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.call import texts
from ringwall.errors import BadInput
from ringwall.guard.interface import Finding
from ringwall.guard.spans import batches, merge
from ringwall.guard.strings import leaves, ranges, redact, replace

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_every_string_is_a_leaf_in_document_order(value: Any) -> None:
    assert [leaf.text for leaf in leaves(value)] == list(texts(value))


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_replacing_changes_only_the_named_leaves_and_not_the_original(value: Any) -> None:
    before = copy.deepcopy(value)
    found = [leaf for leaf in leaves(value) if not leaf.key]
    chosen = {leaf.pointer: leaf.text + "!" for leaf in found[::2]}
    after = replace(value, chosen) if chosen else value
    assert value == before
    assert [leaf.text for leaf in leaves(after) if not leaf.key] == [
        chosen.get(leaf.pointer, leaf.text) for leaf in found
    ]


def test_long_numbers_are_texts_and_skipped_members_are_not() -> None:
    value = {"n": 4111111111111111, "f": 4111111111111111.0, "small": 12, "yes": True, "tool_calls": [{"a": "b"}]}
    found = leaves(value, frozenset({"tool_calls"}))
    assert [leaf.text for leaf in found if not leaf.key] == ["4111111111111111", "4111111111111111"]


def test_pointers_are_spelled_as_resources_spell_them() -> None:
    assert [leaf.argument for leaf in leaves({"to": ["a", "b"]}) if not leaf.key] == ["to/0", "to/1"]


def test_a_value_nested_too_deep_is_refused() -> None:
    value: Any = "x"
    for _ in range(100_000):
        value = [value]
    try:
        with pytest.raises(BadInput, match="too_deep"):
            leaves(value)
    finally:
        while isinstance(value, list):  # taken apart by hand: freeing it would recurse
            value = value.pop()


def finding(start: int, end: int, category: str = "card") -> Finding:
    return Finding(0, start, end, category, 1.0, "r")  # type: ignore[arg-type]


def test_overlapping_ranges_are_cut_once_under_the_gravest_name() -> None:
    cuts = ranges([finding(2, 6, "email"), finding(4, 8, "secret"), finding(8, 9, "hidden")])
    assert redact("0123456789", cuts) == "01[secret withheld]9"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 10), st.sampled_from(["card", "email", "secret"])), max_size=6
    )
)
def test_nothing_inside_a_finding_survives_and_everything_outside_does(spans: list[tuple[int, int, str]]) -> None:
    text = "".join(chr(0x4E00 + n) for n in range(41))
    found = [finding(start, min(start + length, 41), category) for start, length, category in spans]
    cut = redact(text, ranges(found))
    inside = {i for f in found for i in range(f.start, f.end)}
    assert [c for c in cut if ord(c) >= 0x4E00] == [c for i, c in enumerate(text) if i not in inside]
    merged = merge(found)
    assert {i for f in merged for i in range(f.start, f.end)} == inside


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(2, 6), st.integers(4, 30), st.integers(0, 3))
def test_batches_cover_every_character_and_see_each_cut_twice(
    lengths: list[int], most: int, size: int, overlap: int
) -> None:
    cut = list(batches(lengths, most=most, size=size, overlap=overlap))
    assert cut
    seen = {(p.text, i) for batch in cut for p in batch for i in range(p.start, p.end)}
    assert seen == {(t, i) for t, length in enumerate(lengths) for i in range(length)}
    for batch in cut:
        assert len(batch) <= most and sum(p.end - p.start for p in batch) <= size
    order = [(t, i) for t, length in enumerate(lengths) for i in range(length)]
    place = {where: n for n, where in enumerate(order)}
    for before, after in pairwise(cut):
        ends = [place[p.text, i] for p in before for i in range(p.start, p.end)]
        begins = [place[p.text, i] for p in after for i in range(p.start, p.end)]
        if ends and begins and len(before) <= most // 2:
            assert begins[0] <= max(ends) + 1 - min(overlap, len(ends))
