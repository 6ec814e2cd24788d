"""The writing side of a log's files: the active segment, the reserve behind it, and the quota."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringwall.audit.disk import Disk, sync_folder
from ringwall.audit.reader import segment_name, segment_paths
from ringwall.audit.segments import MAX_HEADER, Header
from ringwall.errors import AuditError

RESERVE_NAME: Final = "reserve"
_REMEDY: Final = "make space on the disk of the state folder; calls are refused until then"


def disk_error(fault: OSError) -> AuditError:
    """The audit error of a file system's error."""
    if fault.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return AuditError("the disk under the audit log is full", code="audit_disk_full", remedy=_REMEDY)
    if fault.errno == errno.EROFS:
        return AuditError(
            "the audit log is on a read-only file system", code="audit_read_only",
            remedy="mount it writable and restart `ringwall up`",
        )
    return AuditError(
        f"the audit log cannot be written: {fault.strerror or fault}", code="audit_io_error",
        remedy="check the disk of the state folder, then restart `ringwall up`",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much a log may fill. ``segment`` and ``quota`` in bytes."""

    segment: int
    quota: int


class SegmentStore:
    """Segment files, written by one thread. Methods raise OSError where they say nothing else."""

    def __init__(self, folder: Path, disk: Disk, sizes: Sizes) -> None:
        self._folder = folder
        self._disk = disk
        self._sizes = sizes
        self._fd = -1
        self._reserve = -1
        self._used = sum(p.stat().st_size for p in segment_paths(folder))
        self._capacity = 0
        self.number = -1
        self.offset = 0

    @property
    def has_reserve(self) -> bool:
        """Whether another segment is ready. Without one, nothing new may start."""
        return self._reserve >= 0

    def resume(self, path: Path, header: Header, offset: int) -> None:
        """Go on in the last segment."""
        self._fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._capacity, self.number, self.offset = header.capacity, header.number, offset

    def fits(self, size: int) -> bool:
        return self._fd >= 0 and self.offset + size <= self._capacity

    def write(self, batch: bytes) -> None:
        """Append a batch and return when it is durable."""
        self._disk.write(self._fd, batch, self.offset)
        self._disk.sync(self._fd)
        self.offset += len(batch)

    def cut(self, offset: int) -> None:
        """Make everything from ``offset`` on zeros again, durably."""
        self._disk.write(self._fd, bytes(self._capacity - offset), offset)
        self._disk.sync(self._fd)

    def provide(self) -> None:
        """See that there is a reserve. Raises AuditError (``audit_quota``, ``audit_disk_full``, …)."""
        if self._reserve >= 0:
            return
        if self._used + self._sizes.segment > self._sizes.quota:
            raise AuditError(
                f"the log of {self._folder.name} has reached its quota of {self._sizes.quota >> 20} MiB",
                code="audit_quota", remedy="raise [audit] quota_mib, or export the log and start a new one",
            )
        path = self._folder / RESERVE_NAME
        try:
            self._reserve = self._reuse(path) if path.exists() else self._disk.allocate(path, self._sizes.segment)
            sync_folder(self._folder)
        except OSError as fault:
            raise disk_error(fault) from None
        self._used += self._sizes.segment

    def rotate(self, header: Header) -> None:
        """Make the reserve the active segment. Its header is durable before it has its name.

        Raises OSError; RuntimeError without a reserve.
        """
        if self._reserve < 0:
            raise RuntimeError("rotate needs a reserve")
        raw = header.encode()
        self._disk.write(self._reserve, raw, 0)
        self._disk.sync(self._reserve)
        self._disk.rename(self._folder / RESERVE_NAME, self._folder / segment_name(header.number))
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._reserve = self._reserve, -1
        self._capacity, self.number, self.offset = header.capacity, header.number, len(raw)

    def _reuse(self, path: Path) -> int:
        """The reserve of an earlier run; a header may have been written to it, but never more."""
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size != self._sizes.segment:
                path.unlink()
                os.close(fd)
                return self._disk.allocate(path, self._sizes.segment)
            self._disk.write(fd, bytes(min(MAX_HEADER, self._sizes.segment)), 0)
            self._disk.sync(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def close(self) -> None:
        for fd in (self._fd, self._reserve):
            if fd >= 0:
                os.close(fd)
        self._fd = self._reserve = -1
