"""Things that a taken-over process tries; each gives ``ok``, or the name of the errno that stopped it."""

import ctypes
import errno
import os
import socket
from pathlib import Path


def read(where):
    Path(where).read_bytes()


def listing(where):
    os.listdir(where)  # noqa: PTH208 (one system call, at once)


def write(where):
    os.close(os.open(where, os.O_WRONLY | os.O_CREAT, 0o600))


def tcp(where):
    host, _, port = where.rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def udp(where):
    host, _, port = where.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"x", (host, int(port)))


def unix(where):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(where)


def kill(where):
    os.kill(int(where), 0)


def stop(where):
    os.kill(int(where), 19)


def ptrace(where):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, int(where), 0, 0) != 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")


def memory(where):
    read(f"/proc/{where}/mem")


def environment(where):
    read(f"/proc/{where}/environ")


def attempt(what, where):
    """One of the above by its name."""
    try:
        globals()[what](where)
    except OSError as stopped:
        return errno.errorcode.get(stopped.errno, "EIO") if stopped.errno else type(stopped).__name__
    return "ok"
