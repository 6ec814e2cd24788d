"""Reading a tenant's log, also while the core writes it. A reader never changes a byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringwall.audit.segments import Batch, Damage, Header, Unfinished, batches, read_header
from ringwall.errors import AuditError

SEGMENT_NAME: Final = re.compile(r"seg-(\d{8})\.log")  # names of our own folder, not untrusted text
HEAD_NAME: Final = "head"  # a copy of a recent checkpoint, so that a lost last segment is noticed
_ATTEMPTS: Final = 5  # a batch that is being written changes between two reads; damage does not


def log_folder(state: Path, tenant: str) -> Path:
    """Where a tenant's log is in a state folder."""
    return state / "audit" / tenant


def key_folder(state: Path) -> Path:
    """Where the public keys of all logs are."""
    return state / "audit" / "keys"


def tenants(state: Path) -> list[str]:
    """The tenants that have a log, ``system`` first. Raises AuditError (``no_log``, ``log_unreadable``)."""
    folder = state / "audit"
    try:
        found = [
            p.name for p in folder.iterdir() if p.is_dir() and (segment_paths(p) or (p / HEAD_NAME).exists())
        ]
    except FileNotFoundError:
        raise AuditError(
            f"there is no audit log under {state}", code="no_log",
            remedy="name the state folder with --state or RINGWALL_STATE",
        ) from None
    except OSError as fault:
        raise unreadable(fault) from None
    return sorted(found, key=lambda name: (name != "system", name))


def segment_paths(folder: Path) -> list[Path]:
    """The segment files of a log, in order. Raises OSError."""
    return sorted(p for p in folder.iterdir() if SEGMENT_NAME.fullmatch(p.name))


def unreadable(fault: OSError) -> AuditError:
    """The error for a log that the file system does not let us read."""
    return AuditError(
        f"the audit log cannot be read: {fault.strerror}: {fault.filename}", code="log_unreadable",
        remedy="run this as the user who runs `ringwall up`, or as root",
    )


@dataclass(frozen=True, slots=True)
class Located:
    """A batch with the segment it is in."""

    path: Path
    header: Header
    batch: Batch


class LogReader:
    """One tenant's log, read from its files.

    Damage and an unfinished last batch end the iteration with the exceptions of ``audit.segments``; every
    whole batch before them was yielded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def segments(self) -> list[Path]:
        """The segment files in order. Raises AuditError (``no_log``, ``log_unreadable``)."""
        try:
            found = segment_paths(self.folder)
        except FileNotFoundError:
            raise AuditError(f"there is no log of {self.folder.name}", code="no_log") from None
        except OSError as fault:
            raise unreadable(fault) from None
        return found

    def header(self, path: Path) -> Header:
        """A segment's header. Raises Damage, AuditError."""
        return read_header(self._read(path), 0)[0]

    def batches(self, since: int = 0) -> Iterator[Located]:
        """All whole batches of the segments from the one that holds record ``since`` on.

        Raises:
            Damage: something written is not there any more as it was written.
            Unfinished: the last batch is being written, or was never finished.
            AuditError: the files cannot be read.

        """
        paths = self.segments()
        start = self._segment_of(paths, since) if since else 0
        expected: int | None = None if start else 0
        for place in range(start, len(paths)):
            number = int(paths[place].stem.removeprefix("seg-"))
            if number != place:
                raise Damage(f"segment {place} is missing: {self._name(place)}", expected or 0)
            for found in self._segment(paths[place], place, expected, last=place == len(paths) - 1):
                expected = found.batch.first + len(found.batch.records)
                yield found

    def records(self, since: int = 0) -> Iterator[tuple[int, bytes]]:
        """Record numbers and bytes from number ``since`` on. Stops before an unfinished batch; raises Damage."""
        try:
            for found in self.batches(since):
                for number, record in enumerate(found.batch.records, found.batch.first):
                    if number >= since:
                        yield number, record
        except Unfinished:
            return

    def last(self, count: int) -> list[tuple[int, bytes]]:
        """The newest records, oldest first; reads no more segments than it must. Raises Damage, AuditError."""
        found: list[tuple[int, bytes]] = []
        for path in reversed(self.segments()):
            found = list(self.records(self.header(path).first))
            if len(found) >= count:
                break
        return found[-count:] if count else []

    def _segment_of(self, paths: list[Path], number: int) -> int:
        """Which segment holds the record: bisect over the headers."""
        low, high = 0, len(paths)
        while high - low > 1:
            middle = (low + high) // 2
            if self.header(paths[middle]).first <= number:
                low = middle
            else:
                high = middle
        return low

    def _segment(self, path: Path, number: int, expected: int | None, *, last: bool) -> Iterator[Located]:
        """The batches of one segment; reads again while the writer changes it under us."""
        before, seen = b"", 0
        for _ in range(_ATTEMPTS):
            data = self._read(path)
            header, offset = read_header(data, expected or 0)
            self._check(header, number, expected, len(data))
            try:
                for place, batch in enumerate(batches(data, offset, header.first, last=last)):
                    if place >= seen:
                        seen += 1
                        yield Located(path, header, batch)
                return
            except Damage:
                if data == before or not last:
                    raise
                before = data
        raise AuditError("the log changes faster than it can be read", code="log_busy", remedy="try again")

    def _check(self, header: Header, number: int, expected: int | None, size: int) -> None:
        wrong = ""
        if header.log != self.folder.name:
            wrong = f"the segment belongs to the log {header.log!r}"
        elif header.number != number:
            wrong = f"the segment says it is number {header.number}, its name says {number}"
        elif expected is not None and header.first != expected:
            wrong = f"the segment begins with record {header.first} instead of {expected}"
        elif size != header.capacity:
            wrong = f"the segment has {size} bytes instead of {header.capacity}"
        if wrong and size < header.capacity:
            self._name_cut(header, number)
        if wrong:
            raise Damage(wrong, header.first if expected is None else expected)

    def _name_cut(self, header: Header, number: int) -> None:
        """A shortened segment: name the first record that is not whole any more. Raises Damage."""
        data = self._read(self.folder / self._name(number))
        _, offset = read_header(data, header.first)
        count = header.first
        try:
            for batch in batches(data, offset, header.first, last=False):
                count = batch.first + len(batch.records)
        except Damage as found:
            count = found.record
        raise Damage(f"the segment is cut off: it has {len(data)} bytes instead of {header.capacity}", count)

    @staticmethod
    def _name(number: int) -> str:
        return segment_name(number)

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as fault:
            raise unreadable(fault) from None


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"seg-{number:08d}.log"
