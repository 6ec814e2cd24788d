"""The schema for editors and the reference: made from the types, and never stricter than the loader."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.manifest.samples import FULL

from ringwall.errors import ManifestError
from ringwall.manifest import types
from ringwall.manifest.layout import LAYOUTS
from ringwall.manifest.load import parse
from ringwall.manifest.reference import reference
from ringwall.manifest.schema import schema
from ringwall.manifest.starter import STARTER

HERE = Path("/etc/office/ringwall.toml")
VALIDATOR = jsonschema_rs.Draft202012Validator(schema())


def valid(text: str) -> bool:
    return VALIDATOR.is_valid(json.loads(json.dumps(tomllib.loads(text))))


@pytest.mark.parametrize("text", [STARTER, FULL])
def test_the_starter_and_the_full_manifest_pass_schema_and_loader(text: str) -> None:
    parse(text, HERE)
    assert valid(text)


def test_the_starter_passes_with_its_comments_taken_away() -> None:
    lines = [line[2:] if line.startswith(("# [", '# "')) or (line.startswith("# ") and " = " in line) else line
             for line in STARTER.splitlines()]
    manifest = parse("\n".join(lines), HERE)
    assert set(manifest.tools) == {"echo", "docs"}
    assert set(manifest.tenants["main"].roles["helper"].tools) == {"echo/echo", "docs/read"}


@pytest.mark.parametrize(("old", "new"), [
    ("version = 1", "version = 1\nverzion = 1"),
    ('wire = "openai"', 'wire = "openai"\nport = 1'),
    ("[tools.docs.ops.read]", "[tools.docs.ops.read]\nlabel = 1"),
    ("approval =", "approvel ="),
    ("concurrent = 4", "concurrent = 0"),
    ("600/min", "600/month"),
    ('builtin = "echo"', 'builtin = "echo"\npython = "x"'),
    ('from = "file"', ""),
])
def test_the_schema_refuses_unknown_keys_and_wrong_values(old: str, new: str) -> None:
    assert old in FULL
    assert not valid(FULL.replace(old, new, 1))


_EDITS = st.tuples(st.integers(0, len(FULL) - 1), st.integers(0, 3),
                   st.sampled_from(["", "x", "0", "-", ".", " ", "/", '"', "1e3", "[]", "é"]))


@given(st.lists(_EDITS, min_size=1, max_size=2))
def test_what_the_loader_accepts_the_schema_accepts(edits: list[tuple[int, int, str]]) -> None:
    text = FULL
    for at, cut, put in edits:
        text = text[:at] + put + text[at + cut:]
    try:
        parse(text, HERE)
    except ManifestError:
        return
    assert valid(text)


def test_every_field_of_every_type_is_written_or_known_to_be_made() -> None:
    spelled = {types.ArgumentRole, types.OutputLabel, types.Rate}  # written as strings
    tables = {one for one in vars(types).values() if dataclasses.is_dataclass(one) and isinstance(one, type)}
    assert set(LAYOUTS) == tables - spelled
    for of, layout in LAYOUTS.items():
        made = {"path", "revision"} if of is types.Manifest else {layout.key_attr} - {""}
        entries = (*layout.entries, layout.rest) if layout.rest else layout.entries
        written = {entry.attr or entry.key for entry in entries}
        names = {field.name for field in dataclasses.fields(of)}
        assert written | made == names, of


def test_a_field_without_a_default_is_required_in_the_file() -> None:
    for of, layout in LAYOUTS.items():
        fields = {field.name: field for field in dataclasses.fields(of)}
        for entry in layout.entries:
            field = fields[entry.attr or entry.key]
            bare = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            assert entry.required or not bare, (of, entry.key)


def test_the_reference_names_every_key_and_the_keys_to_come() -> None:
    page = reference()
    for layout in LAYOUTS.values():
        for name in [*(entry.key for entry in layout.entries), *layout.later]:
            assert f"`{name}`" in page
    assert "## `[tenants.NAME.roles.NAME.tools.\"SERVER/OPERATION\"]`" in page
