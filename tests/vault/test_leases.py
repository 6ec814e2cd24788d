"""Leases: what is usable, until when, and what the provider, the disk and the log know of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.fakes import run, until
from tests.vault.lease_fakes import DENIED, NOT_REVOCABLE, SLOW, UNREACHABLE, World, owner, wanted

from ringwall.errors import AuditError, BadInput, Refused, RingwallError, Unavailable
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.interface import Credential, Owner
from ringwall.vault.lease_book import Selection
from ringwall.vault.lease_issue import AT_ONCE
from ringwall.vault.leases import IDLE_S, MAX_LEASES, Leases


async def obtained(leases: Leases, seconds: int = 900, **more: str) -> Credential:
    return await leases.obtain(wanted(**more), seconds)


async def refused(leases: Leases, **more: str) -> RingwallError:
    with pytest.raises(RingwallError) as caught:
        await obtained(leases, **more)
    return caught.value


def test_twenty_uses_of_the_same_cost_one_exchange() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        found = await asyncio.gather(*(obtained(leases) for _ in range(10)))
        for _ in range(10):
            world.clock.pass_(10)
            found.append(await obtained(leases))
        assert len({one.lease for one in found}) == 1
        assert len(world.broker.minted) == 1
    run(go())


def test_another_agent_secret_or_scope_is_another_credential() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        found = [await obtained(leases), await obtained(leases, agent="bob"),
                 await obtained(leases, secret="other"), await obtained(leases, place="s3:team-1/b"),
                 await obtained(leases, tenant="umbrella")]
        assert len({one.lease for one in found}) == 5
    run(go())


def test_ringwalls_own_credential_is_not_the_agents() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        own = await leases.obtain(wanted(), 900, own=True)
        assert own.lease != (await obtained(leases)).lease
        assert world.rows()[own.lease].owner == Owner.broker("acme")
        assert leases.ended(owner()) == 1  # the agent's only
    run(go())


def test_row_and_record_are_durable_before_the_provider_is_asked() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.gate = asyncio.Event()
        asking = asyncio.create_task(obtained(leases))
        await until(lambda: world.notes("lease_issued"))
        await asyncio.sleep(0)
        [row] = world.rows().values()
        assert row.state == "pending"
        assert not world.broker.minted
        world.broker.gate.set()
        credential = await asking
        assert world.rows()[credential.lease].state == "active"
    run(go())


def test_no_record_no_credential() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.full_log()
        assert isinstance(await refused(leases), AuditError)
        await leases.settled()
        assert not world.broker.minted
        assert not world.rows()
        assert not leases.listed()
    run(go())


def test_nothing_is_minted_on_a_full_disk() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.store.broken = True
        assert (await refused(leases)).code == "store_unwritable"
        await leases.settled()
        assert not world.broker.minted
        assert not leases.listed()
        world.store.broken = False
        await obtained(leases)
    run(go())


def test_a_credential_whose_row_cannot_become_active_is_revoked() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.answer = lambda minted: (setattr(world.store, "broken", True), minted)[1]
        assert (await refused(leases)).code == "store_unwritable"
        await leases.settled()
        assert not world.broker.alive
        world.store.broken = False
        world.clock.pass_(2)
        leases.tick()
        await leases.settled()
        assert not world.rows()
    run(go())


def test_events_hold_names_and_no_values() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases)
        leases.ended(owner())
        await leases.settled()
        issued, = world.notes("lease_issued")
        revoked, = world.notes("lease_revoked")
        assert (issued.tenant, issued.subject) == ("acme", "spiffe://example.org/tenant/acme/agent/alice/role/reader")
        assert issued.body["tools"] == ["files/get"]
        assert revoked.body == {"lease": credential.lease, "secret": "bucket", "launch": "l1",
                                "reason": "agent_ended", "by": "", "provider": "revoked"}
        assert "pw-" not in repr(world.journal.log)
        assert "team-1" not in repr(world.journal.log)  # names of resources come from arguments
        assert "pw-" not in repr(world.rows()) + repr(leases.listed()) + repr(credential)
    run(go())


@pytest.mark.parametrize(("wall", "steady"), [(900.0, 0.0), (0.0, 900.0), (-500.0, 900.0), (-2.0, 0.0)])
def test_the_earlier_of_both_clocks_ends_a_lease(wall: float, steady: float) -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        first = await obtained(leases)
        world.clock.wall += wall
        world.clock.steady += steady
        second = await obtained(leases)
        await leases.settled()
        assert second.lease != first.lease
        assert set(world.broker.alive) == {second.lease}
        assert [one.lease for one in world.dropped] == [first.lease]
    run(go())


def test_a_tick_revokes_what_nobody_asks_for_any_more() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        await obtained(leases, seconds=60)
        world.clock.pass_(59.5)
        assert leases.tick() == 0.5
        assert world.broker.alive
        world.clock.pass_(0.5)
        leases.tick()
        await leases.settled()
        assert not world.broker.alive
        assert not world.rows()
        assert world.notes("lease_revoked")[0].body["reason"] == "expired"
    run(go())


def test_a_call_gets_no_credential_that_is_about_to_end() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        first = await obtained(leases)
        world.clock.pass_(869)
        assert (await obtained(leases)).lease == first.lease
        world.clock.pass_(2)
        second = await obtained(leases)
        assert second.lease != first.lease
        assert first.lease in world.broker.alive  # calls that began with it go on
        world.clock.pass_(29)
        leases.tick()
        await leases.settled()
        assert set(world.broker.alive) == {second.lease}
    run(go())


def test_a_longer_lifetime_is_clamped_and_a_shorter_one_kept() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.longer = 86400
        assert (await obtained(leases)).expires_at == world.clock.wall + 900
        assert (await obtained(leases, 10**6, agent="bob")).expires_at == world.clock.wall + 900
        world.broker.longer = -600
        assert (await obtained(leases, secret="other")).expires_at == world.clock.wall + 300
    run(go())


def _nothing(minted: Minted) -> Minted:
    return replace(minted, values={})


@pytest.mark.parametrize("answer", [
    _nothing,
    lambda minted: replace(minted, values={"password": ""}),
    lambda minted: replace(minted, expires_at=float("nan")),
    lambda minted: replace(minted, expires_at=float("inf")),
    lambda minted: replace(minted, expires_at=999_999.0),
])
def test_garbage_is_refused_and_what_it_stands_for_revoked(answer: Callable[[Minted], Minted]) -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.answer = answer
        assert (await refused(leases)).code == "provider_garbage"
        await leases.settled()
        assert not world.broker.alive
        assert world.broker.revoked[0][1].startswith("h-")
        assert not world.rows()
    run(go())


def test_a_wider_scope_is_refused_and_revoked() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.late_fault = Refused("wider", code="provider_wider")
        assert (await refused(leases)).code == "provider_wider"
        await leases.settled()
        assert not world.broker.alive
    run(go())


def test_a_plain_refusal_of_the_provider_costs_no_revocation() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.mint_fault = DENIED
        assert (await refused(leases)).code == "provider_denied"
        await leases.settled()
        assert not world.broker.revoked
        assert not world.rows()
        assert world.notes("lease_revoked")[0].body["provider"] == "not_made"
    run(go())


def test_what_a_slow_provider_makes_after_we_gave_up_is_revoked_once_more() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.mint_fault = SLOW
        assert (await refused(leases)).code == "provider_slow"
        await leases.settled()
        [lease] = world.rows()
        assert world.broker.revoked == [(lease, "")]
        world.broker.alive[lease] = None  # type: ignore[assignment]  # only now
        world.clock.pass_(61)
        leases.tick()
        await leases.settled()
        assert not world.broker.alive
        assert not world.rows()
    run(go())


def test_without_a_broker_nothing_is_made_and_nothing_is_left() -> None:
    async def go() -> None:
        world = World(running=False)
        leases = await world.core()
        assert (await refused(leases)).code == "broker_unavailable"
        await leases.settled()
        assert not world.rows()
    run(go())


def test_freezing_drops_before_anything_is_waited_for() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases)
        bob = await obtained(leases, agent="bob")
        world.broker.revoke_fault = UNREACHABLE
        world.store.broken = True
        world.full_log()
        assert leases.freeze(lambda one: one == owner()) == 1
        assert [one.lease for one in world.dropped] == [credential.lease]
        assert leases.values([owner()]) == ()
        assert leases.values([owner("bob")]) == (f"pw-{bob.lease}".encode(),)
        await leases.settled()
        world.broker.revoke_fault = None
        world.store.broken = False
        world.journal.broken = set()
        world.clock.pass_(400)
        leases.tick()
        await leases.settled()
        assert set(world.broker.alive) == {bob.lease}
        assert world.notes("lease_revoked")[0].body["reason"] == "frozen"
    run(go())


def test_what_an_exchange_makes_during_a_freeze_is_revoked_and_never_used() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.gate = asyncio.Event()
        asking = [asyncio.create_task(obtained(leases)) for _ in range(3)]
        await until(lambda: world.notes("lease_issued"))
        for _ in range(5):
            await asyncio.sleep(0)
        leases.freeze(lambda one: True)
        for one in asking:  # they are told at once, not when the provider answers
            with pytest.raises(Refused, match="lease_revoked"):
                await one
        world.broker.gate.set()
        await leases.settled()
        assert len(world.broker.minted) == 1
        assert not world.broker.alive
        assert not world.rows()
    run(go())


def test_a_freeze_while_the_row_is_written_wins() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        loop = asyncio.get_running_loop()
        counted = world.store.writes

        def freeze() -> None:
            if world.store.writes == counted + 1:  # before the second: the one that makes it active
                asyncio.run_coroutine_threadsafe(frozen(), loop).result()

        async def frozen() -> None:
            leases.freeze(lambda one: True)

        world.store.before = freeze
        assert (await refused(leases)).code == "lease_revoked"
        await leases.settled()
        assert world.broker.minted
        assert not world.broker.alive
        assert not world.rows()
    run(go())


def test_a_frozen_owner_is_refused_even_where_nobody_told_the_leases() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        await obtained(leases)
        world.frozen.add(owner())
        assert (await refused(leases)).code == "frozen"
    run(go())


def test_an_owner_frozen_while_he_waits_gets_nothing() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.answer = lambda minted: (world.frozen.add(owner()), minted)[1]
        assert (await refused(leases)).code == "frozen"
    run(go())


@pytest.mark.parametrize(("selection", "left"), [
    (Selection(agent="alice", tenant="acme"), 3), (Selection(tenant="acme"), 1), (Selection(prefix="buck"), 1),
    (Selection(prefix="other/"), 3), (Selection(tenant="umbrella", prefix="other/"), 4),
])
def test_operators_revoke_by_agent_tenant_and_prefix(selection: Selection, left: int) -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        for more in ({}, {"agent": "bob"}, {"agent": "bob", "secret": "other"}, {"tenant": "umbrella"}):
            await obtained(leases, **more)
        done = await leases.revoke(selection, "mia")
        assert all(info.state == "ended" for info in done)
        assert len(leases.listed()) == len(world.broker.alive) == left
        assert all(event.body["by"] == "mia" for event in world.notes("lease_revoked"))
    run(go())


def test_a_lease_is_revoked_by_its_id_and_nothing_means_nothing() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases)
        other = await obtained(leases, agent="bob")
        await leases.revoke(Selection(lease=credential.lease), "mia")
        assert [info.lease for info in leases.listed()] == [other.lease]
        with pytest.raises(BadInput, match="bad_selection"):
            await leases.revoke(Selection(), "mia")
        with pytest.raises(BadInput, match="bad_selection"):
            Selection(agent="alice")
    run(go())


def test_a_failed_revocation_is_shown_retried_with_pauses_and_told_once() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases)
        world.broker.revoke_fault = UNREACHABLE
        [info] = await leases.revoke(Selection(tenant="acme"), "mia")
        assert (info.state, info.fault, info.tries) == ("revoking", "provider_unreachable", 1)
        for _ in range(20):
            world.clock.pass_(1)
            leases.tick()
            await leases.settled()
        assert leases.listed()[0].tries == 5  # after 1, 2, 4 and 8 seconds
        assert len(world.notes("lease_revoke_failed")) == 1
        assert world.rows()[credential.lease].state == "revoking"
        world.broker.revoke_fault = None
        [info] = await leases.revoke(Selection(lease=credential.lease), "mia")  # asked again: at once
        assert info.state == "ended"
        assert not world.broker.alive
        assert not leases.listed()
    run(go())


def test_where_a_provider_cannot_revoke_the_lease_ends_and_the_record_says_so() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        await obtained(leases)
        world.broker.revoke_fault = NOT_REVOCABLE
        leases.ended(owner())
        await leases.settled()
        assert world.notes("lease_revoked")[0].body["provider"] == "not_revocable"
        assert not leases.listed()
    run(go())


def test_a_revocation_that_cannot_be_noted_happens_and_is_noted_later() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases)
        world.full_log()
        leases.ended(owner())
        await leases.settled()
        assert not world.broker.alive
        assert world.rows()[credential.lease].state == "ended"
        assert world.rows()[credential.lease].kept == b""
        leases = await world.core()  # and a restart does not lose it
        world.journal.broken = set()
        world.clock.pass_(2)
        leases.tick()
        await leases.settled()
        assert world.notes("lease_revoked")[0].body["lease"] == credential.lease
        assert not world.rows()
        assert len(world.broker.revoked) == 1
    run(go())


def test_a_lease_is_renewed_and_never_past_fifteen_minutes() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases, seconds=300)
        begin = world.clock.wall
        world.clock.pass_(200)
        info = await leases.renew(credential.lease, "mia")
        assert info.expires_at == begin + 900
        assert world.broker.renewed[0].seconds == 700
        assert world.rows()[credential.lease].expires_at == begin + 900
        world.clock.pass_(600)
        assert (await obtained(leases)).lease == credential.lease
        with pytest.raises(Refused, match="not_renewable"):
            await leases.renew(credential.lease, "mia")
        world.clock.pass_(101)
        leases.tick()
        await leases.settled()
        assert not world.broker.alive
        with pytest.raises(Refused, match="unknown_lease"):
            await leases.renew(credential.lease, "mia")
    run(go())


def test_a_renewal_survives_a_restart_and_one_that_fails_changes_nothing() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases, seconds=300)
        begin = world.clock.wall
        world.broker.renew_fault = Refused("no", code="not_renewable")
        with pytest.raises(Refused):
            await leases.renew(credential.lease, "mia")
        world.broker.renew_fault = None
        world.full_log()
        with pytest.raises(AuditError):
            await leases.renew(credential.lease, "mia")
        world.journal.broken = set()
        assert leases.listed()[0].expires_at == begin + 300
        assert not world.broker.renewed
        await leases.renew(credential.lease, "mia")
        again = await (await world.core()).obtain(wanted(), 900)
        assert (again.lease, again.expires_at, again.values) == (credential.lease, begin + 900, credential.values)
    run(go())


def test_a_lease_revoked_while_it_is_renewed_stays_revoked() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        credential = await obtained(leases, seconds=300)
        world.journal.gate = asyncio.Event()
        world.journal.reached.clear()
        renewing = asyncio.create_task(leases.renew(credential.lease, "mia"))
        await until(world.journal.reached.is_set)
        leases.freeze(lambda one: True)
        world.journal.gate.set()
        with pytest.raises(Refused, match="lease_revoked"):
            await renewing
        await leases.settled()
        assert not world.rows()
        assert not world.broker.renewed
        assert not world.broker.alive
    run(go())


def test_leases_survive_a_restart_and_are_revoked_after_it_when_due() -> None:
    async def go() -> None:
        world = World()
        before = await world.core()
        first = await obtained(before, seconds=600)
        await before.close()
        world.clock.wall += 100
        world.clock.steady = 7.0  # another life of the machine
        leases = await world.core()
        again = await obtained(leases)
        assert (again.lease, again.values, again.expires_at) == (first.lease, first.values, first.expires_at)
        assert len(world.broker.minted) == 1
        world.clock.pass_(500)
        leases.tick()
        await leases.settled()
        assert not world.broker.alive
        await leases.close()
    run(go())


@pytest.mark.parametrize(("change", "reason"), [
    (lambda world: world.clock.pass_(900), "expired"),
    (lambda world: setattr(world.clock, "wall", world.clock.wall - 3600), "clock_set_back"),
    (lambda world: setattr(world, "revision", "r2"), "manifest_changed"),
    (lambda world: world.frozen.add(owner()), "agent_ended"),
])
def test_a_restart_revokes_what_must_not_go_on(change: Callable[[World], None], reason: str) -> None:
    async def go() -> None:
        world = World()
        await (await world.core()).obtain(wanted(), 900)
        change(world)
        leases = await world.core()
        await leases.settled()
        assert not world.broker.alive
        assert not leases.listed()
        assert world.notes("lease_revoked")[0].body["reason"] == reason
    run(go())


def test_a_pending_lease_is_revoked_after_a_restart_and_once_more_later() -> None:
    async def go() -> None:
        world = World()
        before = await world.core()
        world.broker.gate = asyncio.Event()
        asking = asyncio.create_task(obtained(before))
        await until(lambda: world.notes("lease_issued"))
        [lease] = world.rows()
        await before.close()
        with pytest.raises(RingwallError):
            await asking
        leases = await world.core()
        await leases.settled()
        assert world.broker.revoked == [(lease, "")]
        world.clock.pass_(61)
        leases.tick()
        await leases.settled()
        assert len(world.broker.revoked) == 2
        assert not world.rows()
    run(go())


def test_without_an_open_vault_values_stay_in_memory_and_end_with_it() -> None:
    async def go() -> None:
        world = World()
        world.vault.fault = "vault_absent"
        leases = await world.core()
        credential = await obtained(leases)
        assert world.rows()[credential.lease].kept == b""
        leases = await world.core()
        await leases.settled()
        assert not world.broker.alive  # the provider knows it by the lease's id
        assert world.broker.revoked == [(credential.lease, "")]
    run(go())


def test_a_revocation_that_needs_the_sealed_vault_waits_for_it_and_is_shown() -> None:
    async def go() -> None:
        world = World()
        credential = await obtained(await world.core())
        world.vault.fault = "vault_sealed"
        leases = await world.core()  # nothing to be done yet, and nothing lost
        assert [info.state for info in leases.listed()] == ["active"]
        world.clock.pass_(900)
        leases.tick()
        await leases.settled()
        [info] = leases.listed()
        assert (info.state, info.fault) == ("revoking", "vault_sealed")
        assert not world.broker.revoked
        world.vault.fault = ""
        world.clock.pass_(5)
        leases.tick()
        await leases.settled()
        assert world.broker.revoked == [(credential.lease, f"h-{credential.lease}")]
        assert not leases.listed()
    run(go())


def test_as_soon_as_the_vault_is_open_what_waited_for_it_is_revoked() -> None:
    async def go() -> None:
        world = World()
        credential = await obtained(await world.core())
        world.vault.fault = "vault_sealed"
        leases = await world.core()
        world.clock.pass_(900)
        for _ in range(10):
            leases.tick()
            await leases.settled()
            world.clock.pass_(60)
        world.vault.fault = ""
        leases.unsealed()
        await leases.settled()
        assert world.broker.revoked == [(credential.lease, f"h-{credential.lease}")]
        assert not leases.listed()
    run(go())


def test_a_restored_lease_behind_a_sealed_vault_is_replaced_not_waited_for() -> None:
    async def go() -> None:
        world = World()
        first = await obtained(await world.core())
        world.vault.fault = "vault_sealed"
        leases = await world.core()
        assert (await obtained(leases)).lease != first.lease
    run(go())


@pytest.mark.parametrize("column", ["agent", "secret", "expires_at", "issued_at", "scope"])
def test_a_row_that_was_changed_gives_nobody_a_credential(column: str) -> None:
    async def go() -> None:
        world = World()
        first = await obtained(await world.core())
        value = {"agent": "bob", "secret": "other", "scope": "s"}.get(column, world.clock.wall + 1)
        change = f"UPDATE leases SET {column} = ?"  # noqa: S608 (of this test)
        world.store.write(lambda writer: writer.execute(change, (value,)))
        world.clock.pass_(2)
        leases = await world.core()
        for more in ({}, {"agent": "bob"}, {"secret": "other"}):
            assert (await obtained(leases, **more)).lease != first.lease
    run(go())


@pytest.mark.parametrize(("column", "value"), [
    ("state", "gold"), ("expires_at", 9e9), ("issued_at", "noon"), ("kept", "text"), ("agent", b"x"),
])
def test_a_damaged_row_is_named_and_harms_nothing_else(column: str, value: object,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        first = await obtained(leases)
        second = await obtained(leases, agent="bob")
        change = f"UPDATE leases SET {column} = ? WHERE id = ?"  # noqa: S608 (of this test)
        world.store.write(lambda writer: writer.execute(change, (value, first.lease)))  # type: ignore[arg-type]
        leases = await world.core()
        assert [info.lease for info in leases.listed()] == [second.lease]
        assert first.lease in caplog.text
    run(go())


def test_nothing_is_issued_before_restore_and_after_close() -> None:
    async def go() -> None:
        world = World()
        leases = world.leases()
        assert (await refused(leases)).code == "leases_closed"
        leases = await world.core()
        await obtained(leases)
        await leases.close()
        assert (await refused(leases)).code == "leases_closed"
    run(go())


def test_when_all_places_are_taken_the_longest_unused_lease_makes_room() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        oldest = await obtained(leases)
        for number in range(MAX_LEASES - 1):
            await obtained(leases, place=f"s3:team-1/{number}")
        assert (await refused(leases, place="s3:team-1/x")).code == "too_many_leases"
        await obtained(leases, agent="bob")  # others have places of their own
        world.clock.pass_(IDLE_S)
        await obtained(leases, place="s3:team-1/7")  # in use
        await obtained(leases, place="s3:team-1/x")
        await leases.settled()
        assert oldest.lease not in world.broker.alive
        assert len(world.broker.alive) == MAX_LEASES + 1
    run(go())


def test_an_asker_who_leaves_takes_nothing_from_the_others() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.gate = asyncio.Event()
        asking = [asyncio.create_task(obtained(leases)) for _ in range(3)]
        await until(lambda: world.notes("lease_issued"))
        asking[0].cancel()
        world.broker.gate.set()
        assert (await asking[1]).lease == (await asking[2]).lease
    run(go())


def test_a_fault_of_ours_leaves_no_credential_behind() -> None:
    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.answer = lambda minted: replace(minted, expires_at="soon")  # type: ignore[arg-type]
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        assert (await refused(leases)).code == "lease_failed"
        await leases.settled()
        assert not world.broker.alive
        gc.collect()
    run(go())


def test_a_broker_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringwall.vault.lease_ends.BROKER_S", 0.01)

    async def go() -> None:
        world = World()
        leases = await world.core()
        world.broker.gate = asyncio.Event()
        found = await refused(leases)
        assert isinstance(found, Unavailable)
        assert found.code == "broker_unavailable"
    run(go())


def test_an_agent_that_asks_for_much_at_once_leaves_room_for_others() -> None:
    async def scenario() -> None:
        world = World()
        leases = await world.core()
        world.broker.gate = asyncio.Event()
        asked: list[str] = []
        honest = world.broker.mint

        async def mint(secret: str, order: Order) -> Minted:
            asked.append(order.details[0].locations[0])
            return await honest(secret, order)

        world.broker.mint = mint  # type: ignore[method-assign]
        flood = [asyncio.create_task(leases.obtain(wanted(place=f"s3:team-1/{n}"), 300)) for n in range(40)]
        await until(lambda: len(asked) == AT_ONCE)
        other = asyncio.create_task(leases.obtain(wanted("bob", place="s3:team-1/bob"), 300))
        await until(lambda: len(asked) > AT_ONCE)
        assert asked[AT_ONCE:] == ["s3:team-1/bob"]
        leases.freeze(lambda one: one == owner())  # who waits for his turn asks nobody any more
        world.broker.gate.set()
        await other
        await asyncio.gather(*flood, return_exceptions=True)
        await leases.settled()
        assert len(asked) == AT_ONCE + 1
        assert list(world.broker.alive) == [(await other).lease]
        await leases.close()

    run(scenario())
