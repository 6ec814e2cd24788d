"""Landlock: what of the file system, TCP, abstract sockets and signals a process keeps (linux/landlock.h).

A layer of its own: it names what is allowed by file, so it holds where the view does not exist or has a hole.
"""

from __future__ import annotations

import ctypes
import os
import stat
from dataclasses import dataclass
from typing import Final, Literal

from ringwall.confine import syscalls

_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH: Final = 1
_NET_PORT: Final = 2
_TCP_SINCE: Final = 4
_NEWEST: Final = 6  # the newest version whose rights are used here; later ones add logging and flags

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (
    1 << bit for bit in range(6, 13)
)
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT, _SIGNAL = 1, 2
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # others need a folder

Access = Literal["list", "run", "read", "write"]
_RIGHTS: Final[dict[Access, int]] = {
    "list": _READ_DIR,
    "run": _EXECUTE | _READ_FILE | _READ_DIR,
    "read": _READ_FILE | _READ_DIR,
    # Files made inside cannot be started: an interpreter has to be asked to, and it is under all the same layers.
    "write": _READ_FILE
    | _READ_DIR
    | _WRITE_FILE
    | _TRUNCATE
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SOCK
    | _MAKE_FIFO
    | _MAKE_SYM
    | _REFER,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One file, or a folder with all below it, and what may be done there."""

    path: str
    access: Access


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Port(ctypes.Structure):
    """struct landlock_net_port_attr; the port as this machine counts."""

    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def version() -> int:
    """The kernel's Landlock version. Raises OSError: ENOSYS not built in, EOPNOTSUPP not switched on."""
    return syscalls.call("landlock_create_ruleset", None, 0, _VERSION)


def handled_files(abi: int) -> int:
    """Every right over files that this version knows: what no rule names is denied."""
    bits = (1 << 13) - 1
    if abi >= 2:
        bits |= _REFER
    if abi >= 3:
        bits |= _TRUNCATE
    if abi >= 5:
        bits |= _IOCTL_DEV
    return bits


def restrict(
    rules: tuple[Rule, ...], *, connect_tcp: bool, bind: tuple[int, ...] = (), connect: tuple[int, ...] = ()
) -> int:
    """Restrict this thread for ever; needs no_new_privs.

    Args:
        rules: what is allowed; their paths must exist.
        connect_tcp: True leaves outbound TCP open.
        bind: TCP ports that may be bound; no others.
        connect: TCP ports that may be connected to where ``connect_tcp`` is False; no others. (All three from
            version 4 on: before it Landlock knows no TCP.)

    Returns:
        the version that was applied. Raises OSError.

    """
    abi = min(version(), _NEWEST)
    files = handled_files(abi)
    wanted = _Ruleset(files, _BIND_TCP if connect_tcp else _BIND_TCP | _CONNECT_TCP, _ABSTRACT | _SIGNAL)
    size = 24 if abi >= 6 else 16 if abi >= _TCP_SINCE else 8
    ruleset = syscalls.call("landlock_create_ruleset", ctypes.byref(wanted), size, 0)
    try:
        for rule in rules:
            _allow(ruleset, rule, files)
        if abi >= _TCP_SINCE:
            _allow_ports(ruleset, _BIND_TCP, bind)
            _allow_ports(ruleset, _CONNECT_TCP, () if connect_tcp else connect)
        syscalls.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow_ports(ruleset: int, right: int, ports: tuple[int, ...]) -> None:
    for port in ports:
        syscalls.call("landlock_add_rule", ruleset, _NET_PORT, ctypes.byref(_Port(right, port)), 0)


def _allow(ruleset: int, rule: Rule, files: int) -> None:
    place = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _RIGHTS[rule.access] & files
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        beneath = _Beneath(rights, place)
        syscalls.call("landlock_add_rule", ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(place)
