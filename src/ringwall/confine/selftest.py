"""The launch self-test: tries what must not work, from inside, after all layers and before the program starts.

A refusal by the kernel leaves no other trace; these results go into the record of the launch.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Sequence
from typing import Final

from ringwall.confine import syscalls
from ringwall.confine.spec import Probe

SUCCEEDED: Final = "SUCCEEDED"
_CONNECT_SECONDS: Final = 1.0  # a silent network must not hold up the launch
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17  # linux/ptrace.h


def run_probes(probes: Sequence[Probe]) -> dict[str, str]:
    """Result by probe name: the errno's name, or SUCCEEDED."""
    return {probe.name: _result(probe) for probe in probes}


def _result(probe: Probe) -> str:
    try:
        match probe.kind:
            case "open":
                os.close(os.open(probe.target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            case "connect_tcp":
                _connect_tcp(probe.target)
            case "connect_unix":
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                    sock.connect(probe.target)
            case "kill":
                os.kill(_other(probe.target), 0)
            case "ptrace":
                _ptrace(_other(probe.target))
    except TimeoutError:
        return "ETIMEDOUT"
    except OSError as refused:
        return errno.errorcode.get(refused.errno or 0, "EIO")
    return SUCCEEDED


def _other(target: str) -> int:
    """The process as numbered by the core. If that number is ours here, the other cannot even be named."""
    number = int(target)
    if number == os.getpid():
        raise ProcessLookupError(errno.ESRCH, "this number names the prober itself")
    return number


def _connect_tcp(target: str) -> None:
    host, _, port = target.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_CONNECT_SECONDS)
        sock.connect((host, int(port)))


def _ptrace(pid: int) -> None:
    syscalls.call("ptrace", _SEIZE, pid, 0, 0)
    # It worked: let go again. Detaching needs a stopped tracee.
    syscalls.call("ptrace", _INTERRUPT, pid, 0, 0)
    os.waitpid(pid, 0x40000000)  # __WALL
    syscalls.call("ptrace", _DETACH, pid, 0, signal.SIG_DFL)
