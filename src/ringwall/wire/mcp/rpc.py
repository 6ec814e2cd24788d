"""One JSON-RPC message of MCP, read strictly, and the messages that go out.

A batch is refused: of the revisions spoken here none has them (2025-06-18 took them out).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from ringwall.call import Json, as_object
from ringwall.errors import BadInput
from ringwall.wire import strict

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = -32000  # of the range that JSON-RPC leaves to implementations: the wall said no
HEADER_MISMATCH: Final = -32020  # 2026-07-28
UNSUPPORTED_VERSION: Final = -32022  # 2026-07-28

MAX_MESSAGE: Final = 1 << 20  # bytes: what the resolver takes of a tool call
MAX_ID: Final = 256  # characters; clients use counters and UUIDs
MAX_METHOD: Final = 128  # characters
MAX_ERROR: Final = 16_384  # characters of an error's message: as of a tool's own error
_ID_LIMIT: Final = 2**53  # beyond it JSON parsers round
_REQUEST: Final = frozenset({"jsonrpc", "id", "method", "params"})
_ANSWER: Final = frozenset({"jsonrpc", "id", "result", "error"})

Id: TypeAlias = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Somebody wants an answer. ``params`` are not checked yet (``methods.check``)."""

    id: Id
    method: str
    params: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Somebody wants no answer."""

    method: str
    params: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A JSON-RPC error object."""

    code: int
    message: str
    data: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client says to a question of the server's: exactly one of the two is set."""

    id: Id
    result: dict[str, Json] | None = None
    fault: Fault | None = None


Message: TypeAlias = Request | Notification | Answer


def parse(raw: bytes, *, max_bytes: int = MAX_MESSAGE) -> Message:
    """Read one message.

    Args:
        raw: a whole body, or a line.
        max_bytes: longest message.

    Raises:
        BadInput: ``mcp_bad_rpc``, or a code of ``wire.strict``.

    """
    value = strict.parse(raw, max_bytes=max_bytes)
    if isinstance(value, list):
        raise _bad("batches of messages are not taken", "send one message at a time")
    fields = as_object(value)
    if fields is None:
        raise _bad("a message is a JSON object")
    if fields.get("jsonrpc") != "2.0":
        raise _bad('`jsonrpc` must be "2.0"')
    if "method" not in fields:
        return _answer(fields)
    _closed(fields, _REQUEST, "a request")
    method, params = fields["method"], fields.get("params", {})
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD or not method.isascii():
        raise _bad(f"`method` must be a text of 1 to {MAX_METHOD} ASCII characters")
    if as_object(params) is None:
        raise _bad("`params` must be an object")
    if "id" not in fields:
        return Notification(method=method, params=params)
    return Request(id=_id(fields["id"]), method=method, params=params)


def rpc_id(raw: bytes) -> Id | None:
    """The id of a message that is refused, to be said back to whoever sent it; None: it cannot be told."""
    try:
        found = _IDS.decode(raw).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, str) and len(found) <= MAX_ID else found if isinstance(found, int) else None


def result(id: Id, value: Json) -> bytes:  # noqa: A002 (JSON-RPC's own name)
    """An answer."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id, "result": value})


def error(id: Id | None, fault: Fault) -> bytes:  # noqa: A002
    """An error; the id is null where the request's could not be read."""
    body: dict[str, Json] = {"code": fault.code, "message": fault.message}
    if fault.data is not None:
        body["data"] = fault.data
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id, "error": body})


def request(id: Id, method: str, params: Json) -> bytes:  # noqa: A002
    """A question to the client."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def notification(method: str, params: Json = None) -> bytes:
    """An event."""
    body: dict[str, Json] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        body["params"] = params
    return msgspec.json.encode(body)


def parse_fault(value: Json) -> Fault:
    """A JSON-RPC error object of an untrusted server or client. Raises BadInput (``mcp_bad_rpc``)."""
    fields = as_object(value)
    if fields is None:
        raise _bad("`error` must be an object")
    code, message = fields.get("code"), fields.get("message")
    if type(code) is not int or not -(2**31) <= code < 2**31:
        raise _bad("the `code` of an error must be a whole number of 32 bits")
    if not isinstance(message, str):
        raise _bad("the `message` of an error must be a text")
    return Fault(code=code, message=message[:MAX_ERROR], data=fields.get("data"))


class _Asked(msgspec.Struct, frozen=True):
    id: Id | None = None


_IDS: Final = msgspec.json.Decoder(_Asked)


def _answer(fields: dict[str, Json]) -> Answer:
    _closed(fields, _ANSWER, "an answer")
    if ("result" in fields) == ("error" in fields):
        raise _bad("a message has a `method`, or exactly one of `result` and `error`")
    number = _id(fields.get("id"))
    if "error" in fields:
        return Answer(id=number, fault=parse_fault(fields["error"]))
    found = as_object(fields["result"])
    if found is None:
        raise _bad("`result` must be an object")
    return Answer(id=number, result=found)


def _id(value: Json) -> Id:
    if isinstance(value, str):
        if len(value) > MAX_ID:
            raise _bad(f"`id` has more than {MAX_ID} characters")
    elif type(value) is not int or not -_ID_LIMIT < value < _ID_LIMIT:
        raise _bad("`id` must be a text or a whole number below 2^53")
    return value


def _closed(fields: Mapping[str, Json], known: frozenset[str], what: str) -> None:
    for name in fields:
        if name not in known:
            raise _bad(f"{what} has no field {name[:80]!a}")


def _bad(cause: str, remedy: str = "") -> BadInput:
    return BadInput(cause, code="mcp_bad_rpc", remedy=remedy)
