"""What an agent prints: no control sequence and no held secret passes, and plain text is left alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import FakeClock

from ringwall.runtime.output import LOOK_S, MAX_HELD, MAX_SECRETS, WITHHELD, Held, OutputFilter

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
SECRET = b"sk-0123456789"
ALPHABET = [b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x9b", b"\xc2", b"\xc2\x9b", b"\xe2\x82", b"\xac", b"\x07",
            b"\x1b\\", b"\xc0\x9b", b"0;", b"31", b"m", b"H", b" ", b"\r\n", b"\x00", b"\x7f",
            "ü€".encode(), b"text"]
HOSTILE = st.lists(st.sampled_from(ALPHABET) | st.binary(max_size=4), max_size=25)
PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\r\n"), max_size=60)


def shown(pieces: list[bytes], secrets: tuple[bytes, ...] = ()) -> bytes:
    screen = OutputFilter(secrets)
    return b"".join([*(screen.feed(piece) for piece in pieces), screen.finish()])


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 250), max_size=8)


@given(HOSTILE)
def test_no_control_character_passes_in_any_cutting(pieces: list[bytes]) -> None:
    assert not CONTROL.search(shown(pieces).decode())


@given(HOSTILE, CUTS)
def test_the_cutting_changes_nothing(pieces: list[bytes], at: list[int]) -> None:
    data = b"".join(pieces)
    assert shown(cut(data, at)) == shown([data])


@given(PLAIN, CUTS)
def test_plain_text_is_unchanged(text: str, at: list[int]) -> None:
    assert shown(cut(text.encode(), at), (SECRET,)) == text.encode()


def test_plain_text_is_not_held_back() -> None:
    screen = OutputFilter((SECRET,))
    assert screen.feed(b"Name: ") == b"Name: "
    assert screen.feed(b"your") == b"your"
    assert screen.feed(b"s") == b""  # it could be the secret's first letter
    assert screen.feed(b"o\n") == b"so\n"


@pytest.mark.parametrize("sequence", [
    b"\x1b[31m", b"\x1b[?1049h", b"\x1b[2J", b"\x1b]0;title\x07", b"\x1b]0;title\x1b\\", b"\x1b]8;;http://x\x1b\\",
    b"\x1bP+q544e\x1b\\", b"\x1b_payload\x1b\\", b"\x1bc", b"\x1b(B", b"\xc2\x9b31m", b"\xc2\x9d0;t\x07", b"\x08",
    b"\x0e", b"\x1b", b"\x1b\x1b",
])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_sequence_goes_without_a_trace(sequence: bytes, size: int) -> None:
    data = b"a" + sequence + b"\nb"
    assert shown([data[i : i + size] for i in range(0, len(data), size)]) == b"a\nb"


@pytest.mark.parametrize("data", [b"\xc2\x1b[0m\x9b31m", b"\xc2\x00\x9b", b"\x1b\x1b[0m[31m",
                                  b"\xc2\x1bc\xc2\x9b\x9b",
                                  b"\xc0\x9b", b"\xe0\x80\x9b", b"\xc2", b"\x9b31m"])
def test_no_sequence_is_put_together_from_two_halves(data: bytes) -> None:
    for size in (1, 2, 3, 100):
        text = shown([data[i : i + size] for i in range(0, len(data), size)]).decode()
        assert not CONTROL.search(text)


@given(st.text("ab", max_size=30), CUTS)
def test_overlapping_and_nested_secrets_never_pass(text: str, at: list[int]) -> None:
    secrets = (b"aab", b"abba", b"bb", b"babab")
    out = shown(cut(text.encode(), at), secrets)
    rest = out.replace(WITHHELD, b"|")
    assert not any(secret in rest for secret in secrets)
    # Nothing but whole secrets is taken: what is left is the text outside of them.
    covered = [False] * len(text)
    for secret in secrets:
        for place in range(len(text)):
            if text.startswith(secret.decode(), place):
                covered[place : place + len(secret)] = [True] * len(secret)
    assert rest.replace(b"|", b"").decode() == "".join(c for c, gone in zip(text, covered, strict=True) if not gone)


@given(st.binary(max_size=20), st.binary(max_size=20), CUTS)
def test_a_secret_is_withheld_wherever_it_is_cut(before: bytes, after: bytes, at: list[int]) -> None:
    assert SECRET not in shown(cut(before + SECRET + after, at), (SECRET,))


def test_a_secret_with_control_sequences_in_it_is_withheld() -> None:
    broken = b"\x1b[0m".join(SECRET[i : i + 2] for i in range(0, len(SECRET), 2))
    assert shown([b"key=", broken, b"."], (SECRET,)) == b"key=" + WITHHELD + b"."


def test_the_end_of_a_longer_secret_does_not_follow_a_shorter_one_that_begins_it() -> None:
    assert shown([b"abc", b"def!"], (b"abc", b"abcdef")) == WITHHELD + b"!"


def test_the_beginning_of_a_secret_at_the_end_of_the_stream_is_shown() -> None:
    assert shown([SECRET[:-1]], (SECRET,)) == SECRET[:-1]


def test_an_empty_secret_withholds_nothing() -> None:
    assert shown([b"text"], (b"",)) == b"text"


def test_a_sequence_that_never_ends_is_dropped_and_holds_little() -> None:
    screen = OutputFilter()
    out = screen.feed(b"a\x1b]0;")
    for _ in range(20):
        out += screen.feed(b"x" * 1000)
        assert len(screen._raw) <= MAX_HELD
    out += screen.feed(b"\x07b") + screen.finish()
    assert out.startswith(b"a")
    assert out.endswith(b"b")
    assert not CONTROL.search(out.decode())


def test_an_unfinished_sequence_at_the_end_is_dropped() -> None:
    assert shown([b"a\x1b[3"]) == b"a"
    assert shown([b"a\x1b]0;t"]) == b"a"


def test_a_long_secret_costs_little() -> None:
    secret = b"k" * 4000 + b"!"
    assert shown([b"k" * 1000] * 20, (secret,)) == b"k" * 20000


def test_a_secret_that_came_later_is_withheld_too_and_one_that_went_away_still() -> None:
    screen = OutputFilter((SECRET,))
    said = screen.feed(b"before ")
    screen.learn((b"later-value",))
    said += screen.feed(b"later-") + screen.feed(b"value and " + SECRET + b"\n")
    assert said + screen.finish() == b"before " + WITHHELD + b" and " + WITHHELD + b"\n"


def test_of_very_many_secrets_the_newest_are_looked_for() -> None:
    screen = OutputFilter(tuple(b"old-%d;" % number for number in range(MAX_SECRETS)))
    screen.learn((b"new;",))
    assert screen.feed(b"old-0;old-1;new;") + screen.finish() == b"old-0;" + WITHHELD * 2


def test_what_is_held_is_looked_up_when_it_changed_and_now_and_then() -> None:
    clock, version, looked = FakeClock(), [1], list[int]()

    def look() -> tuple[bytes, ...]:
        looked.append(version[0])
        return (b"v%d" % version[0],)

    held = Held(look, lambda: version[0], clock)
    assert held() is held()
    assert looked == [1]
    version[0] = 2
    assert held() == (b"v2",)
    assert looked == [1, 2]
    clock.seconds += LOOK_S
    held()
    assert looked == [1, 2, 2]
