"""What a client may ask: closed parameters for each method, and the operation of the server that it becomes.

Unknown fields are refused: what nobody judged must not travel. Only ``_meta`` is open, and only named keys of it
are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.wire.mcp.rpc import Id

MAX_NAME: Final = 258  # characters: server, two underscores, operation
MAX_URI: Final = 8192
MAX_CURSOR: Final = 8192
MAX_STATE: Final = 65_536  # characters of what a server gives along to get it back
MAX_TEXT: Final = 65_536  # characters of one argument of a prompt
MAX_ANSWERS: Final = 64  # in one request
MAX_WATCHED: Final = 256  # resources in one subscription

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Uri = Annotated[str, Meta(min_length=1, max_length=MAX_URI)]
State = Annotated[str, Meta(max_length=MAX_STATE)]
Short = Annotated[str, Meta(max_length=MAX_TEXT)]
Texts = Annotated[dict[Name, Short], Meta(max_length=256)]
Token = Annotated[str, Meta(max_length=256)] | int
Level = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel",
            omit_defaults=True):
    pass


class Params(_Part, frozen=True, kw_only=True):
    """What every request may have."""

    meta: dict[str, Json] = msgspec.field(name="_meta", default_factory=dict[str, Json])


class Initialize(Params, frozen=True, kw_only=True):
    """2025-11-25: who the client is and what it can answer."""

    protocol_version: Annotated[str, Meta(max_length=64)]
    capabilities: dict[str, Json]
    client_info: dict[str, Json]


class Page(Params, frozen=True, kw_only=True):
    """Any of the lists."""

    cursor: Annotated[str, Meta(max_length=MAX_CURSOR)] | None = None


class CallTool(Params, frozen=True, kw_only=True):
    """``arguments`` are judged at the wall."""

    name: Name
    arguments: dict[str, Json] = msgspec.field(default_factory=dict[str, Json])


class ReadResource(Params, frozen=True, kw_only=True):
    """Also to subscribe, and to end that."""

    uri: Uri


class GetPrompt(Params, frozen=True, kw_only=True):
    """A prompt with its arguments."""

    name: Name
    arguments: Texts = msgspec.field(default_factory=dict[str, str])


class _PromptRef(_Part, frozen=True, kw_only=True, tag="ref/prompt", tag_field="type"):
    name: Name
    title: Short | None = None


class _ResourceRef(_Part, frozen=True, kw_only=True, tag="ref/resource", tag_field="type"):
    uri: Uri


class _Argument(_Part, frozen=True, kw_only=True):
    name: Name
    value: Short


class _Context(_Part, frozen=True, kw_only=True):
    arguments: Texts = msgspec.field(default_factory=dict[str, str])


class Complete(Params, frozen=True, kw_only=True):
    """What could stand in an argument."""

    ref: _PromptRef | _ResourceRef
    argument: _Argument
    context: _Context | None = None


class SetLevel(Params, frozen=True, kw_only=True):
    """2025-11-25."""

    level: Level


class _Wanted(_Part, frozen=True, kw_only=True):
    tools_list_changed: bool | None = None
    prompts_list_changed: bool | None = None
    resources_list_changed: bool | None = None
    resource_subscriptions: Annotated[list[Uri], Meta(max_length=MAX_WATCHED)] | None = None

    @property
    def lists(self) -> dict[str, bool | None]:
        """Which lists' changes it wants to be told of, by their names in ``NEWS``."""
        return {"toolsListChanged": self.tools_list_changed, "promptsListChanged": self.prompts_list_changed,
                "resourcesListChanged": self.resources_list_changed}


class Listen(Params, frozen=True, kw_only=True):
    """2026-07-28: what to be told of."""

    notifications: _Wanted


T = TypeVar("T", bound=Params)
Answers = Annotated[dict[Name, dict[str, Json]], Meta(max_length=MAX_ANSWERS)]


class CallToolAgain(CallTool, frozen=True, kw_only=True):
    """2026-07-28: with answers to what the server asked for in an earlier answer."""

    input_responses: Answers | None = None
    request_state: State | None = None


class ReadResourceAgain(ReadResource, frozen=True, kw_only=True):
    """As CallToolAgain."""

    input_responses: Answers | None = None
    request_state: State | None = None


class GetPromptAgain(GetPrompt, frozen=True, kw_only=True):
    """As CallToolAgain."""

    input_responses: Answers | None = None
    request_state: State | None = None


Again = CallToolAgain | ReadResourceAgain | GetPromptAgain


class Cancelled(Params, frozen=True, kw_only=True):
    """A notification: nobody waits for this request any more."""

    request_id: Id
    reason: Short | None = None


_LISTS: Final[Mapping[str, type[Params]]] = {
    "tools/list": Page,
    "resources/list": Page,
    "resources/templates/list": Page,
    "prompts/list": Page,
    "completion/complete": Complete,
}
WITH_SESSION: Final[Mapping[str, type[Params]]] = {
    **_LISTS,
    "initialize": Initialize,
    "ping": Params,
    "tools/call": CallTool,
    "resources/read": ReadResource,
    "resources/subscribe": ReadResource,
    "resources/unsubscribe": ReadResource,
    "prompts/get": GetPrompt,
    "logging/setLevel": SetLevel,
}
STATELESS: Final[Mapping[str, type[Params]]] = {
    **_LISTS,
    "server/discover": Params,
    "subscriptions/listen": Listen,
    "tools/call": CallToolAgain,
    "resources/read": ReadResourceAgain,
    "prompts/get": GetPromptAgain,
}
Asks: TypeAlias = Literal["elicitation", "sampling", "roots"]
"""What a client says that it can be asked."""
OPERATIONS: Final[Mapping[str, str]] = {
    "resources/list": "resources.list",
    "resources/templates/list": "resources.templates",
    "resources/read": "resources.read",
    "resources/subscribe": "resources.subscribe",
    "resources/unsubscribe": "resources.unsubscribe",
    "prompts/list": "prompts.list",
    "prompts/get": "prompts.get",
    "completion/complete": "completion.complete",
    "logging/setLevel": "logging.setLevel",
}
"""The operation with a reserved name that a method of the client's is."""
ANSWERS: Final[Mapping[str, str]] = {
    "elicitation/create": "elicitation.create",
    "sampling/createMessage": "sampling.createMessage",
    "roots/list": "roots.list",
}
"""The operation with a reserved name that an answer to a server's question is."""
CLIENT_CAPABILITY: Final[Mapping[str, Asks]] = {
    "elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots",
}  # fmt: skip
NEWS: Final[Mapping[str, str]] = {
    "toolsListChanged": "tools", "promptsListChanged": "prompts", "resourcesListChanged": "resources",
}  # fmt: skip
"""The lists whose changes are told of."""
RESERVED: Final = frozenset({*OPERATIONS.values(), *ANSWERS.values()})


def check(known: Mapping[str, type[Params]], method: str, params: Mapping[str, Json]) -> Params:
    """The parameters of a request, closed.

    Args:
        known: the methods of the revision, ``WITH_SESSION`` or ``STATELESS``.
        method: of the request.
        params: as they came.

    Raises:
        BadInput: ``mcp_unknown_method`` or ``mcp_bad_params``.

    """
    wanted = known.get(method)
    if wanted is None:
        raise BadInput(f"there is no method {method[:80]!a} here", code="mcp_unknown_method")
    return convert(params, wanted)


def cancelled(params: Mapping[str, Json]) -> Cancelled:
    """What ``notifications/cancelled`` says. Raises BadInput."""
    return convert(params, Cancelled)


def convert(params: Mapping[str, Json], wanted: type[T]) -> T:
    """Raises BadInput (``mcp_bad_params``)."""
    try:
        return msgspec.convert(params, wanted)
    except msgspec.ValidationError as fault:
        raise BadInput(f"the parameters do not fit: {fault}"[:500], code="mcp_bad_params") from None


def operands(params: Params) -> dict[str, Json]:
    """The arguments of the operation with a reserved name: the parameters without what is MCP's own."""
    fields: dict[str, Json] = msgspec.to_builtins(params)
    own = {"_meta", "inputResponses", "requestState"}
    return {name: value for name, value in fields.items() if name not in own}
