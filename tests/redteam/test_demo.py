"""``ringwall demo`` as a whole, once, and what follows from its result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.redteam.shown import Shown, ringwall

from ringwall.cli.main import main
from ringwall.redteam import demo as demo_module
from ringwall.redteam.attack import all_attacks
from ringwall.redteam.benign import BENIGN
from ringwall.redteam.demo import AttackResult, BenignResult, Demo, Stop
from ringwall.redteam.table import show

STOPPED_BY = {
    "other-bucket": "capability", "other-verb": "capability", "stolen-credential": "egress",
    "poisoned-bonus": "capability", "poisoned-invoice": "capability", "poisoned-service": "capability",
    "extra-argument": "capability", "look-alike-path": "capability", "wrong-resource": "capability",
    "wrong-tool": "capability", "dot-segments": "resolver", "flood": "limits", "starved-neighbour": "limits",
    "cards-by-mail": "guard", "secret-by-search": "flow", "secret-in-answer": "flow", "cards-in-answer": "guard",
    "borrowed-identity": "kernel", "neighbour-environ": "kernel", "operator-socket": "kernel",
    "tool-reads-files": "kernel", "tool-connects-out": "kernel", "write-manifest": "kernel",
    "forged-certificate": "certificate", "look-alike-domain": "capability", "stolen-socket": "identity",
    "message-twice": "task book", "other-tenants-task": "capability", "passed-on-payment": "capability",
    "uninvited-task": "capability",
    "inside-by-page": "capability", "rug-pull": "capability", "shadowed-tool": "capability",
    "search-by-provider": "capability", "token-passed-on": "capability", "token-given-back": "egress",
    "unoffered-call": "wire",
    "model-key": "kernel", "state-folder": "kernel", "datagram-out": "kernel", "direct-connect": "kernel",
}  # fmt: skip


@pytest.mark.confined
def test_every_attack_works_without_and_fails_with_ringwall(shown: Shown) -> None:
    assert {attack["id"] for attack in shown.report["attacks"]} == {attack.id for attack in all_attacks()}
    for attack in shown.report["attacks"]:
        assert attack["without"]["succeeded"] is True, attack
        assert attack["with"]["succeeded"] is False, attack
    assert shown.status == 0, shown.errors


@pytest.mark.confined
def test_ordinary_work_is_done_both_ways(shown: Shown) -> None:
    assert len(shown.report["benign"]) == len(BENIGN)
    for task in shown.report["benign"]:
        assert (task["without"], task["with"]) == (True, True), task


@pytest.mark.confined
def test_each_is_stopped_by_what_should_stop_it(shown: Shown) -> None:
    assert {attack["id"]: attack["with"]["stopped_by"] for attack in shown.report["attacks"]} == STOPPED_BY
    assert [attack["id"] for attack in shown.report["attacks"] if attack["with"]["held"]] == ["secret-by-search"]


@pytest.mark.confined
def test_the_record_of_each_says_the_same(shown: Shown) -> None:
    for attack in shown.report["attacks"]:
        by, record = attack["with"]["stopped_by"], shown.audit(attack["with"]["record"])
        if record["clear"]["type"] in {"refused", "held"}:
            assert by in {"capability", "limits", "flow", "guard"}, attack["id"]
            assert [entry["ring"] for entry in record["stopped_by"]] == [by], attack["id"]
        elif by == "certificate":
            assert record["clear"]["type"] == "peer_refused", attack["id"]
        elif by == "identity":
            assert record["clear"]["type"] == "refused_before_call", attack["id"]
            assert [entry["ring"] for entry in record["stopped_by"]] == [by], attack["id"]
        elif by == "task book":
            assert record["outcome"]["clear"]["code"] == "duplicate_message", attack["id"]
        elif by in {"wire", "egress"}:
            code = {"wire": "bad_answer", "egress": "upstream_echoes_secret"}[by]
            assert record["outcome"]["clear"]["code"] == code, attack["id"]
        elif by == "resolver":
            assert record["clear"]["type"] == "refused_before_call", attack["id"]
        elif by == "kernel" and record["clear"]["type"] == "launch":
            # What the launch tried in vain before the program began: the kernel leaves no other trace.
            probes = record["clear"]["event"]["self_test"]
            assert probes, attack["id"]
            assert "ok" not in {str(answer).lower() for answer in probes.values()}, attack["id"]
        elif by == "kernel":
            assert record["outcome"]["clear"]["end"] == "failed", attack["id"]
        else:
            assert (by, record["outcome"]["clear"]["end"]) == ("guard", "done"), attack["id"]


@pytest.mark.confined
def test_its_log_verifies(shown: Shown) -> None:
    assert shown.report["verified"] is True
    assert ringwall("audit", "verify", "--state", str(shown.state)).returncode == 0


def made(**changes: Any) -> Demo:
    """A demo in which all is as it should be, but for the changes."""
    attacks = tuple(AttackResult(attack=attack, without=True, within=False,
                                 stop=Stop(by=STOPPED_BY[attack.id], record="office/123456"))
                    for attack in all_attacks())
    benign = tuple(BenignResult(task=task, without=True, within=True) for task in BENIGN)
    about: dict[str, Any] = {"attacks": attacks, "benign": benign, "seconds": 59.9, "records": 366,
                             "verified": True, "state": Path("/tmp/rw-demo-abcdefgh/with/state")}
    return Demo(**{**about, **changes})


ALL = made()
UNDONE = {
    "an attack worked": made(attacks=(replace(ALL.attacks[0], within=True), *ALL.attacks[1:])),
    "an attack failed bare": made(attacks=(*ALL.attacks[:-1], replace(ALL.attacks[-1], without=False))),
    "nothing explains it": made(attacks=(replace(ALL.attacks[0], stop=Stop(by="nothing", record="")),
                                         *ALL.attacks[1:])),
    "ordinary work failed": made(benign=(replace(ALL.benign[0], within=False), *ALL.benign[1:])),
    "ordinary work failed bare": made(benign=(*ALL.benign[:-1], replace(ALL.benign[-1], without=False))),
    "the log does not verify": made(verified=False),
}


@pytest.mark.parametrize("result", [pytest.param(ALL, id="all is well"),
                                    *(pytest.param(demo, id=name) for name, demo in UNDONE.items())])
@pytest.mark.parametrize("form", ["--json", "table"])
def test_the_exit_code_is_0_only_if_all_of_it_is_so(
        monkeypatch: pytest.MonkeyPatch, result: Demo, form: str) -> None:
    monkeypatch.setattr(demo_module, "run", lambda say: result)
    done = CliRunner().invoke(main, ["demo", "--keep", *([form] if form == "--json" else [])])
    assert (done.exit_code == 0) == (result is ALL), done.output


@pytest.mark.parametrize("keep", [True, False])
def test_the_table_fits_a_terminal(keep: bool) -> None:
    lines = show(ALL, keep=keep).splitlines()
    assert [line for line in lines if len(line) > 80 and not line.startswith("See ")] == []
    for attack in ALL.attacks:
        assert any(attack.attack.title in line and "123456" in line for line in lines)


def test_a_failure_stands_out_in_the_table() -> None:
    assert "WORKED" in show(UNDONE["an attack worked"], keep=False)
    assert "FAILED" in show(UNDONE["an attack failed bare"], keep=False)
    assert "NOT VERIFIED" in show(UNDONE["the log does not verify"], keep=False)
