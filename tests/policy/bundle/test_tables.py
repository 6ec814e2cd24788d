"""Tables of calls: what may stand in them, and how a wrong decision reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.bundle.support import code_of

from ringwall.errors import PolicyError
from ringwall.policy.bundle.tables import CallRow, ListRow, judge, judge_list, merged, read_table

GOOD = """
manifest = "ringwall.toml"
[[call]]
name = "one"
agent = "acme/ana"
tool = "docs/read"
args = { path = "/a" }
want = "allow"
[[list]]
name = "two"
agent = "acme/ana"
at = 2026-01-01T00:00:00+01:00
want = ["docs/read"]
"""


def table(folder: Path, text: str, suffix: str = ".toml") -> Path:
    path = folder / f"x.calls{suffix}"
    path.write_text(text)
    return path


def test_a_table_is_read_from_toml_and_from_json(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, GOOD))
    assert (found.call[0].tool, found.list[0].want, found.at.year) == ("docs/read", ("docs/read",), 2026)
    tree = {"manifest": "m", "at": "2026-01-05T10:00:00Z",
            "call": [{"name": "one", "operator": "ana", "verb": "freeze", "want": "deny"}]}
    assert read_table(table(tmp_path, json.dumps(tree), ".json")).call[0].verb == "freeze"


@pytest.mark.parametrize(("old", "new"), [
    ('manifest = "ringwall.toml"', ""),
    ('want = "allow"', 'want = "maybe"'),
    ('want = "allow"', ""),
    ('want = "allow"', 'want = "allow"\ncodes = ["x"]'),
    ('want = "allow"', 'want = "deny"\ncodes = "x"'),
    ('tool = "docs/read"', 'tool = "docs/read"\nmodel = "main"'),
    ('tool = "docs/read"', ""),
    ('tool = "docs/read"', 'tool = "docs/read"\noperator = "ana"'),
    ('tool = "docs/read"', 'tools = "docs/read"'),
    ('args = { path = "/a" }', "args = []"),
    ("[[call]]", "[[calls]]"),
    ("2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00"),
    ("2026-01-01T00:00:00+01:00", "2026-01-01"),
    ("2026-01-01T00:00:00+01:00", "5"),
    ('name = "one"', "name = 1"),
    ("[[list]]", "[[list]"),
])
def test_a_table_with_a_fault_is_refused(old: str, new: str, tmp_path: Path) -> None:
    assert old in GOOD
    assert code_of(read_table, table(tmp_path, GOOD.replace(old, new, 1))) == "bad_table"


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "")
    path.write_bytes(b"\xff\xfe")
    assert code_of(read_table, path) == "bad_table"
    path.write_bytes(b"#" * (2 << 20))
    assert code_of(read_table, path) == "bad_table"
    assert code_of(read_table, tmp_path / "none") == "bad_table"
    assert code_of(read_table, table(tmp_path, '{"a": 1, "a": 2}', ".json")) == "bad_table"


@settings(max_examples=80)
@given(st.text(max_size=200))
def test_any_text_is_a_table_or_a_policy_error(text: str) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".calls.toml") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        with pytest.raises(PolicyError):
            read_table(Path(file.name))


def row(want: str, codes: tuple[str, ...] | None = None) -> CallRow:
    return CallRow(name="x", agent="a/b", tool="c/d", want=want, codes=codes)  # type: ignore[arg-type]


def decision(**changes: Any) -> Any:
    return {"allow": False, "deny": [], "ask": [], "remedy": "", **changes}


DENIAL = {"code": "late", "reason": "too late", "rule": "hours.rego: open"}
QUESTION = {"code": "large", "question": "sure?", "rule": "amounts.rego: small"}


@pytest.mark.parametrize(("wanted", "answer", "difference"), [
    (row("allow"), decision(allow=True), ""),
    (row("deny"), decision(deny=[DENIAL]), ""),
    (row("deny", ("late",)), decision(deny=[DENIAL]), ""),
    (row("ask", ("large",)), decision(ask=[QUESTION]), ""),
    (row("deny"), decision(), ""),
    (row("allow"), decision(deny=[DENIAL]), "  wanted allow\n  got    deny: late (hours.rego: open)"),
    (row("deny"), decision(allow=True), "  wanted deny\n  got    allow"),
    (row("ask"), decision(ask=[QUESTION], deny=[DENIAL]), "  wanted ask\n  got    deny: late (hours.rego: open)"),
    (row("deny", ("other",)), decision(deny=[DENIAL]),
     "  wanted deny (other)\n  got    deny: late (hours.rego: open)"),
    (row("deny", ("late", "more")), decision(deny=[DENIAL]),
     "  wanted deny (late, more)\n  got    deny: late (hours.rego: open)"),
    (row("allow"), decision(allow=True, deny=[DENIAL]), "  wanted allow\n  got    deny: late (hours.rego: open)"),
])
def test_a_decision_is_compared_with_what_was_wanted(wanted: CallRow, answer: Any, difference: str) -> None:
    assert judge(wanted, lambda: answer) == difference


def test_an_answer_of_another_form_or_an_error_counts_as_a_denial_and_is_shown() -> None:
    assert judge(row("deny"), lambda: "yes") == ""
    assert "wrong form" in judge(row("allow"), lambda: "yes")
    assert judge(row("deny", ("policy_limit",)), lambda: _raise(PolicyError("slow", code="policy_limit"))) == ""


def _raise(error: Exception) -> Any:
    raise error


def test_a_listing_is_compared_name_by_name() -> None:
    wanted = ListRow(name="x", agent="a/b", want=("docs/read", "docs/list"))
    assert judge_list(wanted, lambda: {"targets": ["docs/list", "docs/read"]}) == ""
    assert judge_list(wanted, lambda: {"targets": ["docs/read", "bank/pay"]}) == (
        "  + bank/pay  is shown\n  - docs/list  is not shown")
    assert "an error" in judge_list(wanted, dict)


def test_merging_goes_into_objects_and_replaces_all_else() -> None:
    base = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert merged(base, {"a": {"c": [2], "e": {"f": 3}}, "d": {"g": 4}}) == {
        "a": {"b": 1, "c": [2], "e": {"f": 3}}, "d": {"g": 4}}
    assert base == {"a": {"b": 1, "c": [1]}, "d": 2}
