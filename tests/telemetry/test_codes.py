"""The table of codes that labels may say is the source's own, whole."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.docs.codes import codes

from ringwall.telemetry.codes import CODES, OTHER, closed

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "ringwall"


def test_the_table_has_every_code_of_the_source_and_no_other() -> None:
    found = codes(SOURCE)
    table = "\n".join(textwrap.wrap(" ".join(sorted(found)), 112, break_on_hyphens=False))
    assert found == CODES, f"put this into telemetry/codes.py:\n{table}"


def test_a_code_that_is_not_in_the_table_is_another() -> None:
    assert closed("not_granted") == "not_granted"
    for made_up in ("", "nobody_knows", 'x"} 1\n', "Not_Granted", "not_granted "):
        assert closed(made_up) == OTHER
    assert OTHER not in CODES
