"""Messages that come in count for their receiver, and no peer uses up what is another's or the receiver's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.limits.test_ring import Caller, FakeClock, denied, process, ring_of

from ringwall.call import Call, CallId, Denied, LaunchId, Peer, SessionId, Target, Usage
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Through
from ringwall.limits.attempts import AttemptBudget
from ringwall.limits.gcra import Take
from ringwall.limits.ring import LimitsRing
from ringwall.limits.scopes import PEER_CALLS
from ringwall.manifest.types import (
    Agent,
    Limits,
    Manifest,
    Operation,
    Rate,
    ReceiveGrant,
    Role,
    SendGrant,
    Tenant,
    ToolServer,
)
from ringwall.runtime.loopback import INSIDE

ANA = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="ana", role="analyst")
EVE, PIA = "spiffe://far.example/eve", "spiffe://far.example/pia"


def manifest(role: Limits | None = None, process: Limits | None = None) -> Manifest:
    ana = Agent(name="ana", role="analyst", send={"eve": SendGrant(peer="eve")},
                receive={name: ReceiveGrant(peer=name) for name in ("eve", "pia")})
    role_of = Role(name="analyst", limits=role or Limits(), process_limits=process or Limits())
    acme = Tenant(name="acme", agents={"ana": ana}, roles={"analyst": role_of})
    return Manifest(version=1, trust_domain="acme.example", path=Path("m"), tenants={"acme": acme}, tools={
        "eve": ToolServer(name="eve", ops={"quote": Operation(effect="pay", args={}, cost=7)})})


class Inbox:
    def __init__(self, found: Manifest) -> None:
        self.clock = FakeClock()
        self.ring: LimitsRing = ring_of(found, clock=self.clock)
        self.made = 0
        self.facts: dict[str, dict[str, object]] = {}

    async def take(self, sender: str, receiver: SpiffeId = ANA) -> Through:
        self.made += 1
        self.facts = {}
        call = Call.make(
            id=CallId(str(self.made)), kind="message", session=SessionId("s1"), args={"peer": sender},
            subject=Peer(spiffe_id=AnyId.parse(sender), receiver=receiver, launch=LaunchId("l"), connection=1),
            target=Target(name="eve/quote", direction="in"))
        return await self.ring.enter(call, self.facts)


def allowed(passage: Through) -> bool:
    return not isinstance(passage.verdict, Denied)


def test_a_flood_of_one_peer_leaves_the_others_and_the_receiver_their_parts() -> None:
    async def scenario() -> None:
        inbox = Inbox(manifest(Limits(calls=Rate(count=90, seconds=60.0, burst=9))))
        given = 0
        for _ in range(20):
            passage = await inbox.take(EVE)
            given += allowed(passage)
            last = passage
        assert given == 3  # two peers and the receiver itself: a third each
        assert denied(last).code == "rate_limited" and denied(last).detail["scope"] == "peer"
        assert denied(last).retry_after == 2.0  # a third of 90 a minute
        assert [allowed(await inbox.take(PIA)) for _ in range(4)] == [True, True, True, False]
        own = Caller(inbox.ring)
        assert [allowed(await own.enter(process("ana"))) for _ in range(4)] == [True, True, True, False]

    asyncio.run(scenario())


def test_a_peer_counts_for_tenant_and_agent_and_not_for_any_process() -> None:
    async def scenario() -> None:
        inbox = Inbox(manifest(Limits(calls_per_day=5, money_per_day=1), Limits(calls_per_session=0)))
        assert allowed(await inbox.take(EVE))
        assert set(inbox.facts["limits"]) == {"tenant", "agent", "peer"}
        assert inbox.facts["limits"]["agent"]["calls_per_day"] == {  # type: ignore[index]
            "limit": 5, "used": 1, "remaining": 4}
        for _ in range(4):
            assert allowed(await inbox.take(PIA))
        assert denied(await inbox.take(PIA)).detail["scope"] == "agent"

    asyncio.run(scenario())


def test_streams_that_stay_open_hold_a_slot_each_and_one_peer_cannot_hold_them_all() -> None:
    async def scenario() -> None:
        inbox = Inbox(manifest(Limits(concurrent=6)))
        first = [await inbox.take(EVE) for _ in range(2)]
        assert all(map(allowed, first))
        assert denied(await inbox.take(EVE)).code == "too_many_at_once"
        assert allowed(await inbox.take(PIA))
        await first[0].leave("done", Usage())
        assert allowed(await inbox.take(EVE))

    asyncio.run(scenario())


def test_however_many_an_agent_may_do_one_peer_leaves_a_way_to_its_server() -> None:
    async def scenario() -> None:
        inbox = Inbox(manifest(Limits(concurrent=1000, calls=Rate(count=1000, seconds=1.0, burst=1000))))
        taken = [await inbox.take(EVE) for _ in range(INSIDE)]
        assert 0 < sum(map(allowed, taken)) < INSIDE
        assert allowed(await inbox.take(PIA))

    asyncio.run(scenario())


def test_without_a_rate_of_its_receiver_a_peer_has_a_fixed_one() -> None:
    async def scenario() -> None:
        inbox = Inbox(manifest())
        taken = 0
        for _ in range(PEER_CALLS.burst + 5):
            passage = await inbox.take(EVE)
            taken += allowed(passage)
            await passage.leave("done", Usage())
        assert taken == PEER_CALLS.burst

    asyncio.run(scenario())


def test_a_message_to_a_receiver_that_the_manifest_does_not_know_is_refused() -> None:
    stranger = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="ana", role="other")
    assert denied(asyncio.run(Inbox(manifest()).take(EVE, stranger))).code == "no_limits"


def test_what_the_log_says_came_in_is_counted_again_for_the_receiver() -> None:
    async def scenario() -> None:
        inbox = Inbox(manifest(Limits(calls_per_session=1)))
        charged: list[tuple[str, int]] = []

        async def reserve(book: str, field: str, budget: int, amount: int, keep: int) -> Take:
            charged.append((book, amount))
            return Take(True, 0)

        call = Call.make(
            id=CallId("1"), kind="message", session=SessionId("s1"), args={},
            target=Target(name="x", direction="in"),
            subject=Peer(spiffe_id=AnyId.parse(EVE), receiver=ANA, launch=LaunchId("l"), connection=0))
        await inbox.ring.charge(call, "done", Usage(), 0.0, reserve)
        assert charged == [("acme/ana|session:s1", 1)]

    asyncio.run(scenario())


def test_attempts_of_one_pair_are_no_attempts_of_another() -> None:
    attempts = AttemptBudget(FakeClock(), calls=Rate(count=1, seconds=1.0, burst=1))
    assert attempts.attempt(f"{ANA}|{EVE}", 1) is None
    assert attempts.attempt(f"{ANA}|{EVE}", 1) is not None
    assert attempts.attempt(f"{ANA}|{PIA}", 1) is None
