"""A freeze of an agent or tenant covers its messages, both ways and on both sides of the wall."""

from __future__ import annotations

import pytest
from tests.fakes import call

from ringwall.call import Call, CallId, Json, LaunchId, Peer, Process, SessionId, Target
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.runtime.freeze import Freeze, Freezes, Scope

ANA, SAM, BOB = (SpiffeId.make(trust_domain="own.example", tenant=tenant, agent=agent, role="clerk")
                 for tenant, agent in (("acme", "ana"), ("acme", "sam"), ("globex", "bob")))
ALIKE = "spiffe://far.example/tenant/acme/agent/sam/role/clerk"


def message(subject: Process | Peer, args: Json) -> Call:
    return Call.make(id=CallId("c"), kind="message", subject=subject, session=SessionId("s"), args=args,
                     target=Target(name="x/quote", direction="in" if isinstance(subject, Peer) else "out"))


def out(sender: SpiffeId, peer: object) -> Call:
    return message(Process(spiffe_id=sender, launch=LaunchId("l"), connection=1), {"peer": peer})


def into(sender: str, receiver: SpiffeId) -> Call:
    return message(Peer(spiffe_id=AnyId.parse(sender), receiver=receiver, launch=LaunchId("l"), connection=1),
                   {"peer": sender})


def freeze(scope: Scope, name: str = "") -> Freeze:
    return Freeze(scope=scope, name=name, reason="a drill", by="operator:root", at=0.0)


@pytest.mark.parametrize(("scope", "name"), [("agent", "acme/sam"), ("tenant", "acme"), ("all", "")])
def test_either_end_is_enough_in_either_direction(scope: Scope, name: str) -> None:
    held = freeze(scope, name)
    for covered in (out(SAM, str(BOB)), out(BOB, str(SAM)), into(str(SAM), BOB), into(str(BOB), SAM)):
        assert held.covers(covered)


def test_who_only_has_the_same_name_elsewhere_or_is_not_part_of_it_goes_on() -> None:
    held = freeze("agent", "acme/sam")
    for other in (out(ANA, str(BOB)), into(str(BOB), ANA), out(BOB, ALIKE), into(ALIKE, BOB), out(BOB, "rubbish"),
                  out(BOB, 7), out(BOB, "spiffe://own.example/envoy"), message(out(BOB, "").subject, None)):  # type: ignore[arg-type]
        assert not held.covers(other)
    assert not freeze("tool", "x").covers(out(SAM, str(BOB)))
    assert not held.covers(call("mail/send", {"peer": str(SAM)}))  # an argument of a tool is no other end


def test_a_call_is_told_why_and_waits_while_a_freeze_is_being_decided() -> None:
    freezes = Freezes()
    assert freezes.call(into(str(BOB), SAM)) == ""
    freezes.put(freeze("agent", "acme/sam"))
    assert "a drill" in freezes.call(out(BOB, str(SAM))) and "a drill" in freezes.call(into(str(SAM), BOB))
