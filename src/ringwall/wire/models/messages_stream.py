"""Streamed Anthropic messages: events in, pieces out, and back."""

from __future__ import annotations

import msgspec

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire import sse
from ringwall.wire.models.checks import bad_answer
from ringwall.wire.models.collecting import Collector, decoded
from ringwall.wire.models.errors import anthropic_error
from ringwall.wire.models.messages_answer import (
    ENDINGS,
    Tally,
    check_searched,
    close_of,
    told_usage,
    whole_input,
)
from ringwall.wire.models.messages_types import Block, Delta, MessageEvent
from ringwall.wire.models.pieces import (
    MAX_ARGUMENTS,
    Assembled,
    CallPiece,
    ClosePiece,
    OpaquePiece,
    OpenPiece,
    TextPiece,
    typed,
)
from ringwall.wire.sse import Event


class MessagesReader:
    """Events in, pieces out. See :class:`~ringwall.wire.models.interface.StreamReader`.

    Args:
        made: makes the pieces.
        tally: of a new answer.

    """

    def __init__(self, made: Collector, tally: Tally) -> None:
        self._made = made
        self._tally = tally
        self._open = self._done = False
        self._index = -1
        self._block: Block | None = None
        self._input: list[str] = []
        self._size = 0
        self._signature = ""

    @property
    def done(self) -> bool:
        """Whether the end marker came."""
        return self._done

    def feed(self, event: Event) -> list[Json]:
        """Take one event."""
        if self._done:
            raise bad_answer("an event comes after the end of the stream")
        if event.name == "ping" or not event.data:
            return []
        one = decoded(event.data, MessageEvent, "an event of the upstream's answer")
        match one.type:
            case "message_start":
                return self._start(one)
            case "content_block_start" if one.content_block is not None:
                return self._begin(one.index, one.content_block)
            case "content_block_delta" if one.delta is not None:
                return self._delta(one.index, one.delta)
            case "content_block_stop":
                return self._stop(one.index)
            case "message_delta" if one.delta is not None:
                self._tally.count(one.usage)
                if one.delta.stop_reason is not None:
                    self._tally.stop(one.delta.stop_reason, one.delta.stop_sequence)
            case "message_stop":
                self._done = True
            case "ping":
                pass
            case "error":
                raise bad_answer("the upstream's stream ends with an error")
            case _:
                raise bad_answer(f"the upstream's stream has an event that is not known: {one.type}")
        return []

    def end(self) -> tuple[list[Json], Usage | None]:
        """The closing piece."""
        if not self._done or not self._open or self._block is not None:
            raise BadInput("the upstream's stream ended before its end", code="truncated")
        return [close_of(self._made, self._tally)], self._tally.usage

    def _start(self, event: MessageEvent) -> list[Json]:
        if self._open or event.message is None or event.message.content:
            raise bad_answer("the upstream's stream begins twice, or not with an empty message")
        self._open = True
        self._tally.count(event.message.usage)
        return [self._made.opened(event.message.id, 0, event.message.model)]

    def _begin(self, index: int | None, block: Block) -> list[Json]:
        if not self._open or self._block is not None or index is None or index <= self._index:
            raise bad_answer("the blocks of the upstream's stream are out of order")
        self._index, self._block = index, block
        self._input, self._size, self._signature = [], 0, block.signature
        match block.type:
            case "text":
                return self._made.text("text", index, block.text)
            case "thinking":
                return self._made.text("thinking", index, block.thinking)
            case "redacted_thinking" | "tool_use":
                return []
            case _:
                check_searched(self._tally, block)
                return []

    def _delta(self, index: int | None, delta: Delta) -> list[Json]:
        block = self._block
        if block is None or index != self._index:
            raise bad_answer("the blocks of the upstream's stream are out of order")
        match (block.type, delta.type):
            case ("text", "text_delta"):
                return self._made.text("text", index, delta.text)
            case ("thinking", "thinking_delta"):
                return self._made.text("thinking", index, delta.thinking)
            case ("thinking", "signature_delta"):
                self._made.grow(len(delta.signature))
                self._signature += delta.signature
            case ("tool_use", "input_json_delta"):
                self._size += len(delta.partial_json)
                if self._size > MAX_ARGUMENTS:
                    raise BadInput("a tool call's arguments are larger than they may be", code="result_too_large")
                self._made.grow(len(delta.partial_json))
                self._input.append(delta.partial_json)
            case ("text", "citations_delta") | ("server_tool_use", "input_json_delta"):
                pass
            case _:
                raise bad_answer(f"a {block.type} block of the upstream's stream goes on as {delta.type}")
        return []

    def _stop(self, index: int | None) -> list[Json]:
        block, self._block = self._block, None
        if block is None or index != self._index:
            raise bad_answer("the blocks of the upstream's stream are out of order")
        match block.type:
            case "thinking":
                return self._made.opaque(index, {"signature": self._signature})
            case "redacted_thinking":
                return self._made.opaque(index, {"data": block.data})
            case "tool_use":
                return self._call(block)
            case _:
                return []

    def _call(self, block: Block) -> list[Json]:
        written = "".join(self._input)
        # Some upstreams give the input with the block's beginning.
        arguments = whole_input(written) if written else msgspec.json.encode(block.input).decode()
        if arguments is None:
            self._tally.cut = True  # only an answer that was cut off may have such a call; it is left out
            return []
        return self._made.call(block.id, block.name, arguments)


class MessagesWriter:
    """Pieces in, events out. See :class:`~ringwall.wire.models.interface.StreamWriter`."""

    def __init__(self) -> None:
        self._answer = Assembled()
        self._index = -1
        self._part: tuple[int, str] | None = None  # the block that is open: its part's number and kind

    def feed(self, piece: Json) -> bytes:
        """The events of one piece."""
        one = typed(piece)
        self._answer.add(one if not isinstance(one, TextPiece) else msgspec.structs.replace(one, text=""))
        match one:
            case OpenPiece():
                message: Json = {"id": one.open.id, "type": "message", "role": "assistant", "model": one.open.model,
                           "content": [], "stop_reason": None, "stop_sequence": None, "usage": told_usage(None)}
                return self._event("message_start", {"message": message})
            case TextPiece():
                kind = "thinking" if one.kind == "thinking" else "text"
                start = self._begin((one.part, kind), {"type": kind, kind: "",
                                                       **({"signature": ""} if kind == "thinking" else {})})
                return start + self._delta({"type": f"{kind}_delta", kind: one.text})
            case OpaquePiece():
                return self._opaque(one)
            case CallPiece():
                call = one.call
                start = self._begin((one.part, "call"), {"type": "tool_use", "id": call.id, "name": call.name,
                                                         "input": {}})
                delta = self._delta({"type": "input_json_delta", "partial_json": call.arguments})
                return start + delta + self._stop()
            case ClosePiece():
                sequence = one.close.sequence or None
                return self._stop() + self._event("message_delta", {
                    "delta": {"stop_reason": ENDINGS[self._answer.finish], "stop_sequence": sequence},
                    "usage": told_usage(one.close.usage)})

    def end(self) -> bytes:
        """The end marker."""
        if self._answer.finished is None:
            raise BadInput("the answer is not whole", code="truncated")
        return self._event("message_stop", {})

    def error(self, code: str, reason: str, record: str) -> bytes:
        """An error, which the SDKs raise."""
        return sse.event(anthropic_error(500, code, reason, record), name="error")

    def _opaque(self, piece: OpaquePiece) -> bytes:
        signature = piece.opaque.get("signature")
        if signature is None:
            data = piece.opaque.get("data", "")
            return self._begin((piece.part, "opaque"), {"type": "redacted_thinking", "data": data}) + self._stop()
        start = self._begin((piece.part, "thinking"), {"type": "thinking", "thinking": "", "signature": ""})
        return start + self._delta({"type": "signature_delta", "signature": signature}) + self._stop()

    def _begin(self, part: tuple[int, str], block: Json) -> bytes:
        """Begin a block, unless it is the one that is open."""
        if self._part == part:
            return b""
        before = self._stop()
        self._part = part
        self._index += 1
        return before + self._event("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: Json) -> bytes:
        return self._event("content_block_delta", {"index": self._index, "delta": delta})

    def _stop(self) -> bytes:
        if self._part is None:
            return b""
        self._part = None
        return self._event("content_block_stop", {"index": self._index})

    def _event(self, name: str, fields: dict[str, Json]) -> bytes:
        return sse.event(msgspec.json.encode({"type": name, **fields}), name=name)
