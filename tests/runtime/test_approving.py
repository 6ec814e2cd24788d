"""Approvals over a restart of the core, with a true log; and the acts of operators."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.approvals.bench import ANN, ASK, BOB, IBAN, MANIFEST, pay, with_approval
from tests.fakes import ALICE, FakeClock, call, run

from ringwall.approvals.endorsements import Order
from ringwall.audit.journal import AuditJournal
from ringwall.call import Allowed, Approval, Call, CallId, Denied, Json, Kind, Outcome, Subject, Target, Verdicts
from ringwall.errors import BadInput, RingwallError
from ringwall.interface import HeldCall
from ringwall.keys.file import FileRootKeys
from ringwall.manifest.types import VERBS, ApprovalSettings, Secret
from ringwall.runtime.approving import Approving
from ringwall.runtime.secrets import FileSecrets

SAID = Verdicts(rings=(("identity", Allowed()), ("flow", ASK)), facts={"flow": {"context": {"integrity": "U"}}})


class Days:
    """One state folder, and cores that come and go on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.clock.seconds = 1_700_000_000.0
        self.keys = FileRootKeys.open_or_create(folder / "root.key")

    @asynccontextmanager
    async def core(self) -> AsyncGenerator[tuple[Approving, AuditJournal]]:
        journal = AuditJournal.open(self.folder, self.keys, self.clock, quota_mib=64)
        try:
            made = Approving(manifest=MANIFEST, journal=journal, clock=self.clock, secrets=FileSecrets({}))
            made.restore("acme", journal)
            yield made, journal
        finally:
            await journal.close()


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path)


async def held(core: Approving, asked: Call) -> str:
    found = await core.desk.hold(asked, SAID)
    assert isinstance(found, HeldCall)
    return found.record


def test_a_decision_outlives_the_core_and_is_still_used_once(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            record = await held(core, pay())
            await core.desk.decide(record, ANN, yes=True, reason="rent")
        async with days.core() as (core, journal):
            yes = core.desk.spend(pay(approval=record), SAID)
            assert yes == Approval(record=record)
            seq = await journal.intent(with_approval(pay(), record), SAID)
            await journal.outcome(seq, Outcome(end="done"))
        async with days.core() as (core, _):
            spent = core.desk.spend(pay(approval=record), SAID)
            assert isinstance(spent, Denied)
            assert spent.code == "approval_spent"

    run(scenario())


def test_a_yes_that_was_not_used_before_the_crash_is_still_good_for_this_call_only(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            record = await held(core, pay())
            await core.desk.decide(record, ANN, yes=True)
        async with days.core() as (core, _):
            other = core.desk.spend(pay(amount=6, approval=record), SAID)
            assert isinstance(other, Denied)
            assert core.desk.granted(pay(approval=record))
            days.clock.seconds += 600
            assert not core.desk.granted(pay(approval=record))

    run(scenario())


def test_what_waited_still_waits_and_can_be_decided_with_everything_there_is_to_see(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            record = await held(core, pay())
            before = core.desk.shown(record)
        async with days.core() as (core, _):
            days.clock.seconds += 60
            after = core.desk.shown(record)
            assert {**after, "now": 0} == {**before, "now": 0}
            await core.desk.decide(record, BOB, yes=True)
            assert core.desk.spend(pay(approval=record), SAID) == Approval(record=record)

    run(scenario())


def test_a_no_and_an_expiry_outlive_the_core_too(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            denied, late = await held(core, pay()), await held(core, pay(amount=6))
            await core.desk.decide(denied, ANN, yes=False)
        async with days.core() as (core, _):
            days.clock.seconds += 599
            assert isinstance(await core.desk.hold(pay(), SAID), Denied)
            days.clock.seconds += 1
            await core.desk.tend()
        async with days.core() as (core, journal):
            found = core.desk.spend(pay(amount=6, approval=late), SAID)
            assert isinstance(found, Denied)
            assert found.code == "approval_expired"
            await core.desk.tend()
            decisions = [r.body["decision"] for r in journal.records("acme", types=frozenset({"approval"}))]
            assert decisions == ["denied", "expired"]

    run(scenario())


def test_the_last_approved_call_is_known_however_long_ago_it_was(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            for amount in (1, 2):
                record = await held(core, pay(amount=amount))
                await core.desk.decide(record, ANN, yes=True)
        days.clock.seconds += 30 * 86_400
        async with days.core() as (core, _):
            shown = core.desk.shown(await held(core, pay(amount=3)))
            assert shown["last_approved"] == record
            assert shown["difference"] == [{"place": "/amount", "before": 2, "after": 3}]

    run(scenario())


def test_a_held_call_whose_session_was_forgotten_cannot_be_approved(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, journal):
            record = await held(core, pay())
            session = pay().session
            assert session is not None
            await journal.forget("acme", session)
        async with days.core() as (core, _):
            with pytest.raises(BadInput) as gone:
                await core.desk.decide(record, ANN, yes=True)
            assert gone.value.code == "approval_unknown"

    run(scenario())


def test_endorsements_and_their_uses_outlive_the_core(days: Days) -> None:
    order = Order(tenant="acme", role="reader", tool="bank/pay", resources=(f"iban:{IBAN}",), max={"amount": 10.0},
                  days=3, uses=2, reason="rent")

    async def scenario() -> None:
        async with days.core() as (core, journal):
            name = await core.endorsements.add(order, ANN)
            yes = core.desk.spend(pay(), SAID)
            assert yes == Approval(record=name)
            await journal.intent(with_approval(pay(), name), SAID)
        async with days.core() as (core, _):
            [one] = core.endorsements.listed()
            assert (one["id"], one["left"], one["by"], one["max"]) == (name, 1, "operator:ann", {"amount": 10.0})
            await core.endorsements.revoke(name, "moved", BOB)
        async with days.core() as (core, _):
            assert core.endorsements.listed() == []
            assert core.desk.spend(pay(), SAID) is None

    run(scenario())


def test_in_the_log_neither_payee_nor_reason_stands_in_clear(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, journal):
            await core.desk.decide(await held(core, pay()), ANN, yes=True, reason="for the landlord")
            await core.endorsements.add(
                Order(tenant="acme", role="reader", tool="bank/pay", resources=(f"iban:{IBAN}",), days=1, uses=1,
                      reason="for the landlord"), ANN)
            text = str([r.clear for r in journal.records("acme")])
            assert IBAN not in text
            assert "landlord" not in text

    run(scenario())


# --- acts


def act(verb: str, args: Json, subject: Subject = ANN, kind: Kind = "operate") -> Call:
    return Call.make(id=CallId("c"), kind=kind, subject=subject, session=None, target=Target(name=verb), args=args)


def test_every_verb_is_one_that_operators_have_and_takes_nothing_it_does_not_know(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            acts = core.acts()
            assert set(acts) == {verb for verb in VERBS if verb.startswith(("approvals.", "endorsements."))}
            for verb, do in acts.items():
                for args in ({"all": True}, {"id": 5}, [], {"id": "acme/1", "all": True}):
                    with pytest.raises(BadInput) as wrong:
                        await do(act(verb, args))
                    assert wrong.value.code == "bad_act"

    run(scenario())


def test_acts_decide_in_the_name_of_who_asked_and_of_nobody_else(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            acts = core.acts()
            record = await held(core, pay())
            for verb in ("approvals.approve", "approvals.deny"):
                with pytest.raises(BadInput) as agent:
                    await acts[verb](act(verb, {"id": record}, ALICE))
                assert agent.value.code == "operator_only"
            listed = await acts["approvals.list"](act("approvals.list", {}))
            assert [item["id"] for item in listed["waiting"]] == [record]
            assert (await acts["approvals.show"](act("approvals.show", {"id": record})))["state"] == "pending"
            done = await acts["approvals.approve"](act("approvals.approve", {"id": record, "reason": "fine"}, BOB))
            assert done["decision"] == "approved"
            assert (await acts["approvals.show"](act("approvals.show", {"id": record})))["by"] == "bob"
            seen = await acts["approvals.watch"](act("approvals.watch", {"version": -1, "seconds": 5.0}))
            assert seen["waiting"] == []
            with pytest.raises(BadInput):
                await acts["approvals.deny"](act("approvals.deny", {"id": record, "reason": "x" * 1001}))

    run(scenario())


def test_endorsing_by_act_needs_a_reason(days: Days) -> None:
    order = {"tenant": "acme", "role": "reader", "tool": "bank/pay", "resources": [f"iban:{IBAN}"], "days": 1.0,
             "uses": 1}

    async def scenario() -> None:
        async with days.core() as (core, _):
            acts = core.acts()
            with pytest.raises(BadInput):
                await acts["endorsements.add"](act("endorsements.add", {**order, "reason": ""}))
            made = await acts["endorsements.add"](act("endorsements.add", {**order, "reason": "rent"}))
            listed = await acts["endorsements.list"](act("endorsements.list", {}))
            assert [one["id"] for one in listed["endorsements"]] == [made["id"]]
            await acts["endorsements.revoke"](act("endorsements.revoke", {"id": made["id"]}))
            assert core.status() == {"waiting": 0, "endorsements": 0, "webhook": None}

    run(scenario())


@pytest.mark.parametrize(("content", "code"), [(b"whsec_short", "bad_webhook_secret"), (None, "secret_unreadable")])
def test_a_core_whose_webhook_cannot_be_signed_does_not_start(
    tmp_path: Path, days: Days, content: bytes | None, code: str
) -> None:
    file = tmp_path / "hook"
    if content is not None:
        file.touch(mode=0o600)
        file.write_bytes(content)
    manifest = dataclasses.replace(
        MANIFEST, approvals=ApprovalSettings(webhook="unix:/x", webhook_secret="hook"),
        secrets={"hook": Secret(name="hook", file=file)},
    )

    async def scenario() -> None:
        async with days.core() as (_, journal):
            made = Approving(manifest=manifest, journal=journal, clock=days.clock,
                             secrets=FileSecrets(manifest.secrets))
            with pytest.raises(RingwallError) as wrong:
                made.check()
            assert wrong.value.code == code

    run(scenario())


def test_a_call_of_another_kind_is_not_kept_as_the_last_of_its_tool(days: Days) -> None:
    async def scenario() -> None:
        async with days.core() as (core, _):
            asked = call("main", {"messages": []}, kind="model")
            await core.desk.decide(await held(core, asked), ANN, yes=True)
            assert core.desk._last == {}

    run(scenario())
