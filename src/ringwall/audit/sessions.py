"""Keys of record bodies: one per session, wrapped under the tenant's key, in a durable file of their own.

``session-keys`` has one JSON object a line: first the tenant's key, wrapped by the root; then one line a
session key, wrapped under the tenant's. Destroying a line makes that session's bodies unreadable for good;
the log's proofs do not depend on it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ringwall.audit.disk import Disk, replace_file, sync_folder
from ringwall.audit.reader import unreadable
from ringwall.audit.store import disk_error
from ringwall.errors import AuditError, BadInput
from ringwall.keys.interface import KEY_BYTES, RootKeys, tenant_key

FILE_NAME: Final = "session-keys"
MAX_SESSION_BYTES: Final = 256  # Ringwall's own session ids have about 30
MAX_CACHED: Final = 4096  # unwrapped keys in memory; the oldest is unwrapped again when it is needed
_NONCE_BYTES: Final = 12  # NIST SP 800-38D, section 8.2; random, so at most 2^32 records a session
_ID_BYTES: Final = 8


class SessionKey:
    """One session's keys: ``id`` names it in records."""

    __slots__ = ("_cipher", "id", "mac", "session")

    def __init__(self, id: str, session: str, key: bytes) -> None:  # noqa: A002
        self.id = id
        self.session = session
        self._cipher = AESGCM(hmac.digest(key, b"ringwall record body", hashlib.sha256))
        self.mac = hmac.digest(key, b"ringwall keyed hashes", hashlib.sha256)

    def encrypt(self, plain: bytes, aad: bytes) -> bytes:
        """AES-256-GCM with a random nonce before it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, aad)

    def decrypt(self, sealed: bytes, aad: bytes) -> bytes:
        """Raises BadInput (``bad_body``)."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)
        except (InvalidTag, ValueError):
            raise BadInput("the record's body does not open with its session's key", code="bad_body") from None


class _TenantLine(msgspec.Struct, forbid_unknown_fields=True):
    tenant_key: str


class _KeyLine(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    session: str
    key: str


@dataclass(frozen=True, slots=True)
class _Wrapped:
    id: str
    session: str
    blob: bytes

    def line(self) -> bytes:
        text = base64.b64encode(self.blob).decode()
        return msgspec.json.encode(_KeyLine(id=self.id, session=self.session, key=text)) + b"\n"


class KeyRing:
    """The session keys of one tenant. Methods may be called from several threads.

    Build it with :meth:`open` (the core) or :meth:`read` (everybody else: never changes the file).
    """

    def __init__(self, folder: Path, keys: RootKeys, disk: Disk, content: bytes) -> None:
        self._folder = folder
        self._tenant = folder.name
        self._disk = disk
        self._gate = threading.Lock()
        self._cache: dict[str, SessionKey] = {}
        lines = content.split(b"\n")
        torn = lines.pop()  # empty, unless the last line was never finished: its key was never used
        self._size = len(content) - len(torn)
        self._first, self._tenant_cipher = self._tenant_line(lines[:1], keys)
        self._by_id: dict[str, _Wrapped] = {}
        self._by_session: dict[str, str] = {}
        for line in lines[1:]:
            self._index(self._parse(line))

    @classmethod
    def open(cls, folder: Path, keys: RootKeys, disk: Disk) -> KeyRing:
        """For the core: makes the file, cuts an unfinished last line. Raises AuditError, Unavailable."""
        path = folder / FILE_NAME
        try:
            if not path.exists():
                blob = keys.wrap(tenant_key(folder.name), secrets.token_bytes(KEY_BYTES))
                line = msgspec.json.encode(_TenantLine(tenant_key=base64.b64encode(blob).decode())) + b"\n"
                replace_file(disk, path, line)
            ring = cls(folder, keys, disk, path.read_bytes())
            if path.stat().st_size != ring._size:
                os.truncate(path, ring._size)
        except OSError as fault:
            raise disk_error(fault) from None
        return ring

    @classmethod
    def read(cls, folder: Path, keys: RootKeys, disk: Disk) -> KeyRing:
        """For readers. Raises AuditError (``log_unreadable``, ``session_keys_damaged``), Unavailable."""
        try:
            content = (folder / FILE_NAME).read_bytes()
        except OSError as fault:
            raise unreadable(fault) from None
        return cls(folder, keys, disk, content)

    def current(self, session: str) -> SessionKey | None:
        """The key under which new records of a session are written; None before :meth:`create`."""
        found = self._by_session.get(session)
        return None if found is None else self.by_id(found)

    def by_id(self, id: str) -> SessionKey | None:  # noqa: A002
        """The key that a record names; None if it was forgotten. Raises AuditError."""
        cached = self._cache.get(id)
        if cached is not None:
            return cached
        wrapped = self._by_id.get(id)
        if wrapped is None:
            return None
        try:
            raw = self._tenant_cipher.decrypt(
                wrapped.blob[:_NONCE_BYTES], wrapped.blob[_NONCE_BYTES:], self._aad(id, wrapped.session)
            )
        except (InvalidTag, ValueError):
            raise self._damaged() from None
        return self._remember(SessionKey(id, wrapped.session, raw))

    def create(self, session: str) -> SessionKey:
        """The session's key, made and durable on return if there was none. Blocks for the disk.

        Raises:
            AuditError: ``audit_disk_full``, ``audit_read_only``, ``audit_io_error``, ``bad_session``.

        """
        if len(session.encode()) > MAX_SESSION_BYTES or not session.isprintable():
            raise AuditError("a session id is at most 256 printable bytes", code="bad_session")
        with self._gate:
            existing = self.current(session)
            if existing is not None:
                return existing
            id_, raw = secrets.token_hex(_ID_BYTES), secrets.token_bytes(KEY_BYTES)
            nonce = secrets.token_bytes(_NONCE_BYTES)
            blob = nonce + self._tenant_cipher.encrypt(nonce, raw, self._aad(id_, session))
            wrapped = _Wrapped(id_, session, blob)
            try:
                self._append(wrapped.line())
            except OSError as fault:
                raise disk_error(fault) from None
            made = self._remember(SessionKey(id_, session, raw))
            self._index(wrapped)
            return made

    def forget(self, session: str) -> int:
        """Destroy all keys of a session: its record bodies are unreadable from now on. Blocks for the disk.

        Returns:
            how many keys there were.

        Raises:
            AuditError: the file could not be replaced; then nothing is forgotten.

        """
        with self._gate:
            gone = [w.id for w in self._by_id.values() if w.session == session]
            kept = [w for w in self._by_id.values() if w.session != session]
            content = self._first + b"".join(w.line() for w in kept)
            try:
                replace_file(self._disk, self._folder / FILE_NAME, content)
                sync_folder(self._folder)
            except OSError as fault:
                raise disk_error(fault) from None
            self._size = len(content)
            self._by_session.pop(session, None)
            for id_ in gone:
                del self._by_id[id_]
                self._cache.pop(id_, None)
            return len(gone)

    def _append(self, line: bytes) -> None:
        fd = os.open(self._folder / FILE_NAME, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._disk.write(fd, line, self._size)
            self._disk.sync(fd)
        except OSError:
            os.ftruncate(fd, self._size)  # a part of a line must not stand before the next one
            raise
        finally:
            os.close(fd)
        self._size += len(line)

    def _remember(self, key: SessionKey) -> SessionKey:
        if len(self._cache) >= MAX_CACHED:
            self._cache.pop(next(iter(self._cache)), None)
        self._cache[key.id] = key
        return key

    def _index(self, wrapped: _Wrapped) -> None:
        self._by_id[wrapped.id] = wrapped
        self._by_session[wrapped.session] = wrapped.id

    def _aad(self, id_: str, session: str) -> bytes:
        return f"ringwall session key\0{self._tenant}\0{id_}\0{session}".encode()

    def _tenant_line(self, lines: list[bytes], keys: RootKeys) -> tuple[bytes, AESGCM]:
        try:
            form = msgspec.json.decode(lines[0], type=_TenantLine)
            blob = base64.b64decode(form.tenant_key, validate=True)
        except (IndexError, msgspec.MsgspecError, ValueError, binascii.Error, RecursionError):
            raise self._damaged() from None
        try:
            return lines[0] + b"\n", AESGCM(keys.unwrap(tenant_key(self._tenant), blob))
        except (BadInput, ValueError):
            raise AuditError(
                f"the key of tenant {self._tenant} does not open with this root key", code="wrong_root_key",
                remedy="put back the root.key that belongs to this state folder",
            ) from None

    def _parse(self, line: bytes) -> _Wrapped:
        try:
            form = msgspec.json.decode(line, type=_KeyLine)
            return _Wrapped(form.id, form.session, base64.b64decode(form.key, validate=True))
        except (msgspec.MsgspecError, ValueError, binascii.Error, RecursionError):
            raise self._damaged() from None

    def _damaged(self) -> AuditError:
        return AuditError(
            f"{self._folder / FILE_NAME} is damaged", code="session_keys_damaged",
            remedy="restore it from a backup; without it, record bodies stay unreadable, proofs still verify",
        )
