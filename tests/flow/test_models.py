"""Tools that run at a model's provider: what they may be shown, and that what they find is a stranger's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeJournal, call
from tests.flow.test_ring import Lookup, Open

from ringwall.call import Allowed, Chunk, Denied, Facts
from ringwall.capability.resources import canonical
from ringwall.flow.book import LabelBook
from ringwall.flow.labels import CLEAN, Label
from ringwall.flow.ring import FlowRing
from ringwall.interface import Passage, Stopped
from ringwall.manifest.types import Clearance, FlowSettings, Manifest, Model, ProviderTool

SEARCHES: dict[str, Any] = {
    "chat": {"messages": [], "web_search_options": {}},
    "responses": {"input": [], "tools": [{"type": "web_search"}]},
    "messages": {"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
}


class Desk:
    """The ring of a process whose label is this."""

    def __init__(self, label: Label = CLEAN, clearance: Clearance = "public", *, waiver: bool = True) -> None:
        tool = ProviderTool(name="web_search", effect="fetch", clearance=clearance)
        self.journal = FakeJournal()
        self.book = LabelBook(self.journal)
        self.book.restore([{"context": "/work/alice", "to": str(label)}])
        manifest = Manifest(
            version=1, trust_domain="example.org", path=Path("/m"), flow=FlowSettings(clean_waiver=waiver),
            models={"main": Model(name="main", wire="openai", url="u", clearance="secret",
                                  provider_tools={"web_search": tool}),
                    "plain": Model(name="plain", wire="openai", url="u", clearance="secret")})
        self.ring = FlowRing(manifest=manifest, sessions=Lookup(Open()), book=self.book,
                             canonical=lambda kind, text: canonical(kind, text).id)
        self.facts: Facts = {}

    def enter(self, args: Any, target: str = "main") -> Passage:
        return asyncio.run(self.ring.enter(call(target, args, kind="model"), self.facts))

    def code(self, args: Any, target: str = "main") -> str:
        verdict = self.enter(args, target).verdict
        assert isinstance(verdict, (Allowed, Denied))
        return verdict.code if isinstance(verdict, Denied) else ""


def args(api: str, **more: Any) -> Any:
    return {"api": api, "request": {**SEARCHES[api], **more}}


@pytest.mark.parametrize(("label", "clearance", "code"), [
    (CLEAN, "public", ""),
    (Label("U", "public"), "public", ""),
    (Label("P", "private"), "public", "above_clearance"),
    (Label("P", "private"), "private", ""),
    (Label("M", "secret"), "private", "above_clearance"),
    (Label("U", "private"), "private", "trifecta"),
    (Label("U", "secret"), "secret", "trifecta"),
    (Label("M", "secret"), "secret", ""),
])
@pytest.mark.parametrize("api", SEARCHES)
def test_a_search_of_the_provider_is_shown_nothing_above_its_clearance_nor_what_strangers_may_have_asked_for(
    api: str, label: Label, clearance: Clearance, code: str
) -> None:
    desk = Desk(label, clearance)
    assert desk.code(args(api)) == code
    assert desk.facts["flow"]["provider_tools"] == ["web_search"]
    assert desk.code({"api": "chat", "request": {"messages": []}}) == "", "the model itself may see all of it"


def test_without_the_waiver_private_data_is_never_searched_with() -> None:
    assert Desk(Label("P", "private"), "private", waiver=False).code(args("chat")) == "trifecta"


@pytest.mark.parametrize("api", SEARCHES)
def test_a_tool_that_nobody_declared_is_refused(api: str) -> None:
    assert Desk().code(args(api), "plain") == "provider_tool_not_granted"


@pytest.mark.parametrize("wrong", [{"api": "images", "request": {}}, {"api": "chat"}, {"request": {}}, []])
def test_arguments_that_are_no_model_call_are_refused(wrong: Any) -> None:
    assert Desk().code(wrong) == "bad_request"


def test_what_a_search_found_labels_the_process_before_it_is_delivered() -> None:
    desk = Desk(Label("T", "private"), "private")
    chunk = Chunk(value={"part": 0, "kind": "text", "text": "a"}, whole=False)

    async def run() -> None:
        passage = await desk.ring.enter(call("main", args("chat"), kind="model"), desk.facts)
        assert desk.book.current("/work/alice") == Label("T", "private")
        assert list(await passage.release(chunk)) == [chunk]
        assert list(await passage.release(chunk)) == [chunk]
        assert list(await passage.finish()) == []

    asyncio.run(run())
    assert desk.book.current("/work/alice") == Label("U", "private")
    assert [event.body["source"] for event in desk.journal.of("note")] == ["main"]


def test_an_answer_without_a_search_labels_nobody() -> None:
    desk = Desk()
    passage = desk.enter({"api": "chat", "request": {"messages": []}})
    asyncio.run(passage.release(Chunk(value={})))
    assert desk.book.current("/work/alice") == CLEAN


def test_an_answer_whose_label_cannot_be_written_is_withheld() -> None:
    desk = Desk()
    passage = desk.enter(args("chat"))
    desk.journal.broken.add("note")
    with pytest.raises(Stopped) as stopped:
        asyncio.run(passage.release(Chunk(value={})))
    assert stopped.value.denied.code == "audit_unavailable"
