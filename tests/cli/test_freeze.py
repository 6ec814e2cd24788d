"""``ringwall freeze`` and ``thaw``: what they ask, what they say, how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ringwall.cli import common
from ringwall.cli.freeze import freeze, thaw
from ringwall.errors import Refused

HELD = {"scope": "agent", "name": "acme/ana", "reason": "a drill", "by": "operator:rita", "at": 1.0, "kill": False,
        "record": "system/7", "durable": True}
DONE = {"frozen": HELD, "seconds": 0.0123, "calls": 3, "begun": 2, "late": 0, "killed": 0, "alive": 0}


class Core:
    """Answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: Any = DONE
        self.fault: Refused | None = None

    def __call__(self, socket: Path) -> Core:
        return self

    def operate(self, verb: str, args: dict[str, Any]) -> Any:
        self.asked.append((verb, args))
        if self.fault is not None:
            raise self.fault
        return self.answer


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    made = Core()
    monkeypatch.setattr(common, "OperatorClient", made)
    return made


def say(command: Any, *words: str) -> Result:
    return CliRunner().invoke(command, [*words, "--state", "/nowhere"])


def test_it_asks_for_the_freeze_and_tells_how_it_went(core: Core) -> None:
    done = say(freeze, "agent", "acme/ana", "--reason", "a drill", "--kill")
    assert core.asked == [("freeze", {"scope": "agent", "name": "acme/ana", "reason": "a drill", "kill": True})]
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "frozen: agent acme/ana  by operator:rita (system/7): a drill",
        "  after 12.3 ms: 3 calls ended, 2 had begun",
    ]


def test_it_ends_with_1_when_something_goes_on(core: Core) -> None:
    core.answer = DONE | {"late": 1, "alive": 2, "killed": 1, "frozen": HELD | {"kill": True}}
    done = say(freeze, "all", "--reason", "x")
    assert done.exit_code == 1
    assert "NOT ended in time: 1 calls, 2 processes" in done.stdout
    assert "1 processes killed" in done.stdout


def test_it_says_what_a_restart_would_forget_and_what_was_down(core: Core) -> None:
    core.answer = DONE | {"frozen": HELD | {"record": "", "durable": False}, "down": ["audit_unavailable"]}
    done = say(freeze, "all", "--reason", "x")
    assert done.exit_code == 0
    assert "NOT in the log" in done.stdout
    assert "although: audit_unavailable" in done.stdout


@pytest.mark.parametrize("words", [
    ("agent", "--reason", "x"), ("all", "acme", "--reason", "x"), ("agent", "acme/ana"),
    ("everything", "--reason", "x"),
])
@pytest.mark.parametrize("command", [freeze, thaw])
def test_wrong_use_asks_nothing(core: Core, command: Any, words: tuple[str, ...]) -> None:
    assert say(command, *words).exit_code == 2
    assert core.asked == []


def test_a_thaw_tells_what_is_still_frozen(core: Core) -> None:
    core.answer = {"thawed": HELD | {"record": "system/9"}, "still": [HELD | {"scope": "all", "name": ""}]}
    done = say(thaw, "agent", "acme/ana", "--reason", "over")
    assert core.asked == [("thaw", {"scope": "agent", "name": "acme/ana", "reason": "over"})]
    assert done.stdout.splitlines() == ["thawed: agent acme/ana (system/9)",
                                        "still frozen: all  by operator:rita (system/7): a drill"]


def test_a_thaw_that_needs_another_operator_says_that_nothing_happened_yet(core: Core) -> None:
    core.answer = {"proposed": {"by": "rita", "record": "system/8", "seconds": 900.0}}
    done = say(thaw, "all", "--reason", "over")
    assert done.exit_code == 0
    assert "not done yet: proposed by rita" in done.stdout
    assert "within 15 minutes another operator" in done.stdout


def test_refusals_and_json(core: Core) -> None:
    assert json.loads(say(freeze, "all", "--reason", "x", "--json").stdout) == DONE
    core.fault = Refused("not yours", code="not_granted", record="system/3")
    done = say(freeze, "all", "--reason", "x", "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (1, "not_granted")
