"""What the core believes of a sidecar that was taken over: the answer to this request, in order, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.models import provider

from ringwall.call import Chunk, Last, Usage
from ringwall.errors import BadInput
from ringwall.models.interface import Asked, asked
from ringwall.models.listening import Stream, Whole
from ringwall.wire.models import wire

BODY = b"x" * 400
OPEN = {"open": {"id": "a", "created": 1, "model": "m"}}
CLOSE = {"close": {"finish": "stop", "usage": None}}
DONE = Last(end="done", usage=Usage(seconds=2.0))


def text(part: int, value: str = "a") -> Any:
    return {"part": part, "kind": "text", "text": value}


def thought(part: int) -> Any:
    return {**text(part), "kind": "thinking"}


def call(part: int, name: str = "read", id_: str = "c") -> Any:
    return {"part": part, "call": {"id": id_, "name": name, "arguments": "{}"}}


def wanted(api: Any = "chat", **more: Any) -> Asked:
    request = wire(api).parse_request({**provider.request(api, stream=True, tools=("read",)), **more})
    return asked({"api": api, "request": request})


def heard(*pieces: Any, asks: Asked | None = None) -> list[Chunk | Last]:
    stream = Stream(asks or wanted(), BODY)
    made = [one for piece in pieces for one in stream.piece(json.dumps(piece).encode())]
    return made + stream.last(DONE)


def test_an_answer_in_order_is_believed() -> None:
    asks = wanted("messages")
    sealed = {"part": 1, "opaque": {"signature": "x"}}
    made = heard(OPEN, text(0), text(0), call(1), sealed, text(2), CLOSE, asks=asks)
    assert [one.whole for one in made if isinstance(one, Chunk)] == [True, False, False, True, True, False, True]
    assert isinstance(made[-1], Last)
    assert made[-1].usage == Usage(tokens_in=100, tokens_out=2, seconds=2.0)


@pytest.mark.parametrize(
    "pieces",
    [
        [text(0), CLOSE],
        [OPEN, OPEN, CLOSE],
        [OPEN, text(1), text(0), CLOSE],
        [OPEN, CLOSE, text(0)],
        [OPEN, CLOSE, CLOSE],
        [OPEN, text(0)],
        [],
        [OPEN, call(0, "rm_rf"), CLOSE],
        [OPEN, call(0), call(1), CLOSE],
        [OPEN, text(0), call(0), text(0), CLOSE],
        [OPEN, text(0), {**text(0), "kind": "refusal"}, CLOSE],
        [OPEN, text(0), {**text(1), "kind": "refusal"}, text(2), CLOSE],  # one text, to whoever reads the chat's
        [OPEN, text(0), text(1), CLOSE],
        [OPEN, thought(0), {"part": 0, "opaque": {"signature": "x"}}, thought(0), CLOSE],
        [OPEN, {"part": 0, "opaque": {"id": "x" * 257}}, CLOSE],
        [OPEN, {"text": "a"}, CLOSE],
        [OPEN, {**text(0), "more": 1}, CLOSE],
        [OPEN, ["text"], CLOSE],
        [OPEN, {"part": -1, "kind": "text", "text": "a"}, CLOSE],
    ],
)
def test_anything_else_is_no_answer(pieces: list[Any]) -> None:
    with pytest.raises(BadInput) as caught:
        heard(*pieces)
    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize(
    ("api", "choice"), [("chat", "none"), ("responses", "none"), ("messages", {"type": "none"})]
)
def test_where_no_tool_may_be_called_none_is(api: str, choice: Any) -> None:
    assert wanted(api).offered == {"read"}
    with pytest.raises(BadInput):
        heard(OPEN, call(0), CLOSE, asks=wanted(api, tool_choice=choice))


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    stream = Stream(wanted(), BODY)
    with pytest.raises(BadInput) as caught:
        stream.piece(raw)
    assert stream.misfit(caught.value.code).end == "failed"


@pytest.mark.parametrize("api", provider.APIS)
def test_the_end_of_an_answer_tells_what_it_cost(api: Any) -> None:
    whole = Whole(wanted(api), BODY)
    whole.piece(json.dumps(provider.answer(api, counted=False)).encode())
    chunk, last = whole.last(DONE)
    assert isinstance(chunk, Chunk) and chunk.value["usage"]["estimated"] is True
    assert isinstance(last, Last) and last.usage.tokens_in == 100
    unsent = Last(end="failed", error={"code": "upstream_limited", "reason": ""}, usage=Usage(seconds=1.0))
    assert Whole(wanted(api), BODY).last(unsent)[0].usage == Usage(seconds=1.0)  # type: ignore[union-attr]


def test_what_was_told_is_paid_for_also_if_it_is_said_that_nothing_was_sent() -> None:
    stream = Stream(wanted(), BODY)
    for piece in (OPEN, text(0, "a" * 400)):
        stream.piece(json.dumps(piece).encode())
    unsent = Last(end="failed", error={"code": "upstream_limited", "reason": ""}, usage=Usage(seconds=1.0))
    assert stream.last(unsent)[0].usage == Usage(tokens_in=100, tokens_out=100, seconds=1.0)  # type: ignore[union-attr]
