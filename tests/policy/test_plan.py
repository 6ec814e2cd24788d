"""The executor: values, limits, refusals at load, and damage of every kind."""

from __future__ import annotations

import copy
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.policy.compile import block, by_hand, compiled, local, statement
from tests.policy.support import CALL, data, document

from ringwall.errors import PolicyError
from ringwall.policy.build import SHIPPED, SOURCES, granted
from ringwall.policy.builtins import BUILTINS
from ringwall.policy.builtins.text import to_json
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.plan.loader import Plan
from ringwall.policy.plan.values import compare, equal, freeze, sort, thaw

needs_opa = pytest.mark.needs_opa
SHIPPED_BYTES = (SOURCES / SHIPPED).read_bytes()
SHIPPED_TREE = json.loads(SHIPPED_BYTES)

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.0]) | st.text(max_size=3)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3)
                      | st.dictionaries(st.text(max_size=2), inner, max_size=3)
                      | st.lists(inner, max_size=3).map(lambda items: frozenset(map(freeze, items))), max_leaves=8)


@given(values)
@settings(max_examples=80, deadline=None)
def test_freezing_is_reversible(value: Any) -> None:
    assert equal(thaw(freeze(value)), value)
    hash(freeze(value))


@given(values, values)
@settings(max_examples=120, deadline=None)
def test_equality_order_and_frozen_forms_agree(a: Any, b: Any) -> None:
    assert (compare(a, b) == 0) == equal(a, b) == (freeze(a) == freeze(b))
    assert compare(a, b) == -compare(b, a) or compare(a, b) * compare(b, a) < 0


@pytest.mark.parametrize(("a", "b"), [(True, 1), (False, 0), (True, 1.0), ("1", 1), (None, False), ([True], [1]),
                                      ({"a": True}, {"a": 1}), ("", None)])
def test_types_decide_before_values(a: Any, b: Any) -> None:
    assert not equal(a, b)
    assert freeze(a) != freeze(b)
    assert len({freeze(a), freeze(b)}) == 2


def test_the_order_of_types_is_that_of_rego() -> None:
    mixed = [{"a": 1}, frozenset({1}), "a", [1], 2, True, None, 1.5]
    assert sort(mixed) == [None, True, 1.5, 2, "a", [1], {"a": 1}, frozenset({1})]


@needs_opa
@pytest.mark.parametrize(("rego", "result"), [
    ('p := {1, true, "1", [1], {1: 2}}', [True, 1, "1", [1], {"1": 2}]),
    ("p := [0.1 + 0.2 == 0.3, ceil(-0.1), floor(-0.1), 7 % -2, 4 / 2]", [True, 1, 0, 1, 2]),
    ("p if { not input.x; not data.none }", True),
    ("p := [x | some x in {3, 1, 2}]", [1, 2, 3]),
    ("p := {k: v | some k, v in {1: true, \"1\": false}}", {"1": False}),
    ("p := x if { x := q with input.a.b as 5 }\nq := input.a.b", 5),
    ("p := [a, b] if { a := q with input as 1; b := r }\nq := input\nr := 2", [1, 2]),
    ('p := [regex.match("^a+$", "aaa"), glob.match("*.x", ["."], "a.x"), glob.match("*.x", [], "a.b.x")]',
     [True, True, False]),
    ("p if every x in [1, 2] { every y in [3, 4] { x < y } }", True),
    ("p := sprintf(\"%s %d %v\", [\"a\", 3, {\"x\": [1, true]}])", 'a 3 {"x": [1, true]}'),
])
def test_what_opa_compiles_runs_as_opa_means_it(rego: str, result: Any, tmp_path: Path) -> None:
    found = compiled(rego, tmp_path).evaluate("t/p", {"a": {"b": 1}}, {})
    assert to_json(found[0]["result"]) == result


@needs_opa
def test_bodies_nested_deeper_than_python_allows_still_run(tmp_path: Path) -> None:
    depth = 30
    loops = "\n".join(f"some x{i} in [{i}]" for i in range(depth))
    plan = compiled(f"p := x{depth - 1} if {{\n{loops}\n}}", tmp_path)
    assert plan.evaluate("t/p", {}, {}) == [{"result": depth - 1}]
    nots = "p if {\n" + "not q(0)\n" * 3 + "}\nq(x) if {" + "".join(f"some y{i} in [x]\n" for i in range(25)) \
        + "not y24 == 0\n}"
    assert compiled(nots, tmp_path).evaluate("t/p", {}, {}) == [{"result": True}]


@needs_opa
def test_rules_that_disagree_are_an_error(tmp_path: Path) -> None:
    plan = compiled("p := q\nq := 1 if input.a\nq := 2 if input.a", tmp_path)
    with pytest.raises(PolicyError, match="conflict"):
        plan.evaluate("t/p", {"a": True}, {})


@needs_opa
@pytest.mark.parametrize("rego", [
    "p := count([1 | some x in numbers.range(0, 3000); some y in numbers.range(0, 3000); x == y])",
    "p := numbers.range(0, 1000000000)",
    "p := bits.lsh(1, 1000000000)",
    'p := sprintf("%999999999d", [1])',
    'p := net.cidr_expand("::/0")',
    'p := count([z | some z in walk([x | some x in numbers.range(0, 200000)])])',
    "p := x if {\na0 := 10000000\n" + "\n".join(f"a{i + 1} := a{i} * a{i}" for i in range(40)) + "\nx := a40\n}",
    "p := x if {\ns0 := \"aaaaaaaaaa\"\n"
    + "\n".join(f's{i + 1} := concat("", [s{i}, s{i}])' for i in range(60)) + "\nx := count(s60)\n}",
])
def test_a_policy_made_to_run_forever_or_to_fill_memory_is_stopped(rego: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError):
        compiled(rego, tmp_path).evaluate("t/p", {}, {}, max_steps=200_000)


@needs_opa
def test_a_failing_builtin_ends_the_decision_instead_of_hiding_a_denial(tmp_path: Path) -> None:
    plan = compiled('p := x if { x := {"deny" | net.cidr_contains("10.0.0.0/8", input.ip)} }', tmp_path)
    assert to_json(plan.evaluate("t/p", {"ip": "10.1.1.1"}, {})[0]["result"]) == ["deny"]
    with pytest.raises(PolicyError):
        plan.evaluate("t/p", {"ip": "not an address"}, {})


def test_a_builtin_that_is_missing_or_not_allowed_is_refused_at_load() -> None:
    for name in ("http.send", "opa.runtime", "graphql.parse", "no.such"):
        with pytest.raises(PolicyError, match=f"built-in {name} is not supported") as caught:
            Plan(by_hand(builtins=(name,)))
        assert caught.value.code == "unsupported_builtin"
    Plan(by_hand(builtins=("count",)))
    with pytest.raises(PolicyError, match="count"):
        Plan(by_hand(builtins=("count",)), allowed=frozenset({"sum"}))


def test_recursion_in_a_plan_is_refused_at_load() -> None:
    def function(name: str, called: str) -> Any:
        return {"name": name, "params": [0, 1], "return": 2, "path": [name], "blocks": [block(
            statement("CallStmt", func=called, args=[local(0), local(1)], result=2),
            statement("ReturnLocalStmt", source=2))]}
    with pytest.raises(PolicyError, match="circle"):
        Plan(by_hand(functions=(function("a", "b"), function("b", "a"))))
    with pytest.raises(PolicyError, match="too deep"):
        Plan(by_hand(functions=(*(function(f"f{i}", f"f{i + 1}") for i in range(150)), function("f150", "f151"))))


def test_recursion_over_dynamic_calls_is_stopped() -> None:
    inner = statement("CallDynamicStmt", args=[0, 1], path=[{"type": "string_index", "value": 0}], result=2)
    for _ in range(3):  # an undefined result leaves that many blocks
        inner = statement("BlockStmt", blocks=[block(inner)])
    endless = {"name": "f", "params": [0, 1], "return": 2, "path": ["f"], "blocks": [block(inner)]}
    call = statement("CallStmt", func="f", args=[local(0), local(1)], result=2)
    plan = Plan(by_hand(call, functions=(endless,), strings=("f",)))
    with pytest.raises(PolicyError, match="too deep"):
        plan.evaluate("e", {}, {})


@pytest.mark.parametrize("statements", [
    [statement("NoSuchStmt")], [statement("BreakStmt", index=9)], [statement("DotStmt")],
    [{"type": "DotStmt"}], [3],
    [statement("CallStmt", func="nobody", args=[], result=2)], [statement("MakeNumberRefStmt", Index=0, target=2)],
    [statement("MakeNumberRefStmt", Index=1, target=2)], [statement("AssignIntStmt", value=True, target=2)],
    [statement("ResetLocalStmt", target=-1)], [statement("ResetLocalStmt", target=10**9)],
    [statement("ScanStmt", source=0, key=2, value=3, block=block(statement("BreakStmt", index=1)))],
    [statement("AssignVarStmt", source={"type": "code", "value": "1"}, target=2)],
])
def test_a_plan_that_opa_would_not_write_is_refused_at_load(statements: list[Any]) -> None:
    with pytest.raises(PolicyError):
        Plan(by_hand(*statements, strings=("x); import os #", "1" * 5000)))


def test_a_scan_that_grows_what_it_scans_ends() -> None:
    grow = block(statement("ArrayAppendStmt", array=2, value=local(3)))
    plan = Plan(by_hand(statement("MakeArrayStmt", target=2), statement("AssignIntStmt", value=1, target=3),
                        statement("ArrayAppendStmt", array=2, value=local(3)),
                        statement("ScanStmt", source=2, key=4, value=5, block=grow),
                        statement("ResultSetAddStmt", value=2)))
    assert plan.evaluate("e", {}, {}) == [[1, 1]]


def test_text_of_a_plan_never_becomes_code() -> None:
    evil = "'\n import os\n'''\\"
    plan = Plan(by_hand(statement("AssignVarStmt", source={"type": "string_index", "value": 0}, target=2),
                        statement("ResultSetAddStmt", value=2), strings=(evil,)))
    assert plan.evaluate("e", {}, {}) == [evil]


def test_nesting_beyond_all_reason_is_refused_at_load() -> None:
    opened, closed = '{"type":"BlockStmt","stmt":{"blocks":[{"stmts":[', "]}]}}"
    for depth in (90, 200, 5_000):
        nested = opened * depth + '{"type":"NopStmt","stmt":{}}' + closed * depth
        with pytest.raises(PolicyError) as caught:
            Plan(by_hand(7).replace(b"[7]", f"[{nested}]".encode()))
        assert caught.value.code == "bad_plan"
    with pytest.raises(PolicyError):
        Plan(b'{"static":' + b"[" * 100_000)


NASTY = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) \
    | st.just([]) | st.just({})


def _spots(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    stack = [tree]
    while stack:
        item = stack.pop()
        named = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        inner = list(named)
        found += [(item, key) for key, _ in inner]
        stack += [value for _, value in inner]
    return found


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_changed_plan_gives_a_policy_error_or_a_decision_never_another_exception(draw: st.DataObject) -> None:
    tree = copy.deepcopy(SHIPPED_TREE)
    spots = _spots(tree)
    for _ in range(draw.draw(st.integers(1, 3))):
        holder, key = spots[draw.draw(st.integers(0, len(spots) - 1))]
        if isinstance(holder, dict) or (isinstance(holder, list) and key < len(holder)):
            holder[key] = draw.draw(NASTY)
    try:
        EmbeddedPolicy(json.dumps(tree).encode(), data(), max_steps=20_000).evaluate(CALL, document())
    except PolicyError:
        pass


@given(st.binary(max_size=60), st.integers(0, len(SHIPPED_BYTES) - 2))
@settings(max_examples=40, deadline=None)
def test_damaged_bytes_give_a_policy_error(noise: bytes, at: int) -> None:
    for raw in (noise, SHIPPED_BYTES[:at], SHIPPED_BYTES[:at] + b"\x00" + noise):
        with pytest.raises(PolicyError):
            EmbeddedPolicy(raw, data())


@given(values.filter(lambda value: not isinstance(value, frozenset)))
@settings(max_examples=60, deadline=None)
def test_any_input_document_gives_a_refusal(value: Any) -> None:
    policy = EmbeddedPolicy.default(data())
    for asked in (value, {**document(), "call": value}, {**document(), "subject": value}):
        try:
            assert policy.evaluate(CALL, asked)["allow"] is False
        except PolicyError:
            pass


def test_values_that_are_no_json_are_an_error() -> None:
    policy = EmbeddedPolicy.default(data())
    for alien in (object(), (1, 2), b"x", float("nan")):
        made = document(args={"path": "/srv/team-1/a", "limit": alien})
        try:
            assert policy.evaluate(CALL, made)["allow"] is False
        except PolicyError:
            pass
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    made = document()
    for place in (made["call"]["resources"][0], made["call"]["args"], made["facts"]["identity"]):
        place |= {"key": deep, "limit": deep, "attested": deep}
        try:
            assert policy.evaluate(CALL, made)["allow"] is False
        except PolicyError:
            pass


@pytest.mark.parametrize(("change", "code"), [
    ({"opa": "1.21.2"}, "wrong_compiler"), ({"opa": ""}, "wrong_compiler"), ({"revision": "z"}, "bad_plan"),
    ({"builtins": []}, "unsupported_builtin"), ({"extra": 1}, "bad_plan"), ({"plan": 7}, "bad_plan"),
])
def test_a_plan_from_elsewhere_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(PolicyError) as caught:
        EmbeddedPolicy(json.dumps({**SHIPPED_TREE, **change}).encode(), data())
    assert caught.value.code == code and caught.value.cause


def test_an_unknown_entry_point_and_an_undefined_result_are_errors() -> None:
    with pytest.raises(PolicyError) as caught:
        EmbeddedPolicy.default(data()).evaluate("ringwall/decide/nothing", document())
    assert caught.value.code == "unknown_entry_point"
    tree = copy.deepcopy(SHIPPED_TREE)
    tree["plan"]["plans"]["plans"][0]["blocks"] = []
    point = tree["plan"]["plans"]["plans"][0]["name"]
    with pytest.raises(PolicyError) as caught:
        EmbeddedPolicy(json.dumps(tree).encode(), data()).evaluate(point, document())
    assert caught.value.code == "undefined_decision"


def test_a_decision_changes_neither_its_input_nor_its_data() -> None:
    base, asked = data(), document()
    before = copy.deepcopy((base, asked))
    EmbeddedPolicy.default(base).evaluate(CALL, asked)
    assert (base, asked) == before


def test_threads_share_one_policy() -> None:
    policy = EmbeddedPolicy.default(data())
    asked = [document(), document(args={"paths": []}), document(facts={})]
    wanted = [policy.evaluate(CALL, one)["allow"] for one in asked]
    wrong: list[Any] = []

    def work() -> None:
        wrong.extend(turn for turn in range(60)
                     if policy.evaluate(CALL, asked[turn % 3])["allow"] != wanted[turn % 3])
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and wanted == [True, False, False]


def test_capabilities_grant_only_what_exists_and_nothing_that_varies() -> None:
    names = set(granted((SOURCES / "capabilities.json").read_bytes())) - {"eq", "assign"}
    assert names <= set(BUILTINS)
    assert names.isdisjoint({"http.send", "opa.runtime", "time.now_ns", "rand.intn", "net.lookup_ip_addr"})
