"""The bytes of a segment file: a header, then batches, then zeros up to the file's allocated size.

::

    header   magic 8 · length 4 · crc32 4 · JSON
    batch    magic 4 · length 4 · first record 8 · records 4 · crc32 of these 4
             per record, and once for the checkpoint: length 4 · crc32 4 · bytes
             crc32 of the batch so far 4 · end mark 4

Numbers are big-endian. A file is allocated whole and reads as zeros where nothing was written yet, and no
record holds 512 zero bytes in a row. That tells a write that was interrupted (some sector of the last batch
still reads as zeros, and nothing follows it) from damage (everything else).
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ringwall.audit.merkle import Frontier
from ringwall.errors import BadInput

SEGMENT_BYTES: Final = 8 << 20  # allocated in a few milliseconds, and a missing one loses a bounded part
MAX_RECORD: Final = 4 << 20  # a call's body has at most 1 MiB: facts, base64 and escapes added
MAX_BATCH: Final = 2 << 20  # a batch takes no further record from here on; 2 + 4 MiB fit in a segment
MAX_HEADER: Final = 1 << 20  # bounds what a damaged length can make a reader do; holds 100,000 open intents
SECTOR: Final = 512  # the smallest piece a disk writes or does not write

_HEADER: Final = struct.Struct(">8sII")
_BATCH: Final = struct.Struct(">4sIQI")
_WORD: Final = struct.Struct(">I")
_FRAME: Final = struct.Struct(">II")
_HEADER_MAGIC: Final = b"RWALLSG1"
_BATCH_MAGIC: Final = b"RWB1"
_END: Final = b"RWE\n"
BATCH_HEAD: Final = _BATCH.size + _WORD.size
FRAME_BYTES: Final = _FRAME.size  # before each record
_TAIL: Final = _WORD.size + len(_END)


class Damage(BadInput):
    """The segment is not what was written. ``record``: the first record it concerns."""

    default_code = "audit_damaged"

    def __init__(self, cause: str, record: int) -> None:
        super().__init__(cause)
        self.record = record


class Unfinished(BadInput):
    """The last batch was not written to its end. ``offset``: where it begins; ``record``: its first one."""

    default_code = "audit_unfinished"

    def __init__(self, offset: int, record: int) -> None:
        super().__init__(f"the batch from record {record} on was not written to its end")
        self.offset = offset
        self.record = record


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a segment says of itself.

    Args:
        log: the tenant.
        number: counts segments from 0.
        first: number of its first record.
        capacity: bytes allocated.
        frontier: the tree before ``first``.
        open: intents before ``first`` that have no outcome before ``first``.

    """

    log: str
    number: int
    first: int
    capacity: int
    frontier: tuple[bytes, ...]
    open: tuple[int, ...]

    def encode(self) -> bytes:
        """The header's bytes. Raises ValueError if they are too many."""
        text = msgspec.json.encode(
            {
                "v": 1, "log": self.log, "number": self.number, "first": self.first, "capacity": self.capacity,
                "frontier": [base64.b64encode(h).decode() for h in self.frontier], "open": list(self.open),
            },
            order="sorted",
        )
        if len(text) > MAX_HEADER:
            raise ValueError("too many calls are open for one segment's header")
        return _HEADER.pack(_HEADER_MAGIC, len(text), zlib.crc32(text)) + text

    def tree(self) -> Frontier:
        return Frontier(self.first, self.frontier)


class _HeaderForm(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    log: str
    number: int
    first: int
    capacity: int
    frontier: list[str]
    open: list[int]


_HEADER_DECODER: Final = msgspec.json.Decoder(_HeaderForm)


def read_header(data: bytes, expected: int) -> tuple[Header, int]:
    """The header and the offset of the first batch. Raises Damage naming record ``expected``."""
    try:
        magic, length, crc = _HEADER.unpack_from(data)
        text = data[_HEADER.size:_HEADER.size + length]
        if magic != _HEADER_MAGIC or length > MAX_HEADER or len(text) != length or zlib.crc32(text) != crc:
            raise Damage("the segment's header is damaged", expected)
        form = _HEADER_DECODER.decode(text)
        header = Header(
            log=form.log, number=form.number, first=form.first, capacity=form.capacity, open=tuple(form.open),
            frontier=tuple(base64.b64decode(h, validate=True) for h in form.frontier),
        )
        header.tree()
    except (struct.error, msgspec.MsgspecError, ValueError, binascii.Error, RecursionError):
        raise Damage("the segment's header is damaged", expected) from None
    return header, _HEADER.size + length


def encode_batch(first: int, records: Sequence[bytes], checkpoint: bytes) -> bytes:
    """One batch: the records from number ``first`` on, and the checkpoint after them."""
    parts: list[bytes] = [b""]
    for payload in (*records, checkpoint):
        parts += (_FRAME.pack(len(payload), zlib.crc32(payload)), payload)
    length = BATCH_HEAD + sum(map(len, parts)) + _TAIL
    head = _BATCH.pack(_BATCH_MAGIC, length, first, len(records))
    parts[0] = head + _WORD.pack(zlib.crc32(head))
    body = b"".join(parts)
    return body + _WORD.pack(zlib.crc32(body)) + _END


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A whole batch as read: ``offset`` and ``end`` are places in the file."""

    offset: int
    end: int
    first: int
    records: tuple[bytes, ...]
    checkpoint: bytes


def read_batch(data: bytes, offset: int, expected: int, *, last: bool) -> Batch | None:
    """The batch at ``offset``.

    Args:
        data: the whole file.
        offset: where a batch, or the zeros, must begin.
        expected: the number its first record must have.
        last: this is the log's last segment, so that a batch may be unfinished.

    Returns:
        None where only zeros follow.

    Raises:
        Damage: the bytes were written and are not what was written.
        Unfinished: the write of a last batch was interrupted. Only if ``last``.

    """
    head = data[offset:offset + BATCH_HEAD]
    if not head.strip(b"\0"):
        if _zeros(data, offset):
            return None
        raise Damage("there are bytes after the last batch, or its beginning is gone", expected)
    if len(head) < BATCH_HEAD or _WORD.unpack_from(head, _BATCH.size)[0] != zlib.crc32(head[:_BATCH.size]):
        torn = head.rstrip(b"\0")
        plausible = _BATCH_MAGIC.startswith(torn[:4]) and len(torn) < BATCH_HEAD
        if last and plausible and _zeros(data, offset + BATCH_HEAD):
            raise Unfinished(offset, expected)
        raise Damage("a batch's header is damaged", expected)
    magic, length, first, count = _BATCH.unpack_from(head)
    end = offset + length
    if magic != _BATCH_MAGIC or first != expected or length < BATCH_HEAD + _TAIL:
        raise Damage("a batch's header does not fit its place: moved or damaged", expected)
    if end > len(data):
        _frames(data[offset:] + bytes(_TAIL), offset, first, count)  # names the record where the file ends
        raise Damage("the file ends within a batch", first + max(count, 1) - 1)
    body = data[offset:end]
    if body[-4:] == _END and _WORD.unpack_from(body, length - _TAIL)[0] == zlib.crc32(body[:-_TAIL]):
        return _frames(body, offset, first, count)
    if last and _interrupted(data, offset, end) and _zeros(data, end):
        raise Unfinished(offset, expected)
    _frames(body, offset, first, count)  # names the record, if one is damaged
    raise Damage("a batch is damaged at its end", first + max(count, 1) - 1)


def _frames(body: bytes, offset: int, first: int, count: int) -> Batch:
    """The frames of a batch. Raises Damage naming the first record that is damaged."""
    found: list[bytes] = []
    place, stop = BATCH_HEAD, len(body) - _TAIL
    for number in range(first, first + count + 1):
        named = min(number, first + max(count, 1) - 1)  # the checkpoint counts as its last record
        what = "record" if number < first + count else "checkpoint after the record"
        if place + _FRAME.size > stop:
            raise Damage(f"the {what} is cut off", named)
        length, crc = _FRAME.unpack_from(body, place)
        place += _FRAME.size
        payload = body[place:place + length]
        if place + length > stop or zlib.crc32(payload) != crc:
            raise Damage(f"the {what} is damaged", named)
        found.append(payload)
        place += length
    if place != stop:
        raise Damage("a batch holds more than its records", first + max(count, 1) - 1)
    return Batch(
        offset=offset, end=offset + len(body), first=first, records=tuple(found[:-1]), checkpoint=found[-1]
    )


def _zeros(data: bytes, start: int) -> bool:
    return data.count(0, start) == len(data) - start if start < len(data) else True


def _interrupted(data: bytes, start: int, end: int) -> bool:
    """Whether some sector of the batch was never written: its part of the batch reads as zeros."""
    if data[end - len(_END):end].strip(b"\0") == b"":
        return True
    for sector in range(start // SECTOR * SECTOR, end, SECTOR):
        if not data[max(sector, start):min(sector + SECTOR, end)].strip(b"\0"):
            return True
    return False


def batches(data: bytes, offset: int, first: int, *, last: bool) -> Iterator[Batch]:
    """All whole batches from ``offset`` on. Raises like :func:`read_batch`."""
    while (batch := read_batch(data, offset, first, last=last)) is not None:
        yield batch
        offset, first = batch.end, batch.first + len(batch.records)
