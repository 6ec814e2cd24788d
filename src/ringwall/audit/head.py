"""A log's head: a copy of its newest checkpoint in a file of its own.

Without it, removing the newest batches or the last segment would leave a shorter log that verifies. Two slots
are written in turn, without waiting for the disk and after the batch is durable: a head never claims more than
the log holds, and an older head is still true.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ringwall.audit.checkpoint import Checkpoint, SignedCheckpoint, VerifierKey
from ringwall.audit.disk import Disk
from ringwall.audit.reader import HEAD_NAME, unreadable
from ringwall.audit.segments import Damage
from ringwall.errors import BadInput

_SLOT: Final = 4096  # one page each, so that a write to one never touches the other
_ATTEMPTS: Final = 5  # the writer may be in the middle of a slot


class HeadWriter:
    """Keeps the file up to date. Raises OSError."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._disk = disk
        self._fd = os.open(
            folder / HEAD_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        self._turn = 0

    def write(self, note: bytes) -> None:
        """Put a checkpoint into the next slot."""
        self._disk.write(self._fd, note.ljust(_SLOT, b"\0"), self._turn * _SLOT)
        self._turn ^= 1

    def close(self) -> None:
        try:
            self._disk.sync(self._fd)
        finally:
            os.close(self._fd)


def read_head(folder: Path, key: VerifierKey) -> Checkpoint | None:
    """The newest checkpoint that the head holds; None if there is no head yet.

    Raises:
        Damage: a slot holds something that this log's key did not sign.
        AuditError: the file cannot be read.

    """
    for attempt in range(_ATTEMPTS):
        try:
            data = (folder / HEAD_NAME).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise unreadable(fault) from None
        try:
            return _newest(data, key)
        except BadInput as fault:
            if attempt == _ATTEMPTS - 1:
                raise Damage(f"the log's head is damaged: {fault.cause}", 0) from None
    return None


def _newest(data: bytes, key: VerifierKey) -> Checkpoint | None:
    found: list[Checkpoint] = []
    for start in range(0, len(data), _SLOT):
        note = data[start:start + _SLOT].rstrip(b"\0")
        if note:
            found.append(SignedCheckpoint.parse(note).verify(key))
    return max(found, key=lambda c: c.size, default=None)
