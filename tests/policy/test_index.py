"""Rule indexing: the same answers as trying each rule in turn, and no cost in the number of rules."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.compile import block, by_hand, compiled_bytes, local, statement

from ringwall.errors import PolicyError
from ringwall.policy.builtins.text import to_json
from ringwall.policy.plan.index import Indexer, Run
from ringwall.policy.plan.loader import Plan

needs_opa = pytest.mark.needs_opa
NEVER = 1 << 40  # so many rules that nothing is indexed

TOOLS = ("read", "write", "send")
ROLES = ("analyst", "clerk")


def random_rules(seed: int) -> str:
    """Rules of every form that OPA has, most of them beginning with a comparison."""
    dice = random.Random(seed)  # noqa: S311 (a test)
    rules = ["default allow := false",
             "p := [allow, deny, held, level, kind, total, f(input.tool), g(input.tool, 1)]",
             "default level := 0", 'kind := k if { k := object.get(input, "kind", "none") }',
             'held["x"] := 1 if false', 'f(x) := 0 if x == "never"',
             "f(x) := 9 if not x in {\"read\", \"write\", \"send\", \"never\"}",
             "g(\"never\", 1) := 0", "total := count([x | some x in deny])"]
    for number in range(dice.randint(8, 40)):
        tool, role = dice.choice(TOOLS), dice.choice(ROLES)
        first = dice.choice([f'input.tool == "{tool}"', f'"{tool}" == input.tool', f'input.call.tool == "{tool}"',
                             f'input.role == "{role}"', f'input.n == {number % 3}',
                             f'tool := input.tool; tool == "{tool}"'])
        more = dice.choice(["", f'; input.role == "{role}"', f"; input.n > {number % 4}", "; not input.off",
                            "; some item in input.list; item > 1",
                            '; input.role == "clerk" with input.role as "clerk"',
                            f'; data.known["{tool}"]', f'; lower(input.tool) == "{tool}"', '; data.t.helper'])
        rules.append(dice.choice([
            f"allow if {{ {first}{more} }}",
            f'deny contains {{"code": "c{number}", "n": {number % 5}}} if {{ {first}{more} }}',
            f'deny contains input.role if {{ {first}{more} }}',
            f'held["{tool}{number}"] := {number} if {{ {first}{more} }}',
            f'held[input.tool] := {dice.choice((number % 2, 1))} if {{ {first}{more} }}',
            f"level := {dice.choice((1, 1, 2))} if {{ {first}{more} }}",
            f'f(x) := 1 if {{ x == "{tool}"; true{more} }}', f'g("{tool}", n) := n if {{ true{more} }}',
        ]))
    rules.append("helper if { input.n == 2 }")
    return "\n\n".join(rules)


values = st.sampled_from([*TOOLS, "other", "", 1, 1.0, True, None, ["read"], {"read": 1}])
numbers = st.sampled_from([0, 1, 2, 3, 2.0, True, "2", None])
inputs = st.fixed_dictionaries({}, optional={
    "tool": values, "role": st.sampled_from([*ROLES, "x", 3]), "n": numbers, "off": st.booleans(),
    "list": st.lists(st.integers(0, 3), max_size=3), "kind": values,
    "call": st.one_of(values, st.fixed_dictionaries({"tool": values})),
})
BASE = {"known": {"read": True, "send": False}}


def answer(plan: Plan, document: Any) -> Any:
    try:
        return [to_json(one) for one in plan.evaluate("t/p", document, BASE, max_steps=100_000)]
    except PolicyError as error:
        return error.code


@needs_opa
@pytest.mark.parametrize("seed", range(12))
def test_indexed_rules_answer_as_rules_tried_in_turn(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    raw = compiled_bytes(random_rules(seed), tmp_path_factory.mktemp("rules"))
    plain, indexed = Plan(raw, indexed=NEVER), [Plan(raw, indexed=least) for least in (1, 4)]

    @given(inputs)
    @settings(max_examples=60, deadline=None)
    def agree(document: Any) -> None:
        wanted = answer(plain, document)
        assert [answer(plan, document) for plan in indexed] == [wanted, wanted]
    agree()


def many(count: int, tenant: str = "acme") -> str:
    return "p := deny\n\n" + "\n\n".join(
        f'deny contains {{"code": "c{i}"}} if {{\n\tinput.tenant == "{tenant}"\n\tinput.tool == "t{i}"\n}}'
        for i in range(count))


def runs(raw: bytes, name: str) -> list[Run]:
    """The top runs that the indexer finds in one function."""
    tree = json.loads(raw)
    strings = [item["value"] for item in tree["static"]["strings"]]
    function = next(item for item in tree["funcs"]["funcs"] if item["name"].endswith(name))
    parts = Indexer(function["blocks"], function["params"], strings, 8).layout().parts
    return [part for part in parts if isinstance(part, Run)]


@needs_opa
def test_a_rule_for_each_grant_is_one_lookup_by_the_comparison_that_tells_most_apart(tmp_path: Path) -> None:
    raw = compiled_bytes(many(300), tmp_path)
    (run,) = runs(raw, "deny")
    assert run.path == (0, ("tool",)) and len(run.table) == 300
    assert to_json(Plan(raw).evaluate("t/p", {"tenant": "acme", "tool": "t7"}, {})[0]["result"]) == [{"code": "c7"}]
    assert to_json(Plan(raw).evaluate("t/p", {"tenant": "evil", "tool": "t7"}, {})[0]["result"]) == []


@needs_opa
def test_rules_that_do_not_begin_with_a_comparison_are_tried_in_turn(tmp_path: Path) -> None:
    rego = "p := deny\n\n" + "\n\n".join(
        f'deny contains "c{i}" if startswith(input.tool, "t{i}")' for i in range(20))
    raw = compiled_bytes(rego, tmp_path)
    assert runs(raw, "deny") == []
    assert to_json(Plan(raw).evaluate("t/p", {"tool": "t12"}, {})[0]["result"]) == ["c1", "c12"]


def test_a_local_that_later_rules_read_keeps_its_rules_from_being_looked_up() -> None:
    def rule(number: int) -> Any:  # looks input.x up into local 4, which the last block reads
        return block(statement("ResetLocalStmt", target=3),
                     statement("DotStmt", source=local(0), key={"type": "string_index", "value": 0}, target=4),
                     statement("EqualStmt", a=local(4), b={"type": "string_index", "value": number}),
                     statement("AssignVarStmt", source={"type": "bool", "value": True}, target=2))
    function = {"name": "f", "params": [0, 1], "return": 2, "path": ["f"], "blocks": [
        *(rule(1 + number) for number in range(20)),
        block(statement("AssignVarStmt", source=local(4), target=2)),
        block(statement("ReturnLocalStmt", source=2))]}
    raw = by_hand(statement("CallStmt", func="f", args=[local(0), local(1)], result=2),
                  statement("ResultSetAddStmt", value=2), functions=(function,),
                  strings=("x", *(f"v{number}" for number in range(20))))
    for least in (2, NEVER):
        assert Plan(raw, indexed=least).evaluate("e", {"x": "nobody"}, {}) == ["nobody"]


@needs_opa
def test_ten_thousand_rules_cost_no_more_steps_of_python_than_ten(tmp_path: Path) -> None:
    def lines(count: int) -> int:
        plan = Plan(compiled_bytes(many(count), tmp_path))
        return _lines_run(lambda: plan.evaluate("t/p", {"tenant": "acme", "tool": "t3"}, {}))
    assert lines(1000) == lines(10)


def _lines_run(act: Any) -> int:
    """How many lines of Python ran: the cost without a clock."""
    count = 0

    def tracer(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return tracer
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        act()
    finally:
        sys.settrace(before)
    return count
