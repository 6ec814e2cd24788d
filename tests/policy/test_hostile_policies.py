"""Policies made to run forever, to recurse, or to fill the memory: each ends with an error, and soon."""

from __future__ import annotations

import itertools
import resource
from pathlib import Path
from typing import Any

import pytest
from tests.policy.compile import block, by_hand, compiled, local, statement

from ringwall.errors import PolicyError
from ringwall.policy.builtins.text import to_json
from ringwall.policy.plan.limits import MAX_STEPS
from ringwall.policy.plan.loader import Plan

needs_opa = pytest.mark.needs_opa
CPU_S = 20.0  # a decision's steps are worth 1 s at most; without limits each of these takes hours
GROWN_MIB = 700


def chain(first: str, each: str, times: int, last: str = "x{n}") -> str:
    """``x0 := first``, then ``x1 := each(x0)`` and so on: what doubles at each step is 2^times in the end."""
    lines = [f"x0 := {first}", *(f"x{n + 1} := {each.format(x=f'x{n}')}" for n in range(times))]
    return "p := y if {\n" + "\n".join(lines) + f"\ny := {last.format(n=times)}\n}}"


HOSTILE = {
    "loops": "p := count([1 | some a in [1, 2]; some b in numbers.range(1, 260000); "
             "some c in numbers.range(1, 260000); a + b == -c])",
    "nested loops": "p := count([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a == -b])",
    "lists made again and again": "p := count([1 | some a in numbers.range(1, 3000); "
                                  "count(numbers.range(0, 260000)) == a])",
    "networks": 'p := count([1 | some a in numbers.range(1, 3000); count(net.cidr_expand("10.0.0.0/14")) == a])',
    "an array that doubles": chain("[1]", "array.concat({x}, {x})", 60),
    "an array that holds itself twice": chain("[1]", "[{x}, {x}]", 60),
    "an object that holds itself twice": chain("{}", '{{"a": {x}, "b": {x}}}', 60),
    "a set of such arrays": chain("[1]", "[{x}, {x}]", 60, "{{x{n}}}"),
    "such arrays compared": chain("[1]", "[{x}, {x}]", 60, "x{n} == [x0, x0]"),
    "such arrays as keys": chain("[1]", "[{x}, {x}]", 40, '{{x{n}: 1}}'),
    "concatenated and wrapped": chain("[[1, 2]]", "array.concat({x}, array.concat({x}, [{x}]))", 40),
    "objects united": chain('{"k": {}}', 'object.union({x}, {{"a": {x}, "b": {x}}})', 60),
    "a text that doubles": chain('"aaaaaaaa"', 'concat("", [{x}, {x}])', 60, "count(x{n})"),
    "a text repeated by replacing": chain('"aa"', 'replace({x}, "a", "aa")', 60, "count(x{n})"),
    "a text repeated by format": chain('"aa"', 'sprintf("%s%s%s", [{x}, {x}, {x}])', 60, "count(x{n})"),
    "many long texts": 'p := count([s | some a in numbers.range(1, 100000); s := sprintf("%900d%d", [a, a])])',
    "long texts at work":
        'p := count([1 | t := concat("", [s | some i in numbers.range(1, 100000); s := "0123456789"]); '
        'some a in numbers.range(1, 100000); contains(t, sprintf("%d", [a]))])',
    "a number that is squared": chain("10000000", "{x} * {x}", 60),
    "a number shifted": "p := bits.lsh(1, 1000000000000)",
    "many large numbers": "p := count([y | some a in numbers.range(1, 1000000); y := bits.lsh(a, 8000)])",
    "an exponent": 'p := units.parse_bytes("1e999999")',
    "many patterns": 'p := count([1 | some a in numbers.range(1, 100000); '
                     'regex.match(sprintf("(x{%d}y{500}){2}", [a % 900]), "xy")])',
    "a pattern for backtracking, on a long text":
        'p := count([1 | t := concat("", [s | some i in numbers.range(1, 100000); s := "aaaaaaaaaa"]); '
        'some a in numbers.range(1, 100000); regex.match("^(a+)+$", concat("", [t, "b"]))])',
    "many globs": 'p := count([1 | some a in numbers.range(1, 100000); '
                  'glob.match(sprintf("%d*{a,b}*c", [a]), [], "x")])',
    "globs that branch": "p := regex.globs_match(\"" + ".*a" * 20 + "x+\", \"" + ".*b" * 20 + "y+\")",
    "a graph of all paths": "p := graph.reachable_paths({a: [b | some b in numbers.range(1, 12)] | "
                            "some a in numbers.range(1, 12)}, [1])",
    "a tree walked": "p := count([1 | some a in numbers.range(1, 1000); walk(numbers.range(1, 1000), [_, a])])",
    "sorting again and again": "p := count([1 | x := numbers.range(1, 100000); some a in x; sort(x)[0] == a])",
    "signatures": 'p := count([1 | some a in numbers.range(1, 100000); '
                  'io.jwt.encode_sign({"alg": "HS256"}, {"a": a}, {"kty": "oct", "k": "AAAA"})])',
    "rules that call rules": "p := f10(1)\n" + "\n".join(
        f"f{n + 1}(x) := y if {{ y := sum([z | some a in numbers.range(1, 30); z := f{n}(a + x)]) }}"
        for n in range(10))
        + "\nf0(x) := x",
    "with, again and again": "p := count([1 | some a in numbers.range(1, 100000); q with input.big[\"k\"] as a])\n"
                             "q if input.big.k > 0",
}


@needs_opa
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_policy_ends_with_an_error_and_soon(name: str, tmp_path: Path) -> None:
    plan = compiled(HOSTILE[name], tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(PolicyError) as caught:
        plan.evaluate("t/p", {"big": {str(n): n for n in range(1000)}}, {})
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert caught.value.code in {"policy_limit", "policy_failed"}, caught.value
    assert after.ru_utime - before.ru_utime < CPU_S
    assert after.ru_maxrss - before.ru_maxrss < GROWN_MIB * 1024


LONG = 1 << 20  # what one call may carry
HOSTILE_INPUTS: dict[str, tuple[str, Any]] = {
    "digits found": ('p := count(regex.find_n("[0-9]+", input.x, -1))', "1 " * (LONG // 2)),
    "digits with groups":
        ('p := count(regex.find_all_string_submatch_n("([0-9])", input.x, -1))', "1 " * (LONG // 2)),
    "digits hidden": ('p := regex.replace(input.x, "[0-9]+", "#")', "1 " * (LONG // 2)),
    "letters hidden in a text that is not ASCII":
        ('p := regex.replace(input.x, "a", "#")', "a\u00e9" * (LONG // 3)),
    "a list parted": ('p := count(regex.split(",", input.x))', "1," * (LONG // 2)),
    "matches that look ahead in vain": ('p := count(regex.find_n("a.*z|a", input.x, -1))', "a" * LONG),
    "marks replaced": ('p := strings.replace_n({"<": "&lt;", ">": "&gt;"}, input.x)', "a" * LONG),
    "a list in a list": ("p := object.subset(input.x, array.concat(array.slice(input.x, 0, 20000), [2]))",
                         [1] * 40_000),
    "networks in networks": ("p := net.cidr_contains_matches(input.x, input.x)",
                             [f"10.{n % 256}.{n // 256}.0/24" for n in range(2000)]),
}


@needs_opa
@pytest.mark.parametrize("name", HOSTILE_INPUTS)
def test_a_hostile_input_to_an_honest_policy_ends_with_an_error_and_soon(name: str, tmp_path: Path) -> None:
    rego, given = HOSTILE_INPUTS[name]
    plan = compiled(rego, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(PolicyError) as caught:
        plan.evaluate("t/p", {"x": given}, {})
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert caught.value.code == "policy_limit", caught.value
    assert after.ru_utime - before.ru_utime < CPU_S


@needs_opa
def test_a_pattern_as_long_as_a_call_is_no_pattern(tmp_path: Path) -> None:
    plan = compiled("p := regex.is_valid(input.x)", tmp_path)
    assert plan.evaluate("t/p", {"x": "a=b&" * (LONG // 4)}, {})[0]["result"] is False


@needs_opa
def test_recursion_is_refused_by_the_compiler_and_at_load() -> None:
    def function(name: str, called: str) -> Any:
        return {"name": name, "params": [0, 1, 3], "return": 2, "path": [name], "blocks": [block(
            statement("CallStmt", func=called, args=[local(0), local(1), local(3)], result=2),
            statement("ReturnLocalStmt", source=2))]}
    for names in (("a", "a"), ("a", "b", "a"), ("a", "b", "c", "b")):
        calls = tuple(function(*pair) for pair in itertools.pairwise(names))
        with pytest.raises(PolicyError, match="circle"):
            Plan(by_hand(functions=calls))


@needs_opa
@pytest.mark.parametrize(("rego", "wanted"), [
    ("p := count([1 | some a in numbers.range(1, 300); some b in numbers.range(1, 300); a < b])", 44850),
    ('p := count({x | some i in numbers.range(1, 20000); x := sprintf("%d", [i])})', 20000),
    ('p := count([1 | some i in numbers.range(1, 5000); regex.match("^[a-z]+-[0-9]+$", sprintf("item-%d", [i]))])',
     5000),
    ('p := count(regex.find_n("[0-9]+", concat(" ", [s | some i in numbers.range(1, 5000); s := "1"]), -1))', 5000),
])
def test_what_an_honest_policy_does_stays_within_the_limits(rego: str, wanted: int, tmp_path: Path) -> None:
    assert compiled(rego, tmp_path).evaluate("t/p", {}, {}, max_steps=MAX_STEPS)[0]["result"] == wanted


@needs_opa
def test_a_deep_input_is_an_error_and_a_large_one_is_judged(tmp_path: Path) -> None:
    plan = compiled('p := [input.x == input.y, count(input.list), {"k": input.list}]', tmp_path)
    deep: Any = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(PolicyError):
        plan.evaluate("t/p", {"x": deep, "y": [deep], "list": []}, {})
    large = [{"n": n} for n in range(20_000)]
    found = to_json(plan.evaluate("t/p", {"x": large, "y": large, "list": large}, {})[0]["result"])
    assert found[:2] == [True, 20_000]
