"""runtime/counting.py: what the log says was used counts on, in memory and in a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.audit.support import SEGMENT, FakeClock
from tests.limits.private_redis import PrivateRedis, needs_redis

from ringwall.audit.journal import AuditJournal
from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Chunk,
    Denied,
    Event,
    Facts,
    Kind,
    Last,
    LaunchId,
    Operator,
    Outcome,
    Peer,
    Process,
    Resource,
    SessionId,
    Target,
    Usage,
    Verdicts,
)
from ringwall.errors import RingwallError
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.keys.file import FileRootKeys
from ringwall.limits.budgets import estimate
from ringwall.limits.fair import INSIDE
from ringwall.manifest.types import Agent, Grant, Limits, LimitsSettings, Manifest, Model, Role, Tenant
from ringwall.runtime.counting import Counting
from ringwall.runtime.sessions import Session

ANA = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="ana", role="analyst")
DAY = 86_400.0
BOTH = pytest.mark.parametrize("stored", [False, pytest.param(True, marks=needs_redis)])


def manifest(store: str = "memory", **limits: int) -> Manifest:
    each = Limits(calls_per_day=3)
    role = Role(name="analyst", models=("main",), limits=Limits(**limits), tools={
        "docs/read": Grant(tool="docs/read", resources=("path:/",), resource_limits=each)})
    acme = Tenant(name="acme", roles={"analyst": role}, agents={"ana": Agent(name="ana", role="analyst")})
    return Manifest(version=1, trust_domain="acme.example", path=Path("ringwall.toml"), tenants={"acme": acme},
                    models={"main": Model(name="main", wire="openai", url="")}, limits=LimitsSettings(store=store))


def made(name: str, kind: Kind = "tool", session: str = "s1", path: str = "/a") -> Call:
    target = "main" if kind == "model" else "docs/read"
    touched = () if kind == "model" else (Resource(type="path", id=path, key=("a",), action="read", argument="p"),)
    return Call.make(id=CallId(name), kind=kind, subject=Process(spiffe_id=ANA, launch=LaunchId("l"), connection=1),
                     session=SessionId(session), target=Target(name=target), args={"max_tokens": 50},
                     resources=touched)


class House:
    """One state folder over several lives of a core."""

    def __init__(self, folder: Path, store: str = "memory") -> None:
        self.folder = folder
        self.store = store
        self.clock = FakeClock()
        self.keys = FileRootKeys(b"0123456789abcdef0123456789abcdef")
        self.live: list[str] = ["s1"]

    @asynccontextmanager
    async def life(self, **limits: int) -> AsyncGenerator[tuple[Counting, AuditJournal]]:
        audit = AuditJournal.open(self.folder, self.keys, self.clock, quota_mib=16, segment=SEGMENT)
        counting = Counting(manifest=manifest(self.store, **limits), clock=self.clock, keys=self.keys, audit=audit,
                            open_sessions=lambda: ())
        await counting.open(self.live)
        try:
            yield counting, audit
        finally:
            await counting.close()
            await audit.close()


async def one(counting: Counting, audit: AuditJournal, call: Call, usage: Usage | None = None) -> bool:
    """A whole call, as the wall does it; ``usage`` None: its end is never written."""
    facts: Facts = {}
    passage = await counting.ring.enter(call, facts)
    if isinstance(passage.verdict, Denied):
        return False
    seq = await audit.intent(call, Verdicts(rings=(("limits", Allowed()),), facts=facts))
    if usage is not None:
        await audit.outcome(seq, Outcome(end="done", usage=usage))
        await passage.leave("done", usage)
    return True


async def refusal(counting: Counting, call: Call) -> str:
    verdict = (await counting.ring.enter(call, {})).verdict
    return verdict.code if isinstance(verdict, Denied) else ""


@BOTH
def test_a_days_budget_survives_a_restart_of_the_core(tmp_path: Path, stored: bool) -> None:
    async def run(store: str) -> None:
        house = House(tmp_path, store)
        async with house.life(tokens_per_day=1000, calls_per_session=20) as (counting, audit):
            assert await one(counting, audit, made("1", "model"), Usage(tokens_in=100, tokens_out=300))
            other = made("2", "model", session="s2")
            assert await one(counting, audit, other, Usage(tokens_in=300, tokens_out=200))
        async with house.life(tokens_per_day=1000, calls_per_session=20) as (counting, audit):
            facts: Facts = {}
            await (await counting.ring.enter(made("3", "model"), facts)).leave("refused", Usage())
            reserved = sum(estimate({"max_tokens": 50}))
            assert facts["limits"]["agent"]["tokens_per_day"]["used"] == 900 + reserved
            assert facts["limits"]["agent"]["calls_per_session"]["used"] == 2  # s1 goes on, with its one call
        async with house.life(tokens_per_day=950) as (counting, audit):
            assert not await one(counting, audit, made("4", "model", session="new"))
        house.clock.time += DAY
        async with house.life(tokens_per_day=950) as (counting, audit):
            assert await one(counting, audit, made("5", "model", session="new"))

    if stored:
        with PrivateRedis() as server:
            asyncio.run(run(server.store))
    else:
        asyncio.run(run("memory"))


def test_a_call_whose_end_nobody_wrote_counts_as_it_was_reserved(tmp_path: Path) -> None:
    async def run() -> None:
        house = House(tmp_path)
        reserved = sum(estimate({"max_tokens": 50}))
        async with house.life(tokens_per_day=10_000) as (counting, audit):
            assert await one(counting, audit, made("1", "model"))
        async with house.life(tokens_per_day=2 * reserved - 1) as (counting, audit):
            assert not await one(counting, audit, made("2", "model"))

    asyncio.run(run())


def test_resources_are_counted_again_by_what_the_sealed_body_names(tmp_path: Path) -> None:
    async def run() -> None:
        house = House(tmp_path)
        async with house.life() as (counting, audit):
            for name in "123":
                assert await one(counting, audit, made(name), Usage())
            assert not await one(counting, audit, made("4"), Usage())
        async with house.life() as (counting, audit):
            assert not await one(counting, audit, made("5"), Usage())
            assert await one(counting, audit, made("6", path="/b"), Usage())

    asyncio.run(run())


@needs_redis
def test_counters_that_were_lost_are_counted_again_from_the_log_without_a_restart(tmp_path: Path) -> None:
    async def run(server: PrivateRedis) -> None:
        house = House(tmp_path, server.store)
        async with house.life(tokens_per_day=950) as (counting, audit):
            assert await one(counting, audit, made("1", "model"), Usage(tokens_in=900, tokens_out=1))
            await audit.note(Event(type="start", tenant="acme"))  # the outcome is durable with the next batch
            server.ask("FLUSHALL")
            assert await refusal(counting, made("2", "model")) == "limits_lost"
            assert not await one(counting, audit, made("3", "model"), Usage())

    with PrivateRedis() as server:
        asyncio.run(run(server))


@needs_redis
def test_without_its_store_a_core_starts_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        house = House(tmp_path, f"unix:{tmp_path}/nobody.sock")
        async with house.life() as (counting, _):
            assert await refusal(counting, made("1")) == "limits_store_down"

    asyncio.run(run())
    assert "does not answer" in capsys.readouterr().err


def test_operators_see_what_is_used_and_left_by_agent_and_session(tmp_path: Path) -> None:
    async def run() -> None:
        house = House(tmp_path)
        audit = AuditJournal.open(house.folder, house.keys, house.clock, quota_mib=16, segment=SEGMENT)
        session = Session(id=SessionId("s1"), tenant="acme", agent="ana", launch=LaunchId("l"), context="c",
                          task="")
        counting = Counting(manifest=manifest(tokens_per_session=1000, tokens_per_day=5000), clock=house.clock,
                            keys=house.keys, audit=audit, open_sessions=lambda: (session,))
        await one(counting, audit, made("1", "model"), Usage(tokens_in=100, tokens_out=1))
        seen = await counting.acts()["limits.show"](_asked())
        assert [(row["agent"], row["session"]) for row in seen["agents"]] == [("ana", "s1")]
        agent = seen["agents"][0]["limits"]["agent"]
        assert agent["tokens_per_session"] == {"limit": 1000, "used": 101, "remaining": 899}
        assert agent["concurrent"]["used"] == 0
        assert seen["agents"][0]["limits"]["tenant"]["concurrent"]["limit"] == 128
        for args, code in (({"tenant": "other"}, "no_such_tenant"), ({"x": "y"}, "bad_act")):
            with pytest.raises(RingwallError) as refused:
                await counting.acts()["limits.show"](_asked(**args))
            assert refused.value.code == code
        await audit.close()

    asyncio.run(run())


def _asked(**args: str) -> Call:
    return Call.make(id=CallId("o"), kind="operate", subject=Operator(name="root", uid=0, connection=1),
                     session=None, target=Target(name="limits.show"), args=args)


def test_a_calls_turn_ends_when_its_effect_begins(tmp_path: Path) -> None:
    class Slow:
        async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
            yield Last(end="done")

    async def run() -> None:
        house = House(tmp_path)
        async with house.life(concurrent=1000) as (counting, _):
            effect = counting.begins(Slow())
            for number in range(INSIDE + 10):
                call = made(str(number), path=f"/{number}")
                passage = await counting.ring.enter(call, {})
                assert isinstance(passage.verdict, Allowed)
                async for _item in effect.run(call, {}):
                    pass

    asyncio.run(run())


def test_a_message_that_came_in_counts_for_its_receiver_after_a_restart_too(tmp_path: Path) -> None:
    def message(name: str) -> Call:
        sender = AnyId.parse("spiffe://far.example/tenant/acme/agent/ana/role/analyst")
        return Call.make(
            id=CallId(name), kind="message", session=SessionId("s1"), args={"peer": str(sender)},
            subject=Peer(spiffe_id=sender, receiver=ANA, launch=LaunchId("l"), connection=1),
            target=Target(name="far", direction="in"))

    async def run() -> None:
        house = House(tmp_path)
        async with house.life(calls_per_session=2) as (counting, audit):
            assert await one(counting, audit, message("1"), Usage())
            assert await one(counting, audit, made("2"), Usage())
            assert not await one(counting, audit, message("3"), Usage())
        async with house.life(calls_per_session=2) as (counting, audit):
            assert await refusal(counting, message("4")) == "budget_exhausted"
            assert await refusal(counting, made("5")) == "budget_exhausted"

    asyncio.run(run())
