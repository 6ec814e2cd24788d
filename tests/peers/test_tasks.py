"""The task book: whose a task is, what its states may do, on whose behalf a session works, after a restart too."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import FakeClock, FakeJournal, run
from tests.identity.svid.world import ANA as READER

from ringwall.call import Json, SessionId
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.peers import shelf, task, tasks
from ringwall.peers.tasks import TASK_SECONDS, WORK_SECONDS, TaskBook

SAM = SpiffeId.parse("spiffe://example.org/tenant/acme/agent/sam/role/payer")
ANA, BOB, EVE = str(READER), "spiffe://example.org/tenant/acme/agent/bob/role/x", "spiffe://partner.example/eve"
S1, S2 = SessionId("s1"), SessionId("s2")
WORKING, SUBMITTED, INPUT = "TASK_STATE_WORKING", "TASK_STATE_SUBMITTED", "TASK_STATE_INPUT_REQUIRED"
AUTH, DONE, FAILED = "TASK_STATE_AUTH_REQUIRED", "TASK_STATE_COMPLETED", "TASK_STATE_FAILED"
CANCELED, REJECTED = "TASK_STATE_CANCELED", "TASK_STATE_REJECTED"


@dataclass(frozen=True)
class View:
    task: str = "t1"
    context: str = "c1"
    state: str = WORKING


class Office:
    """A book with a journal that can be read again."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.journal = FakeJournal()
        self.book = TaskBook(journal=self.journal, clock=self.clock)

    def seen(self, state: str = WORKING, **other: Any) -> None:
        run(self.see(state, **other))

    async def see(self, state: str = WORKING, **other: Any) -> None:
        view = View(task=other.pop("task", "t1"), context=other.pop("context", "c1"), state=state)
        told: dict[str, Any] = {"local": SAM, "direction": "in", "other": ANA, "skill": "pay", "session": S1,
                                "chain": (ANA,), **other}
        await self.book.seen(view=view, **told)

    def message(self, name: str = "m1", **other: Any) -> None:
        told: dict[str, Any] = {"local": SAM, "other": ANA, "digest": "d1", "session": S1, **other}
        run(self.book.message(message=name, **told))

    def refused(self, state: str = WORKING, **other: Any) -> str:
        with pytest.raises(BadInput) as no:
            self.seen(state, **other)
        return no.value.code

    def known(self, **other: Any) -> frozenset[str]:
        return self.book.known(**{"local": SAM, "direction": "in", "other": ANA, **other})

    def skill(self, name: str = "t1", **other: Any) -> str:
        return self.book.skill(**{"local": SAM, "direction": "in", "other": ANA, "task": name, **other})

    def room(self, **other: Any) -> str:
        """The code of what keeps a message from its task, or empty."""
        try:
            self.book.open_for_message(**{"local": SAM, "direction": "in", "other": ANA, **other})
        except BadInput as no:
            return no.code
        return ""

    def noted(self, kind: str = "task") -> list[Mapping[str, Json]]:
        return [event.body for event in self.journal.of("note") if event.type == kind]

    def restarted(self) -> Office:
        events = [event.body for event in self.journal.of("note") if event.type in {"task", "message"}]
        self.book = TaskBook(journal=self.journal, clock=self.clock)
        self.book.restore("acme", events)
        return self


# --- whose


def test_a_task_belongs_to_the_pair_it_was_seen_between() -> None:
    office = Office()
    office.seen()
    assert (office.skill(), office.known()) == ("pay", {"t1"})
    for other in ({"other": BOB}, {"direction": "out"}, {"local": READER}, {"name": "t2"}):
        with pytest.raises(BadInput) as no:
            office.skill(**other)
        assert no.value.code == "unknown_task"
    assert office.known(other=BOB) == office.known(direction="out") == frozenset()


def test_two_pairs_may_use_the_same_id_without_seeing_each_other() -> None:
    office = Office()
    office.seen(local=READER, direction="out", other=str(SAM), skill="pay")
    office.seen(local=READER, direction="out", other=EVE, skill="ask")
    office.seen(skill="sell")
    where = {"local": READER, "direction": "out"}
    assert office.skill(**where, other=str(SAM)) == "pay"
    assert office.skill(**where, other=EVE) == "ask"
    assert office.skill() == "sell"
    office.seen(DONE, **where, other=EVE)
    assert office.room(**where, other=EVE, task="t1") == "task_over"
    assert office.room(**where, other=str(SAM), task="t1") == office.room(task="t1") == ""


def test_a_server_that_shows_one_caller_the_task_or_context_of_another_is_not_believed() -> None:
    office = Office()
    office.seen()
    assert office.refused(other=BOB, chain=(BOB,)) == "task_of_another"
    assert office.refused(DONE, other=BOB, task="t2", chain=(BOB,)) == "task_of_another"  # in the context of ana
    assert office.refused("", other=BOB, chain=(BOB,)) == "task_of_another"
    assert office.known(other=BOB) == frozenset()
    assert office.room(other=BOB, context="c1") == "unknown_context"
    assert office.room(context="c1") == office.room(other=BOB, context="c2") == ""


def test_a_context_is_free_again_when_all_its_tasks_are_forgotten() -> None:
    office = Office()
    office.seen(DONE)
    office.clock.seconds += TASK_SECONDS
    assert office.room(other=BOB, context="c1") == ""
    office.seen(other=BOB, chain=(BOB,))


def test_an_answer_about_another_task_than_was_asked_for_is_refused() -> None:
    office = Office()
    office.seen()
    assert office.refused(task="t2", asked="t1") == "unknown_task"
    assert office.known() == {"t1"}
    office.seen(asked="t1")


def test_a_message_that_names_an_id_makes_no_task() -> None:
    office = Office()
    office.seen("")
    assert (office.known(), office.noted()) == (frozenset(), [])


@pytest.mark.parametrize("name", ["", "a" * 257, "t\n1", "t\u0661", "\x00", "\ud800"])
def test_an_id_that_is_none_is_refused(name: str) -> None:
    office = Office()
    assert office.refused(task=name) == "bad_task_id"
    if name:
        assert office.refused(context=name) == "bad_task_id"


# --- states


@pytest.mark.parametrize("over", [DONE, FAILED, CANCELED, REJECTED])
def test_what_is_over_stays_as_it_ended(over: str) -> None:
    office = Office()
    office.seen()
    office.seen(over)
    for state in {WORKING, SUBMITTED, INPUT, AUTH, DONE, FAILED, CANCELED, REJECTED, ""} - {over}:
        assert office.refused(state) == "bad_task_state"
    office.seen(over)  # looked at again
    assert office.room(task="t1") == "task_over"
    assert office.skill() == "pay"


@pytest.mark.parametrize("state", ["TASK_STATE_UNSPECIFIED", "COMPLETED", "task_state_working", "expired", "3"])
def test_a_state_that_there_is_not_is_refused(state: str) -> None:
    office = Office()
    assert office.refused(state) == "bad_task_state"
    assert office.known() == frozenset()
    office.seen()
    assert office.refused(state) == "bad_task_state"
    assert office.known() == {"t1"}


def test_a_task_stays_in_its_context() -> None:
    office = Office()
    office.seen(context="")
    office.seen(context="c1")
    assert office.refused(context="c2") == "bad_task_state"
    office.seen(context="")
    assert office.room(other=BOB, context="c1") == "unknown_context"


@given(states=st.lists(
    st.sampled_from([WORKING, SUBMITTED, INPUT, AUTH, DONE, FAILED, CANCELED, REJECTED, "", "x"]), max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_a_server_says_the_first_end_is_the_end(states: list[str]) -> None:
    office = Office()
    ended = ""

    async def go() -> None:
        nonlocal ended
        for state in states:
            try:
                await office.see(state)
            except BadInput:
                assert state == "x" or ended not in {"", state}
                continue
            assert not ended or state == ended
            ended = state if state in task.OVER else ended

    run(go())
    assert office.room(task="t1") in ({"task_over"} if ended else {"", "unknown_task"})
    assert office.book.acting_for(S1) == ((ANA,) if not ended and office.known() else ())


# --- the log


def test_only_the_beginning_and_the_end_are_written_down() -> None:
    office = Office()
    for state in (SUBMITTED, WORKING, "", INPUT, WORKING, DONE, DONE):
        office.seen(state)
    assert [body["state"] for body in office.noted()] == [SUBMITTED, DONE]
    office.seen(DONE, task="t2")
    assert [body["task"] for body in office.noted()] == ["t1", "t1", "t2"]


def test_nobody_learns_of_a_task_before_it_is_written_down() -> None:
    async def go() -> None:
        office = Office()
        office.journal.gate = asyncio.Event()
        first = asyncio.create_task(office.see())
        second = asyncio.create_task(office.see(DONE))
        await office.journal.reached.wait()
        assert office.known() == frozenset()
        with pytest.raises(BadInput):
            office.skill()
        office.journal.gate.set()
        await asyncio.gather(first, second)
        assert office.known() == {"t1"}
        assert [body["state"] for body in office.noted()] == [WORKING, DONE]

    run(go())


def test_what_cannot_be_written_down_did_not_happen() -> None:
    office = Office()
    office.journal.broken = {"note"}
    with pytest.raises(AuditError):
        office.seen()
    with pytest.raises(AuditError):
        office.message()
    assert office.known() == frozenset()
    office.journal.broken = set()
    office.message()
    office.seen()
    office.journal.broken = {"note"}
    with pytest.raises(AuditError):
        office.seen(DONE)
    assert office.book.acting_for(S1) == (ANA,)  # not lifted before its end is written down
    assert office.room(task="t1") == ""


def test_one_that_waited_for_a_first_record_that_was_not_made_makes_the_task_itself() -> None:
    async def go() -> None:
        office = Office()
        office.journal.gate = asyncio.Event()
        first = asyncio.create_task(office.see())
        await office.journal.reached.wait()
        second = asyncio.create_task(office.see(INPUT))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        office.journal.gate.set()
        await second
        assert office.known() == {"t1"}
        assert [body["state"] for body in office.noted()] == [INPUT]

    run(go())


def test_a_cancelled_record_leaves_no_task_behind() -> None:
    async def go() -> None:
        office = Office()
        office.journal.gate = asyncio.Event()
        first = asyncio.create_task(office.see())
        await office.journal.reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (office.known(), office.book.status()["unfinished"]) == (frozenset(), 0)

    run(go())


# --- on whose behalf


def test_a_new_session_of_the_agent_goes_on_for_those_whose_tasks_are_unfinished() -> None:
    """Started again, it finds them in its workspace; the same restriction holds as before."""
    office = Office()
    office.seen(chain=(EVE, ANA))
    office.book.inherit(S2, SAM)
    office.book.inherit(SessionId("another's"), READER)
    assert office.book.acting_for(S2) == tuple(sorted((ANA, EVE)))
    assert office.book.acting_for(SessionId("another's")) == ()
    office.seen(DONE, chain=(EVE, ANA))
    assert office.book.acting_for(S2) == ()


def test_a_new_session_goes_on_for_those_who_got_no_answer_until_their_time_is_over() -> None:
    office = Office()
    office.book.inherit(S1, SAM)
    office.book.end(office.book.begin(S1, (ANA,)), answered=False)
    office.book.inherit(S2, SAM)
    assert office.book.acting_for(S2) == (ANA,)
    office.clock.seconds += WORK_SECONDS
    assert office.book.acting_for(S2) == ()


def test_a_session_works_for_all_whose_tasks_it_has_not_finished() -> None:
    office = Office()
    office.seen(chain=(EVE, ANA))
    office.seen(task="t2", context="c2", other=BOB, chain=(BOB,))
    office.seen(task="t3", direction="out", other=BOB, chain=(BOB,))  # its own wish
    office.seen(task="t4", context="c4", session=S2)
    assert office.book.acting_for(S1) == tuple(sorted({EVE, ANA, BOB}))
    assert office.book.acting_for(S2) == (ANA,)
    assert office.book.acting_for(None) == office.book.acting_for(SessionId("s3")) == ()
    office.seen(INPUT, chain=(EVE, ANA))
    assert EVE in office.book.acting_for(S1)
    office.seen(DONE, chain=(EVE, ANA))
    assert office.book.acting_for(S1) == (BOB,)
    office.seen(FAILED, task="t2", context="c2", other=BOB, chain=(BOB,))
    assert office.book.acting_for(S1) == ()


def test_a_task_gathers_everybody_who_asks_within_it_and_each_session_that_works_on_it() -> None:
    office = Office()
    office.seen()
    office.seen(chain=(EVE, ANA), session=S2)
    assert office.book.acting_for(S1) == office.book.acting_for(S2) == tuple(sorted((ANA, EVE)))
    assert [len(body["chain"]) for body in office.noted()] == [1, 2]
    office.restarted()
    assert office.book.acting_for(S1) == office.book.acting_for(S2) == tuple(sorted((ANA, EVE)))
    many = tuple(f"spiffe://example.org/x/{n}" for n in range(task.MAX_CHAIN))
    assert office.refused(chain=many) == "chain_too_long"


def test_a_message_under_way_counts_until_it_is_answered() -> None:
    office = Office()
    one, two = office.book.begin(S1, (ANA,)), office.book.begin(S1, (BOB, ANA))
    nobody = office.book.begin(None, (EVE,))
    assert office.book.acting_for(S1) == tuple(sorted((ANA, BOB)))
    office.book.end(two, answered=True)
    office.book.end(two, answered=True)
    office.book.end(nobody, answered=False)
    assert office.book.acting_for(S1) == (ANA,)
    office.book.end(one, answered=True)
    assert office.book.acting_for(S1) == ()


def test_who_sends_a_message_and_goes_away_is_not_rid_of() -> None:
    office = Office()
    office.book.end(office.book.begin(S1, (ANA,)), answered=False)
    office.clock.seconds += WORK_SECONDS - 1
    assert office.book.acting_for(S1) == (ANA,)
    office.clock.seconds += 1
    assert office.book.acting_for(S1) == ()


def test_a_task_that_nobody_finishes_is_over_after_a_day_and_counted() -> None:
    office = Office()
    office.seen()
    office.seen(task="t2", context="c2")
    office.clock.seconds += TASK_SECONDS - 1
    assert office.book.status()["agents"] == {str(SAM): {"in": 2, "out": 0, "oldest_s": int(TASK_SECONDS) - 1}}
    office.seen(INPUT)
    assert office.book.acting_for(S1) == (ANA,)
    office.clock.seconds += 1
    assert office.book.acting_for(S1) == ()
    assert (office.book.status()["unfinished"], office.book.status()["expired"]) == (0, 2)
    assert office.room(task="t1") == "task_over"
    assert office.refused(DONE) == "bad_task_state"
    counted = [(event.type, event.body["other"]) for event in office.journal.of("count")]
    assert counted == [("task_expired", ANA)] * 2
    office.clock.seconds += TASK_SECONDS
    assert office.room(task="t1") == "unknown_task"
    assert office.book.status() == {"unfinished": 0, "over": 0, "expired": 2, "messages": 0, "pushes": 0,
                                    "agents": {}}


class TwoClocks(FakeClock):
    """A wall clock that can jump without the monotonic one."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = 1_800_000_000.0

    def now(self) -> float:
        return self.wall


@pytest.mark.parametrize("jump", [1e8, -1e8])
def test_a_wall_clock_that_jumps_lifts_nothing(jump: float) -> None:
    office = Office()
    office.clock = TwoClocks()
    office.book = TaskBook(journal=office.journal, clock=office.clock)
    office.seen()
    office.message()
    office.clock.wall += jump
    assert office.book.acting_for(S1) == (ANA,)
    with pytest.raises(BadInput):
        office.message()
    if jump < 0:  # a restart has the wall clock alone; one that is behind keeps everything for a day at most
        assert office.restarted().book.acting_for(S1) == (ANA,)
        office.clock.seconds += TASK_SECONDS
        assert office.book.acting_for(S1) == ()


# --- restart


def test_after_a_restart_everything_is_as_it_was() -> None:
    office = Office()
    office.seen(chain=(EVE, ANA))
    office.seen(task="t2", context="c2")
    office.seen(DONE, task="t2", context="c2")
    office.seen(task="t3", direction="out", other=BOB, skill="ask")
    office.message("m1")
    office.clock.seconds += WORK_SECONDS
    before = office.book.status()
    assert office.restarted().book.status() == before
    assert office.book.acting_for(S1) == tuple(sorted((ANA, EVE)))
    assert office.known() == {"t1", "t2"}
    assert office.skill("t3", direction="out", other=BOB) == "ask"
    assert office.refused(WORKING, task="t2", context="c2") == "bad_task_state"
    assert office.refused(other=BOB) == "task_of_another"
    with pytest.raises(BadInput):
        office.message("m1")
    office.clock.seconds += TASK_SECONDS - WORK_SECONDS - 1
    assert office.restarted().book.acting_for(S1) == tuple(sorted((ANA, EVE)))
    office.clock.seconds += 1
    assert office.restarted().book.acting_for(S1) == ()


def test_a_message_that_was_under_way_when_the_core_stopped_still_counts() -> None:
    office = Office()
    office.message(chain=(EVE,))
    office.clock.seconds += WORK_SECONDS - 1
    assert office.restarted().book.acting_for(S1) == tuple(sorted((ANA, EVE)))
    office.clock.seconds += 1
    assert office.book.acting_for(S1) == ()


GOOD = {"local": str(SAM), "direction": "in", "other": ANA, "task": "t1", "at": 1000.0, "ended": 0,
        "skill": "pay", "context": "c", "state": WORKING, "sessions": ["s1"], "chain": [ANA]}
SAID = {"local": str(SAM), "other": ANA, "message": "ab", "digest": "d", "at": 1000.0, "session": "s1", "chain": []}


@pytest.mark.parametrize("body", [
    {}, *({**GOOD, name: wrong} for name in GOOD for wrong in (None, 5.5, [5], {})
          if wrong != 5.5 or name not in {"at", "ended"}),
    {**GOOD, "local": "spiffe://example.org/tenant/other/agent/sam/role/payer"}, {**GOOD, "state": "x"},
    {**GOOD, "direction": "up"}, *({name: v for name, v in GOOD.items() if name != one} for one in GOOD),
    *({**SAID, name: wrong} for name in SAID for wrong in (5.5, [5], {}) if (name, wrong) != ("at", 5.5)),
])
def test_a_record_that_cannot_be_read_stops_the_start(body: dict[str, Json]) -> None:
    with pytest.raises(AuditError) as no:
        Office().book.restore("acme", [body])
    assert no.value.code == "bad_task_record"


@given(body=st.fixed_dictionaries({}, optional={
    name: st.just(value) | st.none() | st.text(max_size=9) | st.floats() | st.lists(st.text(max_size=5), max_size=3)
    for name, value in {**GOOD, **SAID}.items()}))
@settings(max_examples=100, deadline=None)
def test_any_record_is_taken_or_stops_the_start(body: dict[str, Json]) -> None:
    office = Office()
    try:
        office.book.restore("acme", [body])
    except AuditError:
        return
    office.book.status()


# --- messages


def test_a_message_is_taken_once() -> None:
    office = Office()
    office.message()
    for other in ({}, {"digest": "d2"}, {"session": S2}):
        with pytest.raises(BadInput) as no:
            office.message(**other)
        assert no.value.code == "duplicate_message"
    office.message(other=BOB)
    office.message("m2")
    office.clock.seconds += 86_400
    office.message()
    assert [body["other"] for body in office.noted("message")] == [ANA, BOB, ANA, ANA]
    assert "m1" not in str(office.noted("message"))  # whatever a sender calls it, the log has its hash


def test_of_two_at_once_one_is_taken() -> None:
    async def go() -> None:
        office = Office()
        office.journal.gate = asyncio.Event()
        told: dict[str, Any] = {"local": SAM, "other": ANA, "message": "m", "digest": "d", "session": S1}
        first = asyncio.create_task(office.book.message(**told))
        await office.journal.reached.wait()
        with pytest.raises(BadInput):
            await office.book.message(**told)
        office.journal.gate.set()
        await first

    run(go())


# --- bounds


def test_unfinished_tasks_are_bounded_by_pair_and_by_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MAX_OPEN", 2)
    monkeypatch.setattr(shelf, "MAX_OPEN_OF_AGENT", 3)
    office = Office()
    office.seen()
    office.seen(task="t2")
    assert office.room() == office.refused(task="t3") == "too_many_tasks"
    assert office.room(task="t1") == office.room(other=BOB) == office.room(direction="out") == ""
    office.seen(task="t9", context="c9", other=BOB)
    assert office.room(other=BOB) == office.room(other=EVE) == "too_many_tasks"
    office.seen(DONE)
    assert office.room() == office.room(other=EVE) == ""
    office.seen(task="t3")
    assert office.known() == {"t1", "t2", "t3"}


def test_what_is_over_is_forgotten_oldest_first_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MAX_KEPT", 3)
    monkeypatch.setattr(shelf, "MAX_KEPT_OF_AGENT", 4)
    office = Office()
    office.seen(task="open")
    for name in ("a", "b", "c"):
        office.seen(DONE, task=name)
    assert office.known() == {"open", "b", "c"}
    office.seen(DONE, task="x", context="cx", other=BOB)
    office.seen(DONE, task="y", context="cx", other=BOB)
    assert office.known() == {"open", "c"}
    assert office.known(other=BOB) == {"x", "y"}
    assert office.restarted().book.status()["over"] == 3


@given(steps=st.lists(st.tuples(
    st.sampled_from(["in", "out"]), st.sampled_from([ANA, BOB]), st.sampled_from(["t1", "t2", "t3"]),
    st.sampled_from(["", "c1", "c2"]), st.sampled_from([WORKING, DONE, FAILED, ""]),
    st.sampled_from([0, 50_000, 90_000])), max_size=25))
@settings(max_examples=60, deadline=None)
def test_the_books_add_up_whatever_happens(steps: list[tuple[str, str, str, str, str, int]]) -> None:
    office = Office()

    async def go() -> None:
        for direction, other, name, context, state, wait in steps:
            office.clock.seconds += wait
            try:
                await office.see(state, direction=direction, other=other, task=name, context=context,
                                 chain=(other,))
            except BadInput:
                pass
            assert set(office.book.acting_for(S1)) <= {ANA, BOB}

    run(go())
    told, working = office.book.status(), office.book.acting_for(S1)
    again = office.restarted().book
    assert {**again.status(), "expired": 0} == {**told, "expired": 0}
    assert again.acting_for(S1) == working
    office.clock.seconds += 3 * TASK_SECONDS
    assert again.status()["over"] == again.status()["unfinished"] == 0
    inner = again._shelf
    assert not any((inner._pairs, inner._owners, +inner._count, +inner._kept, again._acting._sessions))


def test_limits_are_what_the_documents_say() -> None:
    assert (shelf.MAX_OPEN, shelf.MAX_OPEN_OF_AGENT, task.MAX_CHAIN, tasks.TASK_SECONDS) == (256, 1024, 64, 86_400)
