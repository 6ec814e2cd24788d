"""The one way out of a built-in's process: HTTP CONNECT at the outlet's proxy, and whom to trust behind it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Final

from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.tools.authorities import machine

MAX_HEAD: Final = 8192  # bytes of the proxy's answer; ours has 40


def trust(ca: Path | None) -> ssl.SSLContext:
    """A client's context: certificate and name are verified. ``ca``: PEM; None: whom the machine trusts.

    Raises BadInput (``bad_place``): no certificate can be read from ``ca``.
    """
    if ca is None:
        return machine()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=str(ca))
    except OSError:
        raise BadInput(f"{ca} holds no certificate", code="bad_place") from None
    return context


def through(proxy: tuple[str, int], host: str, port: int, seconds: float) -> socket.socket:
    """A connection to ``host:port`` through the proxy; no TLS yet. ``seconds``: for each step, and later operation.

    Raises Unavailable (``service_unreachable``): nothing was sent to the service.
    """
    name = f"[{host}]" if ":" in host else host
    try:
        sock = socket.create_connection(proxy, timeout=seconds)
    except OSError:
        raise unreachable("the way out is closed") from None
    try:
        sock.sendall(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode("ascii"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)  # no byte of what comes after it
            head += piece
            if not piece or len(head) > MAX_HEAD:
                raise unreachable("the way out gives no answer")
        if head.split(b" ", 2)[1:2] != [b"200"]:
            raise unreachable("nobody answers at its address, or it may not be reached")
    except OSError:
        sock.close()
        raise unreachable("the way out is closed") from None
    except RingwallError:
        sock.close()
        raise
    return sock


def unreachable(why: str) -> Unavailable:
    """Nothing was sent."""
    return Unavailable(f"the service cannot be reached: {why}", code="service_unreachable")


def shut(sock: socket.socket) -> None:
    """End what is under way on a connection, from another thread."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already
