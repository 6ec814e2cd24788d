"""Random policies and hostile inputs for the differential test: Rego within what Ringwall supports.

A built-in's operands are checked first (``is_string(x)``) except in the rules that are made to fail: OPA may skip a
rule by its index, or stop at the first body of a rule that holds, where the plan goes on, so *which* of several
bodies fails is not the same on both sides. Keys into base data are never numbers or numeric texts: OPA's evaluation
and its own plan differ there (`ringwall policy lint` refuses them).
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

NAMES = ("a", "b", "c", "s", "n", "l", "o")
REFS = (*(f"input.{name}" for name in NAMES), "input.o.x", "input.o.y.z", "input.l[0]", "input.l[1].x",
        "input.o[input.s]", "input.l[input.n]", "input.missing", "data.base.limits.k", "data.base.names")
CONSTANTS = (None, True, False, 0, 1, -1, 2, 2.5, 1e3, 0.1, 10**20, -(2**63), "", "a", "b", "ab", "é", "\u0000",
             "1", "true", "[]", "x.y", [], [1], [1, "a"], {}, {"x": 1}, {"x": {"y": None}},
             [[]], "\U0001f600", "ß", "İ")
# Results beyond a double are an error here, and in OPA a number with all its digits: hence no 1e308.
EDGES = (2**63, -(2**63) - 1, 10**30, 1e60, -1e60, 5e-324, 0.1 + 0.2, 1e16, 123456789.123456789)
# {0}: the value; {1}, {2}: names that nothing else in the body has.
TESTS = {
    "string": (
        'startswith({0}, "a")', 'endswith({0}, "b")', 'contains(lower({0}), "a")', "count({0}) > 1",
        'regex.match("^(a|b)+$", {0})', 'glob.match("a*", [], {0})', 'upper({0}) == "AB"', '{0} < "b"',
        'split({0}, "")[0] == "a"', 'trim({0}, " a") == "b"', 'indexof({0}, "b") > 0',
        'substring({0}, 0, 1) == "a"', 'replace({0}, "a", "b") == "b"', 'sprintf("%s-%d", [{0}, 1]) == "a-1"',
        "strings.reverse({0}) == {0}", 'strings.any_prefix_match({0}, ["a", "x"])',
        "json.unmarshal(json.marshal({0})) == {0}"),
    "number": (
        "{0} > 0", "{0} + 1 == 2", "{0} * 2 >= 5", "abs({0}) < 3", "round({0}) == 1", "{0} - 0.1 < 1",
        "ceil({0}) == 1", "floor({0}) == 0", "{0} == 1.0"),
    "array": (
        "count({0}) > 1", '{0}[0] == "a"', "1 in {0}", "array.slice({0}, 0, 1) == [1]", "some {1} in {0}; {1} == 1",
        "every {1} in {0} {{ is_number({1}) }}", "{{{1} | some {1} in {0}}} == {{1}}",
        "array.concat({0}, [1])[0] == 1", "sort({0})[0] == null", "[{1} | some {1}, {2} in {0}; {2} == 1] == [0]"),
    "object": (
        'object.get({0}, "x", 0) == 1', "count({0}) == 1", '"x" in object.keys({0})',
        'some {1}, {2} in {0}; {2} == 1; {1} == "x"', 'object.union({0}, {{"x": 1}}) == {{"x": 1}}',
        'object.remove({0}, ["x"]) == {{}}', '{0} == {{"x": 1}}',
        'every {1}, {2} in {0} {{ {1} != "y"; {2} != 1 }}',
        '{{{1} | some {1}, _ in {0}}} == {{"x"}}', 'json.filter({0}, ["x"]) == {{"x": 1}}'),
}
# Nothing here may grow with a number that the input names: OPA has no limit of its own, so numbers.range(0, 1e18)
# takes all memory there is. Nor give text that is no UTF-8 (base64.decode): for OPA it is U+FFFD, here an error.
FAILING = (
    "to_number({0})", "count({0})", "json.unmarshal({0})", "lower({0})", "{0} + 1", "sum({0})", "concat({0}, [])",
    'object.get({0}, "x", 1)', "1 / {0}", "base64.encode({0})", 'net.cidr_contains("10.0.0.0/8", {0})', "max({0})",
    "units.parse({0})", 'glob.match({0}, [], "a")', 'regex.match({0}, "ab")', "min({0})")


class Writer:
    """Writes one module."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._names = 0

    def module(self, package: str) -> str:
        """A package with the rule ``call``."""
        pick = self._random
        helpers = [self._helper(name) for name in ("h0", "h1", "h2")]
        parts = ["default allow := false", *(f"allow if {{ {self.body()} }}" for _ in range(pick.randint(1, 3)))]
        parts += [f"deny contains {self.member()} if {{ {self.body()} }}" for _ in range(pick.randint(1, 4))]
        parts += [f"chain := 1 if {{ {self.body()} }} else := {pick.choice(REFS)} if {{ {self.body()} }} else := 3",
                  f"f(x) := x if {{ {self.of('x')} }}", f"g(x) if {{ {self.of('x')} }}",
                  f"f(x) := [x] if {{ not is_null(x); not is_{pick.choice(('string', 'array', 'boolean'))}(x) }}"]
        values = {"allow": "allow", "deny": "deny", "chain": "chain", "seen": f"[y | y := f({pick.choice(REFS)})]",
                  "some": f"{{k: v | some k, v in {pick.choice(REFS)}; is_string(k); {self.of('v')}}}",
                  "set": f"{{x | some x in {pick.choice(REFS)}}}",
                  "with": f"[1 | h0 with {pick.choice(REFS[:7])} as {self.constant()}]"}
        if pick.random() < 0.25:
            values["fails"] = pick.choice(FAILING).format(pick.choice(REFS))
        parts.append("call := {" + ", ".join(f'"{key}": {value}' for key, value in values.items()) + "}")
        return "\n\n".join([f"package {package}", *helpers, *parts]) + "\n"

    def body(self) -> str:
        """What must hold, one to three conditions."""
        return "; ".join(self.condition() for _ in range(self._random.randint(1, 3)))

    def condition(self) -> str:
        ref, pick = self._random.choice(REFS), self._random.random()
        if pick < 0.3:
            return f"{ref} {self._random.choice(('==', '!=', '<', '>=', '=='))} {self.constant()}"
        if pick < 0.4:
            return f"{ref} in {{{self.constant()}, {self.constant()}}}"
        if pick < 0.55:
            return f"{self._random.choice(('', 'not '))}{self._random.choice(('h0', 'h1', 'h2'))}"
        if pick < 0.62:
            return f"not {ref} == {self.constant()}"
        if pick < 0.7:
            return f"{self._random.choice(('', 'not '))}g({ref})"
        return self.of(ref)

    def of(self, ref: str) -> str:
        """A test of one value, after a check of its type."""
        kind = self._random.choice(tuple(TESTS))
        self._names += 1
        test = self._random.choice(TESTS[kind]).format(ref, f"v{self._names}", f"w{self._names}")
        return f"is_{kind}({ref}); {test}"

    def member(self) -> str:
        """A denial."""
        pick = self._random
        what = pick.choice((self.constant(), "input.a", "input.o"))
        return f'{{"code": "c{pick.randint(0, 3)}", "value": {what}}}'

    def constant(self) -> str:
        """A constant, as Rego writes it: JSON."""
        return json.dumps(self._random.choice(CONSTANTS))

    def _helper(self, name: str) -> str:
        ref = self._random.choice(REFS)
        one = f"{ref} {self._random.choice(('==', '!='))} {self.constant()}"
        return f"{name} if {{ {one} }}\n\n{name} if {{ {self.of(ref)} }}"


def value(random: Random, depth: int = 0) -> Any:
    """Any JSON value, biased to what trips programs up."""
    pick = random.random()
    if depth < 4 and pick < 0.15:
        return [value(random, depth + 1) for _ in range(random.randint(0, 3))]
    if depth < 4 and pick < 0.3:
        return {random.choice((*NAMES, "x", "y", "z", "", "1", "é")): value(random, depth + 1)
                for _ in range(random.randint(0, 3))}
    if pick < 0.33:
        return nested(random.randint(5, 40))
    if pick < 0.36:
        return random.choice(("a", "\u0000", "é", "\U0001f600", " ")) * random.randint(1, 300)
    if pick < 0.42:
        return random.choice(EDGES)
    return random.choice(CONSTANTS)


def nested(depth: int) -> Any:
    made: Any = 1
    for level in range(depth):
        made = [made] if level % 2 else {"x": made}
    return made


def document(random: Random) -> Any:
    """An input: most keys there, of any type, and now and then of the type that the policies look for."""
    made = {name: value(random) for name in NAMES if random.random() < 0.85}
    if random.random() < 0.5:
        made.update(s=random.choice(("a", "x", "ab", "y")), n=random.choice((0, 1, 2.5, -1)),
                    l=[random.choice((1, "a", None, {"x": 1})) for _ in range(random.randint(0, 3))],
                    o={key: random.choice((1, "a", {"z": 1})) for key in ("x", "y") if random.random() < 0.7})
    return made


def changed(random: Random, whole: Any) -> Any:
    """The document with some of its values, anywhere, replaced, removed or added."""
    for _ in range(random.randint(0, 3)):
        holder = whole
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = random.choice(keys)
            if isinstance(holder[key], (dict, list)) and holder[key] and random.random() < 0.8:
                holder = holder[key]
                continue
            if random.random() < 0.25:
                del holder[key]
            else:
                holder[key] = value(random)
            break
    return whole
