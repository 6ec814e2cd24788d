"""Every call is counted once, under names out of closed sets, and told as a span without content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import ALICE, NO, ORIGIN, FakeClock, FakeJournal, World, call, run
from tests.telemetry.pages import nonzero, page

from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Denied,
    Event,
    Json,
    Kind,
    Last,
    NeedsApproval,
    Outcome,
    Target,
    Usage,
    Verdicts,
)
from ringwall.errors import AuditError, BadInput
from ringwall.interface import HeldCall, Refusal
from ringwall.running import Running
from ringwall.telemetry.calls import MAX_OPEN, Calls, HeardJournal, OnwardEffect, refuser, streams
from ringwall.telemetry.known import Known
from ringwall.telemetry.metrics import Metrics
from ringwall.telemetry.protocol import Span
from ringwall.telemetry.spans import Tracer
from ringwall.telemetry.trace import parse
from ringwall.wall import Wall

KNOWN = Known(tools={"mail/send": True, "web/get": False, "docs/resources.read": True}, models={"main": "openai"},
              agents=frozenset({"bob"}))
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
COUNTED = ("ringwall_calls_total", "ringwall_refusals_total", "ringwall_faults_total", "ringwall_calls_running",
           "ringwall_streams_open", "ringwall_telemetry_faults_total")
ALLOWED = Verdicts(rings=(("policy", Allowed()),), facts={})


class Heard:
    """A journal, its counters and the spans that were made."""

    def __init__(self, *, traced: bool = True) -> None:
        self.metrics = Metrics("1")
        self.clock = FakeClock()
        self.spans: list[Span] = []
        tracer = Tracer(KNOWN, lambda: "rev1") if traced else None
        self.calls = Calls(self.metrics, self.clock, tracer, self.spans.append)
        self.inner = FakeJournal()
        self.journal = HeardJournal(self.inner, self.calls, self.metrics, self.clock)

    def wall(self, world: World) -> Wall:
        """The world's wall, heard."""
        return Wall(rings=list(world.rings.values()), effects={"tool": OnwardEffect(world.effect, self.calls)},
                    resolver=world.resolver, attempts=world.attempts, journal=self.journal, clock=self.clock,
                    watch=self.calls)

    def counted(self) -> dict[str, float]:
        return nonzero(page(self.metrics), *COUNTED)

    async def one(self, asked: Call, outcome: Outcome) -> Span:
        """An allowed call from its first look to its end."""
        self.calls.admitted(asked, self.clock.monotonic())
        await self.journal.outcome(await self.journal.intent(asked, ALLOWED), outcome)
        return self.spans[-1]


async def through(wall: Wall) -> Refusal | None:
    asked = await wall.admit(ORIGIN, "tool", b"{}")
    if isinstance(asked, Refusal):
        return asked
    async with wall.perform(asked) as passage:
        if isinstance(passage, Running):
            async for _ in passage.chunks():
                pass
            return None
        assert not isinstance(passage, HeldCall)
        return passage


def named(target: str, kind: Kind, args: Json = None, trace: str = "") -> Call:
    return Call.make(id=CallId("c7"), kind=kind, subject=ALICE, session=None, target=Target(name=target),
                     args=args if args is not None else {}, trace=trace)


def test_an_allowed_call_is_counted_once_with_all_its_times() -> None:
    heard, world = Heard(), World()

    async def slow(*_: Any) -> None:
        heard.clock.seconds += 0.002

    world.rings["limits"].on_enter = slow
    assert run(through(heard.wall(world))) is None
    assert heard.counted() == {"ringwall_calls_total{end=done,kind=tool}": 1}
    found = page(heard.metrics)
    for name in ("added_seconds", "call_seconds", "effect_seconds"):
        assert found[f"ringwall_{name}_count{{kind=tool}}"] == 1
    assert found["ringwall_ring_seconds_sum{ring=limits}"] == pytest.approx(0.002)
    assert found["ringwall_ring_seconds_sum{ring=policy}"] == 0
    assert found["ringwall_added_seconds_sum{kind=tool}"] == pytest.approx(0.002)
    assert found["ringwall_log_append_seconds_count"] == 1
    [span] = heard.spans
    assert span.end - span.start == pytest.approx(2_000_000, abs=1000)
    assert span.start == pytest.approx(1000 * 10**9, abs=1000)


def test_refusals_are_counted_where_and_why() -> None:
    heard, world = Heard(), World()
    wall = heard.wall(world)
    world.rings["limits"].verdict = Denied(code="rate_limited", reason="r")
    assert run(through(wall)) is not None
    world.rings["limits"].verdict = Denied(code="invented_by_a_policy", reason="r")
    assert run(through(wall)) is not None
    world.resolver.fault = BadInput("x", code="bad_json")
    assert run(through(wall)) is not None
    world.attempts.denied = Denied(code="too_many_attempts", reason="r")
    assert run(through(wall)) is not None
    assert heard.counted() == {
        "ringwall_calls_total{end=refused,kind=tool}": 4,
        "ringwall_refusals_total{code=rate_limited,ring=limits}": 1,
        "ringwall_refusals_total{code=other,ring=limits}": 1,
        "ringwall_refusals_total{code=bad_json,ring=admission}": 1,
        "ringwall_refusals_total{code=too_many_attempts,ring=admission}": 1,
    }
    assert [span.attributes["ringwall.code"] for span in heard.spans] == ["rate_limited", "other"]


@pytest.mark.parametrize("broken", ["intent", "refusal"])
def test_a_call_that_the_log_did_not_take_is_one_refusal(broken: str) -> None:
    heard, world = Heard(), World()
    heard.inner.broken = {broken}
    if broken == "refusal":
        world.rings["policy"].verdict = NO
    assert run(through(heard.wall(world))) is not None
    assert heard.counted() == {"ringwall_calls_total{end=refused,kind=tool}": 1,
                               "ringwall_refusals_total{code=audit_error,ring=audit}": 1}
    assert heard.spans == []
    assert heard.calls._admitted == {}


def test_a_held_call_is_no_refusal() -> None:
    heard = Heard()

    async def scenario() -> None:
        asked = NeedsApproval(code="c", question="q")
        await heard.journal.held(call(), Verdicts(rings=(("policy", asked),), facts={}))

    run(scenario())
    assert heard.counted() == {"ringwall_calls_total{end=held,kind=tool}": 1}
    assert heard.spans[0].attributes["ringwall.decision"] == "ask"
    assert not heard.spans[0].failed


def test_a_failed_effect_counts_its_code_and_open_streams_come_and_go() -> None:
    heard = Heard()
    asked = named("main", "model", {"api": "chat", "request": {"model": "main", "stream": True}})

    async def scenario() -> None:
        record = await heard.journal.intent(asked, ALLOWED)
        assert heard.counted() == {"ringwall_calls_running{kind=model}": 1, "ringwall_streams_open": 1}
        await heard.journal.outcome(record, Outcome(end="failed", code="upstream_slow",
                                                    usage=Usage(tokens_in=7, tokens_out=3)))
        await heard.journal.outcome(record, Outcome(end="done"))  # a second time: nothing that is known

    run(scenario())
    assert heard.counted() == {"ringwall_calls_total{end=failed,kind=model}": 1,
                               "ringwall_faults_total{code=upstream_slow}": 1}
    assert nonzero(page(heard.metrics), "ringwall_tokens_total") == {
        "ringwall_tokens_total{direction=in}": 7, "ringwall_tokens_total{direction=out}": 3}


def test_a_fault_in_counting_harms_no_call_and_is_counted() -> None:
    heard, world = Heard(), World()
    del heard.metrics.calls["tool", "done"]  # type: ignore[attr-defined]
    assert run(through(heard.wall(world))) is None
    assert heard.counted() == {"ringwall_telemetry_faults_total": 1}
    assert [what for what, _ in heard.inner.log] == ["intent", "outcome"]


def test_calls_that_never_reach_the_rings_do_not_fill_memory() -> None:
    heard = Heard(traced=False)
    for number in range(MAX_OPEN + 5):
        heard.calls.admitted(Call.make(id=CallId(str(number)), kind="tool", subject=ALICE, session=None,
                                       target=Target(name="a/b"), args={}), 0.0)
    assert len(heard.calls._admitted) == MAX_OPEN
    assert CallId("0") not in heard.calls._admitted


@settings(max_examples=60)
@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["tool", "model", "secret", "message", "code"]),
       st.text(max_size=60))
def test_no_name_a_caller_chose_is_a_label_or_in_a_span(target: str, code: str, kind: Kind, trace: str) -> None:
    heard, mark = Heard(), "hostile\n\"}\u202e"
    asked = named(mark + target, kind, {"text": mark}, trace=mark + trace)
    verdicts = Verdicts(rings=(("policy", Denied(code=mark + code, reason=mark)),), facts={"flow": {"x": mark}})

    async def scenario() -> None:
        await heard.journal.refusal(asked, verdicts)
        await heard.journal.outcome(await heard.journal.intent(asked, ALLOWED),
                                    Outcome(end="failed", code=mark, reason=mark))
        await heard.journal.note(Event(type="refused_before_call", tenant="acme",
                                       body={"kind": mark + target, "code": mark}))

    run(scenario())
    assert heard.counted() == {
        f"ringwall_calls_total{{end=refused,kind={kind}}}": 1, f"ringwall_calls_total{{end=failed,kind={kind}}}": 1,
        "ringwall_refusals_total{code=other,ring=policy}": 1, "ringwall_faults_total{code=other}": 1}
    assert "hostile" not in repr(heard.spans)


def test_a_tool_call_is_told_by_the_names_of_the_conventions() -> None:
    heard = Heard()
    span = run(heard.one(named("mail/send", "tool", {"to": "x@y.example", "text": "the content"}),
                         Outcome(end="failed", code="tool_error", reason="the content")))
    assert (span.name, span.kind, span.failed, span.link) == ("execute_tool mail/send", "client", True, "")
    assert span.attributes == {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "mail/send", "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "c7", "mcp.method.name": "tools/call", "error.type": "tool_error",
        "gen_ai.agent.id": str(ALICE.spiffe_id), "gen_ai.agent.name": "alice",
        "ringwall.kind": "tool", "ringwall.decision": "allow", "ringwall.code": "tool_error",
        "ringwall.end": "failed", "ringwall.record": "acme/1", "ringwall.tenant": "acme",
        "ringwall.spiffe_id": str(ALICE.spiffe_id), "ringwall.policy.revision": "rev1",
    }


@pytest.mark.parametrize(("target", "kind", "name", "some"), [
    ("web/get", "tool", "execute_tool web/get", {"gen_ai.tool.name": "web/get"}),
    ("nobody/knows", "tool", "execute_tool", {"gen_ai.operation.name": "execute_tool"}),
    ("docs/resources.read", "tool", "resources/read", {"mcp.method.name": "resources/read"}),
    ("main", "model", "chat main", {"gen_ai.request.model": "main", "gen_ai.provider.name": "openai",
                                    "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 2}),
    ("gpt-nobody-granted", "model", "chat", {"gen_ai.operation.name": "chat"}),
    ("bob/ask", "message", "invoke_agent bob", {"gen_ai.operation.name": "invoke_agent",
                                                "ringwall.direction": "out"}),
    ("eve/ask", "message", "invoke_agent", {"gen_ai.operation.name": "invoke_agent"}),
    ("x509", "secret", "ringwall secret", {"ringwall.kind": "secret"}),
])
def test_each_kind_of_call_has_its_span(target: str, kind: Kind, name: str, some: dict[str, Json]) -> None:
    heard = Heard()
    span = run(heard.one(named(target, kind), Outcome(end="done", usage=Usage(tokens_in=5, tokens_out=2))))
    assert span.name == name
    assert some.items() <= span.attributes.items()
    assert not span.failed
    assert "error.type" not in span.attributes


def test_a_callers_trace_is_linked_and_what_goes_on_is_ours_alone() -> None:
    heard = Heard()
    first, second = (run(heard.one(named("mail/send", "tool", trace=CALLER), Outcome(end="done"))) for _ in "ab")
    alone = run(heard.one(named("mail/send", "tool", trace=CALLER.upper()), Outcome(end="done")))
    assert first.link == CALLER
    assert alone.link == ""
    assert first.trace_id == second.trace_id != alone.trace_id  # calls of one trace stay together
    assert first.span_id != second.span_id
    assert first.trace_id != CALLER[3:35]
    assert Heard().calls._tracer.begin(named("x", "tool", trace=CALLER)).trace_id != first.trace_id  # type: ignore[union-attr]


@pytest.mark.parametrize("traced", [True, False])
def test_an_effect_sees_the_trace_of_its_own_span_or_none_and_never_the_callers(traced: bool) -> None:
    heard, seen = Heard(traced=traced), list[Call]()

    class Looking:
        def run(self, call: Call, facts: Any) -> Any:
            seen.append(call)
            return World().effect.run(call, facts)

    async def scenario() -> None:
        asked = named("mail/send", "tool", trace=CALLER)
        heard.calls.admitted(asked, 0.0)
        record = await heard.journal.intent(asked, ALLOWED)
        async for item in OnwardEffect(Looking(), heard.calls).run(asked, {}):
            assert not isinstance(item, Last) or item.end == "done"
        await heard.journal.outcome(record, Outcome(end="done"))
        assert seen[0].digest == asked.digest
        assert heard.calls.onward(asked).trace == ""  # it is over

    run(scenario())
    if traced:
        place = parse(seen[0].trace)
        assert place is not None
        assert (place.trace_id, place.span_id) == (heard.spans[0].trace_id, heard.spans[0].span_id)
    else:
        assert seen[0].trace == ""


def test_who_refused_is_the_first_ring_or_a_human_or_the_wall() -> None:
    both = Verdicts(rings=(("flow", NO), ("policy", Denied(code="p", reason="p"))), facts={})
    assert refuser(both) == ("flow", "no")
    spent = Verdicts(rings=(), facts={"approvals": {"code": "approval_spent"}})
    assert refuser(spent) == ("approval", "approval_spent")
    assert refuser(ALLOWED) == ("wall", "unknown_kind")


@pytest.mark.parametrize(("kind", "args", "found"), [
    ("model", {"request": {"stream": True}}, True), ("model", {"request": {"stream": 1}}, False),
    ("model", {"request": []}, False), ("model", [], False), ("tool", {"request": {"stream": True}}, False),
    ("message", {"method": "SendStreamingMessage"}, True), ("message", {"method": "GetTask"}, False),
])
def test_streams_are_what_was_asked_for_in_pieces(kind: Kind, args: Json, found: bool) -> None:
    assert streams(named("x", kind, args)) is found


def test_the_journal_passes_on_what_it_cannot_count() -> None:
    heard = Heard()

    async def scenario() -> None:
        heard.journal.count(Event(type="label", tenant="acme"))
        await heard.journal.note(Event(type="start", tenant="system"))
        heard.inner.broken = {"note", "held"}
        with pytest.raises(AuditError):
            await heard.journal.note(Event(type="refused_before_call", tenant="acme", body={"kind": "tool"}))
        with pytest.raises(AuditError):
            await heard.journal.held(call(), ALLOWED)

    run(scenario())
    assert heard.counted() == {}
    assert [what for what, _ in heard.inner.log] == ["count", "note"]
