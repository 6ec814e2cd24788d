"""Whether a policy can see the time: every way of looking is found."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.policy.compile import block, by_hand, local, statement, the_opa

from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.reads import reads_time

BLIND = [
    "p := input.call.time", "p if input.call.args.x == data.time", 'p if object.get(input.facts, "time", 0) == 1',
    'p if f(input.call)\nf(x) if x.time == 3',
    'p if input.call == "time"', "p if { some x in input.call.list; q[x] }\nq contains 3",
]
SEEING = [
    "p if q with input.call as 3\nq if input.call == 1",  # the plan puts the whole input aside
    "p := input.time.now", 'p := input["time"]', "p := input[input.call.key]", "p if { some k; input[k] == 3 }",
    "p := input", "p := json.marshal(input)", "p if f(input)\nf(x) if x.time == 3", "p := [x | x := input]",
    "p if walk(input, [[_], 3])", 'p := object.get(input, "time", 1)', "p if input == {}", "p := {input: 1}",
    "p := q\nq if r\nr := x if x := input.time", 'p if { some x in input; x == 3 }', "p := count(input)",
    "p if q with input.call as input\nq if input.call.time", 'p if "time" in object.keys(input)',
]


def plan(rego: str, folder: Path) -> bytes:
    (folder / "t.rego").write_text(f"package t\n\n{rego}\n")
    subprocess.run([the_opa(), "build", "-t", "plan", "-e", "t/p", "-o", "out.tgz", "t.rego"], cwd=folder,
                   check=True, capture_output=True)
    with tarfile.open(folder / "out.tgz") as archive:
        member = archive.extractfile("/plan.json")
        assert member is not None
        return member.read()


@pytest.mark.needs_opa
@pytest.mark.parametrize(("rego", "seen"), [*((text, False) for text in BLIND), *((text, True) for text in SEEING)])
def test_the_plan_tells_who_looks_at_the_time(rego: str, seen: bool, tmp_path: Path) -> None:
    assert reads_time(plan(rego, tmp_path)) is seen


def test_the_shipped_policy_does_not() -> None:
    assert EmbeddedPolicy.default({}).sees_time() is False


def test_a_statement_of_no_known_form_counts_as_looking() -> None:
    whole = by_hand(statement("NewStmt", thing=local(0)), strings=("x",))
    assert reads_time(whole) is True
    assert reads_time(by_hand(statement("BlockStmt", blocks=[block(statement("NewStmt", thing=0))]))) is True
    assert reads_time(json.dumps({"static": {}, "plans": {"plans": []}}).encode()) is False
