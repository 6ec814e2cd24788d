"""Reading a parsed request field by field: what every resolver of this package needs."""

from __future__ import annotations

import string
from typing import Final, cast

from ringwall.call import Approval, Json
from ringwall.errors import BadInput

MAX_NAME: Final = 128  # of a server, operation, model, verb, skill or approval
MAX_TRACE: Final = 64  # version 00 has 55 characters
_TRACE: Final = frozenset(string.digits + "abcdef-")
_NAME: Final = frozenset(string.ascii_letters + string.digits + "._-")


def bad(cause: str, *, code: str = "bad_request", remedy: str = "") -> BadInput:
    """A request that is not what it must be."""
    return BadInput(cause, code=code, remedy=remedy)


def an_object(value: Json, what: str) -> dict[str, Json]:
    """The value, a JSON object. Raises BadInput."""
    if not isinstance(value, dict):
        raise bad(f"{what} must be an object")
    return cast("dict[str, Json]", value)


def only(body: dict[str, Json], known: set[str]) -> None:
    """Raises BadInput for a key that is not known."""
    if unknown := sorted(set(body) - known):
        raise bad(f"the request has an unknown key {unknown[0][:80]!a}",
                  remedy=f"known: {', '.join(sorted(known))}")


def plain(text: Json, what: str) -> str:
    """A name of few and harmless characters. Raises BadInput (``bad_name``)."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_NAME or not set(text) <= _NAME \
            or text in {".", ".."}:
        raise bad(f"{what} must be 1 to {MAX_NAME} letters, digits, '.', '_' or '-'", code="bad_name")
    return text


def trace_of(body: dict[str, Json]) -> str:
    """A W3C traceparent, as long as one can be; what it says is for telemetry. Raises BadInput."""
    trace = body.get("trace", "")
    if not isinstance(trace, str) or len(trace) > MAX_TRACE or not set(trace) <= _TRACE:
        raise bad("'trace' must be a traceparent")
    return trace


def approval_of(body: dict[str, Json]) -> Approval | None:
    """The record that a request claims as its approval: a claim, which the wall and the rings must verify."""
    if "approval" not in body:
        return None
    record = body["approval"]
    if not isinstance(record, str):
        raise bad("'approval' must name a record such as acme/57")
    tenant, _, number = record.partition("/")
    if not (number.isascii() and number.isdigit() and len(number) <= MAX_NAME):
        raise bad("'approval' must name a record such as acme/57")
    return Approval(record=f"{plain(tenant, 'the tenant of an approval')}/{number}")
