"""The default policy on agents that talk to each other: the same answers as the capability ring, by itself."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.parley import BEHALF, IDS, PARTNER, TABLE, message, params, parley, reads, spiffe, without
from tests.policy.compile import the_opa
from tests.policy.support import CALL

from ringwall.call import Call, Json, canonical, policy_input
from ringwall.capability.resources import parse_pattern
from ringwall.errors import PolicyError
from ringwall.manifest.types import Manifest
from ringwall.policy.build import SOURCES
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy

FACTS: dict[str, dict[str, Json]] = {
    "identity": {"attested": True}, "guard": {"blocked": False}, "flow": {"denied": False}}
MANIFEST = parley()
# What the capability ring found says yes to everything: it must not matter.
LIE = {**FACTS, "capability": {"granted": True, "effect": "read", "resources": [], "args": {}, "definition": None}}


def policy(manifest: Manifest = MANIFEST) -> EmbeddedPolicy:
    return EmbeddedPolicy.default(policy_data(manifest, parse_pattern))


POLICY = policy()


def judged(document: Json, by: EmbeddedPolicy = POLICY) -> set[str]:
    decision = by.evaluate(CALL, copy.deepcopy(document))
    assert decision["allow"] is (not decision["deny"] and not decision["ask"])
    return {denial["code"] for denial in decision["deny"]}


def judge(call: Call, by: EmbeddedPolicy = POLICY) -> set[str]:
    return judged(policy_input(call, LIE, 1.0), by)


@pytest.mark.parametrize(("direction", "sender", "receiver", "skill", "method", "behalf", "says"), TABLE)
def test_who_may_talk_to_whom(direction: str, sender: str, receiver: str, skill: str, method: str,
                              behalf: tuple[str, ...], says: str) -> None:
    call = message(direction=direction, sender=sender, receiver=receiver, skill=skill, method=method, behalf=behalf)
    found = judge(call)
    assert (says in found) if says else not found


@pytest.mark.parametrize(("call", "says"), BEHALF)
def test_while_it_works_for_others_an_agent_may_what_they_all_may_or_what_it_lends(call: Call, says: str) -> None:
    found = judge(call)
    assert (says in found) if says else not found


SENT = message(direction="out", sender="ana", receiver="sam", skill="quote")
CAME = message(direction="in", sender="ana", receiver="sam", skill="quote")
RELAYED = message(direction="out", sender="sam", receiver="gus", skill="audit", behalf=("ana",))


def test_whoever_needs_a_human_for_a_tool_is_not_spared_that_by_asking_another() -> None:
    """Only what is lent is."""
    narrow = '"docs/read" = ["path:/srv/docs/public/"]'
    asks, lends = (narrow, '"docs/read" = { resources = ["path:/srv/docs/public/"], approval = "always" }'), (
        'lends = ["pay/send"], relays', 'lends = ["pay/send", "docs/read"], relays')
    cases = (((asks,), (), True), ((asks,), ("ana",), False), ((asks, lends), ("ana",), True))
    for edits, behalf, allowed in cases:
        asked = policy_input(reads("/srv/docs/public/a", behalf), LIE, 1.0)
        found = policy(parley(*edits)).evaluate(CALL, copy.deepcopy(asked))
        assert (found["allow"], found["deny"], bool(found["ask"])) == (allowed, [], not allowed)


@pytest.mark.parametrize(("agent", "key", "peer"), [("sam", "receive", "ana"), ("ana", "send", "sam")])
def test_one_end_alone_gives_nothing(agent: str, key: str, peer: str) -> None:
    half = policy(without(MANIFEST, agent, key, peer))
    assert [judge(call, half) for call in (SENT, CAME)] == [{"not_granted"}] * 2


def paths(value: Json, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, one in inner for path in paths(one, (*at, key)))]


FREE = {  # judged by nobody here: what a record says, and what a message holds besides its parts
    "trust_domain", "launch", "definition", "session", "digest", "approval", "hops", "trace", "label", "record",
    "messageId", "role", "metadata", "number", "text"}
# What stands there is believed: the resolver has it from the task book, and the envelope is opened.
TOLD = {("acting_for",), ("args", "envelope", "chain"), ("args", "params", "message", "parts")}


def broken(whole: Json, part: str, path: tuple[Any, ...], put: Json) -> Json:
    """The input with one member replaced, or taken out; None: it is what it was."""
    document = copy.deepcopy(whole)
    at = document[part]
    for key in path[:-1]:
        at = at[key]
    if put == "drop":
        del at[path[-1]]
    else:
        at[path[-1]] = put
    return None if document == whole else document


def refuses(document: Json) -> bool:
    try:
        return bool(judged(document))
    except PolicyError:
        return True  # an evaluation that fails is a denial too


@pytest.mark.parametrize("call", [SENT, CAME, RELAYED], ids=["sent", "came", "relayed"])
@pytest.mark.parametrize("put", [None, "x", 1, [], {}, "drop"], ids=repr)
def test_an_input_with_one_member_less_or_of_another_type_is_refused(call: Call, put: Json) -> None:
    whole = policy_input(call, LIE, 1.0)
    assert not refuses(whole)
    for part in ("call", "subject"):
        for path in paths(whole[part])[1:]:
            free = FREE & set(map(str, path)) or path == ("args", "envelope", "id")
            told = any(path[:len(one)] == one and (put == [] or len(path) > len(one)) for one in TOLD)
            document = None if free or told else broken(whole, part, path, put)
            assert document is None or refuses(document), (part, path)


def test_the_ends_are_those_of_the_attested_subject() -> None:
    """Whatever the arguments say, and whatever name the target has."""
    for changes in ({"peer": spiffe("gus")}, {"peer": PARTNER}, {"skill": "pay"}, {"method": "PushNotification"}):
        assert judge(dataclasses.replace(CAME, args={**CAME.args, **changes})) >= {"not_granted"}
        assert judge(dataclasses.replace(SENT, args={**SENT.args, **changes})) >= {"not_granted"}
    other = dataclasses.replace(CAME.subject, receiver=IDS["gus"])
    assert judge(dataclasses.replace(CAME, subject=other)) >= {"not_granted"}
    assert judge(dataclasses.replace(CAME, subject=SENT.subject)) >= {"not_granted"}
    assert judge(dataclasses.replace(SENT, subject=CAME.subject)) >= {"not_granted"}
    for name in ("sam/pay", "sam", "acme/sam/quote", "ana/quote"):
        target = dataclasses.replace(SENT.target, name=name)
        assert judge(dataclasses.replace(SENT, target=target)) == {"not_granted"}


def test_a_receiver_in_another_role_than_declared_is_unknown() -> None:
    who = dataclasses.replace(IDS["sam"], role="analyst")
    call = dataclasses.replace(CAME, subject=dataclasses.replace(CAME.subject, receiver=who))
    assert judge(call) == {"unknown_agent", "not_granted"}


def test_what_came_from_our_own_trust_domain_without_an_envelope_is_refused_and_a_foreign_one_too() -> None:
    for call in (message(direction="in", sender="ana", receiver="sam", skill="quote", envelope=None),
                 message(direction="in", sender="sam", receiver="ana", skill="quote", method="PushNotification",
                         envelope=None),
                 message(direction="in", sender="partner", receiver="sam", skill="quote",
                         envelope={"label": "P public", "chain": [], "record": "", "id": "", "trace": ""})):
        assert "envelope_missing" in judge(call)


@pytest.mark.parametrize(("given", "says"), [
    (params(parts=[{"data": {"a": 1}}]), set()),
    (params(parts=[{"text": "x", "mediaType": "application/json"}]), set()),
    (params(parts=[{"text": "x"}, {"raw": "AA==", "mediaType": "image/png"}]), {"mode_not_declared"}),
    (params(parts=[{"text": "x", "mediaType": "application/pdf"}]), {"mode_not_declared"}),
    (params(parts=[{"raw": "AA=="}]), {"mode_not_declared"}),
    (params(parts=[{"text": "x", "mediaType": 5}]), {"mode_not_declared"}),
    (params(parts=[{}]), {"mode_not_declared"}),
    ({**params(), "configuration": {"acceptedOutputModes": ["application/pdf"]}}, set()),
    ({**params(), "configuration": {"acceptedOutputModes": ["image/png"]}}, {"mode_not_declared"}),
    (params(parts=[{"url": "https://files.acme.example/in/a.txt", "mediaType": "text/plain"}]), set()),
    *((params(parts=[{"url": url, "mediaType": "text/plain"}]), {"uri_not_declared"}) for url in (
        "https://files.acme.example/out/a.txt", "https://files.acme.example/in", "http://files.acme.example/in/a",
        "https://files.acme.example.evil.test/in/a", "https://files.acme.example@evil.test/in/a",
        "https://files.acme.example/in/../out/a", "https://files.acme.example/in/%2E%2e/out/a",
        "https://FILES.acme.example/in/a", "file:///etc/passwd", 7)),
])
def test_only_declared_modes_and_places_of_files_pass(given: Json, says: set[str]) -> None:
    for direction in ("out", "in"):
        call = message(direction=direction, sender="ana", receiver="sam", skill="quote", given=given)
        assert judge(call) == says


@pytest.mark.parametrize("event", [
    {"artifactUpdate": {"taskId": "t", "artifact": {"artifactId": "a", "parts": ["PART"]}}},
    {"statusUpdate": {"taskId": "t", "status": {"message": {"parts": ["PART"]}}}},
    {"message": {"parts": ["PART"]}},
    {"task": {"id": "t", "status": {"message": {"parts": ["PART"]}}}},
    {"task": {"id": "t", "status": {}, "artifacts": [{"parts": [{"text": "x"}]}, {"parts": ["PART"]}]}},
    {"task": {"id": "t", "status": {}, "history": [{"parts": ["PART"]}]}},
])
def test_a_push_may_show_what_the_skill_gives_and_was_given_wherever_it_shows_it(event: Json) -> None:
    def put(value: Json, part: Json) -> Json:
        if isinstance(value, dict):
            return {key: put(one, part) for key, one in value.items()}
        return [part if one == "PART" else put(one, part) for one in value] if isinstance(value, list) else value

    def pushed(part: Json) -> set[str]:
        return judge(message(direction="out", sender="sam", receiver="ana", skill="quote", behalf=("ana",),
                             method="PushNotification", given={"push": "p", "event": put(event, part)}))

    assert pushed({"text": "x", "mediaType": "application/pdf"}) == pushed({"data": 1}) == set()
    assert pushed({"text": "x", "mediaType": "image/png"}) == {"mode_not_declared"}
    assert pushed({"url": "https://x.test/", "mediaType": "text/plain"}) == {"uri_not_declared"}


def test_a_large_file_costs_few_steps() -> None:
    parts = [{"raw": "A" * (1 << 20), "mediaType": "text/plain"} for _ in range(6)]
    call = message(direction="out", sender="ana", receiver="sam", skill="quote", given=params(parts=parts))
    assert judge(call) == set()
    many = params(parts=[{"text": "x"}] * 256)
    assert judge(message(direction="in", sender="ana", receiver="sam", skill="quote", given=many)) == set()


def test_a_peer_sees_no_listing_and_calls_no_tool() -> None:
    peer = policy_input(CAME, LIE, 1.0)["subject"]
    assert POLICY.evaluate("ringwall/decide/list", {
        "subject": peer, "targets": ["docs/read"], "time": {"now": 1.0}}) == {"targets": []}
    for kind in ("tool", "model", "secret", "operate"):
        call = dataclasses.replace(CAME, kind=kind)  # pyright: ignore[reportArgumentType]
        assert "not_granted" in judge(call)


@pytest.mark.needs_opa
def test_the_real_opa_decides_the_same(tmp_path: Path) -> None:
    rows = [message(direction=way, sender=sender, receiver=receiver, skill=skill, method=method, behalf=behalf)
            for way, sender, receiver, skill, method, behalf, _ in TABLE]
    asked = [policy_input(call, LIE, 1.0) for call in (*rows, *(call for call, _ in BEHALF))]
    (tmp_path / "data.json").write_text(json.dumps(policy_data(MANIFEST, parse_pattern)))
    (tmp_path / "input.json").write_bytes(canonical({"documents": asked}))
    query = "[found | some one in input.documents; found := data.ringwall.decide.call with input as one]"
    done = subprocess.run([the_opa(), "eval", "--format=json", "-d", str(tmp_path / "data.json"), "-i",
                           str(tmp_path / "input.json"), *(f"-d{path}" for path in SOURCES.glob("*.rego")), query],
                          capture_output=True, check=True)
    opa = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    assert opa == [POLICY.evaluate(CALL, one) for one in asked]
