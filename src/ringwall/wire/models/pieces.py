"""The pieces of a streamed answer: one form between all readers and all writers, and between sidecar and core.

    {"open": {"id", "created", "model"}}          first
    {"part": n, "kind": "text" | "refusal" | "thinking", "text"}
    {"part": n, "call": {"id", "name", "arguments"}}           whole, whatever it came as
    {"part": n, "opaque": {name: text}}           what an agent gives back to the provider as it is
    {"close": {"finish", "usage", "sequence"}}    last

Part numbers never fall. A thinking part and the opaque pieces with its number, before or after, belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire import strict
from ringwall.wire.models.interface import MAX_RESPONSE
from ringwall.wire.models.shapes import Closed, Count, FunctionName, Identifier, Index, Text

MAX_CALLS: Final = 128  # tool calls in one answer: what OpenAI allows as tools
MAX_ARGUMENTS: Final = 1 << 20  # characters of one call's arguments: no tool call may be larger (wire/strict)
MAX_OPAQUE: Final = 1 << 20  # characters of one opaque text; encrypted reasoning has some 100 KB
MAX_TEXT: Final = 1 << 16  # characters of one text piece, so that no piece fills a frame
_DEPTH: Final = 4
# Kinds of a part, and of a text that goes on with it.
_SAME: Final = frozenset(
    {("text", "text"), ("refusal", "refusal"), ("thinking", "thinking"), ("opaque", "thinking")}
)

Kind: TypeAlias = Literal["text", "refusal", "thinking"]
Finish: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "sequence", "pause", "refusal", "context"
]


class Counted(Closed, frozen=True):
    """Tokens. ``cached`` are part of ``tokens_in``, ``reasoning`` part of ``tokens_out``."""

    tokens_in: Count
    tokens_out: Count
    cached: Count = 0
    reasoning: Count = 0
    estimated: bool = False

    @property
    def usage(self) -> Usage:
        return Usage(tokens_in=self.tokens_in, tokens_out=self.tokens_out)


class Opened(Closed, frozen=True):
    """Which answer this is. ``created``: seconds since the epoch, 0 where the provider does not say."""

    id: Identifier
    created: Count
    model: Identifier


class Called(Closed, frozen=True):
    """A tool call."""

    id: Identifier
    name: FunctionName
    arguments: Annotated[str, Meta(max_length=MAX_ARGUMENTS)]


class Finished(Closed, frozen=True):
    """How the answer ended. ``sequence``: which stop sequence, of those in the request, if one did."""

    finish: Finish
    usage: Counted | None
    sequence: Text = ""


class OpenPiece(Closed, frozen=True):
    """The first."""

    open: Opened


class TextPiece(Closed, frozen=True):
    """Some of a text."""

    part: Index
    kind: Kind
    text: Annotated[str, Meta(max_length=MAX_TEXT)]


class CallPiece(Closed, frozen=True):
    """A whole tool call."""

    part: Index
    call: Called


class OpaquePiece(Closed, frozen=True):
    """Provider's data that nobody else reads."""

    part: Index
    opaque: Annotated[
        dict[Annotated[str, Meta(max_length=32)], Annotated[str, Meta(max_length=MAX_OPAQUE)]], Meta(max_length=4)
    ]


class ClosePiece(Closed, frozen=True):
    """The last."""

    close: Finished


Piece: TypeAlias = OpenPiece | TextPiece | CallPiece | OpaquePiece | ClosePiece
_SHAPES: Final = {
    "open": OpenPiece, "kind": TextPiece, "call": CallPiece, "opaque": OpaquePiece, "close": ClosePiece
}


def parse_piece(raw: bytes) -> Json:
    """What is believed of a piece that a sidecar sends.

    Raises:
        BadInput: ``bad_answer``; ``result_too_large``.

    """
    if len(raw) > MAX_RESPONSE:
        raise BadInput(f"a piece has more than {MAX_RESPONSE} bytes", code="result_too_large")
    try:
        return as_json(typed(strict.parse(raw, max_bytes=MAX_RESPONSE, max_depth=_DEPTH)))
    except BadInput as fault:
        raise BadInput(f"a piece of an answer is malformed: {fault.cause}"[:300], code="bad_answer") from fault


def typed(value: Json) -> Piece:
    """A piece as a value. Raises BadInput (``bad_answer``)."""
    shape = next((shape for name, shape in _SHAPES.items() if isinstance(value, dict) and name in value), None)
    if shape is None:
        raise BadInput("a piece of an answer is none of those there are", code="bad_answer")
    try:
        return msgspec.convert(value, shape, strict=True)
    except msgspec.ValidationError as fault:
        raise BadInput(f"a piece of an answer is malformed: {fault}"[:300], code="bad_answer") from fault


def as_json(piece: Piece) -> Json:
    """A piece as JSON."""
    return msgspec.to_builtins(piece)


def text_pieces(part: int, kind: Kind, text: str) -> list[Json]:
    """The pieces of a text: none if it is empty."""
    return [{"part": part, "kind": kind, "text": text[at:at + MAX_TEXT]} for at in range(0, len(text), MAX_TEXT)]


def with_usage(piece: Json, usage: Usage) -> Json:
    """A closing piece that counts nothing, with an estimate; any other piece as it is."""
    one = typed(piece)
    if not isinstance(one, ClosePiece) or one.close.usage is not None:
        return piece
    counted = Counted(tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, estimated=True)
    return as_json(ClosePiece(close=msgspec.structs.replace(one.close, usage=counted)))


@dataclass(slots=True)
class Part:
    """One part of an answer: texts of one kind, a call, or opaque data, which a thinking part may have too."""

    number: int
    kind: Literal["text", "refusal", "thinking", "call", "opaque"]
    texts: list[str] = field(default_factory=list[str])
    call: Called | None = None
    opaque: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def text(self) -> str:
        return "".join(self.texts)


@dataclass(slots=True)
class Assembled:
    """All pieces of an answer put together. Raises BadInput (``bad_answer``) when they come out of order."""

    opened: Opened | None = None
    parts: list[Part] = field(default_factory=list[Part])
    finished: Finished | None = None

    def add(self, piece: Piece) -> None:
        """Add the next piece."""
        if isinstance(piece, OpenPiece):
            if self.opened is not None:
                raise BadInput("an answer opens twice", code="bad_answer")
            self.opened = piece.open
        elif self.opened is None or self.finished is not None:
            raise BadInput("a piece comes before the answer opens or after it closes", code="bad_answer")
        elif isinstance(piece, ClosePiece):
            self.finished = piece.close
        else:
            self._part(piece)

    def _part(self, piece: TextPiece | CallPiece | OpaquePiece) -> None:
        last = self.parts[-1] if self.parts else None
        if last is not None and piece.part < last.number:
            raise BadInput("the parts of an answer are out of order", code="bad_answer")
        again = last is not None and piece.part == last.number
        if isinstance(piece, TextPiece):
            if last is not None and again and (last.kind, piece.kind) in _SAME:
                last.kind = piece.kind
                last.texts.append(piece.text)
            else:
                self.parts.append(Part(piece.part, piece.kind, [piece.text]))
        elif isinstance(piece, CallPiece):
            self.parts.append(Part(piece.part, "call", call=piece.call))
        elif last is not None and again and last.kind in ("thinking", "opaque"):
            last.opaque.update(piece.opaque)
        else:
            self.parts.append(Part(piece.part, "opaque", opaque=dict(piece.opaque)))

    @property
    def called(self) -> bool:
        """Whether there is a tool call in it."""
        return any(part.kind == "call" for part in self.parts)

    @property
    def finish(self) -> Finish:
        """How it ended: never with tool calls when none is left."""
        finish = self.finished.finish if self.finished is not None else "stop"
        return "stop" if finish == "tool_calls" and not self.called else finish


def assembled(pieces: Sequence[Json]) -> tuple[Assembled, Opened]:
    """Put all pieces of an answer together. Raises BadInput: ``bad_answer``, ``truncated``."""
    answer = Assembled()
    for piece in pieces:
        answer.add(typed(piece))
    if answer.opened is None or answer.finished is None:
        raise BadInput("the answer is not whole", code="truncated")
    return answer, answer.opened
