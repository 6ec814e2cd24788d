"""Refused messages explained: who to whom, and the two lines of the manifest that would let them talk."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.explain.support import MANIFEST, Desk
from tests.explain.test_suggest import changed

from ringwall.audit.journal import AuditJournal
from ringwall.call import Allowed, Call, CallId, Denied, Json, LaunchId, Peer, Process, Resource, SessionId, Target
from ringwall.capability.resources import parse_pattern
from ringwall.capability.ring import CapabilityRing
from ringwall.cli.main import main
from ringwall.explain.change import Case, Change, Instead, propose
from ringwall.explain.edit import Text
from ringwall.explain.meanings import instead
from ringwall.explain.recorded import Recorded
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.manifest.load import parse

ANA, PIA = (SpiffeId.make(trust_domain="acme.example", tenant="acme", agent=agent, role=role)
            for agent, role in (("ana", "analyst"), ("pia", "payer")))
VOUCHED = {"label": "M public", "chain": [str(ANA)], "record": "acme/1", "id": "e1", "trace": "ab" * 16}
TALKING = MANIFEST.replace('''role = "payer"
''', '''role = "payer"
serve = 8080
listen = "127.0.0.1:7443"
[tenants.acme.agents.pia.skills.pay]
[tenants.acme.agents.pia.skills.quote]
''')


def message(subject: Process | Peer, peer: str, name: str, skill: str = "pay", **more: Json) -> Call:
    sends = isinstance(subject, Process)
    who = AnyId.parse(peer)
    args = {"method": "SendMessage", "peer": peer, "skill": skill,
            "params": {"message": {"parts": [{"text": "x"}]}},
            **({"trace": "ab" * 16, "hops": 1} if sends else {"envelope": VOUCHED}), **more}
    return Call.make(
        id=CallId("m1"), kind="message", subject=subject, session=SessionId("s1"), args=args,
        target=Target(name=f"{name}/{skill}" if skill else name, direction="out" if sends else "in"),
        resources=(Resource(type="peer", id=peer, key=(who.trust_domain, *who.path),
                            action="send" if sends else "receive", argument="peer"),))


def out(skill: str = "pay", **more: Json) -> Call:
    return message(Process(spiffe_id=ANA, launch=LaunchId("l1"), connection=1), str(PIA), "pia", skill, **more)


def into(skill: str = "pay") -> Call:
    subject = Peer(spiffe_id=AnyId.parse(str(ANA)), receiver=PIA, launch=LaunchId("l1"), connection=1)
    return message(subject, str(ANA), "ana", skill)


def record(desk: Desk, call: Call) -> str:
    async def write(journal: AuditJournal) -> str:
        return await desk._record(journal, call, await desk._judge(call, {}))

    return desk.log(write)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, TALKING)


def proposed(desk: Desk, call: Call, said: Denied | None = None) -> Change | Instead:
    """The change for a refusal, judged anew by the capability ring."""
    text = Text(desk.text)
    ring = CapabilityRing(desk.manifest, desk.catalogues)
    verdict = said or asyncio.run(ring.enter(call, {})).verdict
    assert isinstance(verdict, Denied)
    found = propose(Case(manifest=desk.manifest, text=text, call=call, said=verdict))
    assert found is not None
    if isinstance(found, Change):
        edited = parse(text.edited(found.edits), desk.path, check_pattern=parse_pattern)
        assert isinstance(asyncio.run(CapabilityRing(edited, desk.catalogues).enter(call, {})).verdict, Allowed)
    return found


AGREED = TALKING.replace('[tenants.acme.agents.ana]\nrole = "analyst"\n', '''\
[tenants.acme.agents.ana]
role = "analyst"
send = { pia = { skills = ["quote"] } }
''').replace("serve = 8080\n", 'serve = 8080\nreceive = { ana = ["quote"] }\n')


@pytest.mark.parametrize("call", [out(), into()])
def test_two_agents_that_may_not_talk_get_the_two_lines_that_let_them(desk: Desk, call: Call) -> None:
    found = proposed(desk, call)
    assert isinstance(found, Change) and found.note
    assert {edit.path[3:] for edit in found.edits} == {("ana", "send", "pia"), ("pia", "receive", "ana")}
    assert {tuple(edit.value) for edit in found.edits} == {("pay",)}


@pytest.mark.parametrize("call", [out(), into()])
def test_a_skill_is_added_to_those_they_have_and_the_change_is_proved(tmp_path: Path, call: Call) -> None:
    desk = Desk(tmp_path, AGREED)
    assert isinstance(proposed(desk, call), Change)
    found = asyncio.run(desk.advisor().suggest(desk.recorded(record(desk, call))))
    assert changed(found) == [
        '-send = { pia = { skills = ["quote"] } }', '+send = { pia = { skills = ["quote", "pay"] } }',
        '-receive = { ana = ["quote"] }', '+receive = { ana = ["quote", "pay"] }']
    assert found.proved


def test_what_no_line_can_say_is_said_in_words(desk: Desk) -> None:
    process = Process(spiffe_id=ANA, launch=LaunchId("l1"), connection=1)
    many = Denied(code="too_many_at_once", reason="too many", detail={"scope": "peer", "concurrent": 1})
    rate = Denied(code="rate_limited", reason="too many", detail={"scope": "peer", "burst": 1})
    for call, said, word in (
        (message(process, "spiffe://far.example/quotes", "far"), None, "[peers]"),
        (out(""), None, "share"),
        (out(method="PushNotification"), None, "push"),
        (into(), many, "equal part"),
        (into(), rate, "equal part"),
    ):
        found = proposed(desk, call, said)
        assert isinstance(found, Instead) and word in found.advice


def test_an_explanation_says_who_sent_what_to_whom_and_what_would_let_it_through(tmp_path: Path) -> None:
    desk = Desk(tmp_path, AGREED)
    for call in (out(), into()):
        done = CliRunner().invoke(main, [
            "explain", record(desk, call), "--json", "--state", str(desk.state), "-m", str(desk.path)])
        assert done.exit_code == 0, done.output
        found = json.loads(done.output)
        assert found["title"] == f"{ANA} sent {call.target.name} (SendMessage) to {PIA}"
        assert (found["ring"], found["code"]) == ("capability", "not_granted")


def test_codes_of_messages_have_their_own_advice_and_processes_keep_theirs() -> None:
    assert "envelope" not in instead("identity", "peer_dead") and "ringwall run" in instead("identity", "peer_dead")
    assert "clock" in instead("resolver", "envelope_expired")
    assert "lends" in instead("capability", "beyond_delegation")
    assert "[peers]" in instead("flow", "peer_unknown")
    assert "schema" in instead("resolver", "a2a_bad_part")


def test_a_recorded_message_is_the_same_call_again(desk: Desk) -> None:
    for call in (into(), out(), Call.make(
            id=CallId("m1"), kind="message", subject=out().subject, session=SessionId("s1"), target=out().target,
            args=out().args, resources=out().resources, acting_for=(str(PIA),))):
        seen = desk.recorded(record(desk, call))
        assert isinstance(seen, Recorded)
        again = seen.call(desk.manifest)
        assert again.digest == call.digest and again.acting_for == call.acting_for
        assert again.subject.tenant == "acme"


