"""capability/messages.py: bytes to one canonical message, or BadInput."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import FakeClock, FakeJournal
from tests.parley import IDS, PARTNER, SKILL, STRANGER, message, params, parley, spiffe

from ringwall.call import Call, Denied, Json, LaunchId, Operator, Peer, Process, SessionId, canonical
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.messages import Messages
from ringwall.capability.resolve import ManifestResolver
from ringwall.capability.ring import CapabilityRing
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Origin
from ringwall.peers.task import Pair
from ringwall.peers.tasks import TaskBook
from ringwall.wire import a2a

MANIFEST = parley()
ANA = Process(spiffe_id=IDS["ana"], launch=LaunchId("l1"), connection=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    local: SpiffeId
    direction: str
    other: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Push:
    pair: Any
    task: str


@dataclass(kw_only=True)
class Book:
    """Tasks of pairs, by (local, direction, other, task); those in ``over`` have ended."""

    tasks: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    working_for: tuple[str, ...] = ()
    named: dict[str, _Push] = field(default_factory=dict)

    def skill(self, *, local: SpiffeId, direction: str, other: str, task: str) -> str:
        try:
            return self.tasks[str(local), direction, other, task]
        except KeyError:
            raise BadInput("no such task", code="unknown_task") from None

    def open_for_message(self, *, local: SpiffeId, direction: str, other: str, task: str = "",
                         context: str = "") -> None:
        if task in self.over:
            raise BadInput("over", code="task_over")
        if context == "others":
            raise BadInput("of somebody else", code="unknown_context")

    def acting_for(self, session: SessionId | None) -> tuple[str, ...]:
        return self.working_for if session == "s1" else ()

    @property
    def pushes(self) -> Book:
        return self

    def get(self, name: str) -> _Push:
        if name not in self.named:
            raise BadInput("no such push", code="unknown_push")
        return self.named[name]


@dataclass(frozen=True, kw_only=True)
class _Said:
    label: str = "M private"
    chain: tuple[str, ...] = ()
    record: str = "acme/57"
    id: str = "e1"
    trace: str = "ab" * 16


class Envelopes:
    """Opens ``good:<sender>:<receiver>`` for any body, and writes down which."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def open(self, token: str, *, sender: str, receiver: str, body: bytes, reply_to: str = "") -> _Said:
        self.bodies.append(body)
        if token != f"good|{sender}|{receiver}":
            raise Refused("it was made for another sender", code="envelope_sender")
        return _Said(chain=(spiffe("gus"),))


class Desk:
    def __init__(self, **book: Any) -> None:
        ids = itertools.count()
        self.book, self.envelopes = Book(**book), Envelopes()
        self.messages = Messages(manifest=MANIFEST, book=self.book, envelopes=self.envelopes,
                                 ids=lambda: f"c{next(ids)}")

    def out(self, body: Json, *, wire: str = "rpc", peer: Json = "sam", who: str = "ana", **more: Json) -> Call:
        subject = Process(spiffe_id=IDS[who], launch=LaunchId("l1"), connection=1)
        raw = canonical({"wire": wire, "peer": peer, "body": encoded(body), **more})
        return self.messages.resolve(Origin(subject=subject, session="s1", key="k"), raw)

    def come(self, body: Json, *, sender: str = "ana", to: str = "sam", wire: str = "rpc", envelope: str = "good",
             **more: Json) -> Call:
        subject = Peer(spiffe_id=AnyId.parse(spiffe(sender)), receiver=IDS[to], launch=LaunchId("l1"), connection=1)
        token = f"good|{spiffe(sender)}|{IDS[to]}" if envelope == "good" else envelope
        raw = canonical({"wire": wire, "body": encoded(body), "envelope": token, **more})
        return self.messages.resolve(Origin(subject=subject, session="s1", key="k"), raw)


def encoded(body: Json) -> str:
    raw = body if isinstance(body, bytes) else canonical(body)
    return base64.b64encode(raw).decode()


def rpc(method: str = "SendMessage", given: Json = None) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params() if given is None else given}


def refused(code: str, make: Any) -> None:
    with pytest.raises(BadInput) as caught:
        make()
    assert caught.value.code == code, caught.value


def test_a_message_out_names_both_ends_its_skill_and_how_far_it_came() -> None:
    call = Desk().out(rpc())
    like = message(direction="out", sender="ana", receiver="sam", skill="quote")
    assert (call.kind, call.target, call.resources, call.subject) == (
        "message", like.target, like.resources, like.subject)
    assert call.args == {**like.args, "trace": call.args["trace"]}
    assert len(call.args["trace"]) == 32 and int(call.args["trace"], 16) >= 0
    assert (call.session, call.acting_for, call.approval) == ("s1", (), None)


def test_a_message_in_carries_what_the_sending_core_vouches_for_over_exactly_its_bytes() -> None:
    desk, body = Desk(), canonical(rpc())
    call = desk.come(body)
    like = message(direction="in", sender="ana", receiver="sam", skill="quote")
    assert (call.target, call.resources, call.subject) == (like.target, like.resources, like.subject)
    assert call.args == {**like.args, "envelope": {
        "label": "M private", "chain": [spiffe("gus")], "record": "acme/57", "id": "e1", "trace": "ab" * 16}}
    assert desk.envelopes.bodies == [body]


@pytest.mark.parametrize(("envelope", "code"), [("", "envelope_missing"), ("other", "envelope_sender")])
def test_our_own_trust_domain_must_vouch_for_what_it_sends(envelope: str, code: str) -> None:
    refused(code, lambda: Desk().come(rpc(), envelope=envelope))
    http = {"method": "POST", "path": "/message:send", "query": ""}
    refused("envelope_missing", lambda: Desk().come(params(), wire="rest", http=http))
    assert Desk().come(b"", wire="card", envelope="").args["envelope"] is None


def test_a_foreign_envelope_is_not_even_read() -> None:
    desk = Desk()
    call = desk.come(rpc(), sender="partner", envelope="anything")
    assert (call.target.name, call.args["envelope"], desk.envelopes.bodies) == ("partner/quote", None, [])
    http = {"method": "POST", "path": "/message:send", "query": ""}
    assert desk.come(params(), sender="partner", wire="rest", http=http).args == call.args


def test_both_bindings_and_the_sdk_make_the_same_call() -> None:
    desk, http = Desk(), {"method": "POST", "path": "/message:send", "query": ""}
    sdk = {"skill": "quote", "parts": [{"text": "hello"}], "message_id": "m1"}
    calls = [desk.out(rpc()), desk.out(params(), wire="rest", http=http), desk.out(sdk, wire="sdk")]
    assert len({call.digest for call in calls}) == 1
    assert len({call.id for call in calls}) == 3


def test_a_message_without_an_id_gets_one_of_its_own() -> None:
    desk, sdk = Desk(), {"skill": "quote", "parts": [{"text": "hello"}]}
    ids = {desk.out(sdk, wire="sdk").args["params"]["message"]["messageId"] for _ in range(3)}
    assert len(ids) == 3


def test_the_same_request_with_its_approval_is_the_same_call() -> None:
    desk = Desk()
    assert desk.out(rpc()).digest == desk.out(rpc(), approval="acme/57").digest
    sdk = {"skill": "quote", "parts": [{"text": "hello"}], "message_id": "m1"}
    approved = desk.out({**sdk, "approval": "acme/57"}, wire="sdk")
    assert approved.digest == desk.out(sdk, wire="sdk").digest
    assert approved.approval is not None and approved.approval.record == "acme/57"
    refused("bad_request", lambda: desk.out({**sdk, "approval": "acme/57"}, wire="sdk", approval="acme/58"))


def test_two_messages_have_traces_of_their_own() -> None:
    desk = Desk()
    assert desk.out(rpc()).args["trace"] != desk.out(rpc(given=params(messageId="m2"))).args["trace"]


def test_the_only_granted_skill_is_meant_where_none_is_named_and_is_written_into_the_message() -> None:
    desk = Desk()
    call = desk.out(rpc(given=params(metadata={"x": 1})), peer="partner")
    assert call.target.name == "partner/invoice"
    assert call.args["params"]["message"]["metadata"] == {"x": 1, SKILL: "invoice"}
    came = desk.come(rpc(given=params(metadata={})), sender="partner")
    assert came.args["params"]["message"]["metadata"] == {SKILL: "quote"}
    refused("skill_unknown", lambda: desk.out(rpc(given=params(metadata={}))))  # ana may ask sam for two


def test_a_skill_may_be_named_by_the_request_and_only_once() -> None:
    desk, plain = Desk(), params(metadata={})
    assert desk.out(rpc(given={**plain, "metadata": {SKILL: "pay"}})).target.name == "sam/pay"
    assert desk.out(rpc(given={**params("pay"), "metadata": {SKILL: "pay"}})).target.name == "sam/pay"
    refused("skill_unknown", lambda: desk.out(rpc(given={**params(), "metadata": {SKILL: "pay"}})))
    for wrong in ("a/b", "", 1, ["quote"], None, "q" * 200, "q\u0430"):
        refused("bad_name", lambda wrong=wrong: desk.out(rpc(given=params(metadata={SKILL: wrong}))))


def test_a_peer_is_named_one_way_whatever_the_agent_writes() -> None:
    desk = Desk()
    assert desk.out(rpc(), peer="acme/sam").target.name == "sam/quote"
    assert desk.out(rpc(given=params("audit")), peer="globex/gus", who="sam").target.name == "globex/gus/audit"


def test_a_peer_that_nobody_knows_is_a_call_that_can_be_recorded() -> None:
    call = Desk().out(rpc(), peer="nobody")
    assert (call.target.name, call.args["peer"], call.resources) == ("nobody/quote", "", ())
    silent = Desk().out(rpc(given=params(metadata={})), peer="globex/gus")  # known, and nothing granted
    assert (silent.target.name, silent.args["skill"]) == ("globex/gus", "")
    came = Desk().come(rpc(), sender="stranger")
    assert came.target.name == f"{STRANGER}/quote"


@pytest.mark.parametrize("peer", ["", "a b", "a/b/c", "../sam", 1, None, "s\u0430m", "sam/", "/sam"])
def test_a_peers_name_is_plain(peer: Json) -> None:
    refused("bad_name", lambda: Desk().out(rpc(), peer=peer))


TASK = (str(IDS["ana"]), "out", str(IDS["sam"]), "t1")


@pytest.mark.parametrize(("method", "given"), [
    ("GetTask", {"id": "t1"}), ("CancelTask", {"id": "t1"}), ("SubscribeToTask", {"id": "t1"}),
    ("GetTaskPushNotificationConfig", {"taskId": "t1", "id": "p"}),
    ("ListTaskPushNotificationConfigs", {"taskId": "t1"}),
    ("DeleteTaskPushNotificationConfig", {"taskId": "t1", "id": "p"}),
    ("CreateTaskPushNotificationConfig", {"taskId": "t1", "url": "http://127.0.0.1:9001/x"}),
    ("SendMessage", params("quote", taskId="t1", metadata={})),
])
def test_a_method_on_a_task_has_the_tasks_skill_and_a_strangers_task_is_unknown(method: str, given: Json) -> None:
    assert Desk(tasks={TASK: "quote"}).out(rpc(method, given)).target.name == "sam/quote"
    theirs = (str(IDS["sam"]), "in", str(IDS["ana"]), "t1")
    assert Desk(tasks={theirs: "quote"}).come(rpc(method, given)).target.name == "ana/quote"
    for other in ((TASK[0], "in", *TASK[2:]), (TASK[0], "out", PARTNER, "t1"), (str(IDS["gus"]), *TASK[1:])):
        refused("unknown_task", lambda other=other: Desk(tasks={other: "quote"}).out(rpc(method, given)))


def test_a_task_keeps_its_skill_and_ends() -> None:
    refused("skill_unknown", lambda: Desk(tasks={TASK: "pay"}).out(rpc(given=params("quote", taskId="t1"))))
    refused("task_over", lambda: Desk(tasks={TASK: "quote"}, over={"t1"}).out(rpc(given=params(taskId="t1"))))
    refused("unknown_context", lambda: Desk().out(rpc(given=params(contextId="others"))))


def test_nobody_to_whom_nothing_is_granted_learns_which_contexts_or_tasks_there_are() -> None:
    for more in ({"contextId": "others"}, {"contextId": "nobodys"}, {"referenceTaskIds": ["t1"]}):
        call = Desk(tasks={TASK: "quote"}).come(rpc(given=params("news", **more)), sender="partner", to="ana")
        assert call.target.name == "partner/news"  # which the rings refuse, in the same words


def test_no_task_of_others_comes_in_by_a_side_door() -> None:
    refused("unknown_task", lambda: Desk(tasks={TASK: "quote"}).out(rpc(given=params(referenceTaskIds=["t2"]))))
    assert Desk(tasks={TASK: "pay"}).out(rpc(given=params(referenceTaskIds=["t1"]))).target.name == "sam/quote"
    push = {"url": "http://127.0.0.1:9001/x", "taskId": "t2"}
    refused("unknown_task", lambda: Desk().out(rpc(given={
        **params(), "configuration": {"taskPushNotificationConfig": push}})))


@pytest.mark.parametrize("method", ["ListTasks", "GetExtendedAgentCard"])
def test_methods_without_a_skill_name_the_peer_alone(method: str) -> None:
    call = Desk().out(rpc(method, {}))
    assert (call.target.name, call.args["skill"]) == ("sam", "")


def test_a_card_comes_from_its_own_place_only() -> None:
    assert Desk().out(b"", wire="card").args["method"] == "GetAgentCard"
    refused("a2a_unknown_method", lambda: Desk().out(rpc("GetAgentCard", {})))
    refused("a2a_unknown_method", lambda: Desk().come(rpc("GetAgentCard", {})))


def test_a_url_gets_its_one_spelling_and_a_client_only_the_modes_that_are_declared() -> None:
    part = {"url": "https://FILES.acme.example:443/in/%61.txt", "mediaType": "text/plain"}
    wanted = {"acceptedOutputModes": ["image/png", "application/pdf", "text/plain"], "returnImmediately": True}
    call = Desk().out(rpc(given={**params(parts=[part]), "configuration": wanted}))
    assert call.args["params"]["message"]["parts"][0]["url"] == "https://files.acme.example/in/a.txt"
    assert call.args["params"]["configuration"] == {
        "acceptedOutputModes": ["application/pdf", "text/plain"], "returnImmediately": True}
    a2a.check_params("SendMessage", call.args["params"])
    nothing = Desk().out(rpc(given={**params(), "configuration": {"acceptedOutputModes": ["image/png"]}}))
    assert nothing.args["params"]["configuration"] == {"acceptedOutputModes": ["image/png"]}
    refused("bad_argument", lambda: Desk().out(rpc(given=params(parts=[{"url": "ftp://x/y"}]))))


# -- pushes

EVENT = {"statusUpdate": {"taskId": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_COMPLETED"}}}
AT_SAM = {(str(IDS["sam"]), "in", str(IDS["ana"]), "t1"): "quote"}
AT_ANA = {TASK: "quote"}


def pushes(local: str, direction: str, other: str, task: str = "t1") -> dict[str, _Push]:
    return {"p1": _Push(pair=_Pair(local=IDS[local], direction=direction, other=spiffe(other)), task=task)}


def test_a_push_goes_to_whoever_asked_for_it() -> None:
    desk = Desk(tasks=AT_SAM, named=pushes("sam", "in", "ana"))
    call = desk.out(EVENT, wire="push", peer="", who="sam", push="p1")
    assert (call.target.name, call.target.direction) == ("ana/quote", "out")
    assert call.args["method"] == "PushNotification"
    assert call.args["params"] == {"push": "p1", "event": EVENT}
    there = Desk(tasks=AT_ANA, named=pushes("ana", "out", "sam"))
    came = there.come(rpc("PushNotification", {"push": "p1", "event": EVENT}), sender="sam", to="ana")
    assert (came.target.name, came.target.direction) == ("sam/quote", "in")


@pytest.mark.parametrize(("book", "code"), [
    ({"tasks": AT_SAM}, "unknown_push"),
    ({"tasks": AT_SAM, "named": pushes("ana", "in", "ana")}, "unknown_push"),
    ({"tasks": AT_SAM, "named": pushes("sam", "out", "ana")}, "unknown_push"),
    ({"tasks": AT_SAM, "named": pushes("sam", "in", "ana", "t2")}, "unknown_push"),
    ({"named": pushes("sam", "in", "ana", "")}, "unknown_task"),
    ({"tasks": AT_SAM, "named": pushes("sam", "in", "partner")}, "unknown_task"),
])
def test_a_push_that_these_two_did_not_agree_on_goes_nowhere(book: dict[str, Any], code: str) -> None:
    refused(code, lambda: Desk(**book).out(EVENT, wire="push", peer="", who="sam", push="p1"))


def test_a_push_comes_from_the_agent_that_was_asked_and_is_about_a_task() -> None:
    desk = Desk(tasks=AT_ANA, named=pushes("ana", "out", "sam"))
    refused("unknown_push", lambda: desk.come(
        rpc("PushNotification", {"push": "p1", "event": EVENT}), sender="partner", to="ana"))
    said = {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "x"}]}}
    refused("unknown_task", lambda: desk.come(
        rpc("PushNotification", {"push": "p1", "event": said}), sender="sam", to="ana"))
    refused("a2a_unknown_method", lambda: desk.out(rpc("PushNotification", {"push": "p1", "event": EVENT})))


# -- on whose behalf

def test_a_message_says_for_whom_it_is_and_how_far_the_task_came() -> None:
    call = Desk(working_for=(spiffe("ana"), PARTNER)).out(rpc(given=params("audit")), peer="globex/gus", who="sam")
    assert (call.acting_for, call.args["hops"]) == ((spiffe("ana"), PARTNER), 3)
    assert Desk(working_for=(PARTNER,)).come(rpc()).acting_for == ()


def test_every_other_kind_of_call_says_it_too() -> None:
    resolver = ManifestResolver(MANIFEST, Catalogues(lambda _: pytest.fail("no pins are asked")), lambda: "c1",
                                lambda _, one: one, acting_for=lambda session: ("spiffe://a/b",) if session else ())
    process = Process(spiffe_id=IDS["sam"], launch=LaunchId("l1"), connection=1)
    for kind, body in (("tool", {"tool": "ringwall/list", "args": {}}), ("model", {"model": "m", "request": {}}),
                       ("secret", {"svid": "x509"})):
        origin = Origin(subject=process, session="s1", key="k")
        call = resolver.resolve(origin, kind, canonical(body))  # pyright: ignore[reportArgumentType]
        assert call.acting_for == ("spiffe://a/b",)
    root = Origin(subject=Operator(name="root", uid=0, connection=1), session="s1", key="k")
    assert resolver.resolve(root, "operate", canonical({"verb": "status", "args": {}})).acting_for == ()
    origin = Origin(subject=process, session="s1", key="k")
    refused("unknown_kind", lambda: resolver.resolve(origin, "message", b"{}"))


# -- bad input

@pytest.mark.parametrize(("body", "code"), [
    ({"wire": "rpc"}, "bad_json"), ({"wire": "rpc", "body": encoded(rpc())}, "bad_name"),
    ({"wire": "smoke", "peer": "sam"}, "bad_request"), ({"peer": "sam"}, "bad_request"),
    ({"wire": "rpc", "peer": "sam", "body": "!"}, "bad_request"),
    ({"wire": "rpc", "peer": "sam", "x": 1}, "bad_request"),
    ({"wire": "rpc", "peer": "sam", "body": 5}, "bad_json"), ({"wire": "rest", "peer": "sam"}, "bad_request"),
    ({"wire": "rest", "peer": "sam", "http": {"method": "GET", "path": 1, "query": ""}}, "bad_request"),
    ({"wire": "rest", "peer": "sam", "http": {"method": "GET", "path": "/", "query": "", "x": 1}}, "bad_request"),
    ({"wire": "sdk", "peer": "sam", "body": encoded({"skill": "q", "parts": [], "y": 1})}, "bad_request"),
    ({"wire": "sdk", "peer": "sam", "body": encoded({"parts": []})}, "bad_name"),
    ({"wire": "sdk", "peer": "sam", "body": encoded({"skill": "q"})}, "a2a_bad_params"),
    ({"wire": "sdk", "peer": "sam", "body": encoded({"skill": "q", "parts": [{"text": "x"}], "task_id": 1})},
     "a2a_bad_params"),
    ({"wire": "rpc", "peer": "sam", "body": encoded(rpc()), "approval": "57"}, "bad_request"),
    ({"wire": "push", "peer": "", "body": encoded(EVENT)}, "a2a_bad_params"),
    ([], "bad_request"),
])
def test_each_malformed_request_is_refused_with_a_code(body: Json, code: str) -> None:
    origin = Origin(subject=ANA, session=None, key="k")
    refused(code, lambda: Desk().messages.resolve(origin, canonical(body)))


def test_operators_send_no_messages_and_peers_use_no_sdk() -> None:
    root = Origin(subject=Operator(name="root", uid=0, connection=1), session=None, key="k")
    refused("bad_request", lambda: Desk().messages.resolve(root, canonical({"wire": "rpc"})))
    refused("bad_request", lambda: Desk().come({"skill": "quote", "parts": []}, wire="sdk"))
    refused("bad_request", lambda: Desk().come(EVENT, wire="push", push="p1"))


_JSON = st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
                     lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=8), one, max_size=3),
                     max_leaves=8)
_KEYS = st.sampled_from(["messageId", "role", "parts", "metadata", "taskId", "contextId", "referenceTaskIds", "x"])


@settings(max_examples=60)
@given(changes=st.dictionaries(_KEYS, _JSON, max_size=3),
       wire=st.sampled_from(["rpc", "rest", "sdk", "push", "card"]),
       outer=st.dictionaries(st.sampled_from(["http", "body", "peer", "push", "approval", "y"]), _JSON, max_size=2))
def test_whatever_comes_becomes_a_call_that_the_wire_accepts_or_bad_input(
        changes: dict[str, Json], wire: str, outer: dict[str, Json]) -> None:
    origin = Origin(subject=ANA, session="s1", key="k")
    body = {"wire": wire, "peer": "sam", "body": encoded(rpc(given=params(**changes))), **outer}
    try:
        call = Desk().messages.resolve(origin, json.dumps(body).encode())
    except BadInput as error:
        assert error.code and error.cause
        return
    assert a2a.check_params(call.args["method"], call.args["params"]) == call.args["params"]


# -- with the task book and the ring that the core has

def test_a_task_goes_its_way_with_the_real_book_and_ring() -> None:
    asyncio.run(_a_task())


async def _a_task() -> None:
    book = TaskBook(journal=FakeJournal(), clock=FakeClock())
    messages = Messages(manifest=MANIFEST, book=book, envelopes=Envelopes(), ids=lambda: "c1")
    ring = CapabilityRing(MANIFEST, Catalogues(lambda _: pytest.fail("no pins are asked")))
    sam = Process(spiffe_id=IDS["sam"], launch=LaunchId("l2"), connection=2)

    async def says(subject: Process | Peer, session: str, **body: Json) -> str:
        call = messages.resolve(Origin(subject=subject, session=session, key="k"), canonical(body))
        verdict = (await ring.enter(call, {})).verdict
        return verdict.code if isinstance(verdict, Denied) else call.target.name

    peer = Peer(spiffe_id=AnyId.parse(spiffe("ana")), receiver=IDS["sam"], launch=LaunchId("l2"), connection=3)
    token, sent = f"good|{spiffe('ana')}|{IDS['sam']}", encoded(rpc())
    assert await says(ANA, "s1", wire="rpc", peer="sam", body=sent) == "sam/quote"
    assert await says(peer, "s2", wire="rpc", body=sent, envelope=token) == "ana/quote"
    view = a2a.TaskView(task="t1", context="c1", state="TASK_STATE_WORKING")
    for local, direction, other, session in ((IDS["ana"], "out", "sam", "s1"), (IDS["sam"], "in", "ana", "s2")):
        await book.seen(local=local, direction=direction, other=spiffe(other), view=view, skill="quote",
                        session=SessionId(session), chain=(spiffe("ana"),))
    asks = encoded(rpc("GetTask", {"id": "t1"}))
    assert await says(ANA, "s1", wire="rpc", peer="sam", body=asks) == "sam/quote"
    assert await says(peer, "s2", wire="rpc", body=asks, envelope=token) == "ana/quote"
    with pytest.raises(BadInput, match="no such task"):
        await says(ANA, "s1", wire="rpc", peer="partner", body=asks)
    # Meanwhile sam works for ana.
    other = encoded(rpc(given=params("other")))
    assert await says(sam, "s2", wire="rpc", peer="partner", body=other) == "beyond_delegation"
    news = encoded(rpc(given=params("news")))
    assert await says(sam, "s2", wire="rpc", peer="ana", body=news) == "loop"
    pair = Pair(IDS["sam"], "in", spiffe("ana"))
    push = await book.pushes.set(local=pair.local, direction="in", other=pair.other, task="t1", config="", token="",
                                 url="http://127.0.0.1:9001/", authentication=None, session=SessionId("s2"))
    assert await says(sam, "s2", wire="push", peer="", body=encoded(EVENT), push=push.name) == "ana/quote"
    done = a2a.TaskView(task="t1", context="c1", state="TASK_STATE_COMPLETED")
    await book.seen(local=IDS["sam"], direction="in", other=spiffe("ana"), view=done, skill="quote",
                    session=SessionId("s2"), chain=(spiffe("ana"),))
    assert await says(sam, "s2", wire="rpc", peer="partner", body=other) == "partner/other"
