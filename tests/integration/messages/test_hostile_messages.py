"""Messages that nobody should send, at the agent's own door and at a peer's listener, through everything."""

from __future__ import annotations

import copy
import json
from collections.abc import Generator
from typing import Any

import pytest
from tests.impostor import SKILL, Impostor, Line, code_of, http, rpc
from tests.stack import Puppet, Stack, wait_for
from tests.talking import Server, messages, posted, seen, send, spiffe
from tests.wire.a2a.examples import changed, found, places, snake, without

pytestmark = pytest.mark.confined

ANA, SAM, EVE, GUS = (spiffe(one) for one in ("acme/ana", "acme/sam", "acme/eve", "globex/gus"))


@pytest.fixture
def nothing_arrives(ana: Puppet, sam: Server) -> Generator[None]:
    """What the test does, does not get to the receiver's server; and afterwards honest messages do."""
    before = seen(ana)
    yield
    after = seen(ana)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1, "only the question before it"


def refusals(stack: Stack, tenant: str, since: int) -> list[str]:
    """Codes of all refusals in a tenant's log from a record on, counted ones too."""
    records = [one for one in stack.records(tenant) if one.number >= since]
    return [str(one.body.get("code")) for one in records if one.type in {"refused_before_call", "peer_refused"}]


def last(stack: Stack, tenant: str) -> int:
    return max((one.number for one in stack.records(tenant)), default=0)


# --- who may talk to whom

PAIRS = [
    ("acme/ana", "sam", "quote", ""),
    ("globex/gus", "acme/sam", "quote", ""),
    ("acme/ana", "sam", "other", "not_granted"),
    ("acme/ana", "globex/kim", "quote", "not_granted"),
    ("acme/ana", "globex/gus", "quote", "not_granted"),
    ("acme/ana", "ana", "quote", "not_granted"),
    ("acme/ana", "nobody", "quote", "not_granted"),
    ("acme/eve", "sam", "quote", "not_granted"),
    ("acme/eve", "globex/kim", "quote", "not_granted"),
    ("globex/gus", "sam", "quote", "not_granted"),
    ("globex/gus", "acme/bea", "quote", "not_granted"),
    ("globex/gus", "kim", "quote", "not_granted"),
    ("globex/kim", "acme/sam", "quote", "not_granted"),
]


def test_the_allowed_pairs_talk_and_all_others_are_refused_and_recorded(
    stack: Stack, ana: Puppet, sam: Server
) -> None:
    with stack.puppet("acme/eve") as eve, stack.puppet("globex/gus") as gus, stack.puppet("globex/kim") as kim:
        puppets = {"acme/ana": ana, "acme/eve": eve, "globex/gus": gus, "globex/kim": kim}
        for sender, peer, skill, code in PAIRS:
            tenant = sender.partition("/")[0]
            answer = send(puppets[sender], f"from {sender}", peer=peer, skill=skill, message_id=f"{sender}-{peer}")
            assert answer.get("code", "") == code, (sender, peer, answer)
            if code:
                record = stack.record(answer["record"])
                assert (record.type, record.clear["kind"]) == ("refused", "message")
                assert record.clear["subject"] == spiffe(sender), record.clear
                assert answer["record"].startswith(f"{tenant}/")
            else:
                assert answer["result"]["message"]["parts"] == [{"text": f"you said from {sender}"}]
        arrived = seen(ana)
    ours = [one for one in arrived if one.startswith(("acme/", "globex/"))]
    assert ours == ["acme/ana-sam", "globex/gus-acme/sam"]
    for tenant, sender in (("acme", ANA), ("globex", GUS)):
        [out] = [one for one in messages(stack, tenant, "intent")
                 if one.clear["message"]["direction"] == "out" and _said(stack, tenant, one).startswith("from")]
        [came] = [one for one in messages(stack, "acme", "intent")
                  if one.clear["message"]["direction"] == "in" and one.clear["message"]["sender"] == sender
                  and _said(stack, "acme", one).startswith("from")]
        assert came.clear["message"]["record"] == f"{tenant}/{out.number}"
        assert came.clear["message"]["trace"] == out.clear["message"]["trace"]


def _said(stack: Stack, tenant: str, record: Any) -> str:
    part = stack.body(tenant, record)["input"]["call"]["args"]["params"]["message"]["parts"][0]
    return str(part.get("text", ""))


# --- messages mutated field by field, at the agent's own door

SEND: dict[str, Any] = {
    "message": {
        "messageId": "m-1", "role": "ROLE_USER", "metadata": {SKILL: "quote"}, "extensions": ["https://x.example/v1"],
        "parts": [{"text": "pay", "metadata": {"x": 1}, "mediaType": "text/plain"}, {"data": {"do": "seen"}}],
    },
    "configuration": {"acceptedOutputModes": ["text/plain"], "historyLength": 3, "returnImmediately": True},
    "metadata": {"why": ["x"]},
}
WHOLE: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": SEND}


def mutations() -> Generator[tuple[str, str]]:
    """Bodies in HTTP+JSON, each wrong at one place; several families."""
    at_most: dict[str, int] = {}
    for at in places(SEND):
        name, one = at[-1] if at else "", found(SEND, at)
        tries: list[tuple[str, Any]] = [("type", changed(SEND, at, 10**40 if not isinstance(one, int) else "1"))]
        if at and name in {"messageId", "role", "parts", "message"}:
            tries.append(("missing", without(SEND, at)))
        if isinstance(one, dict) and name not in {"metadata", "data"}:
            tries.append(("unknown", changed(SEND, at, {**one, "surprise": 1})))
        if isinstance(one, str):
            tries += [("nul", changed(SEND, at, one + "\0")), ("surrogate", changed(SEND, at, "\ud800"))]
        if isinstance(name, str) and snake(name) != name:
            tries.append(("snake", changed(SEND, at[:-1], {**found(SEND, at[:-1]), snake(name): one})))
        for family, value in tries:
            at_most[family] = at_most.get(family, 0) + 1
            if at_most[family] <= 20 and not (name == "data" and family == "type"):
                yield f"{family} {'/'.join(map(str, at))}", json.dumps(value)
    yield from broken()


def broken() -> Generator[tuple[str, str]]:
    """What is no message at all, and what two readers would read differently."""
    whole = json.dumps(SEND)
    yield "empty", ""
    yield "truncated", whole[:-1]
    yield "twice", whole + whole
    yield "no json", "{'a': 1}"
    yield "array", f"[{whole}]"
    yield "byte order mark", "\ufeff" + whole
    yield "duplicate", whole.replace('"role":', '"role": "ROLE_AGENT", "role":')
    yield "duplicate behind an escape", whole.replace('"role":', '"r\\u006fle": "ROLE_AGENT", "role":')
    yield "not a number", whole.replace('"historyLength": 3', '"historyLength": NaN')
    yield "deep", whole.replace('["x"]', "[" * 200 + "]" * 200)
    yield "wide", whole.replace('["x"]', json.dumps([0] * 200_000))
    message: dict[str, Any] = SEND["message"]
    for name, more in {
        "task of nobody": {"taskId": "t-1"}, "reference to nobody's task": {"referenceTaskIds": ["t-0"]},
        "role of the server": {"role": "ROLE_AGENT_"}, "two contents": {"parts": [{"text": "a", "data": {}}]},
        "no content": {"parts": [{}]}, "a file": {"parts": [{"url": "file:///etc/passwd"}]},
        "a file elsewhere": {"parts": [{"url": "https://evil.example/x"}]},
        "bad base64": {"parts": [{"raw": "A"}]},
        "undeclared mode": {"parts": [{"raw": "AA==", "mediaType": "x/y"}]},
        "kind of 0.3": {"parts": [{"kind": "text", "text": "a"}]}, "other skill": {"metadata": {SKILL: "other"}},
        "hidden skill": {"metadata": {SKILL: "hidden"}}, "skill of a wrong type": {"metadata": {SKILL: ["quote"]}},
    }.items():
        yield name, json.dumps({**SEND, "message": {**message, **more}})
    yield "two skills", json.dumps({**SEND, "metadata": {SKILL: "other"}})
    push = {"url": "http://169.254.169.254/", "id": "p"}
    config = {**copy.deepcopy(SEND["configuration"]), "taskPushNotificationConfig": push}
    yield "push elsewhere", json.dumps({**SEND, "configuration": config})


MUTATED = dict(mutations())


@pytest.mark.usefixtures("nothing_arrives")
@pytest.mark.parametrize("wire", ["rpc", "rest"])
def test_each_mutated_message_is_refused_with_a_code_and_a_record(stack: Stack, wire: str) -> None:
    assert len(MUTATED) > 60
    with stack.puppet("acme/ana") as sender:
        for name, text in MUTATED.items():
            raw = text.encode("utf-8", "surrogatepass").decode("latin-1")
            if wire == "rpc":
                raw = f'{{"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {raw}}}'
            path = "/a2a/sam" if wire == "rpc" else "/a2a/sam/rest/message:send"
            answer = wait_for("room in the budget", lambda raw=raw, path=path: _within(posted(sender, raw, path)))
            assert code_of(answer["json"]), (name, answer)
            assert "result" not in answer["json"], (name, answer)
            assert (answer["status"] == 200) == (wire == "rpc"), (name, answer)
            recorded(stack, name, answer["json"])


def _within(answer: Any) -> Any:
    return None if code_of(answer["json"]) == "too_many_attempts" else answer


def recorded(stack: Stack, name: str, answer: Any) -> None:
    """The record that the answer names says that nothing was sent."""
    details = answer["error"].get("data") or answer["error"]["details"]
    record = next(one["metadata"]["record"] for one in details if one.get("domain") == "ringwall")
    kept = stack.record(record)
    if kept.type == "intent":  # refused where it was made ready to go, behind the rings
        outcome = wait_for("its outcome", lambda: stack.outcome(record))
        assert (outcome.clear["end"], outcome.clear["code"]) == ("failed", code_of(answer)), (name, outcome.clear)
    else:
        assert kept.type in {"refused", "refused_before_call"}, (name, kept)


@pytest.mark.usefixtures("nothing_arrives")
@pytest.mark.parametrize(("text", "code"), [
    (json.dumps({**WHOLE, "jsonrpc": "1.0"}), "a2a_bad_rpc"),
    (json.dumps({**WHOLE, "id": 1.5}), "a2a_bad_rpc"),
    (json.dumps({**WHOLE, "id": {"a": 1}}), "a2a_bad_rpc"),
    (json.dumps({**WHOLE, "method": "message/send"}), "a2a_unknown_method"),
    (json.dumps({**WHOLE, "method": "PushNotification"}), "a2a_unknown_method"),
    (json.dumps({**WHOLE, "method": "GetAgentCard", "params": {}}), "a2a_unknown_method"),
    (json.dumps({**WHOLE, "more": 1}), "a2a_bad_rpc"),
    (json.dumps([WHOLE]), "a2a_bad_rpc"),
    ("null", "a2a_bad_rpc"),
])  # fmt: skip
def test_a_frame_of_json_rpc_that_is_none_is_refused(stack: Stack, ana: Puppet, text: str, code: str) -> None:
    answer = posted(ana, text)
    assert code_of(answer["json"]) == code
    recorded(stack, text, answer["json"])


@pytest.mark.usefixtures("nothing_arrives")
@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/a2a/sam/rest/message%3Asend"), ("POST", "/a2a/sam/rest//message:send"),
    ("POST", "/a2a/sam/rest/./message:send"), ("POST", "/a2a/sam/rest/x/../message:send"),
    ("PUT", "/a2a/sam/rest/message:send"), ("POST", "/a2a/sam/rest/message:send?a=1"),
    ("POST", "/a2a/s%61m/rest/message:send"), ("POST", "/a2a/../a2a/sam"), ("POST", "/a2a/acme/sam/x"),
    ("POST", "/a2a/sam/rest/message:send/"), ("POST", "/a2a//sam"), ("PUT", "/a2a/sam"), ("POST", "/a2a/push/x/y"),
])  # fmt: skip
def test_a_path_that_two_readers_would_read_differently_is_no_path(ana: Puppet, method: str, path: str) -> None:
    text = json.dumps(SEND) if "rest" in path else json.dumps(WHOLE)
    answer = posted(ana, text, path, method)
    assert code_of(answer["json"]), answer
    assert "message" not in answer["json"], answer


# --- with a certificate of the trust domain, at the listener

BODY = rpc(message="forged")


@pytest.mark.usefixtures("nothing_arrives")
def test_an_envelope_counts_for_one_request_of_one_sender_to_one_receiver_once(
    stack: Stack, sam: Server, impostor: Impostor
) -> None:
    made = impostor.sealed(BODY, sender=ANA, receiver=SAM)
    cases = {
        "envelope_missing": "", "envelope_malformed": "a.b", "envelope_signature": made[:-8] + "AAAAAAAA",
        "envelope_sender": impostor.sealed(BODY, sender=GUS, receiver=SAM),
        "envelope_receiver": impostor.sealed(BODY, sender=ANA, receiver=EVE),
        "envelope_body": impostor.sealed(BODY + b" ", sender=ANA, receiver=SAM),
        "envelope_reply": impostor.sealed(BODY, sender=ANA, receiver=SAM, reply_to=made),
        "envelope_expired": impostor.sealed(BODY, sender=ANA, receiver=SAM, late=-120),
        "envelope_not_yet": impostor.sealed(BODY, sender=ANA, receiver=SAM, late=120),
    }
    since = last(stack, "acme") + 1
    with Line(sam.port, impostor.svid(ANA)) as line:
        for code, envelope in cases.items():
            answer = line.ask(http(BODY, envelope))
            assert (answer.status, answer.code) == (200, code), answer.body
    codes = refusals(stack, "acme", since)
    assert sorted(codes) == sorted(cases)


def test_a_replayed_envelope_and_a_replayed_message_arrive_once(
    stack: Stack, ana: Puppet, sam: Server, impostor: Impostor
) -> None:
    body = rpc(message="only-once")
    made, again = (impostor.sealed(body, sender=ANA, receiver=SAM) for _ in range(2))
    with Line(sam.port, impostor.svid(ANA)) as line, Line(sam.port, impostor.svid(ANA)) as other:
        first = line.ask(http(body, made))
        assert json.loads(first.body)["result"]["message"]["parts"] == [{"text": "you said hello"}]
        assert line.ask(http(body, made)).code == "envelope_replayed"
        assert other.ask(http(body, made)).code == "envelope_replayed"
        assert other.ask(http(body, again)).code == "duplicate_message"
        changed_body = rpc(message="only-once", parts=[{"text": "another"}])
        new = impostor.sealed(changed_body, sender=ANA, receiver=SAM)
        assert other.ask(http(changed_body, new)).code == "duplicate_message"
    assert list(seen(ana)).count("only-once") == 1


@pytest.mark.usefixtures("nothing_arrives")
def test_a_certificate_alone_lets_nobody_talk_who_may_not(stack: Stack, sam: Server, impostor: Impostor) -> None:
    for who in (EVE, spiffe("globex/kim"), spiffe("acme/bea"), ANA.replace("role/asker", "role/worker"),
                ANA.replace("/ana/", "/anna/"), ANA.replace("tenant/acme", "tenant/globex")):
        with Line(sam.port, impostor.svid(who)) as line:
            answer = line.ask(http(BODY, impostor.sealed(BODY, sender=who, receiver=SAM)))
            assert answer.code == "not_granted", (who, answer.body)
            told = [one.clear["message"] for one in messages(stack, "acme", "refused")]
            assert "in" in [one["direction"] for one in told if one["sender"] == who]


def test_a_chain_that_is_claimed_only_takes_away(ana: Puppet, sam: Server, impostor: Impostor) -> None:
    parts = [{"data": {"do": "call", "tool": "echo/echo", "args": {"text": "x"}}}]
    cases = {"loop": (SAM,), "too_many_hops": tuple(EVE.replace("eve", f"eve{n}") for n in range(9)), "": (EVE,)}
    with Line(sam.port, impostor.svid(ANA)) as line:
        for code, chain in cases.items():
            body = rpc(message=f"chain-{len(chain)}-{code}", parts=parts)
            answer = line.ask(http(body, impostor.sealed(body, sender=ANA, receiver=SAM, chain=chain)))
            assert answer.code == code, answer.body
        told = json.loads(answer.body)["result"]["message"]["parts"][0]["data"]
        assert told["error"] == "beyond_delegation", told
    assert [one for one in seen(ana) if one.startswith("chain-")] == ["chain-1-"]
