"""What the log asks of a file system: the seam where tests put a full, slow or broken disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

_ZEROS: Final = 1 << 20  # bytes written at a time when a file is filled


class Disk(Protocol):
    """Every method raises OSError as the file system does."""

    def allocate(self, path: Path, size: int) -> int:
        """Make a new file of ``size`` zero bytes whose space is really there; give its descriptor."""
        ...

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        ...

    def sync(self, fd: int) -> None:
        """Return when the file's data is on the disk."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Rename, and return when the new name is on the disk."""
        ...


class SystemDisk:
    """The file system as it is."""

    def allocate(self, path: Path, size: int) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            # Written, not only allocated: ext4 and XFS mark allocated blocks as unwritten and change that in
            # their journal at each first write, which makes every fdatasync half as slow again.
            for offset in range(0, size, _ZEROS):
                self.write(fd, bytes(min(_ZEROS, size - offset)), offset)
            os.fsync(fd)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, data[done:], offset + done)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)
        sync_folder(new.parent)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(disk: Disk, path: Path, content: bytes) -> None:
    """Put a file of this content in place of ``path``: the old or the new one is there, whole. Raises OSError."""
    draft = path.with_name(f".{path.name}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        disk.write(fd, content, 0)
        disk.sync(fd)
    finally:
        os.close(fd)
    disk.rename(draft, path)
