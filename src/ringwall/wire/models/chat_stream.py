"""Streamed chat completions: chunks in, pieces out, and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire import sse
from ringwall.wire.models.chat_answer import ENDINGS, FINISH, call_of, told_usage, usage_of
from ringwall.wire.models.chat_types import CallDelta, ChatChunk, ChunkChoice
from ringwall.wire.models.checks import bad_answer
from ringwall.wire.models.collecting import Collector, decoded
from ringwall.wire.models.errors import openai_object
from ringwall.wire.models.pieces import (
    MAX_ARGUMENTS,
    MAX_CALLS,
    Assembled,
    CallPiece,
    ClosePiece,
    Finish,
    OpenPiece,
    TextPiece,
    typed,
)
from ringwall.wire.sse import Event

_DONE: Final = b"[DONE]"


@dataclass(slots=True)
class _Call:
    """A tool call on its way."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])
    size: int = 0


class ChatReader:
    """Chunks in, pieces out. See :class:`~ringwall.wire.models.interface.StreamReader`."""

    def __init__(self, offered: frozenset[str]) -> None:
        self._made = Collector(offered)
        self._calls: dict[int, _Call] = {}
        self._open = False
        self._finish: Finish | None = None
        self._usage: Json = None
        self._done = False

    @property
    def done(self) -> bool:
        """Whether the end marker came."""
        return self._done

    def feed(self, event: Event) -> list[Json]:
        """Take one chunk."""
        if self._done:
            raise bad_answer("an event comes after the end of the stream")
        if event.data == _DONE:
            self._done = True
            return []
        if not event.data:
            return []
        chunk = decoded(event.data, ChatChunk, "a chunk of the upstream's answer")
        if chunk.usage is not None:
            self._usage = usage_of(chunk.usage)
        pieces: list[Json] = []
        for choice in chunk.choices:
            if not self._open:
                if not chunk.id or not chunk.model:
                    raise bad_answer("a streamed answer has no id or names no model")
                self._open = True
                pieces.append(self._made.opened(chunk.id, chunk.created, chunk.model))
            pieces += self._choice(choice)
        return pieces

    def end(self) -> tuple[list[Json], Usage | None]:
        """The closing piece."""
        if not self._done or self._finish is None:
            raise BadInput("the upstream's stream ended before its end", code="truncated")
        closing = [self._made.close(self._finish, self._usage)]
        if self._usage is None:
            return closing, None
        return closing, Usage(tokens_in=self._usage["tokens_in"], tokens_out=self._usage["tokens_out"])

    def _choice(self, choice: ChunkChoice) -> list[Json]:
        delta = choice.delta
        if self._finish is not None and (delta.content or delta.refusal or delta.tool_calls):
            raise bad_answer("a streamed answer goes on after it finished")
        pieces = self._made.text("text", "text", delta.content or "")
        pieces += self._made.text("refusal", "refusal", delta.refusal or "")
        for call in delta.tool_calls or ():
            self._call(call)
        if choice.finish_reason is not None and self._finish is None:
            self._finish = FINISH[choice.finish_reason]
            for _, made in sorted(self._calls.items()):
                pieces += self._made.call(made.id, made.name, "".join(made.arguments))
        return pieces

    def _call(self, delta: CallDelta) -> None:
        call = self._calls.setdefault(delta.index, _Call())
        if len(self._calls) > MAX_CALLS:
            raise bad_answer(f"an answer has more than {MAX_CALLS} tool calls")
        name = delta.function.name if delta.function is not None else None
        arguments = (delta.function.arguments if delta.function is not None else None) or ""
        if (delta.id and call.id not in ("", delta.id)) or (name and call.name not in ("", name)):
            raise bad_answer("two tool calls of an answer have the same place")
        call.id, call.name = call.id or delta.id or "", call.name or name or ""
        call.size += len(arguments)
        if call.size > MAX_ARGUMENTS:
            raise BadInput("a tool call's arguments are larger than they may be", code="result_too_large")
        self._made.grow(len(arguments))
        call.arguments.append(arguments)


class ChatWriter:
    """Pieces in, chunks out. See :class:`~ringwall.wire.models.interface.StreamWriter`.

    Args:
        counts: whether the client asked for the tokens: in a chunk of their own, after the last.

    """

    def __init__(self, *, counts: bool) -> None:
        self._counts = counts
        self._answer = Assembled()
        self._called = 0

    def feed(self, piece: Json) -> bytes:
        """The chunks of one piece."""
        one = typed(piece)
        # Texts are not kept: a stream is written once, and nothing of it is told again at its end.
        self._answer.add(one if not isinstance(one, TextPiece) else msgspec.structs.replace(one, text=""))
        match one:
            case OpenPiece():
                return self._chunk({"role": "assistant", "content": ""})
            case TextPiece(kind="text"):
                return self._chunk({"content": one.text})
            case TextPiece(kind="refusal"):
                return self._chunk({"refusal": one.text})
            case CallPiece():
                self._called += 1
                return self._chunk({"tool_calls": [{"index": self._called - 1, **call_of(one.call)}]})
            case ClosePiece():
                last = self._chunk({}, ENDINGS.get(self._answer.finish, "stop"))
                return last + (self._event([], told_usage(one.close.usage)) if self._counts else b"")
            case _:
                return b""

    def end(self) -> bytes:
        """The end marker."""
        if self._answer.finished is None:
            raise BadInput("the answer is not whole", code="truncated")
        return sse.event(_DONE)

    def error(self, code: str, reason: str, record: str) -> bytes:
        """An error, which the SDKs raise."""
        return sse.event(msgspec.json.encode({"error": openai_object(500, code, reason, record)}))

    def _chunk(self, delta: Json, finish: str | None = None) -> bytes:
        return self._event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], None)

    def _event(self, choices: Json, usage: Json) -> bytes:
        opened = self._answer.opened
        assert opened is not None  # noqa: S101 - Assembled refuses any other first piece
        chunk = {"id": opened.id, "object": "chat.completion.chunk", "created": opened.created,
                 "model": opened.model, "choices": choices, **({"usage": usage} if self._counts else {})}
        return sse.event(msgspec.json.encode(chunk))
