"""The examples are what anybody would write: nothing of Ringwall in them, nothing that is not pinned."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
from tests.docs.commands import blocks
from tests.examples.office import ALL, DOOR, EXAMPLES, MODEL_PORT, Example

PINNED = re.compile(r"[A-Za-z0-9._-]+==[^ ;]+( ; .+)? \\$")


def ours(source: str) -> list[str]:
    """The modules of Ringwall that a Python source imports."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return [name for name in found if name.partition(".")[0] == "ringwall"]


@pytest.mark.parametrize("file", [*EXAMPLES.glob("*/*.py"), *EXAMPLES.glob("*/*.mjs")],
                         ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_example_imports_ringwall(file: Path) -> None:
    source = file.read_text()
    assert not (ours(source) if file.suffix == ".py" else re.findall(r"(?:from|import\(?)\s*[\"']ringwall", source))


def test_an_import_would_be_seen() -> None:
    assert ours("import os, ringwall\nfrom ringwall.aio import complete") == ["ringwall", "ringwall.aio"]


def test_every_program_is_an_agent_and_every_agent_a_program() -> None:
    manifest = tomllib.loads((EXAMPLES / "ringwall.toml").read_text())
    agents = manifest["tenants"]["office"]["agents"]
    folders = {path.parent.name for path in EXAMPLES.glob("*/main.*")}
    assert set(agents) == folders == {example.name for example in ALL}
    assert {f"http://127.0.0.1:{agent['door']}/mcp" for agent in agents.values()} == {DOOR}
    assert all(f":{MODEL_PORT}/" in model["url"] for model in manifest["models"].values())


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_every_version_is_pinned_by_hash(example: Example) -> None:
    folder = EXAMPLES / example.name
    if example.name == "node-mcp":
        packages = json.loads((folder / "package-lock.json").read_text())["packages"]
        assert all(package.get("integrity") for place, package in packages.items() if place)
        assert not any("resolved" in package for package in packages.values())  # every machine asks its own index
        return
    wanted = [line for line in (folder / "requirements.in").read_text().splitlines() if line]
    assert all("==" in line for line in wanted)
    blocks = (folder / "requirements.txt").read_text().split("\n    --hash")
    assert len(blocks) > len(wanted)
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines()
             if line and not line.startswith(("#", " "))]
    assert lines
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_a_reader_is_told_what_it_shows_and_how_it_is_run(example: Example) -> None:
    text = (EXAMPLES / example.name / "README.md").read_text()
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()  # whose commands are run
    [shown] = blocks(text)
    assert len(shown.commands) == 2
    assert all(f"ringwall run {example.name} " in command and command in page for command in shown.commands)
    assert "docs/examples.md" in text
