"""Where an OPA may be asked: on a Unix socket or on loopback of this machine, nowhere else.

What answers decides what agents may do. Nothing on the way is encrypted or signed, so there must be no way.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ringwall.errors import PolicyError

REMEDY: Final = 'write opa = "unix:/absolute/path.sock", or "http://127.0.0.1:8181"'
_MAX_PATH: Final = 107  # bytes of sun_path, unix(7)
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One OPA. ``path`` is its Unix socket; without it, ``host`` is a literal loopback address."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``unix:/path`` or ``http://127.0.0.1:8181``. Raises PolicyError (``bad_opa_address``)."""
        if text.startswith("unix:"):
            return _unix(text.removeprefix("unix:"), text)
        try:
            parts = urlsplit(text)
            port = parts.port
            here = ipaddress.ip_address(parts.hostname or "")
        except ValueError as error:
            raise _wrong(text, str(error)) from error
        if not here.is_loopback:
            raise _wrong(text, "it is not on this machine's loopback")
        if parts.scheme != "http" or port is None or port == 0 or not _bare(parts):
            raise _wrong(text, "it is not http://, an address, and a port")
        return cls(host=str(here), port=port)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def check_server(path: str, sock: socket.socket) -> None:
    """Whoever listens on a Unix socket must be root, ourselves, or the owner of a folder that only he can write.

    Anybody may bind a socket's name in a folder that is open to all, while the real OPA is down.

    Raises:
        PolicyError: ``opa_foreign``.

    """
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        folder = Path(path).parent.stat()
    except OSError as error:
        raise PolicyError(f"the folder of {path} cannot be read: {error}", code="opa_foreign",
                          remedy="give OPA's socket a folder of its own") from error
    if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PolicyError(f"others may write into the folder of {path}", code="opa_foreign",
                          remedy="give OPA's socket a folder of its own, mode 0755 or tighter")
    if uid not in {0, os.geteuid(), folder.st_uid}:
        raise PolicyError(f"the user {uid} listens on {path}", code="opa_foreign",
                          remedy="run OPA as root, as Ringwall's user, or as the owner of its socket's folder")


def _bare(parts: SplitResult) -> bool:
    return parts.username is None and parts.password is None and parts.path in {"", "/"} and not (
        parts.query or parts.fragment)


def _unix(path: str, text: str) -> Address:
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > _MAX_PATH:
        raise _wrong(text, f"a socket's path is absolute and has at most {_MAX_PATH} bytes")
    return Address(path=path)


def _wrong(text: str, why: str) -> PolicyError:
    return PolicyError(f"{text[:200]!r} is no place to ask an OPA: {why}", code="bad_opa_address", remedy=REMEDY)
