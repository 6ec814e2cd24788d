"""Streamed text: whatever the pieces, no character of a withheld value leaves, and the rest arrives whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.guard.helpers import CARD, GITHUB, IBAN, engine

from ringwall.errors import BadInput
from ringwall.guard.interface import Category
from ringwall.guard.strings import ranges, redact
from ringwall.guard.window import HOLD, MAX_HELD, HoldBack

WITHHELD: frozenset[Category] = frozenset({"secret", "card", "iban", "email"})
LONG = "k9QxZ2mV7bT4nR8wL3cJ6yH1dF5sG0aPeUiOvBqXzMt8Wn2Kr5Yj7Lh3Df6Sg1Pc4"
PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join([LONG[:64]] * 20) + "\n-----END PRIVATE KEY-----"
JWT = "eyJ" + LONG * 3 + ".eyJ" + LONG * 5 + "." + LONG
PLANTED = [GITHUB, CARD, IBAN, "ann.lee@mail.example", PEM, JWT, "sk-ant-api03-" + LONG * 2]
FILLER = [
    "The plan is ready and waits for a look. ",
    "Zahlen: 12, 34 und 56. ",
    "\u3053\u308c\u306f\u6587\u7ae0\u3067\u3059\u3002",
    "\n\n- item one\n- item two\n",
    "a " * 70,
    "password is kept elsewhere; ",
]


def stream(pieces: list[str]) -> list[str]:
    window = HoldBack(WITHHELD)
    out = [window.give(engine().scan([window.take(piece)])) for piece in pieces]
    out.append(window.give(engine().scan([window.take("")]), last=True))
    return out


def whole(text: str) -> str:
    return redact(text, ranges([f for f in engine().scan([text]) if f.category in WITHHELD]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(FILLER), st.sampled_from([*PLANTED, ""]), st.sampled_from(FILLER)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(1, 400), min_size=1, max_size=30),
)
def test_a_stream_is_redacted_as_the_whole_text_would_be_for_any_pieces(
    parts: list[tuple[str, str, str]], sizes: list[int]
) -> None:
    text = "".join(f"{a}{secret} {b}" for a, secret, b in parts)
    pieces, at, number = [], 0, 0
    while at < len(text):
        size = sizes[number % len(sizes)]
        pieces.append(text[at : at + size])
        at, number = at + size, number + 1
    assert "".join(stream(pieces)) == whole(text)


@pytest.mark.parametrize("secret", PLANTED)
def test_one_character_at_a_time_leaks_not_one_character(secret: str) -> None:
    before, after = "The value you asked for is ", " and that is all there is to say about it. " * 6
    out = "".join(stream(list(before + secret + after)))
    assert out.startswith(before + "[") and out.endswith(after) and "withheld]" in out
    assert " " not in out[len(before) : -len(after)].replace(" withheld]", "")
    for start in range(len(secret) - 5):
        assert secret[start : start + 6] not in out


def test_harmless_text_comes_through_whole_and_late_by_the_hold_only() -> None:
    text = "word " * 200
    out = stream([text[i : i + 10] for i in range(0, len(text), 10)])
    assert "".join(out) == text
    arrived = 0
    for number, piece in enumerate(out[:-1]):
        arrived += len(piece)
        assert (number + 1) * 10 - arrived <= HOLD + 5


def test_a_word_that_never_ends_is_refused() -> None:
    window = HoldBack(WITHHELD)
    with pytest.raises(BadInput, match="guard_limit"):
        for _ in range(MAX_HELD // 512 + 2):
            window.take("A1b2" * 128)
            window.give([])
