"""Kill -9 of every process at a bad moment: a refusal or "unknown" with a code, then all works again, and the
log holds every call that was acknowledged."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.conftest import manifest, prepare
from tests.stack import RINGWALL, Puppet, Stack, alive, descendants, kill, wait_for

pytestmark = pytest.mark.confined

PYTHON = (sys.executable, "-c")
GUARD_CODES = {"guard_unreachable", "guard_timeout", "guard_not_ready", "guard_unavailable", "ring_failed"}


@pytest.fixture(scope="module")
def agent(stack: Stack) -> Generator[Puppet]:
    """One agent, which outlives everything that is killed here."""
    with stack.puppet("ana") as puppet:
        yield puppet


@pytest.fixture(autouse=True)
def nothing_is_lost(stack: Stack, agent: Puppet) -> Generator[None]:
    """After each test: calls work, by the same process, and everything verifies."""
    pid = agent.do("pid")
    yield
    works(agent)
    works(agent, "ledger/attempt", what="kill", where="1")
    assert agent.do("pid") == pid
    report = stack.verify()
    assert report.ok, report.problems
    assert stack.process is not None
    assert stack.process.poll() is None


def works(agent: Puppet, tool: str = "echo/echo", **args: Any) -> None:
    """Calls work, at the latest after a restart."""
    args = args or {"text": "x"}
    wait_for(f"{tool} to work again", lambda: "result" in agent.call(tool, **args))


class Gate:
    """Holds a call inside the tool server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reset(self) -> None:
        for name in ("began", "go"):
            (self.folder / name).unlink(missing_ok=True)

    def hold(self, agent: Puppet) -> int:
        """A call that has begun and does not end."""
        self.reset()
        number = agent.ask("call", tool="ledger/wait", args={"gate": str(self.folder)})
        wait_for("the call to begin", (self.folder / "began").exists)
        return number

    def open(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def gate(stack: Stack) -> Generator[Gate]:
    found = Gate(stack.folder / "gate")
    yield found
    found.open()


def held_record(stack: Stack) -> str:
    """The newest intent of a call that waits."""
    return f"acme/{[r for r in stack.records('acme', 'intent') if r.clear['target'] == 'ledger/wait'][-1].number}"


def restarted(stack: Stack, name: str, old: int) -> int:
    """Its new process number."""

    def found() -> int | None:
        new = stack.running(name)
        return new if new != old else None

    return wait_for(f"a new {name}", found)


# --- idle


@pytest.mark.parametrize("name", ["guard", "sidecar-acme", "acme/ledger"])
def test_a_killed_helper_is_started_again_and_no_call_gets_past_it(stack: Stack, agent: Puppet, name: str) -> None:
    works(agent, "ledger/attempt", what="kill", where="1")
    pid = stack.pid(name)
    kill(pid)
    answers = [agent.call("ledger/attempt", what="kill", where="1") for _ in range(3)]
    for answer in answers:
        assert "result" in answer or answer["code"], answer
    wait_for("its end", lambda: not alive(pid))
    works(agent, "ledger/attempt", what="kill", where="1")
    assert stack.pid(name) != pid


@pytest.mark.parametrize("name", ["guard", "sidecar-acme"])
def test_the_end_of_a_helper_is_recorded(stack: Stack, name: str) -> None:
    before = len(stack.records("system", "restart"))
    pid = stack.pid(name)
    kill(pid)
    restarted(stack, name, pid)
    new = stack.records("system", "restart")[before:]
    assert [record.body["process"] for record in new] == [name]
    assert "137" in str(new[0].body["fault"])


# --- while a call runs


def test_an_answer_is_withheld_when_the_guard_is_killed_under_it(stack: Stack, agent: Puppet, gate: Gate) -> None:
    number = gate.hold(agent)
    pid = stack.pid("guard")
    kill(pid, signal.SIGSTOP)  # so that it cannot be a new one that answers
    gate.open()
    wait_for("the guard to be asked", lambda: stack.status()["guard"]["waiting"] > 0)
    kill(pid)
    answer = agent.answer(number)
    assert answer.get("code") in GUARD_CODES, answer
    outcome = wait_for("its outcome", lambda: stack.outcome(held_record(stack)))
    assert outcome is not None
    assert (outcome.clear["end"], outcome.clear["released"]) == ("stopped", None)
    restarted(stack, "guard", pid)


def test_a_guard_that_does_not_answer_refuses(stack: Stack, agent: Puppet) -> None:
    pid = stack.pid("guard")
    kill(pid, signal.SIGSTOP)
    try:
        answer = agent.call("echo/echo", text="while the guard hangs")
        assert answer.get("code") in GUARD_CODES, answer
        refused = stack.records("acme", "refused")[-1]
        assert refused.clear["verdicts"][-1] == ["guard", "denied", answer["code"]]
        assert "guard_timeout" in str(stack.body("acme", refused)["verdicts"][-1])
    finally:
        kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(("name", "code"), [("sidecar-acme", "sidecar_lost"), ("acme/ledger", "server_lost")])
def test_a_call_whose_carrier_is_killed_ends_as_unknown(
    stack: Stack, agent: Puppet, gate: Gate, name: str, code: str
) -> None:
    number = gate.hold(agent)
    pid, server = stack.pid(name), stack.pid("acme/ledger")
    kill(pid)
    answer = agent.answer(number)
    assert answer.get("code") == code, answer
    record = wait_for("its outcome", lambda: stack.outcome(held_record(stack)))
    assert record.clear["end"] == "unknown"
    wait_for("the tool server's end", lambda: not alive(server))


def test_agents_outlive_the_core_and_tool_servers_and_sidecars_do_not(
    stack: Stack, agent: Puppet, gate: Gate
) -> None:
    number = gate.hold(agent)
    others = [stack.pid(name) for name in ("guard", "sidecar-acme", "acme/ledger")]
    inside, outside, restarts = agent.do("pid"), agent.pid, stack.status()["restarts"]
    kill_core(stack)
    answer = agent.answer(number)
    assert answer["error"] == "Unavailable", answer
    assert not any(map(alive, others))
    record = held_record(stack)
    works(agent)
    assert agent.do("pid") == inside
    found = next(run for run in stack.status()["runs"] if run["run"] == agent.run)
    assert found["pid"] == outside
    assert stack.status()["restarts"] == restarts + 1
    start = stack.records("system", "start")[-1].body
    assert (start["agents_taken_over"], start["restarts"]) == (1, restarts + 1)
    # What became of the call nobody knows, and the log says so.
    outcome = stack.outcome(record)
    assert outcome is None or outcome.clear["end"] == "unknown"
    shown = subprocess.run([*RINGWALL, "audit", "show", record, "--state", str(stack.state)], capture_output=True,
                           text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "unknown" in shown.stdout


def kill_core(stack: Stack) -> None:
    """Kill the core and wait for the next one to be ready."""
    said = sum(line.startswith("ringwall: ready") for line in stack.log)
    kill(stack.pid("core"))
    stack.wait_ready(said + 1)


def test_a_program_that_ends_while_there_is_no_core_still_gives_its_exit_code(stack: Stack) -> None:
    text = "import sys; print('up', flush=True); sys.stdin.readline(); print('bye', flush=True); sys.exit(9)"
    with stack.begin("ben", [*PYTHON, text]) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"up\n"
        outside = next(run["pid"] for run in stack.status()["runs"] if run["agent"] == "ben")
        core = stack.pid("core")
        kill(core, signal.SIGSTOP)
        said = sum(line.startswith("ringwall: ready") for line in stack.log)
        kill(outside)  # nobody sees it: the core stands still and dies next
        kill(core)
        stack.wait_ready(said + 1)
        assert process.wait(30) == 137


def test_input_goes_on_after_a_restart_of_the_core(stack: Stack) -> None:
    text = "import sys; print('up', flush=True); print(sys.stdin.read(), flush=True); sys.exit(3)"
    with stack.begin("ben", [*PYTHON, text]) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"up\n"
        kill_core(stack)
        process.stdin.write(b"after the restart")
        process.stdin.close()
        assert process.wait(30) == 3
        assert process.stdout.read() == b"after the restart\n"


def test_no_acknowledged_call_is_missing_after_a_storm_of_kills(stack: Stack, agent: Puppet) -> None:
    storm = [agent.ask("storm", tool="echo/echo", mark=f"storm-{n}-") for n in range(4)]
    for name in ("guard", "sidecar-acme", "core"):
        go_on(stack)
        if name == "core":
            kill_core(stack)
        else:
            pid = stack.pid(name)
            kill(pid)
            restarted(stack, name, pid)
    go_on(stack)
    agent.do("calm")
    answers = [answer for number in storm for answer in agent.answer(number)["result"]]
    acknowledged = {answer["text"] for answer in answers if answer["code"] == ""}
    assert len(acknowledged) > 40, answers
    assert all(answer["code"] for answer in answers if answer["text"] not in acknowledged)
    logged = {stack.body("acme", r)["input"]["call"]["args"].get("text") for r in stack.records("acme", "intent")}
    assert acknowledged <= logged


def go_on(stack: Stack) -> None:
    """Wait for some more calls to be allowed."""
    before = len(stack.records("acme", "intent"))
    wait_for("calls to go on", lambda: len(stack.records("acme", "intent")) > before + 10)


# --- the supervisor


def test_nothing_outlives_the_supervisor() -> None:
    with Stack(manifest, prepare) as own, own.puppet("ana") as puppet:
        works(puppet, "ledger/attempt", what="kill", where="1")
        assert own.process is not None
        everything = set(descendants(own.process.pid))
        assert len(everything) >= 6  # zygote, core, guard, sidecar, tool server, agent
        own.process.kill()
        wait_for("the end of all", lambda: not any(map(alive, everything)), 15)
        assert puppet.process.wait(30) != 0


def test_everything_ends_with_an_error_when_nothing_can_be_started_any_more() -> None:
    with Stack(manifest, prepare) as own, own.puppet("ana") as puppet:
        assert own.process is not None
        everything = set(descendants(own.process.pid))
        agent_parent = int(Path(f"/proc/{puppet.pid}/stat").read_text().rpartition(")")[2].split()[1])
        kill(agent_parent)
        assert own.process.wait(30) == 1
        assert "zygote_gone" in "".join(own.log)
        assert not any(map(alive, everything))
        assert own.verify().ok


def test_a_stop_ends_everything_and_says_so_in_the_log() -> None:
    with Stack(manifest, prepare) as own, own.puppet("ana") as puppet:
        works(puppet)
        assert own.process is not None
        everything = set(descendants(own.process.pid))
        assert own.stop() == 0
        assert not any(map(alive, everything))
        assert own.records("system")[-1].type in {"stop", "log_closed"}
        assert "stop" in [record.type for record in own.records("system")]
        assert own.verify().ok
        puppet.process.wait(30)


def test_two_runtimes_do_not_share_a_state_folder(stack: Stack) -> None:
    second = subprocess.run([*RINGWALL, "up", "--state", str(stack.state), "--manifest", str(stack.manifest)],
                            capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode != 0
    assert "already_running" in second.stderr
