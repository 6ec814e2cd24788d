"""Acts that need two people: another name, another uid, the same words, in time, on the record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes import FakeClock, FakeJournal, call, run

from ringwall.call import Call, Json, Operator
from ringwall.errors import AuditError, BadInput, Refused
from ringwall.manifest.types import NamedOperator, Operators
from ringwall.runtime.second import DEADLINE_S, MAX_PROPOSED, TwoPeople

ALICE = Operator(name="alice", uid=1000, connection=1)
BOB = Operator(name="bob", uid=1001, connection=2)
EVE = Operator(name="eve", uid=1002, connection=3)
NAMED = {one.name: NamedOperator(name=one.name, uid=one.uid, roles=("admin",)) for one in (ALICE, BOB)}


class Bench:
    def __init__(self, named: dict[str, NamedOperator] | None = None) -> None:
        self.journal = FakeJournal()
        self.clock = FakeClock()
        self.done: list[tuple[str, Json]] = []
        operators = Operators(named=NAMED if named is None else named, two_person=("thaw",))
        self.people = TwoPeople(operators, self.journal, self.clock)
        self.acts = self.people.guarded({"thaw": self._act, "freeze": self._act})

    async def _act(self, asked: Call) -> Json:
        self.done.append((asked.target.name, asked.args))
        return "done"

    async def ask(self, who: Operator, verb: str = "thaw", **args: Any) -> Json:
        return await self.acts[verb](call(verb, args, kind="operate", subject=who, session=None))

    def types(self) -> list[str]:
        return [event.type for event in self.journal.of("note")]


def test_the_second_operator_completes_what_the_first_proposed_whatever_their_reasons() -> None:
    async def main() -> None:
        bench = Bench()
        waits = await bench.ask(ALICE, name="acme/a", reason="it was a drill")
        assert (waits["proposed"]["by"], waits["proposed"]["record"], bench.done) == ("alice", "acme/1", [])
        assert [one["by"] for one in bench.people.status()] == ["alice"]
        assert await bench.ask(BOB, name="acme/a", reason="I looked too") == "done"
        assert bench.done == [("thaw", {"name": "acme/a", "reason": "I looked too"})]
        assert bench.types() == ["proposed", "seconded"]
        proposed, seconded = bench.journal.of("note")
        assert proposed.sealed == {"args": {"name": "acme/a", "reason": "it was a drill"}}
        assert {**seconded.body} == {"verb": "thaw", "first": "alice", "second": "bob", "proposal": "acme/1"}
        assert bench.people.status() == []

    run(main())


def test_the_same_operator_under_any_name_or_uid_is_no_second_one() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.ask(ALICE, name="acme/a")
        borrowed = Operator(name="bob", uid=1000, connection=3), Operator(name="alice", uid=1001, connection=4)
        for who in (ALICE, *borrowed):
            with pytest.raises(Refused, match="same_operator"):
                await bench.ask(who, name="acme/a")
        assert bench.done == []
        assert await bench.ask(BOB, name="acme/a") == "done"

    run(main())


def test_one_word_changed_is_another_proposal() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.ask(ALICE, name="acme/a")
        assert "proposed" in await bench.ask(BOB, name="acme/b")
        assert bench.done == []

    run(main())


def test_it_is_spent_after_its_use_and_after_its_time() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.ask(ALICE, name="a")
        await bench.ask(BOB, name="a")
        assert "proposed" in await bench.ask(BOB, name="a")
        bench.clock.seconds += DEADLINE_S
        assert bench.people.status() == []
        assert "proposed" in await bench.ask(ALICE, name="a")
        assert len(bench.done) == 1

    run(main())


def test_nobodys_proposals_keep_another_operator_out() -> None:
    async def main() -> None:
        bench = Bench()
        for number in range(MAX_PROPOSED):
            await bench.ask(ALICE, name=str(number))
        with pytest.raises(BadInput, match="too_many_proposals"):
            await bench.ask(ALICE, name="one more")
        assert "proposed" in await bench.ask(BOB, name="acme/a")
        assert await bench.ask(ALICE, name="acme/a") == "done"

    run(main())


def test_two_seconds_at_once_do_it_once() -> None:
    async def main() -> None:
        bench = Bench({**NAMED, "eve": NamedOperator(name="eve", uid=1002, roles=("admin",))})
        await bench.ask(ALICE, name="a")
        answers = await asyncio.gather(bench.ask(BOB, name="a"), bench.ask(EVE, name="a"))
        assert answers[0] == "done"
        assert answers[1]["proposed"]["by"] == "eve"
        assert len(bench.done) == 1

    run(main())


def test_without_a_log_nothing_is_proposed_and_nothing_agreed_to() -> None:
    async def main() -> None:
        bench = Bench()
        bench.journal.broken = {"note"}
        with pytest.raises(AuditError):
            await bench.ask(ALICE, name="a")
        assert bench.people.status() == []
        bench.journal.broken = set()
        await bench.ask(ALICE, name="a")
        bench.journal.broken = {"note"}
        with pytest.raises(AuditError):
            await bench.ask(BOB, name="a")
        assert bench.done == []
        assert bench.people.status() == []

    run(main())


@pytest.mark.parametrize("named", [{}, {"alice": NAMED["alice"]},
                                   {"a": NamedOperator(name="a", uid=1000, roles=("admin",)),
                                    "b": NamedOperator(name="b", uid=1000, roles=("admin",))}])
def test_where_nobody_can_be_told_apart_it_is_refused(named: dict[str, NamedOperator]) -> None:
    with pytest.raises(Refused, match="no_second_operator"):
        run(Bench(named).ask(ALICE, name="a"))


def test_other_acts_need_nobody_else() -> None:
    bench = Bench()
    assert run(bench.ask(ALICE, "freeze", name="a")) == "done"
    assert bench.types() == []


def test_proposals_are_bounded() -> None:
    async def main() -> None:
        bench = Bench()
        for number in range(MAX_PROPOSED):
            await bench.ask(ALICE, name=str(number))
        with pytest.raises(BadInput, match="too_many_proposals"):
            await bench.ask(ALICE, name="one more")
        assert await bench.ask(BOB, name="0") == "done"

    run(main())
