"""System calls that Python has no function for, by number, for both supported machines.

The numbers are the kernel's ABI (arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h);
names that a machine lacks are absent from its table. aarch64 has never run here.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from typing import Any, Final, Literal

from ringwall.errors import ConfinementError

Machine = Literal["x86_64", "aarch64"]

FIRST_UNKNOWN: Final = 470  # the first number after Linux 6.18's file_setattr, on both machines

# fmt: off
NUMBERS: Final[Mapping[Machine, Mapping[str, int]]] = {
    "x86_64": {
        "_sysctl": 156, "acct": 163, "add_key": 248, "adjtimex": 159, "bpf": 321, "capget": 125, "capset": 126,
        "chmod": 90, "chown": 92, "chroot": 161, "clock_adjtime": 305, "clock_settime": 227, "clone": 56,
        "clone3": 435, "connect": 42, "creat": 85, "create_module": 174, "delete_module": 176, "execve": 59,
        "execveat": 322, "fanotify_init": 300, "fanotify_mark": 301, "fchmod": 91, "fchmodat": 268,
        "fchmodat2": 452, "fchown": 93, "fchownat": 260, "file_setattr": 469, "finit_module": 313, "fork": 57,
        "fremovexattr": 199, "fsconfig": 431, "fsetxattr": 190, "fsmount": 432, "fsopen": 430, "fspick": 433,
        "get_kernel_syms": 177, "init_module": 175, "io_uring_enter": 426, "io_uring_register": 427,
        "io_uring_setup": 425, "ioctl": 16, "ioperm": 173, "iopl": 172, "kcmp": 312, "kexec_file_load": 320,
        "kexec_load": 246, "keyctl": 250, "landlock_add_rule": 445, "landlock_create_ruleset": 444,
        "landlock_restrict_self": 446, "lchown": 94, "link": 86, "linkat": 265, "listmount": 458,
        "lookup_dcookie": 212, "lremovexattr": 198, "lsetxattr": 189, "memfd_create": 319, "memfd_secret": 447,
        "migrate_pages": 256, "mkdir": 83, "mkdirat": 258, "mknod": 133, "mknodat": 259, "modify_ldt": 154,
        "mount": 165, "mount_setattr": 442, "move_mount": 429, "move_pages": 279, "mq_open": 240, "mq_unlink": 241,
        "msgctl": 71, "msgget": 68, "msgrcv": 70, "msgsnd": 69, "name_to_handle_at": 303, "nfsservctl": 180,
        "open": 2, "open_by_handle_at": 304, "open_tree": 428, "open_tree_attr": 467, "openat": 257,
        "openat2": 437, "perf_event_open": 298, "personality": 135, "pidfd_getfd": 438, "pidfd_open": 434,
        "pivot_root": 155, "prctl": 157, "prlimit64": 302, "process_madvise": 440, "process_mrelease": 448,
        "process_vm_readv": 310, "process_vm_writev": 311, "ptrace": 101, "query_module": 178, "quotactl": 179,
        "quotactl_fd": 443, "reboot": 169, "removexattr": 197, "removexattrat": 466, "rename": 82, "renameat": 264,
        "renameat2": 316, "request_key": 249, "rmdir": 84, "seccomp": 317, "semctl": 66, "semget": 64, "semop": 65,
        "semtimedop": 220, "setdomainname": 171, "sethostname": 170, "setns": 308, "settimeofday": 164,
        "setxattr": 188, "setxattrat": 463, "shmat": 30, "shmctl": 31, "shmdt": 67, "shmget": 29, "socket": 41,
        "socketpair": 53, "statmount": 457, "swapoff": 168, "swapon": 167, "symlink": 88, "symlinkat": 266,
        "syslog": 103, "truncate": 76, "umount2": 166, "unlink": 87, "unlinkat": 263, "unshare": 272,
        "uselib": 134, "userfaultfd": 323, "ustat": 136, "vfork": 58, "vhangup": 153,
    },
    "aarch64": {
        "acct": 89, "add_key": 217, "adjtimex": 171, "bpf": 280, "capget": 90, "capset": 91, "chroot": 51,
        "clock_adjtime": 266, "clock_settime": 112, "clone": 220, "clone3": 435, "connect": 203,
        "delete_module": 106, "execve": 221, "execveat": 281, "fanotify_init": 262, "fanotify_mark": 263,
        "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "file_setattr": 469,
        "finit_module": 273, "fremovexattr": 16, "fsconfig": 431, "fsetxattr": 7, "fsmount": 432, "fsopen": 430,
        "fspick": 433, "init_module": 105, "io_uring_enter": 426, "io_uring_register": 427, "io_uring_setup": 425,
        "ioctl": 29, "kcmp": 272, "kexec_file_load": 294, "kexec_load": 104, "keyctl": 219,
        "landlock_add_rule": 445, "landlock_create_ruleset": 444, "landlock_restrict_self": 446, "linkat": 37,
        "listmount": 458, "lookup_dcookie": 18, "lremovexattr": 15, "lsetxattr": 6, "memfd_create": 279,
        "memfd_secret": 447, "migrate_pages": 238, "mkdirat": 34, "mknodat": 33, "mount": 40, "mount_setattr": 442,
        "move_mount": 429, "move_pages": 239, "mq_open": 180, "mq_unlink": 181, "msgctl": 187, "msgget": 186,
        "msgrcv": 188, "msgsnd": 189, "name_to_handle_at": 264, "nfsservctl": 42, "open_by_handle_at": 265,
        "open_tree": 428, "open_tree_attr": 467, "openat": 56, "openat2": 437, "perf_event_open": 241,
        "personality": 92, "pidfd_getfd": 438, "pidfd_open": 434, "pivot_root": 41, "prctl": 167, "prlimit64": 261,
        "process_madvise": 440, "process_mrelease": 448, "process_vm_readv": 270, "process_vm_writev": 271,
        "ptrace": 117, "quotactl": 60, "quotactl_fd": 443, "reboot": 142, "removexattr": 14, "removexattrat": 466,
        "renameat": 38, "renameat2": 276, "request_key": 218, "seccomp": 277, "semctl": 191, "semget": 190,
        "semop": 193, "semtimedop": 192, "setdomainname": 162, "sethostname": 161, "setns": 268,
        "settimeofday": 170, "setxattr": 5, "setxattrat": 463, "shmat": 196, "shmctl": 195, "shmdt": 197,
        "shmget": 194, "socket": 198, "socketpair": 199, "statmount": 457, "swapoff": 225, "swapon": 224,
        "symlinkat": 36, "syslog": 116, "truncate": 45, "umount2": 39, "unlinkat": 35, "unshare": 97,
        "userfaultfd": 282, "vhangup": 58,
    },
}
# fmt: on

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.restype = ctypes.c_int
_libc.mount.restype = ctypes.c_int


def machine() -> Machine:
    """The machine this runs on. Raises ConfinementError for one without a table."""
    match platform.machine():
        case "x86_64":
            return "x86_64"
        case "aarch64" | "arm64":
            return "aarch64"
        case other:
            raise ConfinementError(
                f"there is no system call table for the machine {other!r}",
                code="unsupported_machine",
                remedy="run on x86-64 or aarch64",
            )


def number(name: str) -> int:
    """The number of one system call here."""
    return NUMBERS[machine()][name]


def _argument(value: Any) -> Any:
    # Variadic C arguments: a bare int would be passed as 32 bits.
    if isinstance(value, int):
        return ctypes.c_long(value)
    return value


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def call(name: str, *arguments: Any) -> int:
    """Make one system call; integers, bytes, ctypes pointers and None pass. Raises OSError."""
    return _checked(_libc.syscall(ctypes.c_long(number(name)), *map(_argument, arguments)), name)


def prctl(option: int, *arguments: int) -> int:
    """prctl(2) with all five arguments given, the unused ones as 0. Raises OSError."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_libc.prctl(option, *map(_argument, padded)), "prctl")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError."""

    def coded(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    _checked(_libc.mount(coded(source), coded(target), coded(kind), ctypes.c_ulong(flags), coded(data)), "mount")
