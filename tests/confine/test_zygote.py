"""Launching through the zygote: what a child gets, what it does not, and how every failure is told."""

from __future__ import annotations

from typing import Any

import pytest
from tests.confine.harness import CONFINED_UID, WHO, perform

pytestmark = [pytest.mark.confined, pytest.mark.parametrize("who", WHO)]


def test_exit_statuses_are_those_of_a_shell(who: str) -> None:
    assert perform(who, "exits") == [0, 3, 255]


def test_killing_the_program_kills_its_whole_namespace(who: str) -> None:
    found = perform(who, "kill_namespace")

    assert found == {"said": "started\n", "status": 137, "alive": True, "ended": True, "eof": True}


def test_a_program_does_not_run_before_go(who: str) -> None:
    found = perform(who, "not_started_without_go")

    assert (found["out"], found["status"]) == ("", 137)
    assert found["comm"] != "echo"


def test_environment_and_descriptors_are_exactly_those_given(who: str) -> None:
    found = perform(who, "environment_and_descriptors")
    env, fds, passed, stdin = found["seen"]

    # The interpreter's own locale coercion may add LC_CTYPE to what it shows.
    assert {key: value for key, value in env.items() if key != "LC_CTYPE"} == {"ONLY": "this"}
    assert fds == [0, 1, 2, 5]
    assert passed == "abc"
    assert stdin.endswith("null")


def test_children_started_together_all_end_and_leave_no_descriptor_in_the_zygote(who: str) -> None:
    found = perform(who, "many_at_once", count=6)

    assert found["statuses"] == [7] * 6
    assert found["zygote_fds"] <= 5  # 0, 1, 2, its socket, and the one that lists them


def test_the_child_is_nobody_without_capabilities_under_all_filters(who: str) -> None:
    found = perform(who, "identity")
    outer = CONFINED_UID if who == "root" else found["euid"]

    assert found["Uid"].split() == found["Gid"].split() == [str(outer)] * 4
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert found["own_pidns"] is False
    if who == "root":
        assert found["Groups"] == ""


def test_only_workspace_and_scratch_are_writable_and_devices_are_five(who: str) -> None:
    found = perform(who, "writing")
    results, rest = found["out"].splitlines()

    no = "Read-only file system"
    assert results == str(["ok", no, "ok", "ok", no, no])
    assert rest.startswith("False")
    assert str(["fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"]) in rest
    assert (found["work"], found["shown"]) == (["a"], [])


def test_scripts_start_by_their_interpreter_line(who: str) -> None:
    found = perform(who, "script")

    assert (found["out"], found["status"]) == ("/shown/tool x y\n", 1)


@pytest.mark.parametrize(
    ("scenario", "arguments", "said"),
    [
        ("refuse", {"binds": [["/no/such/folder", "/shown"]]}, "view: ENOENT (/no/such/folder)"),
        ("refuse", {"cwd": "/nowhere"}, "cwd: ENOENT (/nowhere)"),
        ("refuse", {"binds": [["/usr/share", "/usr/no-such"]]}, "view: EROFS (/usr/no-such)"),
        ("refuse_program", {"argv": ["no-such-program"]}, "program: ENOENT (no-such-program)"),
        ("refuse_program", {"argv": ["/etc/passwd"]}, "program: EACCES (/etc/passwd)"),
        ("planted_link", {}, "view: ELOOP"),
        ("planted_target", {}, "view: "),
    ],
)
def test_a_launch_that_cannot_be_made_names_step_errno_and_place(
    who: str, scenario: str, arguments: dict[str, Any], said: str
) -> None:
    told = perform(who, scenario, **arguments)

    assert told.startswith("cannot_confine: ")
    assert said in told


def test_an_ordinary_user_cannot_become_another_and_root_must(who: str) -> None:
    told = perform(who, "refuse", uid=None if who == "root" else 54321)

    assert told.startswith("uid_needed" if who == "root" else "uid_not_ours")


@pytest.mark.parametrize("how", ["kill", "close"])
def test_children_do_not_outlive_the_zygote(who: str, how: str) -> None:
    found = perform(who, "zygote_death", how=how)

    assert found == {"said": "zygote_gone", "ended": True, "then": "zygote_gone"}


def test_children_and_zygote_do_not_outlive_the_supervisor(who: str) -> None:
    assert perform(who, "parent_death") == [True, True]


def test_a_process_with_threads_cannot_start_a_zygote(who: str) -> None:
    assert perform(who, "threaded_start") == "zygote_too_late"


ONE_PROCESS = """
import os, subprocess, threading
def t(f):
    try: f(); return 'ok'
    except OSError as e: return e.strerror
    except RuntimeError as e: return str(e)
def thread():
    done = threading.Thread(target=lambda: None); done.start(); done.join()
def by_descriptor(there):
    fd = os.open('/bin/true', os.O_PATH)
    try: os.dup2(fd, there)
    except OSError: pass
    os.execve(there, ['true'], {})
print(t(thread), t(os.fork), t(lambda: subprocess.run(['true'])), t(lambda: os.execv('/bin/true', ['true'])),
      t(lambda: by_descriptor(255)), t(lambda: by_descriptor(256)), sep=',')
"""


def test_one_process_allows_threads_and_nothing_else(who: str) -> None:
    no = "Operation not permitted"
    # 256 is the number the program was started from: the filter lets it through, nobody can open it again.
    ran = perform(who, "run_python", code=ONE_PROCESS, one_process=True, limits={"open_files": 256})

    assert (ran["out"].strip(), ran["status"]) == (f"ok,{no},{no},{no},{no},Bad file descriptor", 0)


def test_without_one_process_programs_may_be_started(who: str) -> None:
    ran = perform(who, "run_python", code="import subprocess; print(subprocess.run(['true']).returncode)")

    assert ran["out"] == "0\n"


SECOND = """
import os, socket, threading
from ringwall.confine import second_filter
stop = threading.Event(); seen = []
def t(f):
    try: f(); return 'ok'
    except OSError as e: return e.strerror
def other():
    stop.wait(); seen.append(t(lambda: os.execv('/bin/true', ['true'])))
worker = threading.Thread(target=other); worker.start()
print(t(lambda: open('/tmp/a', 'w').close()))
second_filter()
stop.set(); worker.join()
print(t(lambda: open('/tmp/b', 'w')), t(os.fork), t(lambda: socket.socket(socket.AF_UNIX)),
      t(lambda: os.unlink('/tmp/a')), t(lambda: os.memfd_create('x')), *seen, sep=',')
print(t(lambda: open('/tmp/a').close()), t(lambda: threading.Thread(target=print).start()), end=' ')
"""


def test_the_second_filter_binds_all_threads_and_leaves_reading(who: str) -> None:
    no = "Operation not permitted"
    ran = perform(who, "run_python", code=SECOND, profile="guard")

    assert ran["err"] == ""
    first, second, third = ran["out"].split("\n", 2)
    assert (first, second) == ("ok", ",".join([no] * 6))
    assert third.split() == ["ok", "ok"]


def test_the_guard_has_no_sockets_but_unix(who: str) -> None:
    code = """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_UNIX):
    try: socket.socket(family, socket.SOCK_STREAM if family != socket.AF_NETLINK else socket.SOCK_RAW); print('ok')
    except OSError as e: print(e.errno)
"""
    ran = perform(who, "run_python", code=code, profile="guard")

    assert ran["out"].split() == ["97", "97", "97", "ok"]


def test_a_sidecar_calls_out_and_does_not_listen(who: str) -> None:
    ran = perform(who, "sidecar")

    assert ran["out"].strip() == "ok,ok,Permission denied,Operation not permitted"


def test_limits_hold(who: str) -> None:
    code = """
import os, resource
try: bytearray(1 << 30); print('memory')
except MemoryError: print('no memory')
try:
    with open('/tmp/x', 'wb', buffering=0) as f: print(f.write(bytes(8192)))
except OSError as e: print(e.strerror)
try: os.dup2(1, 64); print('descriptor')
except OSError as e: print(e.strerror)
print(resource.getrlimit(resource.RLIMIT_CORE))
"""
    limits = {"address_space": 300 << 20, "file_size": 4096, "open_files": 64, "cpu_seconds": 60}
    ran = perform(who, "run_python", code=code, limits=limits)

    assert ran["out"].splitlines() == ["no memory", "4096", "Bad file descriptor", "(0, 0)"]


def test_too_many_processes_are_refused(who: str) -> None:
    code = """
import os, signal
made = 0
try:
    while made < 50:
        if os.fork() == 0: signal.pause()
        made += 1
except BlockingIOError: print(made)
"""
    ran = perform(who, "run_python", code=code, limits={"processes": 5})

    assert ran["out"] == "4\n"


def test_without_namespaces_nothing_is_left_behind(who: str) -> None:
    found = perform(who, "without_view_leaves_nothing")

    assert found == {"status": 0, "scratch": False, "inside": True, "left": False}


def test_the_platform_is_probed_by_doing(who: str) -> None:
    found = perform(who, "strengths")

    assert found["can"] is True
    assert found["root"] is (who == "root")
    assert [name for name, holds, errno in found["all"] if holds is bool(errno)] == []
