"""The vault's cryptography: root key -> tenant key -> a fresh data key for each version.

AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces throughout. What is encrypted is bound to everything that
says whose it is; MACs are HMAC-SHA256 under keys that only the root gives.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ringwall.keys.interface import KEY_BYTES, VAULT_MACS, RootKeys, vault_tenant
from ringwall.vault.schema import FORMAT, Mark, Path, Version, damaged

SALT_BYTES: Final = 16  # a tenant's rotations never meet the same one twice
_NONCE_BYTES: Final = 12  # SP 800-38D, section 8.2
_FORMAT: Final = len(FORMAT).to_bytes(4) + FORMAT.encode()
_RING: Final = 1 << 256  # the sums of what HMAC-SHA256 gives


def bound(use: str, *texts: str) -> bytes:
    """Associated data: each text with its length in front, so that no two lists of texts look alike."""
    return _FORMAT + b"".join([len(part).to_bytes(4) + part for part in map(str.encode, (use, *texts))])


def of_version(use: str, path: Path, number: int, created: int) -> bytes:
    """Associated data of a version's value or data key: format, tenant, agent, role, name, version, created."""
    return bound(use, *path, str(number), str(created))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One tenant's keys in memory.

    Args:
        name: of the tenant.
        salt: what this tenant key was derived with.
        kek: wraps data keys.
        keep: the data key of small things kept elsewhere; stays the same when the tenant's key changes.
        keeping: ``keep`` as it is stored, under ``kek``.

    """

    name: str
    salt: bytes
    kek: AESGCM = field(repr=False)
    keep: bytes = field(repr=False)
    keeping: bytes = field(repr=False)

    @classmethod
    def new(cls, root: RootKeys, name: str, keep: bytes = b"") -> Tenant:
        """A tenant key of a fresh salt, around a new ``keep`` key or the one given. Raises Unavailable."""
        salt = secrets.token_bytes(SALT_BYTES)
        kek, keep = AESGCM(root.derive(vault_tenant(name, salt))), keep or secrets.token_bytes(KEY_BYTES)
        return cls(name=name, salt=salt, kek=kek, keep=keep, keeping=_shut(kek, keep, bound("keep-key", name)))

    @classmethod
    def stored(cls, root: RootKeys, name: str, salt: bytes, keeping: bytes) -> Tenant:
        """A tenant as the file has it. Raises BadInput (``vault_damaged``), Unavailable."""
        kek = AESGCM(root.derive(vault_tenant(name, salt)))
        keep = _open(kek, keeping, bound("keep-key", name), f"the key of tenant {name}")
        return cls(name=name, salt=salt, kek=kek, keep=keep, keeping=keeping)

    def keeping_of(self, other: Tenant) -> Tenant:
        """This tenant key around another's ``keep``."""
        return Tenant(name=self.name, salt=self.salt, kek=self.kek, keep=other.keep,
                      keeping=_shut(self.kek, other.keep, bound("keep-key", self.name)))

    def seal(self, path: Path, number: int, created: int, value: bytes) -> tuple[Version, bytes]:
        """Encrypt a value under a fresh data key: the new version, and its ciphertext."""
        key, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
        body = AESGCM(key).encrypt(nonce, value, of_version("value", path, number, created))
        wrapped = _shut(self.kek, key, of_version("key", path, number, created))
        return Version(number=number, created=created, state="live", nonce=nonce, wrapped=wrapped), body

    def unseal(self, path: Path, version: Version, body: bytes) -> bytes:
        """The value of a version. Raises BadInput (``vault_damaged``)."""
        key = self._data_key(path, version)
        try:
            return AESGCM(key).decrypt(version.nonce, body,
                                       of_version("value", path, version.number, version.created))
        except (InvalidTag, ValueError):
            raise damaged(f"version {version.number} of {path}") from None

    def moved(self, path: Path, version: Version, old: Tenant) -> Version:
        """The same version with its data key under this tenant's key instead. Raises BadInput."""
        if not version.wrapped:
            return version
        key = old._data_key(path, version)
        return Version(
            number=version.number, created=version.created, state=version.state, nonce=version.nonce,
            wrapped=_shut(self.kek, key, of_version("key", path, version.number, version.created)),
        )

    def keep_one(self, context: bytes, plain: bytes) -> bytes:
        """Encrypt a small thing that is kept elsewhere."""
        return _shut(AESGCM(self.keep), plain, context)

    def kept_one(self, context: bytes, blob: bytes, what: str) -> bytes:
        """The reverse. Raises BadInput (``vault_damaged``)."""
        return _open(AESGCM(self.keep), blob, context, what)

    def _data_key(self, path: Path, version: Version) -> bytes:
        return _open(self.kek, version.wrapped, of_version("key", path, version.number, version.created),
                     f"version {version.number} of {path}")


class Macs:
    """MACs of the vault's state under keys that come from the root. Raises what the root raises."""

    def __init__(self, root: RootKeys) -> None:
        base = root.derive(VAULT_MACS)
        self._check, self._row, self._term, self._state, self._backup = (
            hmac.digest(base, use, "sha256") for use in (b"check", b"row", b"term", b"state", b"backup"))

    def __repr__(self) -> str:
        return "Macs(…)"  # never the keys

    def check(self, generation: int) -> bytes:
        """What tells the right root from any other, before anything else is used."""
        return hmac.digest(self._check, bound("check", str(generation)), "sha256")

    def row(self, text: bytes) -> bytes:
        """The MAC that is stored beside a row."""
        return hmac.digest(self._row, text, "sha256")

    def term(self, text: bytes) -> int:
        """A row's term in the sum over all of them."""
        return int.from_bytes(hmac.digest(self._term, text, "sha256"))

    def state(self, generation: int, sequence: int, total: int) -> bytes:
        """The MAC over all: the sum of the terms stands for the set of rows.

        The sum itself is stored nowhere, and neither is a term: who watches the file cannot look for other rows
        of the same sum.
        """
        text = bound("state", str(generation), str(sequence)) + (total % _RING).to_bytes(32)
        return hmac.digest(self._state, text, "sha256")

    def backup(self, blob: bytes) -> bytes:
        """The MAC at the end of a backup."""
        return hmac.digest(self._backup, blob, "sha256")


def of_mark(path: Path, stored: bytes) -> bytes:
    """What is authenticated of a mark's row."""
    return bound("mark", *path) + stored


def of_tenant(tenant: Tenant) -> bytes:
    """What is authenticated of a tenant's row."""
    return bound("tenant", tenant.name, tenant.salt.hex()) + tenant.keeping


def packed(mark: Mark) -> bytes:
    """A mark as it is stored."""
    return msgspec.msgpack.encode(mark)


def unpacked(path: Path, stored: bytes) -> Mark:
    """A mark whose MAC was checked. Raises BadInput (``vault_damaged``)."""
    try:
        return msgspec.msgpack.decode(stored, type=Mark)
    except msgspec.DecodeError:
        raise damaged(f"the mark of {path}") from None


def same(one: bytes, other: bytes) -> bool:
    """Whether two MACs are equal, in constant time."""
    return hmac.compare_digest(one, other)


def _shut(key: AESGCM, plain: bytes, context: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, context)


def _open(key: AESGCM, blob: bytes, context: bytes, what: str) -> bytes:
    try:
        return key.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise damaged(what) from None
