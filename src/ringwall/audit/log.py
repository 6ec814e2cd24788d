"""One tenant's log: callers hand over records, one thread writes them in batches.

A batch is all that waits, followed by its signed checkpoint: one write, one fdatasync. A record is
acknowledged after that, never before.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringwall.audit.checkpoint import Signer
from ringwall.audit.delivery import Answers, Item, again, deliver
from ringwall.audit.disk import Disk
from ringwall.audit.head import HeadWriter
from ringwall.audit.merkle import Frontier, leaf_hash
from ringwall.audit.recovery import Effects, Found, examine, follow
from ringwall.audit.segments import FRAME_BYTES, MAX_BATCH, MAX_RECORD, SEGMENT_BYTES, Header, encode_batch
from ringwall.audit.store import SegmentStore, Sizes, disk_error
from ringwall.clock import Clock
from ringwall.errors import AuditError

LAG_SECONDS: Final = 0.05  # how long a record that need not be durable at once may wait for company
MAX_WAITING: Final = 64 << 20  # bytes handed over and not yet durable; a slow disk must not fill memory
RETRY_SECONDS: Final = 1.0  # how often a full disk is tried again
_LOCK_NAME: Final = "lock"


@dataclass(slots=True)
class _Tip:
    """Where the log ends. Replaced whole after a batch is durable."""

    frontier: Frontier = field(default_factory=Frontier)
    open: set[int] = field(default_factory=set[int])
    note: bytes = b""


class TenantLog:
    """A log opened for writing. Build it with :meth:`open`; safe to use from any thread."""

    def __init__(
        self, folder: Path, *, signer: Signer, disk: Disk, clock: Clock, effects: Effects, sizes: Sizes, lock: int
    ) -> None:
        self.tenant = folder.name
        self._signer = signer
        self._disk = disk
        self._clock = clock
        self._effects = effects
        self._sizes = sizes
        self._lock_fd = lock
        self._store = SegmentStore(folder, disk, sizes)
        self._head = HeadWriter(folder, disk)
        self._tip = _Tip()
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._gate = threading.Lock()  # guards the four fields below
        self._lagging: list[Item] = []
        self._waiting = 0
        self._closed = False
        self._broken: AuditError | None = None
        self._tried = float("-inf")
        self._why = AuditError("the audit log has no room", code="audit_disk_full")
        self._thread = threading.Thread(target=self._run, name=f"audit-{self.tenant}", daemon=True)

    @classmethod
    def open(
        cls, folder: Path, *, signer: Signer, disk: Disk, clock: Clock, effects: Effects, quota: int,
        segment: int = SEGMENT_BYTES,
    ) -> tuple[TenantLog, Found | None]:
        """Open a tenant's log for writing, or make it; this process alone holds it until it is closed.

        An unfinished last batch is found, not yet cut: call :meth:`cut` for that, before appending.

        Args:
            folder: the log's own folder, named like the tenant.
            signer: of this log's checkpoints.
            disk: the file system.
            clock: for retries after a full disk.
            effects: which records open and close intents.
            quota: most bytes of segments.
            segment: bytes of a new segment.

        Raises:
            AuditError: ``audit_locked`` (another core writes here), ``audit_damaged``, ``audit_quota``,
                ``audit_disk_full``, ``audit_read_only``, ``audit_io_error``.

        """
        if quota < 2 * segment:
            raise AuditError(
                f"a quota of {quota >> 20} MiB is too small for a log", code="audit_quota",
                remedy=f"set [audit] quota_mib to at least {max(1, 2 * segment >> 20)}",
            )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(folder)
        except OSError as fault:
            raise disk_error(fault) from None
        try:
            found = examine(folder, signer.verifier, effects)
            log = cls(
                folder, signer=signer, disk=disk, clock=clock, effects=effects, lock=lock,
                sizes=Sizes(segment=segment, quota=quota),
            )
        except OSError as fault:
            os.close(lock)
            raise disk_error(fault) from None
        except AuditError:
            os.close(lock)
            raise
        log._start(found)
        return log, found

    def _start(self, found: Found | None) -> None:
        try:
            if found is None:
                self._store.provide()
                self._store.rotate(self._header())
            else:
                self._tip = _Tip(found.frontier, set(found.open), found.note)
                self._store.resume(found.path, found.header, found.offset)
        except OSError as fault:
            self._give_up_files()
            raise disk_error(fault) from None
        except AuditError:
            self._give_up_files()
            raise
        try:
            self._store.provide()
        except AuditError:
            pass  # the log can still take what must be written; new calls get the error (see _room)
        self._thread.start()

    def cut(self, offset: int) -> None:
        """Remove an unfinished last batch. Only between :meth:`open` and the first append. Raises AuditError."""
        try:
            self._store.cut(offset)
        except OSError as fault:
            raise disk_error(fault) from None

    @property
    def size(self) -> int:
        """Records that are durable."""
        return self._tip.frontier.size

    @property
    def checkpoint(self) -> bytes:
        """The newest signed checkpoint; empty for an empty log."""
        return self._tip.note

    @property
    def has_room(self) -> bool:
        """Whether another segment is ready; without one, only essential records are taken."""
        return self._store.has_reserve

    @property
    def fault(self) -> AuditError | None:
        """Why the log takes no more records, if it does not."""
        return self._broken

    def append(self, record: bytes, *, durable: bool = True, essential: bool = False) -> Future[int]:
        """Hand over a record; the future gives its number. For callers without an event loop.

        Args:
            record: 1 byte to 4 MiB without NUL.
            durable: do not wait for company.
            essential: may use the last segment, which is kept for the outcomes of calls already running.

        Raises:
            AuditError: ``audit_closed``, ``audit_busy``, ``record_too_large``, or why the log is broken.
                The future raises ``audit_disk_full``, ``audit_quota``, ``audit_read_only``,
                ``audit_io_error``.

        """
        answer: Future[int] = Future()
        self._hand_over(Item(record=record, durable=durable, essential=essential, answer=answer))
        return answer

    def submit(
        self, record: bytes, *, durable: bool, essential: bool = False,
        abandoned: Callable[[int], None] | None = None,
    ) -> asyncio.Future[int]:
        """Like :meth:`append`, for the running event loop.

        Args:
            abandoned: called in the loop with the record's number if the future was done by then: its caller
                had given up, and the record is in the log all the same.

        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()
        self._hand_over(
            Item(record=record, durable=durable, essential=essential, answer=answer, loop=loop,
                  abandoned=abandoned)
        )
        return answer

    def _hand_over(self, item: Item) -> None:
        size = len(item.record)
        limit = min(MAX_RECORD, self._sizes.segment // 2)
        if size > limit:
            raise AuditError(
                f"a record of {size} bytes is longer than {limit}", code="record_too_large",
                remedy="make the call smaller",
            )
        if not size or b"\0" in item.record:
            raise ValueError("a record is not empty and holds no NUL")
        with self._gate:
            if self._broken is not None:
                raise again(self._broken)
            if self._closed:
                raise AuditError("the audit log is closed", code="audit_closed")
            if self._waiting + size > MAX_WAITING:
                raise AuditError(
                    "too many records wait for the disk", code="audit_busy",
                    remedy="the disk of the state folder is too slow for this many calls",
                )
            self._waiting += size
            if item.durable or item.loop is None:
                self._hand_on()
                self._queue.put(item)
                return
            # Kept back on this side: handing it over would wake the writer, only for it to wait for company.
            if not self._lagging:
                item.loop.call_later(LAG_SECONDS, self._lagged)
            self._lagging.append(item)

    def _lagged(self) -> None:
        with self._gate:
            self._hand_on()

    def _hand_on(self) -> None:
        for item in self._lagging:
            self._queue.put(item)
        self._lagging.clear()

    def close(self) -> None:
        """Write what waits, then give up the files. Idempotent; blocks as long as the disk does."""
        with self._gate:
            already, self._closed = self._closed, True
            self._hand_on()
        if not already:
            self._queue.put(None)
        self._thread.join()
        if not already:
            self._give_up_files()

    def _give_up_files(self) -> None:
        self._store.close()
        os.close(self._lock_fd)
        try:
            self._head.close()
        except OSError:
            pass  # an older head is still true

    # The writer thread.

    def _run(self) -> None:
        running = True
        while running:
            first = self._queue.get()
            if first is None:
                return
            items, running = self._collect(first)
            answers: Answers = []
            before = self._tip
            try:
                self._commit(items, answers)
            except OSError as fault:
                self._break(disk_error(fault), items, answers)
            except Exception as fault:  # noqa: BLE001 (fails closed: no further record is taken)
                self._break(
                    AuditError(f"the audit log failed: {fault!r}", code="audit_io_error",
                               remedy="restart `ringwall up` and report this"),
                    items, answers,
                )
            with self._gate:
                self._waiting -= sum(len(item.record) for item in items)
            deliver(answers)
            if self._tip is not before:
                try:
                    self._head.write(self._tip.note)
                except OSError:
                    pass  # an older head is still true, and the batch is durable
            if self._broken is None and not self._store.has_reserve:
                self._no_room()  # after the answers: nobody waits for the next segment

    def _collect(self, first: Item) -> tuple[list[Item], bool]:
        """What goes into one batch, and whether to go on after it."""
        items, size, urgent = [first], len(first.record), first.durable
        limit = min(MAX_BATCH, self._sizes.segment // 4)
        due = self._clock.monotonic() + LAG_SECONDS
        while size < limit:
            try:
                if urgent:
                    item = self._queue.get_nowait()
                else:
                    item = self._queue.get(timeout=max(0.0, due - self._clock.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return items, False
            items.append(item)
            size += len(item.record) + FRAME_BYTES
            urgent = urgent or item.durable
        return items, True

    def _commit(self, items: Sequence[Item], answers: Answers) -> None:
        """Write one batch and note each item's answer. Raises OSError."""
        if self._broken is not None:
            answers += [(item, again(self._broken)) for item in items]
            return
        taken = self._room(items, answers)
        if not taken:
            return
        first, records = self._tip.frontier.size, [item.record for item in taken]
        tip = _Tip(self._tip.frontier.copy(), set(self._tip.open))
        for number, record in enumerate(records, first):
            tip.frontier.append(leaf_hash(record))
            follow(tip.open, number, record, self._effects)
        tip.note = self._signer.sign(tip.frontier.size, tip.frontier.root())
        batch = encode_batch(first, records, tip.note)
        if not self._store.fits(len(batch)):
            if not self._store.has_reserve:
                full = self._no_room()
                answers += [(item, again(full)) for item in taken]
                return
            self._store.rotate(self._header())
        self._store.write(batch)
        self._tip = tip
        answers += [(item, number) for number, item in enumerate(taken, first)]

    def _room(self, items: Sequence[Item], answers: Answers) -> Sequence[Item]:
        """Without a reserve only essential records are taken; the others get the reason."""
        if self._store.has_reserve:
            return items
        why = self._no_room()
        if self._store.has_reserve:
            return items
        answers += [(item, again(why)) for item in items if not item.essential]
        return [item for item in items if item.essential]

    def _no_room(self) -> AuditError:
        """Try for a new reserve, not too often; give the reason why there is none."""
        now = self._clock.monotonic()
        if now - self._tried >= RETRY_SECONDS:
            self._tried = now
            try:
                self._store.provide()
                self._tried = float("-inf")  # only failures are not repeated at once
            except AuditError as fault:
                self._why = fault
        return self._why

    def _header(self) -> Header:
        return Header(
            log=self.tenant, number=self._store.number + 1, first=self._tip.frontier.size,
            capacity=self._sizes.segment, frontier=self._tip.frontier.hashes, open=tuple(sorted(self._tip.open)),
        )

    def _break(self, fault: AuditError, items: Sequence[Item], answers: Answers) -> None:
        """After a failed write nobody knows what is on the disk: take nothing until it is opened anew."""
        with self._gate:
            self._broken = fault
        answered = {id(item) for item, _ in answers}
        answers += [(item, again(fault)) for item in items if id(item) not in answered]


def _lock(folder: Path) -> int:
    """Hold the folder's lock until the descriptor is closed. Raises AuditError, OSError."""
    fd = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise AuditError(
            f"another process writes the log in {folder}", code="audit_locked",
            remedy="stop the other `ringwall up` that uses this state folder",
        ) from None
    return fd
