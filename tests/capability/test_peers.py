"""capability/peers.py: who with whom, on whose behalf, in which modes."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.parley import BEHALF, IDS, PARTNER, TABLE, message, params, parley, reads, spiffe, without

from ringwall.call import Allowed, Call, Denied, Facts, Json, Operator, Resource, Verdict
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.ring import CapabilityRing
from ringwall.manifest.types import Manifest

STRING = {"type": "string"}
MANIFEST = parley()


class _Pins:
    def get(self, name: str) -> None:
        return None

    def set(self, name: str, definition: Json, listed: Json) -> None:
        return None


def ring(manifest: Manifest = MANIFEST) -> tuple[CapabilityRing, Catalogues]:
    catalogues = Catalogues(lambda _: _Pins())
    for tenant in manifest.tenants:
        for server, op, properties in (
                ("docs", "read", {"path": STRING}), ("pay", "send", {"to": STRING, "amount": {"type": "number"}})):
            listed = {"name": op, "inputSchema": {"type": "object", "properties": properties}}
            assert catalogues.of(tenant).register(manifest.tools[server], [listed]) == []
    return CapabilityRing(manifest, catalogues), catalogues


RING, CATALOGUES = ring()


def judge(call: Call, by: CapabilityRing = RING) -> Verdict:
    return asyncio.run(by.enter(call, {})).verdict


def code(verdict: Verdict) -> str:
    return verdict.code if isinstance(verdict, Denied) else "" if isinstance(verdict, Allowed) else "asked"


@pytest.mark.parametrize(("direction", "sender", "receiver", "skill", "method", "behalf", "says"), TABLE)
def test_who_may_talk_to_whom(direction: str, sender: str, receiver: str, skill: str, method: str,
                              behalf: tuple[str, ...], says: str) -> None:
    call = message(direction=direction, sender=sender, receiver=receiver, skill=skill, method=method, behalf=behalf)
    assert code(judge(call)) == says


@pytest.mark.parametrize(("call", "says"), BEHALF)
def test_while_it_works_for_others_an_agent_may_what_they_all_may_or_what_it_lends(call: Call, says: str) -> None:
    if call.kind == "tool":
        definition = CATALOGUES.of("acme").tool(call.target.name)
        assert definition is not None
        target = dataclasses.replace(call.target, definition=definition.definition)
        call = dataclasses.replace(call, target=target)
    assert code(judge(call)) == says


def test_whoever_needs_a_human_for_a_tool_is_not_spared_that_by_asking_another() -> None:
    """Only what is lent is."""
    narrow = '"docs/read" = ["path:/srv/docs/public/"]'
    asks, lends = (narrow, '"docs/read" = { resources = ["path:/srv/docs/public/"], approval = "always" }'), (
        'lends = ["pay/send"], relays', 'lends = ["pay/send", "docs/read"], relays')
    cases = (((asks,), (), ""), ((asks,), ("ana",), "asked"), ((asks, lends), ("ana",), ""))
    for edits, behalf, says in cases:
        by, catalogues = ring(parley(*edits))
        call = reads("/srv/docs/public/a", behalf)
        definition = catalogues.of("acme").tool(call.target.name)
        assert definition is not None
        call = dataclasses.replace(call, target=dataclasses.replace(call.target, definition=definition.definition))
        assert code(judge(call, by)) == says


def test_a_refusal_reads_the_same_whether_or_not_there_is_such_a_peer() -> None:
    asked = message(direction="out", sender="ana", receiver="gus", skill="audit")
    one, nobody = judge(asked), dataclasses.replace(asked, resources=())
    two = judge(dataclasses.replace(nobody, args={**nobody.args, "peer": ""}))
    assert isinstance(one, Denied) and isinstance(two, Denied)
    assert (one.code, one.reason) == (two.code, two.reason)
    assert one.reason == "globex/gus/audit is not given to this agent"


def test_facts_say_which_grant_covers_the_peer() -> None:
    facts: Facts = {}
    asyncio.run(RING.enter(message(direction="in", sender="ana", receiver="sam", skill="quote"), facts))
    assert facts["capability"] == {
        "granted": True, "definition": None, "effect": "receive", "args": {},
        "resources": [{"id": spiffe("ana"), "covered_by": "tenants.acme.agents.sam.receive.ana"}]}


SENT = message(direction="out", sender="ana", receiver="sam", skill="quote")
CAME = message(direction="in", sender="ana", receiver="sam", skill="quote")


@pytest.mark.parametrize("call", [
    dataclasses.replace(SENT, resources=()),
    dataclasses.replace(SENT, resources=(*SENT.resources, *SENT.resources)),
    dataclasses.replace(SENT, resources=(dataclasses.replace(SENT.resources[0], id=PARTNER),)),
    dataclasses.replace(SENT, resources=(dataclasses.replace(SENT.resources[0], action="receive"),)),
    dataclasses.replace(SENT, args={**SENT.args, "peer": spiffe("gus")}),
    dataclasses.replace(SENT, args={**SENT.args, "skill": "pay"}),
    dataclasses.replace(SENT, args={**SENT.args, "skill": ["quote"]}),
    dataclasses.replace(SENT, args={}),
    dataclasses.replace(SENT, target=dataclasses.replace(SENT.target, name="sam/pay")),
    dataclasses.replace(SENT, target=dataclasses.replace(SENT.target, name="acme/sam/quote")),
    dataclasses.replace(SENT, target=dataclasses.replace(SENT.target, direction="in")),
    dataclasses.replace(CAME, target=dataclasses.replace(CAME.target, direction="out")),
    dataclasses.replace(CAME, subject=SENT.subject),
    dataclasses.replace(SENT, subject=CAME.subject),
    dataclasses.replace(SENT, subject=Operator(name="root", uid=0, connection=1)),
])
def test_a_call_whose_parts_mean_different_ends_is_refused(call: Call) -> None:
    assert code(judge(call)) == "not_granted"


def test_an_agent_in_another_role_than_declared_is_nobody() -> None:
    who = dataclasses.replace(IDS["ana"], role="seller")
    assert code(judge(dataclasses.replace(SENT, subject=dataclasses.replace(SENT.subject, spiffe_id=who)))) \
        == "not_granted"
    assert code(judge(dataclasses.replace(CAME, subject=dataclasses.replace(CAME.subject, receiver=who)))) \
        == "not_granted"


@pytest.mark.parametrize(("agent", "key", "peer"), [("sam", "receive", "ana"), ("ana", "send", "sam")])
def test_one_end_alone_gives_nothing(agent: str, key: str, peer: str) -> None:
    half, _ = ring(without(MANIFEST, agent, key, peer))
    assert [code(judge(call, half)) for call in (SENT, CAME)] == ["not_granted"] * 2


def test_what_came_from_our_own_trust_domain_without_an_envelope_is_refused() -> None:
    call = message(direction="in", sender="ana", receiver="sam", skill="quote", envelope=None)
    assert code(judge(call)) == "envelope_missing"
    push = message(direction="in", sender="sam", receiver="ana", skill="quote", method="PushNotification",
                   envelope=None)
    assert code(judge(push)) == "envelope_missing"


def test_what_a_foreign_peer_says_of_itself_is_refused_if_it_got_so_far() -> None:
    call = message(direction="in", sender="partner", receiver="sam", skill="quote",
                   envelope={"label": "P public", "chain": [], "record": "", "id": "", "trace": ""})
    assert code(judge(call)) == "envelope_foreign"


@pytest.mark.parametrize(("given", "says"), [
    (params(parts=[{"data": {"a": 1}}]), ""),
    (params(parts=[{"text": "x", "mediaType": "application/json"}]), ""),
    (params(parts=[{"text": "x"}, {"raw": "AA==", "mediaType": "image/png"}]), "mode_not_declared"),
    (params(parts=[{"text": "x", "mediaType": "application/pdf"}]), "mode_not_declared"),  # an output only
    (params(parts=[{"raw": "AA=="}]), "mode_not_declared"),
    ({**params(), "configuration": {"acceptedOutputModes": ["application/pdf"]}}, ""),
    ({**params(), "configuration": {"acceptedOutputModes": ["image/png"]}}, "mode_not_declared"),
    (params(parts=[{"url": "https://files.acme.example/in/a.txt", "mediaType": "text/plain"}]), ""),
    (params(parts=[{"url": "https://files.acme.example/in/a.txt"}]), "mode_not_declared"),
    *((params(parts=[{"url": url, "mediaType": "text/plain"}]), "uri_not_declared") for url in (
        "https://files.acme.example/out/a.txt", "https://files.acme.example/in", "http://files.acme.example/in/a",
        "https://files.acme.example.evil.test/in/a", "https://files.acme.example@evil.test/in/a",
        "https://files.acme.example/in/../out/a", "https://files.acme.example/in/%2e%2e/out/a",
        "https://FILES.acme.example/in/a", "file:///etc/passwd", "https://files.acme.example:8443/in/a")),
])
def test_only_declared_modes_and_places_of_files_pass(given: Json, says: str) -> None:
    for direction in ("out", "in"):
        call = message(direction=direction, sender="ana", receiver="sam", skill="quote", given=given)
        assert code(judge(call)) == says


def test_a_push_may_show_what_the_skill_gives_and_was_given() -> None:
    def pushed(kind: str) -> str:
        artifact = {"artifactId": "a", "parts": [{"text": "x", "mediaType": kind}]}
        event = {"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": artifact}}
        return code(judge(message(direction="out", sender="sam", receiver="ana", skill="quote",
                                  method="PushNotification", behalf=("ana",), given={"push": "p", "event": event})))

    assert [pushed(kind) for kind in ("application/pdf", "application/json", "image/png")] == [
        "", "", "mode_not_declared"]


def test_a_resource_of_another_type_is_no_peer() -> None:
    other = Resource(type="id", id=spiffe("sam"), key=SENT.resources[0].key, action="send", argument="peer")
    assert code(judge(dataclasses.replace(SENT, resources=(other,)))) == "not_granted"
