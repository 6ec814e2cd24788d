"""A journal that counts: every launch's calls under its own name, and nothing is counted that was not written."""

from __future__ import annotations

import pytest
from tests.fakes import ALICE, FakeJournal, call, run

from ringwall.call import Event, Operator, Outcome, Verdicts
from ringwall.errors import AuditError
from ringwall.interface import Seq
from ringwall.runtime.runs import Tally
from ringwall.runtime.tally import CountingJournal

VERDICTS = Verdicts(rings=(), facts={})


def counting() -> tuple[CountingJournal, FakeJournal, Tally]:
    inner = FakeJournal()
    journal = CountingJournal(inner)
    tally = journal.tallies[ALICE.launch] = Tally()
    return journal, inner, tally


def test_ends_and_refusals_are_counted_where_they_belong() -> None:
    journal, inner, tally = counting()

    async def scenario() -> None:
        seq = await journal.intent(call(), VERDICTS)
        assert tally.calls == 0
        await journal.outcome(seq, Outcome(end="stopped"))
        await journal.refusal(call(), VERDICTS)
        before = Event(type="refused_before_call", tenant="acme", body={"launch": ALICE.launch})
        await journal.note(before)
        await journal.note(Event(type="label", tenant="acme", body={"launch": ALICE.launch}))
        journal.count(before)

    run(scenario())
    assert tally.ends == {"stopped": 1, "refused": 2}
    assert tally.refused == ["acme/3", "acme/4"]
    assert [what for what, _ in inner.log] == ["intent", "outcome", "refusal", "note", "note", "count"]


def test_calls_of_operators_and_of_unknown_launches_are_passed_on_uncounted() -> None:
    journal, inner, tally = counting()
    operator = call("run", kind="operate", subject=Operator(name="root", uid=0, connection=1))

    async def scenario() -> None:
        await journal.outcome(await journal.intent(operator, VERDICTS), Outcome(end="done"))
        await journal.refusal(operator, VERDICTS)
        del journal.tallies[ALICE.launch]
        await journal.outcome(await journal.intent(call(), VERDICTS), Outcome(end="done"))
        await journal.outcome(Seq("acme/99"), Outcome(end="done"))

    run(scenario())
    assert tally.calls == 0
    assert len(inner.log) == 6


@pytest.mark.parametrize("what", ["intent", "refusal", "note"])
def test_what_cannot_be_written_is_not_counted(what: str) -> None:
    journal, inner, tally = counting()
    inner.broken = {what}

    async def scenario() -> None:
        with pytest.raises(AuditError):
            if what == "intent":
                await journal.intent(call(), VERDICTS)
            elif what == "refusal":
                await journal.refusal(call(), VERDICTS)
            else:
                await journal.note(Event(type="refused_before_call", tenant="acme", body={"launch": ALICE.launch}))

    run(scenario())
    assert tally.calls == 0
