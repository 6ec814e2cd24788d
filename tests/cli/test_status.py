"""``ringwall status``: what runs, and waiting for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ringwall.cli import up
from ringwall.errors import Unavailable

FOUND: dict[str, Any] = {
    "pid": 7, "restarts": 1, "manifest": "/m/ringwall.toml",
    "processes": [{"name": "guard", "ready": True, "restarts": 0, "fault": ""},
                  {"name": "sidecar-acme", "ready": False, "restarts": 2, "fault": "it ended"}],
    "servers": [{"name": "docs", "running": True, "tenant": "acme"}],
    "runs": [{"agent": "ana", "run": "f0", "tenant": "acme", "calls": 3}],
    "policy": {"revision": "a" * 64, "backend": "embedded", "stale": "it is not signed"},
    "frozen": [{"scope": "tool", "name": "docs", "by": "operator:rita", "reason": "a drill", "record": "system/9"}],
    "proposed": [{"verb": "thaw", "by": "otto", "seconds": 600}],
    "problems": {"acme/mail": "no handshake"},
}


class _Client:
    """Answers from the third question on."""

    asked = 0

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def status(self) -> dict[str, Any]:
        type(self).asked += 1
        if self.asked < 3:
            raise Unavailable("nobody listens", code="not_up", remedy="ringwall up")
        return FOUND


@pytest.fixture(autouse=True)
def _starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "OperatorClient", _Client)
    monkeypatch.setattr(up, "LOOK_S", 0.0)
    monkeypatch.setattr(_Client, "asked", 0)


def test_without_a_core_it_says_so_at_once_and_ends_with_3(tmp_path: Path) -> None:
    done = CliRunner().invoke(up.status, ["--state", str(tmp_path)])
    assert (done.exit_code, _Client.asked) == (3, 1)
    assert "not_up" in done.stderr


def test_it_waits_until_there_is_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(up.status, ["--wait", "--state", str(tmp_path)])
    assert (done.exit_code, _Client.asked) == (0, 3)
    assert [line.split(maxsplit=1)[0] for line in done.stdout.splitlines()] == [
        "core", "guard", "sidecar-acme", "server", "agent", "FROZEN", "proposed", "policy", "problem", "problem",
        "manifest"]
    for words in ("restarted 1 time\n", "never restarted", "down: it ended, restarted 2 times", "up (acme)",
                  "3 calls (acme, run f0)",
                  "tool docs  by operator:rita (system/9): a drill", "thaw by otto, waits",
                  "acme/mail: no handshake",
                  "revision aaaaaaaaaaaa (embedded)\n", "a newer bundle was refused: it is not signed"):
        assert words in done.stdout


def test_it_gives_up_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "WAIT_S", 0.0)
    assert CliRunner().invoke(up.status, ["--wait", "--state", str(tmp_path)]).exit_code == 3


def test_what_a_tool_server_says_is_one_line_without_control_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FOUND, "problems", {"acme/mail": "down\x1b]0;x\x07\nguard   up\u202e"})
    shown = CliRunner().invoke(up.status, ["--wait", "--state", str(tmp_path)]).stdout
    assert "acme/mail: down\\u001b]0;x\\u0007 guard   up\\u202e\n" in shown
