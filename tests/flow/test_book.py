"""Labels are durable before what caused them is delivered, and come back after a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes import FakeJournal, run

from ringwall.call import SessionId
from ringwall.errors import AuditError
from ringwall.flow.book import LabelBook
from ringwall.flow.labels import CLEAN, WORST, Label

SEEN = Label("U", "private")


async def join(book: LabelBook, label: Label = SEEN, context: str = "/work/a") -> Label:
    return await book.join(context, label, tenant="acme", session=SessionId("s1"), source="docs/read")


def restored(journal: FakeJournal) -> LabelBook:
    book = LabelBook(FakeJournal())
    book.restore([event.body for event in journal.of("note")])
    return book


def test_a_change_is_noted_once_and_nothing_is_noted_without_one() -> None:
    journal = FakeJournal()
    book = LabelBook(journal)

    async def scenario() -> None:
        await join(book)
        await join(book)
        await join(book, Label("M", "public"))

    run(scenario())
    assert [dict(e.body) for e in journal.of("note")] == [
        {"context": "/work/a", "from": "P public", "to": "U private", "source": "docs/read"}
    ]
    assert book.current("/work/a") == SEEN
    assert book.current("/work/b") == CLEAN


def test_while_a_note_is_not_durable_calls_see_the_worse_label_and_nobody_delivers() -> None:
    async def scenario() -> None:
        journal = FakeJournal()
        journal.gate = asyncio.Event()
        book = LabelBook(journal)
        first, second = asyncio.create_task(join(book)), asyncio.create_task(join(book))
        await journal.reached.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert book.current("/work/a") == SEEN
        assert not first.done()
        assert not second.done()
        journal.gate.set()
        assert await first == await second == SEEN
        assert len(journal.of("note")) == 1

    run(scenario())


def test_contexts_do_not_wait_for_each_other() -> None:
    async def scenario() -> None:
        journal = FakeJournal()
        journal.gate = asyncio.Event()
        book = LabelBook(journal)
        waiting = asyncio.create_task(join(book))
        await journal.reached.wait()
        assert await join(book, CLEAN, "/work/b") == CLEAN
        journal.gate.set()
        await waiting

    run(scenario())


def test_a_label_whose_note_failed_is_noted_again_before_the_next_delivery() -> None:
    async def scenario() -> None:
        journal = FakeJournal()
        journal.broken = {"note"}
        book = LabelBook(journal)
        for _ in range(2):
            with pytest.raises(AuditError):
                await join(book)
        assert book.current("/work/a") == SEEN
        journal.broken = set()
        await join(book)
        assert restored(journal).current("/work/a") == SEEN

    run(scenario())


def test_a_label_whose_note_was_cancelled_is_noted_again() -> None:
    async def scenario() -> None:
        journal = FakeJournal()
        journal.gate = asyncio.Event()
        book = LabelBook(journal)
        gone = asyncio.create_task(join(book))
        await journal.reached.wait()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        journal.gate.set()
        await join(book)
        assert restored(journal).current("/work/a") == SEEN

    run(scenario())


def test_a_restart_keeps_every_label() -> None:
    journal = FakeJournal()
    book = LabelBook(journal)

    async def scenario() -> None:
        await join(book, Label("M", "private"))
        await join(book, Label("U", "public"))
        await join(book, Label("C", "secret"), "/work/b")

    run(scenario())
    again = restored(journal)
    assert again.current("/work/a") == Label("U", "private")
    assert again.current("/work/b") == Label("C", "secret")
    assert again.current("/work/c") == CLEAN


@pytest.mark.parametrize("to", [None, 5, "", "P", "p public", "P public extra", ["P public"], {"to": 1}])
def test_a_label_that_cannot_be_read_is_the_worst(to: Any) -> None:
    book = LabelBook(FakeJournal())
    book.restore([{"context": "/work/a", "to": to}])
    assert book.current("/work/a") == WORST
    assert book.current("/work/b") == CLEAN


@pytest.mark.parametrize("body", [{}, {"to": "M public"}, {"context": "", "to": "M public"}, {"context": 5}])
def test_an_event_of_nobody_counts_for_everybody(body: dict[str, Any]) -> None:
    book = LabelBook(FakeJournal())
    book.restore([body])
    assert book.current("/work/a") == WORST
