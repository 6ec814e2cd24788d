"""Pins: written down once each, also when several servers register side by side, and never guessed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes import FakeJournal, run

from ringwall.call import Digest, digest
from ringwall.errors import AuditError
from ringwall.runtime.pins import LogPins, Pin

LISTED = {"name": "read", "description": "Read a file."}
OTHER = {"name": "send"}
A, B = digest(LISTED), Digest("bb")


def pinned(journal: FakeJournal) -> LogPins:
    pins = LogPins("acme")
    pins.restore([event.body for event in journal.of("note")])
    return pins


def test_a_pin_counts_at_once_and_is_durable_after_flush() -> None:
    journal = FakeJournal()
    pins = LogPins("acme")
    pins.set("docs/read", A, LISTED)
    assert pins.get("docs/read") == A
    assert pins.get("docs/write") is None
    run(pins.flush(journal))
    run(pins.flush(journal))
    assert [(e.type, e.tenant) for e in journal.of("note")] == [("pin", "acme")]
    assert pinned(journal).get("docs/read") == A


def test_servers_that_register_side_by_side_lose_no_pin() -> None:
    async def scenario() -> None:
        journal = FakeJournal()
        journal.gate = asyncio.Event()
        pins = LogPins("acme")
        pins.set("docs/read", A, LISTED)
        first = asyncio.create_task(pins.flush(journal))
        await journal.reached.wait()
        pins.set("mail/send", digest(OTHER), OTHER)
        second = asyncio.create_task(pins.flush(journal))
        await asyncio.sleep(0)
        assert not second.done()
        journal.gate.set()
        await asyncio.gather(first, second)
        again = pinned(journal)
        assert (again.get("docs/read"), again.get("mail/send")) == (A, digest(OTHER))
        assert len(journal.of("note")) == 2

    run(scenario())


def test_a_pin_that_could_not_be_written_is_written_by_the_next_flush() -> None:
    journal = FakeJournal()
    journal.broken = {"note"}
    pins = LogPins("acme")
    pins.set("docs/read", A, LISTED)
    with pytest.raises(AuditError):
        run(pins.flush(journal))
    journal.broken = set()
    run(pins.flush(journal))
    assert pinned(journal).get("docs/read") == A


def test_the_last_pin_of_a_tool_counts() -> None:
    pins = LogPins("acme")
    pins.restore([{"tool": "docs/read", "definition": A}, {"tool": "docs/read", "definition": B}])
    assert pins.get("docs/read") == B


@pytest.mark.parametrize("body", [
    {}, {"tool": "x"}, {"tool": "x", "definition": None}, {"tool": 1, "definition": "a"},
    {"tool": "", "definition": "a"}, {"tool": "x", "definition": ""},
    {"tool": "x", "definition": A, "listed": OTHER}, {"tool": "x", "definition": A, "listed": "text"},
])
def test_a_pin_that_cannot_be_read_stops_the_start(body: dict[str, Any]) -> None:
    with pytest.raises(AuditError):
        LogPins("acme").restore([body])


def test_a_pin_keeps_the_definition_itself_and_one_of_a_former_version_only_its_hash() -> None:
    journal = FakeJournal()
    pins = LogPins("acme")
    pins.set("docs/read", A, LISTED)
    run(pins.flush(journal))
    assert pinned(journal).all() == {"docs/read": Pin(A, LISTED)}
    pins.restore([{"tool": "docs/read", "definition": A}])
    assert pins.all() == {"docs/read": Pin(A, None)}


def test_another_pin_counts_only_once_it_is_in_the_log() -> None:
    journal = FakeJournal()
    pins = LogPins("acme")
    pins.restore([{"tool": "docs/read", "definition": A, "listed": LISTED}])
    journal.broken = {"note"}
    with pytest.raises(AuditError):
        run(pins.accept(journal, "docs/read", Pin(digest(OTHER), OTHER), "operator:rita"))
    assert pins.get("docs/read") == A
    journal.broken = set()
    assert run(pins.accept(journal, "docs/read", Pin(digest(OTHER), OTHER), "operator:rita")) == "acme/1"
    (event,) = journal.of("note")
    assert (event.type, event.subject, event.body["was"]) == ("pin", "operator:rita", A)
    assert pins.get("docs/read") == pinned(journal).get("docs/read") == digest(OTHER)
