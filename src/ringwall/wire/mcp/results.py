"""What comes back from an MCP server: its shape, and the plain value that a tool's answer means.

The server is untrusted. A result keeps the fields its method has and no other; content of a kind that MCP does not
have is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, cast

import msgspec
from msgspec import Meta

from ringwall.call import Json, as_array, as_object
from ringwall.errors import BadInput

MAX_ITEMS: Final = 4096  # of one list: content blocks, resources, prompts
MAX_VALUES: Final = 100  # of one completion, as the specification says
CACHED: Final = frozenset(
    {"tools/list",
     "resources/list", "resources/templates/list", "resources/read", "prompts/list", "server/discover"}
)
"""The methods whose results say how long they hold, in 2026-07-28."""
COMPLETE: Final = "complete"
INPUT_REQUIRED: Final = "input_required"

Meta_ = dict[str, Json]


class _Seen(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Other fields are not looked at: annotations, icons, ``_meta``."""


class _Text(_Seen, frozen=True, kw_only=True, tag="text", tag_field="type"):
    text: str


class _Image(_Seen, frozen=True, kw_only=True, tag="image", tag_field="type"):
    data: str
    mime_type: str


class _Audio(_Seen, frozen=True, kw_only=True, tag="audio", tag_field="type"):
    data: str
    mime_type: str


class _Link(_Seen, frozen=True, kw_only=True, tag="resource_link", tag_field="type"):
    uri: str
    name: str


class _Contents(_Seen, frozen=True, kw_only=True):
    """One of the two: a text, or bytes in Base64."""

    uri: str
    mime_type: str | None = None
    text: str | None = None
    blob: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.blob is None):
            raise ValueError("a resource has either a `text` or a `blob`")


class _Embedded(_Seen, frozen=True, kw_only=True, tag="resource", tag_field="type"):
    resource: _Contents


_Block = _Text | _Image | _Audio | _Link | _Embedded
_Blocks = Annotated[list[_Block], Meta(max_length=MAX_ITEMS)]


class _Called(_Seen, frozen=True, kw_only=True):
    content: _Blocks = msgspec.field(default_factory=list[_Block])
    structured_content: Json = None
    is_error: bool | None = None


class _Read(_Seen, frozen=True, kw_only=True):
    contents: Annotated[list[_Contents], Meta(max_length=MAX_ITEMS)]


class _Resource(_Seen, frozen=True, kw_only=True):
    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None


class _Template(_Seen, frozen=True, kw_only=True):
    uri_template: str
    name: str


class _Page(_Seen, frozen=True, kw_only=True):
    next_cursor: str | None = None


class _Resources(_Page, frozen=True, kw_only=True):
    resources: Annotated[list[_Resource], Meta(max_length=MAX_ITEMS)]


class _Templates(_Page, frozen=True, kw_only=True):
    resource_templates: Annotated[list[_Template], Meta(max_length=MAX_ITEMS)]


class _PromptArgument(_Seen, frozen=True, kw_only=True):
    name: str
    required: bool | None = None


class _Prompt(_Seen, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    arguments: list[_PromptArgument] | None = None


class _Prompts(_Page, frozen=True, kw_only=True):
    prompts: Annotated[list[_Prompt], Meta(max_length=MAX_ITEMS)]


class _Said(_Seen, frozen=True, kw_only=True):
    role: Literal["user", "assistant"]
    content: _Block


class _GotPrompt(_Seen, frozen=True, kw_only=True):
    description: str | None = None
    messages: Annotated[list[_Said], Meta(max_length=MAX_ITEMS)]


class _Completion(_Seen, frozen=True, kw_only=True):
    values: Annotated[list[str], Meta(max_length=MAX_VALUES)]
    total: int | None = None
    has_more: bool | None = None


class _Completed(_Seen, frozen=True, kw_only=True):
    completion: _Completion


class _Asked(_Seen, frozen=True, kw_only=True):
    method: Literal["elicitation/create", "sampling/createMessage", "roots/list"]
    params: Meta_ | None = None


class _Required(_Seen, frozen=True, kw_only=True):
    input_requests: Annotated[dict[str, _Asked], Meta(max_length=64)] | None = None
    request_state: str | None = None


_SHAPES: Final[Mapping[str, tuple[type[_Seen], frozenset[str]]]] = {
    "tools/call": (_Called, frozenset({"content", "structuredContent", "isError"})),
    "resources/list": (_Resources, frozenset({"resources", "nextCursor"})),
    "resources/templates/list": (_Templates, frozenset({"resourceTemplates", "nextCursor"})),
    "resources/read": (_Read, frozenset({"contents"})),
    "resources/subscribe": (_Seen, frozenset()),
    "resources/unsubscribe": (_Seen, frozenset()),
    "logging/setLevel": (_Seen, frozenset()),
    "prompts/list": (_Prompts, frozenset({"prompts", "nextCursor"})),
    "prompts/get": (_GotPrompt, frozenset({"description", "messages"})),
    "completion/complete": (_Completed, frozenset({"completion"})),
}
_REQUIRED_FIELDS: Final = frozenset({"inputRequests", "requestState"})
ASKING: Final = frozenset({"tools/call", "resources/read", "prompts/get"})
"""The methods whose answer may be that the server needs to know something first (2026-07-28)."""


def accepted(method: str, value: Json, *, stateless: bool) -> dict[str, Json]:
    """A server's result as it may go to a client of this revision.

    Args:
        method: that was asked.
        value: as it came, already JSON.
        stateless: the client speaks 2026-07-28.

    Raises:
        BadInput: ``bad_answer``; ``tool_input_required``: a question that a client of this revision cannot answer.

    """
    fields = as_object(value)
    if fields is None:
        raise _bad("a result is an object")
    if fields.get("resultType") == INPUT_REQUIRED:
        if not stateless or method not in ASKING:
            raise BadInput("the server asks for input that cannot be given here", code="tool_input_required")
        _fits(fields, _Required)
        return {"resultType": INPUT_REQUIRED, **_kept(fields, _REQUIRED_FIELDS)}
    if fields.get("resultType", COMPLETE) != COMPLETE:
        raise _bad("a result of a type that is not known")
    shape, names = _SHAPES[method]
    _fits(fields, shape)
    kept = _kept(fields, names)
    if method == "tools/call":
        kept.setdefault("content", [])
        if not stateless and as_object(kept.get("structuredContent", {})) is None:
            del kept["structuredContent"]  # 2025-11-25 has objects only
    return of_revision(method, kept, stateless=stateless)


def of_revision(method: str, fields: dict[str, Json], *, stateless: bool) -> dict[str, Json]:
    """A result with what 2026-07-28 wants besides: nothing here is to be cached, or shown to another client."""
    if not stateless:
        return fields
    more: dict[str, Json] = {"ttlMs": 0, "cacheScope": "private"} if method in CACHED else {}
    return {"resultType": COMPLETE, **fields, **more}


def plain(content: Sequence[Json], structured: Json) -> Json:
    """The value of a successful answer of a tool.

    Structured content that is only a wrapped ``result`` gives the value inside; other structured content gives
    itself; one text block gives its text; anything else gives the list of content blocks.

    Args:
        content: MCP content blocks as JSON objects.
        structured: ``structuredContent``, or None.

    """
    if isinstance(structured, dict):
        fields = cast("dict[str, Json]", structured)
        return fields["result"] if set(fields) == {"result"} else fields
    if structured is not None:
        return structured
    if len(content) == 1 and (only := as_object(content[0])) and only.get("type") == "text" and "text" in only:
        return only["text"]
    return list(content)


def echoes(content: Sequence[Json], structured: Json) -> bool:
    """Whether the content says only what the structured content says too.

    Servers repeat structured content as text for older clients: one block, or one for each item of a list. Whatever
    else stands there is something that no field of the structured content declares.
    """
    found = [_only_text(block) for block in content]
    if any(text is None for text in found):
        return False
    value = plain(content, structured)
    items = as_array(value)
    return (
        not found
        or (len(found) == 1 and _says(found[0], value, structured))
        or (items is not None and len(items) == len(found)
            and all(_says(text, item, item) for text, item in zip(found, items, strict=True)))
    )  # fmt: skip


def _only_text(block: Json) -> str | None:
    fields = as_object(block) or {}
    text = fields.get("text")
    return text if isinstance(text, str) and set(fields) == {"type", "text"} else None


def _says(text: str | None, value: Json, whole: Json) -> bool:
    if text is None or text == value:
        return text is not None
    try:
        read: Json = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return _same(read, value) or _same(read, whole)


def _same(one: Json, other: Json) -> bool:
    """Equal, and of one type: True is not 1 here."""
    return type(one) is type(other) and msgspec.json.encode(one, order="sorted") == msgspec.json.encode(
        other, order="sorted")


def _fits(fields: dict[str, Json], shape: type[_Seen]) -> None:
    try:
        msgspec.convert(fields, shape)
    except msgspec.ValidationError as fault:
        raise _bad(f"a result does not have its form: {fault}"[:300]) from None


def _kept(fields: dict[str, Json], names: frozenset[str]) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if name in names and value is not None}


def _bad(cause: str) -> BadInput:
    return BadInput(cause, code="bad_answer")
