"""Root keys in a file of mode 0600: the provider that needs nothing but a disk."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.keys.interface import KEY_BYTES

_SALT: Final = b"ringwall root key v1"  # HKDF salt: separates this format from any other use of the bytes
_FIRST_LINE: Final = b"ringwall-root-key-v1\n"
_FILE_BYTES: Final = len(_FIRST_LINE) + 44 + 1  # the line, 32 bytes in base64, a newline
_NONCE_BYTES: Final = 12  # NIST SP 800-38D, section 8.2: 96-bit nonces
_MAX_WRAPPED: Final = 64  # bytes; only keys are wrapped here


class FileRootKeys:
    """A root key read from a file. Build it with :meth:`open`, :meth:`create` or :meth:`open_or_create`."""

    def __init__(self, root: bytes) -> None:
        if len(root) != KEY_BYTES:
            raise ValueError(f"a root key has {KEY_BYTES} bytes, not {len(root)}")
        self._root = root

    def __repr__(self) -> str:
        return "FileRootKeys(…)"  # never the key

    @classmethod
    def open(cls, path: Path) -> FileRootKeys:
        """Read the key file.

        Raises:
            Unavailable: ``root_key_missing``, ``root_key_unreadable`` or ``root_key_exposed`` (a symbolic
                link, not a plain file, another owner, or a mode that lets others read it).
            BadInput: ``bad_root_key``, the content is not a key.

        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise Unavailable(
                f"there is no root key at {path}", code="root_key_missing",
                remedy="`ringwall up` creates one; without the old one, old record bodies stay unreadable",
            ) from None
        except OSError as fault:
            linked = path.is_symlink()
            raise Unavailable(
                f"the root key {path} is a symbolic link" if linked
                else f"the root key {path} cannot be opened: {fault.strerror}",
                code="root_key_exposed" if linked else "root_key_unreadable",
                remedy="put the key file itself there" if linked else "run this as the user who owns the file",
            ) from None
        try:
            _check(path, os.fstat(fd))
            content = os.read(fd, _FILE_BYTES + 1)
        finally:
            os.close(fd)
        return cls(_decode(path, content))

    @classmethod
    def create(cls, path: Path) -> FileRootKeys:
        """Make a new random key and its file, whole and on disk before it has its name.

        Raises:
            RingwallError: ``root_key_exists``: something has that name already; it is never overwritten.
            Unavailable: ``root_key_unwritable``.

        """
        root = secrets.token_bytes(KEY_BYTES)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            _write_new(draft, _FIRST_LINE + base64.b64encode(root) + b"\n")
            try:
                os.link(draft, path, follow_symlinks=False)  # unlike rename, never replaces
            finally:
                draft.unlink()
            _sync_folder(path.parent)
        except FileExistsError:
            raise RingwallError(
                f"{path} exists already", code="root_key_exists", remedy="open it, or choose another name"
            ) from None
        except OSError as fault:
            raise Unavailable(
                f"the root key {path} cannot be written: {fault.strerror}", code="root_key_unwritable",
                remedy=f"make {path.parent} a folder of this user, on a disk with space",
            ) from None
        return cls.open(path)

    @classmethod
    def open_or_create(cls, path: Path) -> FileRootKeys:
        """Open the file; make it if nothing of that name is there. Raises like both."""
        if os.path.lexists(path):
            return cls.open(path)
        return cls.create(path)

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


def _check(path: Path, found: os.stat_result) -> None:
    problem = remedy = ""
    if not stat.S_ISREG(found.st_mode):
        problem, remedy = "is not a plain file", "put the key file itself there"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to uid {found.st_uid}, not to this process's uid {os.geteuid()}"
        remedy = "run as that user, or give the file to this one"
    elif stat.S_IMODE(found.st_mode) & 0o177:
        problem = f"has mode {stat.S_IMODE(found.st_mode):04o}, others may read or change it"
        remedy = f"chmod 600 {path}; if others could read it, treat the key as known to them"
    if problem:
        raise Unavailable(f"the root key {path} {problem}", code="root_key_exposed", remedy=remedy)


def _decode(path: Path, content: bytes) -> bytes:
    try:
        if len(content) != _FILE_BYTES or not content.startswith(_FIRST_LINE) or content[-1:] != b"\n":
            raise ValueError
        root = base64.b64decode(content[len(_FIRST_LINE):-1], validate=True)
        if len(root) != KEY_BYTES:
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadInput(
            f"{path} is not a root key", code="bad_root_key", remedy="restore the file from your backup"
        ) from None
    return root


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask says
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view):]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
