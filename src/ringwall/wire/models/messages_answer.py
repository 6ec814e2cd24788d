"""An Anthropic message put together: the canonical answer, and how it and its pieces name the same things."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire import strict
from ringwall.wire.models.checks import bad_answer
from ringwall.wire.models.collecting import Collector
from ringwall.wire.models.messages_types import Block, Counted, StopReason
from ringwall.wire.models.pieces import Assembled, Finish, Opened, Part
from ringwall.wire.models.pieces import Counted as Tokens

FINISH: Final[Mapping[StopReason, Finish]] = MappingProxyType(
    {"end_turn": "stop", "max_tokens": "length", "stop_sequence": "sequence", "tool_use": "tool_calls",
     "pause_turn": "pause", "refusal": "refusal", "model_context_window_exceeded": "context"})
ENDINGS: Final[Mapping[Finish, str]] = MappingProxyType(
    {"stop": "end_turn", "length": "max_tokens", "sequence": "stop_sequence", "tool_calls": "tool_use",
     "pause": "pause_turn", "refusal": "refusal", "content_filter": "refusal",
     "context": "model_context_window_exceeded"})
CUT: Final[frozenset[Finish]] = frozenset({"length", "context", "refusal"})  # the last call may be half written
SEARCHED: Final = frozenset({"server_tool_use", "web_search_tool_result"})  # what a search leaves in an answer


class Tally:
    """What is known of an answer as a whole: tokens, why it stopped, whether a call was cut off.

    Args:
        request: the canonical request it answers.

    """

    def __init__(self, request: Json) -> None:
        self._sequences: Json = request.get("stop_sequences", ())
        kinds = [str(tool.get("type", "")) for tool in request.get("tools", ())]
        self.searches = any(kind.startswith("web_search_") for kind in kinds)
        self.cut = False
        self.finish: Finish | None = None
        self.sequence = ""
        self._counted = Counted()

    def count(self, counted: Counted | None) -> None:
        """Take counts; what is not in them stays."""
        if counted is not None:
            news = {name: value for name, value in msgspec.structs.asdict(counted).items() if value is not None}
            self._counted = msgspec.structs.replace(self._counted, **news)

    def stop(self, reason: StopReason, sequence: str | None) -> None:
        """Why it stopped. A stop sequence that was not asked for is nobody's: it is left out."""
        self.finish = FINISH[reason]
        self.sequence = sequence if sequence is not None and sequence in self._sequences else ""

    @property
    def tokens(self) -> Json:
        """What a closing piece says of them."""
        counted = self._counted
        if counted.input_tokens is None or counted.output_tokens is None:
            return None
        cached = counted.cache_read_input_tokens or 0
        return {"tokens_in": counted.input_tokens + cached + (counted.cache_creation_input_tokens or 0),
                "tokens_out": counted.output_tokens, "cached": cached, "estimated": counted.estimated}

    @property
    def usage(self) -> Usage | None:
        """The same for accounts."""
        tokens = self.tokens
        return Usage(tokens_in=tokens["tokens_in"], tokens_out=tokens["tokens_out"]) if tokens else None


def close_of(made: Collector, tally: Tally) -> Json:
    """The closing piece. Raises BadInput (``bad_answer``) if a call is not whole and nothing explains it."""
    if tally.finish is None:
        raise bad_answer("the upstream's answer does not say why it stopped")
    if tally.cut and tally.finish not in CUT:
        raise bad_answer("a tool call's input is no JSON object")
    return made.close(tally.finish, tally.tokens, tally.sequence)


def block_pieces(made: Collector, tally: Tally, index: int, block: Block) -> list[Json]:
    """The pieces of a whole block. Raises BadInput."""
    match block.type:
        case "text":
            return made.text("text", index, block.text)
        case "thinking":
            return [*made.text("thinking", index, block.thinking),
                    *made.opaque(index, {"signature": block.signature})]
        case "redacted_thinking":
            return made.opaque(index, {"data": block.data})
        case "tool_use":
            return made.call(block.id, block.name, msgspec.json.encode(block.input).decode())
        case _:
            check_searched(tally, block)
            return []


def check_searched(tally: Tally, block: Block) -> None:
    """Raises BadInput if the provider ran something that the request did not ask for."""
    if not tally.searches or block.type not in SEARCHED or (block.type == "server_tool_use"
                                                            and block.name != "web_search"):
        raise bad_answer(f"the upstream's answer has a block that was not asked for: {block.type}")


def whole_input(written: str) -> str | None:
    """A call's input in one spelling; None if it is no JSON object. Raises nothing."""
    try:
        value = strict.parse((written or "{}").encode())
    except (BadInput, UnicodeEncodeError):
        return None
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else None


def told_usage(tokens: Tokens | None) -> Json:
    """The ``usage`` member of an answer. What was cached is not part of ``input_tokens`` here."""
    if tokens is None:
        return {"input_tokens": 0, "output_tokens": 0}
    return {"input_tokens": max(0, tokens.tokens_in - tokens.cached), "output_tokens": tokens.tokens_out,
            **({"cache_read_input_tokens": tokens.cached} if tokens.cached else {}),
            **({"estimated": True} if tokens.estimated else {})}


def block_of(part: Part) -> Json:
    """A block of an answer."""
    if part.call is not None:
        arguments = whole_input(part.call.arguments)
        if arguments is None:
            raise bad_answer("a tool call's input is no JSON object")
        return {"type": "tool_use", "id": part.call.id, "name": part.call.name,
                "input": msgspec.json.decode(arguments)}
    if part.kind == "thinking":
        return {"type": "thinking", "thinking": part.text, "signature": part.opaque.get("signature", "")}
    if part.kind == "opaque":
        if "signature" in part.opaque:  # the thinking itself was left out
            return {"type": "thinking", "thinking": "", "signature": part.opaque["signature"]}
        return {"type": "redacted_thinking", "data": part.opaque.get("data", "")}
    return {"type": "text", "text": part.text}


def answer_of(answer: Assembled, opened: Opened) -> Json:
    """The canonical message."""
    finished = answer.finished
    sequence = finished.sequence if finished is not None else ""
    return {"id": opened.id, "type": "message", "role": "assistant", "model": opened.model,
            "content": [block_of(part) for part in answer.parts], "stop_reason": ENDINGS[answer.finish],
            "stop_sequence": sequence or None,
            "usage": told_usage(finished.usage) if finished is not None and finished.usage is not None else None}
