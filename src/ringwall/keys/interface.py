"""Root keys: one secret from which every other long-lived key is derived, behind one interface.

The runtime's own root is a file (``keys.file``); the vault's comes from a ``RootSource``, of which there is one for
each place that can keep a key. All must pass the checks of ``keys.conformance``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES: Final = 32  # every key here has 256 bits
MAX_GENERATION: Final = 2**32 - 1  # of a root key; four bytes

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


def shares_check(generation: int) -> str:
    """Purpose of the value that tells whether shares gave the right root."""
    return f"vault/shares-check/{generation}"


Asks = Literal["nothing", "passphrase", "shares"]


VAULT_MACS: Final = "vault/macs"
"""Purpose of the key from which those come that authenticate the vault's state."""


def vault_tenant(tenant: str, salt: bytes) -> str:
    """Purpose of the key that wraps a tenant's data keys in the vault; another salt is another key."""
    return f"vault/tenant-key/{tenant}/{salt.hex()}"


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


class RootSource(Protocol):
    """Where a root key is kept between two starts. All methods block.

    A generation is a number from 1 on: while a root is replaced, the old and the new one are both kept.
    """

    @property
    def kind(self) -> str:
        """As in ``[vault] root``."""
        ...

    @property
    def asks(self) -> Asks:
        """What an operator must bring to open it."""
        ...

    def create(self, generation: int, answers: Sequence[bytes]) -> tuple[RootKeys, tuple[str, ...]]:
        """Make a new random root and keep it, durable on return and known to open again.

        Args:
            generation: under which it is kept.
            answers: the passphrase that shall open it, where ``asks`` is "passphrase"; else nothing.

        Returns:
            The keys, and what must be shown to the operator once and is kept nowhere (the shares), else nothing.

        Raises:
            RingwallError: ``root_key_exists``: this generation is kept already; it is never overwritten.
            Unavailable: ``keys_unavailable``, ``keys_backend_missing``, ``keyring_unfit``, ``root_key_unwritable``,
                ``root_key_exposed``.
            Refused: ``pin_refused``.
            BadInput: ``bad_answers``, ``weak_passphrase``, ``bad_identity``.
            ValueError: the generation is not from 1 to 2^32 - 1.

        """
        ...

    def open(self, generation: int, answers: Sequence[bytes]) -> RootKeys:
        """Get a kept root.

        Args:
            generation: which one.
            answers: the passphrase, or at least as many shares as open it; else nothing.

        Raises:
            Unavailable: ``root_key_missing``, ``root_key_sealed`` (answers are missing), ``keys_unavailable`` and
                the others of :meth:`create`.
            Refused: ``root_key_wrong``: it is another key, another generation's, or the answers are wrong;
                ``pin_refused``.
            BadInput: ``bad_root_key``: its file is damaged; ``bad_answers``, ``bad_identity``.
            ValueError: the generation is not from 1 to 2^32 - 1.

        """
        ...

    def drop(self, generation: int) -> None:
        """Forget a generation here and where its key is; none is no fault.

        Raises:
            Unavailable: what holds the key does not answer, or the file cannot be removed. It is still kept.
            ValueError: the generation is not from 1 to 2^32 - 1.

        """
        ...


class Transit(Protocol):
    """A service that encrypts and decrypts a few bytes with a key that never leaves it. Methods block."""

    def encrypt(self, plain: bytes) -> str:
        """Encrypt; the answer names key and version by itself. Raises RingwallError."""
        ...

    def decrypt(self, blob: str) -> bytes:
        """The reverse of :meth:`encrypt`. Raises RingwallError."""
        ...
