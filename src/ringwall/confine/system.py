"""What of the host every dynamically linked program needs to see, and nothing that holds a secret."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ringwall.confine.spec import RESERVED_TARGETS, Bind

_FOLDERS: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_FILES: Final = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates.conf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/mime.types",
)
_NETWORK: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/gai.conf", "/etc/services", "/etc/protocols")
_WHOLE: Final = frozenset({"/", "/usr"})  # already there


def _shown(paths: Sequence[str]) -> tuple[Bind, ...]:
    return tuple(Bind(os.path.realpath(path), path) for path in paths if os.path.exists(path))


def system_binds() -> tuple[Bind, ...]:
    """Programs, libraries, certificates, the time zone and the names of users, read-only, as far as they exist."""
    return _shown((*_FOLDERS, *_FILES))


def network_binds() -> tuple[Bind, ...]:
    """What looking up a host's name needs besides; for the sidecar."""
    return _shown(_NETWORK)


def python_binds(prefixes: Sequence[Path]) -> tuple[Bind, ...]:
    """Python installations, read-only, each at the path it was named by and at its real one.

    A virtual environment's ``bin/python`` is a link into another installation: give both prefixes. Root may show
    a folder that only root can cross; an ordinary user must be able to read it.
    """
    targets: dict[str, Bind] = {}
    for prefix in prefixes:
        named, real = os.path.abspath(prefix), os.path.realpath(prefix)
        for target in (named, real):
            if target not in _WHOLE and not target.startswith(("/usr/", *RESERVED_TARGETS)):
                targets[target] = Bind(real, target)
    return tuple(targets.values())
