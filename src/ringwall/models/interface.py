"""What the arguments of a model call are: an interface of a provider, and a request in its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias, get_args

from ringwall.call import Json, as_array, as_object, canonical
from ringwall.errors import BadInput
from ringwall.wire.models import wire
from ringwall.wire.models.interface import Api, ModelWire

WIRES: Final[Mapping[str, tuple[Api, ...]]] = MappingProxyType(
    {"openai": ("chat", "responses"), "anthropic": ("messages",)}
)
"""What an upstream speaks, by the ``wire`` of its model in the manifest."""
APIS: Final[tuple[Api, ...]] = get_args(Api)
Place: TypeAlias = tuple[str | int, ...]

PICTURE_BYTES: Final = 24 << 10  # 8192 tokens of 3 bytes: the most that a provider counts for one
FILES: Final[frozenset[Place]] = frozenset({
    (*before, *inside)
    for before, places in (
        (("messages", 0, "content", 0), (
            ("image_url", "url"), ("file", "file_data"),  # chat completions
            ("source", "data"), ("content", 0, "source", "data"),  # messages, and a tool's result in them
        )),
        (("input", 0), (
            ("content", 0, "image_url"), ("content", 0, "file_data"),  # responses, and a tool's result in them
            ("output", 0, "image_url"), ("output", 0, "file_data"),
        )),
    )
    for inside in places
})
"""Where requests have pictures and documents in Base64, with 0 for every number. Nowhere else: a schema or a tool's
arguments may have members of these names, and any text in them."""
_TOWARDS: Final = frozenset(place[:length] for place in FILES for length in range(1, len(place)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The arguments of one call."""

    api: Api
    request: dict[str, Json]

    @property
    def wire(self) -> ModelWire:
        """Who speaks this interface."""
        return wire(self.api)

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted piece by piece."""
        return self.request.get("stream") is True

    @property
    def provider_tools(self) -> tuple[str, ...]:
        """Tools that would run at the provider, past the wall; sorted."""
        return self.wire.provider_tools(self.request)

    @property
    def offered(self) -> frozenset[str]:
        """Names of the tools that the agent offers to run itself: all that an answer may call."""
        if self.request.get("tool_choice") in ("none", {"type": "none"}):
            return frozenset()
        tools = [as_object(tool) or {} for tool in as_array(self.request.get("tools")) or []]
        named = [as_object(tool.get("function")) or tool for tool in tools]
        return frozenset(name for one in named if isinstance(name := one.get("name"), str))


def asked(args: Json) -> Asked:
    """Read ``{"api", "request"}``.

    Records of calls from before there were several interfaces have the bare request of a chat completion.

    Raises:
        BadInput: ``bad_request``.

    """
    fields = as_object(args)
    if fields is None:
        raise BadInput("the arguments of a model call are a JSON object", code="bad_request")
    if "api" not in fields and "request" not in fields:
        return Asked(api="chat", request=fields)
    api, request = fields.get("api"), as_object(fields.get("request"))
    if api not in APIS or request is None:
        raise BadInput("a model call names its interface and has a request", code="bad_request")
    return Asked(api=api, request=request)


def counted_bytes(request: Json) -> int:
    """The length of a request, as tokens are counted by it: of a picture, no more than providers count for one."""
    # By what it is sent as: a document may begin as a picture does, and costs what is on its pages.
    pictures = sum(max(0, len(file) - PICTURE_BYTES) for kind, file in files(request) if kind.startswith("image/"))
    return len(canonical(request)) - pictures


def files(request: Json) -> Iterator[tuple[str, str]]:
    """Every picture and document of a request: its media type, and it as it stands there."""
    stack: list[tuple[Place, Json, str]] = [((), request, "")]
    while stack:
        place, item, kind = stack.pop()
        if place in FILES:
            if isinstance(item, str):
                yield kind or item.partition(";")[0].removeprefix("data:"), item
        elif (fields := as_object(item)) is not None:
            kind = str(fields.get("media_type", ""))
            stack += [((*place, name), inner, kind) for name, inner in fields.items() if _leads(*place, name)]
        elif (items := as_array(item)) is not None and _leads(*place, 0):
            stack += [((*place, 0), inner, "") for inner in items]


def _leads(*place: str | int) -> bool:
    return place in FILES or place in _TOWARDS
