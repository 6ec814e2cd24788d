"""How a root key of one generation lies in a folder: one file each, whose name, first line and protected bytes
all say which generation it is of."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Final

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.interface import KEY_BYTES, MAX_GENERATION
from ringwall.keys.private import read_private, remove_private, write_private

_FORMAT: Final = "ringwall-root-v1"
_MARK: Final = b"ringwall root v1"  # in front of a root before it is encrypted
_PLAIN_BYTES: Final = len(_MARK) + 4 + KEY_BYTES
_MAX_FILE: Final = 16 * 1024  # bytes; the longest, a TPM's, has about 500
_WHAT: Final = "vault's root key"


def pack(generation: int, root: bytes) -> bytes:
    """What is encrypted: the root, and of which generation it is."""
    return _MARK + generation.to_bytes(4, "big") + root


def unpack(generation: int, plain: bytes) -> bytes:
    """The root in what was decrypted.

    Raises:
        Refused: ``root_key_wrong``: of another generation, or nothing that :func:`pack` made.

    """
    if len(plain) != _PLAIN_BYTES or not plain.startswith(_MARK):
        raise wrong("what keeps the vault's root key gave back something that is no root key")
    found = int.from_bytes(plain[len(_MARK):len(_MARK) + 4], "big")
    if found != generation:
        raise _other_generation(found, generation)
    return plain[-KEY_BYTES:]


def wrong(cause: str, remedy: str = "") -> Refused:
    """``root_key_wrong``: it answers, and this is not the key that the vault was closed with."""
    return Refused(cause, code="root_key_wrong", remedy=remedy or "bring what this generation was made with")


def damaged(cause: str) -> BadInput:
    """``bad_root_key``: the file is not what was written."""
    return BadInput(cause, code="bad_root_key", remedy="restore the file from your backup")


class Blobs:
    """The files ``root-<generation>.<kind>`` of one kind in one folder.

    Methods take a generation from 1 on, and raise ValueError for another.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind

    def free(self, generation: int) -> None:
        """Make sure that nothing is kept under this generation. Raises RingwallError (``root_key_exists``)."""
        if os.path.lexists(self._path(generation)):
            raise self._exists(generation)

    def write(self, generation: int, blob: bytes) -> None:
        """Keep it, durable on return. Raises RingwallError (``root_key_exists``, ``root_key_unwritable``)."""
        content = self._first_line(generation) + base64.b64encode(blob) + b"\n"
        try:
            write_private(self._path(generation), content, _WHAT)
        except FileExistsError:
            raise self._exists(generation) from None

    def read(self, generation: int) -> bytes:
        """What was written.

        Raises:
            Unavailable: ``root_key_missing``, ``root_key_unreadable``, ``root_key_exposed``.
            BadInput: ``bad_root_key``.
            Refused: ``root_key_wrong``: the file is of another generation or kind.

        """
        path = self._path(generation)
        try:
            content = read_private(path, _MAX_FILE, _WHAT)
        except FileNotFoundError:
            raise Unavailable(f"there is no root key of the vault at {path}", code="root_key_missing",
                              remedy="restore it from your backup; without it the vault stays closed") from None
        first, _, rest = content.partition(b"\n")
        self._check_first(path, first, generation)
        try:
            if len(content) > _MAX_FILE or rest[-1:] != b"\n":
                raise ValueError
            return base64.b64decode(rest[:-1], validate=True)
        except (ValueError, binascii.Error):
            raise damaged(f"{path} is cut short, or damaged") from None

    def remove(self, generation: int) -> None:
        """Forget it. None is no fault. Raises Unavailable (``root_key_unwritable``)."""
        remove_private(self._path(generation), _WHAT)

    def _path(self, generation: int) -> Path:
        if not 1 <= generation <= MAX_GENERATION:
            raise ValueError(f"a generation is a number from 1 on, not {generation}")
        return self._folder / f"root-{generation}.{self._kind}"

    def _first_line(self, generation: int) -> bytes:
        return f"{_FORMAT} {self._kind} {generation}\n".encode()

    def _check_first(self, path: Path, line: bytes, generation: int) -> None:
        if line + b"\n" == self._first_line(generation):
            return
        words = line.split(b" ")
        if len(words) != 3 or words[0] != _FORMAT.encode() or words[1] != self._kind.encode():
            raise damaged(f"{path} is not a root key of the kind {self._kind}")
        if not (words[2].isdigit() and len(words[2]) <= 10):
            raise damaged(f"{path} names no generation")
        raise _other_generation(int(words[2]), generation)

    def _exists(self, generation: int) -> RingwallError:
        return RingwallError(f"{self._path(generation)} exists already", code="root_key_exists",
                             remedy="open it, or drop that generation first")


def _other_generation(found: int, wanted: int) -> Refused:
    return wrong(f"the root key is of generation {found}, and generation {wanted} is wanted",
                 "put the file of that generation back under its own name")
