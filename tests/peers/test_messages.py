"""Message ids: remembered for a day, within bounds; beyond them the oldest is taken as new."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import FakeClock

from ringwall.errors import BadInput
from ringwall.peers import messages
from ringwall.peers.messages import Messages, named


def take(book: Messages, name: str, *, local: str = "sam", other: str = "ana", digest: str = "d") -> bool:
    try:
        book.take(local, other, name, digest)
    except BadInput as no:
        assert no.code == "duplicate_message"
        return False
    return True


def test_it_says_whether_the_content_was_the_same() -> None:
    book = Messages(FakeClock())
    take(book, "m")
    with pytest.raises(BadInput, match="with this content"):
        book.take("sam", "ana", "m", "d")
    with pytest.raises(BadInput, match="with another content"):
        book.take("sam", "ana", "m", "e")


def test_one_that_did_not_come_in_may_come_again() -> None:
    book = Messages(FakeClock())
    take(book, "m")
    book.drop("sam", "ana", "m")
    book.drop("sam", "ana", "m")
    book.drop("sam", "eve", "m")
    assert len(book) == 0
    assert take(book, "m")


def test_a_pair_forgets_its_oldest_and_an_agent_that_of_whoever_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_OF_PAIR", 3)
    monkeypatch.setattr(messages, "MAX_OF_AGENT", 4)
    book = Messages(FakeClock())
    for name in "abcd":
        assert take(book, name)
    assert not take(book, "b")
    assert take(book, "a")  # forgotten, and taken as new: "b" makes room
    assert take(book, "x", other="bob")
    assert take(book, "y", other="bob")  # "c" of ana makes room
    assert len(book) == 4
    assert not take(book, "x", other="bob")
    assert not take(book, "d")
    assert take(book, "c")
    assert take(book, "a", local="sue")  # another agent has room of its own


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from([0, 40_000]))))
@settings(max_examples=60, deadline=None)
def test_within_the_bounds_none_is_taken_twice_within_a_day(steps: list[tuple[str, str, int]]) -> None:
    clock = FakeClock()
    book, taken = Messages(clock), dict[tuple[str, str], float]()
    for other, name, wait in steps:
        clock.seconds += wait
        fresh = clock.seconds - taken.get((other, name), -1e9) >= messages.KEEP_SECONDS
        assert take(book, name, other=other) is fresh
        if fresh:
            taken[other, name] = clock.seconds
    assert len(book) <= len(taken)


@given(one=st.text(max_size=20), other=st.text(max_size=20))
def test_whatever_it_is_called_it_has_a_name_of_its_own(one: str, other: str) -> None:
    assert (named(one) == named(other)) is (one == other)
    assert len(named(one)) == 32
    assert named(one).isalnum()


def test_half_a_surrogate_pair_is_a_name_too() -> None:
    assert named("\ud800") != named("?")
