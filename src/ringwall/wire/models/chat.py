"""The OpenAI chat completions wire, sans-I/O: what a request may hold, and what is believed of an answer.

The request schema is closed, because a model provider is an exit: what it would run, fetch or keep by itself
is refused with a sentence, and what is merely unknown is refused by name. Fields that ordinary clients send
back from an earlier answer are known, and dropped where no upstream needs them.
Source: OpenAI API reference, chat completions; and what openai, langchain-openai and pydantic-ai send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

import msgspec

from ringwall.call import Json, Usage, as_array, as_object
from ringwall.wire.models.chat_answer import FINISH, answer_of, usage_of
from ringwall.wire.models.chat_stream import ChatReader, ChatWriter
from ringwall.wire.models.chat_types import ChatRequest, ChatResponse, FilePart, ImagePart, Message, UserMessage
from ringwall.wire.models.checks import (
    IMAGES,
    OPERATOR,
    PDF,
    RUNS,
    STATE,
    bad,
    check_data_url,
    fields_of,
    items_of,
    no_remote_refs,
    refuse,
    typed,
)
from ringwall.wire.models.collecting import Collector, decoded
from ringwall.wire.models.errors import openai_error
from ringwall.wire.models.interface import Api, StreamReader, StreamWriter, ToolCallAsked
from ringwall.wire.models.pieces import assembled

_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "store": f"a stored completion {STATE}",
        "metadata": f"metadata {STATE}",
        "previous_response_id": f"an earlier response {STATE}",
        "conversation": f"a conversation {STATE}",
        "prompt_cache_key": f"a named prompt cache {STATE}",
        "prompt_cache_options": f"a prompt cache {STATE}",
        "prompt_cache_retention": f"a prompt cache {STATE}",
        "modalities": "only text is available",
        "audio": "only text is available",
        "prediction": "predicted output is not available",
        "functions": "deprecated by the provider: use tools",
        "function_call": "deprecated by the provider: use tool_choice",
        "logprobs": "they repeat the answer piece by piece, where no redaction can reach",
        "top_logprobs": "they repeat the answer piece by piece, where no redaction can reach",
        "n": "exactly one answer is available",
        "service_tier": OPERATOR,
        "moderation": OPERATOR,
        "safety_identifier": f"an identifier {STATE}",
    }
)
# Saying explicitly what is the case anyway is allowed, and dropped.
_HARMLESS: Final[Mapping[str, tuple[Json, ...]]] = MappingProxyType(
    {
        "store": (False,),
        "n": (1,),
        "logprobs": (False,),
        "modalities": (["text"],),
        "metadata": ({},),
        "service_tier": ("auto",),
    }
)
_ECHOED: Final = ("annotations", "audio", "function_call", "parsed")  # in assistant messages, from answers
_EMPTY: Final = ("audio", "function_call")  # of those, the ones that must be null


def parse_chat_request(value: Json) -> Json:
    """Check a chat completion request and give its canonical form.

    Args:
        value: the parsed JSON of the request.

    Returns:
        A new JSON object with known fields only; absent and null fields are left out.

    Raises:
        BadInput: code ``bad_request``; the cause names the field.

    """
    fields = fields_of(value, "a chat completion request")
    refuse(fields, _REFUSED, _HARMLESS)
    _streaming(fields)
    fields["messages"] = _without_echo(fields.get("messages"))
    _only_functions(fields.get("tools"))
    request = typed(fields, _convert, "the chat completion request")
    for message in request.messages:
        _check_files(message)
    for tool in request.tools or ():
        no_remote_refs(tool.function.parameters)
    if request.response_format is not None and (schema := request.response_format.json_schema) is not None:
        no_remote_refs(schema.schema)
    return msgspec.to_builtins(request)


def _convert(fields: Json) -> ChatRequest:
    return msgspec.convert(fields, ChatRequest, strict=True)


def _streaming(fields: dict[str, Json]) -> None:
    """``stream`` stays where it is true, and with it whether the tokens are told."""
    if fields.get("stream") is False:
        del fields["stream"]
    options = fields.pop("stream_options", None)
    if options is None:
        return
    told = fields_of(options, "`stream_options`")
    told.pop("include_obfuscation", None)  # padding between provider and client: the stream is written anew
    if told.get("include_usage") is False:
        del told["include_usage"]
    if told and "stream" not in fields:
        raise bad("`stream_options` goes with `stream`")
    if told:
        fields["stream_options"] = told


def _without_echo(messages: Json) -> Json:
    """Messages without what clients copy back from answers and no upstream needs."""
    cleaned: list[Json] = []
    for message in items_of(messages, "`messages`"):
        fields = fields_of(message, "each message")
        if fields.get("role") == "assistant":
            for name in _EMPTY:
                if name in fields:
                    raise bad(f"`{name}` of an assistant message is refused unless null")
            fields = {name: item for name, item in fields.items() if name not in _ECHOED}
            if (calls := as_array(fields.get("tool_calls"))) is not None:
                fields["tool_calls"] = [_plain_call(call) for call in calls]
        cleaned.append(fields)
    return cleaned


def _plain_call(call: Json) -> Json:
    """A tool call without ``index`` and ``parsed_arguments``, which streaming and parsing clients add."""
    fields = as_object(call)
    if fields is None:
        return call
    fields = {name: item for name, item in fields.items() if name != "index"}
    if (function := as_object(fields.get("function"))) is not None:
        fields["function"] = {name: item for name, item in function.items() if name != "parsed_arguments"}
    return fields


def _only_functions(tools: Json) -> None:
    for tool in as_array(tools) or ():
        kind = (as_object(tool) or {}).get("type")
        if kind != "function":
            raise bad(f"a tool of type {kind!r} {RUNS}; only functions are taken")


def _check_files(message: Message) -> None:
    if not isinstance(message, UserMessage) or isinstance(message.content, str):
        return
    for part in message.content:
        if isinstance(part, ImagePart):
            check_data_url(part.image_url.url, IMAGES, "`image_url`")
        elif isinstance(part, FilePart):
            check_data_url(part.file.file_data, PDF, "`file_data`")


def offered(request: Json) -> frozenset[str]:
    """The names of the tools that a canonical request offers."""
    if request.get("tool_choice") == "none":
        return frozenset()
    return frozenset(tool["function"]["name"] for tool in request.get("tools", ()))


class ChatWire:
    """OpenAI chat completions. See :class:`~ringwall.wire.models.interface.ModelWire`."""

    api: ClassVar[Api] = "chat"
    path: ClassVar[str] = "/chat/completions"

    def parse_request(self, value: Json) -> Json:
        return parse_chat_request(value)

    def provider_tools(self, request: Json) -> tuple[str, ...]:
        return ("web_search",) if "web_search_options" in request else ()

    def outgoing(self, request: Json, model: str) -> Json:
        counted = {"stream_options": {"include_usage": True}} if request.get("stream") else {}
        return {**request, "model": model, **counted}

    def parse_answer(self, raw: bytes, request: Json) -> tuple[Json, Usage | None]:
        answer = decoded(raw, ChatResponse, "the upstream's answer")
        choice = answer.choices[0]
        made = Collector(offered(request))
        pieces = [made.opened(answer.id, answer.created, answer.model)]
        pieces += made.text("text", "text", choice.message.content or "")
        pieces += made.text("refusal", "refusal", choice.message.refusal or "")
        for call in choice.message.tool_calls or ():
            pieces += made.call(call.id, call.function.name, call.function.arguments)
        counted = usage_of(answer.usage)
        pieces.append(made.close(FINISH[choice.finish_reason or "stop"], counted))
        usage = Usage(tokens_in=counted["tokens_in"], tokens_out=counted["tokens_out"]) if counted else None
        return self.whole(pieces, request), usage

    def whole(self, pieces: Sequence[Json], request: Json) -> Json:
        return answer_of(*assembled(pieces))

    def estimated(self, answer: Json, usage: Usage) -> Json:
        return {**answer, "usage": {"prompt_tokens": usage.tokens_in, "completion_tokens": usage.tokens_out,
                                    "total_tokens": usage.tokens_in + usage.tokens_out, "estimated": True}}

    def reader(self, request: Json) -> StreamReader:
        return ChatReader(offered(request))

    def writer(self, request: Json) -> StreamWriter:
        return ChatWriter(counts=bool(request.get("stream_options", {}).get("include_usage")))

    def tool_calls(self, answer: Json) -> list[ToolCallAsked]:
        return [ToolCallAsked(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
                for call in answer["choices"][0]["message"].get("tool_calls", ())]

    def without_calls(self, answer: Json, refused: Mapping[str, str]) -> Json:
        choice = answer["choices"][0]
        message = dict(choice["message"])
        calls = message.pop("tool_calls", [])
        kept = [call for call in calls if call["id"] not in refused]
        told = [refused[call["id"]] for call in calls if call["id"] in refused]
        message["content"] = "\n".join(text for text in (message["content"], *told) if text) or None
        if kept:
            message["tool_calls"] = kept
        finish = "stop" if told and not kept else choice["finish_reason"]
        return {**answer, "choices": [{**choice, "message": message, "finish_reason": finish}]}

    def error(self, status: int, code: str, reason: str, record: str) -> bytes:
        return openai_error(status, code, reason, record)
