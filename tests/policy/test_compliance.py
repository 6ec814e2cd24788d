"""OPA's own compliance cases, run on the plans that OPA compiled of them."""

from __future__ import annotations

import json
import os
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.policy import terms

from ringwall.errors import PolicyError
from ringwall.policy.builtins import BUILTINS
from ringwall.policy.builtins.text import to_json
from ringwall.policy.plan.loader import Plan
from ringwall.policy.plan.values import U

WANTED_PASSES = 1_900  # of 2,067: what stands now; it only goes up
# All that is neither passed nor refused at load for a built-in, with what becomes of it. None of it is a decision
# that differs from OPA's.
KNOWN = {
    "strings/sprintf: float too big112": "not loaded",  # 2e308 is a constant of the policy, and no double
    "aggregates/count with invalid utf-8 chars (0xFFFD)1150": "error",  # a string that is no Unicode is an error
    "reachable_paths/cycle_1022_3463": "wrong",  # wanted by an older OPA; 1.21.3 gives our answer
}
CASES = 2_067
STEPS = 300_000


def cases() -> list[Any]:
    """The cases, or skip (listed in tests/skips.toml as needs_data)."""
    if (folder := os.environ.get("RINGWALL_DATA")) is None:
        pytest.skip("needs_data: RINGWALL_DATA is not set")
    found: list[Any] = []
    with tarfile.open(Path(folder) / "rego-cases" / "rego-cases.tar.xz") as archive:
        for member in archive:
            reader = archive.extractfile(member) if member.name.endswith(".json") else None
            if reader is not None:
                found += json.load(reader)["cases"]
    return found


def plain(value: Any, *, ordered: bool) -> Any:
    """JSON with numbers as floats, and without the order of arrays if it does not matter."""
    if isinstance(value, list):
        items = [plain(item, ordered=ordered) for item in value]
        return items if ordered else sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, dict):
        return {key: plain(item, ordered=ordered) for key, item in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def judge(case: Any, **how: Any) -> str:
    """What became of one case: passed, refused at load, or how it failed."""
    declared = {item["name"] for item in case["plan"]["static"].get("builtin_funcs") or []}
    try:
        plan = Plan(json.dumps(case["plan"]).encode(), strict=bool(case.get("strict_error")), **how)
    except PolicyError as error:
        if declared <= set(BUILTINS):
            return "not loaded"
        named = {name for name in declared - set(BUILTINS) if f"built-in {name} is not supported" in error.cause}
        return "refused" if error.code == "unsupported_builtin" and named else "refused for another reason"
    if not declared <= set(BUILTINS):
        return "loaded without its built-ins"
    document = terms.parse(case["input_term"]) if "input_term" in case else case.get("input", U)
    wants_error = "want_error" in case or "want_error_code" in case
    try:
        found = [to_json(one) for one in plan.evaluate("eval", document, case.get("data", {}), max_steps=STEPS,
                                                       now_ns=time.time_ns())]
    except PolicyError:
        return "passed" if wants_error else "error"
    wanted = case["want_plan_result"]
    if wanted is None:
        return "no error"
    same = any(plain(found, ordered=order) == plain(wanted, ordered=order) for order in (True, False))
    return "passed" if same else "wrong"


@pytest.mark.needs_data
@pytest.mark.parametrize("how", [{}, {"indexed": 1}, {"indexed": 1 << 40}, {"traced": True}])
def test_every_case_passes_or_is_refused_at_load_by_the_name_of_a_builtin(how: dict[str, Any]) -> None:
    outcomes = {case["note"] + str(index): judge(case, **how) for index, case in enumerate(cases())}
    count = Counter(outcomes.values())
    failed = {note: outcome for note, outcome in outcomes.items() if outcome not in ("passed", "refused")}
    assert len(outcomes) == CASES
    assert failed == KNOWN
    assert count["passed"] >= WANTED_PASSES, count
