"""docs/errors.md has every code there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.codes import codes

ROOT = Path(__file__).resolve().parent.parent.parent
_NAMED = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)*)`")


def documented() -> set[str]:
    """Codes of the page: in the first column of its tables, and in its last section."""
    text = (ROOT / "docs" / "errors.md").read_text()
    tables, _, last = text.partition("## Between Ringwall's own processes")
    first = [line.split("|")[1] for line in tables.split("## What an agent is refused for")[1].splitlines()
             if line.startswith("| `")]
    return {code for part in (*first, last) for code in _NAMED.findall(part)}


def test_every_code_is_documented() -> None:
    assert sorted(codes(ROOT / "src" / "ringwall") - documented()) == []


def test_no_code_is_documented_that_does_not_exist() -> None:
    assert sorted(documented() - codes(ROOT / "src" / "ringwall")) == []


def test_codes_are_found_wherever_one_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'def _bad(cause, code="one_default"): raise X(cause, code=code)\n'
        'def f(): _bad("x", "two_placed"); X(code="three_named" if y else "four_else"); X(code=y or "five_or")\n'
        'class E(X):\n    default_code = "six_class"\n'
        'error = {"code": "seven_key", "reason": "no_code_here"}\nREASONS = M({"eight_row": "text"})\n'
    )
    (tmp_path / "b.rego").write_text('deny contains {\n\t"code": "nine_rule",\n}\n')
    assert sorted(codes(tmp_path)) == sorted(
        ["one_default", "two_placed", "three_named", "four_else", "five_or", "six_class", "seven_key", "eight_row",
         "nine_rule"])
