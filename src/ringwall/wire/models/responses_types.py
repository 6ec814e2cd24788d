"""The typed shape of OpenAI responses: requests closed, answers open (what is unknown is dropped)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ringwall.call import Json
from ringwall.wire.models.shapes import (
    CachedTokens,
    Closed,
    Count,
    Domains,
    FunctionName,
    Identifier,
    Index,
    Open,
    ReasoningTokens,
    ShortText,
    Text,
    Tokens,
    UserLocation,
)


class InputText(Closed, frozen=True, tag="input_text", tag_field="type"):
    """``{"type": "input_text", "text": ...}``."""

    text: Text


class InputImage(Closed, frozen=True, tag="input_image", tag_field="type"):
    """An image inside the request: a ``data:`` URL."""

    image_url: Text
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(Closed, frozen=True, tag="input_file", tag_field="type"):
    """A document inside the request: a ``data:`` URL."""

    file_data: Text
    filename: ShortText | None = None
    detail: Literal["auto", "low", "high"] | None = None


class OutputText(Closed, frozen=True, tag="output_text", tag_field="type"):
    """What the model said before."""

    text: Text
    annotations: Annotated[list[Json], Meta(max_length=0)] = msgspec.field(default_factory=list[Json])


class Refusal(Closed, frozen=True, tag="refusal", tag_field="type"):
    """What the model said instead of an answer."""

    refusal: Text


InputParts: TypeAlias = Annotated[list[InputText | InputImage | InputFile], Meta(min_length=1, max_length=1024)]
Parts: TypeAlias = Annotated[
    list[InputText | InputImage | InputFile | OutputText | Refusal], Meta(min_length=1, max_length=1024)
]


class Message(Closed, frozen=True, tag="message", tag_field="type"):
    """What somebody says."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Text | Parts
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCall(Closed, frozen=True, tag="function_call", tag_field="type"):
    """A call that the model asked for."""

    call_id: Identifier
    name: FunctionName
    arguments: Text


class FunctionOutput(Closed, frozen=True, tag="function_call_output", tag_field="type"):
    """A tool's result."""

    call_id: Identifier
    output: Text | InputParts


class SummaryText(Closed, frozen=True, tag="summary_text", tag_field="type"):
    """What the model thought, in short."""

    text: Text


class Reasoning(Closed, frozen=True, tag="reasoning", tag_field="type"):
    """What the model thought, given back as it was encrypted."""

    id: Identifier
    encrypted_content: Text
    summary: Annotated[list[SummaryText], Meta(max_length=1024)]


Item: TypeAlias = Message | FunctionCall | FunctionOutput | Reasoning


class FunctionTool(Closed, frozen=True, tag="function", tag_field="type"):
    """A function the model may ask for."""

    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Json] | None = None
    strict: bool | None = None


class Filters(Closed, frozen=True):
    """Where a search looks."""

    allowed_domains: Domains | None = None


class WebSearch(Closed, frozen=True):
    """A search that the provider runs."""

    type: Literal["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]
    filters: Filters | None = None
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None
    external_web_access: bool | None = None


class NamedChoice(Closed, frozen=True):
    """The function the model must ask for."""

    type: Literal["function"]
    name: FunctionName


class ReasoningOptions(Closed, frozen=True):
    """How much the model thinks, and what it tells of it."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None


class Format(Closed, frozen=True):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: FunctionName | None = None
    description: Text | None = None
    schema: dict[str, Json] | None = None
    strict: bool | None = None


class TextOptions(Closed, frozen=True):
    """How the answer is written."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponsesRequest(Closed, frozen=True):
    """POST /responses, as far as Ringwall lets it through. Tools are checked one by one."""

    input: Text | Annotated[list[Item], Meta(min_length=1, max_length=4096)]
    model: Identifier | None = None
    instructions: Text | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Tokens | None = None
    max_tool_calls: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: Annotated[list[Literal["reasoning.encrypted_content"]], Meta(min_length=1, max_length=1)] | None = None
    user: ShortText | None = None
    stream: Literal[True] | None = None


class ContentAnswer(Open, frozen=True):
    """A part of a message or of reasoning, in an answer."""

    type: Annotated[str, Meta(max_length=64)]
    text: Text = ""
    refusal: Text = ""


class ItemAnswer(Open, frozen=True):
    """An item of an answer. Which fields it has depends on its type."""

    type: Annotated[str, Meta(max_length=64)]
    id: Annotated[str, Meta(max_length=256)] | None = None
    role: Literal["assistant"] | None = None
    content: Annotated[list[ContentAnswer], Meta(max_length=1024)] | None = None
    summary: Annotated[list[ContentAnswer], Meta(max_length=1024)] | None = None
    encrypted_content: Text | None = None
    call_id: Annotated[str, Meta(max_length=256)] = ""
    name: Annotated[str, Meta(max_length=128)] = ""
    arguments: Text = ""
    namespace: None = None


class Counted(Open, frozen=True):
    """What the upstream counted."""

    input_tokens: Count
    output_tokens: Count
    input_tokens_details: CachedTokens | None = None
    output_tokens_details: ReasoningTokens | None = None
    estimated: bool = False


class IncompleteDetails(Open, frozen=True):
    """Why an answer is not whole."""

    reason: Annotated[str, Meta(max_length=64)] | None = None


class ResponseAnswer(Open, frozen=True):
    """The answer to POST /responses, or what a stream of one begins and ends with."""

    id: Identifier
    object: Literal["response"]
    created_at: Annotated[float, Meta(ge=0, le=2**40)]
    model: Identifier
    output: Annotated[list[ItemAnswer], Meta(max_length=4096)]
    status: Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"] | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: Counted | None = None


class ResponseEvent(Open, frozen=True):
    """One event of a streamed answer. Which fields it has depends on its type."""

    type: Annotated[str, Meta(max_length=96)]
    response: ResponseAnswer | None = None
    item: ItemAnswer | None = None
    output_index: Index = 0
    content_index: Index = 0
    summary_index: Index = 0
    delta: Text = ""
