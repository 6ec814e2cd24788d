"""Streamed responses: events in, pieces out, and back."""

from __future__ import annotations

from typing import Final

import msgspec

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire import sse
from ringwall.wire.models.checks import bad_answer
from ringwall.wire.models.collecting import Collector, decoded
from ringwall.wire.models.errors import openai_object
from ringwall.wire.models.pieces import (
    Assembled,
    CallPiece,
    ClosePiece,
    Kind,
    OpaquePiece,
    OpenPiece,
    TextPiece,
    typed,
)
from ringwall.wire.models.responses_answer import (
    SEPARATOR,
    answer_of,
    check_searched,
    close_of,
    content_of,
    item_of,
    name_of,
    thought_begin,
    thought_end,
    thought_of,
    usage_of,
)
from ringwall.wire.models.responses_types import ItemAnswer, ResponseAnswer, ResponseEvent
from ringwall.wire.sse import Event

_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_FAILED: Final = frozenset({"error", "response.failed"})
_DELTAS: Final[dict[str, Kind]] = {"response.output_text.delta": "text", "response.refusal.delta": "refusal",
                  "response.reasoning_summary_text.delta": "thinking", "response.reasoning_text.delta": "thinking"}


class ResponsesReader:
    """Events in, pieces out. See :class:`~ringwall.wire.models.interface.StreamReader`.

    Texts are taken as they come; calls, and what ends a thought, when their item is whole. Then the item has to say
    what its deltas said.
    """

    def __init__(self, made: Collector, *, searches: bool) -> None:
        self._made = made
        self._searches = searches
        self._open = self._done = False
        self._index = -1
        self._item: ItemAnswer | None = None  # the one under way
        self._texts: dict[tuple[int, int], list[str]] = {}  # of the items under way, by item and part
        self._thought = 0  # the part of a summary that is under way
        self._calls = 0
        self._last: ResponseAnswer | None = None

    @property
    def done(self) -> bool:
        """Whether the end marker came."""
        return self._done

    def feed(self, event: Event) -> list[Json]:
        """Take one event."""
        if self._done:
            raise bad_answer("an event comes after the end of the stream")
        if not event.data:
            return []
        one = decoded(event.data, ResponseEvent, "an event of the upstream's answer")
        if one.type in _FAILED:
            raise bad_answer("the upstream's stream ends with an error")
        if one.type == "response.created":
            return self._start(one)
        if one.type in _DELTAS:
            return self._delta(one, _DELTAS[one.type])
        if one.type == "response.output_item.added" and one.item is not None:
            return self._begin(one.output_index, one.item)
        if one.type == "response.output_item.done" and one.item is not None:
            return self._whole(one.output_index, one.item)
        if one.type in _ENDS:
            self._done, self._last = True, one.response
        return []  # all others repeat what these say

    def end(self) -> tuple[list[Json], Usage | None]:
        """The closing piece."""
        last = self._last
        if not self._done or last is None or not self._open or self._item is not None:
            raise BadInput("the upstream's stream ended before its end", code="truncated")
        if sum(item.type == "function_call" for item in last.output) not in (0, self._calls):
            raise bad_answer("the upstream's last event has other tool calls than its stream")
        closing = close_of(self._made, last)
        if closing["close"]["finish"] == "stop" and self._calls:
            closing["close"]["finish"] = "tool_calls"
        counted = usage_of(last.usage)
        if counted is None:
            return [closing], None
        return [closing], Usage(tokens_in=counted["tokens_in"], tokens_out=counted["tokens_out"])

    def _start(self, event: ResponseEvent) -> list[Json]:
        if self._open or event.response is None:
            raise bad_answer("the upstream's stream begins twice, or with nothing")
        self._open = True
        return [self._made.opened(event.response.id, int(event.response.created_at), event.response.model)]

    def _begin(self, index: int, item: ItemAnswer) -> list[Json]:
        if not self._open or index <= self._index or self._item is not None:
            raise bad_answer("the items of the upstream's stream are out of order")
        if item.type not in ("message", "reasoning", "function_call"):
            check_searched(self._searches, item)
        self._index, self._item = index, item
        self._texts.clear()
        self._thought = 0
        return thought_begin(self._made, index, item) if item.type == "reasoning" else []

    def _delta(self, event: ResponseEvent, kind: Kind) -> list[Json]:
        item = self._item
        home = "reasoning" if kind == "thinking" else "message"
        if item is None or event.output_index != self._index or item.type != home:
            raise bad_answer("a text of the upstream's stream belongs to no item")
        if kind != "thinking":
            return self._text(kind, (event.output_index, event.content_index), event.delta)
        # Parts of a summary are one text here.
        place = (event.output_index, 0)
        part = event.summary_index or event.content_index
        gap = self._text(kind, place, SEPARATOR) if part == self._thought + 1 else []
        self._thought = part
        return gap + self._text(kind, place, event.delta)

    def _text(self, kind: Kind, place: tuple[int, int], text: str) -> list[Json]:
        if not text:
            return []
        self._texts.setdefault(place, []).append(text)
        return self._made.text(kind, (place[0],) if kind == "thinking" else place, text)

    def _whole(self, index: int, item: ItemAnswer) -> list[Json]:
        begun, self._item = self._item, None
        if begun is None or index != self._index or begun.type != item.type:
            raise bad_answer("the items of the upstream's stream are out of order")
        match item.type:
            case "message":
                pieces: list[Json] = []
                for place, part in enumerate(item.content or ()):
                    if part.type not in ("output_text", "refusal"):
                        raise bad_answer(f"a part of the upstream's answer is not known: {part.type}")
                    kind: Kind = "refusal" if part.type == "refusal" else "text"
                    pieces += self._rest(kind, (index, place), part.refusal if kind == "refusal" else part.text)
                if len(self._texts) > len(item.content or ()):
                    raise bad_answer("an item of the upstream's stream is not what its pieces were")
                return pieces
            case "reasoning":
                return self._rest("thinking", (index, 0), thought_of(item)) + thought_end(self._made, index, item)
            case "function_call":
                self._calls += 1
                return self._made.call(item.call_id, item.name, item.arguments)
            case _:
                return []

    def _rest(self, kind: Kind, place: tuple[int, int], text: str) -> list[Json]:
        """What of a text did not come as deltas: with some upstreams all of it."""
        told = "".join(self._texts.get(place, ()))
        if not text.startswith(told):
            raise bad_answer("an item of the upstream's stream is not what its pieces were")
        return self._text(kind, place, text[len(told):])


class ResponsesWriter:
    """Pieces in, events out. See :class:`~ringwall.wire.models.interface.StreamWriter`.

    Args:
        request: the canonical request.

    """

    def __init__(self, request: Json) -> None:
        self._request = request
        self._answer = Assembled()
        self._sequence = 0
        self._begun = 0  # parts of which the first event is out; all but the last are done

    def feed(self, piece: Json) -> bytes:
        """The events of one piece."""
        one = typed(piece)
        before = self._done() if self._begun and self._next(one) else b""
        self._answer.add(one)
        match one:
            case OpenPiece():
                return self._whole("response.created") + self._whole("response.in_progress")
            case TextPiece():
                return before + self._text(one)
            case OpaquePiece() | CallPiece():
                return before + (self._begin() if len(self._answer.parts) > self._begun else b"")
            case ClosePiece():
                return before

    def end(self) -> bytes:
        """The whole answer, once more."""
        finished = self._answer.finished
        if finished is None:
            raise BadInput("the answer is not whole", code="truncated")
        cut = finished.finish in ("length", "context", "content_filter", "refusal")
        return self._whole("response.incomplete" if cut else "response.completed")

    def error(self, code: str, reason: str, record: str) -> bytes:
        """An error. Its ``error`` member is what makes the SDK raise it."""
        return self._event("error", {"code": code, "message": reason, "param": None,
                                     "error": openai_object(500, code, reason, record)})

    def _next(self, piece: object) -> bool:
        """Whether a piece ends the part that is under way."""
        last = self._answer.parts[-1]
        if isinstance(piece, TextPiece) and piece.kind != "thinking":
            return piece.part != last.number or piece.kind != last.kind
        if isinstance(piece, TextPiece | OpaquePiece):
            return piece.part != last.number or last.kind not in ("thinking", "opaque")
        return True

    def _text(self, piece: TextPiece) -> bytes:
        begin = self._begin() if len(self._answer.parts) > self._begun else b""
        where = self._where()
        match piece.kind:
            case "thinking":
                if len(self._answer.parts[-1].texts) == 1:
                    begin += self._event("response.reasoning_summary_part.added", {
                        **where, "summary_index": 0, "part": {"type": "summary_text", "text": ""}})
                return begin + self._event("response.reasoning_summary_text.delta",
                                           {**where, "summary_index": 0, "delta": piece.text})
            case "refusal":
                return begin + self._event("response.refusal.delta", {**where, "content_index": 0,
                                                                      "delta": piece.text})
            case "text":
                return begin + self._event("response.output_text.delta",
                                           {**where, "content_index": 0, "delta": piece.text, "logprobs": []})

    def _begin(self) -> bytes:
        """The first events of the part that was just added."""
        self._begun = len(self._answer.parts)
        part = self._answer.parts[-1]
        item = item_of(part, "in_progress")
        added = {"output_index": self._begun - 1, "item": item}
        where = self._where()
        match part.kind:
            case "call":
                item["arguments"] = ""
                return self._event("response.output_item.added", added)
            case "opaque":
                return self._event("response.output_item.added", added)
            case "thinking":
                item["summary"] = []
                return self._event("response.output_item.added", added)
            case "text" | "refusal":
                item["content"] = []
                return self._event("response.output_item.added", added) + self._event(
                    "response.content_part.added", {**where, "content_index": 0, "part": content_of(part.kind, "")})

    def _done(self) -> bytes:
        """The last events of the part under way."""
        part, where = self._answer.parts[-1], self._where()
        events = b""
        match part.kind:
            case "call" if part.call is not None:
                written = part.call.arguments
                events = self._event("response.function_call_arguments.delta", {**where, "delta": written})
                events += self._event("response.function_call_arguments.done",
                                      {**where, "name": part.call.name, "arguments": written})
            case "thinking":
                events = self._event("response.reasoning_summary_text.done",
                                     {**where, "summary_index": 0, "text": part.text})
                events += self._event("response.reasoning_summary_part.done", {
                    **where, "summary_index": 0, "part": {"type": "summary_text", "text": part.text}})
            case "refusal":
                events = self._event("response.refusal.done", {**where, "content_index": 0, "refusal": part.text})
                events += self._event("response.content_part.done",
                                      {**where, "content_index": 0, "part": content_of("refusal", part.text)})
            case "text":
                events = self._event("response.output_text.done",
                                     {**where, "content_index": 0, "text": part.text, "logprobs": []})
                events += self._event("response.content_part.done",
                                      {**where, "content_index": 0, "part": content_of("text", part.text)})
            case _:
                pass
        return events + self._event("response.output_item.done",
                                    {"output_index": self._begun - 1, "item": item_of(part)})

    def _where(self) -> dict[str, Json]:
        part = self._answer.parts[-1]
        return {"output_index": self._begun - 1, "item_id": name_of(part)}

    def _whole(self, name: str) -> bytes:
        opened = self._answer.opened
        assert opened is not None  # noqa: S101 - Assembled refuses any other first piece
        return self._event(name, {"response": answer_of(self._answer, opened, self._request)})

    def _event(self, name: str, fields: dict[str, Json]) -> bytes:
        event = {"type": name, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return sse.event(msgspec.json.encode(event), name=name)
