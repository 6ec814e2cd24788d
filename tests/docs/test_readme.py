"""What the pages say of the demo, of files and of each other is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ringwall.redteam.attack import all_attacks

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_FILE = re.compile(r"`((?:tests|src|scripts|benchmarks|docs)/[\w./-]*)`")


def test_the_demo_in_the_readme_has_every_attack_and_each_is_stopped() -> None:
    demo = (ROOT / "README.md").read_text().partition("<!-- demo:")[2].partition("<!-- end demo -->")[0]
    rows = re.findall(r"^ +\d+ (.+?) +worked +(?:stopped|held) ", demo, re.MULTILINE)
    assert sorted(rows) == sorted(attack.title for attack in all_attacks())


def test_the_demo_in_the_readme_fits_a_terminal() -> None:
    demo = (ROOT / "README.md").read_text().partition("<!-- demo:")[2].partition("<!-- end demo -->")[0]
    assert max(map(len, demo.splitlines()[1:])) <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text()
    gone = [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    gone += [name for name in _FILE.findall(text) if not (ROOT / name).exists()]
    assert gone == []


def test_the_index_names_every_page() -> None:
    linked = set(_LINK.findall((ROOT / "docs" / "index.md").read_text()))
    there = {page.name for page in (ROOT / "docs").iterdir() if page.is_file()}
    assert there - linked == {"index.md"}
