"""The vault's root key in a file of mode 0600: whoever reads the file has the key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from ringwall.keys.blobs import damaged
from ringwall.keys.interface import Asks

_SUM_BYTES: Final = 8  # against rotten bits, not against people: a root with one wrong bit is another root


class PlainSeal:
    """No encryption: the mode of the file is all there is."""

    kind = "file"
    asks: Asks = "nothing"

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        return plain + hashlib.sha256(plain).digest()[:_SUM_BYTES]

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        plain, found = blob[:-_SUM_BYTES], blob[-_SUM_BYTES:]
        if hashlib.sha256(plain).digest()[:_SUM_BYTES] != found:
            raise damaged("the file of the root key is damaged")
        return plain

    def forget(self, blob: bytes) -> None:
        """See ``Seal``: there is only the file."""
