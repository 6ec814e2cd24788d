"""The system call filter: hand-made classic BPF (seccomp(2), linux/filter.h), one program per machine.

What it is for: the parts of the kernel that namespaces and Landlock leave open (keyrings by serial, io_uring,
userfaultfd, nested namespaces, AF_VSOCK, transport protocols that Landlock does not know) and, as a layer of its
own, ptrace and its kin, mounting, System V IPC. System calls newer than the table do not exist inside.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringwall.confine import syscalls
from ringwall.confine.spec import Profile
from ringwall.errors import ConfinementError

# linux/bpf_common.h and linux/seccomp.h
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_NUMBER_AT: Final = 0  # offsetof(struct seccomp_data, nr)
_MACHINE_AT: Final = 4  # offsetof(struct seccomp_data, arch)
_ARGUMENTS_AT: Final = 16  # offsetof(struct seccomp_data, args); both machines are little-endian: low half first
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000  # the whole process
_ERRNO: Final = 0x00050000
_X32_BIT: Final = 0x40000000
_AUDIT_MACHINE: Final[Mapping[syscalls.Machine, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SET_FILTER: Final = 1
_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC
_FARTHEST: Final = 255  # a conditional jump's reach

NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID, -NET
CLONE_THREAD: Final = 0x00010000
AT_EMPTY_PATH: Final = 0x1000
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM, _TYPE_MASK = 1, 2, 0xF
_TCP, _UDP = 6, 17
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # both type into somebody's terminal
_PR_SET_PDEATHSIG: Final = 1
_SPECIAL_MODE: Final = 0o6000  # S_ISUID, S_ISGID
_MAKES_FILE: Final = 0o100 | 0o20000000  # O_CREAT, and the bit of O_TMPFILE that is its own
_WRITE_FLAGS: Final = 0o1 | 0o2 | 0o100 | 0o1000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC: O_TMPFILE needs one of them

# Each group by what it would open.
_DENIED: Final = (  # noqa: SIM905 (a hundred quoted words hide the groups)
    # other processes
    "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise process_mrelease move_pages"
    " migrate_pages"
    # the view
    " mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick"
    " mount_setattr statmount listmount open_by_handle_at name_to_handle_at fanotify_init fanotify_mark quotactl"
    " quotactl_fd swapon swapoff"
    # namespaces, keys, System V and POSIX queues
    " unshare setns keyctl add_key request_key shmget shmat shmctl shmdt semget semop semctl semtimedop msgget"
    " msgsnd msgrcv msgctl mq_open mq_unlink"
    # parts of the kernel with a history
    " bpf perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd modify_ldt uselib nfsservctl"
    " lookup_dcookie _sysctl ustat vhangup"
    # the machine
    " init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load"
    " kexec_file_load reboot acct syslog settimeofday clock_settime clock_adjtime adjtimex sethostname"
    " setdomainname iopl ioperm"
).split()
_CHANGES_FILES: Final = (  # noqa: SIM905
    "creat truncate unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat"
    " mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown setxattr lsetxattr fsetxattr"
    " setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr openat2"
).split()


@dataclass(frozen=True, slots=True)
class _Op:
    """One instruction; ``yes`` and ``no`` are labels further down, empty for the next instruction."""

    code: int
    value: int
    yes: str = ""
    no: str = ""


_Line = _Op | str  # a string is a label


def assemble(lines: Sequence[_Line]) -> bytes:
    """Resolve labels, give the kernel's ``struct sock_filter[]``."""
    places: dict[str, int] = {}
    ops: list[_Op] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(ops)
        else:
            ops.append(line)

    def distance(here: int, label: str) -> int:
        far = places[label] - here - 1 if label else 0
        if not 0 <= far <= _FARTHEST:
            raise ConfinementError(f"the filter's label {label!r} is out of reach", code="filter_too_long")
        return far

    return b"".join(
        struct.pack("<HBBI", op.code, distance(at, op.yes), distance(at, op.no), op.value)
        for at, op in enumerate(ops)
    )


def _fail(code: int) -> _Op:
    return _Op(_RETURN, _ERRNO | code)


def _argument(index: int) -> _Op:
    return _Op(_LOAD, _ARGUMENTS_AT + 8 * index)


def _head(machine: syscalls.Machine) -> list[_Line]:
    lines: list[_Line] = [
        _Op(_LOAD, _MACHINE_AT),
        _Op(_EQUAL, _AUDIT_MACHINE[machine], no="kill"),
        _Op(_LOAD, _NUMBER_AT),
    ]
    if machine == "x86_64":
        lines.append(_Op(_ANY_BIT, _X32_BIT, yes="kill"))
    return lines


_TAIL: Final[tuple[_Line, ...]] = (
    "allow",
    _Op(_RETURN, _ALLOW),
    "kill",
    _Op(_RETURN, _KILL),
    "eperm",
    _fail(errno.EPERM),
    "enosys",
    _fail(errno.ENOSYS),
    "eafnosupport",
    _fail(errno.EAFNOSUPPORT),
)


class _Table:
    """Names to instructions: which calls go where, then what is done with their arguments."""

    def __init__(self, machine: syscalls.Machine) -> None:
        self._numbers = syscalls.NUMBERS[machine]
        self._jumps: list[_Line] = []
        self._bodies: list[_Line] = []

    def send(self, names: Sequence[str], label: str) -> None:
        """All of these calls to one ending; names this machine lacks are left out."""
        for name in names:
            if name in self._numbers:
                self._jumps.append(_Op(_EQUAL, self._numbers[name], yes=label))

    def judge(self, names: Sequence[str], body: Sequence[_Line]) -> None:
        """These calls by their arguments: every path through ``body`` must end at a label of the tail."""
        label = f"body {names[0]}"
        self.send(names, label)
        self._bodies += [label, *body]

    def lines(self) -> list[_Line]:
        return [*self._jumps, _Op(_AT_LEAST, syscalls.FIRST_UNKNOWN, yes="enosys", no="allow"), *self._bodies]


def _must_have(index: int, bit: int) -> list[_Line]:
    return [_argument(index), _Op(_ANY_BIT, bit, yes="allow", no="eperm")]


def _must_lack(index: int, bits: int) -> list[_Line]:
    return [_argument(index), _Op(_ANY_BIT, bits, yes="eperm", no="allow")]


def _made_plain(flags: int) -> list[_Line]:
    """A file that is made here, with the mode behind its flags, is made without the special bits."""
    return [_argument(flags), _Op(_ANY_BIT, _MAKES_FILE, no="allow"), *_must_lack(flags + 1, _SPECIAL_MODE)]


def _sockets(profile: Profile) -> list[_Line]:
    """Unix for everyone; route netlink (getaddrinfo asks it) and TCP but for the guard; UDP for the sidecar's DNS.

    The protocol is checked as well: Landlock's TCP rules do not see SCTP, SMC or multipath TCP.
    """
    if profile == "guard":
        return [_argument(0), _Op(_EQUAL, _UNIX, yes="allow", no="eafnosupport")]
    udp = profile == "sidecar"
    lines: list[_Line] = [
        _argument(0),
        _Op(_EQUAL, _UNIX, yes="allow"),
        _Op(_EQUAL, _NETLINK, yes="netlink"),
        _Op(_EQUAL, _INET, yes="inet"),
        _Op(_EQUAL, _INET6, yes="inet", no="eafnosupport"),
        "netlink",
        _argument(2),
        _Op(_EQUAL, 0, yes="allow", no="eperm"),  # NETLINK_ROUTE
        "inet",
        _argument(1),
        _Op(_AND, _TYPE_MASK),
        _Op(_EQUAL, _STREAM, yes="stream"),
    ]
    if udp:
        lines += [
            _Op(_EQUAL, _DATAGRAM, no="eperm"),
            _argument(2),
            _Op(_EQUAL, 0, yes="allow"),
            _Op(_EQUAL, _UDP, yes="allow", no="eperm"),
        ]
    else:
        lines.append(_fail(errno.EPERM))
    return [*lines, "stream", _argument(2), _Op(_EQUAL, 0, yes="allow"), _Op(_EQUAL, _TCP, yes="allow", no="eperm")]


@functools.lru_cache(maxsize=16)
def program(profile: Profile, *, one_process: bool, exec_fd: int, machine: syscalls.Machine | None = None) -> bytes:
    """The filter a child installs before it starts its program.

    Args:
        profile: who it is for; see the module and ``_sockets``.
        one_process: deny new processes, and any program but the one behind ``exec_fd``.
        exec_fd: the descriptor of the program. It is close-on-exec and not below the hard RLIMIT_NOFILE, so
            after the start nobody can make a descriptor of this number again.
        machine: whose numbers; this machine's by default.

    """
    machine = machine or syscalls.machine()
    table = _Table(machine)
    clone = [_Op(_ANY_BIT, NEW_NAMESPACES, yes="eperm")]
    if one_process:
        table.send(["fork", "vfork", "execve"], "eperm")
        table.judge(
            ["execveat"],
            [
                _argument(0),
                _Op(_EQUAL, exec_fd, no="eperm"),
                _argument(4),
                _Op(_EQUAL, AT_EMPTY_PATH, yes="allow", no="eperm"),
            ],
        )
        table.judge(["clone"], [_argument(0), *clone, _Op(_ANY_BIT, CLONE_THREAD, yes="allow", no="eperm")])
    else:
        table.judge(["clone"], [_argument(0), _Op(_ANY_BIT, NEW_NAMESPACES, yes="eperm", no="allow")])
    table.send(["clone3"], "enosys")  # its flags lie in memory; C libraries fall back to clone
    table.send(_DENIED, "eperm")
    if profile == "guard":
        table.send(["memfd_create", "memfd_secret"], "eperm")
    table.judge(["socket", "socketpair"], _sockets(profile))
    table.judge(
        ["ioctl"],
        [_argument(1), _Op(_EQUAL, _TIOCSTI, yes="eperm"), _Op(_EQUAL, _TIOCLINUX, yes="eperm", no="allow")],
    )
    # `nosuid` holds in the view only: whoever finds the file on the host would run it as this process's user, which
    # without root is the operator.
    table.judge(["chmod", "fchmod", "creat", "mknod"], _must_lack(1, _SPECIAL_MODE))
    table.judge(["fchmodat", "fchmodat2", "mknodat"], _must_lack(2, _SPECIAL_MODE))
    table.judge(["open"], _made_plain(1))
    table.judge(["openat"], _made_plain(2))
    table.send(["openat2"], "enosys")  # its mode lies in memory; who has it falls back to openat
    # Its parent's death must stay its own; nobody else's limits are its business.
    table.judge(["prctl"], [_argument(0), _Op(_EQUAL, _PR_SET_PDEATHSIG, yes="eperm", no="allow")])
    table.judge(["prlimit64"], [_argument(0), _Op(_EQUAL, 0, yes="allow", no="eperm")])
    return assemble([*_head(machine), *table.lines(), *_TAIL])


def second_program(machine: syscalls.Machine | None = None) -> bytes:
    """The filter of :func:`second_filter`."""
    machine = machine or syscalls.machine()
    table = _Table(machine)
    table.send(["execve", "execveat", "fork", "vfork", "socket", "connect", *_CHANGES_FILES], "eperm")
    table.send(["clone3"], "enosys")
    table.judge(["clone"], _must_have(0, CLONE_THREAD))
    table.judge(["open"], _must_lack(1, _WRITE_FLAGS))
    table.judge(["openat"], _must_lack(2, _WRITE_FLAGS))
    return assemble([*_head(machine), *table.lines(), *_TAIL])


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def install(code: bytes, *, all_threads: bool = False) -> None:
    """Put the filter over this thread, or all threads of the process. Needs no_new_privs. Raises OSError."""
    fprog = _Program(len(code) // 8, code)
    syscalls.call("seccomp", _SET_FILTER, _ALL_THREADS if all_threads else 0, ctypes.byref(fprog))


def second_filter() -> None:
    """Give up for ever, in all threads: programs, processes, new sockets, connecting, changing files.

    The guard calls this when its imports are done. Raises ConfinementError when the kernel refuses.
    """
    try:
        syscalls.prctl(38, 1)  # PR_SET_NO_NEW_PRIVS: already set in a confined process
        install(second_program(), all_threads=True)
    except OSError as fault:
        name = errno.errorcode.get(fault.errno or 0, "error")
        raise ConfinementError(
            f"second filter: {name}", code="cannot_confine", remedy="the kernel must have CONFIG_SECCOMP_FILTER"
        ) from fault
