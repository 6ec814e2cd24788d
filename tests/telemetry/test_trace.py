"""``traceparent``: what W3C Trace Context calls valid is read, all else is ignored, nothing raises."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.telemetry.trace import Context, parse, spelled

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEX = "0123456789abcdef"
# The grammar of section 3.2.2, written a second time, for version 00.
GRAMMAR = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def test_the_example_of_the_specification_is_read_and_spelled_again() -> None:
    found = parse(GOOD)
    assert found == Context(trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7", sampled=True)
    assert spelled(found) == GOOD
    unsampled = parse(GOOD[:-2] + "00")
    assert unsampled is not None
    assert not unsampled.sampled


@pytest.mark.parametrize("wrong", [
    "", "00", GOOD[:-1], GOOD + "0", GOOD + "-", GOOD + "-00", GOOD.upper(), " " + GOOD, GOOD + " ", GOOD + "\n",
    "ff" + GOOD[2:], "0g" + GOOD[2:], GOOD.replace("-", "_"), GOOD.replace("4bf92f", "4bF92f"),
    "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    GOOD[:-2] + "0x", "01" + GOOD[2:] + ".more", "00-4bf92f3577b34da6a3ce929d0e0e473６-00f067aa0ba902b7-01",
    "01" + GOOD[2:] + "-" + "x" * 600,
])
def test_what_is_not_valid_is_ignored(wrong: str) -> None:
    assert parse(wrong) is None


def test_a_later_version_is_read_as_far_as_this_one_goes() -> None:
    for later in ("01" + GOOD[2:], "cc" + GOOD[2:] + "-what-the-future-will-be-like"):
        found = parse(later)
        assert found is not None
        assert spelled(found) == GOOD


@given(st.text(alphabet=HEX, min_size=32, max_size=32), st.text(alphabet=HEX, min_size=16, max_size=16),
       st.booleans())
def test_every_context_comes_back(trace_id: str, span_id: str, sampled: bool) -> None:
    context = Context(trace_id=trace_id, span_id=span_id, sampled=sampled)
    valid = bool(trace_id.strip("0") and span_id.strip("0"))
    assert parse(spelled(context)) == (context if valid else None)


@given(st.one_of(st.text(max_size=80), st.text(alphabet=HEX + "-", min_size=54, max_size=56),
                 st.from_regex(r"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,3}\Z")))
def test_no_text_raises_and_version_00_is_exactly_the_grammar(text: str) -> None:
    found = parse(text)
    if text.startswith("00"):
        assert (found is not None) == bool(GRAMMAR.fullmatch(text))
    if found is not None:
        assert GRAMMAR.fullmatch(spelled(found))
