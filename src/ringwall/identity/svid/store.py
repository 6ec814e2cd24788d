"""The authority's keys on disk: wrapped under the root key, the file as a whole authenticated by it.

``keys.json`` is private to the core. ``bundle.json`` beside it is the public bundle document, for verifying SVIDs
with other tools and for giving to other trust domains.
"""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringwall.call import canonical
from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.keyring import Key, Phase, Use
from ringwall.keys.interface import SVID_STATE, RootKeys, svid_key

MAX_FILE: Final = 64 << 10  # bytes: a dozen keys
_KEY_BYTES: Final = 32  # a P-256 scalar


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    use: Use
    phase: Phase
    wrapped: bytes
    certificate: bytes
    created: float
    turn: float
    expires: float
    drop: float


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int
    trust_domain: str
    sequence: int
    keys: list[_Row]
    mac: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """All that must survive a restart."""

    sequence: int
    keys: tuple[Key, ...]


class KeyStore:
    """The folder ``identity`` of a state folder.

    Args:
        folder: made if it is not there, mode 0700.
        root: wraps and authenticates.
        trust_domain: whose keys. Those of another one are not used: the manifest was changed.

    """

    def __init__(self, folder: Path, root: RootKeys, trust_domain: str) -> None:
        self._folder = folder
        self._root = root
        self._domain = trust_domain
        self.bundle_path = folder / "bundle.json"
        self._path = folder / "keys.json"

    def load(self) -> Kept | None:
        """What was saved last; None: nothing yet.

        Raises:
            RingwallError: ``svid_keys_damaged``: never guessed at, because a guess could bring back a key that
                was dropped.
            Unavailable: ``svid_keys_unreadable``, or the root keys do not answer.

        """
        for draft in self._folder.glob(".*.json.*"):  # of a core that was killed while it wrote
            draft.unlink(missing_ok=True)
        raw = self._read()
        if raw is None:
            return None
        try:
            found = msgspec.json.decode(raw, type=_File)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
            raise self._damaged(str(fault)) from None
        if found.v != 1 or not hmac.compare_digest(found.mac.encode(), self._mac(found).encode()):
            raise self._damaged("it was not written with this root key")
        if found.trust_domain != self._domain:
            return Kept(sequence=found.sequence, keys=())
        return Kept(sequence=found.sequence, keys=tuple(self._unwrapped(row) for row in found.keys))

    def save(self, kept: Kept, bundle: Bundle) -> None:
        """Durable on return, and whole or not at all. Raises Unavailable (``svid_keys_unwritable``)."""
        rows = [
            _Row(
                name=key.name, use=key.use, phase=key.phase, certificate=key.certificate, created=key.created,
                turn=key.turn, expires=key.expires, drop=key.drop,
                wrapped=self._root.wrap(
                    svid_key(self._domain, key.use, key.name),
                    key.private.private_numbers().private_value.to_bytes(_KEY_BYTES, "big"),
                ),
            )
            for key in kept.keys
        ]
        file = _File(v=1, trust_domain=self._domain, sequence=kept.sequence, keys=rows)
        file = msgspec.structs.replace(file, mac=self._mac(file))
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._path, msgspec.json.encode(file), 0o600)
            write_whole(self.bundle_path, documents.document(bundle), 0o644)
        except OSError as fault:
            raise Unavailable(
                f"the authority's keys cannot be written: {fault.strerror}", code="svid_keys_unwritable",
                remedy=f"make room for {self._folder}; the keys there are go on until they expire",
            ) from None

    def _read(self) -> bytes | None:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise Unavailable(f"{self._path} cannot be opened: {fault.strerror}", code="svid_keys_unreadable",
                              remedy="put the file itself there, or move it away for new keys") from None
        with os.fdopen(fd, "rb") as file:
            raw = file.read(MAX_FILE + 1)
        if len(raw) > MAX_FILE:
            raise self._damaged("it is too large")
        return raw

    def _mac(self, file: _File) -> str:
        plain = msgspec.to_builtins(msgspec.structs.replace(file, mac=""))
        return hmac.digest(self._root.derive(SVID_STATE), canonical(plain), "sha256").hex()

    def _unwrapped(self, row: _Row) -> Key:
        try:
            secret = self._root.unwrap(svid_key(self._domain, row.use, row.name), row.wrapped)
            private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
            if row.use == "x509" and \
                    x509.load_der_x509_certificate(row.certificate).public_key() != private.public_key():
                raise ValueError("a key and its certificate do not belong together")
        except (BadInput, ValueError) as fault:
            raise self._damaged(str(fault)) from None
        return Key(
            name=row.name, use=row.use, phase=row.phase, private=private, certificate=row.certificate,
            created=row.created, turn=row.turn, expires=row.expires, drop=row.drop,
        )

    def _damaged(self, why: str) -> RingwallError:
        return RingwallError(
            f"{self._path} is damaged: {why}", code="svid_keys_damaged",
            remedy="restore it, or move it away: new keys are made, and other trust domains need the new bundle",
        )


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write beside, make durable, rename: a reader sees the old or the new one. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
