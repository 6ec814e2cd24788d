"""What all readers of answers share: numbering parts, bounds, and that only offered tools are called."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.wire.models.checks import bad_answer
from ringwall.wire.models.interface import MAX_RESPONSE
from ringwall.wire.models.pieces import MAX_ARGUMENTS, MAX_CALLS, MAX_OPAQUE, Finish, Kind, text_pieces

MAX_PARTS: Final = 4096  # of one answer; the largest seen have some dozens
_T = TypeVar("_T")


class Collector:
    """Makes the pieces of one answer.

    Args:
        offered: names of the tools that the request offers.

    """

    def __init__(self, offered: frozenset[str]) -> None:
        self._offered = offered
        self._ids: set[str] = set()
        self._size = 0
        self._part = -1
        self._key: object = None

    def opened(self, id: str, created: int, model: str) -> Json:  # noqa: A002
        """The first piece."""
        return {"open": {"id": id, "created": created, "model": model}}

    def text(self, kind: Kind, key: object, text: str) -> list[Json]:
        """Pieces of a text. ``key``: another one begins another part. Raises BadInput (``result_too_large``)."""
        if not text:
            return []
        self.grow(len(text))
        return text_pieces(self._number(key), kind, text)

    def opaque(self, key: object, data: dict[str, str]) -> list[Json]:
        """The piece of provider's data. Raises BadInput."""
        if any(len(text) > MAX_OPAQUE for text in data.values()):
            raise BadInput("opaque data of an answer is larger than it may be", code="result_too_large")
        self.grow(sum(map(len, data.values())))
        return [{"part": self._number(key), "opaque": data}]

    def call(self, id: str, name: str, arguments: str) -> list[Json]:  # noqa: A002
        """The piece of a tool call. Raises BadInput: not offered, a second time, too many, too large."""
        if name not in self._offered:
            raise bad_answer(f"unoffered tool call: {name[:80]!r} is no tool that the request offers")
        if not id or id in self._ids:
            raise bad_answer("two tool calls of an answer have the same id, or one has none")
        if len(arguments) > MAX_ARGUMENTS:
            raise BadInput("a tool call's arguments are larger than they may be", code="result_too_large")
        self._ids.add(id)
        if len(self._ids) > MAX_CALLS:
            raise bad_answer(f"an answer has more than {MAX_CALLS} tool calls")
        return [{"part": self._number(object()), "call": {"id": id, "name": name, "arguments": arguments}}]

    def close(self, finish: Finish, usage: Json, sequence: str = "") -> Json:
        """The last piece."""
        return {"close": {"finish": finish, "usage": usage, **({"sequence": sequence} if sequence else {})}}

    def grow(self, characters: int) -> None:
        """Count what is kept of the answer. Raises BadInput (``result_too_large``)."""
        self._size += characters
        if self._size > MAX_RESPONSE:
            raise BadInput(f"an answer has more than {MAX_RESPONSE} characters", code="result_too_large")

    def _number(self, key: object) -> int:
        if self._key is not key and self._key != key:
            self._key = key
            self._part += 1
            if self._part > MAX_PARTS:
                raise bad_answer("an answer has too many parts")
        return self._part


def decoded(raw: bytes, shape: type[_T], what: str) -> _T:
    """One JSON text of an answer in its shape. Raises BadInput: ``bad_answer``, ``result_too_large``."""
    if len(raw) > MAX_RESPONSE:
        raise BadInput(f"{what} has more than {MAX_RESPONSE} bytes", code="result_too_large")
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise bad_answer(f"{what} is malformed: {fault}") from fault


def converted(value: Json, shape: type[_T], what: str) -> _T:
    """A JSON value of an answer in its shape. Raises BadInput: ``bad_answer``."""
    try:
        return msgspec.convert(value, shape, strict=True)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise bad_answer(f"{what} is malformed: {fault}") from fault
