"""Secrets from files: mode 0600, owned by this user, outside every view."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ringwall.errors import RingwallError
from ringwall.manifest.types import Manifest, Secret

MAX_SECRET: Final = 64 << 10  # bytes; keys and tokens are far smaller


class FileSecrets:
    """Reads a secret when it is used, and keeps none."""

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = {name: secret for name, secret in secrets.items() if secret.source == "file"}

    def value(self, name: str) -> bytes:
        """The secret's bytes without the closing newline. Raises RingwallError with what to mend."""
        secret = self._secrets.get(name)
        if secret is None:
            raise RingwallError(f"there is no secret {name} in a file", code="unknown_secret")
        try:
            # NONBLOCK: a FIFO in its place would hold up the core; it is refused below.
            number = os.open(secret.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as fault:
            raise RingwallError(
                f"secret {name}: cannot open {secret.file}: {fault.strerror}",
                code="secret_unreadable",
                remedy="create the file with mode 0600, not as a symbolic link",
            ) from fault
        try:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o177 or found.st_uid != os.geteuid():
                raise RingwallError(
                    f"secret {name}: {secret.file} must be a plain file of yours with mode 0600",
                    code="secret_unsafe",
                    remedy=f"chmod 600 {secret.file}",
                )
            value = os.read(number, MAX_SECRET + 1).rstrip(b"\r\n")
        finally:
            os.close(number)
        if not 0 < len(value) <= MAX_SECRET:
            raise RingwallError(
                f"secret {name}: {secret.file} must hold between 1 and {MAX_SECRET} bytes", code="secret_unsafe"
            )
        return value


def secret_files(manifest: Manifest) -> tuple[Path, ...]:
    """Every file that no view may show: secrets', the store's password, the bundle endpoint's key, what opens the
    vault's root key."""
    others = (
        manifest.limits.password_file, manifest.identity.publish_key, manifest.vault.identity,
        manifest.vault.pin_file,
    )
    kept = (secret.file for secret in manifest.secrets.values() if secret.source == "file")
    return (*kept, *(one for one in others if one))
