"""The vault's root key encrypted to an age identity (X25519) that lies in a file elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ringwall.errors import BadInput
from ringwall.keys.blobs import wrong
from ringwall.keys.interface import Asks
from ringwall.keys.private import read_private
from ringwall.keys.sealed import optional, unreachable

_MAX_FILE: Final = 4096  # bytes; what age-keygen writes has 189


class AgeSeal:
    """Encrypts to the one identity in a file of mode 0600, which may be on another disk than the vault.

    Args:
        identity: what ``age-keygen`` writes.

    """

    kind = "age"
    asks: Asks = "nothing"

    def __init__(self, identity: Path) -> None:
        self._path = identity

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        age = optional("pyrage", "age")
        return bytes(age.encrypt(plain, [self._identity(age).to_public()]))

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        age = optional("pyrage", "age")
        identity = self._identity(age)
        try:
            return bytes(age.decrypt(blob, [identity]))
        except age.DecryptError:
            raise wrong(f"the age identity {self._path} does not open the root key",
                        "put back the identity that it was made with, or restore the root key's file") from None

    def forget(self, blob: bytes) -> None:
        """See ``Seal``: there is only the file."""

    def _identity(self, age: Any) -> Any:
        try:
            content = read_private(self._path, _MAX_FILE, "age identity")
        except FileNotFoundError:
            raise unreachable(f"there is no age identity at {self._path}",
                              f"age-keygen -o {self._path}, or restore it") from None
        lines = [line.strip() for line in content[:_MAX_FILE].decode("ascii", "replace").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        try:
            if len(keys) != 1 or len(content) > _MAX_FILE:
                raise ValueError
            return age.x25519.Identity.from_str(keys[0])
        except (ValueError, age.IdentityError):
            raise BadInput(f"{self._path} does not hold exactly one age identity (AGE-SECRET-KEY-1...)",
                           code="bad_identity", remedy="age-keygen -o FILE writes one") from None
