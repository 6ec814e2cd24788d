"""A held call: bound to its digest, session and time, decided once, run once, refused by everything else."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.approvals.bench import ANN, ASK, BOB, IBAN, Bench, pay, with_approval
from tests.fakes import ALICE, NO, run, until

from ringwall.call import Call, NeedsApproval, Peer, Process, Target
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import HeldCall

EVE = dataclasses.replace(
    ALICE, spiffe_id=SpiffeId.make(trust_domain="example.org", tenant="acme", agent="eve", role="reader")
)
STRANGER = dataclasses.replace(
    ALICE, spiffe_id=SpiffeId.make(trust_domain="example.org", tenant="evil", agent="alice", role="reader")
)


def test_a_call_that_a_ring_asks_about_is_held_recorded_and_holds_nothing() -> None:
    bench = Bench()
    held = run(bench.ask(pay()))
    assert isinstance(held, HeldCall)
    assert held.question == "May it?"
    assert [what for what, _ in bench.journal.log] == ["held"]
    assert bench.ends() == [f"{name}:leave:held" for name in ("policy", "flow", "limits", "identity")]
    assert "effect:begin" not in bench.trace
    assert [item.record for item in bench.told] == [held.record]


def test_the_rings_are_left_before_anybody_waits() -> None:
    bench = Bench()

    async def scenario() -> None:
        async with bench.wall.perform(pay()):
            assert len(bench.ends()) == 4

    run(scenario())
    assert len(bench.ends()) == 4


def test_an_approved_call_crosses_all_rings_again_and_runs_once() -> None:
    bench = Bench()

    async def scenario() -> None:
        call = await bench.approved(pay())
        bench.trace.clear()
        assert await bench.ask(call) == ["fine"]
        assert bench.trace[:5] == ["identity:enter", "limits:enter", "flow:enter", "policy:enter", "effect:begin"]
        assert await bench.refused(call) == "approval_spent"

    run(scenario())
    assert bench.trace.count("effect:begin") == 1
    assert [what for what, _ in bench.journal.log] == ["held", "note", "intent", "outcome", "refusal"]


def test_two_calls_that_race_for_one_approval_are_one_effect() -> None:
    bench = Bench()

    async def scenario() -> None:
        call = await bench.approved(pay())
        found = await asyncio.gather(*(bench.ask(call) for _ in range(8)))
        assert found.count(["fine"]) == 1

    run(scenario())
    assert bench.trace.count("effect:begin") == 1


@pytest.mark.parametrize("other", [
    pay("GB82WEST12345698765432"), pay(amount=6), pay(amount=5.0), pay(subject="x"), pay(session="s2"),
    pay(who=EVE), pay(who=STRANGER),
])
def test_an_approval_is_for_one_call_of_one_agent_in_one_session(other: Call) -> None:
    bench = Bench()

    async def scenario() -> str:
        record = (await bench.approved(pay())).approval
        assert record is not None
        return await bench.refused(with_approval(other, record.record))

    assert run(scenario()) == "approval_invalid"
    assert "effect:begin" not in bench.trace


def test_an_approval_that_does_not_exist_is_told_apart_from_nothing() -> None:
    assert run(Bench().refused(pay(approval="acme/99"))) == "approval_invalid"


def test_a_ring_that_denies_meanwhile_wins_and_the_approval_is_not_used_up() -> None:
    bench = Bench()

    async def scenario() -> None:
        call = await bench.approved(pay())
        bench.rings["policy"].verdict = NO
        assert await bench.refused(call) == "no"
        bench.rings["policy"].verdict = bench.rings["identity"].verdict
        assert await bench.ask(call) == ["fine"]

    run(scenario())


def test_a_question_the_human_did_not_see_is_asked_anew() -> None:
    bench = Bench()

    async def scenario() -> None:
        call = await bench.approved(pay())
        bench.rings["flow"].verdict = dataclasses.replace(ASK, question="May it, now that it has read the web?")
        again = await bench.held(call)
        assert call.approval is not None
        assert again != call.approval.record
        bench.rings["flow"].verdict = ASK
        bench.rings["policy"].verdict = NeedsApproval(code="approval_required", question="always")
        assert await bench.held(call) not in {again, call.approval.record}

    run(scenario())
    assert "effect:begin" not in bench.trace


def test_nobody_decides_and_the_call_is_refused() -> None:
    bench = Bench(deadline_s=60)

    async def scenario() -> None:
        record = await bench.held(pay())
        bench.clock.seconds += 60
        assert await bench.refused(pay(approval=record)) == "approval_expired"
        with pytest.raises(BadInput) as late:
            await bench.desk.decide(record, ANN, yes=True)
        assert late.value.code == "approval_expired"
        await bench.desk.tend()
        await bench.desk.tend()

    run(scenario())
    [event] = bench.journal.of("note")
    assert event.body["decision"] == "expired"


def test_a_decision_that_is_not_used_in_time_is_worth_nothing() -> None:
    bench = Bench(deadline_s=60)

    async def scenario() -> None:
        call = await bench.approved(pay())
        bench.clock.seconds += 60
        assert not bench.desk.granted(call)
        assert await bench.refused(call) == "approval_expired"

    run(scenario())


def test_a_call_that_was_denied_is_refused_and_not_asked_again_at_once() -> None:
    bench = Bench(deadline_s=60)

    async def scenario() -> None:
        record = await bench.held(pay())
        await bench.desk.decide(record, ANN, yes=False, reason="who is that?")
        assert await bench.refused(pay(approval=record)) == "approval_denied"
        assert await bench.refused(pay()) == "approval_denied"
        bench.clock.seconds += 60
        assert await bench.held(pay()) != record

    run(scenario())
    assert "effect:begin" not in bench.trace


def test_of_two_operators_the_first_decides_and_the_second_is_told_who() -> None:
    bench = Bench()
    bench.journal.gate = asyncio.Event()

    async def scenario() -> None:
        record = await bench.held(pay())
        first = asyncio.create_task(bench.desk.decide(record, ANN, yes=False))
        await bench.journal.reached.wait()
        for _ in range(2):
            with pytest.raises(BadInput, match="ann") as second:
                await bench.desk.decide(record, BOB, yes=True)
            assert second.value.code == "approval_decided"
            assert bench.journal.gate is not None
            bench.journal.gate.set()
            assert (await first)["decision"] == "denied"
        assert await bench.refused(pay(approval=record)) == "approval_denied"

    run(scenario())
    assert len(bench.journal.of("note")) == 1


def test_a_decision_is_in_the_log_before_it_counts() -> None:
    bench = Bench()

    async def scenario() -> None:
        record = await bench.held(pay())
        bench.journal.broken = {"note"}
        with pytest.raises(AuditError):
            await bench.desk.decide(record, ANN, yes=True)
        assert not bench.desk.granted(pay(approval=record))
        bench.journal.broken = set()
        await bench.desk.decide(record, BOB, yes=True, reason="our landlord")
        assert bench.desk.granted(pay(approval=record))

    run(scenario())
    [event] = bench.journal.of("note")
    assert (event.type, event.subject, event.body["uid"]) == ("approval", "operator:bob", 1001)
    assert event.body["digest"] == pay().digest
    assert "landlord" not in str(event.body)
    assert IBAN not in str(event.body)


def test_a_held_call_that_cannot_be_written_down_is_refused() -> None:
    bench = Bench()
    bench.journal.broken = {"held"}
    assert run(bench.refused(pay())) == "audit_unavailable"
    assert bench.desk.listed()["waiting"] == []


def test_an_intent_that_cannot_be_written_down_uses_the_approval_up() -> None:
    bench = Bench()

    async def scenario() -> None:
        call = await bench.approved(pay())
        bench.journal.broken = {"intent"}
        assert await bench.refused(call) == "audit_unavailable"
        bench.journal.broken = set()
        assert await bench.refused(call) == "approval_spent"

    run(scenario())


def test_the_same_call_waits_once_however_often_it_is_asked() -> None:
    bench = Bench(per_agent=1)

    async def scenario() -> None:
        records = {await bench.held(pay()) for _ in range(5)} | {await bench.held(pay(approval="acme/1"))}
        assert records == {"acme/1"}
        await bench.desk.decide("acme/1", ANN, yes=True)
        assert await bench.held(pay()) == "acme/1"  # a yes is used only by who names it

    run(scenario())
    assert [event.type for event in bench.journal.of("count")] == ["held_again"] * 6


def test_the_queue_is_bounded_for_an_agent_and_for_a_tenant() -> None:
    bench = Bench(per_agent=2, per_tenant=3, deadline_s=60)

    async def scenario() -> None:
        await bench.held(pay(amount=1))
        bench.clock.seconds += 10
        await bench.held(pay(amount=2))
        assert await bench.refused(pay(amount=3)) == "approval_queue_full"
        await bench.held(pay(who=EVE))
        assert await bench.refused(pay(who=EVE, amount=3)) == "approval_queue_full"
        await bench.held(pay(who=STRANGER))
        bench.clock.seconds += 50  # the first one's time is over
        await bench.held(pay(amount=3))

    run(scenario())
    assert [len(v.facts["approvals"]) for v in bench.journal.of("refusal")] == [1, 1]


def test_calls_that_come_at_the_same_moment_do_not_pass_the_bound_together() -> None:
    bench = Bench(per_agent=3)

    async def scenario() -> None:
        found = await asyncio.gather(*(bench.ask(pay(amount=n)) for n in range(20)))
        assert sum(isinstance(one, HeldCall) for one in found) == 3

    run(scenario())


def test_waiting_calls_may_not_fill_the_memory() -> None:
    bench = Bench(per_agent=1000, per_tenant=1000)

    async def scenario() -> None:
        for n in range(4):
            await bench.held(pay(subject=f"{n}" + "x" * (4_000_000)))
        assert await bench.refused(pay(subject="x" * 4_000_000)) == "approval_queue_full"

    run(scenario())


def test_an_operators_act_cannot_be_held() -> None:
    bench = Bench()
    bench.wall._effects["operate"] = bench.effect

    async def scenario() -> str:
        asked = Call.make(id=pay().id, kind="operate", subject=ANN, session=None, target=pay().target, args={})
        return await bench.refused(asked)

    assert run(scenario()) == "approval_unavailable"


async def _asked(bench: Bench) -> str:
    return await bench.held(pay())


def test_whoever_waits_is_woken_by_the_decision() -> None:
    bench = Bench()

    async def scenario() -> None:
        record = await _asked(bench)
        waiting = asyncio.create_task(bench.desk.decided(record, 1000))
        await until(lambda: bench.desk._entries[record].over._waiters)
        assert not waiting.done()
        await bench.desk.decide(record, ANN, yes=True)
        assert await waiting
        assert not await bench.desk.decided(await bench.held(pay(amount=7)), 0)
        assert await bench.desk.decided("acme/99", 1000)

    run(scenario())


def test_whoever_watches_is_told_of_what_comes_and_goes() -> None:
    bench = Bench()

    async def scenario() -> None:
        seen = await bench.desk.watched(-1, 1000)
        assert seen["waiting"] == []
        watching = asyncio.create_task(bench.desk.watched(seen["version"], 1000))
        await asyncio.sleep(0)
        record = await _asked(bench)
        seen = await watching
        assert [item["id"] for item in seen["waiting"]] == [record]
        assert (await bench.desk.watched(seen["version"], 0))["version"] == seen["version"]
        await bench.desk.decide(record, ANN, yes=True)
        assert (await bench.desk.watched(seen["version"], 1000))["waiting"] == []

    run(scenario())


def test_an_item_shows_the_difference_from_the_last_approved_one_and_what_waits_beside() -> None:
    bench = Bench()

    async def scenario() -> None:
        first = await bench.held(pay())
        assert bench.desk.shown(first)["last_approved"] is None
        await bench.desk.decide(first, ANN, yes=True)
        second, third = await bench.held(pay(amount=500, subject="now")), await bench.held(pay(amount=1))
        shown = bench.desk.shown(second)
        assert shown["last_approved"] == first
        assert shown["difference"] == [{"place": "/amount", "before": 5, "after": 500},
                                       {"place": "/subject", "after": "now"}]
        assert shown["beside"] == [third]
        with pytest.raises(BadInput):
            bench.desk.shown("acme/99")

    run(scenario())


def test_what_is_over_is_forgotten_in_the_end_and_its_arguments_at_once() -> None:
    bench = Bench()

    async def scenario() -> None:
        call = await bench.approved(pay())
        await bench.ask(call)
        bench.desk.listed()
        assert call.approval is not None
        assert bench.desk.shown(call.approval.record)["args"] is None

    run(scenario())


def test_a_message_that_comes_in_cannot_be_held() -> None:
    bench = Bench()
    bench.wall._effects["message"] = bench.effect
    who = pay().subject
    assert isinstance(who, Process)
    peer = Peer(spiffe_id=AnyId.parse("spiffe://far.example/x"), receiver=who.spiffe_id, launch=who.launch,
                connection=1)

    async def scenario() -> str:
        asked = Call.make(id=pay().id, kind="message", subject=peer, session=pay().session, args={},
                          target=Target(name="x", direction="in"))
        return await bench.refused(asked)

    assert run(scenario()) == "approval_unavailable"
