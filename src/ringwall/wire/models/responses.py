"""The OpenAI responses wire, sans-I/O: what a request may hold, and what is believed of an answer.

The provider would keep every response unless it is told not to, so each request leaves with ``store: false``. What
an agent then gives back must be all there: reasoning that is not encrypted refers to something stored, and is left
out; ids of items would too.
Source: OpenAI API reference, responses; the types of the SDK ``openai`` 3.54, and what openai-agents sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

import msgspec

from ringwall.call import Json, Usage, as_array
from ringwall.wire.models.checks import (
    FETCHED,
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
from ringwall.wire.models.pieces import Part, assembled
from ringwall.wire.models.responses_answer import answer_of, close_of, item_of, item_pieces, usage_of
from ringwall.wire.models.responses_stream import ResponsesReader, ResponsesWriter
from ringwall.wire.models.responses_types import FunctionTool, ResponseAnswer, ResponsesRequest, WebSearch

MAX_TOOLS: Final = 512

_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "store": f"a stored response {STATE}",
        "previous_response_id": f"an earlier response {STATE}; send the whole conversation",
        "conversation": f"a conversation {STATE}; send all of it",
        "prompt": f"a prompt template {STATE}",
        "metadata": f"metadata {STATE}",
        "background": f"a background response {STATE}",
        "background_options": f"a background response {STATE}",
        "context_management": "the provider would change the conversation that was judged",
        "prompt_cache_key": f"a named prompt cache {STATE}",
        "prompt_cache_options": f"a prompt cache {STATE}",
        "prompt_cache_retention": f"a prompt cache {STATE}",
        "top_logprobs": "they repeat the answer piece by piece, where no redaction can reach",
        "safety_identifier": f"an identifier {STATE}",
        "service_tier": OPERATOR,
        "moderation": OPERATOR,
        "access_programs": OPERATOR,
        "image": OPERATOR,
    }
)
_HARMLESS: Final[Mapping[str, tuple[Json, ...]]] = MappingProxyType(
    {"store": (False,), "background": (False,), "metadata": ({},), "service_tier": ("auto",), "top_logprobs": (0,)}
)
_REMOTE: Final[Mapping[str, str]] = MappingProxyType(
    {"file_id": f"a file {STATE}; send it as data", "file_url": f"{FETCHED}; send it as data",
     "prompt_cache_breakpoint": f"a prompt cache {STATE}"}
)
# Of items, what clients send back from answers and no upstream needs.
_ECHOED: Final = ("id", "status", "parsed_arguments")
_CALLS: Final[Mapping[str, str]] = MappingProxyType(
    {"caller": f"code that calls tools {RUNS}", "namespace": "namespaces of tools are not available",
     "async": "calls that do not wait are not available"}
)
_TOOLS: Final[Mapping[str, str]] = MappingProxyType(
    {"allowed_callers": f"code that calls tools {RUNS}", "defer_loading": f"tool search {RUNS}",
     "async": "calls that do not wait are not available",
     "output_schema": "only code at the provider would read it"}
)
_PLAIN: Final[Mapping[str, tuple[Json, ...]]] = MappingProxyType(
    {"allowed_callers": (["direct"],), "defer_loading": (False,), "async": (False,),
     "caller": ({"type": "direct"},)}
)


def parse_responses_request(value: Json) -> Json:
    """Check a request and give its canonical form. Raises BadInput: ``bad_request``."""
    fields = fields_of(value, "a responses request")
    refuse(fields, _REFUSED, _HARMLESS)
    if fields.get("stream") is False:
        del fields["stream"]
    # Padding between provider and client: the stream is written anew.
    if set(fields_of(fields.pop("stream_options", {}), "`stream_options`")) - {"include_obfuscation"}:
        raise bad("`stream_options` holds more than `include_obfuscation`")
    _include(fields)
    tools = [_tool(tool) for tool in items_of(fields.pop("tools", []), "`tools`")]
    if len(tools) > MAX_TOOLS:
        raise bad(f"there are more than {MAX_TOOLS} tools")
    if (items := as_array(fields.get("input"))) is not None:
        fields["input"] = [kept for item in items if (kept := _item(item)) is not None]
    request = typed(fields, _convert, "the responses request")
    if request.text is not None and request.text.format is not None:
        no_remote_refs(request.text.format.schema)
    return {**msgspec.to_builtins(request), **({"tools": tools} if tools else {})}


def _convert(fields: Json) -> ResponsesRequest:
    return msgspec.convert(fields, ResponsesRequest, strict=True)


def _include(fields: dict[str, Json]) -> None:
    wanted = items_of(fields.pop("include", []), "`include`")
    for one in wanted:
        if one != "reasoning.encrypted_content":
            raise bad(f"`include` of {str(one)[:80]!r} is refused: it is none of what agents are given")
    if wanted:
        fields["include"] = wanted[:1]


def _tool(value: Json) -> Json:
    fields = fields_of(value, "each tool")
    kind = fields.get("type")
    shape: type[FunctionTool | WebSearch]
    if kind == "function":
        refuse(fields, _TOOLS, _PLAIN)
        no_remote_refs(fields.get("parameters"))
        shape = FunctionTool
    elif isinstance(kind, str) and kind.startswith("web_search"):
        shape = WebSearch
    else:
        raise bad(f"a tool of type {str(kind)[:80]!r} {RUNS}; only functions are taken")
    return msgspec.to_builtins(typed(fields, lambda tool: msgspec.convert(tool, shape, strict=True), "a tool"))


def _item(value: Json) -> Json:
    """An item without what clients copy back from answers; None: nothing of it is left."""
    fields = fields_of(value, "each item of the input")
    kind = fields.setdefault("type", "message") if "role" in fields else fields.get("type")
    if kind == "item_reference" or (kind is None and "id" in fields):
        raise bad(f"an item reference is refused: the item {STATE}; send it whole")
    if kind == "reasoning":
        fields.pop("status", None)
        fields.pop("content", None)  # the encrypted text is what the provider reads
        return fields if fields.get("encrypted_content") else None
    if kind not in ("message", "function_call", "function_call_output"):
        raise bad(f"an item of type {str(kind)[:80]!r} is refused: it {RUNS}")
    for name in _ECHOED:
        fields.pop(name, None)
    if kind == "message":
        fields["content"] = _content(fields.get("content"))
    else:
        refuse(fields, _CALLS, _PLAIN)
    if kind == "function_call_output":
        fields.pop("name", None)
        fields["output"] = _content(fields.get("output"))
    return fields


def _content(content: Json) -> Json:
    parts = as_array(content)
    return content if parts is None else [_part(part) for part in parts]


def _part(value: Json) -> Json:
    fields = fields_of(value, "each part of a message")
    refuse(fields, _REMOTE, {})
    match fields.get("type"):
        case "output_text":
            fields.pop("logprobs", None)
            fields.pop("parsed", None)
            fields["annotations"] = []
        case "input_image":
            check_data_url(str(fields.get("image_url")), IMAGES, "`image_url`")
        case "input_file":
            check_data_url(str(fields.get("file_data")), PDF, "`file_data`")
        case _:
            pass
    return fields


def offered(request: Json) -> frozenset[str]:
    """The names of the functions that a canonical request offers."""
    if request.get("tool_choice") == "none":
        return frozenset()
    return frozenset(tool["name"] for tool in request.get("tools", ()) if tool["type"] == "function")


def _searches(request: Json) -> bool:
    return any(tool["type"] != "function" for tool in request.get("tools", ()))


class ResponsesWire:
    """OpenAI responses. See :class:`~ringwall.wire.models.interface.ModelWire`."""

    api: ClassVar[Api] = "responses"
    path: ClassVar[str] = "/responses"

    def parse_request(self, value: Json) -> Json:
        return parse_responses_request(value)

    def provider_tools(self, request: Json) -> tuple[str, ...]:
        return ("web_search",) if _searches(request) else ()

    def outgoing(self, request: Json, model: str) -> Json:
        return {**request, "model": model, "store": False}

    def parse_answer(self, raw: bytes, request: Json) -> tuple[Json, Usage | None]:
        answer = decoded(raw, ResponseAnswer, "the upstream's answer")
        made = Collector(offered(request))
        pieces = [made.opened(answer.id, int(answer.created_at), answer.model)]
        for index, item in enumerate(answer.output):
            pieces += item_pieces(made, _searches(request), index, item)
        pieces.append(close_of(made, answer))
        counted = usage_of(answer.usage)
        usage = Usage(tokens_in=counted["tokens_in"], tokens_out=counted["tokens_out"]) if counted else None
        return self.whole(pieces, request), usage

    def whole(self, pieces: Sequence[Json], request: Json) -> Json:
        return answer_of(*assembled(pieces), request)

    def estimated(self, answer: Json, usage: Usage) -> Json:
        return {**answer, "usage": {"input_tokens": usage.tokens_in, "output_tokens": usage.tokens_out,
                                    "total_tokens": usage.tokens_in + usage.tokens_out, "estimated": True}}

    def reader(self, request: Json) -> StreamReader:
        return ResponsesReader(Collector(offered(request)), searches=_searches(request))

    def writer(self, request: Json) -> StreamWriter:
        return ResponsesWriter(request)

    def tool_calls(self, answer: Json) -> list[ToolCallAsked]:
        return [ToolCallAsked(id=item["call_id"], name=item["name"], arguments=item["arguments"])
                for item in answer["output"] if item["type"] == "function_call"]

    def without_calls(self, answer: Json, refused: Mapping[str, str]) -> Json:
        return {**answer, "output": [
            item_of(Part(place, "text", [refused[item["call_id"]]])) if item.get("call_id") in refused else item
            for place, item in enumerate(answer["output"])]}

    def error(self, status: int, code: str, reason: str, record: str) -> bytes:
        return openai_error(status, code, reason, record)
