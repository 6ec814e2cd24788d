"""The answers of both doors: JSON with a status that fits, and the one shape of an error."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from ringwall.call import Denied, Json
from ringwall.doors.interface import Receive, Send
from ringwall.interface import Refusal

_PHRASES: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    403: "Forbidden",
    503: "Service Unavailable",
}
MAX_WAIT_DIGITS: Final = 6  # eleven days; the door bounds it further
# Codes that are neither "*_unavailable" nor "bad_*" and still mean that: a part is down, or the input is wrong.
_BROKEN: Final = frozenset({"ring_failed", "audit_error", "unavailable", "guard_not_ready", "policy_failed"})
_WRONG: Final = frozenset(
    {"too_deep", "too_large", "too_many_values", "too_many_resources", "duplicate_key", "invalid_arguments"}
)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why there is no result. ``record`` names the audit record; ``errors`` are schema errors, in full."""

    code: str
    reason: str
    remedy: str = ""
    record: str = ""
    errors: tuple[str, ...] = ()
    retry_after: float | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not 200."""

    error: Problem


class ResultBody(msgspec.Struct, frozen=True):
    """The body of 200."""

    result: Json
    record: str


def status_of(refusal: Refusal) -> int:
    """The HTTP status of a refusal."""
    code = refusal.code
    if refusal.retry_after is not None:
        return 429
    if code in _BROKEN or (code.endswith("_unavailable") and code != "approval_unavailable"):
        return 503
    if refusal.errors or code in _WRONG or code.startswith("bad_"):
        return 400
    return 403


def of_refusal(refusal: Refusal) -> Problem:
    """The same refusal as JSON."""
    return Problem(
        code=refusal.code,
        reason=refusal.reason,
        remedy=refusal.remedy,
        record=refusal.record,
        errors=refusal.errors,
        retry_after=refusal.retry_after,
    )


def of_denied(denied: Denied, record: str = "") -> Problem:
    """A denial as the agent may see it: without its detail."""
    return Problem(
        code=denied.code,
        reason=denied.reason,
        remedy=denied.remedy,
        record=record,
        retry_after=denied.retry_after,
    )


def encode_problem(problem: Problem) -> bytes:
    """The error body. A text that JSON cannot carry is replaced, so that an error always gets out."""
    try:
        return msgspec.json.encode(ErrorBody(problem))
    except UnicodeEncodeError:
        plain = Problem(code=_ascii(problem.code), reason=_ascii(problem.reason), record=_ascii(problem.record))
        return msgspec.json.encode(ErrorBody(plain))


def encode_result(result: Json, record: str) -> bytes | None:
    """The body of 200; None if the result holds something that JSON cannot carry."""
    try:
        return msgspec.json.encode(ResultBody(result, record))
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return None


def headers(body: bytes, problem: Problem | None = None, *, close: bool = False) -> list[tuple[bytes, bytes]]:
    """Response headers; Retry-After in whole seconds, rounded up (RFC 9110 section 10.2.3)."""
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if problem is not None and problem.retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(1, math.ceil(problem.retry_after))))
    if close:
        fields.append((b"connection", b"close"))
    return fields


async def send_problem(
    send: Send, status: int, problem: Problem, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Answer with an error."""
    body = encode_problem(problem)
    await _send(send, status, [*headers(body, problem), *extra], body)


async def send_json(send: Send, body: bytes) -> None:
    """Answer 200 with encoded JSON."""
    await _send(send, 200, headers(body), body)


async def _send(send: Send, status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def raw_response(status: int, problem: Problem) -> bytes:
    """A whole response for a connection that gets no other: what the protocol answers by itself."""
    body = encode_problem(problem)
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES[status].encode())]
    lines += [b"%s: %s\r\n" % field for field in headers(body, problem, close=True)]
    return b"".join([*lines, b"\r\n", body])


async def read_body(receive: Receive) -> bytes | None:
    """The whole body (the protocol has bounded it); None if the peer left before its end."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def is_json(fields: list[tuple[bytes, bytes]]) -> bool:
    """Whether exactly one Content-Type says JSON in UTF-8 (RFC 8259 section 11), and no header says that the body
    is to be decoded first: it is read as it is (RFC 9110 section 8.4)."""
    found = [value for name, value in fields if name == b"content-type"]
    coded = any(value.strip().lower() != b"identity" for name, value in fields if name == b"content-encoding")
    if len(found) != 1 or coded:
        return False
    kind, _, parameters = found[0].lower().partition(b";")
    return kind.strip() == b"application/json" and parameters.strip() in {b"", b"charset=utf-8"}


def prefer_wait(fields: list[tuple[bytes, bytes]]) -> int:
    """Seconds the client prefers to wait: ``Prefer: wait=30`` (RFC 7240 section 4.3); 0 if it does not say."""
    for name, value in fields:
        for preference in value.split(b",") if name == b"prefer" else ():
            token, _, seconds = preference.partition(b";")[0].partition(b"=")
            seconds = seconds.strip().strip(b'"')
            if token.strip().lower() == b"wait" and seconds.isdigit() and len(seconds) <= MAX_WAIT_DIGITS:
                return int(seconds)
    return 0


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
