from __future__ import annotations

import asyncio
import random
import shutil
import threading
from pathlib import Path

import pytest
from tests.audit.support import a_call, keys, opened, verdicts

from ringwall.audit.checkpoint import SignedCheckpoint, Signer
from ringwall.audit.export import newest
from ringwall.audit.merkle import Frontier, leaf_hash
from ringwall.audit.reader import LogReader, key_folder, log_folder
from ringwall.audit.segments import encode_batch, read_header
from ringwall.audit.verify import Report, load_keys, verify
from ringwall.call import Event, Outcome
from ringwall.errors import AuditError, BadInput
from ringwall.keys.interface import audit_signer


def _write(state: Path, count: int, tenant: str = "acme") -> None:
    async def scene() -> None:
        async with opened(state) as journal:
            for n in range(count):
                call = a_call({"n": n, "text": "x" * 400}, id=str(n), tenant=tenant)
                seq = await journal.intent(call, verdicts())
                await journal.outcome(seq, Outcome(end="done"))

    asyncio.run(scene())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose acme log has several segments. Copy it before changing it."""
    state = tmp_path_factory.mktemp("written")
    _write(state, 60)
    assert len(list(log_folder(state, "acme").glob("seg-*"))) >= 3
    return state


@pytest.fixture
def state(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "state")
    return tmp_path / "state"


def _names(report: Report) -> list[str]:
    return [p.record for p in report.problems]


def test_an_untouched_log_verifies_and_stays_untouched(state: Path) -> None:
    before = {p: p.read_bytes() for p in state.rglob("*") if p.is_file()}
    report = verify(state)
    assert report.ok
    assert {log.log: log.records for log in report.logs}["acme"] == 120
    assert {p: p.read_bytes() for p in state.rglob("*") if p.is_file()} == before


def test_a_flipped_bit_anywhere_is_found_and_the_record_is_named(state: Path) -> None:
    spans = [(found.path, found.batch.offset, found.batch.end, found.batch.first)
             for found in LogReader(log_folder(state, "acme")).batches()]
    choose = random.Random(7)  # noqa: S311 (where to flip)
    for path in sorted(log_folder(state, "acme").glob("seg-*")):
        mine = [s for s in spans if s[0] == path]
        original = path.read_bytes()
        places = [choose.randrange(len(original)) for _ in range(8)]
        places += [choose.randrange(mine[0][1], mine[-1][2]) for _ in range(12)] + [0, 20, mine[-1][2] - 1]
        for place in places:
            changed = bytearray(original)
            changed[place] ^= 1 << choose.randrange(8)
            path.write_bytes(changed)
            (problem,) = verify(state).problems
            log, _, number = problem.record.partition("/")
            assert log == "acme"
            inside = [first for _, start, end, first in mine if start <= place < end]
            after = [first for _, start, _, first in mine if start > place]
            if inside:
                assert inside[0] <= int(number) <= inside[0] + 3, (place, problem)
            elif after:
                assert int(number) <= after[0], (place, problem)
        path.write_bytes(original)
    assert verify(state).ok


@pytest.mark.parametrize("name", ["head", "session-keys"])
def test_a_flipped_bit_beside_the_segments_is_found_where_it_matters(state: Path, name: str) -> None:
    path = log_folder(state, "acme") / name
    raw = bytearray(path.read_bytes())
    raw[40] ^= 4
    path.write_bytes(raw)
    if name == "head":
        assert _names(verify(state)) == ["acme/head"]
    else:  # not part of the proofs: the bodies' keys are checked when they are used
        assert verify(state).ok


def test_a_flipped_bit_in_a_public_key_is_found(state: Path) -> None:
    path = key_folder(state) / "acme.pub"
    raw = bytearray(path.read_bytes())
    raw[-10] ^= 1
    path.write_bytes(raw)
    with pytest.raises(AuditError, match="key_damaged"):
        verify(state)


def test_truncated_segments_are_found_and_the_first_lost_record_is_named(state: Path) -> None:
    segments = sorted(log_folder(state, "acme").glob("seg-*"))
    spans = {p: [f for f in LogReader(log_folder(state, "acme")).batches() if f.path == p] for p in segments}
    for path in segments:
        original = path.read_bytes()
        batch = spans[path][2].batch
        for size, named in ((batch.offset + 30, batch.first), (batch.end, batch.first + len(batch.records))):
            path.write_bytes(original[:size])
            (problem,) = verify(state).problems
            assert problem.record == f"acme/{named}"
        path.write_bytes(original)


def test_any_missing_segment_is_found_and_named(state: Path) -> None:
    segments = sorted(log_folder(state, "acme").glob("seg-*"))
    firsts = [LogReader(log_folder(state, "acme")).header(p).first for p in segments]
    for path, first in zip(segments, firsts, strict=True):
        original = path.read_bytes()
        path.unlink()
        assert f"acme/{first}" in _names(verify(state)), path
        path.write_bytes(original)


def test_a_log_that_lost_all_its_files_or_its_folder_is_found(state: Path) -> None:
    for path in log_folder(state, "acme").glob("seg-*"):
        path.unlink()
    assert _names(verify(state)) == ["acme/0"]
    shutil.rmtree(log_folder(state, "acme"))
    assert _names(verify(state)) == ["acme/0"]
    shutil.rmtree(log_folder(state, "system"))
    assert "system/0" in _names(verify(state))


def test_swapped_segments_are_found(state: Path) -> None:
    one, two, *_ = sorted(log_folder(state, "acme").glob("seg-*"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert _names(verify(state)) == ["acme/0"]


def test_a_segment_of_another_log_is_found(state: Path) -> None:
    shutil.copy(log_folder(state, "system") / "seg-00000000.log", log_folder(state, "acme") / "seg-00000000.log")
    (problem,) = verify(state).problems
    assert problem.record == "acme/0"
    assert "system" in problem.cause


def _rewrite(state: Path, signer: Signer, number: int, record: bytes) -> None:
    """Somebody who knows the format puts another record in place, with all check sums and a tree of his own."""
    tree = Frontier()
    data = b""
    for found in LogReader(log_folder(state, "acme")).batches():
        if found.header.number:
            break
        batch = found.batch
        records = [record if n == number else r for n, r in enumerate(batch.records, batch.first)]
        for r in records:
            tree.append(leaf_hash(r))
        data += encode_batch(batch.first, records, signer.sign(tree.size, tree.root()))
        path = found.path
    raw = path.read_bytes()
    start = read_header(raw, 0)[1]
    path.write_bytes((raw[:start] + data).ljust(len(raw), b"\0"))


def test_a_record_rewritten_with_its_check_sums_is_found_by_the_signature(state: Path) -> None:
    thief = Signer("ringwall/acme", type(keys())(b"z" * 32).signing_key("x"))
    _rewrite(state, thief, 4, b'{"time":1,"type":"launch","v":1}')
    (problem,) = verify(state).problems
    assert problem.record == "acme/0"
    assert "not signed" in problem.cause


def test_a_log_rewritten_with_the_real_key_contradicts_its_later_segments(state: Path) -> None:
    real = Signer("ringwall/acme", keys().signing_key(audit_signer("acme")))
    _rewrite(state, real, 4, b'{"time":1,"type":"launch","v":1}')
    (problem,) = verify(state).problems
    second = sorted(log_folder(state, "acme").glob("seg-*"))[1]
    assert problem.record == f"acme/{LogReader(log_folder(state, 'acme')).header(second).first}"


def test_a_forked_log_is_found_by_a_checkpoint_kept_elsewhere(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _write(tmp_path / name, 2)
    note = newest(tmp_path / "one", "acme")
    assert SignedCheckpoint.parse(note).checkpoint.size == SignedCheckpoint.parse(newest(tmp_path / "two",
                                                                                        "acme")).checkpoint.size
    assert verify(tmp_path / "one", known=[note]).ok
    (problem,) = verify(tmp_path / "two", known=[note]).problems
    assert problem.record == "acme/3"
    assert "forked" in problem.cause
    _write(tmp_path / "two", 3)
    assert not verify(tmp_path / "two", known=[note]).ok
    _write(tmp_path / "one", 3)
    assert verify(tmp_path / "one", known=[note]).ok


def test_a_log_set_back_to_an_older_copy_is_found(tmp_path: Path) -> None:
    _write(tmp_path / "state", 3)
    shutil.copytree(log_folder(tmp_path / "state", "acme"), tmp_path / "old")
    _write(tmp_path / "state", 3)
    shutil.rmtree(log_folder(tmp_path / "state", "acme"))
    shutil.copytree(tmp_path / "old", log_folder(tmp_path / "state", "acme"))
    (problem,) = verify(tmp_path / "state").problems
    assert problem.record == "acme/6"
    assert "the system log" in problem.cause


def test_a_known_checkpoint_of_no_log_here_is_refused(state: Path) -> None:
    stranger = Signer("elsewhere/acme", keys().signing_key("x")).sign(1, b"r" * 32)
    with pytest.raises(BadInput, match="unknown_log"):
        verify(state, known=[stranger])
    with pytest.raises(BadInput, match="bad_checkpoint"):
        verify(state, known=[b"junk"])


def test_without_a_public_key_nothing_verifies(state: Path) -> None:
    (key_folder(state) / "acme.pub").unlink()
    assert _names(verify(state)) == ["acme/0"]


def test_the_readers_own_copy_of_the_keys_is_what_counts(state: Path, tmp_path: Path) -> None:
    own = load_keys(key_folder(state))
    other = Signer(own["acme"].name, keys().signing_key("other")).verifier
    assert verify(state, own).ok
    assert not verify(state, own | {"acme": other}).ok


def test_a_folder_without_a_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no_log"):
        verify(tmp_path)


def test_a_reader_beside_a_busy_writer_sees_only_what_stands(tmp_path: Path) -> None:
    stop = threading.Event()
    seen: list[Report] = []
    faults: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                seen.append(verify(tmp_path))
        except BaseException as fault:  # noqa: BLE001 (shown below)
            faults.append(fault)

    async def write() -> None:
        async with opened(tmp_path) as journal:
            await journal.note(Event(type="launch", tenant="acme"))
            reader = threading.Thread(target=read)
            reader.start()
            try:
                while len(seen) < 12 and not faults:
                    await asyncio.gather(*(journal.intent(a_call(), verdicts()) for _ in range(5)))
            finally:
                stop.set()
                await asyncio.to_thread(reader.join)

    asyncio.run(write())
    assert not faults, faults
    assert all(report.ok for report in seen), [r.problems for r in seen]
