"""A standing endorsement spares the question it covers, within its bounds, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.approvals.bench import ANN, ASK, BOB, IBAN, Bench, pay
from tests.fakes import ALICE, NO, run

from ringwall.approvals.endorsements import DAY, MAX_DAYS, Order
from ringwall.call import Call, Json, NeedsApproval
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import HeldCall

OTHER = "GB82WEST12345698765432"
WRITER = dataclasses.replace(
    ALICE, spiffe_id=SpiffeId.make(trust_domain="example.org", tenant="acme", agent="alice", role="writer")
)


def order(**more: Any) -> Order:
    fields: dict[str, Any] = {
        "tenant": "acme", "role": "reader", "tool": "bank/pay", "resources": (f"iban:{IBAN}",),
        "max": {"amount": 100.0}, "days": 30, "uses": 3, "reason": "our landlord",
    }
    return Order(**{**fields, **more})


async def endorsed(bench: Bench, **more: Any) -> str:
    return await bench.endorsements.add(order(**more), ANN)


def outcome(asked: Call, question: NeedsApproval = ASK, **more: Any) -> str:
    """What becomes of a call once an endorsement stands: ``runs`` or ``held``."""
    bench = Bench()
    bench.rings["flow"].verdict = question

    async def scenario() -> str:
        await endorsed(bench, **more)
        return "held" if isinstance(await bench.ask(asked), HeldCall) else "runs"

    return run(scenario())


@pytest.mark.parametrize(("asked", "what"), [
    (pay(), "runs"), (pay(amount=100), "runs"), (pay(amount=0), "runs"), (pay(subject="free text"), "runs"),
    (pay(OTHER), "held"), (pay(amount=100.01), "held"), (pay(amount=90_000), "held"), (pay(amount=-1), "held"),
    (pay(amount="90000"), "held"), (pay(amount=[5]), "held"), (pay(amount=float("nan")), "held"),
    (pay(pin="1234"), "held"), (pay(more=7), "held"), (pay(who=WRITER), "held"),
    (dataclasses.replace(pay(), resources=()), "held"),
])
def test_only_what_is_within_all_bounds_need_not_ask(asked: Call, what: str) -> None:
    assert outcome(asked) == what


def test_what_the_grant_asks_of_the_whole_call_is_spared_and_what_a_site_asks_is_not() -> None:
    assert outcome(pay(), NeedsApproval(code="approval_required", question="always")) == "runs"
    assert outcome(pay(), NeedsApproval(code="site_asks", question="at night?")) == "held"


def test_a_number_without_a_bound_asks() -> None:
    assert outcome(pay(), max={}) == "held"


def test_every_resource_of_a_call_must_be_endorsed() -> None:
    one = pay()
    two = dataclasses.replace(one, resources=(*one.resources, *pay(OTHER).resources))
    assert outcome(two) == "held"
    assert outcome(two, resources=(f"iban:{IBAN}", f"iban:{OTHER}")) == "runs"


def test_a_question_about_anything_but_the_endorsed_resources_is_asked() -> None:
    assert outcome(pay(subject="secrets"), dataclasses.replace(ASK, arguments=("to", "subject"))) == "held"
    assert outcome(pay(), dataclasses.replace(ASK, arguments=())) == "held"


def test_what_a_ring_denies_is_never_endorsed() -> None:
    bench = Bench()

    async def scenario() -> str:
        await endorsed(bench)
        bench.rings["policy"].verdict = NO
        return await bench.refused(pay())

    assert run(scenario()) == "no"


def test_uses_are_counted_and_time_runs_out_and_the_intent_names_the_endorsement() -> None:
    bench = Bench()
    intents: list[Call] = []

    async def intent(call: Call, verdicts: Any) -> Any:
        intents.append(call)
        return "acme/7"

    bench.journal.intent = intent  # type: ignore[method-assign]

    async def scenario() -> None:
        name = await endorsed(bench)
        for _ in range(3):
            assert await bench.ask(pay()) == ["fine"]
        await bench.held(pay())
        assert [c.approval.record for c in intents if c.approval] == [name] * 3
        await endorsed(bench)
        bench.clock.seconds += 30 * DAY
        await bench.held(pay())
        assert bench.endorsements.listed() == []

    run(scenario())


def test_a_revoked_endorsement_counts_no_more() -> None:
    bench = Bench()

    async def scenario() -> None:
        name = await endorsed(bench)
        bench.journal.broken = {"note"}
        with pytest.raises(AuditError):
            await bench.endorsements.revoke(name, "moved", BOB)
        assert await bench.ask(pay()) == ["fine"]  # what is not written down has not happened
        bench.journal.broken = set()
        await bench.endorsements.revoke(name, "moved", BOB)
        await bench.held(pay())
        with pytest.raises(BadInput) as gone:
            await bench.endorsements.revoke(name, "moved", BOB)
        assert gone.value.code == "unknown_endorsement"

    run(scenario())
    assert [event.body["action"] for event in bench.journal.of("note")] == ["add", "revoke"]


def test_one_that_cannot_be_written_down_does_not_count() -> None:
    bench = Bench()
    bench.journal.broken = {"note"}

    async def scenario() -> None:
        with pytest.raises(AuditError):
            await endorsed(bench)
        await bench.held(pay())

    run(scenario())


@pytest.mark.parametrize("wrong", [
    {"tenant": "evil"}, {"role": "nobody"}, {"role": "writer"}, {"tool": "bank/rob"}, {"tool": "x"},
    {"resources": ()}, {"resources": ("iban:*",)}, {"resources": ("email:a@b.example",)},
    {"resources": ("nonsense",)},
    {"resources": (f"iban:{IBAN}",) * 65}, {"max": {"sum": 5.0}}, {"max": {"amount": float("inf")}},
    {"max": {"amount": float("nan")}}, {"max": {"amount": -1.0}}, {"days": 0}, {"days": MAX_DAYS + 1},
    {"days": float("nan")}, {"uses": 0}, {"uses": 10**9},
])
def test_what_has_no_bounds_or_fits_no_grant_is_no_endorsement(wrong: dict[str, Json]) -> None:
    bench = Bench()
    with pytest.raises(BadInput):
        run(endorsed(bench, **wrong))
    assert bench.journal.log == []


def test_endorsements_come_back_from_the_log_with_what_is_left_of_them() -> None:
    bench, again = Bench(), Bench()

    async def scenario() -> None:
        kept, ended = await endorsed(bench), await endorsed(bench)
        await bench.endorsements.revoke(ended, "no", BOB)
        for name, (_, event) in zip((kept, ended, "acme/3"), bench.journal.log, strict=True):
            again.endorsements.restore(name, event.tenant, event.subject, event.body, event.sealed)
        again.endorsements.restore_use(kept)
        again.endorsements.restore_use("acme/99")
        assert again.endorsements.listed() == [{**bench.endorsements.listed()[0], "left": 2}]

    run(scenario())


@pytest.mark.parametrize(("body", "sealed"), [
    ({"action": "add"}, None), ({"action": "add", "role": "reader", "tool": "bank/pay", "uses": 3, "days": 5,
                                 "since": "x"}, {"resources": [], "max": {}, "reason": ""}),
    ({"action": "add", "role": "gone", "tool": "bank/pay", "uses": 3, "days": 5, "since": 1.0},
     {"resources": [f"iban:{IBAN}"], "max": {}, "reason": ""}),
    ({}, {}), ({"action": "revoke"}, None), ({"action": "add", "uses": []}, {"resources": 3}),
])
def test_an_event_that_cannot_be_read_or_no_longer_fits_counts_for_nothing(
    body: dict[str, Json], sealed: Json
) -> None:
    bench = Bench()
    bench.endorsements.restore("acme/1", "acme", "operator:ann", body, sealed)
    assert bench.endorsements.listed() == []
