"""What each layer stops by itself, as root and as an ordinary user: the escape program under every subset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.confine.harness import WHO, perform

pytestmark = pytest.mark.confined

FILES = {"read the state folder or another's files", "the same through a planted symbolic link",
         "the same by '..' and /proc/self/root"}  # fmt: skip
ONLY_SECCOMP = {"outlive the runtime", "read keys of the kernel's keyrings", "make a virtual machine's socket",
                "set up io_uring", "set up userfaultfd", "make a user namespace"}  # fmt: skip
ONLY_NAMESPACES = {"slow another process down", "connect to another Unix socket"}
OTHERS = {"read another process's environment", "signal another process", "connect to an abstract Unix socket",
          "connect by TCP", "connect by TCP, IPv6", "write outside /workspace and /tmp"}  # fmt: skip
TRACING = {"trace another process", "copy another process's memory", "take another process's descriptor"}
# IPv6, AF_VSOCK, io_uring and userfaultfd may be absent from a kernel; then nothing reaches them anywhere.
MAY_BE_ABSENT = {"connect by TCP, IPv6", "make a virtual machine's socket", "set up io_uring", "set up userfaultfd"}

LEAKS = {
    ("namespaces", "landlock", "seccomp"): set[str](),
    ("namespaces", "seccomp"): set[str](),
    ("namespaces", "landlock"): ONLY_SECCOMP,
    ("landlock", "seccomp"): ONLY_NAMESPACES,
    ("namespaces",): ONLY_SECCOMP,
    ("landlock",): ONLY_SECCOMP | ONLY_NAMESPACES | {"send a datagram by UDP"},
    ("seccomp",): ONLY_NAMESPACES | FILES | OTHERS,
    (): ONLY_SECCOMP | ONLY_NAMESPACES | FILES | OTHERS | TRACING | {"send a datagram by UDP"},
}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("layers", list(LEAKS), ids=lambda layers: "+".join(layers) or "none")
def test_exactly_what_the_missing_layers_would_have_stopped_gets_out(who: str, layers: tuple[str, ...]) -> None:
    ran = perform(who, "escape", layers=list(layers), arguments=["--json"])
    found: dict[str, Any] = json.loads(ran["out"])
    escaped = set(found["escaped"])

    assert escaped <= LEAKS[layers]
    assert LEAKS[layers] - escaped <= MAY_BE_ABSENT
    assert ran["status"] == (1 if escaped else 0)
    works = {each["name"]: each["result"] for each in found["allowed"]}
    assert [result for name, result in works.items() if name.startswith("write ")] == ["works", "works"]


@pytest.mark.parametrize("who", WHO)
def test_the_self_test_names_the_errno_of_each_refusal(who: str) -> None:
    ran = perform(who, "escape", layers=["namespaces", "landlock", "seccomp"], arguments=[])

    assert ran["self_test"] == {
        "open": "ENOENT", "connect_tcp": "EACCES", "connect_unix": "ENOENT", "kill": "ESRCH", "ptrace": "EPERM",
    }  # fmt: skip


@pytest.mark.parametrize("who", WHO)
def test_the_self_test_tells_when_something_succeeds(who: str) -> None:
    ran = perform(who, "escape", layers=[], arguments=[])

    assert set(ran["self_test"].values()) == {"SUCCEEDED"}


@pytest.mark.parametrize("who", WHO)
def test_it_dies_before_ringwall_when_memory_runs_out(who: str) -> None:
    ran = perform(who, "run_python", code="print(open('/proc/self/oom_score_adj').read())")
    own = int(Path("/proc/self/oom_score_adj").read_text())

    assert int(ran["out"]) == min(own + 800, 1000)


def test_the_printed_attempts_fit_a_terminal_and_end_with_the_count() -> None:
    ran = perform(WHO[0], "escape", layers=["namespaces", "landlock", "seccomp"], arguments=[])
    lines = ran["out"].splitlines()

    assert ran["status"] == 0
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith("attempts, 0 got out")
    assert len(lines) > 40


def test_a_wrong_option_is_refused_with_its_usage() -> None:
    ran = perform(WHO[0], "escape", layers=["namespaces", "landlock", "seccomp"], arguments=["--jsn"])

    assert (ran["status"], ran["out"]) == (2, "")
    assert ran["err"].startswith("usage:")
