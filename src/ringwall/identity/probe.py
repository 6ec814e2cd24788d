"""Which way of telling processes apart works here: tried out, not guessed from a version number.

Kernels 6.5 to 6.8 give every pidfd the same inode, so comparing inodes there would accept everybody. Only
two living processes that must differ show which case this is.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from ringwall.identity import pidfd
from ringwall.identity.transport import CONTROL, prepare, sender

_READS_REMEDY = "use Linux 6.5 or newer, with a folder for temporary files: a socket handed on is believed else"

Method = Literal["inode", "number", "peercred", "none"]
Strength = Literal["strong", "weak", "none"]
Sender = Literal["every read", "connection"]

_REMEDIES = {
    "inode": "",
    "number": "",
    "peercred": "use Linux 6.5 or newer: older kernels cannot pin the process behind a connection",
    "none": "use Linux 6.5 or newer, with /proc mounted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How processes are told apart here.

    ``inode``: pidfd inodes; ``number``: process numbers read from two pidfds while both processes live (as
    strong, slower); ``peercred``: number and start time at accept, marked weak; ``none``: nothing works, and
    every process is refused. ``tree``: whether descendants can be told from strangers (Linux 6.11).
    ``reads``: whether the kernel names the sender of each read, so that a socket handed on to a living process is
    worth nothing (Linux 6.5).
    """

    method: Method
    tree: bool
    detail: str = ""
    reads: bool = False

    @property
    def strength(self) -> Strength:
        """``strong`` survives the reuse of process numbers, ``weak`` does not in every case."""
        if self.method in {"inode", "number"}:
            return "strong"
        return "weak" if self.method == "peercred" else "none"

    @property
    def sender(self) -> Sender:
        """How often the process that sends is looked at."""
        return "every read" if self.reads else "connection"

    @property
    def remedy(self) -> str:
        remedy = _REMEDIES[self.method]
        return remedy if remedy or self.reads else _READS_REMEDY


_ANSWER_SECONDS: Final = 10.0  # for the child's byte; a Python starts in 20 ms


def probe(
    *,
    peer: Callable[[socket.socket], int] = pidfd.peer_pidfd,
    key: Callable[[int], tuple[int, int]] = pidfd.key,
    inside: Callable[[int, int], int] = pidfd.number_inside,
    connection: Callable[[], tuple[socket.socket, socket.socket]] = lambda: _connection(),  # noqa: PLW0108 (below)
) -> Probe:
    """Try each way on this process and a child. Never raises: what fails is the answer.

    Args:
        peer, key, inside, connection: the kernel's answers, so that tests can stand in for other kernels.

    """
    tree = _tree_works(inside)
    with ExitStack() as closing:
        near, far, why = None, None, ""
        try:
            near, far = connection()
            closing.enter_context(near)
            closing.enter_context(far)
        except OSError as fault:
            why = f"SO_PASSPIDFD: {fault}"
        try:
            with _child(far) as (child, theirs):
                found = _compare(child, theirs, peer, key, tree)
                why = why if near is None else _reads(near, found, theirs, key)
        except OSError as fault:
            return Probe(method="none", tree=False, detail=f"cannot make a process to compare with: {fault}")
    if found.strength != "strong":
        return found
    return replace(found, reads=not why, detail="; ".join(filter(None, (found.detail, why))))


def _connection() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection that carries a byte of ours, sent before it was accepted. Raises OSError."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(folder) / "s")
        listener.bind(path)
        prepare(listener)
        listener.listen(1)
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(path)
            far.sendall(b"a")
            return listener.accept()[0], far
        except OSError:
            far.close()
            raise


def _reads(near: socket.socket, found: Probe, theirs: int, key: Callable[[int], tuple[int, int]]) -> str:
    """Empty if the first read names us and the second the child, which has our end too; else what is wrong."""
    same: Callable[[int], object] = key if found.method == "inode" else pidfd.number
    mine = os.pidfd_open(os.getpid())
    seen: list[int] = []
    near.settimeout(_ANSWER_SECONDS)
    try:
        for _ in range(2):
            data, control, _, _ = near.recvmsg(16, CONTROL, socket.MSG_CMSG_CLOEXEC)
            process, only = sender(control)
            if process is None:
                return "SCM_PIDFD: the kernel does not name the sender of a read"
            seen.append(process)
            if not only or len(data) != 1:
                return "SCM_PIDFD: one read holds what two processes sent"
        if (same(seen[0]), same(seen[1])) == (same(mine), same(theirs)) and same(mine) != same(theirs):
            return ""
        return "SCM_PIDFD: the kernel names the wrong process"
    except OSError as fault:
        return f"SCM_PIDFD: {fault}"
    finally:
        for descriptor in (mine, *seen):
            os.close(descriptor)


def _compare(
    child: int,
    theirs: int,
    peer: Callable[[socket.socket], int],
    key: Callable[[int], tuple[int, int]],
    tree: bool,
) -> Probe:
    """Our own pidfd by SO_PEERPIDFD and by pidfd_open must agree, and differ from the child's."""
    mine = os.pidfd_open(os.getpid())
    near, far = socket.socketpair()
    try:
        with near, far:
            seen = peer(near)
    except OSError as fault:
        ours = pidfd.number(mine) == os.getpid() and pidfd.number(theirs) == child
        os.close(mine)
        return Probe(method="peercred" if ours else "none", tree=False, detail=f"SO_PEERPIDFD: {fault}")
    try:
        if key(seen) == key(mine) != key(theirs):
            return Probe(method="inode", tree=tree)
        if pidfd.number(seen) == pidfd.number(mine) == os.getpid() != pidfd.number(theirs) == child:
            return Probe(method="number", tree=tree, detail="pidfd inodes do not tell processes apart")
        return Probe(method="none", tree=False, detail="pidfds of two processes look the same")
    finally:
        os.close(mine)
        os.close(seen)


def _tree_works(inside: Callable[[int, int], int]) -> bool:
    """Whether the kernel translates a process number into a namespace: here into our own, where it is known."""
    try:
        ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return inside(ours, os.getpid()) == os.getpid()
    except OSError:
        return False
    finally:
        os.close(ours)


@contextmanager
def _child(output: socket.socket | None) -> Generator[tuple[int, int]]:
    """A second process that lives while the block runs: its number and its pidfd. It sends one byte."""
    command = [sys.executable, "-I", "-S", "-c", "import os, sys; os.write(1, b'b'); sys.stdin.read()"]
    out = subprocess.DEVNULL if output is None else output.fileno()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out) as child:
        try:
            handle = os.pidfd_open(child.pid)
            try:
                yield child.pid, handle
            finally:
                os.close(handle)
        finally:
            child.kill()
