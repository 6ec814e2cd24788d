"""``ringwall run``: a reader's own program behind the wall, and what of the world around reaches it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.integration.conftest import KEY
from tests.stack import Stack

pytestmark = pytest.mark.confined

READERS_OWN = "import ringwall; print(ringwall.call_tool('echo/echo', text='hello')['text'])"


def test_a_program_that_only_calls_tools_works(stack: Stack) -> None:
    ran = stack.python("acme/ana", READERS_OWN)
    assert (ran.code, ran.out) == (0, b"hello\n"), ran.err
    assert "1 calls, 1 done" in ran.err


def test_its_call_is_recorded_with_intent_and_outcome(stack: Stack) -> None:
    stack.python("acme/ana", READERS_OWN.replace("hello", "recorded-7"))
    intents = [r for r in stack.records("acme", "intent") if "recorded-7" in json.dumps(stack.body("acme", r))]
    assert len(intents) == 1
    outcome = stack.outcome(f"acme/{intents[0].number}")
    assert outcome is not None
    assert outcome.clear["end"] == "done"
    assert stack.verify().ok


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_passes_through(stack: Stack, code: int) -> None:
    assert stack.run("acme/ana", ["sh", "-c", f"exit {code}"]).code == code


def test_a_program_that_dies_of_a_signal_ends_as_a_shell_reports_it(stack: Stack) -> None:
    assert stack.run("acme/ana", ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code == 137


def test_standard_input_and_its_end_pass(stack: Stack) -> None:
    data = os.urandom(1 << 20).hex().encode()  # more than any pipe or request holds at once
    text = "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    ran = stack.python("acme/ana", text, stdin=data)
    assert ran.out.decode().strip() == hashlib.sha256(data).hexdigest()


def test_both_outputs_pass_apart(stack: Stack) -> None:
    ran = stack.run("acme/ana", ["sh", "-c", "echo out; echo err >&2"])
    assert ran.out == b"out\n"
    assert "err\n" in ran.err


def test_output_loses_control_sequences_and_held_secrets(stack: Stack) -> None:
    text = (f"import os; os.write(1, b'a\\x1b[2Jb\\x1b]0;title\\x07c\\n'); os.write(1, b'x {KEY[:9]}');"
            f"os.write(1, b'{KEY[9:]} y\\n'); os.write(2, b'\\x9b{KEY}')")
    ran = stack.python("acme/ana", text)
    assert ran.out == b"abc\nx [secret withheld] y\n"
    assert KEY not in ran.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_caught_signal_is_forwarded(stack: Stack, number: signal.Signals) -> None:
    text = (f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(42));"
            "print('up', flush=True); signal.pause()")
    with stack.begin("acme/ana", [sys.executable, "-c", text]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(20) == 42


def test_a_program_that_knows_nothing_of_signals_ends_of_them_at_once(stack: Stack) -> None:
    with stack.begin("acme/ana", ["sh", "-c", "echo up; exec sleep 1000"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        started = time.monotonic()
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 5  # it was not waited for: STOP_S is 5 s


def test_a_program_that_ignores_the_signal_is_killed_after_a_while(stack: Stack) -> None:
    with stack.begin("acme/ana", ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGKILL


def test_a_kept_workspace_persists_and_a_session_of_its_own_starts_empty(stack: Stack) -> None:
    assert stack.run("acme/ana", ["sh", "-c", "echo mine > /workspace/kept.txt"]).code == 0
    assert stack.run("acme/ana", ["cat", "/workspace/kept.txt"]).out == b"mine\n"
    assert stack.run("acme/ana", ["ls", "-A", "/workspace"], options=["--per-session"]).out == b""
    assert stack.run("acme/tess", ["ls", "-A", "/workspace"]).out == b""


def test_a_folder_of_the_operators_may_be_the_workspace(stack: Stack) -> None:
    assert stack.run("acme/workplace", ["sh", "-c", "echo there > /workspace/a"]).code == 0
    assert (stack.folder / "work" / "a").read_text() == "there\n"


def test_only_the_workspace_and_scratch_can_be_written(stack: Stack) -> None:
    ran = stack.run("acme/ana", ["sh", "-c", "touch /tmp/x && touch new; touch /etc/x; touch /x"])
    assert ran.code != 0
    assert ran.err.count("Read-only") + ran.err.count("denied") == 3, ran.err
    assert not (stack.project / "new").exists()


def test_the_escape_program_finds_no_way_out(stack: Stack) -> None:
    ran = stack.run("acme/ana", [sys.executable, "-m", "ringwall.redteam.escape"])
    assert ran.code == 0, ran.out.decode()
    assert b"0 got out" in ran.out


def test_every_launch_records_that_its_self_test_was_refused(stack: Stack) -> None:
    stack.run("acme/ana", ["true"])
    launch = stack.records("acme", "launch")[-1].body
    assert launch["confined"] is True
    tried = dict(launch["self_test"])
    assert int(tried.pop("oom_score_adj")) >= 800
    assert len(tried) >= 7
    assert all(result.startswith("E") for result in tried.values()), tried


def test_the_environment_is_scrubbed(stack: Stack) -> None:
    ran = stack.run("acme/ana", ["env"], env={"AWS_SECRET_ACCESS_KEY": "leak", "LD_PRELOAD": ""})
    names = {line.partition("=")[0] for line in ran.out.decode().splitlines()}
    assert names <= {"PATH", "LANG", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "HOME",
                     "RINGWALL_DOOR", "PWD", "SHLVL", "_", "OLDPWD"}


def test_no_descriptor_is_inherited(stack: Stack) -> None:
    text = "import os; print([n for n in range(3, 4096) if os.path.lexists(f'/proc/self/fd/{n}')])"
    assert stack.python("acme/ana", text).out == b"[]\n"


def test_an_agent_sees_neither_the_state_nor_other_folders(stack: Stack) -> None:
    ran = stack.run("acme/ana", ["ls", "-A", str(stack.folder)])
    assert ran.out == b"p\n"


@pytest.mark.parametrize(
    ("where", "code"), [("s", "state_in_view"), ("", "state_in_view"), ("x", "secret_in_view")]
)
def test_a_run_that_would_show_state_or_secrets_is_refused(stack: Stack, where: str, code: str) -> None:
    before = len(stack.records("acme", "launch"))
    ran = subprocess.run(stack.command("acme/ana", ["true"]), cwd=stack.folder / where, capture_output=True,
                         text=True, check=False)
    assert ran.returncode == 1
    assert code in ran.stderr
    assert len(stack.records("acme", "launch")) == before


def test_an_unknown_agent_and_an_ambiguous_one_are_refused(stack: Stack) -> None:
    for name in ("nobody", "ana", "acme/gus"):
        ran = stack.run(name, ["true"])
        assert ran.code == 1
        assert "unknown_agent" in ran.err


def test_a_forked_child_may_not_call_for_its_parent(stack: Stack) -> None:
    with stack.puppet("acme/ana") as agent:
        refused = agent.do("fork", tool="echo/echo", args={"text": "child"})
        assert refused["code"] == "peer_foreign"
        record = stack.record(refused["record"])
        assert record.type == "refused"
        assert ["identity", "denied", "peer_foreign"] in record.clear["verdicts"]
        assert agent.call("echo/echo", text="parent")["result"]["text"] == "parent"


def test_a_tree_of_processes_calls_each_under_its_own_number(stack: Stack) -> None:
    with stack.puppet("acme/tess") as agent:
        allowed = agent.do("fork", tool="echo/echo", args={"text": "tree-child-5"})
        assert allowed["result"]["text"] == "tree-child-5"
        found = [r for r in stack.records("acme", "intent") if "tree-child-5" in json.dumps(stack.body("acme", r))]
        assert [r.clear["identity"]["number"] for r in found] == [allowed["pid"]]


def test_listing_shows_what_was_granted_and_nothing_else(stack: Stack) -> None:
    with stack.puppet("globex/gus") as agent:
        names = sorted(tool["name"] for tool in agent.do("list")["result"])
    assert names == ["echo/echo", "ledger/attempt"]
