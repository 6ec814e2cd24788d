"""A secret that an upstream gives back is found, however it comes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.models.echo import Echo, Echoed

SECRET = "sk-abcabcabd-0123456789"


def text(value: str, part: int = 0, kind: str = "text") -> dict[str, Any]:
    return {"part": part, "kind": kind, "text": value}


def run(echo: Echo, *reads: list[Any]) -> list[Any]:
    return [piece for read in reads for piece in echo.feed(read)] + echo.end()


def joined(pieces: list[Any]) -> str:
    return "".join(piece["text"] for piece in pieces)


@given(st.lists(st.text(alphabet="sk-abcd01", max_size=12), max_size=20))
def test_text_without_the_secret_comes_out_whole(deltas: list[str]) -> None:
    echo = Echo([f"Bearer {SECRET}"])
    assert joined(run(echo, *([text(one)] for one in deltas))) == "".join(deltas)


@given(st.text(max_size=30), st.text(max_size=30), st.lists(st.integers(0, 100), max_size=12))
def test_of_a_secret_in_pieces_not_one_character_leaves(before: str, after: str, cuts: list[int]) -> None:
    whole = before + SECRET + after
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    echo, out = Echo([SECRET]), list[Any]()
    with pytest.raises(Echoed):
        for start, stop in pairwise(places):
            out += echo.feed([text(whole[start:stop])])
        out += echo.end()
    assert joined(out) in whole.partition(SECRET)[0] or joined(out) == ""


def test_most_of_a_secret_at_the_end_of_a_part_counts_as_the_secret_and_a_little_does_not() -> None:
    with pytest.raises(Echoed):
        Echo([SECRET]).feed([text(SECRET[:15]), text("x", 1)])
    pieces = run(Echo([SECRET]), [text("a " + SECRET[:5])], [text("b", 0, "thinking")])
    assert pieces == [text("a "), text(SECRET[:5]), text("b", 0, "thinking")]


def test_texts_of_one_read_leave_as_one_and_other_pieces_keep_their_place() -> None:
    call = {"part": 1, "call": {"id": "c", "name": "f", "arguments": "{}"}}
    reads = [text("a"), text("b"), call, text("c", 2)]
    assert run(Echo([SECRET]), reads) == [text("ab"), call, text("c", 2)]


def test_a_secret_is_found_in_any_text_of_a_value_and_in_json_inside_of_it() -> None:
    escaped = json.dumps({"path": SECRET}).replace("a", "\\u0061")
    for value in ({"x": [SECRET]}, {SECRET: 1}, {"arguments": escaped}):
        with pytest.raises(Echoed):
            Echo([f"Bearer {SECRET}"]).check(value)
    Echo([SECRET]).check({"arguments": '{"a": "\\u0061"'})
    Echo(["short"]).check({"x": "short"})
