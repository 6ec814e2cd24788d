"""The OpenAI chat completions wire, sans-I/O: what a request may hold, and what is believed of an answer.

The request schema is closed, because a model provider is an exit: what it would run, fetch or keep by itself
is refused with a sentence, and what is merely unknown is refused by name. Fields that ordinary clients send
back from an earlier answer are known, and dropped where no upstream needs them.
Source: OpenAI API reference, chat completions; and what openai, langchain-openai and pydantic-ai send.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire.openai_types import ChatRequest, ChatResponse, ImagePart, Message, UserMessage

MAX_RESPONSE: Final = 8 << 20  # bytes of an answer
BYTES_PER_TOKEN: Final = 4  # the usual rule of thumb, for upstreams that do not count

_STATE = "would be kept at the provider, outside the wall"
_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stream": "streaming is not available yet; leave it out or send false",
        "stream_options": "streaming is not available yet",
        "store": f"a stored completion {_STATE}",
        "metadata": f"metadata {_STATE}",
        "previous_response_id": f"an earlier response {_STATE}",
        "conversation": f"a conversation {_STATE}",
        "prompt_cache_key": f"a named prompt cache {_STATE}",
        "prompt_cache_retention": f"a prompt cache {_STATE}",
        "web_search_options": "web search would run at the provider, past the wall",
        "modalities": "only text is available",
        "audio": "only text is available",
        "prediction": "predicted output is not available",
        "functions": "deprecated by the provider: use tools",
        "function_call": "deprecated by the provider: use tool_choice",
        "logprobs": "they repeat the answer piece by piece, where no redaction can reach",
        "top_logprobs": "they repeat the answer piece by piece, where no redaction can reach",
        "n": "exactly one answer is available",
        "service_tier": "set by the operator at the upstream, not by a request",
        "safety_identifier": f"an identifier {_STATE}",
    }
)
# Saying explicitly what is the case anyway is allowed, and dropped.
_HARMLESS: Final[Mapping[str, Json]] = MappingProxyType(
    {
        "stream": False,
        "store": False,
        "n": 1,
        "logprobs": False,
        "modalities": ["text"],
        "stream_options": {},
        "metadata": {},
        "service_tier": "auto",
    }
)
_IMAGES: Final = tuple(f"data:image/{kind};base64" for kind in ("png", "jpeg", "gif", "webp"))
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
    if not isinstance(value, dict):
        raise _bad("a chat completion request is a JSON object")
    fields = {name: item for name, item in cast("dict[str, Json]", value).items() if item is not None}
    for name, why in _REFUSED.items():
        if name in fields:
            harmless = _HARMLESS.get(name)
            if (
                harmless is None
                or fields[name] != harmless
                or isinstance(fields[name], bool) != isinstance(harmless, bool)
            ):
                raise _bad(f"`{name}` is refused: {why}")
            del fields[name]
    fields["messages"] = _without_echo(fields.get("messages"))
    _only_functions(fields.get("tools"))
    try:
        request = msgspec.convert(fields, ChatRequest, strict=True)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise _bad(f"the chat completion request is malformed: {fault}") from fault
    for message in request.messages:
        _check_images(message)
    for tool in request.tools or ():
        if tool.function.parameters:
            _no_remote_refs(tool.function.parameters)
    if request.response_format is not None and (schema := request.response_format.json_schema) is not None:
        _no_remote_refs(schema.schema)
    return msgspec.to_builtins(request)


def parse_chat_response(raw: bytes) -> tuple[Json, Usage | None]:
    """Check an upstream's answer and give its canonical form.

    Args:
        raw: the body of the HTTP response, whole.

    Returns:
        The completion with known fields only, and what the upstream counted; None if it did not count.

    Raises:
        BadInput: code ``bad_answer``.

    """
    if len(raw) > MAX_RESPONSE:
        raise BadInput(f"a completion has more than {MAX_RESPONSE} bytes", code="result_too_large")
    try:
        answer = msgspec.json.decode(raw, type=ChatResponse)
        value = msgspec.to_builtins(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(
            f"the upstream's answer is not a chat completion: {fault}"[:300], code="bad_answer"
        ) from fault
    if answer.usage is None:
        return value, None
    return value, Usage(tokens_in=answer.usage.prompt_tokens, tokens_out=answer.usage.completion_tokens)


def estimate(sent: bytes, received: bytes) -> Usage:
    """Tokens by length, rounded up, for upstreams that do not count."""
    return Usage(tokens_in=-(-len(sent) // BYTES_PER_TOKEN), tokens_out=-(-len(received) // BYTES_PER_TOKEN))


def _bad(cause: str) -> BadInput:
    return BadInput(cause[:500], code="bad_request", remedy="send only what docs/ lists for chat completions")


def _without_echo(messages: Json) -> Json:
    """Messages without what clients copy back from answers and no upstream needs."""
    if not isinstance(messages, list):
        raise _bad("`messages` must be a list")
    cleaned: list[Json] = []
    for message in cast("list[Json]", messages):
        if not isinstance(message, dict):
            raise _bad("each message is a JSON object")
        fields = cast("dict[str, Json]", message)
        if fields.get("role") == "assistant":
            for name in _EMPTY:
                if fields.get(name) is not None:
                    raise _bad(f"`{name}` of an assistant message is refused unless null")
            fields = {name: item for name, item in fields.items() if name not in _ECHOED and item is not None}
            if isinstance(fields.get("tool_calls"), list):
                fields["tool_calls"] = [_plain_call(call) for call in fields["tool_calls"]]
        cleaned.append({name: item for name, item in fields.items() if item is not None})
    return cleaned


def _plain_call(call: Json) -> Json:
    """A tool call without ``index`` and ``parsed_arguments``, which streaming and parsing clients add."""
    if not isinstance(call, dict):
        return call
    fields = {name: item for name, item in cast("dict[str, Json]", call).items() if name != "index"}
    if isinstance(fields.get("function"), dict):
        fields["function"] = {name: item for name, item in fields["function"].items() if name != "parsed_arguments"}
    return fields


def _only_functions(tools: Json) -> None:
    for tool in cast("list[Any]", tools) if isinstance(tools, list) else ():
        kind = cast("dict[str, Json]", tool).get("type") if isinstance(tool, dict) else None
        if kind != "function":
            raise _bad(
                f"a tool of type {kind!r} would run at the provider, past the wall; only functions are taken"
            )


def _check_images(message: Message) -> None:
    if not isinstance(message, UserMessage) or isinstance(message.content, str):
        return
    for part in message.content:
        if isinstance(part, ImagePart):
            kind, comma, data = part.image_url.url.partition(",")
            if kind not in _IMAGES or not comma:
                raise _bad(
                    "an image must be a data: URL with base64 of a PNG, JPEG, GIF or WebP; the provider "
                    "would fetch a remote one, past the wall"
                )
            try:
                base64.b64decode(data, validate=True)  # a closed alphabet: nothing else rides along
            except ValueError as fault:
                raise _bad("an image's data: URL is not base64") from fault


def _no_remote_refs(schema: Json) -> None:
    """A ``$ref`` out of the schema would be fetched by whoever validates it."""
    stack: list[Json] = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            fields = cast("dict[str, Json]", item)
            for name in ("$ref", "$dynamicRef"):
                reference = fields.get(name)
                if isinstance(reference, str) and not reference.startswith("#"):
                    raise _bad(f"a schema refers to {reference[:80]!r}; only references into itself are taken")
            stack += fields.values()
        elif isinstance(item, list):
            stack += cast("list[Json]", item)
