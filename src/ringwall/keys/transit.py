"""The vault's root key encrypted by the transit engine of an OpenBao or Vault elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringwall.errors import Unavailable
from ringwall.keys.blobs import damaged
from ringwall.keys.interface import Asks, Transit
from ringwall.keys.sealed import unreachable

_MAX_BLOB: Final = 8192  # characters; of 52 bytes OpenBao makes about 120


class TransitSeal:
    """Encrypts with a key that never leaves the other vault: who stops that vault, or the key, closes this one.

    Args:
        transit: reaches it.

    """

    kind = "transit"
    asks: Asks = "nothing"

    def __init__(self, transit: Transit) -> None:
        self._transit = transit

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        try:
            blob = self._transit.encrypt(plain)
        except Unavailable as fault:
            raise _silent(fault) from None
        if not (blob.isascii() and blob.isprintable() and 0 < len(blob) <= _MAX_BLOB):
            raise unreachable("the transit engine answered with something that is no ciphertext",
                              "check which service [vaults] names")
        return blob.encode()

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        try:
            text = blob.decode("ascii")
        except UnicodeDecodeError:
            raise damaged("the file of the root key holds no ciphertext of a transit engine") from None
        try:
            return self._transit.decrypt(text)
        except Unavailable as fault:
            raise _silent(fault) from None

    def forget(self, blob: bytes) -> None:
        """See ``Seal``: the key there is its operator's, and other ciphertexts may need it."""


def _silent(fault: Unavailable) -> Unavailable:
    return unreachable(f"the transit engine does not answer: {fault.cause}", fault.remedy or "see that it runs")
