"""What three providers' interfaces say, as their documentation has it: whole answers and streams of events."""

from __future__ import annotations

import json
from typing import Any

APIS = ("chat", "responses", "messages")
PATHS = {"chat": "/chat/completions", "responses": "/responses", "messages": "/messages"}
_CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "real-name"}
Called = tuple[str, str, str]  # id, name, arguments


def request(api: str, text: str = "hi", *, stream: bool = False, tools: tuple[str, ...] = ()) -> dict[str, Any]:
    """A request as an agent sends it."""
    more: dict[str, Any] = {"stream": True} if stream else {}
    parameters = {"type": "object"}
    match api:
        case "chat":
            functions = [{"type": "function", "function": {"name": n, "parameters": parameters}} for n in tools]
            body = {"messages": [{"role": "user", "content": text}]}
        case "responses":
            functions = [{"type": "function", "name": n, "parameters": parameters, "strict": False} for n in tools]
            body = {"input": [{"role": "user", "content": text}]}
        case _:
            functions = [{"name": n, "input_schema": parameters} for n in tools]
            body = {"messages": [{"role": "user", "content": text}], "max_tokens": 50}
    return {"model": "main", **body, **({"tools": functions} if tools else {}), **more}


def answer(
    api: str, text: str = "hello", calls: tuple[Called, ...] = (), *, counted: bool = True
) -> dict[str, Any]:
    """A whole answer."""
    match api:
        case "chat":
            asked = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
            message = {"role": "assistant", "content": text, **({"tool_calls": asked} if calls else {})}
            choice = {"index": 0, "finish_reason": "tool_calls" if calls else "stop", "message": message}
            usage: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
            made = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "real-name",
                    "choices": [choice], "service_tier": "dropped"}
        case "responses":
            usage = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
            made = {**_response("completed"), "output": [_message(text), *map(_function, calls)]}
        case _:
            usage = {"input_tokens": 11, "output_tokens": 7}
            uses = [{"type": "tool_use", "id": i, "name": n, "input": json.loads(a)} for i, n, a in calls]
            made = {"id": "msg_1", "type": "message", "role": "assistant", "model": "real-name",
                    "content": [{"type": "text", "text": text}, *uses], "stop_sequence": None,
                    "stop_reason": "tool_use" if calls else "end_turn"}
    return {**made, "usage": usage} if counted else made


def events(api: str, deltas: list[str], calls: tuple[Called, ...] = (), *, counted: bool = True) -> list[bytes]:
    """A streamed answer, event by event; the arguments of calls come in two pieces."""
    return {"chat": _chat, "responses": _responses, "messages": _messages}[api](deltas, calls, counted)


def _chat(deltas: list[str], calls: tuple[Called, ...], counted: bool) -> list[bytes]:
    def chunk(delta: Any, finish: str | None = None) -> bytes:
        return _data(None, {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    out = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in deltas)]
    for place, (id_, name, arguments) in enumerate(calls):
        function = {"name": name, "arguments": arguments[:3]}
        out.append(chunk({"tool_calls": [{"index": place, "id": id_, "type": "function", "function": function}]}))
        out.append(chunk({"tool_calls": [{"index": place, "function": {"arguments": arguments[3:]}}]}))
    out.append(chunk({}, "tool_calls" if calls else "stop"))
    if counted:
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        out.append(_data(None, {**_CHUNK, "choices": [], "usage": usage}))
    return [*out, b"data: [DONE]\n\n"]


def _responses(deltas: list[str], calls: tuple[Called, ...], counted: bool) -> list[bytes]:
    def event(name: str, **fields: Any) -> bytes:
        return _data(name, {"type": name, "sequence_number": 0, **fields})

    text, at = "".join(deltas), {"output_index": 0, "content_index": 0, "item_id": "m1"}
    out = [event("response.created", response=_response("in_progress")),
           event("response.output_item.added", output_index=0, item={**_message(""), "content": []}),
           event("response.content_part.added", **at, part={"type": "output_text", "text": "", "annotations": []}),
           *(event("response.output_text.delta", **at, delta=one) for one in deltas),
           event("response.output_text.done", **at, text=text),
           event("response.output_item.done", output_index=0, item=_message(text))]
    for place, call in enumerate(calls, 1):
        empty = {**_function(call), "arguments": ""}
        out.append(event("response.output_item.added", output_index=place, item=empty))
        out += [event("response.function_call_arguments.delta", output_index=place, item_id="f", delta=piece)
                for piece in (call[2][:3], call[2][3:])]
        out.append(event("response.output_item.done", output_index=place, item=_function(call)))
    usage = {"usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}} if counted else {}
    whole = {**_response("completed"), "output": [_message(text), *map(_function, calls)], **usage}
    return [*out, event("response.completed", response=whole)]


def _messages(deltas: list[str], calls: tuple[Called, ...], counted: bool) -> list[bytes]:
    def event(name: str, **fields: Any) -> bytes:
        return _data(name, {"type": name, **fields})

    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "real-name", "content": [],
             "stop_reason": None, "stop_sequence": None, **({"usage": {"input_tokens": 11, "output_tokens": 1}}
                                                            if counted else {})}
    out = [event("message_start", message=start), event("ping"),
           event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
           *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": one}) for one in deltas),
           event("content_block_stop", index=0)]
    for place, (id_, name, arguments) in enumerate(calls, 1):
        block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
        out.append(event("content_block_start", index=place, content_block=block))
        for piece in (arguments[:3], arguments[3:]):
            delta = {"type": "input_json_delta", "partial_json": piece}
            out.append(event("content_block_delta", index=place, delta=delta))
        out.append(event("content_block_stop", index=place))
    usage = {"usage": {"output_tokens": 7}} if counted else {}
    stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    return [*out, event("message_delta", delta=stop, **usage), event("message_stop")]


def _response(status: str) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "real-name",
            "output": [], "instructions": "dropped"}


def _message(text: str) -> dict[str, Any]:
    return {"type": "message", "id": "m1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]}


def _function(call: Called) -> dict[str, Any]:
    return {"type": "function_call", "id": "f" + call[0], "call_id": call[0], "name": call[1], "arguments": call[2],
            "status": "completed"}


def _data(name: str | None, value: Any) -> bytes:
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
