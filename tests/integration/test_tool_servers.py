"""Tool servers on real processes: what they see, what they may do, how they end."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.stack import Puppet, Stack, alive, kill, wait_for

pytestmark = pytest.mark.confined


@pytest.fixture(scope="module")
def agent(stack: Stack) -> Generator[Puppet]:
    with stack.puppet("acme/tess", options=["--per-session"]) as puppet:
        yield puppet


def with_mark(mark: str) -> list[int]:
    """Processes that have this text as an argument."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_server_of_the_official_sdk_answers(agent: Puppet) -> None:
    answer = agent.call("desk/add", a=2, b=3)
    assert answer["result"] == {"sum": 5}, answer


def test_a_python_module_reads_what_it_was_given_and_the_wall_granted(stack: Stack, agent: Puppet) -> None:
    answer = agent.call("ledger/look", path=f"{stack.folder}/data/note.txt")
    assert "the note" in json.dumps(answer["result"]), answer


@pytest.mark.parametrize("path", ["c/ringwall.toml", "data/../c/key", "s/root.key", "x/key"])
def test_a_path_outside_the_grant_is_refused_before_the_server(stack: Stack, agent: Puppet, path: str) -> None:
    answer = agent.call("ledger/look", path=f"{stack.folder}/{path}")
    assert answer["error"] in {"Refused", "BadInput"}, answer
    assert stack.record(answer["record"]).type in {"refused", "refused_before_call"}


@pytest.mark.parametrize("server", ["ledger", "desk"])
@pytest.mark.parametrize(
    ("what", "where", "says"),
    [
        ("read", "p/attempts.py", {"ok"}),
        ("write", "p/attempts.py", {"EACCES", "EROFS"}),
        ("write", "p/new", {"EACCES", "EROFS"}),
        ("listing", "s", {"ENOENT"}),
        ("read", "s/root.key", {"ENOENT"}),
        ("read", "c/key", {"ENOENT"}),
        ("listing", "work", {"ENOENT"}),
        ("unix", "s/operator.sock", {"ENOENT", "EACCES", "EPERM"}),
        ("write", "/etc/new", {"EACCES", "EROFS"}),
    ],
)
def test_a_server_sees_its_own_folders_only(
    stack: Stack, agent: Puppet, server: str, what: str, where: str, says: set[str]
) -> None:
    answer = agent.call(f"{server}/attempt", what=what, where=str(stack.folder / where))
    assert said(answer) in says, answer


@pytest.mark.parametrize(("server", "says"), [("ledger", {"ok"}), ("desk", {"ENOENT"})])
def test_a_writable_folder_is_one_servers_own(stack: Stack, agent: Puppet, server: str, says: set[str]) -> None:
    assert said(agent.call(f"{server}/attempt", what="write", where=f"{stack.folder}/books/page")) in says


@pytest.mark.parametrize("server", ["ledger", "desk"])
def test_a_server_has_no_network(stack: Stack, agent: Puppet, server: str) -> None:
    port = stack.manifest.read_text().partition("127.0.0.1:")[2].partition("/")[0]  # the model's, which listens
    assert said(agent.call(f"{server}/attempt", what="tcp", where=f"127.0.0.1:{port}")).startswith("E")
    assert said(agent.call(f"{server}/attempt", what="udp", where=f"127.0.0.1:{port}")).startswith("E")


@pytest.mark.parametrize("what", ["kill", "stop", "ptrace", "memory", "environment"])
@pytest.mark.parametrize("server", ["ledger", "desk"])
def test_a_server_can_neither_signal_nor_trace_nor_read_the_core(
    stack: Stack, agent: Puppet, server: str, what: str
) -> None:
    answer = agent.call(f"{server}/attempt", what=what, where=str(stack.pid("core")))
    assert said(answer).startswith("E"), answer
    assert stack.status()["restarts"] == 0


def test_a_server_is_given_no_environment_and_no_descriptors(agent: Puppet) -> None:
    names = agent.call("ledger/environment")["result"]
    assert set(names) <= {"PATH", "LANG", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "HOME",
                          "PYTHONPATH", "LC_CTYPE"}, names
    open_now = agent.call("ledger/descriptors")["result"]
    usual = ("pipe:", "anon_inode:", "socket:", "/dev/null", "/proc/")
    strange = [name for name in texts(open_now) if not name.startswith(usual)]
    assert not strange, strange


def test_what_a_server_leaves_behind_dies_with_it(stack: Stack, agent: Puppet) -> None:
    mark = "98712.25"
    assert "error" not in agent.call("ledger/breed", mark=mark)
    left = wait_for("the process it left", lambda: with_mark(mark))
    server = stack.pid("acme/ledger")
    kill(server)
    wait_for("the end of all in its pid namespace", lambda: not any(map(alive, left)))
    assert not alive(server)
    restarted = wait_for("a new server", lambda: agent.call("ledger/attempt", what="kill", where="1").get("result"))
    assert restarted
    assert stack.pid("acme/ledger") != server


def said(answer: dict[str, object]) -> str:
    """A text result, however the server wraps it."""
    assert "result" in answer, answer
    found = texts(answer["result"])
    return found[-1]


def texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else []
