"""What an answer of a tool becomes."""

from __future__ import annotations

import pytest

from ringwall.errors import BadInput
from ringwall.tools import builtin, values

A = {"type": "text", "text": "a"}
B = {"type": "text", "text": "b"}
PICTURE = {"type": "image", "data": "", "mimeType": "image/png"}


@pytest.mark.parametrize(
    ("content", "structured", "value"),
    [
        ([A], {"result": 5}, 5),
        ([A], {"result": None}, None),
        ([A], {"result": 1, "more": 2}, {"result": 1, "more": 2}),
        ([A], {"sum": 3}, {"sum": 3}),
        ([A], [1], [1]),
        ([A], {}, {}),
        ([A], None, "a"),
        ([A, B], None, [A, B]),
        ([PICTURE], None, [PICTURE]),
        ([], None, []),
    ],
)
def test_the_plainest_form_that_loses_nothing(content: list[object], structured: object, value: object) -> None:
    assert values.plain(content, structured) == value


def test_error_text_is_the_text_blocks_and_capped() -> None:
    assert values.error_text([A, PICTURE, B]) == "a\nb"
    assert len(values.error_text([{"type": "text", "text": "x" * 100_000}])) == values.MAX_ERROR_TEXT


def test_echo_returns_its_text_and_takes_nothing_else() -> None:
    assert builtin.call("echo", "echo", {"text": "hi"}) == {"text": "hi"}
    assert [tool["name"] for tool in builtin.definitions("echo")] == ["echo"]
    for op, args in (("echo", {}), ("echo", {"text": 1}), ("echo", {"text": "a", "b": 1}), ("echo", []), ("x", {})):
        with pytest.raises(BadInput):
            builtin.call("echo", op, args)
