"""The three APIs that the office's model speaks: a request becomes a context, a move becomes an answer or events.

OpenAI's chat completions and responses, Anthropic's messages. Written from what the SDKs accept, and with nothing
of Ringwall's own wires: what one side gets wrong, the other must notice.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, cast

from ringwall.redteam.office.obeying import Context, Move

_PIECE: Final = 12  # characters of an event: arguments and words come cut anywhere
Json = dict[str, Any]
Events = Iterator[tuple[str, Json | str]]  # name ("": none) and data


class Declined(ValueError):
    """A request that this provider does not serve. ``code``: as the client knows it."""

    def __init__(self, text: str, *, code: str) -> None:
        super().__init__(text)
        self.code = code


class Wire(Protocol):
    """One API."""

    def read(self, request: Json) -> Context:
        """What the model is shown. Raises Declined; on what is no request, whatever Python does."""
        ...

    def whole(self, move: Move, context: Context) -> Json:
        """Its answer in one."""
        ...

    def events(self, answer: Json, context: Context) -> Events:
        """The same answer as a stream."""
        ...


def text_of(content: Any) -> str:
    """The text of a message: a string, or the texts of its parts."""
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in cast("list[Any]", content))
    if isinstance(content, dict):
        block = cast("Json", content)
        return str(block.get("text") or "") or text_of(block.get("content"))
    return str(content or "")


def _objects(value: Any) -> list[Json]:
    return value or []


def _described(request: Json) -> list[str]:
    """What the functions say of themselves, over each of the APIs."""
    return [str((tool.get("function") or tool).get("description") or "") for tool in _objects(request.get("tools"))]


def _searches(request: Json) -> bool:
    """Whether one of its tools is the provider's own search."""
    return any(str(tool.get("type", "")).startswith("web_search") for tool in _objects(request.get("tools")))


def _new(prefix: str) -> str:
    return prefix + secrets.token_hex(12)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


class Chat:
    """OpenAI's chat completions."""

    def read(self, request: Json) -> Context:
        """Messages; a tool's result is a message of its own."""
        messages: list[Json] = request["messages"]
        options: Json = request.get("stream_options") or {}
        calls = [call for message in messages for call in _objects(message.get("tool_calls"))]
        return Context(
            model=request["model"],
            stream=bool(request.get("stream")),
            usage=bool(options.get("include_usage")),
            offered=[tool["function"]["name"] for tool in _objects(request.get("tools")) if "function" in tool],
            texts=[text_of(message.get("content")) for message in messages if message["role"] != "assistant"],
            asked=[(call["id"], call["function"]["name"]) for call in calls],
            results={one["tool_call_id"]: text_of(one["content"]) for one in messages if one["role"] == "tool"},
            described=_described(request),
            searches="web_search_options" in request,
        )

    def whole(self, move: Move, context: Context) -> Json:
        """One choice."""
        message: Json = {"role": "assistant", "content": None if move.name else move.text, "refusal": None}
        if move.name:
            called = {"name": move.name, "arguments": move.arguments}
            message["tool_calls"] = [{"id": _new("call_"), "type": "function", "function": called}]
        used = {
            "prompt_tokens": context.tokens, "completion_tokens": move.tokens,
            "total_tokens": context.tokens + move.tokens,
        }  # fmt: skip
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if move.name else "stop"}
        return {
            "id": _new("chatcmpl-"), "object": "chat.completion", "created": int(time.time()),
            "model": context.model, "choices": [choice], "usage": used,
        }  # fmt: skip

    def events(self, answer: Json, context: Context) -> Events:
        """Chunks, and the word ``[DONE]``."""
        head = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
        choice = answer["choices"][0]
        message = choice["message"]

        def chunk(delta: Json, finish: str | None = None) -> tuple[str, Json]:
            return "", {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

        yield chunk({"role": "assistant", "content": None if "tool_calls" in message else ""})
        for call in _objects(message.get("tool_calls")):
            named: Json = {**call, "function": {**call["function"], "arguments": ""}}
            yield chunk({"tool_calls": [{"index": 0, **named}]})
            for piece in _pieces(call["function"]["arguments"]):
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        for piece in _pieces(message["content"] or ""):
            yield chunk({"content": piece})
        yield chunk({}, choice["finish_reason"])
        if context.usage:
            yield "", {**head, "choices": [], "usage": answer["usage"]}
        yield "", "[DONE]"


class Responses:
    """OpenAI's responses."""

    def read(self, request: Json) -> Context:
        """Items; a call and its result are items of their own."""
        given = request["input"]
        items: list[Json] = [{"role": "user", "content": given}] if isinstance(given, str) else given
        told = [str(request.get("instructions") or "")]
        for item in items:
            if item.get("type") == "function_call_output":
                told.append(text_of(item["output"]))
            elif item.get("role", "assistant") != "assistant":
                told.append(text_of(item["content"]))
        return Context(
            model=request["model"],
            stream=bool(request.get("stream")),
            usage=True,
            offered=[tool["name"] for tool in _objects(request.get("tools")) if tool["type"] == "function"],
            texts=told,
            asked=[(one["call_id"], one["name"]) for one in items if one.get("type") == "function_call"],
            results={
                one["call_id"]: text_of(one["output"])
                for one in items
                if one.get("type") == "function_call_output"
            },
            described=_described(request),
            searches=_searches(request),
        )

    def whole(self, move: Move, context: Context) -> Json:
        """One output item."""
        item: Json
        if move.name:
            item = {
                "type": "function_call", "id": _new("fc_"), "call_id": _new("call_"), "status": "completed",
                "name": move.name, "arguments": move.arguments,
            }  # fmt: skip
        else:
            said: Json = {"type": "output_text", "text": move.text, "annotations": [], "logprobs": []}
            item = {
                "type": "message", "id": _new("msg_"), "status": "completed", "role": "assistant",
                "content": [said],
            }  # fmt: skip
        return {
            "id": _new("resp_"), "object": "response", "created_at": int(time.time()), "status": "completed",
            "model": context.model, "output": [item], "parallel_tool_calls": True, "tool_choice": "auto",
            "tools": [], "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
            "temperature": 1.0, "top_p": 1.0,
            "usage": {
                "input_tokens": context.tokens, "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": move.tokens, "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": context.tokens + move.tokens,
            },
        }  # fmt: skip

    def events(self, answer: Json, context: Context) -> Events:
        """Numbered events; the last one has the answer again."""
        begun: Json = {**answer, "status": "in_progress", "output": [], "usage": None}
        bodies: list[tuple[str, Json]] = [
            ("response.created", {"response": begun}),
            ("response.in_progress", {"response": begun}),
        ]
        for item in answer["output"]:
            bodies += self._item(item)
        bodies.append(("response.completed", {"response": answer}))
        for number, (name, body) in enumerate(bodies):
            yield name, {"type": name, "sequence_number": number, **body}

    def _item(self, item: Json) -> list[tuple[str, Json]]:
        place = {"item_id": item["id"], "output_index": 0}
        empty: Json = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
        added: Json = {"output_index": 0, "item": {**item, "status": "in_progress", **empty}}
        if item["type"] == "function_call":
            name, whole = "response.function_call_arguments", item["arguments"]
            inside = [
                *((f"{name}.delta", {**place, "delta": piece}) for piece in _pieces(whole)),
                (f"{name}.done", {**place, "arguments": whole, "name": item["name"]}),
            ]
        else:
            part, place = item["content"][0], {**place, "content_index": 0}
            logs: Json = {"logprobs": []}
            inside = [
                ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
                *(
                    ("response.output_text.delta", {**place, **logs, "delta": piece})
                    for piece in _pieces(part["text"])
                ),
                ("response.output_text.done", {**place, **logs, "text": part["text"]}),
                ("response.content_part.done", {**place, "part": part}),
            ]
        done = {"output_index": 0, "item": item}
        return [("response.output_item.added", added), *inside, ("response.output_item.done", done)]


class Messages:
    """Anthropic's messages."""

    def read(self, request: Json) -> Context:
        """Messages of blocks; results stand in the user's."""
        if request.get("thread") is not None:  # the SDK then sends the whole conversation, as without that beta
            raise Declined("thread is not served here", code="thread_unsupported_request")
        blocks = [
            (message["role"], block)
            for message in request["messages"]
            for block in (
                message["content"]
                if isinstance(message["content"], list)
                else [{"type": "text", "text": message["content"]}]
            )
        ]
        told = [text_of(block) for role, block in blocks if role != "assistant"]
        return Context(
            model=request["model"],
            stream=bool(request.get("stream")),
            usage=True,
            offered=[tool["name"] for tool in _objects(request.get("tools"))],
            texts=[text_of(request.get("system")), *told],
            asked=[(block["id"], block["name"]) for _, block in blocks if block["type"] == "tool_use"],
            results={
                block["tool_use_id"]: text_of(block.get("content"))
                for _, block in blocks
                if block["type"] == "tool_result"
            },
            described=_described(request),
            searches=_searches(request),
        )

    def whole(self, move: Move, context: Context) -> Json:
        """One block."""
        block: Json = {"type": "text", "text": move.text, "citations": None}
        if move.name:
            block = {
                "type": "tool_use", "id": _new("toolu_"), "name": move.name,
                "input": json.loads(move.arguments),
            }  # fmt: skip
        return {
            "id": _new("msg_"), "type": "message", "role": "assistant", "model": context.model,
            "content": [block], "stop_reason": "tool_use" if move.name else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": context.tokens, "output_tokens": move.tokens},
        }  # fmt: skip

    def events(self, answer: Json, context: Context) -> Events:
        """Events around each block."""
        begun: Json = {**answer, "content": [], "stop_reason": None}
        begun["usage"] = {**answer["usage"], "output_tokens": 1}
        bodies: list[Json] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
        for index, block in enumerate(answer["content"]):
            called = block["type"] == "tool_use"
            empty: Json = {"input": {}} if called else {"text": ""}
            kind, field = ("input_json_delta", "partial_json") if called else ("text_delta", "text")
            whole = json.dumps(block["input"]) if called else block["text"]
            at = {"index": index}
            bodies.append({"type": "content_block_start", **at, "content_block": {**block, **empty}})
            bodies += (
                {"type": "content_block_delta", **at, "delta": {"type": kind, field: piece}}
                for piece in _pieces(whole)
            )
            bodies.append({"type": "content_block_stop", **at})
        stop = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
        used = {"output_tokens": answer["usage"]["output_tokens"]}
        bodies += [{"type": "message_delta", "delta": stop, "usage": used}, {"type": "message_stop"}]
        for body in bodies:
            yield body["type"], body


WIRES: Final[Mapping[str, Wire]] = {
    "/v1/chat/completions": Chat(), "/v1/responses": Responses(), "/v1/messages": Messages(),
}  # fmt: skip
