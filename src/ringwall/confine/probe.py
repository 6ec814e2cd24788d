"""What this machine can enforce, found by doing it: each probe runs for real in a child that is thrown away.

A version number, a file under /proc or a constant in a header proves nothing: containers, boot options and
security modules take features away one by one.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from ringwall.confine import landlock, nursery, seccomp, shed, syscalls, view
from ringwall.confine.child import StepFailed
from ringwall.confine.remedies import remedy

SO_PEERPIDFD: Final = 77
SO_PASSPIDFD: Final = 76
SCM_PIDFD: Final = 4
_NO_NEW_PRIVS: Final = 38
_NEW_USER, _NEW_MOUNT, _NEW_NET, _NEW_PID, _NEW_IPC, _NEW_UTS = (
    0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000, 0x04000000,
)  # fmt: skip
_ALL: Final = _NEW_MOUNT | _NEW_NET | _NEW_PID | _NEW_IPC | _NEW_UTS
_CHILD_SECONDS: Final = 10.0  # a probe that hangs is a probe that failed
_MAX_REPORT: Final = 4096
_FOREIGN_UID: Final = 1_500_000_000  # as root: some number that is nobody's

Name = Literal[
    "namespaces", "view", "landlock", "landlock_tcp", "landlock_scopes", "seccomp", "peer_pidfd",
    "pidfd_distinct", "scm_pidfd",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """One thing tried.

    Args:
        name: which.
        holds: True if it worked.
        detail: what was found, for people.
        step: where it failed, for instance ``uid_map``; empty if it worked.
        errno: the errno's name; empty if it worked.
        remedy: what would mend it; empty if nothing needs to be, or nothing can.

    """

    name: Name
    holds: bool
    detail: str
    step: str = ""
    errno: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """All of them.

    Args:
        root: who asked: the answers differ.
        landlock_abi: the kernel's version of Landlock, 0 without it.
        probes: in the order of ``Name``.

    """

    root: bool
    landlock_abi: int
    probes: tuple[Strength, ...]

    def __getitem__(self, name: Name) -> Strength:
        return next(each for each in self.probes if each.name == name)

    @property
    def can_confine(self) -> bool:
        """Every layer that a launch insists on works here."""
        return all(self[name].holds for name in ("namespaces", "view", "landlock", "seccomp"))


def probe() -> Strengths:
    """Try everything; never raises for what this machine lacks.

    Call it single-threaded: it forks. Takes about 50 ms.
    """
    abi = _landlock_version()
    return Strengths(
        root=os.geteuid() == 0,
        landlock_abi=abi,
        probes=(
            _namespaces(),
            _view(),
            _restricted("landlock", lambda: os.listdir("/"), f"version {abi}: files"),
            _restricted("landlock_tcp", _connect, f"version {abi}: TCP, outbound and listening"),
            _restricted("landlock_scopes", lambda: os.kill(os.getppid(), 0), f"version {abi}: signals"),
            _seccomp(),
            _tried("peer_pidfd", _peer_pidfd, "6.5", "SO_PEERPIDFD names the process that connected"),
            _tried("pidfd_distinct", _distinct, "6.9", "two processes have different pidfd inodes"),
            _tried("scm_pidfd", _scm_pidfd, "6.5", "SCM_PIDFD names the sender of each message"),
        ),
    )


class _ProbeFailed(Exception):
    """It ran, and the result was not what it must be."""


def _failed(name: Name, step: str, code: str, mend: str) -> Strength:
    return Strength(name=name, holds=False, detail=f"{step}: {code}", step=step, errno=code, remedy=mend)


def _code(fault: OSError) -> str:
    return errno.errorcode.get(fault.errno or 0, "EIO")


def _tried(name: Name, act: Callable[[], None], kernel: str, detail: str) -> Strength:
    """Something harmless, tried in this very process; ``kernel`` is the first version that has it."""
    mend = f"needs Linux {kernel} or newer"
    try:
        act()
    except OSError as fault:
        return _failed(name, name, _code(fault), mend)
    except _ProbeFailed as wrong:
        return _failed(name, name, str(wrong), mend)
    return Strength(name=name, holds=True, detail=detail)


# --- in a child ----------------------------------------------------------------------------------------------


def _in_child(act: Callable[[socket.socket], str], flags: int, user: bool) -> Mapping[str, Any]:
    """Run ``act`` in a clone with these namespaces and give its report: ``ok`` or ``step`` and ``code``.

    ``user``: the child asks, over its socket, for its user namespace to be mapped.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        try:
            pid, pidfd = nursery.clone(flags)
        except OSError as fault:
            return {"step": "clone3", "code": _code(fault)}
        if pid == 0:
            ours.close()
            _child(act, theirs)
        theirs.close()
        try:
            return _attend(ours, pid, user=user)
        finally:
            _end(pidfd)


def _child(act: Callable[[socket.socket], str], control: socket.socket) -> None:
    try:
        try:
            report: dict[str, str] = {"ok": act(control)}
        except StepFailed as failed:
            report = {"step": failed.step, "code": failed.code}
        except OSError as fault:
            report = {"step": "set-up", "code": _code(fault)}
        control.sendall(json.dumps(report).encode("ascii"))
    finally:
        os._exit(0)


def _attend(control: socket.socket, pid: int, *, user: bool) -> Mapping[str, Any]:
    control.settimeout(_CHILD_SECONDS)
    try:
        if user:
            control.recv(_MAX_REPORT)
            uid, gid = (os.geteuid(), os.getegid()) if os.geteuid() else (_FOREIGN_UID, _FOREIGN_UID)
            for name, line in nursery.id_maps(uid, gid):
                try:
                    nursery.write_map(pid, name, line)
                except OSError as fault:
                    return {"step": name, "code": _code(fault)}
            control.send(b"mapped")
        raw = control.recv(_MAX_REPORT)
    except TimeoutError:
        return {"step": "child", "code": "ETIMEDOUT"}
    except OSError as fault:
        return {"step": "child", "code": _code(fault)}
    return cast("dict[str, Any]", json.loads(raw)) if raw else {"step": "child", "code": "EPIPE"}


def _end(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def _strength(name: Name, report: Mapping[str, Any]) -> Strength:
    if "ok" in report:
        return Strength(name=name, holds=True, detail=str(report["ok"]))
    step, code = str(report["step"]), str(report["code"])
    return _failed(name, step, code, remedy(step, code))


def _named(step: str, act: Callable[[], Any]) -> None:
    try:
        act()
    except OSError as fault:
        raise StepFailed(step, _code(fault)) from fault


def _mapped(control: socket.socket) -> None:
    """In the child: have the map written. As root the user namespace is made now, as in a launch."""
    if os.geteuid() == 0:
        _named("unshare", lambda: syscalls.call("unshare", _NEW_USER))
    control.send(b"map")
    control.recv(_MAX_REPORT)


def _flags() -> int:
    return _ALL if os.geteuid() == 0 else _ALL | _NEW_USER


def _namespaces() -> Strength:
    def act(control: socket.socket) -> str:
        _mapped(control)
        _named("identity", lambda: shed.become(shed.INSIDE_ID))
        return "user, pid, net, mount, ipc, uts" + (", with an outer uid of its own" if as_root else "")

    as_root = os.geteuid() == 0
    return _strength("namespaces", _in_child(act, _flags(), user=True))


def _view() -> Strength:
    """A whole view: mount, proc, devices, pivot."""

    def act(control: socket.socket) -> str:
        if not as_root:
            _mapped(control)
        _named("view", lambda: view.build((), 1))
        if os.path.exists("/etc"):
            raise StepFailed("view", "EEXIST")
        return "own root, proc and devices"

    as_root = os.geteuid() == 0
    return _strength("view", _in_child(act, _flags(), user=not as_root))


def _landlock_version() -> int:
    try:
        return landlock.version()
    except OSError:
        return 0


def _restricted(name: Name, refused: Callable[[], object], detail: str) -> Strength:
    """Under Landlock, does the kernel refuse what no rule allows?"""

    def act(control: socket.socket) -> str:
        _named("no_new_privs", lambda: syscalls.prctl(_NO_NEW_PRIVS, 1))
        _named("landlock", lambda: landlock.restrict((), connect_tcp=False))
        try:
            refused()
        except PermissionError:
            return detail
        except OSError as fault:
            raise StepFailed(name, _code(fault)) from fault
        raise StepFailed(name, "SUCCEEDED")  # it says yes and does nothing

    return _strength(name, _in_child(act, 0, user=False))


def _connect() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", 1))


def _seccomp() -> Strength:
    def act(control: socket.socket) -> str:
        _named("no_new_privs", lambda: syscalls.prctl(_NO_NEW_PRIVS, 1))
        _named("seccomp", lambda: seccomp.install(seccomp.program("agent", one_process=False, exec_fd=0)))
        try:
            syscalls.call("keyctl", 0, -3, 0)  # KEYCTL_GET_KEYRING_ID: works for everybody without the filter
        except PermissionError:
            return f"filter for {syscalls.machine()} enforced"
        raise StepFailed("seccomp", "SUCCEEDED")

    return _strength("seccomp", _in_child(act, 0, user=False))


# --- identity of a peer --------------------------------------------------------------------------------------


def _key(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _peer_pidfd() -> None:
    """The pidfd of a connection made by this process must denote this process."""
    left, right = socket.socketpair()
    with left, right:
        peer = struct.unpack("i", left.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4))[0]
    own = os.pidfd_open(os.getpid())
    try:
        if _key(peer) != _key(own):
            raise _ProbeFailed("it names another process")
        if select.select([peer], [], [], 0)[0]:
            raise _ProbeFailed("it says that this living process ended")
    finally:
        os.close(peer)
        os.close(own)


def _distinct() -> None:
    """Before Linux 6.9 all pidfds share one inode: comparing them would accept everybody."""
    own, parent = os.pidfd_open(os.getpid()), -1
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        parent = os.pidfd_open(pid)
        if _key(own) == _key(parent):
            raise _ProbeFailed("all pidfds share one inode")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(own)
        if parent >= 0:
            os.close(parent)


def _scm_pidfd() -> None:
    """Each message must carry the pidfd of its sender."""
    left, right = socket.socketpair()
    with left, right:
        right.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
        left.send(b"x")
        _, extra, _, _ = right.recvmsg(1, socket.CMSG_SPACE(ctypes.sizeof(ctypes.c_int)))
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, SCM_PIDFD):
            os.close(struct.unpack("i", data[:4])[0])
            return
    raise _ProbeFailed("no message carried it")
