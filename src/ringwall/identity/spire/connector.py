"""Connects to a SPIRE agent as one agent's uid: ``python -m ringwall.identity.spire.connector SOCKET``.

SPIRE attests whoever connected, and looks whether that process still lives. So this one, which runs as the uid of
one of our agents but in a view and namespaces of its own, connects when the core asks on descriptor 3, hands the
connected socket over, and stays. It reads nothing from either side but the core's question.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

LINK: Final = 3
SECONDS: Final = 10.0  # for a connection; SPIRE accepts at once or not at all
CONNECTED: Final = b"+"
FAILED: Final = b"-"


def serve(link: socket.socket, path: str) -> None:
    """Answer each question with a socket, or with why there is none, until the core is gone."""
    while link.recv(1):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.settimeout(SECONDS)
            try:
                made.connect(path)
            except OSError as fault:
                link.send(FAILED + (fault.strerror or "timed out").encode()[:100])
                continue
            socket.send_fds(link, [CONNECTED], [made.fileno()])


def main() -> int:
    """Run on descriptor 3. Exit code 0: the core is gone."""
    try:
        with socket.socket(fileno=LINK) as link:
            serve(link, sys.argv[1])
    except (BrokenPipeError, ConnectionResetError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
