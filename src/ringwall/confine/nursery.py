"""The zygote's own process: clones children on request, maps their ids, reaps them, says what became of them.

Single-threaded and small. It knows no secret: it was forked before any was loaded. It ends when its parent does.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ringwall.confine import seccomp, shed, syscalls
from ringwall.confine.child import Start, run
from ringwall.confine.spec import MAX_SPEC_BYTES, Confinement, numbers, parse_object, string_map
from ringwall.errors import BadInput

MAX_MESSAGE: Final = MAX_SPEC_BYTES + 4096  # a specification and its envelope
MAX_FDS: Final = 64  # far above what any child is given; SCM_RIGHTS takes 253

_PIDFD: Final = 0x1000
_USER: Final = 0x10000000
_NETWORK: Final = 0x40000000
_OTHERS: Final = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000  # mount, cgroup, uts, ipc, pid


@dataclass(slots=True)
class _Child:
    id: int
    pid: int
    pidfd: int
    spec: Confinement
    control: socket.socket | None
    scratch: str
    sockets: list[int] = field(default_factory=list[int])  # that lead into its network, until they are passed on
    ready: bool = False
    running: bool = False
    failed: bool = False


class _Gone(Exception):
    """The parent closed its end."""


class _CloneArguments(ctypes.Structure):
    """struct clone_args, version 0."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    )


_python = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock, as fork must
_python.syscall.restype = ctypes.c_long


def clone(flags: int) -> tuple[int, int]:
    """fork with namespaces: (pid, pidfd) in the parent, (0, -1) in the child. Raises OSError."""
    pidfd = ctypes.c_int(-1)
    wanted = _CloneArguments(flags=flags | _PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=signal.SIGCHLD)
    number, size = ctypes.c_long(syscalls.number("clone3")), ctypes.c_size_t(ctypes.sizeof(wanted))
    _python.PyOS_BeforeFork()
    pid = _python.syscall(number, ctypes.byref(wanted), size)
    code = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0, -1
    _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, os.strerror(code))
    return pid, pidfd.value


def namespaces(spec: Confinement, *, as_root: bool) -> int:
    """The clone flags: as root the user namespace is made later, see ``child``."""
    if "namespaces" not in spec.layers:
        return 0
    flags = _OTHERS if as_root else _OTHERS | _USER
    return flags if spec.network == "host" else flags | _NETWORK


class Nursery:
    """The loop. ``serve`` returns when the parent is gone, after killing every child."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._poll = select.poll()
        self._poll.register(parent, select.POLLIN)
        self._children: dict[int, _Child] = {}
        self._by_control: dict[int, _Child] = {}
        self._by_pidfd: dict[int, _Child] = {}

    def serve(self) -> None:
        try:
            while True:
                # What children say comes before that they ended: a report must not be overtaken.
                ready = sorted(self._poll.poll(), key=lambda pair: pair[0] in self._by_pidfd)
                for fd, _ in ready:
                    self._turn(fd)
        except _Gone:
            for child in self._children.values():
                _kill(child)
                _forget_scratch(child)

    def _turn(self, fd: int) -> None:
        if fd == self._parent.fileno():
            self._request()
        elif fd in self._by_control:
            self._hear(self._by_control[fd])
        elif fd in self._by_pidfd:
            self._reap(self._by_pidfd[fd])

    def _say(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._parent, [json.dumps(message).encode("ascii")], list(fds))
        except OSError as fault:
            raise _Gone from fault

    def _fail(self, number: int, step: str, code: str, about: str = "") -> None:
        self._say({"op": "failed", "id": number, "step": step, "code": code, "about": about})

    def _request(self) -> None:
        try:
            raw, fds, _, _ = socket.recv_fds(self._parent, MAX_MESSAGE, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        except OSError as fault:
            raise _Gone from fault
        if not raw:
            raise _Gone
        try:
            match parse_object(raw):
                case {"op": "spawn", "id": int(number), "spec": str(spec), "fds": targets}:
                    self._spawn(number, spec.encode("ascii"), dict(zip(numbers(targets, "fds"), fds, strict=True)))
                case {"op": "go", "id": int(number)}:
                    self._go(number)
                case _:
                    raise _Gone  # only our own client speaks here: a stranger's message is the end
        finally:
            for fd in fds:
                os.close(fd)

    def _spawn(self, number: int, raw: bytes, fds: Mapping[int, int]) -> None:
        try:
            spec = Confinement.from_json(raw)
        except BadInput as fault:
            self._fail(number, "specification", "EINVAL", fault.cause)
            return
        as_root = os.geteuid() == 0
        # Assembled here, so that the next child of the kind inherits it ready.
        seccomp.program(spec.profile, one_process=spec.one_process, exec_fd=shed.exec_number(spec.limits))
        try:
            scratch = "" if "namespaces" in spec.layers else _make_scratch(spec, as_root=as_root)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid, pidfd = clone(namespaces(spec, as_root=as_root))
        except OSError as fault:
            self._fail(number, "clone3", errno.errorcode.get(fault.errno or 0, "EIO"))
            return
        if pid == 0:
            ours.close()
            run(Start(spec, theirs, fds, scratch))
        theirs.close()
        child = _Child(number, pid, pidfd, spec, ours, scratch)
        self._children[number] = self._by_control[ours.fileno()] = self._by_pidfd[pidfd] = child
        self._poll.register(ours, select.POLLIN)
        self._poll.register(pidfd, select.POLLIN)
        # Open while the child is ours and unreaped: its number cannot mean another process.
        pidns = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._say({"op": "started", "id": number, "pid": pid}, [pidfd, pidns])
        finally:
            os.close(pidns)

    def _go(self, number: int) -> None:
        child = self._children.get(number)
        if child is None or child.control is None or not child.ready:
            self._fail(number, "go", "ESRCH")
            return
        self._answer(child, b"go")

    def _answer(self, child: _Child, word: bytes) -> None:
        try:
            if child.control is not None:
                child.control.send(word)
        except OSError:
            _kill(child)  # it is dying already; its end is reported when it is reaped

    def _hear(self, child: _Child) -> None:
        """One message of a child before its exec: trusted code, but on its way to become untrusted."""
        assert child.control is not None  # noqa: S101 (registered only while open)
        try:
            raw, fds, _, _ = socket.recv_fds(child.control, MAX_MESSAGE, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            raw, fds = b"", []
        child.sockets += fds
        if not raw:
            self._silent(child)
            return
        try:
            self._heed(child, parse_object(raw))
        except BadInput:
            _kill(child)

    def _heed(self, child: _Child, message: Mapping[str, Any]) -> None:
        match message:
            case {"map": True}:
                self._map(child)
            case {"loopback": True}:
                pass  # what came with it is kept until the child is ready
            case {"ready": results} if len(child.sockets) == _sockets(child.spec):
                ready = {"op": "ready", "id": child.id, "self_test": string_map(results, "self_test")}
                self._say(ready, child.sockets)
                _close_sockets(child)
                child.ready = True
            case {"failed": [str(step), str(code), str(about)]}:
                child.failed = True
                self._fail(child.id, step, code, about)
            case _:
                _kill(child)

    def _silent(self, child: _Child) -> None:
        """The control socket closed: by exec (it is close-on-exec), or by an end that ``_reap`` will report."""
        self._drop_control(child)
        if child.ready and not child.failed:
            child.running = True
            self._say({"op": "running", "id": child.id})

    def _drop_control(self, child: _Child) -> None:
        if child.control is not None:
            self._poll.unregister(child.control)
            del self._by_control[child.control.fileno()]
            child.control.close()
            child.control = None

    def _map(self, child: _Child) -> None:
        """An ordinary user's child keeps that user's own number outside."""
        uid = child.spec.uid if child.spec.uid is not None else os.geteuid()
        gid = child.spec.uid if child.spec.uid is not None else os.getegid()
        for name, line in id_maps(uid, gid):
            try:
                write_map(child.pid, name, line)
            except OSError as fault:
                child.failed = True
                self._fail(child.id, name, errno.errorcode.get(fault.errno or 0, "EIO"))
                _kill(child)
                return
        self._answer(child, b"mapped")

    def _reap(self, child: _Child) -> None:
        """The process ended: kill what a child without namespaces left behind, then collect and report it."""
        if "namespaces" not in child.spec.layers:
            _kill_group(child.pid)
        found = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
        assert found is not None  # noqa: S101 (without WNOHANG it waits)
        status = found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status
        self._poll.unregister(child.pidfd)
        del self._by_pidfd[child.pidfd], self._children[child.id]
        os.close(child.pidfd)
        self._drop_control(child)
        _close_sockets(child)
        _forget_scratch(child)
        if child.failed:
            return
        if child.ready:
            self._say({"op": "exited", "id": child.id, "status": status})
        else:
            self._fail(child.id, "set-up", f"exit {status}")


def id_maps(uid: int, gid: int) -> tuple[tuple[str, str], ...]:
    """The files under /proc/PID to write, in order: ``inside outside 1``, and no supplementary groups."""
    inside = shed.INSIDE_ID
    return (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1"))


def write_map(pid: int, name: str, line: str) -> None:
    """Write one of them. Raises OSError."""
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, line.encode("ascii"))
    finally:
        os.close(fd)


def _make_scratch(spec: Confinement, *, as_root: bool) -> str:
    folder = tempfile.mkdtemp(prefix="ringwall-")
    if as_root and spec.uid is not None:
        os.chown(folder, spec.uid, spec.uid)
    return folder


def _sockets(spec: Confinement) -> int:
    return spec.loopback.sockets if spec.loopback is not None else 0


def _close_sockets(child: _Child) -> None:
    for fd in child.sockets:
        os.close(fd)
    child.sockets.clear()


def _forget_scratch(child: _Child) -> None:
    if child.scratch:
        shutil.rmtree(child.scratch, ignore_errors=True)


def _kill(child: _Child) -> None:
    try:
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _kill_group(pid: int) -> None:
    """The child's session, while its number is still its own: it is not reaped yet."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def main(parent: socket.socket) -> NoReturn:
    """Be the zygote. Called right after the fork."""
    status = 1
    try:
        os.setsid()  # the terminal's signals are for the supervisor
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        Nursery(parent).serve()
        status = 0
    finally:
        os._exit(status)
