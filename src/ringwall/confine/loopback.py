"""The loopback of a child's own network namespace: ``lo`` up, the door's listener, sockets that lead inside.

A socket belongs for ever to the network namespace it was made in, whoever holds it. So the child makes them while
it still may, hands them out, and keeps none.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

from ringwall.confine.spec import Loopback

ADDRESS: Final = "127.0.0.1"
BACKLOG: Final = 4096  # until the core listens again with its own; the kernel caps at somaxconn
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914  # linux/sockios.h
_UP: Final = 0x1  # IFF_UP
_REQUEST: Final = struct.Struct("16sH22x")  # struct ifreq: the name, its flags, the rest of the union


def bring_up() -> None:
    """Switch ``lo`` on. Needs CAP_NET_ADMIN over this network namespace. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        found = fcntl.ioctl(sock, _SIOCGIFFLAGS, _REQUEST.pack(b"lo", 0))
        _, flags = _REQUEST.unpack(found)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _REQUEST.pack(b"lo", flags | _UP))


def open_sockets(wanted: Loopback) -> list[socket.socket]:
    """The door's listener if there is to be one, then the unconnected ones. Not blocking. Raises OSError."""
    made: list[socket.socket] = []
    try:
        if wanted.door is not None:
            made.append(_socket())
            made[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made[0].bind((ADDRESS, wanted.door))
            made[0].listen(BACKLOG)
        made += [_socket() for _ in range(wanted.inside)]
    except OSError:
        for each in made:
            each.close()
        raise
    return made


def _socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
