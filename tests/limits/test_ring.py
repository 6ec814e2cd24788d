"""limits/ring.py, memory.py, attempts.py: reserve before, settle after, and leave nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Chunk,
    Denied,
    End,
    Kind,
    LaunchId,
    Operator,
    Process,
    SessionId,
    Subject,
    Target,
    Usage,
)
from ringwall.errors import Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Stopped, Targets, Through
from ringwall.limits.attempts import AttemptBudget
from ringwall.limits.budgets import estimate
from ringwall.limits.fair import Turns
from ringwall.limits.gcra import Take
from ringwall.limits.interface import Counters, self_check
from ringwall.limits.memory import MemoryCounters
from ringwall.limits.ring import LimitsRing, Undo
from ringwall.manifest.types import Agent, Limits, Manifest, Rate, Role, Tenant

ENDS: list[End] = ["done", "failed", "refused", "held", "stopped", "cancelled", "unknown", "dry"]


class FakeClock:
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def manifest(tenant: Limits | None = None, role: Limits | None = None) -> Manifest:
    acme = Tenant(name="acme", limits=tenant or Limits(),
                  roles={"analyst": Role(name="analyst", limits=role or Limits())},
                  agents={name: Agent(name=name, role="analyst") for name in ("ana", "bob")})
    return Manifest(version=1, trust_domain="acme.example", path=Path("ringwall.toml"), tenants={"acme": acme})


def process(agent: str = "ana", tenant: str = "acme") -> Process:
    who = SpiffeId.make(trust_domain="acme.example", tenant=tenant, agent=agent, role="analyst")
    return Process(spiffe_id=who, launch=LaunchId("l1"), connection=1)


class Caller:
    """Makes calls with fresh ids."""

    def __init__(self, ring: LimitsRing) -> None:
        self.ring = ring
        self.made = 0
        self.facts: dict[str, dict[str, object]] = {}

    async def enter(self, subject: Subject | None = None, kind: Kind = "tool", session: str | None = "s1",
                    args: dict[str, object] | None = None) -> Through:
        self.made += 1
        call = Call.make(id=CallId(str(self.made)), kind=kind, subject=subject or process(),
                         session=SessionId(session) if session else None, target=Target(name="docs/read"),
                         args=args or {})
        self.facts = {}
        return await self.ring.enter(call, self.facts)


def ring_of(found: Manifest, counters: Counters | None = None, clock: FakeClock | None = None) -> LimitsRing:
    clock = clock or FakeClock()
    return LimitsRing(found, counters or MemoryCounters(clock), clock, Turns(inside=1000, each=1000))


def caller(**limits: Limits) -> tuple[Caller, FakeClock]:
    clock = FakeClock()
    return Caller(ring_of(manifest(**limits), clock=clock)), clock


def denied(passage: Through) -> Denied:
    assert isinstance(passage.verdict, Denied), passage.verdict
    return passage.verdict


def test_memory_counters_pass_the_check_every_store_must_pass() -> None:
    asyncio.run(self_check(MemoryCounters(FakeClock())))


class Generous(MemoryCounters):
    async def lease(self, key: str, holder: str, most: int) -> Take:
        return Take(True, 1)


def test_a_store_that_miscounts_fails_the_check_and_is_named() -> None:
    with pytest.raises(Unavailable, match="2 slots"):
        asyncio.run(self_check(Generous(FakeClock())))


def test_a_rate_lets_the_burst_through_and_says_when_to_come_back() -> None:
    async def run() -> None:
        calls, clock = caller(role=Limits(calls=Rate(count=60, seconds=60.0, burst=3)))
        for left in (2, 1, 0):
            assert isinstance((await calls.enter()).verdict, Allowed)
            assert calls.facts["limits"]["agent"]["calls"] == {"limit": 3, "used": 3 - left, "remaining": left}
        refused = denied(await calls.enter())
        assert (refused.code, refused.retry_after) == ("rate_limited", 1.0)
        clock.at += 1.0
        assert isinstance((await calls.enter()).verdict, Allowed)

    asyncio.run(run())


def test_a_role_limit_is_each_agents_own_and_a_tenant_limit_is_shared() -> None:
    async def run() -> None:
        calls, _ = caller(tenant=Limits(calls=Rate(count=1, seconds=60.0, burst=3)),
                          role=Limits(calls=Rate(count=1, seconds=60.0, burst=2)))
        for agent, allowed in (("ana", True), ("ana", True), ("ana", False), ("bob", True), ("bob", False)):
            passage = await calls.enter(process(agent))
            assert isinstance(passage.verdict, Allowed) == allowed, agent
        assert denied(await calls.enter(process("bob"))).detail["scope"] == "tenant"

    asyncio.run(run())


def test_a_call_refused_by_the_agents_limit_does_not_eat_the_tenants() -> None:
    async def run() -> None:
        calls, _ = caller(tenant=Limits(calls=Rate(count=1, seconds=3600.0, burst=2), concurrent=1),
                          role=Limits(calls=Rate(count=1, seconds=3600.0, burst=1)))
        first = await calls.enter(process("ana"))
        await first.leave("done", Usage())
        for _ in range(5):
            assert denied(await calls.enter(process("ana"))).detail["scope"] == "agent"
        assert isinstance((await calls.enter(process("bob"))).verdict, Allowed)

    asyncio.run(run())


@pytest.mark.parametrize("end", ENDS)
def test_only_a_call_that_never_happened_gives_its_rate_back(end: End) -> None:
    async def run() -> None:
        calls, _ = caller(role=Limits(calls=Rate(count=1, seconds=3600.0, burst=1)))
        await (await calls.enter()).leave(end, Usage())
        again = await calls.enter()
        assert isinstance(again.verdict, Allowed) == (end in {"refused", "held", "dry"})

    asyncio.run(run())


def test_a_slot_stays_taken_while_a_tool_goes_on_that_nobody_waits_for() -> None:
    async def run() -> None:
        left: list[tuple[str, Undo]] = []

        def afterwards(call: Call, free: Undo) -> bool:
            left.append((call.id, free))
            return call.id == "1"

        clock = FakeClock()
        found = manifest(role=Limits(concurrent=1))
        calls = Caller(LimitsRing(found, MemoryCounters(clock), clock, Turns(), afterwards))
        first = await calls.enter()
        await first.leave("unknown", Usage())
        assert denied(await calls.enter()).code == "too_many_at_once"
        [(call, free), *_] = left
        assert call == "1"
        await free()
        second = await calls.enter()
        assert isinstance(second.verdict, Allowed)
        await second.leave("unknown", Usage())  # its tool is over
        assert isinstance((await calls.enter()).verdict, Allowed)

    asyncio.run(run())


@pytest.mark.parametrize("end", ENDS)
def test_a_slot_is_free_again_however_the_call_ends(end: End) -> None:
    async def run() -> None:
        calls, _ = caller(role=Limits(concurrent=1))
        first = await calls.enter()
        assert denied(await calls.enter()).code == "too_many_at_once"
        await first.leave(end, Usage())
        second = await calls.enter()
        assert isinstance(second.verdict, Allowed)
        await first.leave(end, Usage())  # a second leave of the first call frees nothing of the second
        assert denied(await calls.enter()).code == "too_many_at_once"

    asyncio.run(run())


@pytest.mark.parametrize(("end", "usage", "spent"), [
    ("done", Usage(tokens_in=10, tokens_out=20), 30),
    ("done", Usage(tokens_in=500, tokens_out=2000), 2500),  # more than was reserved counts
    ("done", Usage(), None),  # nobody counted: the reservation stands
    ("stopped", Usage(), None),
    ("cancelled", Usage(), None),
    ("unknown", Usage(), None),
    ("cancelled", Usage(tokens_in=10), 10),
    ("failed", Usage(), 0),
    ("refused", Usage(), 0),
    ("held", Usage(), 0),
    ("dry", Usage(tokens_in=99), 0),
])
def test_tokens_are_settled_with_what_was_used(end: End, usage: Usage, spent: int | None) -> None:
    async def run() -> None:
        calls, _ = caller(role=Limits(tokens_per_session=5000))
        request = {"max_tokens": 100}
        reserved = sum(estimate(request))
        passage = await calls.enter(kind="model", args=request)
        assert calls.facts["limits"]["agent"]["tokens_per_session"] == {
            "limit": 5000, "used": reserved, "remaining": 5000 - reserved}
        await passage.leave(end, usage)
        await calls.enter(kind="model", args=request)
        left = calls.facts["limits"]["agent"]["tokens_per_session"]["remaining"]
        assert left == 5000 - reserved - (reserved if spent is None else spent)

    asyncio.run(run())


def test_a_spent_session_is_refused_another_is_not_and_ending_it_forgets() -> None:
    async def run() -> None:
        calls, _ = caller(role=Limits(tokens_per_session=2000), tenant=Limits(tokens_per_session=9000))
        first = await calls.enter(kind="model", args={"max_tokens": 100})
        await first.leave("done", Usage(tokens_in=100, tokens_out=3000))
        refused = denied(await calls.enter(kind="model", args={"max_tokens": 1}))
        assert (refused.code, refused.retry_after, refused.detail["remaining"]) == ("budget_exhausted", None, 0)
        assert isinstance((await calls.enter(kind="model", session="s2")).verdict, Allowed)
        assert isinstance((await calls.enter(kind="tool")).verdict, Allowed)
        await calls.ring.end_session("acme", "ana", SessionId("s1"))
        assert isinstance((await calls.enter(kind="model")).verdict, Allowed)

    asyncio.run(run())


def test_a_stream_that_must_have_overdrawn_the_budget_is_stopped() -> None:
    async def run() -> None:
        calls, _ = caller(role=Limits(tokens_per_session=200))
        passage = await calls.enter(kind="model", args={"max_tokens": 10})
        chunk = Chunk(value={"part": 0, "kind": "text", "text": "x" * 400}, whole=False)
        for _ in range(3):
            assert await passage.release(chunk) == (chunk,)
        with pytest.raises(Stopped) as stopped:
            for _ in range(3):
                await passage.release(chunk)
        assert stopped.value.denied.code == "budget_exhausted"

    asyncio.run(run())


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("end", "said", "used"), [
    ("unknown", Usage(), 9000 // 3 + 1),  # hung up before the end, where the upstream counts
    ("stopped", Usage(), 9000 // 3 + 1),
    ("done", Usage(tokens_in=1, tokens_out=1), 9000 // 8),  # an upstream that says less than it gave
    ("failed", Usage(), 9000 // 8),
])
def test_what_went_out_of_an_answer_is_spent_whatever_is_said_of_it(
    end: End, said: Usage, used: int, whole: bool
) -> None:
    async def run() -> None:
        calls, _ = caller(role=Limits(tokens_per_session=50_000))
        passage = await calls.enter(kind="model")
        call = {"id": "c", "name": "read", "arguments": "x" * 900}
        piece = {"part": 0, "call": call} if whole else {"part": 0, "kind": "text", "text": "x" * 900}
        for _ in range(10):
            await passage.release(Chunk(value=piece, whole=whole))
        await passage.leave(end, said)
        prompt, answer = estimate({})
        await calls.enter(kind="model")
        left = calls.facts["limits"]["agent"]["tokens_per_session"]["remaining"]
        assert used <= 50_000 - left - (prompt + answer) < used + 10

    asyncio.run(run())


def test_an_agent_or_tenant_without_limits_on_record_is_refused_and_an_operator_is_not_counted() -> None:
    async def run() -> None:
        calls, _ = caller()
        assert denied(await calls.enter(process(tenant="other"))).code == "no_limits"
        operator = Operator(name="root", uid=0, connection=1)
        assert isinstance((await calls.enter(operator, kind="operate")).verdict, Allowed)
        targets = Targets(definitions={"docs/read": {}})
        assert await calls.ring.lists(process(), targets) is targets

    asyncio.run(run())


class Broken(MemoryCounters):
    """Fails the nth time a method of this name is called; other methods work."""

    def __init__(self, method: str) -> None:
        super().__init__(FakeClock())
        self.method = method
        self.how: BaseException = Unavailable("the store is down")

    async def _fail(self, method: str) -> None:
        await asyncio.sleep(0)
        if method == self.method:
            raise self.how

    async def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        await self._fail("take" if ":agent:" in key else "the tenant's take")
        return await super().take(key, rate, cost)

    async def reserve(self, book: str, field: str, budget: int, amount: int, keep: int) -> Take:
        await self._fail("reserve")
        return await super().reserve(book, field, budget, amount, keep)

    async def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        await self._fail("refund")
        await super().refund(key, rate, cost)


@pytest.mark.parametrize("how", [Unavailable("down"), asyncio.CancelledError()])
@pytest.mark.parametrize("method", ["take", "reserve"])
def test_a_call_that_fails_or_is_cancelled_on_its_way_in_leaves_nothing_behind(
        method: str, how: BaseException) -> None:
    async def run() -> None:
        counters = Broken(method)
        counters.how = how
        limits = Limits(calls=Rate(count=1, seconds=3600.0, burst=1), concurrent=1, tokens_per_session=9000)
        calls = Caller(ring_of(manifest(limits, limits), counters))
        if isinstance(how, Unavailable):
            assert denied(await calls.enter(kind="model")).code == "unavailable"
        else:
            with pytest.raises(type(how)):
                await calls.enter(kind="model")
        counters.method = ""
        assert isinstance((await calls.enter(kind="model")).verdict, Allowed)

    asyncio.run(run())


def test_a_store_that_fails_on_the_way_out_still_frees_the_slot() -> None:
    async def run() -> None:
        counters = Broken("refund")
        limits = Limits(calls=Rate(count=1, seconds=3600.0, burst=5), concurrent=1)
        calls = Caller(ring_of(manifest(role=limits), counters))
        passage = await calls.enter()
        with pytest.raises(Unavailable):
            await passage.leave("refused", Usage())
        assert isinstance((await calls.enter()).verdict, Allowed)

    asyncio.run(run())


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 400), st.integers(0, 400), st.sampled_from(ENDS),
                          st.integers(0, 3)), min_size=1, max_size=12), st.integers(1, 4), st.integers(200, 4000))
@settings(max_examples=60, deadline=None)
def test_interleaved_and_cancelled_calls_keep_slots_and_budget_right(
        plans: list[tuple[int, int, int, End, int]], slots: int, budget: int) -> None:
    class Slow(MemoryCounters):
        async def lease(self, key: str, holder: str, most: int) -> Take:
            await asyncio.sleep(0)
            return await super().lease(key, holder, most)

    async def run() -> None:
        limits = Limits(concurrent=slots, tokens_per_session=budget)
        ring = Caller(ring_of(manifest(role=limits), Slow(FakeClock())))
        inside, most_inside, spent, overdraft = 0, 0, 0, 0

        async def one(asked: int, tokens_in: int, tokens_out: int, end: End, turns: int) -> None:
            nonlocal inside, most_inside, spent, overdraft
            request = {"max_tokens": asked}
            passage = await ring.enter(kind="model", args=request)
            if isinstance(passage.verdict, Denied):
                await passage.leave("refused", Usage())
                return
            inside += 1
            most_inside = max(most_inside, inside)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                inside -= 1
                usage = Usage(tokens_in=tokens_in, tokens_out=tokens_out)
                used, reserved = tokens_in + tokens_out, sum(estimate(request))
                if end in {"refused", "held", "dry"}:
                    used = 0
                elif used == 0 and end != "failed":
                    used = reserved
                spent += used
                overdraft += max(used - reserved, 0)
                await passage.leave(end, usage)

        tasks = [asyncio.create_task(one(*plan)) for plan in plans]
        await asyncio.sleep(0)
        for i, task in enumerate(tasks):
            if plans[i][4] == 3:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most_inside <= slots
        assert spent <= budget + overdraft  # beyond the budget only what upstreams used beyond the reservation
        for _ in range(slots):  # every slot is free again
            assert denied_or_allowed(await ring.enter(kind="tool"))
        assert not denied_or_allowed(await ring.enter(kind="tool"))
        refused = await ring.ring.enter(Call.make(
            id=CallId("last"), kind="model", subject=process("bob"), session=SessionId("s1"),
            target=Target(name="main"), args={"max_tokens": 10**9}), {})
        assert denied(refused).detail["remaining"] == budget  # another agent's session of the same name is its own

    def denied_or_allowed(passage: Through) -> bool:
        return isinstance(passage.verdict, Allowed)

    asyncio.run(run())


def test_an_attempt_budget_counts_calls_and_bytes_and_refunds_nothing() -> None:
    clock = FakeClock()
    budget = AttemptBudget(clock, calls=Rate(count=1, seconds=1.0, burst=2),
                           size=Rate(count=100, seconds=1.0, burst=300))
    assert budget.attempt("a", 10) is None
    assert budget.attempt("a", 10) is None
    refused = budget.attempt("a", 10)
    assert refused is not None and (refused.code, refused.retry_after) == ("too_many_attempts", 1.0)
    assert budget.attempt("b", 250) is None
    refused = budget.attempt("b", 100)
    assert refused is not None and refused.detail["budget"] == "bytes" and refused.retry_after == 0.5
    refused = budget.attempt("c", 301)
    assert refused is not None and refused.retry_after is None
    clock.at += 1.0
    assert budget.attempt("a", 0) is None


@pytest.mark.parametrize(("request_", "answer"), [
    ({}, 1024), ({"max_tokens": 7}, 7), ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
    ({"max_tokens": -1}, 1024), ({"max_tokens": True}, 1024), ({"max_tokens": "7"}, 1024),
    ({"max_output_tokens": 11}, 11), ({"max_tokens": None}, 1024),
])
def test_a_reservation_covers_the_prompt_and_the_longest_answer(request_: dict[str, object], answer: int) -> None:
    assert estimate(request_)[1] == answer
    assert estimate({**request_, "messages": ["x" * 3000]})[0] > 1000
    for api in ("chat", "responses", "messages"):
        assert estimate({"api": api, "request": request_}) == estimate(request_)


def test_a_picture_costs_what_providers_count_and_a_document_or_a_member_of_that_name_its_length() -> None:
    long = "iVBORw0KGgo" + "A" * 300_000
    url = f"data:image/png;base64,{long}"
    source = {"type": "base64", "media_type": "image/png", "data": long}
    for api, messages in (
        ("chat", {"messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]}),
        ("responses", {"input": [{"content": [{"type": "input_image", "image_url": url}]}]}),
        ("messages", {"messages": [{"content": [{"content": [{"type": "image", "source": source}]}]}]}),
    ):
        assert 8000 < estimate({"api": api, "request": messages})[0] < 9000
    document = {"type": "base64", "media_type": "application/pdf", "data": long}  # begins like a picture
    request = {"messages": [{"content": [{"source": document}, {"input": {"source": source, "url": url}}]}]}
    assert estimate({"api": "messages", "request": request})[0] > 300_000
