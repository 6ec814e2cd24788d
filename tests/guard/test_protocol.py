"""Core and guard believe each other only what verifies, and decode nothing that is not exactly a message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.guard.helpers import GITHUB, engine

from ringwall.errors import BadInput
from ringwall.guard.interface import Finding
from ringwall.guard.protocol import (
    MAX_ANSWER,
    VERSION,
    Answer,
    Forget,
    Hello,
    Ready,
    Scan,
    Span,
    StreamHash,
    answer_mac,
    encode,
    findings,
    from_core,
    from_guard,
    spans,
)
from ringwall.guard.service import Session

KEY = b"k" * 32
SCAN = Scan("s", 0, "prompt", ["a", "b"], [0], True)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=40).map(lambda b: encode(SCAN)[:20] + b),
        st.integers(0, 200).map(lambda n: encode(SCAN)[:n]),
    )
)
def test_any_bytes_are_a_message_or_bad_input(data: bytes) -> None:
    for decode in (from_core, from_guard):
        try:
            message = decode(data)
        except BadInput as fault:
            assert fault.code == "bad_guard_frame"
        else:
            assert decode(encode(message)) == message  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    NAMES,
    st.integers(0, 2**40),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=4),
    st.booleans(),
)
def test_what_one_side_sends_the_other_reads(stream: str, sequence: int, texts: list[str], final: bool) -> None:
    for direction in ("prompt", "tool_result", "response", "arguments"):
        scan = Scan(stream, sequence, direction, texts, list(range(len(texts))), final)
        assert from_core(encode(scan)) == scan


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91" * 5_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff" * 3,
        b"\x97\xa4scan\xa1s\x00\xa6prompt\xdd\x00\xff\xff\xff\x90\xc2",
        encode(SCAN) + b"\x00",
        encode(Forget("x" * 200)),
        encode(Hello(VERSION, b"short")),
        encode(Scan("s", -1, "prompt", [], [], True)),
        encode(Scan("s", 0, "sideways", [], [], True)),  # type: ignore[arg-type]
        encode(Scan("s", 0, "prompt", ["a"], [1], True)),
        encode(Scan("s", 0, "prompt", ["a", "b"], [1, 0], True)),
        encode(SCAN).replace(b"\xa1b", b"\xa1\xff"),
        encode(Scan("s", 0, "prompt", [], [], 1)),  # type: ignore[arg-type]
    ],
)
def test_bombs_and_near_misses_are_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        from_core(data)


def test_an_answer_that_is_too_long_is_not_decoded() -> None:
    with pytest.raises(BadInput):
        from_guard(b"\x00" * (MAX_ANSWER + 1))


def test_lone_surrogates_cannot_be_sent() -> None:
    with pytest.raises(BadInput, match="bad_text"):
        encode(Scan("s", 0, "prompt", ["\ud800"], [], True))


def answer(*found: Span) -> Answer:
    return Answer("s", 0, list(found), "0" * 64, bytes(32))


@pytest.mark.parametrize(
    "found",
    [
        [Span(2, 0, 1, "card", 1.0, "r")],
        [Span(0, 0, 6, "card", 1.0, "r")],
        [Span(0, 3, 3, "card", 1.0, "r")],
        [Span(0, 4, 2, "card", 1.0, "r")],
        [Span(0, 2, 4, "card", 1.0, "r"), Span(0, 0, 1, "card", 1.0, "r")],
        [Span(0, 0, 3, "card", 1.0, "r"), Span(0, 2, 4, "card", 1.0, "r")],
        [Span(0, 0, 1, "gold", 1.0, "r")],  # type: ignore[arg-type]
        [Span(1, 0, 1, "card", 1.0, "r"), Span(0, 0, 1, "email", 1.0, "r")],
        [Span(0, 0, 1, "card", float("nan"), "r")],
    ],
)
def test_spans_that_cannot_be_are_refused(found: list[Span]) -> None:
    with pytest.raises(BadInput):
        findings(answer(*found), [5, 5])


def test_spans_of_different_categories_may_overlap() -> None:
    one, two = Finding(0, 0, 4, "secret", 1.0, "r"), Finding(0, 2, 5, "email", 1.0, "r")
    assert findings(answer(*spans([one, two])), [5]) == (one, two)


def test_a_mac_changes_with_everything_an_answer_means() -> None:
    base = answer(Span(0, 0, 1, "card", 1.0, "r"))
    changed = [
        (KEY, b"y" * 32, "prompt", base),
        (b"j" * 32, b"x" * 32, "prompt", base),
        (KEY, b"x" * 32, "response", base),
        (KEY, b"x" * 32, "prompt", answer()),
        (KEY, b"x" * 32, "prompt", Answer("t", 0, base.findings, base.rules, base.mac)),
        (KEY, b"x" * 32, "prompt", Answer("s", 1, base.findings, base.rules, base.mac)),
        (KEY, b"x" * 32, "prompt", Answer("s", 0, base.findings, "1" * 64, base.mac)),
    ]
    macs = {answer_mac(key, running, direction, what) for key, running, direction, what in changed}  # type: ignore[arg-type]
    assert len(macs) == len(changed)
    assert answer_mac(KEY, b"x" * 32, "prompt", base) not in macs


def test_the_running_hash_knows_where_one_request_ends() -> None:
    one, two = StreamHash(), StreamHash()
    one.add(b"ab")
    two.add(b"a")
    assert one.add(b"c") != two.add(b"bc")


def ready() -> Session:
    session = Session(engine())
    greeting = from_guard(session.handle(encode(Hello(VERSION, KEY))) or b"")
    assert isinstance(greeting, Ready) and greeting.rules == engine().version and not greeting.degraded
    return session


def test_the_service_answers_with_spans_bound_to_the_bytes_and_never_with_text() -> None:
    payload = encode(Scan("s", 0, "arguments", [f"use {GITHUB}"], [], True))
    raw = ready().handle(payload) or b""
    said = from_guard(raw)
    assert isinstance(said, Answer) and [s.category for s in said.findings] == ["secret"]
    assert said.mac == answer_mac(KEY, StreamHash().add(payload), "arguments", said)
    assert GITHUB.encode() not in raw


def test_the_service_refuses_a_stream_out_of_step_and_text_over_its_limits() -> None:
    session = ready()
    for scan, code in (
        (Scan("s", 1, "prompt", [], [], False), "guard_out_of_step"),
        (Scan("t", 0, "prompt", ["a" * 300_000], [], False), "guard_limit"),
    ):
        said = from_guard(session.handle(encode(scan)) or b"")
        assert said.code == code  # type: ignore[union-attr]


def test_the_service_holds_a_bounded_number_of_streams() -> None:
    session, codes = ready(), []
    for number in range(4097):
        said = from_guard(session.handle(encode(Scan(f"s{number}", 0, "prompt", [], [], False))) or b"")
        codes.append(getattr(said, "code", "answered"))
    assert codes == ["answered"] * 4096 + ["guard_overloaded"]
    assert session.handle(encode(Forget("s0"))) is None
    assert isinstance(from_guard(session.handle(encode(Scan("new", 0, "prompt", [], [], False))) or b""), Answer)


@pytest.mark.parametrize("first", [encode(SCAN), encode(Hello(VERSION + 1, KEY)), b"nonsense"])
def test_the_service_ends_when_the_core_breaks_the_protocol(first: bytes) -> None:
    with pytest.raises(BadInput):
        Session(engine()).handle(first)


def test_a_second_key_is_refused() -> None:
    session = ready()
    with pytest.raises(BadInput):
        session.handle(encode(Hello(VERSION, b"e" * 32)))
