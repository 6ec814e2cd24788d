"""``ringwall leases``: what it asks, shows and says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ringwall.cli import common
from ringwall.cli.main import main

ONE = {"lease": "l1", "tenant": "acme", "agent": "ana", "role": "reader", "secret": "cloud", "state": "active",
       "issued_at": time.time(), "expires_at": time.time() + 900, "reason": "", "by": "", "tries": 0, "fault": ""}
LATE = {**ONE, "lease": "l2", "agent": "@broker", "state": "revoking", "reason": "operator", "tries": 2,
        "fault": "broker_unavailable"}


class Core:
    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.leases = [ONE, LATE]

    def __call__(self, socket: Path) -> Core:
        return self

    def operate(self, verb: str, args: dict[str, Any]) -> Any:
        self.asked.append((verb, args))
        return ONE if verb == "leases.renew" else {"leases": self.leases}


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    made = Core()
    monkeypatch.setattr(common, "OperatorClient", made)
    return made


def say(*words: str) -> Result:
    return CliRunner().invoke(main, ["leases", *words, "--state", "/nowhere"])


def chosen(**args: str) -> dict[str, str]:
    return {"lease": "", "tenant": "", "agent": "", "prefix": "", **args}


def test_leases_are_listed_with_or_without_the_word(core: Core) -> None:
    assert say().stdout == say("list").stdout
    first, second = say().stdout.splitlines()
    assert first.startswith("l1  acme/ana")
    assert first.endswith("s left")
    assert "acme (Ringwall)" in second
    assert "revoking  operator  broker_unavailable (2 tries)" in second
    assert json.loads(say("--json").stdout)["leases"][0] == ONE
    say("--agent", "acme/ana", "--prefix", "cloud/")
    assert core.asked[-1] == ("leases.list", chosen(tenant="acme", agent="ana", prefix="cloud/"))
    core.leases = []
    assert say().stdout == "none\n"


def test_revoking_names_what_ends_and_says_what_has_not(core: Core) -> None:
    done = say("revoke", "l1")
    assert (done.exit_code, core.asked[-1]) == (common.FAILED, ("leases.revoke", chosen(lease="l1")))
    assert "2 ended here, 2 still to be told" in done.stdout
    core.leases = [{**ONE, "state": "ended", "reason": "operator"}]
    assert say("revoke", "--tenant", "acme").exit_code == 0
    assert core.asked[-1] == ("leases.revoke", chosen(tenant="acme"))


def test_renewing_shows_how_long_it_lives_now(core: Core) -> None:
    assert say("renew", "l1").stdout.startswith("l1  acme/ana")
    assert core.asked == [("leases.renew", {"lease": "l1"})]
    assert json.loads(say("renew", "l1", "--json").stdout) == ONE


@pytest.mark.parametrize("words", [["revoke"], ["revoke", "--agent", "ana"], ["renew"], ["--agent", "acme/"],
                                   ["revoke", "--agent", "acme/ana", "--tenant", "other"],
                                   ["--tenant", "acme", "list"], ["--state", "/other", "revoke", "l1"]])
def test_wrong_use_is_told_before_anything_is_asked(core: Core, words: list[str]) -> None:
    assert (say(*words).exit_code, core.asked) == (common.WRONG_USE, [])
