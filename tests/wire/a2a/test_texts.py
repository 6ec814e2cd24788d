"""wire/a2a/texts.py: each hand-written check says the same as the grammar it stands for."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringwall.wire.a2a import texts

MODE = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}(/[a-z0-9][a-z0-9!#$&^_.+-]{0,126})?"
URI = r"[a-z][a-z0-9+.-]{0,31}:[!-\[\]-~]+"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z"
SCHEME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}"


def passes(check: Callable[[], None]) -> bool:
    try:
        check()
    except ValueError:
        return False
    return True


def near(grammar: str) -> st.SearchStrategy[str]:
    """Texts of the grammar, and texts one character away from it."""
    right = st.from_regex(grammar, fullmatch=True)
    wrong = st.builds(lambda text, at, one, cut: text[:at] + one + text[at + cut:], right, st.integers(0, 40),
                      st.text(max_size=1), st.integers(0, 1))
    return right | wrong | st.text(max_size=30)


@settings(max_examples=150, deadline=None)
@given(text=near(MODE))
@example(text="a" * 128)
@example(text="a/" + "b" * 127)
@example(text="text/plain\n")
def test_modes(text: str) -> None:
    assert passes(lambda: texts.mode(text, "x")) is (re.fullmatch(MODE, text) is not None)


@settings(max_examples=150, deadline=None)
@given(text=near(URI))
@example(text="a:")
@example(text="1:a")
@example(text="a" * 33 + ":b")
@example(text="ª:b")
def test_uris(text: str) -> None:
    right = re.fullmatch(URI, text) is not None and len(text) <= texts.MAX_URL
    assert passes(lambda: texts.uri(text, "x")) is right


@settings(max_examples=150, deadline=None)
@given(text=near(TIME) | st.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M:%S}Z".rjust(20, "0")))
@example(text="2026-01-31T12:00:00Z")
@example(text="2026-01-31T12:00:00.1234567890Z")
@example(text="2026-01-31T12:00:00.²Z")
def test_times(text: str) -> None:
    right = re.fullmatch(TIME, text) is not None and passes(lambda: exists(text))
    assert passes(lambda: texts.timestamp(text, "x")) is right


def exists(text: str) -> None:
    datetime.fromisoformat(text[:19] + "+00:00")


@settings(max_examples=150, deadline=None)
@given(text=near(SCHEME))
@example(text="a" * 65)
def test_schemes(text: str) -> None:
    assert passes(lambda: texts.scheme(text)) is (re.fullmatch(SCHEME, text) is not None)


@settings(max_examples=150, deadline=None)
@given(text=st.binary(max_size=12).map(lambda raw: base64.b64encode(raw).decode())
       | st.text("AB/+=-_ \n", max_size=10) | st.text(max_size=6))
@example(text="AB==")
@example(text="AAA=AAAA")
@example(text="AA==AAAA")
@example(text="AAAA=")
@example(text="AAAA====")
def test_base64(text: str) -> None:
    try:
        right = base64.b64encode(base64.b64decode(text, validate=True)) == text.encode("ascii")
    except ValueError:
        right = False
    assert passes(lambda: texts.canonical_base64(text, "x")) is right


@pytest.mark.parametrize(("depth", "right"), [(texts.MAX_FREE_DEPTH, True), (texts.MAX_FREE_DEPTH + 1, False)])
def test_free_json_may_be_as_deep_as_it_may_be(depth: int, right: bool) -> None:
    value: object = 1
    for _ in range(depth):
        value = [value]
    assert passes(lambda: texts.free(value, "x", 1000)) is right


@pytest.mark.parametrize(("number", "right"), [(9, True), (10, False)])
def test_free_json_may_have_as_many_values_as_it_may_have(number: int, right: bool) -> None:
    assert passes(lambda: texts.free({str(one): one for one in range(number)}, "x", 10)) is right
