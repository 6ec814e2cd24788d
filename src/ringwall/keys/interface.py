"""Root keys: one secret from which every other long-lived key is derived, behind one interface.

The first provider is a file (``keys.file``). A TPM, PKCS#11 token or key service implements the same four
methods and must pass ``keys.conformance.self_check``.
"""

from __future__ import annotations

from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES: Final = 32  # every key here has 256 bits

# Every purpose that a key is derived for. A new use of the root gets a line here, so that no two uses can
# ever share a key by accident.


def tenant_key(tenant: str) -> bytes:
    """Context of the wrapped key under which a tenant's per-session keys are kept."""
    return f"audit/tenant-key/{tenant}".encode()


def audit_signer(log: str) -> str:
    """Name of the Ed25519 key that signs the checkpoints of one log."""
    return f"audit/checkpoint/{log}"


SVID_STATE: Final = "svid/state"
"""Purpose of the key that authenticates the file of the authority's keys."""


def svid_key(trust_domain: str, use: str, name: str) -> bytes:
    """Context of a wrapped key of the authority; ``use``: ``x509`` or ``jwt``."""
    return f"svid/{use}/{trust_domain}/{name}".encode()


class RootKeys(Protocol):
    """A provider of root keys. The root itself never leaves it."""

    def derive(self, purpose: str) -> bytes:
        """The 32-byte key for a purpose: always the same for the same root.

        Args:
            purpose: one of the names in ``keys.interface``.

        Raises:
            Unavailable: the provider does not answer (``keys_unavailable``).
            ValueError: the purpose is empty.

        """
        ...

    def wrap(self, context: bytes, key: bytes) -> bytes:
        """Encrypt a key so that only this root, with this very context, can decrypt it.

        Args:
            context: whose key it is and for what; authenticated, not stored.
            key: 1 to 64 bytes.

        Raises:
            Unavailable: the provider does not answer (``keys_unavailable``).
            ValueError: the key's length is out of range.

        """
        ...

    def unwrap(self, context: bytes, blob: bytes) -> bytes:
        """Decrypt what :meth:`wrap` made.

        Raises:
            BadInput: other root, other context, or changed bytes (``unwrap_failed``).
            Unavailable: the provider does not answer (``keys_unavailable``).

        """
        ...

    def signing_key(self, name: str) -> Ed25519PrivateKey:
        """The Ed25519 key of this name: always the same for the same root.

        Raises:
            Unavailable: the provider does not answer (``keys_unavailable``).
            ValueError: the name is empty.

        """
        ...
