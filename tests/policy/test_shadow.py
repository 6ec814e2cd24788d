"""A draft beside the active policy: it sees all, decides nothing, and cannot be heard but in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.fakes import ALICE, FakeClock, FakeJournal, run, until

from ringwall.call import Allowed, Call, CallId, Denied, Facts, Json, NeedsApproval, SessionId, Target, Verdict
from ringwall.errors import AuditError, PolicyError
from ringwall.interface import Through
from ringwall.policy.shadow import EXAMPLES, MAX_CODE, MAX_GROUPS, WAITING, Shadow

YES = {"allow": True, "deny": [], "ask": [], "remedy": ""}
NO = {"allow": False, "deny": [{"code": "draft_says_no", "reason": "no", "rule": "r"}], "ask": [], "remedy": ""}


class Active:
    """The active policy ring."""

    name = "policy"

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    async def enter(self, call: Call, facts: Facts) -> Through:
        facts["policy"] = {"revision": "active", "approved": False}
        return Through(self.verdict)

    async def lists(self, subject: object, targets: Any) -> Any:
        return targets


class Draft:
    """A draft that answers the same to everybody, or raises."""

    revision = "d" * 64

    def __init__(self, answer: Json) -> None:
        self.answer = answer
        self.seen: list[Json] = []

    async def decide(self, entry_point: str, document: Json) -> Json:
        self.seen.append(document)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def call(number: int, target: str = "docs/read") -> Call:
    return Call.make(id=CallId(f"c{number}"), kind="tool", subject=ALICE, session=SessionId("s1"),
                     target=Target(name=target), args={})


def shadowed(active: Verdict, answer: Json,
             calls: list[Call]) -> tuple[dict[str, Json], FakeJournal, list[Verdict]]:
    """What the shadow says, what was written, and what the active ring was heard to say."""
    journal = FakeJournal()

    async def work() -> tuple[dict[str, Json], list[Verdict]]:
        shadow = Shadow(journal, FakeClock())
        ring = shadow.beside(Active(active))  # pyright: ignore[reportArgumentType]
        await shadow.start(Draft(answer), "operator:ann")  # pyright: ignore[reportArgumentType]
        said = [(await ring.enter(one, {"identity": {"attested": True}})).verdict for one in calls]
        await until(lambda: not shadow.status()["waiting"] and shadow.status()["judged"]
                    + shadow.status()["not_judged"] == len(calls))
        found = shadow.status()
        await shadow.stop("operator:ann")
        return found, said

    found, said = run(work())
    return found, journal, said


def test_an_equal_draft_is_not_heard() -> None:
    found, journal, _ = shadowed(Allowed(), YES, [call(i) for i in range(3)])
    assert (found["judged"], found["same"], found["differences"]) == (3, 3, [])
    assert [event.type for event in journal.of("note")] == ["shadow_start", "shadow_stop"]


@pytest.mark.parametrize(("active", "answer", "would"), [
    (Allowed(), NO, "denied"),
    (Denied(code="x", reason="x"), YES, "allowed"),
    (Allowed(), {**YES, "allow": False, "ask": [{"code": "q", "question": "?", "rule": "r"}]}, "needs_approval"),
    (NeedsApproval(code="q", question="?"), YES, "allowed"),
    (Allowed(), PolicyError("it breaks", code="policy_limit"), "denied"),
    (Allowed(), ZeroDivisionError(), "denied"),
    (Allowed(), "nonsense", "denied"),
])
def test_a_difference_is_counted_and_the_active_verdict_stands(active: Verdict, answer: Json, would: str) -> None:
    found, journal, said = shadowed(active, answer, [call(i) for i in range(EXAMPLES + 2)])
    assert said == [active] * (EXAMPLES + 2)
    (group,) = found["differences"]
    assert (group["would"], group["count"]) == (would, EXAMPLES + 2)
    assert group["examples"] == [f"c{i}" for i in range(EXAMPLES)]
    counted = [event for event in journal.of("count") if event.type == "shadow_difference"]
    assert len(counted) == EXAMPLES + 2
    assert sum("call" in event.body for event in counted) == EXAMPLES


def test_it_judges_by_the_facts_and_the_time_of_the_call() -> None:
    draft = Draft(YES)

    async def work() -> None:
        clock = FakeClock()
        shadow = Shadow(FakeJournal(), clock)
        ring = shadow.beside(Active(Allowed()))  # pyright: ignore[reportArgumentType]
        await shadow.start(draft, "operator:ann")  # pyright: ignore[reportArgumentType]
        facts: Facts = {"guard": {"blocked": False}}
        await ring.enter(call(1), facts)
        facts["guard"]["result"] = "written later"
        then = clock.now()
        clock.seconds += 1000
        await until(lambda: draft.seen)
        assert draft.seen[0]["time"] == {"now": then}
        assert draft.seen[0]["facts"]["guard"] == {"blocked": False}
        assert draft.seen[0]["facts"]["policy"]["revision"] == draft.revision
        await shadow.stop("operator:ann")

    run(work())


def test_more_calls_than_wait_are_counted_and_never_waited_for() -> None:
    async def work() -> dict[str, Json]:
        shadow = Shadow(FakeJournal(), FakeClock())
        ring = shadow.beside(Active(Allowed()))  # pyright: ignore[reportArgumentType]
        await shadow.start(Draft(YES), "operator:ann")  # pyright: ignore[reportArgumentType]
        for i in range(WAITING + 7):  # the draft never gets a turn: nothing here waits
            _step(ring.enter(call(i), {}))
        return shadow.status()

    found = run(work())
    assert (found["waiting"], found["not_judged"]) == (WAITING, 7)


def _step(work: Coroutine[Any, Any, object]) -> None:
    with pytest.raises(StopIteration):
        work.send(None)


def test_many_kinds_of_difference_stay_bounded() -> None:
    found, _, _ = shadowed(Allowed(), NO, [call(i, f"t/{i}") for i in range(MAX_GROUPS + 20)])
    assert len(found["differences"]) == MAX_GROUPS + 1
    assert sum(group["count"] for group in found["differences"]) == MAX_GROUPS + 20


def test_a_code_made_of_what_agents_send_fills_neither_memory_nor_log() -> None:
    class Telling(Draft):
        async def decide(self, entry_point: str, document: Json) -> Json:
            self.seen.append(document)
            told = {"code": f"{len(self.seen)}:" + "x" * 1_000_000, "reason": "no", "rule": "r"}
            return {**YES, "allow": False, "deny": [told]}

    async def work() -> dict[str, Json]:
        shadow = Shadow(FakeJournal(), FakeClock())
        ring = shadow.beside(Active(Allowed()))  # pyright: ignore[reportArgumentType]
        await shadow.start(Telling(YES), "operator:ann")  # pyright: ignore[reportArgumentType]
        for number in range(MAX_GROUPS + 20):
            await ring.enter(call(number), {})
        await until(lambda: shadow.status()["judged"] == MAX_GROUPS + 20)
        found = shadow.status()
        await shadow.stop("operator:ann")
        return found

    found = run(work())
    assert len(found["differences"]) == MAX_GROUPS + 1
    assert all(len(group["code"]) <= MAX_CODE for group in found["differences"])


def test_without_a_draft_nothing_is_kept() -> None:
    async def work() -> None:
        shadow = Shadow(FakeJournal(), FakeClock())
        ring = shadow.beside(Active(Allowed()))  # pyright: ignore[reportArgumentType]
        await ring.enter(call(1), {})
        assert shadow.status() == {"active": False}
        assert await shadow.stop("operator:ann") == {"active": False}

    run(work())


def test_a_start_that_cannot_be_recorded_does_not_happen() -> None:
    class Broken(FakeJournal):
        """Cannot write."""

        async def note(self, event: Any) -> Any:
            raise AuditError("full", code="audit_disk_full")

    async def work() -> None:
        shadow = Shadow(Broken(), FakeClock())
        with pytest.raises(AuditError):
            await shadow.start(Draft(YES), "operator:ann")  # pyright: ignore[reportArgumentType]
        assert shadow.status() == {"active": False}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(work())
