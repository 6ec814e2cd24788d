"""What may decide otherwise than it reads is found, and named with its line; what is right passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.policy.compile import the_opa

from ringwall.errors import PolicyError
from ringwall.policy.build import CAPABILITIES, SOURCES, compile_plan, shipped
from ringwall.policy.bundle.folder import read_folder
from ringwall.policy.bundle.lint import check_modules, parse_modules
from ringwall.policy.bundle.lint_plan import check_plan
from ringwall.policy.bundle.make import make

pytestmark = pytest.mark.needs_opa

DENY = 'deny contains {"code": "c", "reason": "r", "rule": "x.rego: y"} if '


def checks(folder: Path, rego: str, *, package: str = "ringwall.site",
           whole: bool = False) -> list[tuple[str, int]]:
    """The checks that one file fails, with its lines."""
    (folder / "x.rego").write_text(f"package {package}\n{rego}\n")
    (folder / "data.json").write_text('{"m": {"1": "one"}, "list": ["a"]}')
    try:
        make(the_opa(), read_folder(folder), whole=whole)
    except PolicyError as error:
        assert error.code == "policy_lint", error
        lines = [line for line in error.cause.splitlines() if line.startswith(("site/x.rego:", "x.rego:"))]
        after = [line.rpartition("(")[2].rstrip(")") for line in error.cause.splitlines() if line.endswith(")")]
        return sorted((check, int(line.split(":")[1])) for check, line in zip(after, lines, strict=True))
    return []


@pytest.mark.parametrize(("rego", "found"), [
    # a key into data that may be a number (policy by text in OPA, by type in its plan)
    (DENY + "data.m[input.k]", [("untyped_key", 2)]),
    (DENY + "data.m[input.k] == 1", [("untyped_key", 2)]),
    (DENY + "{\n\tk := input.k\n\tdata.m[k]\n}", [("untyped_key", 4)]),
    (DENY + "{\n\tk := input.k + 1\n\tdata.m[k]\n}", [("untyped_key", 4)]),
    (DENY + "f(input.k)\nf(k) := data.m[k]", [("untyped_key", 3)]),
    (DENY + "{\n\tnot x\n\tis_string(input.k)\n}\nx if data.m[input.k]", [("untyped_key", 6)]),
    (DENY + "{\n\tdata.m[input.k]\n\tis_string(input.other)\n}", [("untyped_key", 3)]),
    (DENY + "{\n\tdata.m[input.k]\n\tnot is_number(k)\n}\nk := input.k", [("untyped_key", 3)]),
    (DENY + "{\n\tdata.m[input.k]\n\tis_string(input.k)\n}", []),
    (DENY + "{\n\tis_string(input.k)\n\tdata.m[input.k].x.y\n}", []),
    (DENY + "data.m[lower(input.k)]", []),
    (DENY + "{\n\tsome k\n\tdata.m[k] == input.v\n}", []),
    (DENY + "{\n\tsome k, v in data.m\n\tv == input.v\n\tdata.m[k] == v\n}", []),
    (DENY + "data.m.one", []),
    (DENY + "input.k in data.list", []),
    (DENY + "lookup[input.k]\nlookup := {\"a\": 1}", []),
    # a computed key over a tree of rules
    (DENY + "tree[input.a][input.b]\ntree.v1.read := true\ntree.v3[op] := true if some op in [\"w\"]",
     [("dynamic_rule", 2)]),
    (DENY + "tree[input.a]\ntree.v1 := true\ntree.v2 := true", [("dynamic_rule", 2)]),
    (DENY + "tree.v1.read\ntree.v1.read := true", []),
    # what answers differently each time
    (DENY + "time.now_ns() > 5", [("clock_builtin", 2)]),
    (DENY + "{\n\tsome x in [1]\n\trand.intn(\"a\", x) == 1\n}", [("clock_builtin", 4)]),
    (DENY + 'opa.runtime().env.HOME == "x"', [("clock_builtin", 2)]),
    (DENY + "input.time.now > 5", []),
    # negated conditions on the input
    (DENY + 'not startswith(input.x, "a")', [("negated_call", 2)]),
    (DENY + "not input.x == 1", [("negated_call", 2)]),
    (DENY + 'not input.x in {"a"}', [("negated_call", 2)]),
    (DENY + "not f(input.x)\nf(x) if x == 1", [("negated_call", 2)]),
    ("import input.call as c\n" + DENY + "not c.x == 1", [("negated_call", 3)]),
    (DENY + "not input.x", []),
    (DENY + 'not good\ngood if startswith(input.x, "a")', []),
    (DENY + "{\n\tevery x in [1] {\n\t\tnot f(input.x, x)\n\t}\n}\nf(a, b) if a == b", [("negated_call", 4)]),
    # answers that lack what an answer has
    ('deny contains {"code": "c", "reason": "r"} if input.x', [("missing_field", 2)]),
    ('deny contains "no" if input.x', [("missing_field", 2)]),
    ('ask contains {"code": "c", "reason": "r", "rule": "x"} if input.x', [("missing_field", 2)]),
    ('ask contains {"code": "c", "question": "q", "rule": "x"} if input.x', []),
    ("deny contains found if some found in data.list", []),
    ('hide contains "docs/read" if input.x', []),
    ("allow if input.x", [("site_allows", 2)]),
])
def test_each_shape_is_found_in_its_line(rego: str, found: list[tuple[str, int]], tmp_path: Path) -> None:
    assert checks(tmp_path, rego) == found


def test_a_sites_files_may_not_replace_what_ships(tmp_path: Path) -> None:
    for package in ("ringwall.decide", "ringwall.grants", "ringwall", "system.authz", "ringwall_core.ask"):
        assert checks(tmp_path, "x := 1", package=package) == [("foreign_package", 1)]
    assert checks(tmp_path, "x := 1", package="ringwall.site.hours") == []
    assert checks(tmp_path, "x := 1", package="acme.hours") == []


WHOLE = """
call := {"allow": true, "deny": set(), "ask": set(), "remedy": ""}
list := {"targets": []}
"""


def test_a_whole_policy_must_give_the_whole_decision(tmp_path: Path) -> None:
    assert checks(tmp_path, WHOLE, package="ringwall.decide", whole=True) == []
    short = WHOLE.replace(', "remedy": ""', "")
    assert checks(tmp_path, short, package="ringwall.decide", whole=True) == [("missing_field", 3)]


def test_a_whole_policy_without_an_entry_point_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "x.rego").write_text("package ringwall.decide\ncall := {}\n")
    with pytest.raises(PolicyError) as caught:
        make(the_opa(), read_folder(tmp_path), whole=True)
    assert caught.value.code in {"bad_policy", "policy_lint"}


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    rego = DENY + "time.now_ns() > 5\n" + DENY + "not input.x == 1\nallow := true"
    assert checks(tmp_path, rego) == [("clock_builtin", 2), ("negated_call", 3), ("site_allows", 4)]


def test_the_shipped_policy_passes_its_own_lint() -> None:
    sources = shipped()
    assert list(check_modules(parse_modules(the_opa(), sources), whole=True)) == []
    assert list(check_plan(compile_plan(the_opa(), sources, (SOURCES / CAPABILITIES).read_bytes()))) == []
