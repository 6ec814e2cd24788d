"""cli/definitions.py: what changed in a tool's definition, said in words, with nothing hidden."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.cli.definitions import MAX_CHANGES, summary

WAS: dict[str, Any] = {
    "name": "send", "description": "Sends. Politely.", "annotations": {"destructiveHint": True},
    "inputSchema": {"type": "object", "properties": {"to": {"type": "string", "maxLength": 10}}},
}


def shown(**more: Any) -> list[str]:
    return list(summary(WAS, WAS | more))


@pytest.mark.parametrize(("more", "line"), [
    ({"description": "Sends. Rudely. Now."}, "  description   1 sentences out, 2 in"),
    ({"description": "Sends.\nPolitely."}, "  description   1 sentences out, 1 in"),
    ({"title": "Send"}, '  title         null -> "Send"'),
    ({"annotations": {"destructiveHint": False}}, "  annotations   /destructiveHint true -> false"),
    ({"annotations": None}, '  annotations   {"destructiveHint": true} -> null'),
    ({"inputSchema": {"type": "object", "properties": {"to": {"type": "string", "maxLength": 200}}}},
     "  inputSchema   /properties/to/maxLength 10 -> 200"),
    ({"inputSchema": {"type": "object", "properties": {}}},
     '  inputSchema   /properties/to removed: {"maxLength": 10, "type": "string"}'),
    ({"inputSchema": {"type": "object", "properties": WAS["inputSchema"]["properties"] | {"bcc": True}}},
     "  inputSchema   /properties/bcc added: true"),
    ({"annotations": {"destructiveHint": 1}}, "  annotations   /destructiveHint true -> 1"),
])
def test_each_place_that_changed_is_named_with_both_values(more: dict[str, Any], line: str) -> None:
    assert line in shown(**more)


def test_hidden_characters_and_mixed_alphabets_are_named_wherever_they_stand() -> None:
    lines = "\n".join(shown(title="pаyments", description="a\u202eb\u200b\u200b", annotations={"x\u200d": "é ñ"}))
    assert "title mixes alphabets in 'p\\u0430yments'" in lines
    assert "description holds U+202E RIGHT-TO-LEFT OVERRIDE, 1 times" in lines
    assert "description holds U+200B ZERO WIDTH SPACE, 2 times" in lines
    assert "a name in annotations holds U+200D" in lines
    assert lines.isascii()


def test_many_changes_are_counted() -> None:
    lines = shown(annotations={f"h{n}": n for n in range(MAX_CHANGES + 9)})
    assert "and 10 more places, below" in lines[-1]


values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=6),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner,
                                                                                 max_size=3), max_leaves=6)


@given(st.dictionaries(st.sampled_from(["description", "inputSchema", "annotations", "title"]), values),
       st.dictionaries(st.sampled_from(["description", "inputSchema", "annotations", "title"]), values))
@settings(max_examples=200, deadline=None)
def test_every_difference_is_said_in_lines_that_a_terminal_only_prints(
        was: dict[str, Any], now: dict[str, Any]) -> None:
    lines = list(summary(was, now))
    assert all(line.isprintable() for line in lines)
    plain = [json.dumps({key: value for key, value in one.items() if value is not None}, sort_keys=True)
             for one in (was, now)]
    assert (lines == list(summary(now, now))) is (plain[0] == plain[1])
