"""The JSON-RPC binding: requests and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringwall.call import Json, as_object, canonical
from ringwall.errors import BadInput
from ringwall.wire import strict
from ringwall.wire.a2a import texts
from ringwall.wire.a2a.faults import Fault
from ringwall.wire.a2a.schema import EXTRA, check_params

MAX_REQUEST: Final = 8 << 20  # bytes of a body: what a door takes; files travel inside as Base64
MAX_ANSWER: Final = 8 << 20  # bytes of one answer: as of a tool's
MAX_MESSAGE: Final = 4096  # characters of an error's message
MAX_DETAILS: Final = 1000  # values in the data of an error
_REQUEST: Final = frozenset({"jsonrpc", "id", "method", "params"})
_ANSWER: Final = frozenset({"jsonrpc", "id", "result", "error"})
_ERROR: Final = frozenset({"code", "message", "data"})
_ID_LIMIT: Final = 2**53  # beyond it JSON parsers round


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, whatever binding it came in.

    Args:
        method: its JSON-RPC name.
        params: checked, see ``check_params``.
        id: of JSON-RPC: str, int or None. None in HTTP+JSON.

    """

    method: str
    params: dict[str, Json]
    id: Json = None


def _bad(cause: str, remedy: str = "", code: str = "a2a_bad_rpc") -> BadInput:
    return BadInput(cause, code=code, remedy=remedy)


def parse_rpc(raw: bytes, *, extra: bool = False) -> Request:
    """Parse one JSON-RPC request of A2A 1.0. An absent id is null: A2A has no notifications.

    Args:
        raw: the whole body.
        extra: whether the methods of EXTRA are understood too; from A2A clients they are not.

    Raises:
        BadInput: ``a2a_bad_rpc``, ``a2a_unknown_method``, ``a2a_bad_params``, or a code of ``wire.strict``.

    """
    value = strict.parse(raw, max_bytes=MAX_REQUEST)
    if isinstance(value, list):
        raise _bad("batches of requests are not taken", "send one request at a time")
    fields = as_object(value)
    if fields is None:
        raise _bad("a JSON-RPC request is an object")
    _closed(fields, _REQUEST, "a JSON-RPC request", "a2a_bad_rpc")
    if fields.get("jsonrpc") != "2.0":
        raise _bad('`jsonrpc` must be "2.0"')
    method = fields.get("method")
    if not isinstance(method, str):
        raise _bad("`method` must be a text")
    number = _id(fields.get("id"))
    if method in EXTRA and not extra:
        raise _bad(f"A2A 1.0 has no method {method}", code="a2a_unknown_method")
    return Request(method=method, params=check_params(method, fields.get("params", {})), id=number)


def rpc_request(request: Request) -> bytes:
    """A request as a body, from its checked parameters."""
    return canonical({"jsonrpc": "2.0", "id": request.id, "method": request.method, "params": request.params})


def rpc_result(id: Json, result: Json) -> bytes:  # noqa: A002 (JSON-RPC's own name)
    """An answer as a body, or as the data of one event."""
    return canonical({"jsonrpc": "2.0", "id": id, "result": result})


def rpc_fault(id: Json, fault: Fault) -> bytes:  # noqa: A002
    """An error as a body, or as the data of one event."""
    error: Json = {"code": fault.code, "message": fault.message}
    if fault.data is not None:
        error["data"] = fault.data
    return canonical({"jsonrpc": "2.0", "id": id, "error": error})


def parse_rpc_answer(raw: bytes, id: Json) -> Json | Fault:  # noqa: A002
    """Parse the answer of an untrusted server or peer.

    Args:
        raw: the whole body, or the data of one event.
        id: of the request. An error may have the id null: the server could not read the request.

    Returns:
        The result, not checked yet (``check_result``, ``check_event``), or the error.

    Raises:
        BadInput: ``a2a_bad_answer``, or a code of ``wire.strict``.

    """
    fields = as_object(strict.parse(raw, max_bytes=MAX_ANSWER))
    if fields is None:
        raise _answer("a JSON-RPC answer is an object")
    _closed(fields, _ANSWER, "a JSON-RPC answer", "a2a_bad_answer")
    if fields.get("jsonrpc") != "2.0":
        raise _answer('`jsonrpc` must be "2.0"')
    if ("result" in fields) == ("error" in fields):
        raise _answer("an answer has exactly one of `result` and `error`")
    if "id" not in fields or not _answers(fields["id"], id, "error" in fields):
        raise _answer("the answer is not to this request: its `id` differs")
    return _fault(fields["error"]) if "error" in fields else fields["result"]


def _answers(given: Json, asked: Json, error: bool) -> bool:
    return (type(given) is type(asked) and given == asked) or (error and given is None)


def _fault(value: Json) -> Fault:
    error = as_object(value)
    if error is None:
        raise _answer("`error` must be an object")
    _closed(error, _ERROR, "an error", "a2a_bad_answer")
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    if type(code) is not int or not -(2**31) <= code < 2**31:
        raise _answer("the `code` of an error must be a whole number of 32 bits")
    if not isinstance(message, str) or len(message) > MAX_MESSAGE:
        raise _answer(f"the `message` of an error must be a text of at most {MAX_MESSAGE} characters")
    try:
        texts.prose(message, "message")
        texts.free(data, "data", MAX_DETAILS)
    except ValueError as fault:
        raise _answer(f"an error: {fault}") from None
    return Fault(code=code, message=message, data=data)


def _id(value: Json) -> Json:
    if isinstance(value, str):
        try:
            texts.label(value, "id")  # it is only ever given back
        except ValueError as fault:
            raise _bad(str(fault)) from None
    elif value is not None and (type(value) is not int or not -_ID_LIMIT < value < _ID_LIMIT):
        raise _bad("`id` must be a text, a whole number below 2^53, or null")
    return value


def _closed(fields: dict[str, Json], known: frozenset[str], what: str, code: str) -> None:
    for name in fields:
        if name not in known:
            raise _bad(f"{what} has no field {name[:80]!a}", code=code)


def _answer(cause: str) -> BadInput:
    return BadInput(cause, code="a2a_bad_answer")
