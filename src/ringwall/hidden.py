"""Keep the memory of a process that holds secrets from everybody else."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

from ringwall.errors import RingwallError

_SET_DUMPABLE: Final = 4  # PR_SET_DUMPABLE, linux/prctl.h


def hide() -> None:
    """No core dump, no ptrace, no ``/proc/<pid>/mem`` for processes of the same user.

    Both are needed: a limit of 0 does not hold where ``core_pattern`` names a program, which is given the memory of
    whatever crashed; and a program that is executed afterwards keeps the limit only.

    Raises:
        RingwallError: ``not_hardened``.

    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise RingwallError("this process's memory cannot be hidden (prctl PR_SET_DUMPABLE)", code="not_hardened")
