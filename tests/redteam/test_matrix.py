"""The ablation, reduced to what fits a test run: the whole of it is ``ringwall redteam --matrix --claims``."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from ringwall.cli.main import main
from ringwall.redteam import claims, liars, matrix, table
from ringwall.redteam.attack import Attack, all_attacks
from ringwall.redteam.benign import BENIGN
from ringwall.redteam.claims import Claim, Claims
from ringwall.redteam.matrix import Matrix

ATTACKS = {attack.id: attack for attack in all_attacks()}
DONE = frozenset(task.id for task in BENIGN)


def quiet(_: str) -> None:
    return None


@pytest.mark.confined
@pytest.mark.parametrize("liar", ["capability", "namespaces"])
def test_every_attack_fails_with_this_single_liar(liar: liars.Barrier) -> None:
    result = matrix.run(quiet, [liar])
    assert {attack.id for attack in result.attacks} == set(ATTACKS)
    cells = {attack.id: result.cell(attack, liar) for attack in result.attacks}
    held = {"secret-by-search", *(("rug-pull", "shadowed-tool") if liar == "capability" else ())}
    assert {name for name, cell in cells.items() if cell == "h"} == held
    assert set(cells.values()) == {".", "h"}
    assert result.benign(liar) == "ok"
    assert result.ok


@pytest.mark.confined
def test_with_all_it_names_lying_an_attack_works_and_a_false_list_is_found() -> None:
    """The first two are true; the third names what does not stop it."""
    false = replace(ATTACKS["wrong-tool"], barriers=("namespaces", "landlock"))
    result = claims.run(quiet, [ATTACKS["state-folder"], ATTACKS["tool-reads-files"], false])
    assert {claim.attack.id: claim.worked for claim in result.claims} == {
        "state-folder": True, "tool-reads-files": True, "wrong-tool": False}  # fmt: skip
    assert not result.ok


@pytest.mark.confined
def test_an_attack_that_one_liar_lets_through_is_found() -> None:
    alone = replace(ATTACKS["cards-in-answer"], barriers=("flow", "guard"), accepted="")
    result = matrix.run(quiet, ["guard"], [alone])
    assert result.cell(alone, "guard") == "X"
    assert result.benign("guard") == "ok"
    assert not result.ok


def crossed(worked: frozenset[str] = frozenset(), done: frozenset[str] = DONE) -> Matrix:
    return Matrix(attacks=all_attacks(), worked=dict.fromkeys(liars.BARRIERS, worked),
                  done=dict.fromkeys(liars.BARRIERS, done))


def claimed(attack: Attack, *, worked: bool = True, idle: bool = False) -> Claims:
    alone = frozenset(attack.barriers[1:] if idle else attack.barriers)
    return Claims(claims=(Claim(attack=attack, worked=worked, alone=alone),), left_out={})


def test_a_column_does_not_count_when_ordinary_work_fails() -> None:
    result = crossed(done=DONE - {"pay-invoice"})
    assert not result.ok
    assert "FAIL" in table.show_matrix(result)


def test_a_barrier_that_is_named_and_stops_nothing_is_a_false_claim() -> None:
    assert claimed(ATTACKS["poisoned-invoice"]).ok
    assert not claimed(ATTACKS["poisoned-invoice"], idle=True).ok
    assert not claimed(ATTACKS["poisoned-invoice"], worked=False).ok


def test_an_accepted_single_point_is_shown_with_its_reason() -> None:
    attack = ATTACKS["cards-in-answer"]
    result = Matrix(attacks=(attack,), done={"guard": DONE, "flow": DONE},
                    worked={"guard": frozenset({attack.id}), "flow": frozenset()})
    assert (result.cell(attack, "guard"), result.cell(attack, "flow"), result.ok) == ("a", ".", True)
    other = replace(result, worked={"guard": frozenset(), "flow": frozenset({attack.id})})
    assert (other.cell(attack, "flow"), other.ok) == ("X", False)


def test_a_part_of_the_matrix_has_its_own_columns_only() -> None:
    part = replace(crossed(), worked={"wire": frozenset[str]()})
    text = table.show_matrix(part)
    assert "Columns: wire." in text
    assert [line.split()[1:] for line in text.splitlines() if line.startswith(" rug-pull ")] == [["."]]


@pytest.mark.parametrize("text", [table.show_matrix(crossed(frozenset(ATTACKS))),
                                  table.show_claims(Claims(claims=tuple(
                                      Claim(attack=attack, worked=False, alone=frozenset())
                                      for attack in all_attacks() if len(attack.barriers) < 3),
                                      left_out={"x": "y " * 60}))])
def test_the_tables_fit_a_terminal(text: str) -> None:
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(("worked", "true", "code"),
                         [(False, True, 0), (True, True, 1), (False, False, 1), (True, False, 1)])
@pytest.mark.parametrize("form", ["--json", "table"])
def test_the_exit_code_is_0_only_if_both_hold(
        monkeypatch: pytest.MonkeyPatch, worked: bool, true: bool, code: int, form: str) -> None:
    found = crossed(frozenset({"wrong-tool"} if worked else ()))
    monkeypatch.setattr(matrix, "run", lambda say, barriers, attacks: found)
    monkeypatch.setattr(claims, "run", lambda say, attacks: claimed(ATTACKS["wrong-tool"], worked=true))
    more = [form] if form == "--json" else []
    assert CliRunner().invoke(main, ["redteam", "--matrix", "--claims", *more]).exit_code == code
    assert CliRunner().invoke(main, ["redteam", "--matrix", *more]).exit_code == int(worked)
    assert CliRunner().invoke(main, ["redteam", "--claims", *more]).exit_code == int(not true)


def test_it_wants_to_know_what_to_do() -> None:
    assert CliRunner().invoke(main, ["redteam"]).exit_code == 2


def test_a_part_of_it_is_named_by_attack_and_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], list[str]]] = []

    def run(say: object, barriers: list[str], attacks: list[Attack]) -> Matrix:
        asked.append((barriers, [attack.id for attack in attacks]))
        return crossed()

    monkeypatch.setattr(matrix, "run", run)
    arguments = ["redteam", "--matrix", "--attack", "rug-pull", "--attack", "flood", "--barrier", "wire"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert asked == [(["wire"], ["rug-pull", "flood"])]


@pytest.mark.parametrize("unknown", [["--attack", "flod"], ["--barrier", "kernel"]])
def test_an_attack_or_barrier_that_there_is_not_is_refused(unknown: list[str]) -> None:
    done = CliRunner().invoke(main, ["redteam", "--matrix", *unknown])
    assert (done.exit_code, unknown[1] in done.output) == (2, True)


@pytest.mark.parametrize("names", [[], [""], ["capability,"], ["kernel"], ["flow,flow"]])
def test_an_unknown_liar_is_refused(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["liars", *names, "--state", "/nowhere"])
    with pytest.raises(SystemExit, match="known: identity"):
        liars.main()
