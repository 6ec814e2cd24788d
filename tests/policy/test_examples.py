"""The examples build, pass their own tests, and change when one rule is taken out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.policy.compile import the_opa

from ringwall.cli.policy import policy
from ringwall.runtime.reading import read_manifest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "policy"
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())

pytestmark = pytest.mark.needs_opa


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner(env={"RINGWALL_OPA": the_opa()}).invoke(policy, list(arguments))
    return done.exit_code, done.output


def test_there_is_one_for_each_common_wish() -> None:
    assert FOLDERS == ["amounts", "environments", "isolation", "main-process", "roles", "time-windows"]
    assert set(read_manifest(EXAMPLES / "ringwall.toml").tenants) == {"office"}


@pytest.mark.parametrize("name", FOLDERS)
def test_it_passes_its_rego_tests_and_its_table(name: str) -> None:
    status, said = run("test", str(EXAMPLES / name))
    assert status == 0, said
    assert "PASS: " in said and "FAIL" not in said


@pytest.mark.parametrize("name", FOLDERS)
def test_its_tests_notice_when_its_rules_are_gone(name: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "all")
    folder = tmp_path / "all" / name
    for rego in folder.glob("*.rego"):
        if not rego.name.endswith("_test.rego"):
            rego.write_text(rego.read_text().replace("} if {", "} if {\n\tinput.never"))
    for test in folder.glob("*_test.rego"):
        test.unlink()
    status, said = run("test", str(folder))
    assert status == 1
    assert "FAILED\n  wanted deny" in said and "\n  got    " in said


def test_all_of_them_together_are_one_policy(tmp_path: Path) -> None:
    together: dict[str, object] = {}
    for name in FOLDERS:
        for rego in (EXAMPLES / name).glob("*.rego"):
            if not rego.name.endswith("_test.rego"):
                shutil.copy(rego, tmp_path / rego.name)
        together.update(json.loads((EXAMPLES / name / "data.json").read_text()))
    (tmp_path / "data.json").write_text(json.dumps(together))
    assert run("lint", str(tmp_path))[0] == 0
