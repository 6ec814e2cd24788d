"""Accepting a changed definition: only the one that was seen, in the log first, and for calls at once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.capability.office import TEXT, definition, operation
from tests.fakes import FakeJournal, run

from ringwall.call import Call, CallId, Json, Operator, Target, digest
from ringwall.capability.catalogue import Catalogues
from ringwall.errors import AuditError, BadInput, Refused
from ringwall.manifest.types import ToolServer
from ringwall.runtime.pinning import Pinning
from ringwall.runtime.pins import LogPins

RITA = Operator(name="rita", uid=0, connection=1)
DOCS = ToolServer(name="docs", ops={"read": operation("read", path="selector:path")})


def listed(text: str = "Read a file.") -> Json:
    return definition("read", ("path",), path=TEXT) | {"description": text}


class Bench:
    def __init__(self) -> None:
        self.journal = FakeJournal()
        self.pins = {"acme": LogPins("acme"), "other": LogPins("other")}
        self.catalogues = Catalogues(lambda tenant: self.pins[tenant])
        self.told: list[tuple[str, str]] = []
        self.acts = Pinning(
            catalogues=self.catalogues, pins=self.pins, journal=self.journal,
            repinned=lambda tenant, server: self.told.append((tenant, server)),
        ).acts()
        self.lists()

    def lists(self, text: str = "Read a file.") -> None:
        self.catalogues.of("acme").register(DOCS, [listed(text)])

    def ask(self, verb: str, **args: Any) -> Any:
        call = Call.make(id=CallId("1"), kind="operate", subject=RITA, session=None, args=args,
                         target=Target(name=verb))
        return run(self.acts[verb](call))

    def row(self) -> Any:
        return self.ask("pins.list", tenant="acme", tool="docs/read")["pins"][0]

    def accept(self, definition: str, tenant: str = "acme", tool: str = "docs/read") -> Any:
        return self.ask("pins.accept", tenant=tenant, tool=tool, definition=definition)

    @property
    def changed(self) -> bool:
        tool = self.catalogues.of("acme").tool("docs/read")
        assert tool is not None
        return tool.changed


def test_what_was_pinned_and_what_is_listed_are_both_shown() -> None:
    bench = Bench()
    assert bench.ask("pins.list")["pins"][0]["state"] == "pinned"
    bench.lists("Send a file.")
    row = bench.row()
    assert (row["state"], row["was"]["description"], row["now"]["description"]) == (
        "changed", "Read a file.", "Send a file.")
    assert (row["pinned"], row["listed"]) == (digest(row["was"]), digest(row["now"]))
    bench.catalogues.of("acme").drop("docs")
    assert (bench.row()["state"], bench.row()["now"]) == ("unavailable", None)
    assert bench.ask("pins.list", tenant="other") == {"pins": []}


def test_an_accepted_definition_is_written_down_and_then_holds() -> None:
    bench = Bench()
    bench.lists("Send a file.")
    row = bench.row()
    done = bench.accept(row["listed"])
    assert (done["state"], done["pinned"], done["was"], done["record"]) == (
        "pinned", row["listed"], row["pinned"], "acme/1")
    assert bench.journal.of("note")[-1].body["listed"]["description"] == "Send a file."
    assert (bench.changed, bench.told) == (False, [("acme", "docs")])
    bench.lists("Send a file.")
    assert not bench.changed
    bench.lists()
    assert bench.changed


def test_a_pin_that_cannot_be_written_down_does_not_hold() -> None:
    bench = Bench()
    bench.lists("Send a file.")
    bench.journal.broken = {"note"}
    with pytest.raises(AuditError):
        bench.accept(bench.row()["listed"])
    assert (bench.changed, bench.told) == (True, [])


def test_a_definition_that_was_not_seen_is_not_pinned() -> None:
    bench = Bench()
    bench.lists("Send a file.")
    seen = bench.row()["listed"]
    bench.lists("Send every file.")
    with pytest.raises(Refused) as moved:
        bench.accept(seen)
    assert (moved.value.code, bench.changed, bench.journal.of("note")) == ("definition_moved", True, [])


def test_a_definition_that_changes_while_it_is_written_down_stays_refused() -> None:
    bench = Bench()
    bench.lists("Send a file.")
    seen = bench.row()["listed"]
    bench.journal.note = changing(bench)  # type: ignore[method-assign]
    assert bench.accept(seen)["state"] == "changed"
    assert bench.changed
    bench.lists("Send a file.")
    assert not bench.changed


def changing(bench: Bench) -> Any:
    async def note(event: Any) -> str:
        bench.lists("Send every file.")
        return "acme/9"

    return note


@pytest.mark.parametrize(("args", "code"), [
    ({"tenant": "gone"}, "no_such_tenant"), ({"tool": "docs/burn"}, "unknown_tool"), ({}, "not_changed"),
])
def test_what_cannot_be_accepted_says_why(args: dict[str, str], code: str) -> None:
    with pytest.raises(BadInput) as fault:
        Bench().accept("x", **args)
    assert fault.value.code == code


@pytest.mark.parametrize(("verb", "args"), [
    ("pins.list", {"tenant": 1}), ("pins.list", {"tool": "docs/read", "more": 1}),
    ("pins.accept", {"tenant": "acme"}),
])
def test_arguments_that_are_none_of_these_are_refused(verb: str, args: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as fault:
        Bench().ask(verb, **args)
    assert fault.value.code == "bad_act"


@pytest.mark.parametrize(("args", "code"), [
    ({"tenant": "gone"}, "no_such_tenant"), ({"tool": "docs/read"}, "no_such_tenant"),
    ({"tenant": "acme", "tool": "docs/burn"}, "unknown_tool"),
])
def test_what_is_not_there_is_not_listed(args: dict[str, str], code: str) -> None:
    with pytest.raises(BadInput) as fault:
        Bench().ask("pins.list", **args)
    assert fault.value.code == code
