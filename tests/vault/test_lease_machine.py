"""Leases under everything at once: whatever happens in whatever order, nothing outlives its time, and nothing lives
at the provider that no row stands for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.vault.lease_fakes import DENIED, SLOW, UNREACHABLE, World, owner, wanted

from ringwall.errors import Refused, RingwallError
from ringwall.vault.interface import Credential
from ringwall.vault.lease_book import Selection

T = TypeVar("T")
AGENTS = st.sampled_from(["alice", "bob"])
PLACES = st.sampled_from(["s3:team-1/a", "s3:team-1/b"])


async def at_once(work: Callable[..., T], *arguments: Any) -> T:
    await asyncio.sleep(0)
    return work(*arguments)


class LeaseMachine(RuleBasedStateMachine):
    """Agents, operators, clocks, a provider, a disk and a log, each of which may do its worst."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = patch("asyncio.to_thread", at_once)  # failures can be repeated
        self.threads.start()
        self.runner = asyncio.Runner()
        self.world = World()
        self.leases = self.do(self.world.core())
        self.ended: set[str] = set()  # nobody may be given these any more
        self.waiting: list[asyncio.Task[Credential]] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        async def whole() -> T:
            done = await work
            if self.world.broker.gate is None:
                await self.leases.settled() if hasattr(self, "leases") else None
            else:
                for _ in range(20):
                    await asyncio.sleep(0)
            return done

        return self.runner.run(whole())

    @rule(agent=AGENTS, place=PLACES, seconds=st.integers(1, 2000))
    def ask(self, agent: str, place: str, seconds: int) -> None:
        async def go() -> None:
            asking = asyncio.ensure_future(self.leases.obtain(wanted(agent, place=place), seconds))
            if self.world.broker.gate is not None:
                self.waiting.append(asking)
                return
            try:
                credential = await asking
            except RingwallError:
                return
            self.used(credential, agent)

        self.do(go())

    def used(self, credential: Credential, agent: str) -> None:
        row = self.world.rows()[credential.lease]
        assert row.state == "active"
        assert owner(agent) not in self.world.frozen
        assert credential.lease not in self.ended
        assert row.issued_at - 1 <= self.world.clock.wall < credential.expires_at <= row.issued_at + 900

    @rule(seconds=st.sampled_from([0.1, 1, 29, 61, 450, 899, 901]))
    def time_passes(self, seconds: float) -> None:
        async def go() -> None:
            self.world.clock.pass_(seconds)
            self.leases.tick()

        self.do(go())

    @rule(seconds=st.sampled_from([-5000, -400, -0.5, 0.5, 400, 5000]))
    def the_wall_clock_is_set(self, seconds: float) -> None:
        self.world.clock.wall += seconds

    @rule(agent=AGENTS)
    def an_agent_is_frozen(self, agent: str) -> None:
        async def go() -> None:
            self.world.frozen.add(owner(agent))
            self.gone(agent)
            self.leases.freeze(lambda one: one == owner(agent))
            assert all(info.state != "active" for info in self.leases.listed() if info.agent == agent)
            assert self.leases.values([owner(agent)]) == ()

        self.do(go())

    @rule(agent=AGENTS)
    def an_agent_is_thawed(self, agent: str) -> None:
        self.world.frozen.discard(owner(agent))

    @rule(agent=AGENTS)
    def an_operator_revokes(self, agent: str) -> None:
        self.gone(agent)
        self.do(self.leases.revoke(Selection(tenant="acme", agent=agent), "mia"))

    def gone(self, agent: str) -> None:
        self.ended |= {info.lease for info in self.leases.listed() if info.agent == agent}

    @rule()
    def an_operator_renews(self) -> None:
        async def go() -> None:
            for info in self.leases.listed():
                try:
                    renewed = await self.leases.renew(info.lease, "mia")
                except RingwallError:
                    continue
                assert renewed.expires_at <= info.issued_at + 900

        self.do(go())

    @rule(fault=st.sampled_from([SLOW, UNREACHABLE, DENIED]), late=st.booleans())
    def minting_fails(self, fault: RingwallError, late: bool) -> None:
        broker = self.world.broker
        broker.mint_fault, broker.late_fault = (None, fault) if late and fault is not DENIED else (fault, None)

    @rule(fault=st.sampled_from([UNREACHABLE, Refused("no", code="provider_denied")]))
    def revoking_fails(self, fault: RingwallError) -> None:
        self.world.broker.revoke_fault = fault

    @rule(longer=st.sampled_from([-10_000.0, -100.0, 0.0, 10_000.0]))
    def the_provider_says_another_life(self, longer: float) -> None:
        self.world.broker.longer = longer

    @rule()
    def the_disk_fills(self) -> None:
        self.world.store.broken = True

    @rule()
    def the_log_fills(self) -> None:
        self.world.journal.broken = {"note"}

    @rule(fault=st.sampled_from(["vault_sealed", "vault_absent"]))
    def the_vault_is(self, fault: str) -> None:
        self.world.vault.fault = fault

    @rule()
    def the_broker_ends(self) -> None:
        self.world.running = False

    # Most of the time nearly all is well: each of these is as likely as one of the faults above.
    @rule()
    def all_is_well(self) -> None:
        world = self.world
        world.store.broken, world.journal.broken, world.vault.fault, world.running = False, set(), "", True
        world.broker.mint_fault = world.broker.late_fault = world.broker.revoke_fault = None

    @rule()
    def all_is_well_again(self) -> None:
        self.all_is_well()

    @rule()
    def all_is_well_for_long(self) -> None:
        self.all_is_well()

    @rule(agent=AGENTS, place=PLACES)
    def ask_plainly(self, agent: str, place: str) -> None:
        self.ask(agent, place, 900)

    @rule(agent=AGENTS)
    def freeze_while_a_credential_is_made(self, agent: str) -> None:
        self.all_is_well()
        self.the_provider_hangs()
        self.ask(agent, "s3:team-1/a", 900)
        self.an_agent_is_frozen(agent)
        self.an_agent_is_thawed(agent)
        self.release()

    @rule()
    def the_provider_hangs(self) -> None:
        if self.world.broker.gate is None:
            self.world.broker.gate = asyncio.Event()

    @rule()
    def the_provider_goes_on(self) -> None:
        self.release()

    def release(self) -> None:
        gate, self.world.broker.gate = self.world.broker.gate, None

        async def go() -> None:
            if gate is not None:
                gate.set()
            await asyncio.gather(*self.waiting, return_exceptions=True)

        self.do(go())
        self.waiting.clear()

    @rule()
    def the_core_restarts(self) -> None:
        full, self.world.store.broken = self.world.store.broken, False  # it does not start otherwise

        async def go() -> None:
            await self.leases.close()
            await asyncio.gather(*self.waiting, return_exceptions=True)
            self.world.broker.gate = None
            self.waiting.clear()
            self.leases = await self.world.core()

        self.do(go())
        self.world.store.broken = full

    @invariant()
    def what_lives_has_a_row(self) -> None:
        """So that a crash now loses nothing; and was written down."""
        assert set(self.world.broker.alive) <= set(self.world.rows())
        assert set(self.world.broker.alive) <= {one.body["lease"] for one in self.world.notes("lease_issued")}

    @invariant()
    def what_is_usable_is_active_on_disk(self) -> None:
        rows = self.world.rows()
        for entry in self.leases._book:
            if entry.credential is not None:
                assert entry.state == "active"
                assert rows[entry.id].state == "active"

    def teardown(self) -> None:
        self.release()
        self.all_is_well()
        world = self.world

        async def quiet() -> None:
            for _ in range(3):  # past every pause
                world.clock.steady += 301
                self.leases.tick()
                await self.leases.settled()

        self.do(quiet())
        listed = {info.lease: info for info in self.leases.listed()}
        assert all(info.state == "active" for info in listed.values()), listed
        assert set(world.broker.alive) == set(listed)
        assert set(world.rows()) == set(listed)
        for lease, info in listed.items():
            assert lease not in self.ended
            assert world.clock.wall < info.expires_at
        assert not {one.lease for one in world.dropped} & set(listed)
        world.clock.pass_(1000)
        self.do(quiet())
        assert not world.broker.alive
        assert not world.rows()
        issued = {one.body["lease"] for one in world.notes("lease_issued")}
        assert issued <= {one.body["lease"] for one in world.notes("lease_revoked")}
        self.runner.close()
        self.threads.stop()


LeaseMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
test_whatever_happens_nothing_outlives_its_time = LeaseMachine.TestCase
