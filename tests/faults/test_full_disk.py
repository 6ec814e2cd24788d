"""No record, no effect: a full disk under the log refuses everything until there is space again."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.conftest import manifest, prepare
from tests.stack import ROOT, Puppet, Stack, kill

pytestmark = pytest.mark.confined


@contextmanager
def full_disk(stack: Stack) -> Generator[None]:
    """The core may not write beyond the first byte of any file."""
    core = stack.pid("core")
    soft, hard = resource.prlimit(core, resource.RLIMIT_FSIZE)
    resource.prlimit(core, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(core, resource.RLIMIT_FSIZE, (soft, hard))


def refused(agent: Puppet, text: str) -> None:
    answer = agent.call("echo/echo", text=text)
    assert answer.get("code") == "audit_unavailable", answer


def test_calls_are_refused_and_everything_works_again_after_space_and_a_restart(stack: Stack) -> None:
    with stack.puppet("ana") as agent:
        assert agent.call("echo/echo", text="before")["result"]
        with full_disk(stack):
            refused(agent, "never-runs-1")
            refused(agent, "never-runs-2")
            fault = stack.status()["audit"]["logs"]["acme"]["fault"]
            assert fault["code"].startswith("audit_")
            assert fault["remedy"]
            ran = stack.run("ben", ["echo", "started"])  # a launch that cannot be recorded does not start
            assert (ran.code, ran.out) == (3, b""), ran
            assert "audit_unavailable" in ran.err
        refused(agent, "never-runs-3")  # what was lost is known only to a restart, which reads it all again
        said = sum(line.startswith("ringwall: ready") for line in stack.log)
        kill(stack.pid("core"))
        stack.wait_ready(said + 1)
        assert agent.call("echo/echo", text="after")["result"]
    report = stack.verify()
    assert report.ok, report.problems
    texts = [stack.body("acme", r)["input"]["call"]["args"]["text"] for r in stack.records("acme", "intent")]
    assert texts == ["before", "after"]


def test_an_agent_that_ends_while_its_log_is_broken_ends_nothing_else(stack: Stack) -> None:
    restarts = stack.status()["restarts"]
    with stack.puppet("ana") as agent, full_disk(stack):
        refused(agent, "x")
        assert agent.close() == 0
    assert stack.status()["restarts"] == restarts


@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="only root can mount a small file system")
def test_a_really_full_file_system_refuses_and_nothing_written_is_damaged() -> None:
    stack = Stack(manifest, prepare)
    stack.state.mkdir(mode=0o700)
    disk = stack.state / "audit"
    disk.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "ringwall-test", str(disk)], check=True)
    try:
        with stack, stack.puppet("ana") as agent:
            fill(disk / "filler")
            done = 0
            while "result" in (answer := agent.call("echo/echo", text="x" * 60_000)):
                done += 1
                assert done < 1000, "the disk never filled"
            assert done > 0
            assert answer["code"] == "audit_unavailable", answer
            refused(agent, "y")
            assert stack.verify().ok
            (disk / "filler").unlink()
            said = sum(line.startswith("ringwall: ready") for line in stack.log)
            kill(stack.pid("core"))
            stack.wait_ready(said + 1)
            assert agent.call("echo/echo", text="after")["result"]
            assert stack.verify().ok
            assert len(stack.records("acme", "intent")) == done + 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(stack.folder, ignore_errors=True)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                os.write(file.fileno(), bytes(1 << 20))
        except OSError:
            return
