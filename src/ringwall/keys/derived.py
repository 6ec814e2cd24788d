"""Root keys whose root is in this process's memory: what every provider ends in."""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ringwall.errors import BadInput
from ringwall.keys.interface import KEY_BYTES

_SALT: Final = b"ringwall root key v1"  # HKDF salt: separates this format from any other use of the bytes
_NONCE_BYTES: Final = 12  # NIST SP 800-38D, section 8.2: 96-bit nonces
_MAX_WRAPPED: Final = 64  # bytes; only keys are wrapped here


class DerivedRootKeys:
    """``RootKeys`` over 32 bytes. The values it derives never change: state folders and vaults hold them."""

    def __init__(self, root: bytes) -> None:
        if len(root) != KEY_BYTES:
            raise ValueError(f"a root key has {KEY_BYTES} bytes, not {len(root)}")
        self._root = root

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"  # never the key

    def derive(self, purpose: str) -> bytes:
        """HKDF-SHA256 (RFC 5869) from the root. See ``RootKeys``."""
        return self._expand("derive", purpose)

    def wrap(self, context: bytes, key: bytes) -> bytes:
        """AES-256-GCM, the context as associated data. See ``RootKeys``."""
        if not 1 <= len(key) <= _MAX_WRAPPED:
            raise ValueError(f"a wrapped key has 1 to {_MAX_WRAPPED} bytes, not {len(key)}")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._expand("wrap", "key")).encrypt(nonce, key, context)

    def unwrap(self, context: bytes, blob: bytes) -> bytes:
        """The reverse of :meth:`wrap`. See ``RootKeys``."""
        try:
            return AESGCM(self._expand("wrap", "key")).decrypt(
                blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], context
            )
        except (InvalidTag, ValueError):
            raise BadInput(
                "a wrapped key does not open with this root key", code="unwrap_failed",
                remedy="check that root.key belongs to this state folder",
            ) from None

    def signing_key(self, name: str) -> Ed25519PrivateKey:
        """An Ed25519 key whose seed is derived. See ``RootKeys``."""
        return Ed25519PrivateKey.from_private_bytes(self._expand("sign", name))

    def _expand(self, use: str, name: str) -> bytes:
        if not name:
            raise ValueError("a key needs a purpose")
        info = f"{use}:{name}".encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=_SALT, info=info).derive(self._root)
