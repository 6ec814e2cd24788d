"""Edits of a manifest's text: the change, and not one byte beside it."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.explain.support import MANIFEST

from ringwall.errors import ManifestError
from ringwall.explain.edit import Edit, Text, diff

TOOLS = ("tenants", "acme", "roles", "analyst", "tools")
CHANGES = {
    "an item of a list on several lines": (
        Edit(path=(*TOOLS, "docs/read"), value=["path:/a"], append=True), '+  "path:/a",'),
    "a new key of a table": (Edit(path=(*TOOLS, "web/get"), value=["url:https://x/"]), '+"web/get" = ["url:https://x/"]'),
    "a key of an inline table": (
        Edit(path=("tools", "docs", "ops", "read", "args", "lines"), value="param"),
        '+args = { path = "selector:path", lines = "param" }  # nothing else yet'),
    "a value of an inline table in an inline table": (
        Edit(path=(*TOOLS, "pay/send", "max", "amount"), value=250),
        '+"pay/send" = { resources = ["iban:DE89370400440532013000"], max = { amount = 250 } }'),
    "a new table beside others": (
        Edit(path=("tenants", "acme", "agents", "max"), value={"role": "payer"}), "+[tenants.acme.agents.max]"),
    "a table that is not there yet": (
        Edit(path=("tenants", "acme", "roles", "payer", "limits", "calls"), value="9/min"),
        "+[tenants.acme.roles.payer.limits]"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "line"), CHANGES.values(), ids=CHANGES)
def test_an_edit_is_made_where_it_belongs(edit: Edit, line: str) -> None:
    changed = diff(MANIFEST, Text(MANIFEST).edited([edit]), "ringwall.toml")
    assert line in changed.splitlines()


@pytest.mark.parametrize("edit", [edit for edit, _ in CHANGES.values()], ids=CHANGES)
def test_comments_order_and_all_other_lines_stay(edit: Edit) -> None:
    after = Text(MANIFEST).edited([edit]).splitlines()
    gone = [line for line in MANIFEST.splitlines() if line not in after]
    assert len(gone) <= 1
    kept = [line for line in MANIFEST.splitlines() if line in after and line and line != 'role = "payer"']
    assert [line for line in after if line in kept] == kept
    assert sum("#" in line for line in after) == sum("#" in line for line in MANIFEST.splitlines())


@pytest.mark.parametrize("text", ["a\x9b2J", "a\u202eb", "a\u2028b", "a\x85b", "a\x1b[2J"])
def test_a_text_that_does_not_print_is_in_no_diff(text: str) -> None:
    args = ("tools", "docs", "ops", "read", "args")
    for edit in (Edit(path=(*args, text), value="payload"),
                 Edit(path=(*TOOLS, "docs/read"), value=[text], append=True),
                 Edit(path=("tenants", "acme", "agents", "max"), value={"role": text})):
        with pytest.raises(ManifestError, match="do not print"):
            Text(MANIFEST).edited([edit])


def test_the_diff_is_what_patch_takes(tmp_path: Path) -> None:
    edit = CHANGES["an item of a list on several lines"][0]
    wanted = Text(MANIFEST).edited([edit])
    (tmp_path / "ringwall.toml").write_text(MANIFEST)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff(MANIFEST, wanted, "ringwall.toml"), text=True,
                   check=True)
    assert (tmp_path / "ringwall.toml").read_text() == wanted


def test_a_file_without_a_last_newline_keeps_it_so() -> None:
    text = "a = 1\n[b]\nc = 2"
    edited = Text(text).edited([Edit(path=("a",), value=2)])
    assert edited == "a = 2\n[b]\nc = 2"
    assert "\\ No newline at end of file" in diff(text, edited.replace("c = 2", "c = 3"), "x")


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", "[a]\n[a]", "\x00", "a = {b = 1"])
def test_what_is_not_toml_is_refused_and_not_mended(text: str) -> None:
    with pytest.raises(ManifestError, match="cannot be edited"):
        Text(text)


@pytest.mark.parametrize("edit", [
    Edit(path=("trust_domain", "x"), value=1), Edit(path=("version",), value=["x"], append=True),
    Edit(path=(*TOOLS, "gone"), value=["x"], append=True),
])
def test_an_edit_that_fits_nothing_is_refused(edit: Edit) -> None:
    with pytest.raises(ManifestError, match="cannot be edited"):
        Text(MANIFEST).edited([edit])


SHOWN = st.characters().filter(str.isprintable)
NAMES = st.text(SHOWN, min_size=1, max_size=12)


TEXTS = st.text(SHOWN, max_size=20)
VALUES = st.one_of(TEXTS, st.integers(-9, 9), st.lists(TEXTS, max_size=3))


@given(name=NAMES, value=VALUES)
def test_any_printable_name_and_value_reads_back_as_it_was_meant(name: str, value: object) -> None:
    edited = Text(MANIFEST).edited([Edit(path=(*TOOLS, f"new{name}"), value=value)])
    assert tomllib.loads(edited)["tenants"]["acme"]["roles"]["analyst"]["tools"][f"new{name}"] == value


@given(text=st.text(max_size=200))
def test_any_text_is_edited_or_refused_and_nothing_else(text: str) -> None:
    try:
        found = Text(text)
        edited = found.edited([Edit(path=("zz",), value=1)])
    except ManifestError:
        return
    assert tomllib.loads(edited)["zz"] == 1
