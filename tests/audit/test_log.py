from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.support import SEGMENT, FakeDisk, a_call, keys, opened, verdicts

from ringwall.audit.checkpoint import SignedCheckpoint, Signer
from ringwall.audit.disk import SystemDisk
from ringwall.audit.journal import read_records
from ringwall.audit.log import MAX_WAITING, TenantLog
from ringwall.audit.reader import LogReader, log_folder
from ringwall.audit.records import effects
from ringwall.audit.verify import verify
from ringwall.clock import SystemClock
from ringwall.errors import AuditError
from ringwall.keys.interface import audit_signer

SIGNER = Signer("test/acme", keys().signing_key(audit_signer("acme")))


def _open(folder: Path, disk: SystemDisk | None = None, segment: int = SEGMENT) -> TenantLog:
    log, _ = TenantLog.open(folder, signer=SIGNER, disk=disk or SystemDisk(), clock=SystemClock(),
                            effects=effects, quota=64 << 20, segment=segment)
    return log


@settings(max_examples=15)
@given(records=st.lists(st.binary(min_size=1, max_size=3000).map(lambda b: b.replace(b"\0", b"x")), max_size=40))
def test_what_is_acknowledged_is_read_back_under_its_number(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("log") / "acme"
    log = _open(folder)
    try:
        answers = [log.append(r, durable=n % 3 == 0) for n, r in enumerate(records)]
        assert [a.result(20) for a in answers] == list(range(len(records)))
        assert log.size == len(records)
        if records:
            assert SignedCheckpoint.parse(log.checkpoint).verify(SIGNER.verifier).size == len(records)
    finally:
        log.close()
    assert list(LogReader(folder).records()) == list(enumerate(records))
    reopened = _open(folder)
    assert reopened.size == len(records)
    reopened.close()


def test_a_lone_durable_record_costs_one_wait_for_the_disk(tmp_path: Path) -> None:
    disk = FakeDisk()
    log = _open(tmp_path / "acme", disk)
    before = disk.syncs
    for n in range(10):
        assert log.append(b"r").result(20) == n
    assert disk.syncs - before == 10
    log.close()


def test_a_record_that_may_lag_goes_with_the_next_durable_one(tmp_path: Path) -> None:
    disk = FakeDisk()
    log = _open(tmp_path / "acme", disk)
    before = disk.syncs
    lagging = log.append(b"later", durable=False)
    durable = log.append(b"now")
    assert (lagging.result(20), durable.result(20)) == (0, 1)
    assert disk.syncs - before == 1
    assert log.append(b"alone", durable=False).result(20) == 2
    log.close()


def test_records_of_a_loop_that_may_lag_wait_for_company_the_clock_or_the_end(tmp_path: Path) -> None:
    disk = FakeDisk()
    log = _open(tmp_path / "acme", disk)

    async def run() -> None:
        before = disk.syncs
        lagging = log.submit(b"later", durable=False)
        assert await log.submit(b"now", durable=True) == 1
        assert await lagging == 0
        assert disk.syncs - before == 1
        assert await log.submit(b"alone", durable=False) == 2
        log.submit(b"last", durable=False)

    asyncio.run(run())
    log.close()
    assert [raw for _, raw in LogReader(tmp_path / "acme").records(0)] == [b"later", b"now", b"alone", b"last"]


def test_a_new_segment_is_written_and_not_only_allocated(tmp_path: Path) -> None:
    def written() -> int:
        counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(counts["wchar"])

    disk, before = SystemDisk(), written()
    fd = disk.allocate(tmp_path / "segment", 3 << 20)
    try:
        assert written() - before >= 3 << 20
        assert os.fstat(fd).st_size == 3 << 20
        assert not os.pread(fd, 3 << 20, 0).strip(b"\0")
    finally:
        os.close(fd)


def test_records_of_the_wrong_form_are_refused(tmp_path: Path) -> None:
    log = _open(tmp_path / "acme")
    for wrong in (b"", b"a\0b"):
        with pytest.raises(ValueError, match="NUL"):
            log.append(wrong)
    with pytest.raises(AuditError, match="record_too_large"):
        log.append(b"x" * SEGMENT)
    log.close()
    with pytest.raises(AuditError, match="audit_closed"):
        log.append(b"x")


def test_a_stuck_disk_fills_neither_memory_nor_the_queue(tmp_path: Path) -> None:
    disk = FakeDisk()
    log = _open(tmp_path / "acme", disk, segment=8 << 20)
    disk.go.clear()
    record = b"x" * (4 << 20)
    answers = [log.append(record) for _ in range(MAX_WAITING // len(record))]
    with pytest.raises(AuditError, match="audit_busy"):
        log.append(b"one more")
    disk.go.set()
    for answer in answers:
        try:
            answer.result(60)
        except AuditError as fault:
            assert fault.code == "audit_quota"
    log.close()


def test_a_log_smaller_than_two_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="audit_quota"):
        TenantLog.open(tmp_path / "acme", signer=SIGNER, disk=SystemDisk(), clock=SystemClock(),
                       effects=effects, quota=SEGMENT, segment=SEGMENT)


def _run_and_kill(state: Path, acknowledgements: int) -> list[str]:
    """Start the writer, kill -9 it after so many acknowledgements; give all it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.audit.writer", str(state)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(acknowledgements)]
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.stdout.close()
    assert child.wait(30) == -signal.SIGKILL
    return [line.strip() for line in lines if line.endswith("\n")]


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async def reopen() -> None:
        async with opened(tmp_path, segment=256 << 10):
            pass

    choose = random.Random(3)  # noqa: S311 (where to kill)
    for _ in range(8):
        acknowledged = _run_and_kill(tmp_path, choose.randrange(1, 150))
        report = verify(tmp_path)
        assert report.ok, report.problems
        present = {f"acme/{r.number} {r.clear['call']}" for r in read_records(tmp_path, "acme", types={"intent"})}
        assert set(acknowledged) <= present
        asyncio.run(reopen())
        report = verify(tmp_path)
        assert report.ok, report.problems
        assert not any(log.notes for log in report.logs)
        records = list(read_records(tmp_path, "acme"))
        ended = {r.clear["of"] for r in records if r.type == "outcome"}
        assert {r.number for r in records if r.type == "intent"} == ended


def _tear(folder: Path, keep: int) -> int:
    """Make the last batch look like a write that stopped after ``keep`` bytes; give the record it began with."""
    last = list(LogReader(folder).batches())[-1]
    raw = bytearray(last.path.read_bytes())
    raw[last.batch.offset + keep:last.batch.end] = bytes(last.batch.end - last.batch.offset - keep)
    last.path.write_bytes(raw)
    return last.batch.first


@pytest.mark.parametrize("keep", [1, 30, 700])
def test_an_unfinished_batch_is_left_alone_by_readers_and_cut_and_recorded_by_the_core(
    tmp_path: Path, keep: int
) -> None:
    async def write() -> None:
        async with opened(tmp_path) as journal:
            for n in range(3):
                await journal.intent(a_call(id=str(n)), verdicts())

    asyncio.run(write())
    folder = log_folder(tmp_path, "acme")
    # The core was killed while writing: neither head nor system log know of this batch.
    (folder / "head").write_bytes(b"")
    _forget_last_words(tmp_path)
    assert _tear(folder, keep) == 2
    before = (folder / "seg-00000000.log").read_bytes()
    report = verify(tmp_path)
    assert report.ok, report.problems
    assert any("unfinished batch from acme/2 on, not yet cut" in n for log in report.logs for n in log.notes)
    assert [r.number for r in read_records(tmp_path, "acme")] == [0, 1]
    assert (folder / "seg-00000000.log").read_bytes() == before
    asyncio.run(write())
    cuts = list(read_records(tmp_path, "acme", types={"cut"}))
    assert [(c.number, c.clear["bytes"]) for c in cuts] == [(2, keep)]
    assert verify(tmp_path).ok


def _forget_last_words(state: Path) -> None:
    """As if the core had been killed: the system log without its record of how long acme was."""
    folder = log_folder(state, "system")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    log, _ = TenantLog.open(folder, signer=Signer("ringwall/system", keys().signing_key(audit_signer("system"))),
                            disk=SystemDisk(), clock=SystemClock(), effects=effects, quota=64 << 20,
                            segment=SEGMENT)
    log.close()


def test_an_acknowledged_batch_that_was_made_to_look_unfinished_is_damage(tmp_path: Path) -> None:
    async def write() -> None:
        async with opened(tmp_path) as journal:
            for n in range(3):
                await journal.intent(a_call(id=str(n)), verdicts())

    asyncio.run(write())
    _tear(log_folder(tmp_path, "acme"), 100)
    report = verify(tmp_path)
    assert [p.record for p in report.problems] == ["acme/2"]


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT + 1000, SEGMENT + 1000))


def test_a_limit_on_file_sizes_is_a_refusal_and_not_a_crash(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.audit.support import *\n"
        "async def main():\n"
        "    try:\n"
        "        async with opened(Path(sys.argv[1]), segment=1 << 20): pass\n"
        "    except Exception as fault: print(fault.code)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], preexec_fn=_limited, text=True, capture_output=True,
        cwd=Path(__file__).parents[2], timeout=60, check=True,
    )
    assert done.stdout.strip() == "audit_disk_full", done.stderr


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full_refuses_intents_and_loses_nothing(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")

    async def scene() -> int:
        done = 0
        async with opened(tmp_path, segment=256 << 10) as journal:
            for n in range(5000):
                try:
                    await journal.intent(a_call(id=str(n)), verdicts())
                except AuditError as fault:
                    assert fault.code == "audit_disk_full"
                    return done
                done += 1
        raise AssertionError("the disk never became full")

    try:
        acknowledged = asyncio.run(scene())
        assert acknowledged > 100
        assert verify(tmp_path).ok
        assert len(list(read_records(tmp_path, "acme", types={"intent"}))) == acknowledged
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
