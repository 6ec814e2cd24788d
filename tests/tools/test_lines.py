"""Lines of a tool server's output, however the pipe cuts them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.tools.lines import Lines


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_the_cut_of_the_pieces_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    lines, found, at, turn = Lines(), list[bytes](), 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += lines.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    *whole, rest = data.split(b"\n")
    assert found == whole
    assert lines.pending == len(rest)


def test_a_line_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert Lines(limit=8).feed(b"12345678\n") == [b"12345678"]
    with pytest.raises(BadInput) as caught:
        Lines(limit=8).feed(b"123456789\n")
    assert caught.value.code == "line_too_long"


def test_an_endless_line_is_refused_before_it_ends() -> None:
    lines = Lines(limit=100)
    with pytest.raises(BadInput):
        for _ in range(20):
            lines.feed(b"x" * 10)
    assert lines.pending <= 110
