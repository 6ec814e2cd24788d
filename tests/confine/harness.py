"""Starting confined programs from tests: as root, and the same again as an ordinary user.

Each scenario runs in a process of its own (``python harness.py NAME`` with its arguments as JSON on standard
input), single-threaded as the supervisor is when it forks its zygote.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ringwall
from ringwall.confine import syscalls
from ringwall.confine.spec import ALL_LAYERS, Bind, Confinement, Probe, ResourceLimits
from ringwall.confine.system import python_binds, system_binds
from ringwall.confine.zygote import Spawned, Zygote
from ringwall.errors import ConfinementError

CONFINED_UID = 1_500_000_007
SOURCES = Path(ringwall.__file__).parent.parent
WHO = ("root", "ordinary") if os.geteuid() == 0 else ("ordinary",)


def perform(who: str, scenario: str, **arguments: Any) -> Any:
    """Run one scenario as root or as an ordinary user; give its JSON answer."""
    from tests.ordinary import ordinary_python  # here: scenarios run without the tests' packages

    if who == "ordinary":
        ran = ordinary_python().run([__file__, scenario], input=json.dumps(arguments))
    else:
        ran = subprocess.run(
            [sys.executable, __file__, scenario],
            input=json.dumps(arguments),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a confined program ended."""

    status: int
    out: str
    err: str
    self_test: Mapping[str, str]


def confinement(argv: Sequence[str], **changes: Any) -> Confinement:
    """A specification as the runtime makes them; ``changes`` are its fields, ``more_*`` add to them."""
    settings: dict[str, Any] = {
        "name": "test",
        "argv": tuple(argv),
        "env": {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCES), "TMPDIR": "/tmp"},
        "cwd": "/",
        "binds": (
            *system_binds(),
            *python_binds([Path(sys.prefix), Path(sys.base_prefix)]),
            Bind(str(SOURCES), str(SOURCES)),
        ),
        "tmp_mib": 16,
        "network": "none",
        "uid": CONFINED_UID if os.geteuid() == 0 else None,
        "profile": "agent",
        "one_process": False,
        "limits": ResourceLimits(open_files=256),
        "layers": ALL_LAYERS,
    }
    more_binds, more_env = changes.pop("more_binds", ()), changes.pop("more_env", {})
    settings |= changes
    settings["binds"] = (*settings["binds"], *more_binds)
    settings["env"] = {**settings["env"], **more_env}
    return Confinement(**settings)


@asynccontextmanager
async def blocked(zygote: Zygote, spec: Confinement, fds: Mapping[int, int]) -> AsyncIterator[Spawned]:
    """A child right before its exec; its descriptors are closed at the end."""
    child = await zygote.spawn(spec, fds)
    try:
        yield child
    finally:
        os.close(child.pidfd)
        os.close(child.pidns_fd)


async def launch(zygote: Zygote, spec: Confinement, fds: Mapping[int, int] | None = None) -> Ran:
    """Start it, let it run to its end, collect what it wrote."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        all_fds = {1: out.fileno(), 2: err.fileno(), **(fds or {})}
        async with blocked(zygote, spec, all_fds) as child:
            await zygote.go(child.id)
            status = await zygote.wait(child.id)
        out.seek(0)
        err.seek(0)
        texts = [file.read().decode("utf-8", "replace") for file in (out, err)]
        return Ran(status=status, out=texts[0], err=texts[1], self_test=child.self_test)


def with_zygote(act: Callable[[Zygote], Any]) -> Any:
    """Run ``await act(zygote)`` with a zygote of its own."""
    zygote = Zygote.start()
    try:
        return asyncio.run(act(zygote))
    finally:
        zygote.close()


def confined(argv: Sequence[str], **changes: Any) -> Ran:
    """One launch in a zygote of its own."""
    return with_zygote(lambda zygote: launch(zygote, confinement(argv, **changes)))


def python(code: str, **changes: Any) -> Ran:
    """Run Python code confined."""
    return confined([sys.executable, "-c", code], **changes)


def refusal(**changes: Any) -> str:
    """The error of a launch that must not work."""
    try:
        confined(["true"], **changes)
    except ConfinementError as refused:
        return str(refused)
    raise AssertionError("it was started")


class Outside:
    """Things of the agent's own outer uid outside its view: folder, process, key, sockets, port."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ringwall-outside-"))
        (self.folder / "root.key").write_text("secret")
        self.sockets = (socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX), socket.socket())
        path, abstract, port = self.sockets
        path.bind(str(self.folder / "other.sock"))
        abstract.bind(f"\0ringwall-test-{os.getpid()}")
        port.bind(("127.0.0.1", 0))
        for each in self.sockets:
            each.listen(64)
        if os.geteuid() == 0:
            for place in (self.folder, *self.folder.iterdir()):
                os.chown(place, CONFINED_UID, CONFINED_UID)
        self.victim, key = _victim()
        self.env = {
            "RINGWALL_STATE_HINT": str(self.folder),
            "RINGWALL_PID_HINT": str(self.victim),
            "RINGWALL_SOCKET_HINT": str(self.folder / "other.sock"),
            "RINGWALL_ABSTRACT_HINT": f"ringwall-test-{os.getpid()}",
            "RINGWALL_KEY_HINT": str(key),
            "RINGWALL_TCP_HINT": str(port.getsockname()[1]),
        }

    def close(self) -> None:
        os.kill(self.victim, signal.SIGKILL)
        os.waitpid(self.victim, 0)
        for each in self.sockets:
            each.close()
        shutil.rmtree(self.folder)


def _victim() -> tuple[int, int]:
    """A process of the agent's outer uid that holds a key which that uid may read; its number and the key's."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(CONFINED_UID, CONFINED_UID, CONFINED_UID)
            os.setresuid(CONFINED_UID, CONFINED_UID, CONFINED_UID)
        syscalls.prctl(4, 1)  # PR_SET_DUMPABLE, which changing the uid took away
        syscalls.call("keyctl", 1, None)  # a session keyring of its own
        key = syscalls.call("add_key", b"user", b"ringwall-test", b"secret", 6, -3)
        syscalls.call("keyctl", 5, key, 0x3F3F0000)  # KEYCTL_SETPERM: its user may do everything
        os.write(into, str(key).encode())
        signal.pause()
    key = int(os.read(out, 32))
    os.close(out)
    os.close(into)
    return pid, key


def workspace() -> Path:
    """A folder that the confined program may write."""
    made = Path(tempfile.mkdtemp(prefix="ringwall-work-"))
    if os.geteuid() == 0:
        os.chown(made, CONFINED_UID, CONFINED_UID)
    return made


def escape(layers: Sequence[str], arguments: Sequence[str] = ("--json",), **changes: Any) -> dict[str, Any]:
    """Run the escape program under these layers only."""
    work, around = workspace(), Outside()
    probes = (
        Probe("open", str(around.folder)),
        Probe("connect_tcp", f"127.0.0.1:{around.env['RINGWALL_TCP_HINT']}"),
        Probe("connect_unix", around.env["RINGWALL_SOCKET_HINT"]),
        Probe("kill", str(around.victim)),
        Probe("ptrace", str(around.victim)),
    )
    try:
        ran = confined(
            [sys.executable, "-m", "ringwall.redteam.escape", *arguments],
            layers=frozenset(layers),
            more_binds=(Bind(str(work), "/workspace", writable=True),),
            more_env={"HOME": "/workspace", **around.env},
            cwd="/workspace",
            self_test=probes,
            **changes,
        )
        self_test = {probe.kind: ran.self_test[probe.name] for probe in probes}
        return {"status": ran.status, "out": ran.out, "err": ran.err, "self_test": self_test}
    finally:
        around.close()
        shutil.rmtree(work)


if __name__ == "__main__":
    # Of a file beside this one, which imports this one as ``harness``.
    module, _, name = sys.argv[1].rpartition(".")
    act = getattr(importlib.import_module(module or "scenarios"), name)
    print(json.dumps(act(**json.load(sys.stdin))))
