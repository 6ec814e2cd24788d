"""What a log's files say when it is opened: where it ends, its tree, and what its last run left undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from ringwall.audit.checkpoint import SignedCheckpoint, VerifierKey
from ringwall.audit.head import read_head
from ringwall.audit.merkle import Frontier, leaf_hash
from ringwall.audit.reader import LogReader, segment_name
from ringwall.audit.segments import Batch, Damage, Header, Unfinished, batches, read_header
from ringwall.errors import AuditError, BadInput

Effects: TypeAlias = Callable[[bytes], "int | None"]
"""What a record does to the set of open intents: -1 opens itself, n closes record n, None does nothing."""

OPENS: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The end of a log. ``unfinished``: where a batch begins that must be cut."""

    header: Header
    path: Path
    offset: int
    frontier: Frontier
    open: frozenset[int]
    unfinished: Unfinished | None
    note: bytes  # the newest checkpoint


def follow(opened: set[int], number: int, record: bytes, effects: Effects) -> None:
    """Keep the set of open intents up with one record."""
    effect = effects(record)
    if effect == OPENS:
        opened.add(number)
    elif effect is not None:
        opened.discard(effect)


def examine(folder: Path, key: VerifierKey, effects: Effects) -> Found | None:
    """Read the last segment and check it; None for a log that was never written to.

    Earlier segments are checked by ``audit.verify``, which reads them all.

    Raises:
        AuditError: ``audit_damaged``, naming the record, or ``log_unreadable``.

    """
    tenant = folder.name
    try:
        return _examine(folder, key, effects)
    except Damage as fault:
        raise AuditError(
            f"the log of {tenant} is damaged at {tenant}/{fault.record}: {fault.cause}", code="audit_damaged",
            remedy="keep a copy as evidence, see `ringwall audit verify`, and restore the folder from a backup",
        ) from None


def _examine(folder: Path, key: VerifierKey, effects: Effects) -> Found | None:
    reader = LogReader(folder)
    paths = reader.segments()
    head = read_head(folder, key)
    if not paths:
        if head is not None:
            raise Damage(f"no segment is left of {head.size} records", 0)
        return None
    for number, path in enumerate(paths):
        if path.name != segment_name(number):
            raise Damage(f"segment {number} is missing: {segment_name(number)}", reader.header(path).first)
    found = _last_segment(paths[-1], len(paths) - 1, key, effects)
    if head is not None and head.size > found.frontier.size:
        raise Damage(f"the log ends here, its head says it had {head.size} records", found.frontier.size)
    return found


def _last_segment(path: Path, number: int, key: VerifierKey, effects: Effects) -> Found:
    data = path.read_bytes()
    header, offset = read_header(data, 0)
    if (header.log, header.number, header.capacity) != (path.parent.name, number, len(data)):
        raise Damage("the segment's header does not fit its file", header.first)
    tree, opened, note = header.tree(), set(header.open), b""
    unfinished: Unfinished | None = None
    try:
        for batch in batches(data, offset, header.first, last=True):
            note = follow_batch(batch, tree, opened, effects)
            offset = batch.end
    except Unfinished as found:
        unfinished = found
    if note:
        try:
            SignedCheckpoint.parse(note).verify(key)
        except BadInput as fault:
            raise Damage(fault.cause, tree.size - 1) from None
    return Found(
        header=header, path=path, offset=offset, frontier=tree, open=frozenset(opened), unfinished=unfinished,
        note=note,
    )


def follow_batch(batch: Batch, tree: Frontier, opened: set[int], effects: Effects) -> bytes:
    """Add a batch to the tree and compare with its checkpoint; give the checkpoint's note. Raises Damage."""
    for number, record in enumerate(batch.records, batch.first):
        tree.append(leaf_hash(record))
        follow(opened, number, record, effects)
    named = batch.first if len(batch.records) == 1 else tree.size - 1
    try:
        found = SignedCheckpoint.parse(batch.checkpoint).checkpoint
    except BadInput as fault:
        raise Damage(fault.cause, named) from None
    if found.size != tree.size or found.root != tree.root():
        span = f"records {batch.first} to {tree.size - 1}" if len(batch.records) != 1 else "the record"
        raise Damage(f"{span} and the signed checkpoint after it do not agree", batch.first)
    return batch.checkpoint
