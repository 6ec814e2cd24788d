"""limits/scopes.py, budgets.py and the ring over them: whom a call counts for, and what it may use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.limits.test_ring import FakeClock, denied, process, ring_of

from ringwall.call import Allowed, Call, CallId, Facts, Kind, Process, Resource, SessionId, Target, Usage
from ringwall.errors import Unavailable
from ringwall.interface import Through
from ringwall.limits.budgets import day, estimate
from ringwall.limits.gcra import Take
from ringwall.limits.interface import STORE_DOWN
from ringwall.limits.memory import MAX_FIELDS, MemoryCounters
from ringwall.limits.ring import LimitsRing, tenth
from ringwall.limits.scopes import CONCURRENT, MAX_RESOURCES
from ringwall.manifest.types import (
    Agent,
    Grant,
    Limits,
    Manifest,
    Model,
    Operation,
    Price,
    Rate,
    ReadGrant,
    Role,
    Tenant,
    ToolServer,
)

ONCE = Limits(calls=Rate(count=1, seconds=3600.0, burst=1))
PRICE = Price(tokens_in=2_500_000, tokens_out=10_000_000)
DAY = 86_400.0


def office(grant: Grant | None = None, role: Limits | None = None, process_limits: Limits | None = None,
           tenant: Limits | None = None, price: Price | None = PRICE) -> Manifest:
    made = Role(name="analyst", models=("main",), limits=role or Limits(),
                process_limits=process_limits or Limits(),
                tools={"docs/read": grant or Grant(tool="docs/read"), "docs/list": Grant(tool="docs/list")})
    acme = Tenant(name="acme", limits=tenant or Limits(), roles={"analyst": made},
                  agents={name: Agent(name=name, role="analyst") for name in ("ana", "bob")})
    docs = ToolServer(name="docs", ops={"read": Operation(effect="read", args={}, cost=7),
                                        "list": Operation(effect="read", args={})})
    return Manifest(version=1, trust_domain="acme.example", path=Path("ringwall.toml"), tenants={"acme": acme},
                    tools={"docs": docs}, models={"main": Model(name="main", wire="openai", url="", price=price)})


class Calls:
    def __init__(self, ring: LimitsRing) -> None:
        self.ring = ring
        self.facts: Facts = {}
        self._made = 0

    async def __call__(self, target: str = "docs/read", *resources: str, subject: Process | None = None,
                       kind: Kind = "tool", session: str = "s1", args: dict[str, object] | None = None) -> Through:
        self._made += 1
        self.facts = {}
        call = Call.make(
            id=CallId(str(self._made)), kind=kind, subject=subject or process(), session=SessionId(session),
            target=Target(name=target), args=args or {},
            resources=tuple(Resource(type="path", id=one, key=(one,), action="read", argument="p")
                            for one in resources))
        return await self.ring.enter(call, self.facts)

    async def allowed(self, *args: str, subject: Process | None = None) -> bool:
        return isinstance((await self(*args, subject=subject)).verdict, Allowed)

    def fact(self, scope: str, name: str) -> object:
        return self.facts["limits"][scope][name]


def test_a_tools_limit_is_that_tools_and_that_agents() -> None:
    async def run() -> None:
        calls = Calls(ring_of(office(Grant(tool="docs/read", limits=ONCE))))
        assert await calls.allowed("docs/read")
        assert denied(await calls("docs/read")).detail["scope"] == "tool"
        assert await calls.allowed("docs/list")
        assert await calls.allowed("docs/read", subject=process("bob"))

    asyncio.run(run())


def test_a_resources_limit_is_each_resources_and_one_call_takes_all_or_nothing() -> None:
    async def run() -> None:
        twice = Limits(calls=Rate(count=1, seconds=3600.0, burst=2))
        calls = Calls(ring_of(office(Grant(tool="docs/read", resource_limits=twice))))
        assert await calls.allowed("docs/read", "/a", "/b", "/b")
        assert calls.fact("resource", "calls") == {"limit": 2, "used": 1, "remaining": 1}
        assert await calls.allowed("docs/read", "/b")
        for _ in range(3):
            assert denied(await calls("docs/read", "/a", "/b")).detail["scope"] == "resource"
        assert await calls.allowed("docs/read", "/a")  # the refused calls took nothing of it
        many = [f"/{number}" for number in range(MAX_RESOURCES + 1)]
        assert denied(await calls("docs/read", *many)).code == "too_many_resources"

    asyncio.run(run())


def test_a_process_limit_is_each_processes() -> None:
    async def run() -> None:
        calls = Calls(ring_of(office(process_limits=ONCE)))
        assert await calls.allowed("docs/read")
        assert denied(await calls("docs/read")).detail["scope"] == "process"
        assert await calls.allowed("docs/read", subject=replace(process(), number=2))

    asyncio.run(run())


def test_nobody_runs_any_number_at_once_even_where_the_manifest_says_nothing() -> None:
    async def run() -> None:
        calls = Calls(ring_of(office()))
        for _ in range(CONCURRENT["agent"]):
            assert await calls.allowed("docs/read")
        assert denied(await calls("docs/read")).detail == {"scope": "agent", "concurrent": CONCURRENT["agent"]}
        others = [await calls.allowed("docs/read", subject=process(f"x{number // 32}")) for number in range(128)]
        assert sum(others) == CONCURRENT["tenant"] - CONCURRENT["agent"]
        more = Calls(ring_of(office(role=Limits(concurrent=50))))
        assert [await more.allowed("docs/read") for _ in range(51)] == [True] * 50 + [False]

    asyncio.run(run())


def test_calls_of_a_session_and_of_a_day_are_budgets_and_midnight_begins_a_day() -> None:
    async def run() -> None:
        clock = FakeClock()
        calls = Calls(ring_of(office(role=Limits(calls_per_session=2, calls_per_day=3)), clock=clock))
        for _ in range(2):
            await (await calls()).leave("done", Usage())
        assert denied(await calls()).detail["name"] == "calls_per_session"
        await (await calls(session="s2")).leave("done", Usage())
        assert denied(await calls(session="s3")).detail["name"] == "calls_per_day"
        clock.at += DAY
        await (await calls(session="s3")).leave("refused", Usage())
        assert calls.fact("agent", "calls_per_day") == {"limit": 3, "used": 1, "remaining": 2}
        await calls(session="s3")
        assert calls.fact("agent", "calls_per_day") == {"limit": 3, "used": 1, "remaining": 2}  # refused: no use

    asyncio.run(run())


def test_a_tenants_day_is_shared_and_an_agents_is_its_own() -> None:
    async def run() -> None:
        calls = Calls(ring_of(office(role=Limits(tokens_per_day=3000), tenant=Limits(tokens_per_day=4500))))
        assert isinstance((await calls("main", kind="model", args={"max_tokens": 2000})).verdict, Allowed)
        refused = denied(await calls("main", kind="model", args={"max_tokens": 2000}))
        assert refused.detail["scope"] == "agent"
        refused = denied(await calls("main", kind="model", args={"max_tokens": 2900}, subject=process("bob")))
        assert refused.detail["scope"] == "tenant"

    asyncio.run(run())


def test_money_is_reserved_before_and_settled_with_what_was_used_in_whole_micro_units() -> None:
    async def run() -> None:
        calls = Calls(ring_of(office(role=Limits(money_per_day=50_000))))
        request: dict[str, object] = {"max_tokens": 1000}
        prompt, answer = estimate(request)
        reserved = -(-(prompt * 2_500_000 + answer * 10_000_000) // 1_000_000)
        passage = await calls("main", kind="model", args=request)
        assert calls.fact("agent", "money_per_day") == {
            "limit": 50_000, "used": reserved, "remaining": 50_000 - reserved}
        await passage.leave("done", Usage(tokens_in=3, tokens_out=1))
        await (await calls("docs/read")).leave("failed", Usage())  # 7 a call, whatever came of it
        await calls("docs/list")
        assert calls.fact("agent", "money_per_day") == {"limit": 50_000, "used": 18 + 7, "remaining": 50_000 - 25}
        assert denied(await calls("main", kind="model", args={"max_tokens": 10**18})).code == "budget_exhausted"

    asyncio.run(run())


def test_a_model_without_a_price_is_not_for_a_budget_of_money() -> None:
    async def run() -> None:
        calls = Calls(ring_of(office(role=Limits(money_per_day=50_000), price=None)))
        assert denied(await calls("main", kind="model")).code == "no_price"
        assert await calls.allowed("docs/read")

    asyncio.run(run())


class Down(MemoryCounters):
    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.code = STORE_DOWN

    async def take(self, key: str, rate: Rate, cost: int = 1) -> Take:
        raise Unavailable("down", code=self.code)

    async def lease(self, key: str, holder: str, most: int) -> Take:
        raise Unavailable("down", code=self.code)


def test_while_the_store_is_down_a_limit_denies_or_counts_a_tenth_here_and_never_allows() -> None:
    async def run() -> None:
        down = Down()
        local = Limits(calls=Rate(count=60, seconds=60.0, burst=50), concurrent=40, on_store_down="local")
        calls = Calls(ring_of(office(role=local, tenant=local), down))
        passages = [await calls() for _ in range(6)]
        assert [isinstance(one.verdict, Allowed) for one in passages] == [True] * 4 + [False] * 2
        assert denied(passages[-1]).code == "too_many_at_once"
        for passage in passages[:4]:
            await passage.leave("done", Usage())
        assert [await calls.allowed() for _ in range(2)] == [True, False]  # 5 of 50 at once, none refunded
        strict = Calls(ring_of(office(role=replace(local, on_store_down="deny"), tenant=local), down))
        assert denied(await strict()).code == STORE_DOWN
        down.code = "limits_store_refused"  # not down but wrong: nothing is counted here instead
        assert denied(await calls()).code == "limits_store_refused"

    asyncio.run(run())


def test_a_tenth_of_a_rate_is_slower_and_smaller() -> None:
    assert tenth(Rate(count=60, seconds=60.0, burst=5)) == Rate(count=60, seconds=600.0, burst=1)


def test_what_one_agent_makes_many_of_takes_no_room_from_another() -> None:
    async def run() -> None:
        counters = MemoryCounters(FakeClock(), max_keys=10)
        rate = Rate(count=1, seconds=3600.0, burst=1)
        taken = [(await counters.take(f"acme/ana|calls:{number}", rate)).taken for number in range(20)]
        assert sum(taken) == 10
        assert (await counters.take("acme/bob|calls:1", rate)).taken
        for number in range(MAX_FIELDS):
            await counters.reserve("acme/ana|day:x", str(number), 9, 1, 60)
        with pytest.raises(Unavailable) as full:
            await counters.reserve("acme/ana|day:x", "more", 9, 1, 60)
        assert full.value.code == "too_many_budgets"
        assert (await counters.reserve("acme/bob|day:x", "more", 9, 1, 60)).taken

    asyncio.run(run())


def test_what_is_shown_is_what_is_used_and_showing_uses_nothing() -> None:
    async def run() -> None:
        limits = Limits(calls=Rate(count=1, seconds=3600.0, burst=5), calls_per_day=9, tokens_per_session=100_000)
        calls = Calls(ring_of(office(role=limits)))
        await calls("main", kind="model", args={"max_tokens": 10})
        asked = Call.make(id=CallId("show"), kind="model", subject=process(), session=SessionId("s1"),
                          target=Target(name="main"), args={})
        shown = [await calls.ring.show(asked) for _ in range(2)]
        assert shown[0] == shown[1] == calls.facts["limits"]
        assert shown[0]["agent"]["calls"] == {"limit": 5, "used": 1, "remaining": 4}

    asyncio.run(run())


@pytest.mark.parametrize(("at", "name"), [(0.0, "1970-01-01"), (86_399.9, "1970-01-01"), (86_400.0, "1970-01-02")])
def test_a_day_is_a_utc_day(at: float, name: str) -> None:
    assert day(at) == name


def test_readings_of_secrets_have_one_rate_of_each_agent_whatever_their_names() -> None:
    async def run() -> None:
        made = office()
        role = made.tenants["acme"].roles["analyst"]
        role = replace(role, read=ReadGrant(secrets=("a", "b"), calls=Rate(count=2, seconds=3600.0, burst=2)))
        acme = replace(made.tenants["acme"], roles={"analyst": role})
        calls = Calls(ring_of(replace(made, tenants={"acme": acme})))
        assert isinstance((await calls("read/a", kind="secret")).verdict, Allowed)
        assert calls.fact("read", "calls") == {"limit": 2, "used": 1, "remaining": 1}
        assert isinstance((await calls("read/b", kind="secret")).verdict, Allowed)
        third = denied(await calls("read/b", kind="secret"))
        assert (third.code, third.detail["scope"], third.retry_after) == ("rate_limited", "read", 1800.0)
        assert isinstance((await calls("read/a", kind="secret", subject=process("bob"))).verdict, Allowed)
        assert isinstance((await calls("svid/x509", kind="secret")).verdict, Allowed)
        assert await calls.allowed("docs/read")

    asyncio.run(run())
