"""Stage 1: hidden characters are found and taken away, look-alikes folded, and every offset maps back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.guard import rules
from ringwall.guard.scanners.normalise import Normaliser

TRICKY = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(
            "a1 \n\u200b\u200d\ufe0f\u202e\U000e0041\U000e0110\u00e9\u0435\uff21\ufdfa\u0130\u1e9e\x1e\x7f\u0301❤"
        ),
    )
)


@pytest.fixture(scope="module")
def normaliser() -> Normaliser:
    return Normaliser(rules.load().confusables)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("i\u200bg\u200cnore", "ignore"),
        ("\u0456gn\u043er\u0435", "ignore"),
        ("\uff49\uff47\uff4e\uff4f\uff52\uff45", "ignore"),
        ("\U0001d422\U0001d420\U0001d427\U0001d428\U0001d42b\U0001d41e", "ignore"),
        ("i\u0336gn\u00f6re", "ignore"),
        ("\u0661\u0662\u0663", "123"),
        ("ig\x00no\x08re", "ignore"),
        ("plain text\n\twith lines", "plain text\n\twith lines"),
    ],
)
def test_look_alikes_and_breaks_become_plain_ascii(normaliser: Normaliser, text: str, plain: str) -> None:
    assert normaliser.normalise(text).plain == plain


@pytest.mark.parametrize(
    ("text", "rule", "spells"),
    [
        ("hi\U000e0069\U000e0067\U000e006e\U000e006f", "hidden.tag", "igno"),
        ("hi" + "".join(chr(0xE0100 + ord(c) - 16) for c in "send"), "hidden.selector", "send"),
        ("a\u202eb", "hidden.bidi", ""),
        ("pass\u200bword", "hidden.zero_width", ""),
        ("a\x1bb", "hidden.control", ""),
        ("soft\u00adhyphen", "hidden.zero_width", ""),
    ],
)
def test_what_a_reader_does_not_see_is_reported(normaliser: Normaliser, text: str, rule: str, spells: str) -> None:
    (found,) = normaliser.normalise(text).hidden
    assert (found.rule, found.spells) == (rule, spells)


@pytest.mark.parametrize(
    "text",
    [
        "love \u2764\ufe0f",
        "1\ufe0f\u20e3 first",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u05e9\u05dc\u05d5\u05dd\u200f!",
        "\ufefffirst",
        "caf\u00e9 \u2014 \u201cquoted\u201d",
        "\u4f60\u597d",
    ],
)
def test_ordinary_writing_hides_nothing(normaliser: Normaliser, text: str) -> None:
    assert not normaliser.normalise(text).hidden


def test_a_long_run_of_invisible_characters_counts_as_a_message(normaliser: Normaliser) -> None:
    few, many = (normaliser.normalise("a" + "\u200b\u200c" * n + "b").hidden[0] for n in (1, 8))
    assert few.score < many.score


@settings(max_examples=200, deadline=None)
@given(TRICKY)
def test_offsets_map_back_for_any_text(text: str) -> None:
    normaliser = Normaliser({"\u0435": "e"})
    view = normaliser.normalise(text)
    assert view.plain.isascii() and len(view.lowered) == len(view.plain)
    previous = 0
    for at in range(len(view.plain)):
        start, end = view.span(at, at + 1)
        assert end == start + 1  # one character of the view comes of exactly one of the original
        assert view.plain[at] in normaliser.normalise("x" + text[start] + "x").plain[1:-1]
        assert start >= previous
        previous = start
    for run in view.hidden:
        assert 0 <= run.start < run.end <= len(text)
    if view.plain:
        assert view.span(0, len(view.plain))[1] <= len(text)


@settings(max_examples=100, deadline=None)
@given(TRICKY)
def test_taking_hidden_runs_away_leaves_nothing_more_to_report(text: str) -> None:
    normaliser = Normaliser({})
    kept, at = [], 0
    for run in normaliser.normalise(text).hidden:
        kept.append(text[at : run.start])
        at = run.end
    rest = "".join([*kept, text[at:]])
    again = normaliser.normalise(rest)
    assert again.plain == normaliser.normalise(text).plain
