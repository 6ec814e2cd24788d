"""The Anthropic messages wire, sans-I/O: what a request may hold, and what is believed of an answer.

Tools come in three kinds. Custom ones and those whose schema Anthropic defines but the client runs (bash, text
editor, memory, computer) are functions like any other: what they do crosses the wall when the agent does it. Those
that Anthropic runs are exits: web search is parsed for others to allow, the rest is refused.
Source: Anthropic API reference, messages; and the types of the SDK ``anthropic`` 2.12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

import msgspec

from ringwall.call import Json, Usage, as_array, as_object
from ringwall.wire.models.checks import (
    FETCHED,
    OPERATOR,
    RUNS,
    STATE,
    bad,
    check_base64,
    fields_of,
    items_of,
    no_remote_refs,
    refuse,
    typed,
)
from ringwall.wire.models.collecting import Collector, decoded
from ringwall.wire.models.errors import anthropic_error
from ringwall.wire.models.interface import Api, StreamReader, StreamWriter, ToolCallAsked
from ringwall.wire.models.messages_answer import Tally, answer_of, block_pieces, close_of
from ringwall.wire.models.messages_stream import MessagesReader, MessagesWriter
from ringwall.wire.models.messages_types import ClientTool, CustomTool, MessageAnswer, MessagesRequest, WebSearch
from ringwall.wire.models.pieces import assembled

MAX_TOOLS: Final = 512

_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "container": f"a container {STATE}, and what is in it {RUNS}",
        "mcp_servers": f"an MCP server behind the provider {RUNS}",
        "context_management": "the provider would change the conversation that was judged",
        "compaction": "the provider would change the conversation that was judged",
        "diagnostics": f"an earlier message {STATE}",
        "fallbacks": OPERATOR,
        "fallback_credit_token": OPERATOR,
        "billing_policy": OPERATOR,
        "service_tier": OPERATOR,
        "speed": OPERATOR,
        "inference_geo": OPERATOR,
        "user_profile_id": OPERATOR,
        "workspace_id": OPERATOR,
    }
)
_HARMLESS: Final[Mapping[str, tuple[Json, ...]]] = MappingProxyType(
    {"service_tier": ("auto",), "speed": ("standard",), "mcp_servers": ([],), "fallbacks": ([],)}
)
_SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {"url": f"{FETCHED}; send it as base64", "file": f"a file {STATE}; send it as base64",
     "content": "send the blocks themselves", "text": "send it as a text block"}
)
_CLIENT: Final = ("bash_", "text_editor_", "memory_", "computer_2")
# Members that SDKs send back from answers, and the values that say nothing.
_ECHOED: Final[Mapping[str, str]] = MappingProxyType(
    {"caller": f"code that calls tools {RUNS}", "citations": "cited texts are not taken back",
     "toolset_name": "toolsets are not available"}
)

_SILENT: Final[Mapping[str, tuple[Json, ...]]] = MappingProxyType(
    {"caller": ({"type": "direct"},), "citations": ([],)}
)


def parse_messages_request(value: Json) -> Json:
    """Check a request and give its canonical form.

    Raises:
        BadInput: ``bad_request``, ``thread_unsupported_request``.

    """
    fields = fields_of(value, "a messages request")
    if "thread" in fields:
        # This code makes Anthropic's own SDK send the whole conversation instead.
        raise bad(f"`thread` is refused: a thread {STATE}; send the whole conversation",
                  code="thread_unsupported_request")
    refuse(fields, _REFUSED, _HARMLESS)
    if fields.get("stream") is False:
        del fields["stream"]
    tools = [_tool(tool) for tool in items_of(fields.pop("tools", []), "`tools`")]
    if len(tools) > MAX_TOOLS:
        raise bad(f"there are more than {MAX_TOOLS} tools")
    fields["messages"] = [_message(message) for message in items_of(fields.get("messages"), "`messages`")]
    if (system := as_array(fields.get("system"))) is not None:
        fields["system"] = [_block(block) for block in system]
    request = typed(fields, _convert, "the messages request")
    if request.output_config is not None and request.output_config.format is not None:
        no_remote_refs(request.output_config.format.schema)
    return {**msgspec.to_builtins(request), **({"tools": tools} if tools else {})}


def _convert(fields: Json) -> MessagesRequest:
    return msgspec.convert(fields, MessagesRequest, strict=True)


def _tool(value: Json) -> Json:
    fields = fields_of(value, "each tool")
    kind = fields.get("type")
    shape: type[CustomTool | ClientTool | WebSearch]
    if kind in (None, "custom"):
        fields.pop("type", None)
        shape = CustomTool
        no_remote_refs(fields.get("input_schema"))
    elif isinstance(kind, str) and kind.startswith(_CLIENT):
        shape = ClientTool
    elif isinstance(kind, str) and kind.startswith("web_search_"):
        # Without this, newer kinds of search run code at the provider to filter what they find.
        fields.setdefault("allowed_callers", ["direct"])
        shape = WebSearch
    elif isinstance(kind, str) and "_toolset_" in kind:
        raise bad(f"a tool of type {kind[:80]!r} is refused: toolsets are not available")
    else:
        raise bad(f"a tool of type {str(kind)[:80]!r} {RUNS}; only functions are taken")
    refuse(fields, {"defer_loading": f"tool search {RUNS}"}, {"defer_loading": (False,)})
    if shape is not WebSearch:
        refuse(fields, {"allowed_callers": f"code that calls tools {RUNS}"}, {"allowed_callers": (["direct"],)})
    return msgspec.to_builtins(typed(fields, lambda tool: msgspec.convert(tool, shape, strict=True), "a tool"))


def _message(value: Json) -> Json:
    """A message without what clients copy back from answers and no upstream needs."""
    fields = fields_of(value, "each message")
    if (blocks := as_array(fields.get("content"))) is not None:
        fields["content"] = [_block(block) for block in blocks]
    return fields


def _block(value: Json) -> Json:
    fields = fields_of(value, "each block of a message")
    kind = fields.get("type")
    if isinstance(kind, str) and kind.endswith(("server_tool_use", "_tool_result")):
        raise bad(f"a block of type {kind[:80]!r} is refused: it {RUNS}")
    if kind != "document":
        refuse(fields, _ECHOED, _SILENT, f" of a {str(kind)[:80]} block")
    if kind in ("image", "document"):
        _check_source(fields.get("source"))
    if kind == "tool_result" and (inner := as_array(fields.get("content"))) is not None:
        fields["content"] = [_block(block) for block in inner]
    return fields


def _check_source(source: Json) -> None:
    fields = as_object(source) or {}
    kind, data = fields.get("type"), fields.get("data")
    if isinstance(kind, str) and kind in _SOURCES:
        raise bad(f"a source of type {kind!r} is refused: {_SOURCES[kind]}")
    if kind == "base64" and isinstance(data, str):
        check_base64(data, "`data`")


def offered(request: Json) -> frozenset[str]:
    """The names of the tools that a canonical request offers for the client to run."""
    if request.get("tool_choice", {}).get("type") == "none":
        return frozenset()
    return frozenset(tool["name"] for tool in request.get("tools", ()) if not _searches(tool))


def _searches(tool: Json) -> bool:
    return str(tool.get("type", "")).startswith("web_search_")


class MessagesWire:
    """Anthropic messages. See :class:`~ringwall.wire.models.interface.ModelWire`."""

    api: ClassVar[Api] = "messages"
    path: ClassVar[str] = "/messages"

    def parse_request(self, value: Json) -> Json:
        return parse_messages_request(value)

    def provider_tools(self, request: Json) -> tuple[str, ...]:
        return ("web_search",) if any(_searches(tool) for tool in request.get("tools", ())) else ()

    def outgoing(self, request: Json, model: str) -> Json:
        return {**request, "model": model}

    def parse_answer(self, raw: bytes, request: Json) -> tuple[Json, Usage | None]:
        answer = decoded(raw, MessageAnswer, "the upstream's answer")
        made = Collector(offered(request))
        tally = Tally(request)
        pieces = [made.opened(answer.id, 0, answer.model)]
        for index, block in enumerate(answer.content):
            pieces += block_pieces(made, tally, index, block)
        tally.count(answer.usage)
        tally.stop(answer.stop_reason or "end_turn", answer.stop_sequence)
        pieces.append(close_of(made, tally))
        return self.whole(pieces, request), tally.usage

    def whole(self, pieces: Sequence[Json], request: Json) -> Json:
        return answer_of(*assembled(pieces))

    def estimated(self, answer: Json, usage: Usage) -> Json:
        return {**answer, "usage": {"input_tokens": usage.tokens_in, "output_tokens": usage.tokens_out,
                                    "estimated": True}}

    def reader(self, request: Json) -> StreamReader:
        return MessagesReader(Collector(offered(request)), Tally(request))

    def writer(self, request: Json) -> StreamWriter:
        return MessagesWriter()

    def tool_calls(self, answer: Json) -> list[ToolCallAsked]:
        return [ToolCallAsked(id=block["id"], name=block["name"],
                              arguments=msgspec.json.encode(block["input"]).decode())
                for block in answer["content"] if block["type"] == "tool_use"]

    def without_calls(self, answer: Json, refused: Mapping[str, str]) -> Json:
        content = [{"type": "text", "text": refused[block["id"]]} if block.get("id") in refused else block
                   for block in answer["content"]]
        called = any(block["type"] == "tool_use" for block in content)
        stopped = answer["stop_reason"]
        return {**answer, "content": content,
                "stop_reason": "end_turn" if stopped == "tool_use" and not called else stopped}

    def error(self, status: int, code: str, reason: str, record: str) -> bytes:
        return anthropic_error(status, code, reason, record)
