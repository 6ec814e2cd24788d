"""What an operator sees of a held call: all of it, and nothing that his terminal would obey."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.approvals.bench import ANN, Bench, pay
from tests.fakes import run

from ringwall.approvals.item import MAX_CHANGES, difference
from ringwall.approvals.view import BAR, COLUMNS, MAX_SHOWN, call_lines, endorsement_lines, escaped, row
from ringwall.call import Json, NeedsApproval

_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20),
                       lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner,
                                                                                   max_size=4), max_leaves=12)


def shown(**args: Any) -> dict[str, Json]:
    bench = Bench()

    async def scenario() -> dict[str, Json]:
        first = await bench.held(pay())
        await bench.desk.decide(first, ANN, yes=True)
        bench.rings["flow"].verdict = NeedsApproval(
            code="untrusted_target", question="May it go to \x1b[31mEve\u202e?", arguments=("to",)
        )
        return bench.desk.shown(await bench.held(pay(**args)))

    return run(scenario())


def test_the_view_names_tool_question_ring_arguments_resources_and_what_changed() -> None:
    text = "\n".join(call_lines(shown(amount=500)))
    for part in ("acme/3", "bank/pay", "alice (acme, role reader)", "flow · untrusted_target", '"amount": 500',
                 "pay iban:DE89370400440532013000", "against the last one approved (acme/1): 1 differences",
                 "/amount  5 -> 500", "10:00 left"):
        assert part in text, part


def test_provenance_says_which_argument_does_not_stand_in_the_task() -> None:
    item = shown()
    item["provenance"] = {
        "args": [{"argument": "to", "role": "target", "kind": "iban", "in_task": False, "decisive": True}],
        "integrity": "U", "confidentiality": "private", "sources": ["docs/read"],
    }
    text = "\n".join(call_lines(item))
    assert "to (target:iban): NOT in the task <- asked about" in text
    assert "had been shown U private: docs/read" in text


@pytest.mark.parametrize("nasty", ["\x1b[2J\x1b]0;x\x07", "\x9b31m", "a\r\nringwall: approved", "\u202e\u2066x",
                                   "\u200bx\u3164", "pa\u0443pal", "\x7f\b\b", "e\u0301" * 50, "\ud83d"])
def test_no_character_of_an_agent_reaches_the_terminal_as_it_is(nasty: str) -> None:
    item = shown(subject="fine")
    item["args"] = {"to": nasty, nasty: [nasty]}
    item["session"], item["target"] = nasty, nasty
    item["difference"] = [{"place": f"/{nasty}", "before": nasty, "after": {nasty: nasty}}]
    item["resources"] = [{"type": "iban", "id": nasty, "argument": nasty, "action": "pay"}]
    for line in [*call_lines(item), row(item)]:
        assert line.replace("·", "").replace("…", "").isascii()
        assert line.replace("·", "").isprintable()
    assert not any(line.startswith("ringwall") for line in call_lines(item))


@settings(max_examples=60)
@given(args=_VALUES)
def test_any_arguments_can_be_shown_behind_bars_within_the_width(args: Json) -> None:
    item = _FINE | {"args": {"x": args}}
    lines = list(call_lines(item, whole=True))
    assert all(len(line) <= COLUMNS for line in lines if line.startswith(BAR))
    assert all(line.isprintable() for line in lines)


def test_a_tail_that_is_not_shown_is_said_to_be_there() -> None:
    item = shown(subject="x" * (2 * MAX_SHOWN))
    cut = list(call_lines(item))
    assert any("NOT ALL IS SHOWN" in line for line in cut)
    whole = list(call_lines(item, whole=True))
    assert not any("NOT ALL" in line for line in whole)
    said = sum(line.count("x") for line in whole if line.startswith(BAR))
    assert said >= 2 * 2 * MAX_SHOWN  # once as an argument, once as a difference


def test_escaping_can_be_undone_by_the_eye() -> None:
    assert escaped('say "hi"') == 'say "hi"'
    assert escaped("\u0443\x1b") == "\\u0443\\u001b"


@pytest.mark.parametrize(("before", "after", "changes"), [
    ({"a": 1}, {"a": 1}, []),
    ({"a": 1}, {"a": 1.0}, [{"place": "/a", "before": 1, "after": 1.0}]),
    ({"a": 1}, {"a": True}, [{"place": "/a", "before": 1, "after": True}]),
    ({"a": None}, {}, [{"place": "/a", "before": None}]),
    ({}, {"a": None}, [{"place": "/a", "after": None}]),
    ({"a": [1, 2]}, {"a": [1, 3, 4]}, [{"place": "/a/1", "before": 2, "after": 3}, {"place": "/a/2", "after": 4}]),
    ({"a/b~": {"c": 1}}, {"a/b~": {"c": 2}}, [{"place": "/a~1b~0/c", "before": 1, "after": 2}]),
    ({"a": {}}, {"a": []}, [{"place": "/a", "before": {}, "after": []}]),
])
def test_the_difference_is_place_by_place(before: Json, after: Json, changes: Json) -> None:
    assert difference(before, after) == changes


@settings(max_examples=60)
@given(_VALUES, _VALUES)
def test_two_values_have_no_difference_exactly_if_they_are_equal_json(one: Json, other: Json) -> None:
    import json

    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (difference(one, other) == []) is same


def test_a_difference_is_bounded() -> None:
    assert len(difference([0] * 10_000, [1] * 10_000)) == MAX_CHANGES


def test_an_endorsement_is_shown_with_its_bounds() -> None:
    one = {"id": "acme/9", "tool": "bank/pay", "tenant": "acme", "role": "reader", "left": 2, "uses": 3,
           "expires": 86_400.0, "resources": ["iban:DE89"], "max": {"amount": 100.0}, "by": "operator:ann",
           "reason": "rent\x1b"}
    text = "\n".join(endorsement_lines(one, now=0.0))
    for part in ("acme/9", "2 of 3 uses, 1.0 days", "iban:DE89", "amount = 100", "operator:ann: rent\\u001b"):
        assert part in text


_FINE = shown()
