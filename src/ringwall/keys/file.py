"""Root keys in a file of mode 0600: the provider that needs nothing but a disk."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Final

from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.keys.derived import DerivedRootKeys
from ringwall.keys.interface import KEY_BYTES
from ringwall.keys.private import read_private, write_private

_FIRST_LINE: Final = b"ringwall-root-key-v1\n"
_FILE_BYTES: Final = len(_FIRST_LINE) + 44 + 1  # the line, 32 bytes in base64, a newline
_WHAT: Final = "root key"


class FileRootKeys(DerivedRootKeys):
    """A root key read from a file. Build it with :meth:`open`, :meth:`create` or :meth:`open_or_create`."""

    @classmethod
    def open(cls, path: Path) -> FileRootKeys:
        """Read the key file.

        Raises:
            Unavailable: ``root_key_missing``, ``root_key_unreadable`` or ``root_key_exposed`` (a symbolic
                link, not a plain file, another owner, or a mode that lets others read it).
            BadInput: ``bad_root_key``, the content is not a key.

        """
        try:
            content = read_private(path, _FILE_BYTES, _WHAT)
        except FileNotFoundError:
            raise Unavailable(
                f"there is no root key at {path}", code="root_key_missing",
                remedy="`ringwall up` creates one; without the old one, old record bodies stay unreadable",
            ) from None
        return cls(_decode(path, content))

    @classmethod
    def create(cls, path: Path) -> FileRootKeys:
        """Make a new random key and its file, whole and on disk before it has its name.

        Raises:
            RingwallError: ``root_key_exists``: something has that name already; it is never overwritten.
            Unavailable: ``root_key_unwritable``.

        """
        root = secrets.token_bytes(KEY_BYTES)
        try:
            write_private(path, _FIRST_LINE + base64.b64encode(root) + b"\n", _WHAT)
        except FileExistsError:
            raise RingwallError(
                f"{path} exists already", code="root_key_exists", remedy="open it, or choose another name"
            ) from None
        return cls.open(path)

    @classmethod
    def open_or_create(cls, path: Path) -> FileRootKeys:
        """Open the file; make it if nothing of that name is there. Raises like both."""
        if os.path.lexists(path):
            return cls.open(path)
        return cls.create(path)


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
