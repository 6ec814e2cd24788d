"""A chat completion put together: the canonical answer, and how it and its pieces name the same things."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringwall.call import Json
from ringwall.wire.models.chat_types import Counted
from ringwall.wire.models.pieces import Assembled, Called, Finish, Opened
from ringwall.wire.models.pieces import Counted as Tokens

FINISH: Final[Mapping[str, Finish]] = MappingProxyType(
    {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
     "content_filter": "content_filter"})
ENDINGS: Final[Mapping[Finish, str]] = MappingProxyType(
    {"length": "length", "context": "length", "tool_calls": "tool_calls", "content_filter": "content_filter",
     "refusal": "content_filter"})


def usage_of(counted: Counted | None) -> Json:
    """What a closing piece says of what the upstream counted."""
    if counted is None:
        return None
    cached = counted.prompt_tokens_details.cached_tokens if counted.prompt_tokens_details else None
    reasoning = counted.completion_tokens_details.reasoning_tokens if counted.completion_tokens_details else None
    return {"tokens_in": counted.prompt_tokens, "tokens_out": counted.completion_tokens, "cached": cached or 0,
            "reasoning": reasoning or 0, "estimated": counted.estimated}


def told_usage(tokens: Tokens | None) -> Json:
    """The ``usage`` member of an answer."""
    if tokens is None:
        return None
    usage: dict[str, Json] = {"prompt_tokens": tokens.tokens_in, "completion_tokens": tokens.tokens_out,
                              "total_tokens": tokens.tokens_in + tokens.tokens_out}
    if tokens.cached:
        usage["prompt_tokens_details"] = {"cached_tokens": tokens.cached}
    if tokens.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    if tokens.estimated:
        usage["estimated"] = True
    return usage


def call_of(call: Called) -> dict[str, Json]:
    """A tool call as an answer has it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def answer_of(answer: Assembled, opened: Opened) -> Json:
    """The canonical completion."""
    texts = {kind: "".join(part.text for part in answer.parts if part.kind == kind) for kind in ("text", "refusal")}
    calls = [call_of(part.call) for part in answer.parts if part.call is not None]
    message = {"role": "assistant", "content": texts["text"] or None, "refusal": texts["refusal"] or None,
               **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": ENDINGS.get(answer.finish, "stop")}
    usage = answer.finished.usage if answer.finished is not None else None
    return {"id": opened.id, "object": "chat.completion", "created": opened.created, "model": opened.model,
            "choices": [choice], "usage": told_usage(usage)}
