"""The kill switch on real processes: under way, over restarts, without a disk, with a core that dies in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.conftest import manifest, prepare
from tests.faults.test_full_disk import full_disk
from tests.stack import RINGWALL, Puppet, Stack, alive, kill, wait_for

pytestmark = pytest.mark.confined


class DyingStack(Stack):
    """Its core dies in a freeze when it is told to."""

    up = (sys.executable, str(Path(__file__).parent / "dying_core.py"))


def ringwall(stack: Stack, *words: str) -> tuple[int, Any]:
    """A verb's exit code and its JSON."""
    done = subprocess.run([*RINGWALL, *words, "--state", str(stack.state), "--json"], capture_output=True,
                          text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def freeze(stack: Stack, *words: str, code: int = 0) -> Any:
    found, answer = ringwall(stack, "freeze", *words, "--reason", "a drill")
    assert found == code, answer
    return answer


def thaw(stack: Stack, *words: str) -> Any:
    code, answer = ringwall(stack, "thaw", *words, "--reason", "it is over")
    assert code == 0, answer
    return answer


def restart_core(stack: Stack) -> None:
    said = sum(line.startswith("ringwall: ready") for line in stack.log)
    kill(stack.pid("core"))
    stack.wait_ready(said + 1)


@pytest.fixture
def gate(stack: Stack) -> Generator[Path]:
    """Where a call says that it began, and waits until it may go on."""
    found = stack.folder / "gate"
    for name in ("began", "go"):
        (found / name).unlink(missing_ok=True)
    yield found
    (found / "go").touch()


def begin_waiting(agent: Puppet, gate: Path) -> int:
    number = agent.ask("call", tool="ledger/wait", args={"gate": str(gate)})
    wait_for("the call to begin", (gate / "began").exists)
    return number


def test_a_frozen_agents_call_is_ended_and_no_other_is_let_through_until_the_thaw(stack: Stack, gate: Path) -> None:
    with stack.puppet("ana") as ana, stack.puppet("ben") as ben:
        waiting = begin_waiting(ana, gate)
        done = freeze(stack, "agent", "acme/ana")
        assert (done["calls"], done["begun"], done["late"]) == (1, 1, 0)
        assert 0 < done["seconds"] < 30
        ended = ana.answer(waiting)
        assert ended["code"] == "frozen"
        outcome = wait_for("the outcome on disk", lambda: stack.outcome(ended["record"]))
        assert outcome.clear["end"] == "unknown"
        refused = ana.call("echo/echo", text="x")
        assert refused["code"] == "frozen"
        assert stack.record(refused["record"]).type == "refused"
        assert ana.do("list")["code"] == "frozen"
        assert "result" in ben.call("echo/echo", text="x")
        launch = stack.run("ana", ["echo", "started"])
        assert (launch.code, launch.out) == (1, b"")
        assert "frozen" in launch.err
        (held,) = stack.status()["frozen"]
        assert (held["name"], held["durable"]) == ("acme/ana", True)
        record = done["frozen"]["record"]
        event, measured = stack.record(record), stack.record(next_record(record))
        assert (event.type, event.body["reason"], event.body["name"]) == ("freeze", "a drill", "acme/ana")
        assert (measured.type, measured.body["seconds"]) == ("frozen", done["seconds"])
        restart_core(stack)
        assert wait_for("the new core", lambda: ana.call("echo/echo", text="x").get("code") == "frozen")
        thawed = thaw(stack, "agent", "acme/ana")
        assert thawed["still"] == []
        assert "result" in ana.call("echo/echo", text="x")
    assert stack.verify().ok


def next_record(name: str) -> str:
    tenant, _, number = name.partition("/")
    return f"{tenant}/{int(number) + 1}"


def test_a_frozen_tool_is_refused_and_not_listed_and_its_server_can_be_killed(stack: Stack, gate: Path) -> None:
    with stack.puppet("ana") as ana:
        waiting = begin_waiting(ana, gate)
        server = stack.pid("acme/ledger")
        done = freeze(stack, "tool", "ledger", "--kill")
        assert (done["calls"], done["killed"], done["alive"]) == (1, 1, 0)
        assert not alive(server)
        # Who hears first, the call's end or the server's: that it is not known is true of both.
        assert ana.answer(waiting)["code"] in {"frozen", "server_lost"}
        assert ana.call("ledger/attempt", what="kill", where="1")["code"] == "frozen"
        assert {tool["name"] for tool in ana.do("list")["result"]} == {"echo/echo"}
        assert "result" in ana.call("echo/echo", text="x")
        thaw(stack, "tool", "ledger")
        wait_for("the server", lambda: "result" in ana.call("ledger/attempt", what="kill", where="1"))


def test_with_kill_every_agent_dies_and_operators_are_not_locked_out(stack: Stack) -> None:
    with stack.puppet("ana") as ana, stack.puppet("ben") as ben:
        done = freeze(stack, "all", "--kill")
        assert (done["killed"], done["alive"]) == (2, 0)
        assert not alive(ana.pid)
        assert not alive(ben.pid)
        code, doctor = ringwall(stack, "doctor")
        assert code in {0, 1}
        assert [f["level"] for f in doctor["findings"] if f["area"] == "frozen"] == ["degraded"]
        assert stack.run("ana", ["echo", "x"]).code == 1
        thaw(stack, "all")
        assert ana.process.wait(30) == ben.process.wait(30) == 137
    assert stack.run("ana", ["echo", "x"]).out == b"x\n"


def test_wrong_names_reasons_and_thaws_are_told(stack: Stack) -> None:
    told = {("freeze", "agent", "acme/eve"): "unknown_name", ("freeze", "tool", "x/y"): "unknown_name",
            ("thaw", "agent", "acme/ana"): "not_frozen"}
    for words, wrong in told.items():
        code, answer = ringwall(stack, *words, "--reason", "a drill")
        assert (code, answer["error"]["code"]) == (1, wrong)
    code, answer = ringwall(stack, "freeze", "all", "--reason", "two\nlines")
    assert (code, answer["error"]["code"]) == (1, "bad_reason")
    done = subprocess.run([*RINGWALL, "freeze", "agent", "--reason", "x", "--state", str(stack.state)], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert stack.status()["frozen"] == []


def test_an_agent_cannot_freeze_anything_at_its_door(stack: Stack) -> None:
    body = json.dumps({"verb": "freeze", "args": {"scope": "all", "name": "", "reason": "mine"}})
    request = (f"POST /v1/operate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}")
    with stack.puppet("ana") as ana:
        assert "404" in ana.do("raw", data=request)["status"]
        assert ana.call("freeze/all", reason="mine")["code"] == "not_granted"
        assert "result" in ana.call("echo/echo", text="x")
    assert stack.status()["frozen"] == []


ASK = """
import ringwall
try:
    answer = {{"result": ringwall.call_tool("echo/echo", text="x"{more})}}
except ringwall.RingwallError as fault:
    answer = {{"result": {{"code": fault.code, "approval": getattr(fault, "approval", "")}}}}
"""


def test_a_held_call_of_a_frozen_agent_is_refused_although_it_was_approved() -> None:
    def asking(folder: Path) -> str:
        return manifest(folder).replace('"echo/echo" = []', '"echo/echo" = { approval = "always" }')

    with Stack(asking, prepare) as stack, stack.puppet("ana") as ana:

        def ask(more: str = "") -> Any:
            return ana.do("python", text=ASK.format(more=more))["result"]["result"]

        held = ask()
        assert held["code"] == "held"
        freeze(stack, "agent", "acme/ana")
        code, answer = ringwall(stack, "approvals", "approve", held["approval"])
        assert code == 0, answer
        assert ask(f", approval={held['approval']!r}")["code"] == "frozen"
        thaw(stack, "agent", "acme/ana")
        assert ask(f", approval={held['approval']!r}") == {"text": "x"}  # it was not spent by the refusal


@pytest.mark.parametrize("kills", [False, True])
def test_a_core_killed_between_the_record_and_its_effect_finds_it_frozen(kills: bool) -> None:
    with DyingStack(manifest, prepare) as stack, stack.puppet("ana") as ana:
        (stack.manifest.parent / "die").touch()
        said = sum(line.startswith("ringwall: ready") for line in stack.log)
        options = ("--kill",) if kills else ()
        code, answer = ringwall(stack, "freeze", "agent", "acme/ana", "--reason", "a drill", *options)
        assert code == 3, answer  # nobody says that it was done
        stack.wait_ready(said + 1)
        assert [one["kill"] for one in stack.status()["frozen"]] == [kills]
        if kills:
            wait_for("the agent to die", lambda: not alive(ana.pid))
        else:
            assert ana.call("echo/echo", text="x")["code"] == "frozen"
        assert stack.run("ana", ["echo", "x"]).code == 1


def test_without_a_disk_a_freeze_holds_in_memory_and_says_that_a_restart_forgets_it() -> None:
    with Stack(manifest, prepare) as stack, stack.puppet("ana") as ana:
        assert "result" in ana.call("echo/echo", text="x")
        with full_disk(stack):
            done = freeze(stack, "agent", "acme/ana")
            assert done["frozen"]["durable"] is False
            assert done["down"] == ["audit_unavailable"]
            assert ana.call("echo/echo", text="x")["code"] in {"frozen", "audit_unavailable"}
            (held,) = stack.status()["frozen"]
            assert held["durable"] is False
            _, doctor = ringwall(stack, "doctor")
            assert [f["level"] for f in doctor["findings"] if f["area"] == "frozen"] == ["weak"]
            code, answer = ringwall(stack, "thaw", "agent", "acme/ana", "--reason", "no log, no thaw")
            assert (code, answer["error"]["code"]) == (3, "audit_unavailable")
        restart_core(stack)
        assert stack.status()["frozen"] == []
        assert "result" in ana.call("echo/echo", text="x")
        assert stack.verify().ok
