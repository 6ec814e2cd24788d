"""Named operators on one machine: two users, each with a role, and an act that takes both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.faults.conftest import manifest, prepare
from tests.faults.test_freeze import ringwall
from tests.ordinary import ORDINARY_UID, ordinary_python
from tests.stack import ROOT, Stack

NAMED = """
[operators]
two_person = ["thaw"]
socket = {socket}
[operators.rita]
uid = 0
roles = ["admin"]
[operators.otto]
uid = {uid}
roles = ["responder"]
"""


@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="only root can be two users")
def test_a_thaw_takes_two_people_and_each_is_named_in_the_log() -> None:
    other = ordinary_python()

    def named(folder: Path) -> str:
        text = NAMED.format(socket=json.dumps(str(folder / "o" / "operator.sock")), uid=ORDINARY_UID)
        return manifest(folder) + text

    def with_folder(folder: Path) -> None:
        prepare(folder)
        (folder / "o").mkdir(mode=0o755)

    with Stack(named, with_folder) as stack, stack.puppet("ana") as ana:

        def otto(*words: str) -> tuple[int, Any]:
            env = {**other.env, "RINGWALL_SOCKET": str(stack.folder / "o" / "operator.sock")}
            done = other.run(["-m", "ringwall.cli.main", *words, "--reason", "otto says", "--json"], env=env)
            assert done.stdout, done.stderr
            return done.returncode, json.loads(done.stdout)

        code, frozen = otto("freeze", "agent", "acme/ana")
        assert (code, frozen["frozen"]["by"]) == (0, "operator:otto")
        code, first = ringwall(stack, "thaw", "agent", "acme/ana", "--reason", "rita says")
        assert (code, first["proposed"]["by"]) == (0, "rita")
        assert [one["by"] for one in stack.status()["proposed"]] == ["rita"]
        code, again = ringwall(stack, "thaw", "agent", "acme/ana", "--reason", "rita insists")
        assert (code, again["error"]["code"]) == (1, "same_operator")
        assert ana.call("echo/echo", text="x")["code"] == "frozen"
        code, second = otto("thaw", "agent", "acme/ana")
        assert (code, second["thawed"]["by"]) == (0, "operator:otto")
        assert "result" in ana.call("echo/echo", text="x")
        # A responder starts nothing, and what he tried stands in the log under his name.
        launch = other.run(["-m", "ringwall.cli.main", "run", "ben", "--task", "t", "--", "/bin/echo", "x"],
                           env={**other.env, "RINGWALL_SOCKET": str(stack.folder / "o" / "operator.sock")})
        assert (launch.returncode, launch.stdout) == (1, "")
        assert "not_granted" in launch.stderr
        seconded = stack.records("system", "seconded")[-1]
        assert (seconded.body["first"], seconded.body["second"]) == ("rita", "otto")
        assert {r.clear["subject"] for r in stack.records("system", "refused")} >= {"operator:otto"}
