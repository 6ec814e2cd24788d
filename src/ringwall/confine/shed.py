"""Becoming nobody: identity, limits, capabilities. Each function is one step of the child; all raise OSError."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringwall.confine import syscalls
from ringwall.confine.spec import Profile, ResourceLimits

# proc(5), oom_score_adj: thousandths of the machine's memory, on top of what Ringwall itself has. An agent or a
# tool server goes before anything that judges; the guard and sidecars, on which more depends, come in between.
_OOM_SCORES: Final[Mapping[Profile, int]] = MappingProxyType(
    {"agent": 800, "server": 700, "sidecar": 200, "guard": 100}
)
_OOM_FILE: Final = "/proc/self/oom_score_adj"
_OOM_MOST: Final = 1000
_OOM_BYTES: Final = 16  # "-1000" and a line's end
INSIDE_ID: Final = 65534  # the user and group every confined program sees itself as: "nobody"

# linux/prctl.h, linux/capability.h, linux/securebits.h
_CAPBSET_DROP, _SET_SECUREBITS, _CAP_AMBIENT, _SET_KEEPCAPS = 24, 28, 47, 8
_AMBIENT_RAISE, _AMBIENT_CLEAR = 2, 4
_NO_ROOT_LOCKED: Final = 0x01 | 0x02 | 0x20 | 0x40 | 0x80  # NOROOT, its lock, KEEP_CAPS' lock, no ambient raise
_CAP_DAC_READ_SEARCH: Final = 2
_CAPABILITIES: Final = 64  # two 32-bit words
_CAPABILITY_VERSION: Final = 0x20080522


def become(user: int) -> None:
    """Take this user and group number, as the present user namespace counts, in all three forms."""
    syscalls.prctl(_SET_KEEPCAPS, 1)  # dropped on purpose later, not as a side effect
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _raise_permitted()


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (
        ("effective0", ctypes.c_uint32),
        ("permitted0", ctypes.c_uint32),
        ("inheritable0", ctypes.c_uint32),
        ("effective1", ctypes.c_uint32),
        ("permitted1", ctypes.c_uint32),
        ("inheritable1", ctypes.c_uint32),
    )


def volunteer(profile: Profile) -> str:
    """Have the kernel end this process before Ringwall's own when memory runs out; inherited by what it starts.

    Best effort, since only the order of deaths depends on it: gives the value that holds, or why it was not set.
    Needs the host's /proc, so it comes before the view.
    """
    try:
        with open(_OOM_FILE, "r+b", buffering=0) as file:
            score = min(int(file.read(_OOM_BYTES)) + _OOM_SCORES[profile], _OOM_MOST)
            file.write(b"%d" % score)
    except (OSError, ValueError) as refused:
        return errno.errorcode.get(getattr(refused, "errno", 0) or 0, "EIO")
    return str(score)


def drop_capabilities(*, keep_search: bool) -> None:
    """Empty every capability set for ever.

    Args:
        keep_search: keep CAP_DAC_READ_SEARCH across exec: see ``Confinement.layers``.

    """
    held = _capget()
    if not held.permitted0 | held.permitted1:
        return  # an ordinary user outside any user namespace: no_new_privs keeps it so
    kept = 1 << _CAP_DAC_READ_SEARCH if keep_search else 0
    syscalls.prctl(_CAP_AMBIENT, _AMBIENT_CLEAR)
    for capability in range(_CAPABILITIES):
        if not kept >> capability & 1 and not _drop_bound(capability):
            break
    if keep_search:
        _capset(kept | 1 << 8, inheritable=kept)  # 8: CAP_SETPCAP, for the next two lines
        syscalls.prctl(_CAP_AMBIENT, _AMBIENT_RAISE, _CAP_DAC_READ_SEARCH)
    syscalls.prctl(_SET_SECUREBITS, _NO_ROOT_LOCKED)
    _capset(kept, inheritable=kept)


def _raise_permitted() -> None:
    """Leaving uid 0 empties the effective set; the steps to come still need it."""
    sets = _capget()
    sets.effective0, sets.effective1 = sets.permitted0, sets.permitted1
    syscalls.call("capset", ctypes.byref(_Header(_CAPABILITY_VERSION, 0)), ctypes.byref(sets))


def _capget() -> _Words:
    sets = _Words()
    syscalls.call("capget", ctypes.byref(_Header(_CAPABILITY_VERSION, 0)), ctypes.byref(sets))
    return sets


def _drop_bound(capability: int) -> bool:
    try:
        syscalls.prctl(_CAPBSET_DROP, capability)
    except OSError as fault:
        if fault.errno == errno.EINVAL:  # above the last one this kernel has
            return False
        raise
    return True


def _capset(mask: int, *, inheritable: int) -> None:
    low = 0xFFFFFFFF
    sets = _Words(mask & low, mask & low, inheritable & low, mask >> 32, mask >> 32, inheritable >> 32)
    syscalls.call("capset", ctypes.byref(_Header(_CAPABILITY_VERSION, 0)), ctypes.byref(sets))


def _lower(kind: int, wanted: int | None) -> None:
    if wanted is not None:
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def exec_number(limits: ResourceLimits) -> int:
    """The number that the program's descriptor will have: the first that the program itself can never open."""
    return min(limits.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1)


def limit(limits: ResourceLimits, program: int, *, own_count: bool) -> int:
    """Set the limits that do not hinder the launcher itself; give the number the program's descriptor now has.

    That number is not below the hard limit, so it can never be made again (see ``seccomp.program``).

    Args:
        limits: of the spec.
        program: descriptor of the program; moved.
        own_count: True in a user namespace of its own, where only this child's processes are counted.

    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = exec_number(limits)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    moved = fcntl.fcntl(program, fcntl.F_DUPFD_CLOEXEC, files)
    os.close(program)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if own_count:
        _lower(resource.RLIMIT_NPROC, limits.processes)
    return moved


def limit_late(limits: ResourceLimits) -> None:
    """The limits that the launcher's own work could hit. Right before exec."""
    _lower(resource.RLIMIT_CPU, limits.cpu_seconds)
    _lower(resource.RLIMIT_FSIZE, limits.file_size)
    _lower(resource.RLIMIT_AS, limits.address_space)
