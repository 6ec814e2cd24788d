"""What the kernel says about a process behind a descriptor. Thin, typed, no decisions.

A pidfd pins one process: whatever happens to its number, the descriptor never means another one
(pidfd_open(2), unix(7) SO_PEERPIDFD, ioctl_nsfs(2)).
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

SO_PEERPIDFD: Final = 77  # include/uapi/asm-generic/socket.h, Linux 6.5; Python has no name for it
NS_GET_TGID_IN_PIDNS: Final = 0x8004B709  # include/uapi/linux/nsfs.h, Linux 6.11
_UCRED: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_START_TIME: Final = 19  # proc_pid_stat(5): field 22, counted from the state behind "(comm)"


class HasOptions(Protocol):
    """A socket, or the stand-in for one that asyncio and uvloop give out."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


class Credentials(NamedTuple):
    """SO_PEERCRED: who called connect(), as numbers of the reader's namespaces."""

    pid: int
    uid: int
    gid: int


def peer_credentials(sock: HasOptions) -> Credentials:
    """Credentials of whoever called connect(). Raises OSError."""
    return Credentials(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def peer_pidfd(sock: HasOptions) -> int:
    """A new pidfd of the process that called connect(). The caller closes it. Raises OSError."""
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4)
    return int.from_bytes(raw, sys.byteorder, signed=True)


def key(pidfd: int) -> tuple[int, int]:
    """``(st_dev, st_ino)``: one pair per process where the kernel has pidfs (6.9). Raises OSError."""
    found = os.fstat(pidfd)
    return found.st_dev, found.st_ino


def alive(*pidfds: int) -> bool:
    """Whether none of the processes has exited yet (a zombie has). A descriptor that cannot be asked is dead."""
    poller = select.poll()
    for pidfd in pidfds:
        poller.register(pidfd, select.POLLIN)
    try:
        return not poller.poll(0)
    except OSError:
        return False


def number(pidfd: int) -> int:
    """The process number in our own pid namespace: -1 when reaped, 0 when outside it. Raises OSError."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines():
        if line.startswith("Pid:"):
            return int(line[4:])
    raise OSError(f"descriptor {pidfd} is not a pidfd")


def number_inside(pidns: int, pid: int) -> int:
    """The number of our process ``pid`` inside the namespace ``pidns``. Raises OSError if it is not in there."""
    return fcntl.ioctl(pidns, NS_GET_TGID_IN_PIDNS, pid)


def start_time(pid: int) -> int:
    """Clock ticks after boot at which ``pid`` started. Raises OSError."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[_START_TIME])


def namespace(pid: int | str, kind: str) -> tuple[int, int]:
    """``(st_dev, st_ino)`` of one of a process's namespaces. Raises OSError, EACCES without the right to look."""
    found = Path(f"/proc/{pid}/ns/{kind}").stat()
    return found.st_dev, found.st_ino


def duplicate(descriptor: int) -> int:
    """A second descriptor of the same thing, closed on exec. Raises OSError."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)


def restrictions(pid: int | Literal["self"]) -> frozenset[str]:
    """How a process is restricted for good: ``no_new_privs``, and one item for each seccomp filter.

    Raises:
        OSError: the process is gone or hidden.
        ValueError: the kernel does not say.

    """
    text = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        filters = int(fields["Seccomp_filters"])
        bound = int(fields["NoNewPrivs"])
    except KeyError as missing:
        raise ValueError(f"/proc/{pid}/status has no {missing}") from missing
    return frozenset({f"filter {number}" for number in range(filters)} | ({"no_new_privs"} if bound else set()))
