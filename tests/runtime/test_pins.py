"""Pins: written down once each, also when several servers register side by side, and never guessed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes import FakeJournal, run

from ringwall.call import Digest
from ringwall.errors import AuditError
from ringwall.runtime.pins import LogPins

A, B = Digest("aa"), Digest("bb")


def pinned(journal: FakeJournal) -> LogPins:
    pins = LogPins("acme")
    pins.restore([event.body for event in journal.of("note")])
    return pins


def test_a_pin_counts_at_once_and_is_durable_after_flush() -> None:
    journal = FakeJournal()
    pins = LogPins("acme")
    pins.set("docs/read", A)
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
        pins.set("docs/read", A)
        first = asyncio.create_task(pins.flush(journal))
        await journal.reached.wait()
        pins.set("mail/send", B)
        second = asyncio.create_task(pins.flush(journal))
        await asyncio.sleep(0)
        assert not second.done()
        journal.gate.set()
        await asyncio.gather(first, second)
        again = pinned(journal)
        assert (again.get("docs/read"), again.get("mail/send")) == (A, B)
        assert len(journal.of("note")) == 2

    run(scenario())


def test_a_pin_that_could_not_be_written_is_written_by_the_next_flush() -> None:
    journal = FakeJournal()
    journal.broken = {"note"}
    pins = LogPins("acme")
    pins.set("docs/read", A)
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
])
def test_a_pin_that_cannot_be_read_stops_the_start(body: dict[str, Any]) -> None:
    with pytest.raises(AuditError):
        LogPins("acme").restore([body])
