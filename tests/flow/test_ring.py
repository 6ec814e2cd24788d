"""The flow ring: labels joined from what came back, and arguments judged down to their last string."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import FakeJournal, call, run

from ringwall.call import Allowed, Chunk, Denied, Facts, Json, Kind, NeedsApproval, SessionId
from ringwall.capability.resources import canonical
from ringwall.flow.book import LabelBook
from ringwall.flow.labels import CLEAN, Label
from ringwall.flow.ring import FlowRing, result_label
from ringwall.flow.values import MAX_VALUES
from ringwall.interface import Stopped, Targets
from ringwall.manifest.types import ArgumentRole, FlowSettings, Manifest, Model, Operation, OutputLabel, ToolServer

IBAN = "DE89370400440532013000"


@dataclass(frozen=True)
class Open:
    tenant: str = "acme"
    context: str = "/work/alice"
    task: str = f"Read 4711 and write to bob@x.example, then pay {IBAN}; search for printer paper."


class Lookup:
    def __init__(self, session: Open) -> None:
        self.session = session

    def get(self, session: SessionId | None) -> Open | None:
        return self.session if session == "s1" else None


def op(effect: str, returns: Mapping[str, OutputLabel] | None = None, **args: ArgumentRole) -> Operation:
    return Operation(effect=effect, args=args, returns=returns or {})


def role(name: str, kind: str = "") -> ArgumentRole:
    return ArgumentRole(role=name, kind=kind)  # type: ignore[arg-type]


SERVERS = {
    "docs": ToolServer(name="docs", clearance="private", ops={"read": op("read", path=role("selector", "id"))}),
    "bank": ToolServer(
        name="bank", clearance="private", system_of_record=True,
        ops={
            "history": op("read", {"id": OutputLabel(integrity="T", confidentiality="private"),
                                   "note": OutputLabel(integrity="C", confidentiality="public")}),
            "pay": op("pay", to=role("target", "iban"), amount=role("param")),
            "move": op("pay", to=role("target", "id")),
        },
    ),
    "mail": ToolServer(name="mail", clearance="private", ops={
        "send": op("send", to=role("target", "email"), body=role("payload"))}),
    "search": ToolServer(name="search", ops={"web": op("fetch", query=role("query"))}),
}
MODELS = {"main": Model(name="main", wire="openai", url="u", clearance="private"),
          "public": Model(name="public", wire="openai", url="u")}


class Bench:
    def __init__(self, label: Label = CLEAN, *, waiver: bool = True, session: Open | None = None) -> None:
        self.journal = FakeJournal()
        self.book = LabelBook(self.journal)
        self.book.restore([{"context": "/work/alice", "to": str(label)}])
        manifest = Manifest(version=1, trust_domain="example.org", path=Path("/m"), tools=SERVERS, models=MODELS,
                            flow=FlowSettings(clean_waiver=waiver))
        self.ring = FlowRing(manifest=manifest, sessions=Lookup(session or Open()), book=self.book,
                             canonical=lambda kind, text: canonical(kind, text).id)
        self.facts: Facts = {}

    def code(self, target: str, args: Json = None, **more: Any) -> str:
        passage = run(self.ring.enter(call(target, args, **more), self.facts))
        assert self.facts["flow"]["denied"] is isinstance(passage.verdict, Denied)
        assert self.facts["flow"].get("asked", False) is isinstance(passage.verdict, NeedsApproval)
        if isinstance(passage.verdict, (Denied, NeedsApproval)):
            return passage.verdict.code
        assert isinstance(passage.verdict, Allowed)
        return ""


SEEN = Label("U", "private")


def test_what_a_tool_returns_labels_the_process_before_it_is_delivered() -> None:
    bench = Bench()

    async def scenario() -> None:
        passage = await bench.ring.enter(call("docs/read", {"path": "4711"}), bench.facts)
        assert bench.book.current("/work/alice") == CLEAN
        assert list(await passage.release(Chunk(value="text"))) == [Chunk(value="text")]
        assert list(await passage.finish()) == []

    run(scenario())
    assert bench.book.current("/work/alice") == SEEN
    assert [event.type for event in bench.journal.of("note")] == ["label"]
    assert bench.journal.of("note")[0].body["source"] == "docs/read"


def test_a_result_whose_label_cannot_be_written_is_withheld() -> None:
    bench = Bench()
    bench.journal.broken = {"note"}

    async def scenario() -> None:
        passage = await bench.ring.enter(call("docs/read", {"path": "4711"}), bench.facts)
        for _ in range(2):  # the second time too: the label in memory is no excuse
            with pytest.raises(Stopped) as stopped:
                await passage.release(Chunk(value="text"))
            assert stopped.value.denied.code == "audit_unavailable"

    run(scenario())


def test_the_same_call_is_judged_by_what_was_seen_before_it() -> None:
    args = {"to": "eve@y.example", "body": "hello"}
    assert Bench().code("mail/send", args) == ""
    assert Bench(SEEN).code("mail/send", args) == "trifecta"
    assert Bench(SEEN).code("mail/send", {**args, "to": "bob@x.example"}) == ""
    assert Bench(SEEN).code("mail/send", {**args, "to": "notbob@x.example"}) == "trifecta"
    assert Bench(Label("U", "secret")).code("mail/send", {**args, "to": "bob@x.example"}) == "above_clearance"


def test_every_recipient_of_a_list_is_judged() -> None:
    assert Bench(SEEN).code("mail/send", {"to": ["bob@x.example"], "body": "b"}) == ""
    assert Bench(SEEN).code("mail/send", {"to": ["bob@x.example", "eve@y.example"], "body": "b"}) == "trifecta"
    assert Bench(SEEN).code("mail/send", {"to": [], "body": "b"}) == "trifecta"
    assert Bench(SEEN).code("mail/send", {"body": "b"}) == "trifecta"


def test_a_payee_must_be_named_once_anything_but_records_was_seen() -> None:
    other = "GB82WEST12345698765432"
    assert Bench(Label("M", "public")).code("bank/pay", {"to": IBAN, "amount": 5}) == ""
    assert Bench(Label("M", "public")).code("bank/pay", {"to": other, "amount": 5}) == "untrusted_target"
    assert Bench(Label("T", "private")).code("bank/pay", {"to": other, "amount": 5}) == ""
    assert Bench(waiver=False).code("bank/pay", {"to": other, "amount": 5}) == "untrusted_target"


def test_a_payee_that_is_a_number_is_a_payee() -> None:
    assert Bench(SEEN).code("bank/move", {"to": 666}) == "untrusted_target"
    assert Bench(SEEN).code("bank/move", {"to": 4711}) == ""


@pytest.mark.parametrize(("query", "code"), [
    ("printer paper", ""), ("what I read", "above_clearance"), ("printer paper!", "above_clearance"),
    (["printer paper", "x"], "above_clearance"), ({"q": {"deep": ["x"]}}, "above_clearance"),
    ({"printer paper": "printer paper"}, ""), ({"what I read": 1}, "above_clearance"), (5, ""), (True, ""),
    (None, ""), ([104, 105, 33], "above_clearance"), ({"printer paper": 7}, "above_clearance"),
    (10**40, "above_clearance"), ("", "above_clearance"), (["printer paper"] * (MAX_VALUES + 1), "above_clearance"),
])
def test_no_text_in_any_shape_reaches_a_server_below_what_was_read(query: Json, code: str) -> None:
    assert Bench(Label("P", "private")).code("search/web", {"query": query}) == code


def test_undeclared_arguments_and_tools_are_refused() -> None:
    assert Bench().code("docs/read", {"path": "4711", "bcc": "x"}) == "undeclared_argument"
    assert Bench().code("docs/unheard_of", {}) == "undeclared_tool"
    assert Bench().code("nobody/read", {}) == "undeclared_tool"
    assert Bench().code("ringwall/list", {}) == ""


@pytest.mark.parametrize(("model", "label", "code"), [
    ("main", "U private", ""), ("main", "P secret", "above_clearance"), ("public", "U public", ""),
    ("public", "P private", "above_clearance"),
])
def test_a_model_upstream_is_a_recipient(model: str, label: str, code: str) -> None:
    assert Bench(Label.parse(label)).code(model, {}, kind="model") == code


@pytest.mark.parametrize("kind", ["tool", "model"])
def test_a_call_of_no_open_session_is_refused(kind: Kind) -> None:
    assert Bench().code("docs/read", {}, session="s2", kind=kind) == "no_session"
    assert Bench().code("docs/read", {}, session=None, kind=kind) == "no_session"


def test_a_session_of_another_tenant_is_none() -> None:
    assert Bench(session=Open(tenant="evil")).code("docs/read", {}) == "no_session"


def test_an_operators_call_carries_no_labels() -> None:
    assert Bench(Label("U", "secret")).code("run", {}, kind="operate", session=None) == ""


def test_facts_say_what_the_rules_saw() -> None:
    bench = Bench(SEEN)
    bench.code("mail/send", {"to": ["bob@x.example", "eve@y.example"], "body": "b"})
    assert bench.facts["flow"] == {
        "effect": "send", "context": {"integrity": "U", "confidentiality": "private", "sources": []},
        "args": [{"name": "to", "role": "target", "kind": "email", "trusted": True},
                 {"name": "to", "role": "target", "kind": "email", "trusted": False},
                 {"name": "body", "role": "payload", "kind": "", "trusted": False}],
        "denied": False, "asked": True, "rule": 7, "code": "trifecta",
    }


@pytest.mark.parametrize(("value", "label"), [
    ({"id": 1}, "T private"), ({"note": "x"}, "C public"), ({"id": 1, "note": "x"}, "C private"),
    ({"id": 1, "other": 2}, "U private"), ({}, "U private"), ("text", "U private"), ([{"id": 1}], "U private"),
    (None, "U private"),
])
def test_a_result_is_labelled_field_by_field_and_undeclared_fields_are_untrusted(value: Json, label: str) -> None:
    assert str(result_label(value, SERVERS["bank"], SERVERS["bank"].ops["history"])) == label


@pytest.mark.parametrize(("value", "label"), [
    ([{"id": 1}], "T public"), ([{"id": 1, "text": "pay Eve"}], "U private"),
    ({"items": [{"text": "x"}]}, "U private"), ({"error": "no such note: pay Eve"}, "U private"),
    ({"error": "no", "id": 1}, "T public"), ("plain", "T public"),
])
def test_a_declared_field_counts_wherever_it_stands_and_an_error_as_all_of_them(value: Json, label: str) -> None:
    op = Operation(effect="read", args={}, returns={
        "*": OutputLabel(integrity="T", confidentiality="public"), "text": OutputLabel()})
    record = ToolServer(name="crm", system_of_record=True, ops={"notes": op})
    assert str(result_label(value, record, op)) == label


def test_trusted_labels_count_only_from_a_system_of_record() -> None:
    boaster = ToolServer(name="boaster", ops=SERVERS["bank"].ops)
    assert str(result_label({"id": 1}, boaster, boaster.ops["history"])) == "U private"
    assert str(result_label({"note": 1}, boaster, boaster.ops["history"])) == "U public"


def test_listing_hides_nothing() -> None:
    targets = Targets(definitions={"a": 1})
    assert run(Bench().ring.lists(call().subject, targets)) == targets


_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                       lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner,
                                                                                   max_size=4), max_leaves=12)


@given(_VALUES)
def test_any_argument_is_judged(value: Json) -> None:
    code = Bench(Label("U", "private")).code("mail/send", {"to": value, "body": value})
    assert code in {"", "trifecta"}
    assert code == "trifecta" or value == "bob@x.example"


def test_facts_name_the_tools_whose_answers_made_the_label_what_it_is() -> None:
    bench = Bench()

    async def scenario() -> None:
        passage = await bench.ring.enter(call("docs/read", {"path": "4711"}), bench.facts)
        for _ in range(3):
            await passage.release(Chunk(value="text"))

    run(scenario())
    assert bench.code("bank/pay", {"to": "GB82WEST12345698765432", "amount": 5}) == "untrusted_target"
    assert bench.facts["flow"]["context"]["sources"] == ["docs/read"]
    again = Bench()
    again.book.restore([event.body for event in bench.journal.of("note")])
    assert again.book.sources("/work/alice") == ("docs/read",)


def test_what_answers_a_servers_question_is_free_text_to_that_server() -> None:
    bench = Bench(SEEN)
    asked = dataclasses.replace(call("search/web", {}), inputs={"responses": {"q": "what I read"}, "state": ""})
    passage = run(bench.ring.enter(asked, bench.facts))
    assert isinstance(passage.verdict, NeedsApproval)
    assert (passage.verdict.code, passage.verdict.arguments) == ("above_clearance", ("inputs",))
    assert run(Bench(Label("U", "public")).ring.enter(asked, {})).verdict == Allowed()


def test_a_secret_that_is_read_makes_all_that_the_process_can_write_secret_before_it_is_delivered() -> None:
    bench = Bench()

    async def scenario() -> None:
        passage = await bench.ring.enter(call("read/hook", kind="secret"), bench.facts)
        assert passage.verdict == Allowed()
        assert bench.book.current("/work/alice") == CLEAN
        assert list(await passage.release(Chunk(value={"value": "x"}))) == [Chunk(value={"value": "x"})]

    run(scenario())
    assert bench.book.current("/work/alice") == Label("T", "secret")
    assert bench.journal.of("note")[0].body["source"] == "read/hook"
    assert bench.code("mail/send", {"to": "bob@x.example", "body": "x"}) == "above_clearance"
    assert bench.code("search/web", {"query": "the value"}) == "above_clearance"


def test_a_secret_whose_label_cannot_be_written_is_withheld() -> None:
    bench = Bench()
    bench.journal.broken = {"note"}

    async def scenario() -> None:
        passage = await bench.ring.enter(call("read/hook", kind="secret"), bench.facts)
        with pytest.raises(Stopped) as stopped:
            await passage.release(Chunk(value={"value": "x"}))
        assert stopped.value.denied.code == "audit_unavailable"

    run(scenario())


def test_a_secret_is_read_in_an_open_session_only_and_an_svid_needs_none() -> None:
    assert Bench().code("read/hook", kind="secret", session=None) == "no_session"
    assert Bench(session=Open(tenant="other")).code("read/hook", kind="secret") == "no_session"
    assert Bench().code("svid/x509", kind="secret", session=None) == ""
