from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.audit.support import FakeClock, FakeDisk, a_call, keys, opened, operator, verdicts

from ringwall.audit.journal import AuditJournal, read_records
from ringwall.audit.reader import log_folder
from ringwall.audit.verify import verify
from ringwall.call import Event, Outcome, SessionId, Usage
from ringwall.errors import AuditError, BadInput
from ringwall.interface import Seq


def _types(state: Path, tenant: str = "acme") -> list[str]:
    return [r.type for r in read_records(state, tenant)]


def _code(fault: pytest.ExceptionInfo[AuditError]) -> str:
    return fault.value.code


def test_an_intent_its_outcome_and_a_note_are_numbered_and_read_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            assert await journal.intent(a_call(), verdicts()) == "acme/0"
            await journal.outcome(Seq("acme/0"), Outcome(end="done", usage=Usage(tokens_in=3), seconds=0.5))
            assert await journal.note(Event(type="label_change", tenant="acme", body={"to": "U"})) == "acme/2"
            assert await journal.refusal(a_call(), verdicts("flow", "untrusted_value")) == "acme/3"
        intent, outcome, note, refused = read_records(tmp_path, "acme")
        assert intent.clear["subject"] == "spiffe://acme.example/tenant/acme/agent/analyst/role/reader"
        assert intent.clear["policy"] == "rev-1"
        assert intent.clear["identity"]["strength"] == "strong"
        assert (outcome.clear["of"], outcome.clear["end"], outcome.clear["usage"]["tokens_in"]) == (0, "done", 3)
        assert note.body == {"to": "U"}
        assert refused.clear["verdicts"][-1] == ["flow", "denied", "untrusted_value"]
        assert verify(tmp_path).ok

    asyncio.run(scene())


def test_arguments_and_reasons_are_not_readable_on_disk_and_are_with_the_key(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            await journal.refusal(a_call({"path": "/very/private"}), verdicts("flow"))
            raw = b"".join(p.read_bytes() for p in log_folder(tmp_path, "acme").glob("seg-*"))
            assert b"very/private" not in raw
            assert b"outside the grant" not in raw
            (record,) = journal.records("acme")
            body = journal.unsealed("acme", record)
            assert body["input"]["call"]["args"] == {"path": "/very/private"}
            assert body["verdicts"][-1]["reason"].startswith("the argument")
            assert set(record.clear["hashes"]) == {"*", "path"}

    asyncio.run(scene())


def test_equal_values_have_equal_hashes_within_a_session_only(tmp_path: Path) -> None:
    async def scene() -> list[dict[str, str]]:
        async with opened(tmp_path) as journal:
            for session in ("s1", "s1", "s2"):
                await journal.intent(a_call({"a": "x", "b": "x", "c/d": ["x"]}, session=session), verdicts())
            return [r.clear["hashes"] for r in journal.records("acme")]

    one, same, other = asyncio.run(scene())
    assert one == same
    assert one["a"] == one["b"] == one["c~1d/0"]
    assert one["a"] != other["a"]


def test_names_of_arguments_that_no_schema_has_passed_are_not_in_clear(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            await journal.refusal(a_call({"the secret is 42": 1}), verdicts("capability"))
            (record,) = journal.records("acme")
            assert set(record.clear["hashes"]) == {"*"}

    asyncio.run(scene())


def test_a_body_moved_to_another_record_does_not_open(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            await journal.intent(a_call(id="c1"), verdicts())
            await journal.intent(a_call(id="c2"), verdicts())
            one, two = journal.records("acme")
            swapped = type(one)(one.number, one.clear, two.sealed)
            with pytest.raises(BadInput):
                journal.unsealed("acme", swapped)

    asyncio.run(scene())


def test_forgetting_a_session_leaves_the_proofs_and_nothing_else(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            await journal.intent(a_call(session="s1"), verdicts())
            await journal.intent(a_call(session="s2"), verdicts())
            await journal.forget("acme", SessionId("s1"))
            one, two, forgotten = journal.records("acme")
            assert journal.unsealed("acme", one) is None
            assert journal.unsealed("acme", two)["input"]["call"]["session"] == "s2"
            assert forgotten.type == "session_forgotten"
            assert await journal.intent(a_call(session="s1"), verdicts()) == "acme/3"
            assert journal.unsealed("acme", one) is None  # the new key is another one
        assert verify(tmp_path).ok
        async with opened(tmp_path) as journal:
            one, two, *_ = journal.records("acme")
            assert journal.unsealed("acme", one) is None
            assert journal.unsealed("acme", two) is not None

    asyncio.run(scene())


def test_two_tenants_share_neither_numbers_nor_keys(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            assert await journal.intent(a_call(tenant="acme"), verdicts()) == "acme/0"
            assert await journal.intent(a_call(tenant="beta"), verdicts()) == "beta/0"
            (mine,), (theirs,) = journal.records("acme"), journal.records("beta")
            assert journal.unsealed("beta", mine) is None
            assert mine.clear["hashes"]["*"] != theirs.clear["hashes"]["*"]
        for name in ("acme", "beta"):
            folder = log_folder(tmp_path, name)
            (folder / "keep").write_bytes((folder / "session-keys").read_bytes())
        acme, beta = log_folder(tmp_path, "acme"), log_folder(tmp_path, "beta")
        (beta / "session-keys").write_bytes((acme / "keep").read_bytes())
        async with opened(tmp_path) as journal:
            assert journal.faults["beta"].code == "wrong_root_key"
            assert await journal.intent(a_call(tenant="acme"), verdicts()) == "acme/2"  # acme/1: unknown

    asyncio.run(scene())


def test_an_operator_is_recorded_in_the_system_log(tmp_path: Path) -> None:
    async def scene() -> str:
        async with opened(tmp_path) as journal:
            return await journal.intent(a_call(subject=operator(), session=None), verdicts())

    assert asyncio.run(scene()).startswith("system/")


def test_intents_of_a_dead_core_get_the_outcome_unknown_once(tmp_path: Path) -> None:
    async def first() -> None:
        async with opened(tmp_path) as journal:
            for n in range(3):
                await journal.intent(a_call(id=f"c{n}"), verdicts())
            await journal.outcome(Seq("acme/1"), Outcome(end="done"))

    async def again() -> list[tuple[int, str]]:
        async with opened(tmp_path) as journal:
            return [(r.clear["of"], r.clear["end"]) for r in journal.records("acme", types={"outcome"})]

    asyncio.run(first())
    assert asyncio.run(again()) == [(1, "done"), (0, "unknown"), (2, "unknown")]
    assert asyncio.run(again()) == [(1, "done"), (0, "unknown"), (2, "unknown")]


def test_open_intents_are_found_over_many_segments(tmp_path: Path) -> None:
    async def first() -> None:
        async with opened(tmp_path) as journal:
            await journal.intent(a_call(id="left open"), verdicts())
            for n in range(150):
                seq = await journal.intent(a_call(id=f"c{n}"), verdicts())
                await journal.outcome(seq, Outcome(end="done"))
        assert len(list(log_folder(tmp_path, "acme").glob("seg-*"))) > 2

    async def again() -> list[int]:
        async with opened(tmp_path) as journal:
            found = journal.records("acme", types={"outcome"})
            return [r.clear["of"] for r in found if r.clear["end"] == "unknown"]

    asyncio.run(first())
    assert asyncio.run(again()) == [0]
    assert verify(tmp_path).ok


def test_an_outcome_without_its_intent_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            seq = await journal.intent(a_call(), verdicts())
            await journal.outcome(seq, Outcome(end="done"))
            for wrong in (seq, "acme/7", "beta/0", "", "acme/", "acme/-1", "acme/²"):
                with pytest.raises(AuditError) as found:
                    await journal.outcome(Seq(wrong), Outcome(end="done"))
                assert _code(found) == "bad_seq"

    asyncio.run(scene())


def test_equal_events_become_one_counted_record_a_second_and_none_is_lost(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scene() -> None:
        async with opened(tmp_path, clock=clock) as journal:
            await journal.note(Event(type="launch", tenant="acme"))
            flood = Event(type="refused_before_call", tenant="acme", subject="x", body={"code": "rate"})
            for _ in range(500):
                journal.count(flood)
            journal.flush_counts()
            assert _types(tmp_path) == ["launch"]
            clock.time += 1.0
            journal.flush_counts()
            for _ in range(7):
                journal.count(flood)
            journal.count(Event(type="refused_before_call", tenant="nobody"))
        counted = [r for r in read_records(tmp_path, "acme") if "count" in r.clear]
        assert [r.clear["count"] for r in counted] == [500, 7]
        assert [r.clear["count"] for r in read_records(tmp_path, "system") if "count" in r.clear] == [1]

    asyncio.run(scene())


def test_a_flood_of_different_events_is_bounded_and_counted(tmp_path: Path) -> None:
    async def scene() -> list[int]:
        async with opened(tmp_path, clock=FakeClock()) as journal:
            await journal.note(Event(type="launch", tenant="acme"))
            for n in range(1500):
                journal.count(Event(type="refused_before_call", tenant="acme", body={"n": n}))
        return [r.clear["count"] for r in read_records(tmp_path, "acme") if "count" in r.clear]

    counts = asyncio.run(scene())
    assert sum(counts) == 1500
    assert len(counts) == 1025


def test_a_slow_disk_refuses_in_time_and_the_late_intent_is_closed(tmp_path: Path) -> None:
    disk = FakeDisk()

    async def scene() -> None:
        async with opened(tmp_path, disk=disk, deadline=0.02) as journal:
            await _until_opened(journal)
            disk.go.clear()
            with pytest.raises(AuditError) as found:
                await journal.intent(a_call(id="late"), verdicts())
            assert _code(found) == "audit_slow"
            disk.go.set()
            seq = await _patiently(journal)
            await journal.outcome(seq, Outcome(end="done"))
        ends = [(r.clear["of"], r.clear["end"], r.clear["code"]) for r in read_records(tmp_path, "acme")
                if r.type == "outcome"]
        late = next(r.number for r in read_records(tmp_path, "acme") if r.clear.get("call") == "late")
        assert (late, "refused", "not_acknowledged") in ends
        assert verify(tmp_path).ok

    asyncio.run(scene())


async def _patiently(journal: AuditJournal) -> Seq:
    """The deadline is short here, the machine may be busy: ask again until it is met."""
    while True:
        try:
            return await journal.intent(a_call(id="later"), verdicts())
        except AuditError as fault:
            assert fault.code == "audit_slow"


async def _until_opened(journal: AuditJournal) -> None:
    await journal.outcome(await _patiently(journal), Outcome(end="done"))


def test_a_cancelled_caller_leaves_no_intent_open(tmp_path: Path) -> None:
    disk = FakeDisk()

    async def scene() -> None:
        async with opened(tmp_path, disk=disk) as journal:
            seq = await journal.intent(a_call(), verdicts())
            await journal.outcome(seq, Outcome(end="done"))
            disk.go.clear()
            task = asyncio.create_task(journal.intent(a_call(id="gone"), verdicts()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            disk.go.set()
            await journal.note(Event(type="after", tenant="acme"))
        opened_again = [r.clear.get("end") for r in read_records(tmp_path, "acme", types={"outcome"})]
        assert opened_again == ["done", "refused"]

    asyncio.run(scene())


def _full(disk: FakeDisk) -> None:
    disk.allocate_error = errno.ENOSPC


def test_a_full_disk_stops_intents_first_and_outcomes_still_fit(tmp_path: Path) -> None:
    disk, clock = FakeDisk(), FakeClock()

    async def scene() -> None:
        async with opened(tmp_path, disk=disk, clock=clock) as journal:
            running = [await journal.intent(a_call(id=str(n)), verdicts()) for n in range(5)]
            _full(disk)
            found = await _fill(journal)
            assert found.code == "audit_disk_full"
            assert not journal.status()["logs"]["acme"]["room"]
            for seq in running:
                await journal.outcome(seq, Outcome(end="done"))
            with pytest.raises(AuditError):
                await journal.note(Event(type="label_change", tenant="acme"))
            disk.allocate_error = None
            clock.time += 1
            assert await journal.intent(a_call(), verdicts())
        ends = [r.clear["of"] for r in read_records(tmp_path, "acme", types={"outcome"})]
        assert {int(s.split("/")[1]) for s in running} <= set(ends)
        assert verify(tmp_path).ok

    asyncio.run(scene())


async def _fill(journal: AuditJournal) -> AuditError:
    """Calls until one is refused."""
    for _ in range(500):
        try:
            seq = await journal.intent(a_call(), verdicts())
        except AuditError as fault:
            return fault
        await journal.outcome(seq, Outcome(end="done"))
    raise AssertionError("the log never became full")


def test_the_quota_of_one_tenant_stops_that_tenant_only(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path, quota_mib=1, segment=256 << 10) as journal:
            found = await _fill(journal)
            assert found.code == "audit_quota"
            assert await journal.intent(a_call(tenant="beta"), verdicts()) == "beta/0"
        used = sum(p.stat().st_size for p in log_folder(tmp_path, "acme").glob("seg-*"))
        assert used <= 1 << 20

    asyncio.run(scene())


@pytest.mark.parametrize(("number", "code"), [
    (errno.EIO, "audit_io_error"), (errno.EROFS, "audit_read_only"), (errno.ENOSPC, "audit_disk_full"),
])
def test_a_failed_write_refuses_everything_until_the_log_is_opened_again(
    tmp_path: Path, number: int, code: str
) -> None:
    disk = FakeDisk()

    async def scene() -> None:
        async with opened(tmp_path, disk=disk) as journal:
            await journal.intent(a_call(), verdicts())
            disk.write_error = number
            with pytest.raises(AuditError) as found:
                await journal.intent(a_call(), verdicts())
            assert _code(found) == code
            assert found.value.remedy
            disk.write_error = None
            with pytest.raises(AuditError) as found:
                await journal.intent(a_call(), verdicts())
            assert _code(found) == code
            assert journal.faults["acme"].code == code
            assert await journal.intent(a_call(tenant="beta"), verdicts()) == "beta/0"
        async with opened(tmp_path) as journal:
            assert await journal.intent(a_call(), verdicts()) == "acme/2"
        assert verify(tmp_path).ok

    asyncio.run(scene())


def test_a_second_core_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path):
            with pytest.raises(AuditError) as found:
                AuditJournal.open(tmp_path, keys(), FakeClock(), quota_mib=64)
            assert _code(found) == "audit_locked"

    asyncio.run(scene())


def test_another_root_key_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            await journal.intent(a_call(), verdicts())

    asyncio.run(scene())
    with pytest.raises(AuditError) as found:
        AuditJournal.open(tmp_path, type(keys())(b"z" * 32), FakeClock(), quota_mib=64)
    assert _code(found) == "key_changed"
    assert verify(tmp_path).ok


def test_a_damaged_log_keeps_its_tenant_out_and_nobody_else(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            await journal.intent(a_call(), verdicts())
            await journal.intent(a_call(tenant="beta"), verdicts())
        segment = log_folder(tmp_path, "acme") / "seg-00000000.log"
        raw = bytearray(segment.read_bytes())
        raw[400] ^= 1
        segment.write_bytes(raw)
        async with opened(tmp_path) as journal:
            assert "acme/0" in journal.faults["acme"].cause
            with pytest.raises(AuditError) as found:
                await journal.intent(a_call(), verdicts())
            assert _code(found) == "audit_damaged"
            assert await journal.note(Event(type="x", tenant="beta")) == "beta/2"
        assert segment.read_bytes() == bytes(raw)

    asyncio.run(scene())


@pytest.mark.parametrize("tenant", ["", ".", "..", "a/b", "a\0", "é", "x" * 201, "../acme"])
def test_a_tenant_whose_name_is_no_folder_gets_no_log(tmp_path: Path, tenant: str) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            with pytest.raises(AuditError) as found:
                await journal.note(Event(type="launch", tenant=tenant))
            assert _code(found) == "bad_tenant"

    asyncio.run(scene())
    assert sorted(p.name for p in (tmp_path / "audit").iterdir()) == ["keys", "system"]


@pytest.mark.parametrize("type_", ["", "intent", "outcome", "refused", "cut", "Bad", "a b", "x" * 65, "ü"])
def test_an_event_cannot_pose_as_a_record_of_the_log(tmp_path: Path, type_: str) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            with pytest.raises(AuditError) as found:
                await journal.note(Event(type=type_, tenant="acme"))
            assert _code(found) == "bad_event"
            with pytest.raises(AuditError):
                journal.count(Event(type=type_, tenant="acme"))

    asyncio.run(scene())


@pytest.mark.parametrize("value", [{"x": object()}, {"x": "\ud800"}, {"x": {1j}}])
def test_values_that_json_cannot_hold_are_refused_not_lost(tmp_path: Path, value: Any) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            with pytest.raises(AuditError) as found:
                await journal.note(Event(type="launch", tenant="acme", body=value))
            assert _code(found) == "bad_record"

    asyncio.run(scene())


def test_a_call_too_large_to_record_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            with pytest.raises(AuditError) as found:
                await journal.intent(a_call({"text": "x" * (1 << 20)}), verdicts())
            assert _code(found) == "record_too_large"

    asyncio.run(scene())


def test_standing_facts_are_in_every_record(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            journal.set_standing({"advice": ["guard"]})
            await journal.intent(a_call(), verdicts())
            await journal.note(Event(type="launch", tenant="acme"))
            assert [r.clear["standing"] for r in journal.records("acme")] == [{"advice": ["guard"]}] * 2

    asyncio.run(scene())


def test_after_close_everything_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            pass
        for attempt in (journal.intent(a_call(), verdicts()), journal.note(Event(type="x", tenant="system"))):
            with pytest.raises(AuditError) as found:
                await attempt
            assert _code(found) == "audit_closed"
        await journal.close()

    asyncio.run(scene())


def test_many_calls_at_once_share_their_waits_for_the_disk(tmp_path: Path) -> None:
    disk = FakeDisk()

    async def scene() -> None:
        async with opened(tmp_path, disk=disk, segment=1 << 20) as journal:
            await journal.intent(a_call(), verdicts())
            before = disk.syncs
            names = await asyncio.gather(*(journal.intent(a_call(id=str(n)), verdicts()) for n in range(200)))
            assert len(set(names)) == 200
            assert disk.syncs - before < 100

    asyncio.run(scene())
    assert verify(tmp_path).ok


def test_files_of_the_log_are_for_their_owner_only(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as journal:
            await journal.intent(a_call(), verdicts())

    before = os.umask(0)
    try:
        asyncio.run(scene())
    finally:
        os.umask(before)
    for path in (tmp_path / "audit" / "acme").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
