"""Records of messages: both ends, direction, method, skill and trace in clear; what was said is sealed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.audit.support import FakeClock, opened, verdicts
from tests.fakes import FakeClock as WallClock
from tests.fakes import FakeJournal

from ringwall.audit.budget import BATCH, BEFORE_CALL, LogBudget
from ringwall.audit.journal import read_records
from ringwall.audit.records import MAX_CLEAR_CHAIN, WHOLE, Record, call_record, parse_record
from ringwall.audit.sessions import SessionKey
from ringwall.call import (
    Call,
    CallId,
    Event,
    Json,
    Kind,
    LaunchId,
    Outcome,
    Peer,
    Process,
    SessionId,
    Subject,
    Target,
    canonical,
)
from ringwall.cli.audit import audit
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Origin, Refusal
from ringwall.keys.file import FileRootKeys
from ringwall.limits.attempts import AttemptBudget
from ringwall.limits.gcra import Gcra
from ringwall.wall import Wall

KEY = SessionKey("k1", "s1", b"k" * 32)
ANA = SpiffeId.make(trust_domain="own.example", tenant="acme", agent="ana", role="clerk")
FAR = "spiffe://far.example/quotes"
PEER = Peer(spiffe_id=AnyId.parse(FAR), receiver=ANA, launch=LaunchId("l"), connection=1)
PROCESS = Process(spiffe_id=ANA, launch=LaunchId("l"), connection=1)
SAID = {"message": {"parts": [{"text": "the plan"}], "metadata": {"a hidden name": "x"}}}


def made(subject: Subject, args: Json, acting_for: tuple[str, ...] = ()) -> Call:
    return Call.make(id=CallId("c"), kind="message", subject=subject, session=SessionId("s1"), args=args,
                     acting_for=acting_for,
                     target=Target(name="far/quote", direction="in" if isinstance(subject, Peer) else "out"))


def recorded(call: Call, *, whole: bool = True) -> Record:
    raw = call_record(call, verdicts(), type="intent", now=1.0, key=KEY, standing={}, whole=whole)
    assert b"the plan" not in raw and b"a hidden name" not in raw
    return parse_record(1, raw)


def test_a_message_that_goes_out_names_both_ends_and_its_trace() -> None:
    call = made(PROCESS, {"method": "SendMessage", "peer": FAR, "skill": "quote", "params": SAID, "hops": 1,
                          "trace": "ab" * 16}, acting_for=tuple(f"spiffe://x.example/{n}" for n in range(20)))
    record = recorded(call)
    assert record.clear["message"] == {"direction": "out", "sender": str(ANA), "receiver": FAR, "trace": "ab" * 16,
                                       "method": "SendMessage", "skill": "quote"}
    assert len(record.clear["acting_for"]) == MAX_CLEAR_CHAIN
    assert set(record.clear["hashes"]) == {WHOLE}
    body = record.unseal(KEY)
    assert body["input"]["call"]["args"]["params"] == SAID and len(body["input"]["call"]["acting_for"]) == 20


def test_a_message_that_comes_in_names_the_record_of_its_other_half() -> None:
    envelope = {"label": "M private", "chain": [], "record": "globex/57", "id": "e1", "trace": "cd" * 16}
    call = made(PEER, {"method": "SendMessage", "peer": FAR, "skill": "quote", "params": SAID,
                       "envelope": envelope})
    clear = recorded(call).clear
    assert clear["tenant"] == "acme" and clear["subject"] == FAR and "acting_for" not in clear
    assert clear["message"] == {
        "direction": "in", "sender": FAR, "receiver": str(ANA), "method": "SendMessage", "skill": "quote",
        "trace": "cd" * 16, "envelope": "e1", "record": "globex/57"}
    assert recorded(call, whole=False).clear["message"] == clear["message"]


def test_arguments_of_any_form_leave_a_record() -> None:
    for args in (None, [], {"peer": 1, "envelope": [], "method": None},
                 {"envelope": {"trace": {}}, "skill": "x" * 999}):
        found = recorded(made(PEER, args)).clear["message"]
        assert found["receiver"] == str(ANA) and len(found["skill"]) <= 200


def test_a_peer_that_floods_fills_its_own_part_of_the_log_and_nobody_elses() -> None:
    budget = LogBudget(Gcra(FakeClock()), 16 << 20)
    far = AnyId.parse("spiffe://far.example/other")
    other = Peer(spiffe_id=far, receiver=ANA, launch=LaunchId("l"), connection=2)
    sam = SpiffeId.make(trust_domain="own.example", tenant="acme", agent="sam", role="clerk")
    elsewhere = Peer(spiffe_id=PEER.spiffe_id, receiver=sam, launch=LaunchId("l"), connection=3)
    while budget.whole(PEER, 100_000):
        pass
    while budget.short(PEER, 1000):
        pass
    before = Event(type="refused_before_call", tenant="acme", subject=FAR, body={"receiver": str(ANA)})
    assert not budget.event(before, 1000)
    for one in (other, elsewhere, PROCESS):
        assert budget.whole(one, 100_000) and budget.short(one, 1000)


class Nothing:
    def resolve(self, origin: Origin, kind: Kind, raw: bytes) -> Call:
        raise BadInput("no message", code="a2a_bad")


def test_what_never_became_a_message_is_on_record_with_both_ends(tmp_path: Path) -> None:
    journal = FakeJournal()
    wall = Wall(rings=(), effects={}, resolver=Nothing(), attempts=AttemptBudget(WallClock()), journal=journal,
                clock=WallClock())
    refused = asyncio.run(wall.admit(Origin(subject=PEER, session="s1", key=f"{ANA}|{FAR}"), "message", b"x"))
    assert isinstance(refused, Refusal) and refused.code == "a2a_bad"
    (event,) = journal.of("note")
    assert (event.tenant, event.subject) == ("acme", FAR)
    assert event.body == {"kind": "message", "code": "a2a_bad", "launch": "", "receiver": str(ANA)}


def test_operators_see_both_ends_the_way_and_the_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    made_keys = FileRootKeys.create(state / "root.key")
    monkeypatch.setattr("tests.audit.support.keys", lambda: made_keys)
    monkeypatch.setenv("RINGWALL_STATE", str(state))
    envelope = {"label": "M private", "chain": [], "record": "globex/57", "id": "e1", "trace": "cd" * 16}
    args = {"method": "SendMessage", "peer": FAR, "skill": "quote", "params": SAID}

    async def scene() -> None:
        async with opened(state) as journal:
            await journal.refusal(made(PEER, {**args, "envelope": envelope}), verdicts("guard", "injection"))
            await journal.refusal(made(PROCESS, args, acting_for=(FAR,)), verdicts("capability", "loop"))

    asyncio.run(scene())
    tail = CliRunner().invoke(audit, ["tail", "acme"]).output
    assert "guard: injection  message in far/quote" in tail and "capability: loop  message out far/quote" in tail
    first, second = (" ".join(CliRunner().invoke(audit, ["show", name]).output.split())
                     for name in ("acme/0", "acme/1"))
    assert FAR in first and f"in, to {ANA} SendMessage" in first
    assert "cd" * 16 in first and "globex/57" in first
    assert f"out, to {FAR} SendMessage" in second and f"for {FAR}" in second


def test_a_flood_of_messages_pays_for_the_records_of_their_tasks_too(tmp_path: Path) -> None:
    """A server that makes a task of every message: all it brings about is less than a fifth of the log."""
    quota, clock = 1 << 20, FakeClock()

    async def flood() -> int:
        journal_of = {"clock": clock, "quota_mib": 16, "segment": 1 << 20, "budget": LogBudget(Gcra(clock), quota)}
        who, taken = {"local": str(ANA), "other": FAR}, 0
        async with opened(tmp_path, **journal_of) as journal:
            while True:
                args = {"method": "SendMessage", "peer": FAR, "skill": "quote", "params": SAID, "envelope": None}
                try:
                    seq = await journal.intent(made(PEER, args), verdicts())
                except AuditError as full:
                    assert full.code == "log_budget"
                    break
                seen = {**who, "message": "ab" * 16, "digest": "ab" * 32, "at": 1.5, "session": "s1", "chain": []}
                task = {**who, "direction": "in", "task": "t" * 36, "at": 1.5, "ended": 0.0, "skill": "quote",
                        "context": "c" * 36, "state": "TASK_STATE_WORKING", "sessions": ["s1"], "chain": [FAR]}
                for kind, body in (("message", seen), ("task", task), ("task", {**task, "ended": 2.5})):
                    await journal.note(Event(type=kind, tenant="acme", session=SessionId("s1"), body=body))
                await journal.outcome(seq, Outcome(end="done"))
                taken += 1
        assert taken > 5
        return sum(size_of(record) for record in read_records(tmp_path, "acme"))

    assert asyncio.run(flood()) < quota // 5


def size_of(record: Record) -> int:
    return len(canonical(dict(record.clear))) + len(record.sealed or b"") * 4 // 3 + BATCH


def test_a_trust_domain_with_any_number_of_agents_fills_no_log() -> None:
    quota = 1 << 20
    budget = LogBudget(Gcra(FakeClock()), quota)

    def written(domain: str, size: int, *, short: bool = False) -> int:
        whole = 0
        for number in range(64):
            who = Peer(spiffe_id=AnyId.parse(f"spiffe://{domain}/agent/{number}"), receiver=ANA,
                       launch=LaunchId("l"), connection=number)
            said = Event(type=BEFORE_CALL, tenant="acme", subject=str(who.spiffe_id), body={"receiver": str(ANA)})
            while budget.event(said, size) if short else budget.whole(who, size):
                whole += size
        return whole

    assert written("far.example", 4096) <= quota // 4
    assert written("far.example", 200, short=True) <= quota // 32
    assert written("near.example", 4096) > 0  # another one has its own
    assert written("own.example", 4096) > quota  # ours are known one by one, from the manifest
