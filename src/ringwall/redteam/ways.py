"""Every way out that ``escape`` tries. A way returns when it got out and raises OSError when it was stopped.

Hints say what a real attacker would have found out: RINGWALL_STATE_HINT (the state folder), RINGWALL_PID_HINT (a
process outside), RINGWALL_SOCKET_HINT and RINGWALL_ABSTRACT_HINT (Unix sockets outside), RINGWALL_KEY_HINT (a
key's serial), RINGWALL_TCP_HINT (a port on 127.0.0.1). Without them the usual places are tried.
"""
# One system call a line: what pathlib would add around it must not be in the way.
# ruff: noqa: PTH108, PTH109, PTH112, PTH118, PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from ringwall.confine import syscalls

_T = TypeVar("_T")
_REACHED: Final = frozenset({errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EINPROGRESS, errno.ECONNRESET})
_CONNECT_SECONDS: Final = 1.0
_USUAL_STATE: Final = ("/var/lib/ringwall", "/root", "/home", "/etc/shadow", "/var", "/srv", "/mnt")
_USUAL_SOCKETS: Final = ("/run/docker.sock", "/run/dbus/system_bus_socket", "/run/systemd/private")
_OUTSIDE: Final = ("/", "/usr", "/usr/local/bin", "/etc", "/root", "/home", "/opt", "/srv", "/run", "/var/tmp")
_DISKS: Final = ("vda", "vda1", "sda", "sda1", "nvme0n1", "xvda", "mem", "kmem", "port", "kmsg", "kvm", "fuse")
_GROUPS: Final = ("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs")
_SEIZE: Final = 0x4206
_GET_KEYRING, _READ_KEY, _USER_KEYRING = 0, 11, -4
_SHM_INFO: Final = 14
_SHM_INFO_BYTES: Final = 256  # larger than struct shm_info of any machine
_NEW_USER, _NEW_NET, _NEW_MOUNT = 0x10000000, 0x40000000, 0x00020000
_TIOCSTI: Final = 0x5412
_AF_VSOCK, _AF_ALG, _SCTP = 40, 38, 132
_AT_CWD: Final = -100


@dataclass(frozen=True, slots=True)
class Way:
    """One attempt: what it is called, and the deed."""

    name: str
    act: Callable[[], object]


class Surroundings:
    """What the attempts aim at."""

    def __init__(self, env: Mapping[str, str]) -> None:
        state = env.get("RINGWALL_STATE_HINT")
        usual = tuple(path for path in _USUAL_STATE if not _on_the_way(path))
        self.secrets = (state, f"{state}/root.key") if state else usual
        sockets = [env.get("RINGWALL_SOCKET_HINT"), f"{state}/operator.sock" if state else None, *_USUAL_SOCKETS]
        self.sockets = [path for path in sockets if path]
        self.abstract = env.get("RINGWALL_ABSTRACT_HINT")
        self.key = int(env.get("RINGWALL_KEY_HINT", "0"))
        self.port = int(env.get("RINGWALL_TCP_HINT", "1"))
        self.own = tuple(
            os.path.realpath(path)
            for path in ("/tmp", "/workspace", env.get("HOME", "/workspace"), env.get("TMPDIR", "/tmp"))
        )
        self.scratch = env.get("TMPDIR", "/tmp")
        hint = [int(env["RINGWALL_PID_HINT"])] if "RINGWALL_PID_HINT" in env else []
        self.pids = [pid for pid in (*hint, os.getppid(), 1) if pid > 0 and not _ours(pid)]

    def others(self) -> list[int]:
        """Processes outside: hinted, our parent, the first, and all that /proc shows."""
        with contextlib.suppress(OSError):
            shown = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            return list(dict.fromkeys([*self.pids, *(pid for pid in shown if not _ours(pid))]))
        return self.pids

    def foreign_folders(self) -> list[str]:
        """Folders that must not be writable; not those that are ours by design."""
        code = [sys.prefix, sys.base_prefix, os.path.dirname(__file__), os.getcwd(), os.path.dirname(os.getcwd())]
        return [
            folder
            for folder in dict.fromkeys((*_OUTSIDE, *code))
            if not any(os.path.realpath(folder).startswith(own) for own in self.own)
        ]


def _on_the_way(folder: str) -> bool:
    """A folder of the launcher's making that shows nothing but the way to our own program and folder: an
    interpreter below /root, say, is shown there, and /root is empty otherwise."""
    shown = [*map(os.path.realpath, (sys.prefix, sys.base_prefix, __file__)), os.getcwd(), sys.prefix]
    below = {path[len(folder) + 1 :].split("/")[0] for path in shown if path.startswith(f"{folder}/")}
    try:
        return bool(below) and set(os.listdir(folder)) <= below
    except OSError:
        return False


def _ours(pid: int) -> bool:
    """A process of this very agent: the launcher gave it a session of its own."""
    try:
        return pid == os.getpid() or os.getsid(pid) == os.getsid(0)
    except OSError:
        return False


def _any(things: Iterable[_T], act: Callable[[_T], object]) -> None:
    """Succeed if it works for one of them; else what the last one said."""
    last = FileNotFoundError(errno.ENOENT, "nothing to aim at")
    for thing in things:
        try:
            act(thing)
        except OSError as stopped:
            last = stopped
        else:
            return
    raise last


def _read(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if os.path.isdir(path):
            os.listdir(fd)
        else:
            os.read(fd, 1)
    finally:
        os.close(fd)


def _write(path: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.close(fd)


def _plant(folder: str) -> None:
    path = os.path.join(folder, f".ringwall-escape-{os.getpid()}")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)


def _through_link(around: Surroundings, goal: str) -> None:
    link = os.path.join(around.scratch, f".ringwall-link-{os.getpid()}")
    os.symlink(goal, link)
    try:
        _read(link)
    finally:
        os.unlink(link)


def _device(around: Surroundings) -> None:
    path = os.path.join(around.scratch, f".ringwall-disk-{os.getpid()}")
    os.mknod(path, 0o60600, os.makedev(8, 0))
    try:
        _read(path)
    finally:
        os.unlink(path)


def _connected(family: int, address: object, kind: int = socket.SOCK_STREAM) -> None:
    with socket.socket(family, kind) as sock:
        sock.settimeout(_CONNECT_SECONDS)
        try:
            # A refusal by TCP comes from the other side; a Unix socket says it where nobody listens.
            codes = () if family == socket.AF_UNIX else _REACHED
            _let_in(lambda: sock.connect(address), *codes)  # pyright: ignore[reportArgumentType]
        except TimeoutError:
            return  # it is on its way


def _datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", 9))


def _made(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def _abstract(around: Surroundings) -> None:
    names = [around.abstract] if around.abstract else []
    if not names:
        with open("/proc/net/unix", encoding="utf-8") as table:
            names = [line.split()[-1][1:] for line in table if " @" in line]
    _any(names, lambda name: _connected(socket.AF_UNIX, "\0" + name))


def _let_in(act: Callable[[], object], *codes: int) -> None:
    """Some calls are made wrong on purpose, to do no harm: these errors say that permission was not the problem."""
    try:
        act()
    except OSError as fault:
        if fault.errno not in codes:
            raise


def _peek(pid: int) -> None:
    here = (ctypes.c_uint64 * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    there = (ctypes.c_uint64 * 2)(0, 8)
    _let_in(lambda: syscalls.call("process_vm_readv", pid, here, 1, there, 1, 0), errno.EFAULT)


def _steal_descriptor(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        os.close(syscalls.call("pidfd_getfd", pidfd, 0, 0))
    finally:
        os.close(pidfd)


def _key(around: Surroundings) -> None:
    if around.key:
        syscalls.call("keyctl", _READ_KEY, around.key, ctypes.create_string_buffer(64), 64)
    else:
        syscalls.call("keyctl", _GET_KEYRING, _USER_KEYRING, 1)


def _shared_memory() -> None:
    found = ctypes.create_string_buffer(_SHM_INFO_BYTES)
    syscalls.call("shmctl", 0, _SHM_INFO, found)
    if struct.unpack_from("i", found)[0] == 0:
        raise FileNotFoundError(errno.ENOENT, "no segment of anybody's")


def _perf() -> None:
    event = struct.pack("IIQ", 1, 128, 0).ljust(128, b"\0")  # PERF_TYPE_SOFTWARE, size, PERF_COUNT_SW_CPU_CLOCK
    os.close(syscalls.call("perf_event_open", event, 0, -1, -1, 0))


def _type_into_terminal() -> None:
    try:
        fcntl.ioctl(0, _TIOCSTI, b"\n")
    except OSError as fault:
        if fault.errno != errno.ENOTTY:
            raise
        fd = os.open("/dev/tty", os.O_RDWR)
        try:
            fcntl.ioctl(fd, _TIOCSTI, b"\n")
        finally:
            os.close(fd)


def _mount() -> None:
    syscalls.mount("none", "/", "no-such-file-system", 0)


def _umount() -> None:
    syscalls.call("umount2", b"/proc/self", 0)  # not a mount point


def _module() -> None:
    _let_in(lambda: syscalls.call("init_module", None, 0, b""), errno.ENOEXEC, errno.EFAULT, errno.EINVAL)


def _slow(pid: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


def _setns() -> None:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        syscalls.call("setns", fd, 0)
    finally:
        os.close(fd)


def _files(around: Surroundings) -> list[Way]:
    beyond = ["/proc/self/root/../.." + path for path in around.secrets] + [
        "/../../.." + path for path in around.secrets
    ]
    handle = struct.pack("Ii", 8, 1) + bytes(8)
    return [
        Way("read the state folder or another's files", lambda: _any(around.secrets, _read)),
        Way(
            "the same through a planted symbolic link",
            lambda: _any(around.secrets, lambda p: _through_link(around, p)),
        ),
        Way("the same by '..' and /proc/self/root", lambda: _any(beyond, _read)),
        Way("open a file by its handle", lambda: syscalls.call("open_by_handle_at", _AT_CWD, handle, 0)),
        Way("write outside /workspace and /tmp", lambda: _any(around.foreign_folders(), _plant)),
        Way("open the disk or the memory", lambda: _any([f"/dev/{name}" for name in _DISKS], _read)),
        Way("make a device file of the disk", lambda: _device(around)),
        Way(
            "write kernel settings", lambda: _any(["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"], _write)
        ),
        Way("write control groups", lambda: _any(_GROUPS, _write)),
        Way("mount a file system", lambda: _let_in(_mount, errno.ENODEV)),
        Way("take a mount apart", lambda: _let_in(_umount, errno.EINVAL)),
        Way("change the root", lambda: os.chroot("/")),
    ]


def _processes(around: Surroundings) -> list[Way]:
    return [
        Way(
            "read another process's environment",
            lambda: _any(around.others(), lambda p: _read(f"/proc/{p}/environ")),
        ),
        Way("read another process's memory", lambda: _any(around.others(), lambda p: _read(f"/proc/{p}/mem"))),
        Way(
            "trace another process",
            lambda: _any(around.others(), lambda p: syscalls.call("ptrace", _SEIZE, p, 0, 0)),
        ),
        Way("copy another process's memory", lambda: _any(around.others(), _peek)),
        Way("take another process's descriptor", lambda: _any(around.others(), _steal_descriptor)),
        Way("signal another process", lambda: _any(around.others(), lambda p: os.kill(p, 0))),
        Way(
            "slow another process down",
            lambda: _any(around.others(), _slow),
        ),
        Way("outlive the runtime", lambda: syscalls.prctl(1, 0)),  # PR_SET_PDEATHSIG, none
        Way("become root", lambda: os.setuid(0)),
        Way("type into the operator's terminal", _type_into_terminal),
    ]


def _channels(around: Surroundings) -> list[Way]:
    return [
        Way("read keys of the kernel's keyrings", lambda: _key(around)),
        Way("see System V shared memory", _shared_memory),
        Way("connect to an abstract Unix socket", lambda: _abstract(around)),
        Way(
            "connect to another Unix socket", lambda: _any(around.sockets, lambda p: _connected(socket.AF_UNIX, p))
        ),
        Way("connect by TCP", lambda: _connected(socket.AF_INET, ("127.0.0.1", around.port))),
        Way("connect by TCP, IPv6", lambda: _connected(socket.AF_INET6, ("::1", around.port))),
        Way("send a datagram by UDP", _datagram),
        Way("connect by SCTP", lambda: _made(socket.AF_INET, socket.SOCK_STREAM, _SCTP)),
        Way("make a raw socket", lambda: _made(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
        Way("make a packet socket", lambda: _made(socket.AF_PACKET, socket.SOCK_RAW)),
        Way("make a virtual machine's socket", lambda: _made(_AF_VSOCK, socket.SOCK_STREAM)),
        Way("make a socket of the kernel's cryptography", lambda: _made(_AF_ALG, socket.SOCK_SEQPACKET)),
    ]


def _kernel() -> list[Way]:
    """Reaching for the kernel itself. Nested namespaces come last: they would change what the others see."""
    return [
        Way(
            "set up io_uring",
            lambda: os.close(syscalls.call("io_uring_setup", 1, ctypes.create_string_buffer(120))),
        ),
        Way("set up userfaultfd", lambda: os.close(syscalls.call("userfaultfd", 1))),
        Way("load a BPF program", lambda: syscalls.call("bpf", 0, ctypes.create_string_buffer(b"", 128), 128)),
        Way("open performance counters", _perf),
        Way("load a kernel module", _module),
        Way("rename the host", lambda: socket.sethostname(socket.gethostname())),
        Way("join a namespace", _setns),
        Way("make a network namespace", lambda: syscalls.call("unshare", _NEW_NET)),
        Way("make a user namespace", lambda: syscalls.call("unshare", _NEW_USER | _NEW_MOUNT)),
    ]


def ways(env: Mapping[str, str]) -> list[Way]:
    """All attempts, in the order they are made."""
    around = Surroundings(env)
    return [*_files(around), *_processes(around), *_channels(around), *_kernel()]
