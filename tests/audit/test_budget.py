from __future__ import annotations

import asyncio
import hmac
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.support import FakeClock, a_call, agent, keys, opened, operator, verdicts
from tests.fakes import run

from ringwall.audit.budget import SHORT_PART, WHOLE_AT_ONCE, WHOLE_PART, LogBudget
from ringwall.audit.disk import SystemDisk
from ringwall.audit.journal import AuditJournal, read_records
from ringwall.audit.reader import log_folder
from ringwall.audit.sessions import KeyRing
from ringwall.audit.verify import verify
from ringwall.call import Call, Event, LaunchId, Outcome, Process, canonical, subject_name
from ringwall.cli.audit import audit
from ringwall.errors import AuditError
from ringwall.identity.spiffe import SpiffeId
from ringwall.keys.file import FileRootKeys
from ringwall.limits.gcra import Gcra

QUOTA_MIB = 16
QUOTA = QUOTA_MIB << 20
OTHER = Process(
    spiffe_id=SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="other", role="reader"),
    launch=LaunchId("l2"), connection=4,
)


def budgeted(clock: FakeClock) -> dict[str, object]:
    return {"clock": clock, "quota_mib": QUOTA_MIB, "segment": 1 << 20, "budget": LogBudget(Gcra(clock), QUOTA)}


def written(state: Path, subject: str) -> int:
    """Bytes of an agent's records."""
    clear = [record for record in read_records(state, "acme") if record.clear.get("subject") == subject]
    return sum(len(canonical(dict(r.clear))) + len(r.sealed or b"") * 4 // 3 for r in clear)


def big(size: int = 200_000) -> Call:
    return a_call({"text": "x" * size})


async def refused(journal: AuditJournal, call: Call) -> str:
    try:
        await journal.refusal(call, verdicts("guard", "secret"))
    except AuditError as fault:
        return fault.code
    return ""


def test_an_hour_of_one_agents_flood_costs_less_than_a_fifth_of_the_quota_and_others_go_on(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = FakeClock()
        codes: set[str] = set()
        async with opened(tmp_path, **budgeted(clock)) as journal:
            for _ in range(60):
                for _ in range(8):
                    codes.add(await refused(journal, big()))
                for _ in range(40):
                    codes.add(await refused(journal, a_call()))
                seq = await journal.intent(a_call(subject=OTHER), verdicts())
                await journal.outcome(seq, Outcome(end="done"))
                clock.time += 60
        assert codes == {"", "log_budget"}
        assert QUOTA // WHOLE_AT_ONCE < written(tmp_path, subject_name(agent())) < QUOTA // 5
        used = sum(p.stat().st_size for p in log_folder(tmp_path, "acme").glob("seg-*"))
        assert used < QUOTA * 3 // 8  # whole segments, the last not full
        assert verify(tmp_path).ok

    run(scene())


def test_a_long_refusal_beyond_the_first_part_keeps_its_verdicts_and_its_bodys_length_and_hash(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        async with opened(tmp_path, **budgeted(FakeClock())) as journal:
            while True:
                await journal.refusal(big(), verdicts("guard", "secret"))
                *_, record = journal.records("acme")
                if record.sealed is None:
                    break
            assert record.clear["verdicts"][-1] == ["guard", "denied", "secret"]
            assert record.left_out is not None
            assert record.left_out > 200_000
            assert set(record.clear["hashes"]) == {"*"}
            assert journal.unsealed("acme", record) is None
            await journal.refusal(a_call(), verdicts("guard", "secret"))
            *_, short = journal.records("acme")
            assert journal.unsealed("acme", short)["input"]["call"]["args"] == a_call().args

    run(scene())


def test_the_hash_of_a_left_out_body_is_of_what_would_have_been_sealed_under_the_sessions_key(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        clock = FakeClock()
        async with opened(tmp_path, **budgeted(clock)) as journal:
            for _ in range(30):
                await journal.refusal(big(), verdicts("guard", "secret"))
            whole, *_, left = journal.records("acme")
            body = journal.unsealed("acme", whole)  # the clock stands: all are equal
            ring = KeyRing.read(log_folder(tmp_path, "acme"), keys(), SystemDisk())
            key = ring.by_id(left.key_id)
            assert key is not None
            raw = canonical(body)
            assert left.clear["left_out"] == {
                "bytes": len(raw), "hmac": hmac.digest(key.mac, raw, "sha256").hex(),
            }

    run(scene())


def test_a_call_that_would_run_is_refused_rather_than_recorded_without_its_arguments(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = FakeClock()
        async with opened(tmp_path, **budgeted(clock)) as journal:
            with pytest.raises(AuditError) as fault:
                for _ in range(20):
                    await journal.intent(big(), verdicts())
            assert fault.value.code == "log_budget"
            with pytest.raises(AuditError):
                await journal.held(big(), verdicts())
            assert await journal.refusal(big(), verdicts("guard"))
            clock.time += 3600
            assert await journal.intent(big(), verdicts())
        assert all(r.left_out is None for r in read_records(tmp_path, "acme") if r.type == "intent")

    run(scene())


def test_requests_that_never_became_a_call_cost_their_agent_and_other_events_cost_nobody(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path, **budgeted(FakeClock())) as journal:
            bad = Event(type="refused_before_call", tenant="acme", subject=subject_name(agent()),
                        body={"code": "x" * 4000})
            with pytest.raises(AuditError) as fault:
                for _ in range(400):
                    await journal.note(bad)
            assert fault.value.code == "log_budget"
            assert await journal.note(Event(type="label", tenant="acme", subject=subject_name(agent())))
            assert await journal.intent(a_call(), verdicts())  # the other part is untouched

    run(scene())


def test_what_operators_do_is_recorded_without_limit(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path, **budgeted(FakeClock())) as journal:
            for _ in range(30):
                await journal.intent(a_call({"text": "x" * 200_000}, subject=operator(), session=None), verdicts())

    run(scene())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 600)), max_size=200))
def test_no_window_of_an_hour_holds_more_than_the_two_parts_twice(attempts: list[tuple[int, int]]) -> None:
    clock = FakeClock()
    budget = LogBudget(Gcra(clock), QUOTA)
    taken: list[tuple[float, int]] = []
    for size, pause in attempts:
        clock.time += pause
        if budget.whole(agent(), size + 1) or budget.short(agent(), size + 1):
            taken.append((clock.time, size + 1))
    most = QUOTA // WHOLE_AT_ONCE + QUOTA // WHOLE_PART + 2 * (QUOTA // SHORT_PART)
    for end, _ in taken:
        assert sum(size for at, size in taken if end - 3600 < at <= end) <= most


def test_show_says_that_a_body_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = FileRootKeys.create(tmp_path / "root.key")
    monkeypatch.setattr("tests.audit.support.keys", lambda: made)

    async def scene() -> int:
        async with opened(tmp_path, **budgeted(FakeClock())) as journal:
            for _ in range(30):
                await journal.refusal(big(), verdicts("guard", "secret"))
            return journal._tenants["acme"].log.size

    last = asyncio.run(scene()) - 1
    shown = CliRunner().invoke(audit, ["show", f"acme/{last}", "--state", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "left out" in shown.stdout
    assert "had used up its part of the log" in " ".join(shown.stdout.split())
    as_json = CliRunner().invoke(audit, ["show", f"acme/{last}", "--state", str(tmp_path), "--json"])
    assert "left out" in json.loads(as_json.stdout)["body_note"]
