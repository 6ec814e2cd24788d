"""The HTTP+JSON binding: which method a path means, and its parameters from path, query and body.

A path and a query have one spelling here, or are refused: servers decode before they route, proxies do not, and
``/message%3Asend`` would be one thing to the wall and another behind it. No escape is ever needed in a path,
because ids are limited to characters that stand for themselves there. In a query everything but the unreserved
characters of RFC 3986 is escaped, with upper-case digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from ringwall.call import Json, as_object, canonical
from ringwall.errors import BadInput
from ringwall.wire import strict
from ringwall.wire.a2a.rpc import MAX_REQUEST, Request
from ringwall.wire.a2a.schema import check_params

MAX_PATH: Final = 1024  # bytes: two ids of 256 and the words between them have some 550
MAX_QUERY: Final = 8 << 10  # bytes: two tokens of 1,024 characters, all escaped, and the rest
_DIGITS: Final = 10  # of the largest number of 32 bits

_Kind = Literal["text", "int", "bool"]
_QUERIES: Final[Mapping[str, Mapping[str, _Kind]]] = MappingProxyType(
    {
        "GetTask": {"historyLength": "int"},
        "ListTasks": {
            "contextId": "text", "status": "text", "pageSize": "int", "pageToken": "text", "historyLength": "int",
            "statusTimestampAfter": "text", "includeArtifacts": "bool",
        },
        "ListTaskPushNotificationConfigs": {"pageSize": "int", "pageToken": "text"},
    }
)
_NO_QUERY: Final[Mapping[str, _Kind]] = MappingProxyType({})
_BODY_IF_ANY: Final = frozenset({"CancelTask", "SubscribeToTask"})  # the SDK posts the one with, the other without


def parse_rest(http_method: str, path: str, query: str, raw: bytes) -> Request:
    """Parse one HTTP+JSON request of A2A 1.0.

    Args:
        http_method: ``GET``, ``POST`` or ``DELETE``.
        path: below the base, with its first slash, as it stands in the request: not decoded.
        query: without the question mark, not decoded; empty: there is none.
        raw: the whole body.

    Raises:
        BadInput: ``a2a_unknown_path``, ``a2a_bad_path``, ``a2a_bad_query``, ``a2a_bad_body``, ``a2a_bad_params``,
            or a code of ``wire.strict``.

    """
    method, named = _route(http_method, path)
    params = _query(query, _QUERIES.get(method, _NO_QUERY)) | _body(http_method, method, raw)
    for name, value in named.items():
        if params.setdefault(name, value) != value:
            raise BadInput(f"`{name}` is one thing in the path and another in the body", code="a2a_bad_body")
    return Request(method=method, params=check_params(method, params))


def rest_result(method: str, result: Json) -> tuple[int, bytes]:
    """A checked answer, or one event.

    Returns:
        The HTTP status and the body. A method that answers nothing has an empty object (google.protobuf.Empty).

    """
    return 200, canonical({} if result is None else result)


def _route(http_method: str, path: str) -> tuple[str, dict[str, str]]:
    if len(path) > MAX_PATH:
        raise BadInput(f"the path is longer than {MAX_PATH} bytes", code="a2a_bad_path")
    if "%" in path or not path.isascii():
        raise BadInput(
            "the path is not in its one spelling: none of its characters may be escaped",
            code="a2a_bad_path", remedy="write /message:send, not /message%3Asend",
        )
    found = _fixed(http_method, path) or _task(http_method, path.split("/")[1:])
    if found is None or not path.startswith("/"):
        raise BadInput(f"A2A 1.0 has no {http_method[:10]!a} of this path", code="a2a_unknown_path")
    return found


def _fixed(http_method: str, path: str) -> tuple[str, dict[str, str]] | None:
    method = {
        ("POST", "/message:send"): "SendMessage",
        ("POST", "/message:stream"): "SendStreamingMessage",
        ("GET", "/tasks"): "ListTasks",
        ("GET", "/extendedAgentCard"): "GetExtendedAgentCard",
    }.get((http_method, path))
    return None if method is None else (method, {})


def _task(http_method: str, parts: list[str]) -> tuple[str, dict[str, str]] | None:
    match http_method, parts:
        case "GET" | "POST", ["tasks", task] if task.endswith(":subscribe"):
            return "SubscribeToTask", {"id": task.removesuffix(":subscribe")}
        case "POST", ["tasks", task] if task.endswith(":cancel"):
            return "CancelTask", {"id": task.removesuffix(":cancel")}
        case "GET", ["tasks", task]:
            return "GetTask", {"id": task}
        case "POST", ["tasks", task, "pushNotificationConfigs"]:
            return "CreateTaskPushNotificationConfig", {"taskId": task}
        case "GET", ["tasks", task, "pushNotificationConfigs"]:
            return "ListTaskPushNotificationConfigs", {"taskId": task}
        case "GET", ["tasks", task, "pushNotificationConfigs", config]:
            return "GetTaskPushNotificationConfig", {"taskId": task, "id": config}
        case "DELETE", ["tasks", task, "pushNotificationConfigs", config]:
            return "DeleteTaskPushNotificationConfig", {"taskId": task, "id": config}
        case _:
            return None


def _query(query: str, known: Mapping[str, _Kind]) -> dict[str, Json]:
    if len(query) > MAX_QUERY:
        raise _bad_query(f"the query is longer than {MAX_QUERY} bytes")
    found: dict[str, Json] = {}
    for pair in query.split("&") if query else []:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise _bad_query(f"the query has no parameter {name[:80]!a}")
        if name in found:
            raise _bad_query(f"the query names `{name}` twice")
        found[name] = _typed(name, _plain(name, value), known[name])
    return found


def _plain(name: str, value: str) -> str:
    """The text that this spelling means, if it is the one spelling of it."""
    try:
        plain = unquote_to_bytes(value).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise _bad_query(f"`{name}` is not UTF-8") from None
    if quote(plain, safe="") != value:
        raise _bad_query(f"`{name}` is not in its one spelling: escape all but letters, digits and -._~, as %2B")
    return plain


def _typed(name: str, text: str, kind: _Kind) -> Json:
    if kind == "text":
        return text
    if kind == "bool":
        if text not in {"true", "false"}:
            raise _bad_query(f"`{name}` must be true or false")
        return text == "true"
    # A number in its one spelling: str(int()) would also take other scripts' digits, signs and underscores.
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and (text == "0" or text[0] != "0")):
        raise _bad_query(f"`{name}` must be a whole number, without sign or leading zeros")
    return int(text)


def _body(http_method: str, method: str, raw: bytes) -> dict[str, Json]:
    if not raw and (http_method != "POST" or method in _BODY_IF_ANY):
        return {}
    if http_method != "POST":
        raise BadInput(f"{method} has no body in HTTP+JSON", code="a2a_bad_body")
    fields = as_object(strict.parse(raw, max_bytes=MAX_REQUEST))
    if fields is None:
        raise BadInput("the body must be a JSON object", code="a2a_bad_body")
    return fields


def _bad_query(cause: str) -> BadInput:
    return BadInput(cause, code="a2a_bad_query")
