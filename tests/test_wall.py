"""The wall: the same rings in the same order, a record before the effect, everything settled once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes import ALICE, NO, ORIGIN, World, call, run, until

from ringwall.call import Allowed, Call, Chunk, Denied, Facts, Json, Last, NeedsApproval, Peer, Usage
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import AnyId
from ringwall.interface import HeldCall, Origin, Refusal, Stopped, Targets
from ringwall.running import Running
from ringwall.wall import LISTING, VALUE_BYTES, Listing


async def performed(world: World, asked: Call | None = None) -> Refusal | list[Json]:
    async with world.wall.perform(asked or call()) as passage:
        if isinstance(passage, Refusal):
            return passage
        assert isinstance(passage, Running)
        return [chunk.value async for chunk in passage.chunks()]


def test_an_allowed_call_crosses_rings_record_effect_and_settlement_in_this_order() -> None:
    world = World()
    assert run(performed(world)) == ["fine"]
    assert world.trace == [
        "identity:enter", "limits:enter", "policy:enter", "effect:begin",
        "policy:release", "limits:release", "identity:release", "effect:end",
        "policy:finish", "limits:finish", "identity:finish",
        "policy:leave:done", "limits:leave:done", "identity:leave:done",
    ]
    assert [what for what, _ in world.journal.log] == ["intent", "outcome"]


def test_the_first_denial_stops_and_the_rings_behind_it_are_not_asked() -> None:
    world = World()
    world.rings["limits"].verdict = NO
    refused = run(performed(world))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.record) == ("no", "acme/1")
    assert world.trace == ["identity:enter", "limits:enter", "limits:leave:refused", "identity:leave:refused"]
    assert [what for what, _ in world.journal.log] == ["refusal"]


def test_judge_asks_every_ring_and_leaves_dry() -> None:
    world = World()
    world.rings["identity"].verdict = NO
    verdicts = run(world.wall.judge(call()))
    assert [name for name, _ in verdicts.rings] == ["identity", "limits", "policy"]
    assert world.ends() == ["policy:leave:dry", "limits:leave:dry", "identity:leave:dry"]
    assert world.journal.log == []


async def _hang(*_: object) -> None:
    await asyncio.Event().wait()


async def _swallow(*_: object) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return


async def _raise(*_: object) -> None:
    raise ZeroDivisionError("a fault")


async def _own_timeout(*_: object) -> None:
    raise TimeoutError


async def _garbage(*_: object) -> object:
    return object()


class _Odd:
    verdict = "allowed"


async def _no_verdict(*_: object) -> object:
    return _Odd()


async def _facts_that_are_none(_: Call, facts: Facts) -> None:
    facts["limits"] = "garbage"  # type: ignore[assignment]


@pytest.mark.parametrize(
    "fault", [_hang, _swallow, _raise, _own_timeout, _garbage, _no_verdict, _facts_that_are_none]
)
def test_a_ring_that_fails_in_any_way_has_refused(fault: Any) -> None:
    world = World()
    world.rings["limits"].on_enter = fault
    refused = run(performed(world))
    assert isinstance(refused, Refusal)
    assert refused.code == "ring_failed"
    assert "policy:enter" not in world.trace
    assert "effect:begin" not in world.trace
    assert world.ends()[-1] == "identity:leave:refused"


def test_a_ring_that_answers_too_late_is_refused_but_settled() -> None:
    world = World()
    world.rings["limits"].on_enter = _swallow
    run(performed(world))
    assert "limits:leave:refused" in world.ends()


def test_a_ring_sees_the_facts_of_others_but_cannot_change_them() -> None:
    world = World()

    async def honest(_: Call, facts: Facts) -> None:
        facts["identity"] = {"attested": False}

    async def liar(_: Call, facts: Facts) -> None:
        assert facts["identity"] == {"attested": False}
        facts["identity"]["attested"] = True
        facts["policy"] = {"allow": True}
        facts["limits"] = {"remaining": 1}

    world.rings["identity"].on_enter = honest
    world.rings["limits"].on_enter = liar
    verdicts = run(world.wall.judge(call()))
    assert verdicts.facts == {"identity": {"attested": False}, "limits": {"remaining": 1}, "policy": {}}


def test_an_approval_that_nobody_can_give_is_a_refusal() -> None:
    world = World()
    world.rings["limits"].verdict = NeedsApproval(code="ask", question="May it?")
    refused = run(performed(world))
    assert isinstance(refused, Refusal)
    assert refused.code == "approval_unavailable"
    assert "policy:enter" in world.trace  # a denial behind it would have counted
    assert "effect:begin" not in world.trace


def test_a_denial_behind_a_question_wins() -> None:
    world = World()
    world.rings["limits"].verdict = NeedsApproval(code="ask", question="May it?")
    world.rings["policy"].verdict = NO
    refused = run(performed(world))
    assert isinstance(refused, Refusal)
    assert refused.code == "no"


def test_without_an_intent_the_effect_never_begins() -> None:
    world = World()
    world.journal.broken = {"intent"}
    refused = run(performed(world))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.record) == ("audit_unavailable", "")
    assert "effect:begin" not in world.trace
    assert world.ends() == ["policy:leave:refused", "limits:leave:refused", "identity:leave:refused"]


def test_a_refusal_that_cannot_be_written_is_still_a_refusal() -> None:
    world = World()
    world.rings["identity"].verdict = NO
    world.journal.broken = {"refusal"}
    refused = run(performed(world))
    assert isinstance(refused, Refusal)
    assert refused.code == "audit_unavailable"


def test_a_refusal_too_large_for_the_log_is_counted_in_it() -> None:
    world = World()
    world.rings["identity"].verdict = NO
    world.journal.broken = {"refusal"}
    run(performed(world))
    [counted] = world.journal.of("count")
    assert (counted.type, counted.body["code"]) == ("refused_unrecorded", "audit_error")


def test_a_bad_request_without_a_record_is_counted() -> None:
    world = World()
    world.resolver.fault = BadInput("no JSON", code="bad_json")
    world.journal.broken = {"note"}
    refused = run(world.wall.admit(ORIGIN, "tool", b"{"))
    assert isinstance(refused, Refusal)
    assert refused.code == "audit_unavailable"
    [counted] = world.journal.of("count")
    assert (counted.type, counted.body["code"]) == ("refused_before_call", "audit_error")


def test_an_agent_that_filled_its_part_of_the_log_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def full(*_: object) -> Any:
        raise AuditError("used up", code="log_budget")

    monkeypatch.setattr(world.journal, "intent", full)
    refused = run(performed(world))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.record) == ("log_budget", "")
    assert "effect:begin" not in world.trace
    assert world.journal.of("count")[0].body["code"] == "log_budget"


def test_what_a_bad_request_said_does_not_stand_in_clear_in_its_record() -> None:
    world = World()
    world.resolver.fault = BadInput("argument 'path': path '/4111' climbs with '..'", code="bad_argument")
    run(world.wall.admit(ORIGIN, "tool", b"{"))
    assert "4111" not in str(world.journal.of("note")[0].body)


def test_many_small_values_cost_more_than_the_bytes_they_are_made_of() -> None:
    world = World()
    run(world.wall.admit(ORIGIN, "tool", b'{"a":[{},{},["x","y"]]}'))
    run(world.wall.admit(ORIGIN, "tool", b'{"a":"' + b"prose, and more of it. " * 100 + b'"}'))
    assert [size for _, size in world.attempts.seen] == [23 + 6 * VALUE_BYTES, 2308 + VALUE_BYTES]


def test_a_kind_that_nothing_runs_is_refused_before_any_intent() -> None:
    world = World()
    refused = run(performed(world, call(kind="secret")))
    assert isinstance(refused, Refusal)
    assert refused.code == "unknown_kind"
    assert world.journal.of("intent") == []


@pytest.mark.parametrize(
    ("items", "end", "code"),
    [
        ([Chunk(value=1), Last(end="done", usage=Usage(tokens_out=3))], "done", ""),
        ([Last(end="failed", error={"code": "e", "reason": "r"})], "failed", "e"),
        ([BadInput("odd", code="odd")], "failed", "odd"),
        ([Chunk(value=1)], "unknown", "no_outcome"),
        ([Chunk(value=1), ZeroDivisionError("text of the effect")], "unknown", "effect_failed"),
        ([object()], "unknown", "effect_failed"),
        ([Chunk(value="\ud800")], "unknown", "effect_failed"),
    ],
)
def test_every_ending_has_one_outcome_and_one_settlement(items: list[Any], end: str, code: str) -> None:
    world = World(("identity", "limits", "policy"), *items)
    run(performed(world))
    outcomes = world.journal.of("outcome")
    assert [(o.end, o.code) for o in outcomes] == [(end, code)]
    assert "text of the effect" not in outcomes[0].reason
    assert world.ends() == [f"{name}:leave:{end}" for name in ("policy", "limits", "identity")]
    assert world.trace.count("effect:end") == 1


def test_a_ring_that_stops_an_answer_ends_it_everywhere() -> None:
    world = World()

    async def stop(_: Chunk) -> list[Chunk]:
        raise Stopped(NO)

    world.rings["limits"].on_release = stop
    with pytest.raises(Stopped):
        run(performed(world))
    assert "identity:release" not in world.trace
    assert world.journal.of("outcome")[0].end == "stopped"
    assert world.ends() == [f"{name}:leave:stopped" for name in ("policy", "limits", "identity")]


def test_cancelling_a_running_effect_ends_it_and_settles_everybody() -> None:
    async def scenario() -> World:
        world = World(("identity", "limits", "policy"), asyncio.Event())
        task = asyncio.create_task(performed(world))
        await until(lambda: "effect:begin" in world.trace)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return world

    world = run(scenario())
    assert [o.end for o in world.journal.of("outcome")] == ["unknown"]
    assert world.trace.index("effect:end") < world.trace.index("policy:leave:unknown")
    assert len(world.ends()) == 3


def test_cancelling_while_a_ring_thinks_settles_the_rings_before_it() -> None:
    async def scenario() -> World:
        world = World()
        world.rings["policy"].on_enter = _hang
        task = asyncio.create_task(performed(world))
        await until(lambda: "policy:enter" in world.trace)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return world

    world = run(scenario())
    assert world.ends() == ["limits:leave:refused", "identity:leave:refused"]
    assert world.journal.log == []


def test_cancelling_while_one_ring_settles_does_not_keep_the_others_from_it() -> None:
    async def scenario() -> World:
        world = World()
        world.rings["policy"].on_leave = _hang
        task = asyncio.create_task(performed(world))
        await until(lambda: "policy:leave:done" in world.trace)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return world

    assert len(run(scenario()).ends()) == 3


@pytest.mark.parametrize("fault", [_raise, _hang])
def test_a_ring_that_fails_while_settling_does_not_keep_the_others_from_it(fault: Any) -> None:
    world = World()
    world.rings["policy"].on_leave = fault
    with pytest.raises(ExceptionGroup):
        run(performed(world))
    assert len(world.ends()) == 3


def test_an_outcome_that_cannot_be_written_still_settles() -> None:
    world = World()
    world.journal.broken = {"outcome"}
    with pytest.raises(Exception, match="disk is full"):
        run(performed(world))
    assert len(world.ends()) == 3


def test_a_door_that_fails_half_way_leaves_no_effect_running() -> None:
    async def scenario() -> World:
        world = World(("identity", "limits"), Chunk(value=1), Chunk(value=2), Last(end="done"))
        with pytest.raises(KeyError):
            async with world.wall.perform(call()) as passage:
                assert isinstance(passage, Running)
                chunks = passage.chunks()
                await anext(chunks)
                raise KeyError("the door")
        assert world.trace.index("effect:end") < world.trace.index("limits:leave:unknown")
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
        return world

    assert [o.end for o in run(scenario()).journal.of("outcome")] == ["unknown"]


def test_attempts_are_counted_before_anything_is_parsed() -> None:
    world = World()
    world.attempts.denied = Denied(code="too_many_attempts", reason="too many", retry_after=2.0)
    refused = run(world.wall.admit(ORIGIN, "tool", b"{}"))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.retry_after) == ("too_many_attempts", 2.0)
    assert world.resolver.asked == 0
    assert [what for what, _ in world.journal.log] == ["count"]
    assert world.attempts.seen == [("acme/alice", 2 + VALUE_BYTES)]  # an object costs more than its two bytes


def test_attempts_of_another_trust_domains_agents_are_counted_as_one() -> None:
    """Its authority makes any number of names: each would be a record."""
    world = World()
    world.attempts.denied = Denied(code="too_many_attempts", reason="too many", retry_after=2.0)
    for number in range(3):
        far = AnyId.parse(f"spiffe://partner.test/agent/{number}")
        peer = Peer(spiffe_id=far, receiver=ALICE.spiffe_id, launch=ALICE.launch, connection=1)
        run(world.wall.admit(Origin(subject=peer, session="s1", key="k"), "message", b"{}"))
    assert {event.subject for event in world.journal.of("count")} == {"spiffe://partner.test"}


@pytest.mark.parametrize(("fault", "code"), [(BadInput("bad", code="bad_json"), "bad_json"),
                                             (RecursionError(), "resolver_failed")])
def test_bytes_that_make_no_call_are_refused_on_the_record(fault: Exception, code: str) -> None:
    world = World()
    world.resolver.fault = fault
    refused = run(world.wall.admit(ORIGIN, "tool", b"{"))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.record) == (code, "acme/1")
    assert world.journal.of("note")[0].body["code"] == code


def test_bytes_that_make_no_call_are_refused_without_a_log_too() -> None:
    world = World()
    world.resolver.fault = BadInput("bad")
    world.journal.broken = {"note"}
    refused = run(world.wall.admit(ORIGIN, "tool", b"{"))
    assert isinstance(refused, Refusal)
    assert refused.code == "audit_unavailable"


def test_good_bytes_become_a_call() -> None:
    assert isinstance(run(World().wall.admit(ORIGIN, "tool", b"{}")), Call)


def test_a_listing_shows_what_every_ring_leaves_of_it() -> None:
    world = World()

    async def none_of_b(subject: object, targets: Targets) -> Targets:
        return Targets(definitions={k: v for k, v in targets.definitions.items() if k != "b"})

    world.rings["limits"].lists = none_of_b  # type: ignore[method-assign]
    listing = Listing(rings=list(world.rings.values()), others=world.effect,
                      catalogue=lambda _: Targets(definitions={"b": 2, "a": 1, "c": 3}))

    async def items(target: str) -> list[Any]:
        return [item async for item in listing.run(call(target), {})]

    assert run(items(LISTING)) == [Chunk(value=[1, 3]), Last(end="done")]
    assert run(items("mail/send"))[0] == Chunk(value="fine")


def test_a_ring_that_cannot_list_shows_nothing() -> None:
    world = World()
    world.rings["limits"].lists = _raise  # type: ignore[method-assign]
    listing = Listing(rings=list(world.rings.values()), others=world.effect,
                      catalogue=lambda _: Targets(definitions={"a": 1}))

    async def items() -> list[Any]:
        return [item async for item in listing.run(call(LISTING), {})]

    with pytest.raises(ZeroDivisionError):
        run(items())


def test_allowed_is_never_held() -> None:
    world = World()
    world.rings["identity"].verdict = Allowed()
    assert not isinstance(run(performed(world)), HeldCall)


def test_a_knock_is_counted_once_for_what_comes_of_it() -> None:
    world = World()
    assert world.wall.knock(ORIGIN, "tool", b"{}") is None
    assert isinstance(run(world.wall.admit(ORIGIN, "tool", b"{}", counted=True)), Call)
    assert len(world.attempts.seen) == 1
    world.attempts.denied = NO
    refused = world.wall.knock(ORIGIN, "tool", b"{}")
    assert isinstance(refused, Refusal) and refused.code == NO.code
    assert [event.type for event in world.journal.of("count")] == ["refused_before_call"]


def test_weighing_a_call_runs_counts_and_writes_nothing() -> None:
    world = World()
    assert run(world.wall.weigh(ORIGIN, "tool", b"{}")) is None
    world.rings["policy"].verdict = NO
    assert run(world.wall.weigh(ORIGIN, "tool", b"{}")) == NO
    world.resolver.fault = BadInput("no JSON", code="bad_json")
    denied = run(world.wall.weigh(ORIGIN, "tool", b"{"))
    assert denied is not None and denied.code == "bad_json"
    assert world.attempts.seen == []
    assert world.journal.of("note") == world.journal.of("count") == []
    assert "effect:begin" not in world.trace


def test_what_limits_would_say_now_is_not_weighed() -> None:
    world = World()
    world.rings["limits"].verdict = NO
    assert run(world.wall.weigh(ORIGIN, "tool", b"{}")) is None


def test_what_a_door_turns_away_is_counted_also_when_the_log_is_full() -> None:
    world = World()
    world.wall.turned_away(ORIGIN, "model", "unknown_type")
    [counted] = world.journal.of("count")
    assert (counted.type, counted.body["code"], counted.body["kind"]) == (
        "refused_before_call", "unknown_type", "model")
    world.journal.broken = {"count"}
    world.wall.turned_away(ORIGIN, "model", "unknown_type")  # nothing is allowed by it, so nothing breaks
