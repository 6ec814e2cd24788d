"""Push configurations: known outside by our name alone, sealed in the log, gone with their task."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import FakeClock, FakeJournal, run
from tests.peers.test_tasks import ANA, BOB, DONE, S1, SAM, Office

from ringwall.call import Event, Json
from ringwall.errors import AuditError, BadInput
from ringwall.peers import pushes
from ringwall.peers.pushes import Push, Pushes
from ringwall.peers.task import Pair

KEY = {"scheme": "Bearer", "credentials": "hunter2"}
PAIR = Pair(SAM, "out", ANA)


class Book:
    def __init__(self) -> None:
        self.clock, self.journal = FakeClock(), FakeJournal()
        self.pushes = Pushes(journal=self.journal, clock=self.clock)

    def set(self, **other: Any) -> Push:
        told: dict[str, Any] = {"local": SAM, "direction": "out", "other": ANA, "task": "t1", "config": "",
                                "url": "http://127.0.0.1:9/hook", "token": "secret", "authentication": KEY,
                                "session": S1, **other}
        return run(self.pushes.set(**told))

    def refused(self, **other: Any) -> str:
        with pytest.raises(BadInput) as no:
            self.set(**other)
        return no.value.code

    def missing(self, name: str) -> bool:
        try:
            self.pushes.get(name)
        except BadInput as no:
            assert no.code == "unknown_push"
            return True
        return False

    def restarted(self, *, forgotten: bool = False) -> Pushes:
        self.pushes = Pushes(journal=self.journal, clock=self.clock)
        for event in self.journal.of("note"):
            self.pushes.restore("acme", event.body, None if forgotten else event.sealed)
        return self.pushes


def test_what_was_set_is_found_by_our_name_and_nobody_guesses_it() -> None:
    book = Book()
    one, two = book.set(), book.set(config="c")
    assert book.pushes.get(one.name) is one
    assert (one.url, one.token, one.authentication, one.task) == ("http://127.0.0.1:9/hook", "secret", KEY, "t1")
    assert one.name != two.name
    assert len(one.name) >= 22  # 128 bits
    assert book.pushes.find(PAIR, "t1") == (one, two)
    assert book.pushes.find(Pair(SAM, "in", ANA), "t1") == ()
    assert "secret" not in repr(one)
    assert "hunter2" not in repr(one)


def test_the_log_has_its_address_and_secrets_under_seal_only() -> None:
    book = Book()
    run(book.pushes.drop(book.set(task="").name))
    one = book.set(task="")
    run(book.pushes.bind(one.name, "t1"))
    events: list[Event] = book.journal.of("note")
    assert [event.body["what"] for event in events] == ["set", "dropped", "set", "bound"]
    assert all(event.session == S1 and event.type == "push" for event in events)
    assert not any(word in str(event.body) for event in events for word in ("hook", "secret", "hunter2"))
    assert events[0].sealed == {"url": "http://127.0.0.1:9/hook", "token": "secret", "authentication": KEY}


def test_one_of_the_same_task_and_id_is_replaced() -> None:
    book = Book()
    one = book.set(config="c")
    two = book.set(config="c", url="http://127.0.0.1:9/other")
    assert book.missing(one.name)
    assert book.pushes.find(PAIR, "t1") == (two,)
    unbound = [book.set(task="", config="c"), book.set(task="", config="c")]  # of two messages under way
    assert not any(book.missing(one.name) for one in unbound)


def test_a_configuration_is_bound_to_one_task() -> None:
    book = Book()
    one = book.set(task="")
    assert run(book.pushes.bind(one.name, "t2")).task == "t2"
    assert run(book.pushes.bind(one.name, "t2")) is book.pushes.get(one.name)
    for name, task in ((one.name, "t3"), ("nobody", "t2")):
        with pytest.raises(BadInput) as no:
            run(book.pushes.bind(name, task))
        assert no.value.code == "unknown_push"


def test_what_is_dropped_counts_no_more_though_the_disk_is_full() -> None:
    book = Book()
    one = book.set()
    book.journal.broken = {"note"}
    with pytest.raises(AuditError):
        run(book.pushes.drop(one.name))
    assert book.missing(one.name)
    run(book.pushes.drop(one.name))
    with pytest.raises(AuditError):
        book.set()
    assert len(book.pushes) == 0


def test_a_restart_keeps_them_unless_their_key_is_gone() -> None:
    book = Book()
    kept, gone, bound = book.set(), book.set(config="x"), book.set(task="")
    run(book.pushes.drop(gone.name))
    run(book.pushes.bind(bound.name, "t2"))
    after = book.restarted()
    assert after.get(kept.name) == kept
    assert after.get(bound.name).task == "t2"
    assert book.missing(gone.name)
    assert len(book.restarted(forgotten=True)) == 0
    book.clock.seconds += pushes.PUSH_SECONDS
    assert len(book.restarted()) == 0


def test_they_are_bounded_and_end_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushes, "MAX_OF_PAIR", 2)
    monkeypatch.setattr(pushes, "MAX_OF_AGENT", 3)
    book = Book()
    first = book.set()
    book.set(task="t2")
    assert book.refused(task="t3") == "too_many_push_configs"
    book.set(other=BOB)
    assert book.refused(other=BOB) == "too_many_push_configs"
    book.clock.seconds += pushes.PUSH_SECONDS
    assert book.missing(first.name)
    book.set(other=BOB)


@pytest.mark.parametrize("wrong", [{"url": ""}, {"url": "h" * 2049}, {"token": "t" * 2049}, {"config": "c" * 2049}])
def test_what_is_no_configuration_is_refused(wrong: dict[str, Any]) -> None:
    assert Book().refused(**wrong) == "bad_push_config"


def test_they_are_forgotten_with_their_task() -> None:
    office = Office()
    office.seen(DONE)
    told: dict[str, Any] = {"local": SAM, "direction": "in", "other": ANA, "config": "", "url": "http://x/",
                            "token": "", "authentication": None, "session": S1}
    one, two = (run(office.book.pushes.set(task=name, **told)) for name in ("t1", "t2"))
    assert office.book.status()["pushes"] == 2
    office.clock.seconds += 86_399
    assert office.book.pushes.get(one.name) is one
    office.book.pushes.forget(Pair(SAM, "in", ANA), "t1")
    with pytest.raises(BadInput):
        office.book.pushes.get(one.name)
    assert office.book.pushes.get(two.name) is two


@pytest.mark.parametrize("body", [
    {}, {"what": "set"}, {"push": "p", "what": "else"}, {"push": 5, "what": "dropped"},
    {"push": "p", "what": "bound"}, {"push": "p", "what": "set", "local": "x"},
])
def test_a_record_that_cannot_be_read_stops_the_start(body: dict[str, Json]) -> None:
    with pytest.raises(AuditError) as no:
        Book().pushes.restore("acme", body, {})
    assert no.value.code == "bad_task_record"


@given(change=st.dictionaries(
    st.sampled_from(["local", "direction", "other", "task", "config", "at", "session", "what", "push"]),
    st.none() | st.text(max_size=9) | st.floats(allow_nan=False) | st.lists(st.integers(), max_size=2)),
    sealed=st.none() | st.dictionaries(st.sampled_from(["url", "token", "authentication"]),
                                       st.none() | st.text(max_size=9)))
@settings(max_examples=80, deadline=None)
def test_any_record_is_taken_or_stops_the_start(change: dict[str, Json], sealed: dict[str, Json] | None) -> None:
    book = Book()
    book.set()
    body = {**book.journal.of("note")[0].body, **change}
    try:
        Book().pushes.restore("acme", body, sealed)
    except AuditError as no:
        assert no.code == "bad_task_record"
