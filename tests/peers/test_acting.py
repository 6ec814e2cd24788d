"""On whose behalf a session works: the union of what it holds, kept until something changes."""

from __future__ import annotations

from tests.fakes import FakeClock

from ringwall.call import SessionId
from ringwall.peers.acting import Acting

S1, S2 = SessionId("s1"), SessionId("s2")


def test_it_is_the_union_of_what_is_held_sorted_and_each_once() -> None:
    acting = Acting(FakeClock())
    assert acting.of(S1) == ()
    acting.hold(S1, "a", ("y", "x"))
    acting.hold(S1, "b", ("x", "w"))
    acting.hold(S2, "a", ("v",))
    assert acting.of(S1) == ("w", "x", "y")
    acting.hold(S1, "a", ("z",))
    assert acting.of(S1) == ("w", "x", "z")
    acting.drop(S1, "b")
    acting.drop(S1, "b")
    assert (acting.of(S1), acting.of(S2)) == (("z",), ("v",))


def test_what_has_a_time_ends_at_it_and_the_rest_goes_on() -> None:
    clock = FakeClock()
    acting = Acting(clock)
    acting.hold(S1, "a", ("x",), clock.monotonic() + 10)
    acting.hold(S1, "b", ("y",), clock.monotonic() + 20)
    assert acting.of(S1) == ("x", "y")
    clock.seconds += 9.9
    assert acting.of(S1) == ("x", "y")
    clock.seconds += 0.1
    assert acting.of(S1) == ("y",)
    acting.hold(S1, "b", ("y",), clock.monotonic() + 100)
    clock.seconds += 99
    assert acting.of(S1) == ("y",)
    clock.seconds += 1
    assert acting.of(S1) == ()


def test_nothing_is_kept_of_a_session_that_works_for_nobody() -> None:
    clock = FakeClock()
    acting = Acting(clock)
    acting.hold(S1, "a", ("x",))
    acting.drop(S1, "a")
    acting.hold(S2, "a", ("x",), clock.monotonic())
    assert acting.of(S2) == ()
    assert not acting._sessions
