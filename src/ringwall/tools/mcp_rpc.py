"""JSON-RPC as MCP uses it, seen from a client. Sans-I/O: bytes to messages and back, for pipes and for HTTP.

A message's result stays raw until the call it belongs to looks at it, so that a bad one is that call's fault alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.tools.lines import MAX_LINE
from ringwall.tools.protocol import MAX_DEPTH, MAX_VALUES
from ringwall.wire import strict
from ringwall.wire.mcp import rpc

REVISION: Final = "2025-11-25"  # of the handshake, that we offer
REVISIONS: Final = frozenset({REVISION, "2025-06-18", "2025-03-26", "2024-11-05"})  # that we take
CLIENT: Final[Json] = {"name": "ringwall", "version": "1"}  # no exact version: it would be a fingerprint
MAX_TOOLS: Final = 1024
MAX_PAGES: Final = 32  # of a listing
MAX_MESSAGE: Final = 16_384  # characters of an error's message

Id: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class Request:
    """The server asks something."""

    id: Id
    method: str
    params: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """The server says something."""

    method: str
    params: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request of ours: one of the two. ``id`` is None where the server could not read it."""

    id: Id | None
    result: bytes | None = None
    error: bytes | None = None


Incoming: TypeAlias = Request | Note | Answer


class _Envelope(msgspec.Struct, frozen=True):
    jsonrpc: Literal["2.0"]
    id: Annotated[int, Meta(ge=-(2**53), le=2**53)] | str | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: msgspec.Raw | UnsetType = UNSET
    result: msgspec.Raw | UnsetType = UNSET
    error: msgspec.Raw | UnsetType = UNSET


_decoder: Final = msgspec.json.Decoder(_Envelope)


def parse(raw: bytes) -> Incoming:
    """One message, and no batch. Raises BadInput (``bad_answer``)."""
    try:
        found = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"this is no message of MCP: {fault}"[:300], code="bad_answer") from fault
    has_result, has_error = found.result is not UNSET, found.error is not UNSET
    if isinstance(found.method, str):
        params = bytes(found.params) if isinstance(found.params, msgspec.Raw) else b"{}"
        if has_result or has_error or found.id is None:
            raise BadInput("a message of MCP is a question and an answer at once", code="bad_answer")
        return Note(found.method, params) if isinstance(found.id, UnsetType) else Request(found.id, found.method,
                                                                                         params)
    if has_result == has_error or isinstance(found.id, UnsetType):
        raise BadInput("a message of MCP is neither a question nor an answer", code="bad_answer")
    if isinstance(found.result, msgspec.Raw):
        return Answer(found.id, result=bytes(found.result))
    return Answer(found.id, error=bytes(cast("msgspec.Raw", found.error)))


def fields(raw: bytes) -> dict[str, Json]:
    """The JSON object that a message carries. Raises BadInput: ``bad_answer`` or ``too_many_values``."""
    try:
        value = strict.parse(raw, max_bytes=MAX_LINE, max_depth=MAX_DEPTH, max_nodes=MAX_VALUES)
    except BadInput as fault:
        code = fault.code if fault.code == "too_many_values" else "bad_answer"
        raise BadInput(f"a message of MCP cannot be read: {fault.cause}", code=code) from fault
    if not isinstance(value, dict):
        raise BadInput("a message of MCP carries no object", code="bad_answer")
    return cast("dict[str, Json]", value)


def initialize(number: int, asks: tuple[str, ...]) -> bytes:
    """The first request of the handshake."""
    params: dict[str, Json] = {
        "protocolVersion": REVISION,
        "capabilities": {name: {} for name in asks},
        "clientInfo": CLIENT,
    }
    return rpc.request(number, "initialize", params)


def agreed(answer: Answer) -> str:
    """The revision a server answers the handshake with. Raises BadInput if it is none of REVISIONS."""
    version = fields(answer.result).get("protocolVersion") if answer.result is not None else None
    if not isinstance(version, str) or version not in REVISIONS:
        raise BadInput("a tool server speaks no revision of MCP that we do", code="bad_answer")
    return version


def error(raw: bytes) -> dict[str, Json]:
    """A JSON-RPC error: ``code``, ``message`` (cut at MAX_MESSAGE) and perhaps ``data``. Raises BadInput."""
    found = fields(raw)
    code, message = found.get("code"), found.get("message")
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(message, str):
        raise BadInput("a tool server's error is none", code="bad_answer")
    kept: dict[str, Json] = {"code": code, "message": message[:MAX_MESSAGE]}
    return {**kept, "data": found["data"]} if "data" in found else kept


class Listing:
    """A server's tools, page by page."""

    def __init__(self) -> None:
        self._found: dict[str, Json] = {}
        self._pages = 0

    def add(self, answer: Answer) -> str | None:
        """Take a page; gives the cursor of the next. Raises BadInput for pages that are none."""
        self._pages += 1
        if answer.error is not None:
            if self._pages == 1 and error(answer.error)["code"] == rpc.METHOD_NOT_FOUND:
                return None  # it has resources or prompts only
            raise BadInput("a tool server does not list its tools", code="tool_error")
        page = fields(answer.result or b"")
        tools = page.get("tools")
        if not isinstance(tools, list):
            raise BadInput("a tool server's listing is none", code="bad_answer")
        for tool in cast("list[Json]", tools):
            kept = _definition(tool)
            if kept["name"] in self._found or len(self._found) >= MAX_TOOLS:
                raise BadInput("a tool server lists a name twice, or too many", code="bad_answer")
            self._found[kept["name"]] = kept
        cursor = page.get("nextCursor")
        if cursor and self._pages >= MAX_PAGES:
            raise BadInput(f"a tool server's listing has more than {MAX_PAGES} pages", code="bad_answer")
        return cursor if isinstance(cursor, str) and cursor else None

    @property
    def tools(self) -> list[Json]:
        """All definitions so far."""
        return list(self._found.values())


_PARTS: Final = (
    ("name", str), ("title", str), ("description", str), ("inputSchema", dict), ("outputSchema", dict),
    ("annotations", dict),
)  # fmt: skip


def _definition(tool: Json) -> dict[str, Json]:
    """What of a tool is pinned and shown. Raises BadInput."""
    if not isinstance(tool, dict):
        raise BadInput("a tool server lists what is no tool", code="bad_answer")
    given = cast("dict[str, Json]", tool)
    kept = {name: given[name] for name, _ in _PARTS if given.get(name) is not None}
    if "name" not in kept or "inputSchema" not in kept or not all(
        isinstance(kept[name], kind) for name, kind in _PARTS if name in kept
    ):
        raise BadInput("a tool server lists what is no tool", code="bad_answer")
    return kept
