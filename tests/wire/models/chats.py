"""A chat completion request and its answer, as tests of that wire begin."""

from __future__ import annotations

import json

from ringwall.call import Json, Usage
from ringwall.wire.models import wire

USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}


CHAT = wire("chat")
ASKED = {"messages": [USER], "tools": [FUNCTION]}


def parse_chat_response(data: bytes) -> tuple[Json, Usage | None]:
    return CHAT.parse_answer(data, ASKED)


def request(**more: Json) -> Json:
    return {"messages": [USER], **more}


def answer(**more: Json) -> Json:
    return {
        "id": "a1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        **more,
    }


def raw(value: Json) -> bytes:
    return json.dumps(value).encode()
