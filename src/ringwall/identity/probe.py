"""Which way of telling processes apart works here: tried out, not guessed from a version number.

Kernels 6.5 to 6.8 give every pidfd the same inode, so comparing inodes there would accept everybody. Only
two living processes that must differ show which case this is.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ringwall.identity import pidfd

Method = Literal["inode", "number", "peercred", "none"]
Strength = Literal["strong", "weak", "none"]

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
    """

    method: Method
    tree: bool
    detail: str = ""

    @property
    def strength(self) -> Strength:
        """``strong`` survives the reuse of process numbers, ``weak`` does not in every case."""
        if self.method in {"inode", "number"}:
            return "strong"
        return "weak" if self.method == "peercred" else "none"

    @property
    def remedy(self) -> str:
        return _REMEDIES[self.method]


def probe(
    *,
    peer: Callable[[socket.socket], int] = pidfd.peer_pidfd,
    key: Callable[[int], tuple[int, int]] = pidfd.key,
    inside: Callable[[int, int], int] = pidfd.number_inside,
) -> Probe:
    """Try each way on this process and a child. Never raises: what fails is the answer.

    Args:
        peer, key, inside: the kernel's answers, so that tests can stand in for other kernels.

    """
    tree = _tree_works(inside)
    try:
        with _child() as (child, theirs):
            return _compare(child, theirs, peer, key, tree)
    except OSError as fault:
        return Probe(method="none", tree=False, detail=f"cannot make a process to compare with: {fault}")


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
def _child() -> Generator[tuple[int, int]]:
    """A second process that lives while the block runs: its number and its pidfd."""
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        try:
            handle = os.pidfd_open(child.pid)
            try:
                yield child.pid, handle
            finally:
                os.close(handle)
        finally:
            child.kill()
