from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.audit.merkle import Frontier, leaf_hash
from ringwall.audit.segments import (
    SECTOR,
    Damage,
    Header,
    Unfinished,
    batches,
    encode_batch,
    read_batch,
    read_header,
)

CAPACITY = 8192
NOTE = b"acme\n1\nroot\n\nsigned\n"
RECORD = st.binary(min_size=1, max_size=700).map(lambda b: b.replace(b"\0", b"x"))
RECORDS = st.lists(RECORD, min_size=1, max_size=4)


def _header(first: int = 5) -> Header:
    tree = Frontier()
    for n in range(first):
        tree.append(leaf_hash(bytes([n])))
    return Header(log="acme", number=1, first=first, capacity=CAPACITY, frontier=tree.hashes, open=(2, 3))


def _file(groups: list[list[bytes]]) -> tuple[bytes, int, list[int]]:
    """A segment of these batches: its bytes, where batches begin, and where each ends."""
    raw = _header().encode()
    start, number, ends = len(raw), 5, list[int]()
    for group in groups:
        raw += encode_batch(number, group, NOTE)
        number += len(group)
        ends.append(len(raw))
    return raw.ljust(CAPACITY, b"\0"), start, ends


@settings(max_examples=60)
@given(groups=st.lists(RECORDS, max_size=2))
def test_what_was_written_is_read_back(groups: list[list[bytes]]) -> None:
    data, start, ends = _file(groups)
    header, offset = read_header(data, 0)
    assert (header, offset) == (_header(), start)
    found = list(batches(data, offset, header.first, last=True))
    assert [list(b.records) for b in found] == groups
    assert [b.end for b in found] == ends
    assert all(b.checkpoint == NOTE for b in found)


@settings(max_examples=120)
@given(groups=st.lists(RECORDS, min_size=1, max_size=2), data=st.data())
def test_any_flipped_bit_in_an_earlier_segment_is_damage(groups: list[list[bytes]], data: st.DataObject) -> None:
    raw, start, _ = _file(groups)
    place = data.draw(st.one_of(st.integers(0, CAPACITY - 1), st.integers(start, start + 60)))
    changed = bytearray(raw)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Damage):
        header, offset = read_header(bytes(changed), 5)
        list(batches(bytes(changed), offset, header.first, last=False))


@settings(max_examples=150)
@given(group=RECORDS, data=st.data())
def test_a_flipped_bit_in_the_last_whole_batch_is_never_taken_for_an_unfinished_one(
    group: list[bytes], data: st.DataObject
) -> None:
    raw, start, ends = _file([[b"before"], group])
    place = data.draw(st.integers(start, ends[1] - 1))
    changed = bytearray(raw)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Damage) as found:
        list(batches(bytes(changed), start, 5, last=True))
    assert 5 <= found.value.record <= 5 + len(group)


@settings(max_examples=150)
@given(group=RECORDS, data=st.data())
def test_a_write_that_stopped_anywhere_is_unfinished_and_the_batches_before_stand(
    group: list[bytes], data: st.DataObject
) -> None:
    raw, start, ends = _file([[b"before"], group])
    stop = data.draw(st.integers(ends[0] + 1, ends[1] - 4))  # the end mark is never written in part
    torn = raw[:stop].ljust(CAPACITY, b"\0")
    seen: list[int] = []
    with pytest.raises(Unfinished) as found:
        seen.extend(batch.first for batch in batches(torn, start, 5, last=True))
    assert seen == [5]
    assert (found.value.offset, found.value.record) == (ends[0], 6)
    with pytest.raises(Damage):
        list(batches(torn, start, 5, last=False))


@settings(max_examples=100)
@given(group=st.lists(st.just(b"r" * 900), min_size=2, max_size=4), data=st.data())
def test_a_write_of_which_some_sectors_arrived_is_unfinished(group: list[bytes], data: st.DataObject) -> None:
    raw, start, ends = _file([[b"before"], group])
    first, last = ends[0] // SECTOR + 1, ends[1] // SECTOR - 1
    lost = data.draw(st.sets(st.integers(first, last), min_size=1))
    torn = bytearray(raw)
    for sector in lost:
        torn[sector * SECTOR:(sector + 1) * SECTOR] = bytes(SECTOR)
    with pytest.raises(Unfinished) as found:
        list(batches(bytes(torn), start, 5, last=True))
    assert found.value.record == 6


@settings(max_examples=150)
@given(junk=st.binary(max_size=400), last=st.booleans())
def test_arbitrary_bytes_are_read_or_refused_with_a_code(junk: bytes, last: bool) -> None:
    try:
        header, offset = read_header(junk, 0)
        list(batches(junk, offset, header.first, last=last))
    except (Damage, Unfinished) as fault:
        assert fault.code in {"audit_damaged", "audit_unfinished"}
    try:
        read_batch(junk, 0, 0, last=last)
    except (Damage, Unfinished) as fault:
        assert fault.code in {"audit_damaged", "audit_unfinished"}


def test_bytes_after_the_last_batch_are_damage_even_far_away() -> None:
    raw, start, _ = _file([[b"one"]])
    for place in (CAPACITY - 1, 3000):
        changed = bytearray(raw)
        changed[place] = 1
        with pytest.raises(Damage) as found:
            list(batches(bytes(changed), start, 5, last=True))
        assert found.value.record == 6


def test_a_batch_put_in_another_place_is_damage() -> None:
    raw, start, ends = _file([[b"one"], [b"two"]])
    one, two = raw[start:ends[0]], raw[ends[0]:ends[1]]
    swapped = (raw[:start] + two + one).ljust(CAPACITY, b"\0")
    with pytest.raises(Damage) as found:
        list(batches(swapped, start, 5, last=True))
    assert found.value.record == 5


def test_the_damaged_record_of_a_batch_is_named() -> None:
    raw, start, _ = _file([[b"a" * 50, b"b" * 50, b"c" * 50]])
    for letter, number in ((b"a", 5), (b"b", 6), (b"c", 7)):
        changed = raw.replace(letter * 50, letter * 49 + b"!")
        with pytest.raises(Damage) as found:
            list(batches(changed, start, 5, last=True))
        assert found.value.record == number


def test_a_header_that_announces_too_much_is_refused() -> None:
    header = Header(log="a", number=0, first=0, capacity=1, frontier=(), open=tuple(range(10**6, 10**6 + 200_000)))
    with pytest.raises(ValueError, match="too many"):
        header.encode()
    with pytest.raises(Damage):
        read_header(b"RWALLSG1" + b"\xff" * 100, 3)
