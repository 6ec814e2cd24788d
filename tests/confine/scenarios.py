"""What the tests of this folder do in a process of their own; each function's answer is JSON."""
# ruff: noqa: ASYNC240, PTH110, PTH116, PTH208 (descriptors and /proc; these loops serve one task)

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
from harness import Ran, blocked, confined, confinement, launch, python, with_zygote

from ringwall.confine.probe import probe
from ringwall.confine.spec import Bind, ResourceLimits
from ringwall.confine.zygote import Zygote
from ringwall.errors import ConfinementError


def _told(ran: Ran) -> dict[str, Any]:
    return {"status": ran.status, "out": ran.out, "err": ran.err}


def escape(layers: list[str], arguments: list[str]) -> Any:
    return harness.escape(layers, arguments)


def run_python(code: str, limits: dict[str, Any] | None = None, **changes: Any) -> Any:
    if limits is not None:
        changes["limits"] = ResourceLimits(**limits)
    return _told(python(code, **changes))


def run(argv: list[str], **changes: Any) -> Any:
    return _told(confined(argv, **changes))


def refuse(binds: list[list[Any]] | None = None, **changes: Any) -> str:
    if binds is not None:
        changes["more_binds"] = tuple(Bind(*bind) for bind in binds)
    return harness.refusal(**changes)


def refuse_program(argv: list[str]) -> str:
    try:
        confined(argv)
    except ConfinementError as refused:
        return str(refused)
    raise AssertionError("it was started")


def environment_and_descriptors() -> Any:
    """A child with one extra descriptor, started from a process that holds many."""
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    os.set_inheritable(held[0], True)
    code = (
        "import os,json;"
        "fds=[n for n in range(200) if os.path.exists(f'/proc/self/fd/{n}')];"
        "print(json.dumps([dict(os.environ), fds, os.read(5, 3).decode(), os.readlink('/proc/self/fd/0')]))"
    )
    out, into = os.pipe()
    os.write(into, b"abc")
    spec = confinement([sys.executable, "-I", "-c", code], env={"ONLY": "this"})
    ran = with_zygote(lambda zygote: launch(zygote, spec, {5: out}))
    return {"seen": json.loads(ran.out), "status": ran.status}


def exits() -> Any:
    """Exit statuses of several children of one zygote."""

    async def act(zygote: Zygote) -> list[int]:
        codes = ["exit 0", "exit 3", "exit 255"]
        return [(await launch(zygote, confinement(["sh", "-c", code]))).status for code in codes]

    return with_zygote(act)


def kill_namespace() -> Any:
    """SIGKILL to the program: its orphaned, detached grandchild dies as well."""

    async def act(zygote: Zygote) -> Any:
        ours, theirs = socket.socketpair()
        code = "(setsid sleep 600 <&0 >&0 2>&0 &) ; echo started >&0; sleep 600"
        spec = confinement(["sh", "-c", code])
        with ours:
            with theirs:
                child = await zygote.spawn(spec, {0: theirs.fileno()})
            os.close(child.pidns_fd)
            alive_before = not _ended(child.pidfd)
            await zygote.go(child.id)
            ours.setblocking(False)
            said = await asyncio.get_running_loop().sock_recv(ours, 20)
            zygote.signal(child.id, signal.SIGKILL)
            status = await zygote.wait(child.id)
            rest = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 20), 20)
        ended = _ended(child.pidfd)
        os.close(child.pidfd)
        return {"said": said.decode(), "status": status, "alive": alive_before, "ended": ended, "eof": rest == b""}

    return with_zygote(act)


def _ended(pidfd: int, seconds: float = 0) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def zygote_death(how: str) -> Any:
    """The zygote is killed, or its parent closes its end: is the child dead, and what do callers see?"""

    async def act(zygote: Zygote) -> Any:
        spec = confinement(["sleep", "600"])
        async with blocked(zygote, spec, {}) as child:
            await zygote.go(child.id)
            waiting = asyncio.create_task(zygote.wait(child.id))
            await asyncio.sleep(0)
            if how == "kill":
                os.kill(zygote.pid, signal.SIGKILL)
            else:
                zygote.close()
            try:
                await asyncio.wait_for(waiting, 20)
            except ConfinementError as fault:
                said = fault.code
            ended = await asyncio.get_running_loop().run_in_executor(None, _ended, child.pidfd, 20)
        try:
            await zygote.spawn(spec, {})
        except ConfinementError as fault:
            return {"said": said, "ended": ended, "then": fault.code}
        raise AssertionError("a dead zygote spawned")

    return with_zygote(act)


def parent_death() -> Any:
    """The whole supervisor is killed: zygote and child must follow. Both are seen through their pidfds."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:

        async def act(zygote: Zygote) -> None:
            async with blocked(zygote, confinement(["sleep", "600"]), {}) as child:
                await zygote.go(child.id)
                socket.send_fds(theirs, [b"x"], [child.pidfd, os.pidfd_open(zygote.pid)])
                signal.pause()

        with_zygote(act)
    _, fds, _, _ = socket.recv_fds(ours, 1, 2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return [_ended(fd, 20) for fd in fds]


def not_started_without_go() -> Any:
    """A child that is never told to go: nothing of its program ran, and giving it up kills it."""

    async def act(zygote: Zygote) -> Any:
        out, into = os.pipe()
        async with blocked(zygote, confinement(["echo", "ran"]), {1: into}) as child:
            os.close(into)
            comm = Path(f"/proc/{child.pid}/comm").read_text().strip()
            zygote.signal(child.id, signal.SIGKILL)
            status = await zygote.wait(child.id)
        return {"out": os.read(out, 10).decode(), "status": status, "comm": comm}

    return with_zygote(act)


def many_at_once(count: int) -> Any:
    async def act(zygote: Zygote) -> Any:
        spec = confinement(["sh", "-c", "exit 7"])
        ran = await asyncio.gather(*(launch(zygote, spec) for _ in range(count)))
        before = len(os.listdir(f"/proc/{zygote.pid}/fd"))
        return {"statuses": [each.status for each in ran], "zygote_fds": before}

    return with_zygote(act)


def identity() -> Any:
    """What the kernel says, outside, of a blocked child."""

    async def act(zygote: Zygote) -> Any:
        async with blocked(zygote, confinement(["true"]), {}) as child:
            await zygote.go(child.id)
            await zygote.wait(child.id)
        async with blocked(zygote, confinement(["sleep", "600"]), {}) as child:
            await zygote.go(child.id)
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            own = os.stat("/proc/self/ns/pid").st_ino
            zygote.signal(child.id, signal.SIGKILL)
            await zygote.wait(child.id)
            names = ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
            told = {name: status[name].strip() for name in names}
            return {**told, "euid": os.geteuid(), "own_pidns": os.fstat(child.pidns_fd).st_ino == own}

    return with_zygote(act)


def planted_link() -> str:
    """A bind source whose parent was swapped for a link."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "real").mkdir()
        (folder / "link").symlink_to(folder / "real")
        return harness.refusal(more_binds=(Bind(str(folder / "link"), "/shown"),))
    finally:
        shutil.rmtree(folder)


def planted_target() -> Any:
    """A link that an earlier run left in its workspace, where now a bind is to appear."""
    work = harness.workspace()
    try:
        (work / "data").symlink_to("/etc")
        binds = (Bind(str(work), "/workspace", writable=True), Bind("/usr/share", "/workspace/data"))
        return harness.refusal(more_binds=binds)
    finally:
        shutil.rmtree(work)


def script() -> Any:
    """A program that is a "#!" script, itself with an argument."""
    work = harness.workspace()
    try:
        path = work / "tool"
        path.write_text("#!/bin/sh -e\necho $0 $1; false; echo no")
        path.chmod(0o755)
        return _told(confined(["/shown/tool", "x y"], more_binds=(Bind(str(work), "/shown"),)))
    finally:
        shutil.rmtree(work)


def writing() -> Any:
    """What a writable and a read-only bind let through, seen from outside."""
    work, shown = harness.workspace(), harness.workspace()
    code = (
        "import os\n"
        "def t(p):\n"
        "    try: open(p,'w').close(); return 'ok'\n"
        "    except OSError as e: return e.strerror\n"
        "print([t(p) for p in ('/workspace/a','/shown/b','/tmp/c','/dev/shm/d','/e','/proc/self/comm')])\n"
        "print(os.path.exists('/etc/shadow'), sorted(os.listdir('/dev')), sorted(os.listdir('/workspace')))"
    )
    binds = (Bind(str(work), "/workspace", writable=True), Bind(str(shown), "/shown"))
    try:
        ran = python(code, more_binds=binds)
        return {**_told(ran), "work": os.listdir(work), "shown": os.listdir(shown)}
    finally:
        shutil.rmtree(work)
        shutil.rmtree(shown)


def without_view_leaves_nothing() -> Any:
    """The stand-in for /tmp of a launch without namespaces, and what it left running."""
    code = (
        "import os,subprocess,tempfile;"
        "p=subprocess.Popen(['sleep','600']);f=tempfile.mkdtemp();print(p.pid, os.environ['TMPDIR'], f)"
    )
    ran = python(code, layers=frozenset({"landlock", "seccomp"}))
    pid, scratch, made = ran.out.split()
    return {"status": ran.status, "scratch": os.path.exists(scratch), "inside": made.startswith(scratch),
            "left": _running(int(pid))}  # fmt: skip


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def sidecar() -> Any:
    """The host's network, outbound only."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    code = f"""
import os, socket
def t(f):
    try: f(); return 'ok'
    except OSError as e: return os.strerror(e.errno)
def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))
print(t(lambda: socket.create_connection(('127.0.0.1', {port}))), t(udp),
      t(lambda: socket.create_server(('127.0.0.1', 0))),
      t(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)), sep=',')
"""
    with listener:
        return _told(python(code, network="host", profile="sidecar"))


def threaded_start() -> str:
    """Starting a zygote beside another thread."""
    import threading

    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        Zygote.start()
    except ConfinementError as fault:
        return fault.code
    finally:
        stop.set()
        thread.join()
    raise AssertionError("it started")


def strengths() -> Any:
    found = probe()
    return {"can": found.can_confine, "root": found.root,
            "all": [[each.name, each.holds, each.errno] for each in found.probes]}  # fmt: skip
