"""The vault's root key encrypted with a key in the desktop's keyring."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ringwall.errors import Unavailable
from ringwall.keys.blobs import damaged, wrong
from ringwall.keys.interface import KEY_BYTES, Asks
from ringwall.keys.sealed import optional, unreachable

_SERVICE: Final = "ringwall"
_ID_BYTES: Final = 16  # random: two state folders of one user never share an entry
_NONCE_BYTES: Final = 12
_TRUSTED: Final = frozenset({  # backends that encrypt what they keep, and ask who is logged in
    "keyring.backends.SecretService.Keyring", "keyring.backends.libsecret.Keyring",
    "keyring.backends.kwallet.DBusKeyring", "keyring.backends.kwallet.DBusKeyringKWallet4",
})
_CHAIN: Final = "keyring.backends.chainer.ChainerBackend"  # what keyring takes where several are there


class KeyringSeal:
    """Encrypts with a random key that is kept in the keyring; the file alone, or the keyring alone, opens nothing.

    Args:
        ring: gives the keyring; None: the one that the library ``keyring`` chooses.

    """

    kind = "keyring"
    asks: Asks = "nothing"

    def __init__(self, ring: Callable[[], Any] | None = None) -> None:
        self._ring = ring

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        ring = self._fit()
        ident, key, nonce = (secrets.token_bytes(size) for size in (_ID_BYTES, KEY_BYTES, _NONCE_BYTES))
        _asked(lambda: ring.set_password(_SERVICE, _entry(ident), base64.b64encode(key).decode()))
        return ident + nonce + AESGCM(key).encrypt(nonce, plain, _context(ident))

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        if len(blob) <= _ID_BYTES + _NONCE_BYTES:
            raise damaged("the file of the root key is cut short")
        ring = self._fit()
        ident, rest = blob[:_ID_BYTES], blob[_ID_BYTES:]
        kept = _asked(lambda: ring.get_password(_SERVICE, _entry(ident)))
        if kept is None:
            raise Unavailable(f"the keyring has no entry {_entry(ident)} of {_SERVICE}", code="root_key_missing",
                              remedy="unlock or restore the keyring that the root key was made with")
        try:
            key = base64.b64decode(str(kept), validate=True)
            return AESGCM(key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _context(ident))
        except (InvalidTag, ValueError, binascii.Error):
            raise wrong("the keyring's entry does not open the root key: one of the two was changed") from None

    def forget(self, blob: bytes) -> None:
        """See ``Seal``: deletes the entry."""
        if len(blob) < _ID_BYTES:
            return
        ring, entry = self._fit(), _entry(blob[:_ID_BYTES])
        if _asked(lambda: ring.get_password(_SERVICE, entry)) is not None:
            _asked(lambda: ring.delete_password(_SERVICE, entry))

    def _fit(self) -> Any:
        """The keyring, if it is one that keeps secrets. There is no other to fall back to."""
        ring = _asked(self._ring or optional("keyring", "keyring").get_keyring)
        for one in _parts(ring):
            if not any(f"{base.__module__}.{base.__qualname__}" in _TRUSTED for base in type(one).__mro__):
                name = f"{type(one).__module__}.{type(one).__qualname__}"
                raise Unavailable(
                    f"the keyring here is {name}, which is not known to keep secrets encrypted",
                    code="keyring_unfit",
                    remedy="log in to a desktop with Secret Service or KWallet, or choose another [vault] root")
        return ring


def _parts(ring: Any) -> Iterator[Any]:
    """The keyring, or all that a chain of them may write to."""
    if f"{type(ring).__module__}.{type(ring).__qualname__}" == _CHAIN:
        found = list(ring.backends)
        if found:
            yield from found
            return
    yield ring


def _entry(ident: bytes) -> str:
    return f"vault-root-{ident.hex()}"


def _context(ident: bytes) -> bytes:
    return b"ringwall keyring v1" + ident


def _asked(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except Exception as fault:  # backends raise what their desktop's libraries raise; each means that it is closed
        raise unreachable(f"the keyring does not answer: {type(fault).__name__}",
                          "unlock it, and make sure that this user's session bus is reachable") from fault
