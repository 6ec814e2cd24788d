"""Messages between agents: labels travel with them; beyond the tenant, peers are recipients like any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import FakeJournal, run

from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Chunk,
    Denied,
    Facts,
    Json,
    LaunchId,
    NeedsApproval,
    Peer,
    Process,
    SessionId,
    Target,
)
from ringwall.capability.resources import canonical
from ringwall.flow.book import LabelBook
from ringwall.flow.labels import CLEAN, Label
from ringwall.flow.messages import FOREIGN
from ringwall.flow.ring import FlowRing
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Passage, Stopped
from ringwall.manifest.types import Agent, Manifest, ReceiveGrant, Remote, Role, SendGrant, Tenant

SAM, BOB = ("spiffe://own.example/tenant/acme/agent/sam/role/clerk",
            "spiffe://own.example/tenant/globex/agent/bob/role/clerk")
ANA = SpiffeId.parse("spiffe://own.example/tenant/acme/agent/ana/role/clerk")
PARTNER = "spiffe://partner.example/quotes"
ALIKE = "spiffe://partner.example/tenant/acme/agent/sam/role/clerk"
SEEN = Label("U", "private")


@dataclass(frozen=True)
class Open:
    tenant: str = "acme"
    context: str = "/work/ana"
    task: str = 'Ask sam and "partner" for a quote on printer paper.'


class Lookup:
    def __init__(self, session: Open) -> None:
        self.session = session

    def get(self, session: SessionId | None) -> Open | None:
        return self.session if session == "s1" else None


def manifest(**sends: SendGrant) -> Manifest:
    clerk = {"clerk": Role(name="clerk")}
    given = {"sam": SendGrant(peer="sam", skills=("quote",)),
             "globex/bob": SendGrant(peer="globex/bob", skills=("quote",)),
             "partner": SendGrant(peer="partner", skills=("quote",)), **sends}
    ana = Agent(name="ana", role="clerk", send=given, receive={
        name: ReceiveGrant(peer=name, skills=("quote",)) for name in given})
    return Manifest(
        version=1, trust_domain="own.example", path=Path("/m"),
        peers={"partner": Remote(name="partner", spiffe_id=PARTNER, url="https://p.example/"),
               "alike": Remote(name="alike", spiffe_id=ALIKE, url="https://p.example/")},
        tenants={"acme": Tenant(name="acme", roles=clerk, agents={
                     "ana": ana, "sam": Agent(name="sam", role="clerk")}),
                 "globex": Tenant(name="globex", roles=clerk, agents={"bob": Agent(name="bob", role="clerk")})},
    )


def params(text: str = "printer paper", **more: Json) -> dict[str, Json]:
    return {"message": {"taskId": "t-1", "role": "ROLE_USER", "parts": [{"text": text}],
                        "metadata": {"urn:ringwall:skill": "quote"}, **more}}


def out(peer: str, given: Json = None, method: str = "SendMessage", name: str = "x") -> Call:
    return Call.make(
        id=CallId("c"), kind="message", subject=Process(spiffe_id=ANA, launch=LaunchId("l"), connection=1),
        session=SessionId("s1"), target=Target(name=f"{name}/quote"),
        args={"method": method, "peer": peer, "skill": "quote", "params": params() if given is None else given},
    )


def into(sender: str, label: str | None, given: Json = None, method: str = "SendMessage") -> Call:
    envelope = None if label is None else {"label": label, "chain": [], "record": "", "id": "e", "trace": ""}
    return Call.make(
        id=CallId("c"), kind="message", session=SessionId("s1"), target=Target(name="x/quote", direction="in"),
        subject=Peer(spiffe_id=AnyId.parse(sender), receiver=ANA, launch=LaunchId("l"), connection=1),
        args={"method": method, "peer": sender, "skill": "quote", "envelope": envelope,
              "params": params() if given is None else given},
    )


class Bench:
    def __init__(self, label: Label = CLEAN, **sends: SendGrant) -> None:
        self.journal = FakeJournal()
        self.book = LabelBook(self.journal)
        self.book.restore([{"context": "/work/ana", "to": str(label)}])
        self.ring = FlowRing(manifest=manifest(**sends), sessions=Lookup(Open()), book=self.book,
                             canonical=lambda kind, text: canonical(kind, text).id)
        self.facts: Facts = {}

    async def enter(self, call: Call) -> Passage:
        self.facts.clear()
        passage = await self.ring.enter(call, self.facts)
        assert self.facts["flow"]["denied"] is isinstance(passage.verdict, Denied)
        assert self.facts["flow"].get("asked", False) is isinstance(passage.verdict, NeedsApproval)
        return passage

    def code(self, call: Call) -> str:
        verdict = run(self.enter(call)).verdict
        return "" if isinstance(verdict, Allowed) else verdict.code

    @property
    def now(self) -> Label:
        return self.book.current("/work/ana")


def answered(bench: Bench, call: Call, chunk: Chunk) -> list[Chunk]:
    async def scenario() -> list[Chunk]:
        return list(await (await bench.enter(call)).release(chunk))

    return run(scenario())


def test_an_agent_of_the_same_tenant_may_be_told_what_was_read_because_the_label_goes_along() -> None:
    assert Bench(SEEN).code(out(SAM, params("anything"))) == ""
    assert Bench(Label("U", "secret")).code(out(SAM, params("anything"))) == "above_clearance"


def test_a_clearance_in_the_grant_counts_before_that_of_the_peer() -> None:
    low = SendGrant(peer="sam", skills=("quote",), clearance="public")
    assert Bench(SEEN, sam=low).code(out(SAM, params("anything"))) == "above_clearance"
    high = SendGrant(peer="partner", skills=("quote",), clearance="private")
    assert Bench(SEEN, partner=high).code(out(PARTNER, params("anything"))) == ""


@pytest.mark.parametrize("peer", [BOB, PARTNER])
def test_beyond_the_tenant_a_human_is_asked_before_private_data_leaves(peer: str) -> None:
    bench = Bench(SEEN)
    verdict = run(bench.enter(out(peer, params("anything")))).verdict
    assert isinstance(verdict, NeedsApproval)
    assert "params/message/parts/0" in verdict.arguments
    assert bench.facts["flow"]["effect"] == "send"
    assert bench.facts["flow"]["recipient"]["inside"] is False
    assert Bench().code(out(peer, params("anything"))) == ""


def test_a_peer_that_the_task_names_is_a_trusted_target_and_a_word_of_the_task_is_not() -> None:
    bench = Bench(SEEN, partner=SendGrant(peer="partner", clearance="private"),
                  **{"globex/bob": SendGrant(peer="globex/bob", clearance="private")})
    assert bench.code(out(PARTNER, params("anything"))) == ""
    assert bench.code(out(BOB, params("anything"))) == "trifecta"
    assert [a["trusted"] for a in bench.facts["flow"]["args"] if a["role"] == "target"] == [False]


def test_words_of_the_task_may_always_go_and_nothing_may_hide_beside_them() -> None:
    def code(given: Json) -> str:
        return Bench(SEEN).code(out(PARTNER, given))

    assert code(params("printer paper")) == ""
    assert code(params("printer paper 4711")) == "above_clearance"
    for more in ({"metadata": {"urn:ringwall:skill": "quote", "taskId": "stolen"}}, {"metadata": {"stolen": 1}},
                 {"messageId": "stolen"}, {"contextId": "stolen"}, {"extensions": ["https://stolen.example"]},
                 {"parts": [{"data": {"stolen": 1}}]}, {"parts": [{"raw": "c3RvbGVu"}]},
                 {"parts": [{"text": "printer paper", "filename": "stolen"}]},
                 {"messageId": "printer paper", "parts": [{"data": 5501}, {"data": 4711}]}):
        assert code(params(**more)) == "above_clearance", more
    assert code({**params(), "metadata": {"role": "stolen"}}) == "above_clearance"


def test_asking_for_a_task_or_a_card_says_nothing_of_what_was_read() -> None:
    for method, asked in (("GetTask", {"id": "t-1"}), ("GetAgentCard", {}), ("ListTasks", {"status": "x"})):
        assert Bench(Label("U", "secret")).code(out(PARTNER, asked, method)) == ""
    push = {"taskId": "t-1", "id": "stolen", "url": "http://127.0.0.1:1/"}
    assert Bench(SEEN).code(out(PARTNER, push, "CreateTaskPushNotificationConfig")) == "above_clearance"
    for method in ("GetTaskPushNotificationConfig", "DeleteTaskPushNotificationConfig"):
        assert Bench(SEEN).code(out(PARTNER, {"taskId": "t-1", "id": "stolen"}, method)) == "above_clearance"


def test_a_message_with_too_many_texts_counts_as_one_that_nobody_said() -> None:
    many = params(parts=[{"data": ["printer paper"] * 300}])
    bench = Bench(SEEN)
    assert bench.code(out(PARTNER, many)) == "above_clearance"
    assert len(bench.facts["flow"]["args"]) == 2


def test_nobody_who_is_not_declared_is_sent_anything() -> None:
    assert Bench().code(out("spiffe://own.example/tenant/acme/agent/eve/role/clerk")) == "peer_unknown"
    assert Bench().code(out("nonsense")) == "peer_unknown"


@pytest.mark.parametrize(("sender", "told", "becomes"), [
    (SAM, "P public", "M public"), (SAM, "T private", "M private"), (SAM, "M secret", "M secret"),
    (SAM, "U private", "U private"),
    (BOB, "P public", "U public"), (BOB, "C private", "U private"), (BOB, "U secret", "U secret"),
    (PARTNER, None, "U private"), (PARTNER, "P public", "U private"), (ALIKE, "P public", "U private"),
    (SAM, None, "U private"),
])
def test_what_comes_in_is_as_good_as_its_sender_and_never_better(
    sender: str, told: str | None, becomes: str
) -> None:
    bench = Bench()
    assert bench.code(into(sender, told)) == ""
    assert str(bench.now) == becomes
    (note,) = bench.journal.of("note")
    assert note.type == "label" and note.body["source"] == f"from {sender}" and note.tenant == "acme"
    assert answered(bench, out(sender, {"id": "t"}, "GetTask"), Chunk(value=1, label=told or ""))
    assert str(bench.now) == becomes


def test_nothing_is_delivered_whose_label_is_not_durable_or_cannot_be_read() -> None:
    bench = Bench()
    bench.journal.broken = {"note"}
    assert [bench.code(into(SAM, "U private")) for _ in range(2)] == ["audit_unavailable"] * 2
    assert Bench().code(into(SAM, "rubbish")) == "bad_label"
    call = into(SAM, "M public")
    call.args["envelope"]["label"] = 7
    assert Bench().code(call) == "bad_label"


def test_what_says_nothing_labels_nothing() -> None:
    bench = Bench()
    assert bench.code(into(PARTNER, None, {}, "GetAgentCard")) == ""
    assert bench.now == CLEAN and not bench.journal.of("note")


def test_answers_label_the_agent_that_asked_before_it_has_them() -> None:
    bench = Bench()
    chunk = Chunk(value={"task": {}}, label="U private")
    assert answered(bench, out(SAM), chunk) == [chunk]
    assert bench.now == SEEN
    broken = Bench()
    broken.journal.broken = {"note"}
    with pytest.raises(Stopped) as stopped:
        answered(broken, out(SAM), chunk)
    assert stopped.value.denied.code == "audit_unavailable"
    with pytest.raises(Stopped) as stopped:
        answered(Bench(), out(SAM), Chunk(value=1, label="rubbish"))
    assert stopped.value.denied.code == "bad_label"


def test_an_answer_that_nobody_vouches_for_is_untrusted_and_private_and_a_card_is_public() -> None:
    bench = Bench()
    answered(bench, out(SAM), Chunk(value=1))
    assert bench.now == FOREIGN
    card = Bench()
    answered(card, out(PARTNER, {}, "GetAgentCard"), Chunk(value={}, label="P public"))
    assert str(card.now) == "U public"


def test_answers_to_a_peer_outside_end_when_secret_data_was_read_meanwhile() -> None:
    async def scenario(sender: str, **sends: SendGrant) -> None:
        bench = Bench(**sends)
        passage = await bench.enter(into(sender, None if sender == PARTNER else "M public"))
        assert list(await passage.release(Chunk(value=1))) == [Chunk(value=1)]
        await bench.book.join("/work/ana", Label("M", "secret"), tenant="acme", session=None, source="vault")
        await passage.release(Chunk(value=2))

    for peer in (PARTNER, BOB):
        with pytest.raises(Stopped) as stopped:
            run(scenario(peer))
        assert stopped.value.denied.code == "above_clearance"
    run(scenario(SAM))
    run(scenario(PARTNER, partner=SendGrant(peer="partner", clearance="secret")))


def test_a_message_goes_only_the_way_its_subject_can_send_it() -> None:
    call = into(SAM, "M public")
    wrong = Call.make(id=call.id, kind="message", subject=call.subject, session=call.session,
                      target=Target(name="x"), args=call.args)
    assert Bench().code(wrong) == "bad_direction"


def test_a_message_of_no_open_session_is_refused() -> None:
    call = into(SAM, "M public")
    lost = Call.make(id=call.id, kind="message", subject=call.subject, session=SessionId("s2"), target=call.target,
                     args=call.args)
    assert Bench().code(lost) == "no_session"


NAMES = st.text(max_size=8)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | NAMES,
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
                    max_leaves=12)


@given(JSON, JSON, JSON)
def test_whatever_an_envelope_or_its_parameters_are_the_label_never_gets_better(
    envelope: Any, given_params: Any, metadata: Any
) -> None:
    bench = Bench(Label("M", "private"))
    call = into(PARTNER, None, given_params)
    call.args["envelope"] = envelope
    bench.code(call)
    assert bench.now.join(Label("M", "private")) == bench.now
    bench.code(out(PARTNER, {"message": {"parts": given_params, "metadata": metadata}, "metadata": metadata}))
