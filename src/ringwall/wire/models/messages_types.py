"""The typed shape of Anthropic messages: requests closed, answers open (what is unknown is dropped)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ringwall.call import Json
from ringwall.wire.models.shapes import (
    Closed,
    Count,
    Domains,
    FunctionName,
    Identifier,
    Index,
    Open,
    ShortText,
    Text,
    Tokens,
    UserLocation,
)


class CacheControl(Closed, frozen=True):
    """How long the provider may remember the prompt up to here: minutes, and by its content only."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlock(Closed, frozen=True, tag="text", tag_field="type"):
    """``{"type": "text", "text": ...}``."""

    text: Text
    cache_control: CacheControl | None = None


class ImageSource(Closed, frozen=True):
    """An image inside the request."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Text


class ImageBlock(Closed, frozen=True, tag="image", tag_field="type"):
    """An image."""

    source: ImageSource
    cache_control: CacheControl | None = None


class PdfSource(Closed, frozen=True):
    """A document inside the request."""

    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: Text


class Citations(Closed, frozen=True):
    """Whether the answer should cite the document."""

    enabled: bool


class DocumentBlock(Closed, frozen=True, tag="document", tag_field="type"):
    """A document."""

    source: PdfSource
    title: ShortText | None = None
    context: Text | None = None
    citations: Citations | None = None
    cache_control: CacheControl | None = None


class ThinkingBlock(Closed, frozen=True, tag="thinking", tag_field="type"):
    """What the model thought, given back as it was signed."""

    thinking: Text
    signature: Text


class RedactedBlock(Closed, frozen=True, tag="redacted_thinking", tag_field="type"):
    """What the model thought, encrypted."""

    data: Text


class ToolUseBlock(Closed, frozen=True, tag="tool_use", tag_field="type"):
    """A call that the model asked for."""

    id: Identifier
    name: FunctionName
    input: dict[str, Json]
    cache_control: CacheControl | None = None


ResultBlocks: TypeAlias = Annotated[list[TextBlock | ImageBlock | DocumentBlock], Meta(max_length=1024)]


class ToolResultBlock(Closed, frozen=True, tag="tool_result", tag_field="type"):
    """A tool's result."""

    tool_use_id: Identifier
    content: Text | ResultBlocks | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


TextBlocks: TypeAlias = Annotated[list[TextBlock], Meta(max_length=1024)]
UserBlocks: TypeAlias = Annotated[
    list[TextBlock | ImageBlock | DocumentBlock | ToolResultBlock], Meta(min_length=1, max_length=1024)
]
AssistantBlocks: TypeAlias = Annotated[
    list[TextBlock | ThinkingBlock | RedactedBlock | ToolUseBlock], Meta(max_length=1024)
]


class UserMessage(Closed, frozen=True, tag="user", tag_field="role"):
    """What the user says, shows, or what a tool gave."""

    content: Text | UserBlocks


class AssistantMessage(Closed, frozen=True, tag="assistant", tag_field="role"):
    """What the model said before."""

    content: Text | AssistantBlocks


class SystemMessage(Closed, frozen=True, tag="system", tag_field="role"):
    """Instructions in the middle of a conversation."""

    content: Text | TextBlocks


Message: TypeAlias = UserMessage | AssistantMessage | SystemMessage


class CustomTool(Closed, frozen=True):
    """A tool that the client runs."""

    name: FunctionName
    input_schema: dict[str, Json]
    description: Text | None = None
    cache_control: CacheControl | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    input_examples: Annotated[list[dict[str, Json]], Meta(max_length=64)] | None = None


class ClientTool(Closed, frozen=True):
    """A tool whose schema the provider knows, and which the client runs all the same."""

    type: Literal[
        "bash_20250124", "text_editor_20250124", "text_editor_20250429", "text_editor_20250728", "memory_20250818",
        "computer_20250124", "computer_20251124",
    ]
    name: Literal["bash", "str_replace_editor", "str_replace_based_edit_tool", "memory", "computer"]
    cache_control: CacheControl | None = None
    max_characters: Tokens | None = None
    display_width_px: Tokens | None = None
    display_height_px: Tokens | None = None
    display_number: Count | None = None
    enable_zoom: bool | None = None


class WebSearch(Closed, frozen=True):
    """A search that the provider runs, and that only the model may start: not code that runs at the provider."""

    type: Literal["web_search_20250305", "web_search_20260209", "web_search_20260318"]
    name: Literal["web_search"]
    allowed_callers: Annotated[list[Literal["direct"]], Meta(min_length=1, max_length=1)]
    max_uses: Tokens | None = None
    allowed_domains: Domains | None = None
    blocked_domains: Domains | None = None
    user_location: UserLocation | None = None
    response_inclusion: Literal["full", "excluded"] | None = None
    cache_control: CacheControl | None = None


class ToolChoice(Closed, frozen=True):
    """Which tool the model has to use."""

    type: Literal["auto", "any", "tool", "none"]
    name: FunctionName | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Closed, frozen=True):
    """How much the model thinks."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Tokens | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Closed, frozen=True):
    """A schema the answer has to fit."""

    type: Literal["json_schema"]
    schema: dict[str, Json]


class OutputConfig(Closed, frozen=True):
    """How the answer should be."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class Metadata(Closed, frozen=True):
    """Whom the request is for, opaque to the provider."""

    user_id: ShortText | None = None


class MessagesRequest(Closed, frozen=True):
    """POST /messages, as far as Ringwall lets it through. Tools are checked one by one."""

    max_tokens: Tokens
    messages: Annotated[list[Message], Meta(min_length=1, max_length=4096)]
    model: Identifier | None = None
    system: Text | TextBlocks | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    stop_sequences: Annotated[list[ShortText], Meta(max_length=64)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Count | None = None
    cache_control: CacheControl | None = None
    stream: Literal[True] | None = None


class Block(Open, frozen=True):
    """A block of an answer, or its beginning. Which fields it has depends on its type."""

    type: Annotated[str, Meta(max_length=64)]
    text: Text = ""
    thinking: Text = ""
    signature: Text = ""
    data: Text = ""
    id: Annotated[str, Meta(max_length=256)] = ""
    name: Annotated[str, Meta(max_length=128)] = ""
    input: dict[str, Json] = msgspec.field(default_factory=dict[str, Json])
    toolset_name: None = None


class Counted(Open, frozen=True):
    """What the upstream counted. In a stream later counts replace earlier ones, where they are there."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    estimated: bool = False


StopReason: TypeAlias = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]


class MessageAnswer(Open, frozen=True):
    """The answer to POST /messages, or what a stream of one begins with."""

    id: Identifier
    type: Literal["message"]
    role: Literal["assistant"]
    model: Identifier
    content: Annotated[list[Block], Meta(max_length=4096)]
    stop_reason: StopReason | None = None
    stop_sequence: Text | None = None
    usage: Counted | None = None


class Delta(Open, frozen=True):
    """What an event adds to a block, or to the message."""

    type: Annotated[str, Meta(max_length=64)] = ""
    text: Text = ""
    thinking: Text = ""
    signature: Text = ""
    partial_json: Text = ""
    stop_reason: StopReason | None = None
    stop_sequence: Text | None = None


class MessageEvent(Open, frozen=True):
    """One event of a streamed answer."""

    type: Annotated[str, Meta(max_length=64)]
    message: MessageAnswer | None = None
    index: Index | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: Counted | None = None
