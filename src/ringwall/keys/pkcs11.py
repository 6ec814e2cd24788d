"""The vault's root key encrypted by a PKCS#11 token, with an AES key that cannot leave it.

The token's library is foreign code that may hang or crash: it runs in a process of its own for each use.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.keys.blobs import damaged, wrong
from ringwall.keys.child import DONE, ask
from ringwall.keys.interface import Asks
from ringwall.keys.private import read_private, remove_private, write_private
from ringwall.keys.sealed import missing, unreachable

_WORKER: Final = "ringwall.keys.pkcs11_worker"
_SECONDS: Final = 30  # for one use; a smart card takes a few
_ID_BYTES: Final = 16  # of the key in the token, random
_MAX_PIN: Final = 256  # bytes
_REFUSED: Final = "pkcs11.refused"  # says which PIN file the token refused


class Pkcs11Seal:
    """Encrypts in the token, with a new AES-256 key for each generation.

    Args:
        module: the token's library.
        token: its label.
        pin_file: holds the user's PIN, mode 0600.
        notes: a folder of this user, for the note that a PIN was refused.

    """

    kind = "pkcs11"
    asks: Asks = "nothing"

    def __init__(self, *, module: Path, token: str, pin_file: Path, notes: Path) -> None:
        self._module = module
        self._token = token
        self._pin_file = pin_file
        self._note = notes / _REFUSED

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        ident = secrets.token_bytes(_ID_BYTES)
        return ident + self._ask("seal", ident, plain)

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        if len(blob) <= _ID_BYTES:
            raise damaged("the file of the root key is cut short")
        return self._ask("unseal", blob[:_ID_BYTES], blob[_ID_BYTES:])

    def forget(self, blob: bytes) -> None:
        """See ``Seal``: destroys the key in the token."""
        if len(blob) > _ID_BYTES:
            self._ask("forget", blob[:_ID_BYTES], b"")

    def _ask(self, act: str, ident: bytes, data: bytes) -> bytes:
        pin, seen = self._pin()
        question = {"module": str(self._module), "token": self._token, "pin": pin, "act": act, "id": ident.hex(),
                    "data": base64.b64encode(data).decode()}
        code, text = ask(_WORKER, question, _SECONDS)
        if code == DONE:
            try:
                return base64.b64decode(text, validate=True)
            except (ValueError, binascii.Error):
                text = "its process answered with garbage"
        if code == "pin":
            self._remember(seen)
            raise self._refused()
        raise self._fault(code, text)

    def _fault(self, code: str, text: str) -> RingwallError:
        if code == "missing":
            return missing("pkcs11", "pkcs11")
        if code == "no_key":
            return Unavailable(f"the token {self._token} does not hold the key of this generation",
                               code="root_key_missing", remedy="use the token that the root key was made with")
        if code == "wrong":
            return wrong(f"the token {self._token} does not decrypt the root key: its file was changed")
        return unreachable(f"the token {self._token} cannot be used: {text}",
                           "see that it is plugged in, not locked, and has AES-GCM with keys that cannot leave it")

    def _pin(self) -> tuple[str, bytes]:
        """The PIN, and which state of its file it was read from."""
        try:
            content = read_private(self._pin_file, _MAX_PIN, "PIN file")
            seen = _state(self._pin_file)
        except FileNotFoundError:
            raise unreachable(f"there is no PIN file at {self._pin_file}",
                              "write the PIN there, mode 0600") from None
        if self._refused_before() == seen:
            raise self._refused()
        text = content.removesuffix(b"\n").decode("utf-8", "replace")
        if not text or len(content) > _MAX_PIN or not text.isprintable() or "\ufffd" in text:
            raise unreachable(f"{self._pin_file} does not hold a PIN: one line of 1 to {_MAX_PIN} bytes", "mend it")
        return text, seen

    def _refused_before(self) -> bytes:
        try:
            return read_private(self._note, _MAX_PIN, "note of a refused PIN")
        except FileNotFoundError:
            return b""

    def _remember(self, seen: bytes) -> None:
        remove_private(self._note, "note of a refused PIN")
        write_private(self._note, seen, "note of a refused PIN")

    def _refused(self) -> Refused:
        return Refused(f"the token {self._token} refused the PIN in {self._pin_file}; it is not tried again, "
                       "because a few wrong ones lock the token", code="pin_refused",
                       remedy="correct the file: as soon as it is written anew, it is tried once")


def _state(path: Path) -> bytes:
    found = path.stat(follow_symlinks=False)
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode()
