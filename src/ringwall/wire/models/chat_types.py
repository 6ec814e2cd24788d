"""The typed shape of OpenAI chat completions: requests closed, answers open (what is unknown is dropped)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ringwall.call import Json
from ringwall.wire.models.shapes import (
    Approximate,
    CachedTokens,
    Closed,
    Count,
    FunctionName,
    Identifier,
    Index,
    Open,
    ReasoningTokens,
    ShortText,
    Text,
    Tokens,
)

Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]


class TextPart(Closed, frozen=True, tag="text", tag_field="type"):
    """``{"type": "text", "text": ...}``."""

    text: Text


class ImageUrl(Closed, frozen=True):
    """An image inside the request."""

    url: Text
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Closed, frozen=True, tag="image_url", tag_field="type"):
    """``{"type": "image_url", "image_url": {"url": "data:..."}}``."""

    image_url: ImageUrl


class File(Closed, frozen=True):
    """A document inside the request."""

    file_data: Text
    filename: ShortText | None = None


class FilePart(Closed, frozen=True, tag="file", tag_field="type"):
    """``{"type": "file", "file": {"file_data": "data:application/pdf;base64,..."}}``."""

    file: File


class RefusalPart(Closed, frozen=True, tag="refusal", tag_field="type"):
    """What the model once said instead of an answer."""

    refusal: Text


TextParts: TypeAlias = Annotated[list[TextPart], Meta(min_length=1, max_length=1024)]
UserParts: TypeAlias = Annotated[list[TextPart | ImagePart | FilePart], Meta(min_length=1, max_length=1024)]
AssistantParts: TypeAlias = Annotated[list[TextPart | RefusalPart], Meta(min_length=1, max_length=1024)]


class CalledFunction(Closed, frozen=True):
    """Name, and arguments as the model wrote them: a string that should be JSON."""

    name: FunctionName
    arguments: Text


class ToolCall(Closed, frozen=True):
    """A call that the model asked for."""

    id: Identifier
    function: CalledFunction
    type: Literal["function"] = msgspec.field(default_factory=lambda: "function")  # a factory: never left out


class SystemMessage(Closed, frozen=True, tag="system", tag_field="role"):
    """Instructions."""

    content: Text | TextParts
    name: ShortText | None = None


class DeveloperMessage(Closed, frozen=True, tag="developer", tag_field="role"):
    """Instructions, under their newer name."""

    content: Text | TextParts
    name: ShortText | None = None


class UserMessage(Closed, frozen=True, tag="user", tag_field="role"):
    """What the user says or shows."""

    content: Text | UserParts
    name: ShortText | None = None


class AssistantMessage(Closed, frozen=True, tag="assistant", tag_field="role"):
    """What the model said before."""

    content: Text | AssistantParts | None = None
    name: ShortText | None = None
    refusal: Text | None = None
    tool_calls: Annotated[list[ToolCall], Meta(min_length=1, max_length=128)] | None = None


class ToolMessage(Closed, frozen=True, tag="tool", tag_field="role"):
    """A tool's result."""

    content: Text | TextParts
    tool_call_id: Identifier


Message: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class FunctionDefinition(Closed, frozen=True):
    """A function the model may ask for."""

    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Json] | None = None
    strict: bool | None = None


class Tool(Closed, frozen=True):
    """Only functions: everything else runs at the provider."""

    function: FunctionDefinition
    type: Literal["function"] = msgspec.field(default_factory=lambda: "function")


class NamedFunction(Closed, frozen=True):
    """A function by name."""

    name: FunctionName


class NamedChoice(Closed, frozen=True):
    """The function the model must ask for."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Closed, frozen=True):
    """A schema the answer has to fit."""

    name: FunctionName
    description: Text | None = None
    schema: dict[str, Json] | None = None
    strict: bool | None = None


class ResponseFormat(Closed, frozen=True):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class UserLocation(Closed, frozen=True):
    """Where a search is from."""

    type: Literal["approximate"]
    approximate: Approximate


class WebSearchOptions(Closed, frozen=True):
    """A search that the provider runs."""

    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None


class StreamOptions(Closed, frozen=True):
    """Whether the stream ends with what was counted."""

    include_usage: bool | None = None


class ChatRequest(Closed, frozen=True):
    """POST /chat/completions, as far as Ringwall lets it through."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=4096)]
    model: Identifier | None = None
    tools: Annotated[list[Tool], Meta(max_length=512)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: ShortText | Annotated[list[ShortText], Meta(min_length=1, max_length=4)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    response_format: ResponseFormat | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: (
        Annotated[
            dict[Annotated[str, Meta(max_length=16)], Annotated[float, Meta(ge=-100, le=100)]],
            Meta(max_length=1024),
        ]
        | None
    ) = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    user: ShortText | None = None
    web_search_options: WebSearchOptions | None = None
    stream: Literal[True] | None = None
    stream_options: StreamOptions | None = None


class AnswerMessage(Open, frozen=True):
    """What the model says."""

    role: Literal["assistant"]
    content: Text | None = None
    refusal: Text | None = None
    tool_calls: Annotated[list[ToolCallAnswer], Meta(max_length=128)] | msgspec.UnsetType | None = msgspec.UNSET


class FunctionAnswer(Open, frozen=True):
    """A function the model asks for, with arguments as it wrote them."""

    name: FunctionName
    arguments: Text


class ToolCallAnswer(Open, frozen=True):
    """A call the model asks for."""

    id: Identifier
    type: Literal["function"]
    function: FunctionAnswer


class Choice(Open, frozen=True):
    """The one answer."""

    index: Annotated[int, Meta(ge=0, le=0)]
    message: AnswerMessage
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None = None


class Counted(Open, frozen=True):
    """What the upstream counted."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: CachedTokens | None = None
    completion_tokens_details: ReasoningTokens | None = None
    estimated: bool = False  # ours: in answers that were canonical before


class ChatResponse(Open, frozen=True):
    """The answer to POST /chat/completions."""

    id: Identifier
    object: Literal["chat.completion"]
    created: Count
    model: Identifier
    choices: Annotated[list[Choice], Meta(min_length=1, max_length=1)]
    usage: Counted | None = None


class FunctionDelta(Open, frozen=True):
    """Some of a function call."""

    name: Annotated[str, Meta(max_length=128)] | None = None
    arguments: Text | None = None


class CallDelta(Open, frozen=True):
    """Some of a tool call."""

    index: Index
    id: Annotated[str, Meta(max_length=256)] | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta | None = None


class Delta(Open, frozen=True):
    """What a chunk adds. ``function_call`` is long gone, and would be a tool call that nobody sees."""

    role: Literal["assistant"] | None = None
    content: Text | None = None
    refusal: Text | None = None
    tool_calls: list[CallDelta] | None = None
    function_call: None = None


class ChunkChoice(Open, frozen=True):
    """The one answer's next piece."""

    index: Annotated[int, Meta(ge=0, le=0)]
    delta: Delta
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None = None


class ChatChunk(Open, frozen=True):
    """One event of a streamed answer. Some upstreams send one without answer and names first."""

    choices: Annotated[list[ChunkChoice], Meta(max_length=1)]
    object: Literal["chat.completion.chunk"] | None = None
    id: Annotated[str, Meta(max_length=256)] = ""
    created: Count = 0
    model: Annotated[str, Meta(max_length=256)] = ""
    usage: Counted | None = None
