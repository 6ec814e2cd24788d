"""``threats.toml`` and the attacks say the same, in both directions."""

from __future__ import annotations

import ast
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ringwall.redteam import attacks as attack_files
from ringwall.redteam.attack import Attack, Evidence, Task, all_attacks

ROOT = Path(__file__).resolve().parents[2]
MAP = tomllib.loads(files("ringwall.redteam").joinpath("threats.toml").read_text())
THREATS: dict[str, dict[str, Any]] = MAP["threats"]
STANDARDS: dict[str, dict[str, Any]] = MAP["standards"]
ATTACKS = {attack.id: attack for attack in all_attacks()}


def attacks_of(threat: str) -> list[Attack]:
    return [ATTACKS[name] for name in THREATS[threat]["attacks"]]


def test_every_attack_stands_under_exactly_one_threat() -> None:
    listed = [name for threat in THREATS.values() for name in threat["attacks"]]
    assert sorted(listed) == sorted(ATTACKS)


def test_every_file_holds_the_attack_it_is_named_after() -> None:
    found = {file.stem for file in Path(next(iter(attack_files.__path__))).glob("*.py")} - {"__init__"}
    assert found == {name.replace("-", "_") for name in ATTACKS}


@pytest.mark.parametrize("threat", THREATS)
def test_a_threat_names_the_barriers_ids_and_chain_of_its_attacks(threat: str) -> None:
    entry, attacks = THREATS[threat], attacks_of(threat)
    assert set(entry["barriers"]) == {barrier for attack in attacks for barrier in attack.barriers}
    assert set(entry["ids"]) == {name for attack in attacks for name in attack.technique}
    assert {attack.threat for attack in attacks} == ({entry["chain"]} if attacks else set())


@pytest.mark.parametrize("threat", THREATS)
def test_every_test_that_a_threat_names_exists(threat: str) -> None:
    for name in THREATS[threat]["tests"]:
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


@pytest.mark.parametrize("threat", THREATS)
def test_a_threat_has_a_test_or_says_that_it_is_open(threat: str) -> None:
    assert THREATS[threat]["tests"] or THREATS[threat]["open"]


def test_every_id_belongs_to_a_listed_edition_and_every_listed_id_is_used() -> None:
    listed = {name for standard in STANDARDS.values() for name in standard["ids"]}
    assert listed == {name for attack in ATTACKS.values() for name in attack.technique}
    for prefix, standard in STANDARDS.items():
        assert standard["name"]
        assert standard["edition"]
        for name, entry in standard["ids"].items():
            assert name.startswith(prefix)
            assert entry["level"] in {"strong", "partial", "none"}
            assert prefix == "AML" or name.endswith(":" + standard["edition"])


def test_every_attack_names_two_barriers_or_why_one_is_accepted() -> None:
    for attack in ATTACKS.values():
        assert len(set(attack.barriers)) == len(attack.barriers)
        assert len(attack.barriers) >= 2 or attack.accepted


def made(**changes: Any) -> Attack:
    about: dict[str, Any] = {
        "id": "x", "title": "x", "threat": 1, "mitigation": "", "technique": (), "barriers": ("flow", "guard"),
        "steps": Task(agent="clerk", task=""), "harm": _never, **changes,
    }  # fmt: skip
    return Attack(**about)


def _never(_: Evidence) -> bool:
    return False


@pytest.mark.parametrize("changes", [{"barriers": ("flow",)}, {"barriers": ()}, {"title": "x" * 41}])
def test_an_attack_without_a_second_barrier_or_with_a_long_title_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="two barriers"):
        made(**changes)
    assert made(**{**changes, "title": "x", "accepted": "because"}).accepted
