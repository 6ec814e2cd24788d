"""Answers in the shape that a provider's SDK expects, with what it should know besides in headers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ringwall.call import Denied, Json, Last
from ringwall.doors.http import status_of
from ringwall.interface import HeldCall, Refusal
from ringwall.wire.models import wire
from ringwall.wire.models.interface import Api

RECORD: Final = b"ringwall-record"
# What came of a call that was let through, where it is not "the upstream failed".
_STATUS: Final = {
    "wrong_wire": 400,
    "bad_request": 400,
    "bad_arguments": 400,
    "model_not_granted": 403,
    "secret_not_granted": 403,
    "upstream_limited": 429,
    "sidecar_unavailable": 503,
    "sidecar_busy": 503,
    "upstream_slow": 504,
    "model_timeout": 504,
}
_OF_REQUEST: Final = frozenset({"thread_unsupported_request"})  # which an SDK must see as its own request's fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def good(body: bytes, record: str = "") -> Reply:
    """Status 200."""
    return Reply(status=200, body=body, headers=(*_json(body), *recorded(record)))


def recorded(record: str) -> tuple[tuple[bytes, bytes], ...]:
    """The header that names the audit record."""
    return ((RECORD, record.encode("ascii", "replace")),) if record else ()


def wrong(
    api: Api, status: int, code: str, reason: str, *, record: str = "", retry_after: float | None = None
) -> Reply:
    """An error in the words of this interface's provider.

    Its SDK asks again by itself unless told otherwise. It may where waiting helps; anything else would be refused
    again, or, where the upstream may have begun, paid for twice.
    """
    body = wire(api).error(status, code, reason, record)
    again = (
        (b"retry-after", b"%d" % max(1, math.ceil(retry_after)))
        if retry_after is not None
        else (b"x-should-retry", b"false")
    )
    return Reply(status=status, body=body, headers=(*_json(body), again, *recorded(record)))


def refused(api: Api, refusal: Refusal) -> Reply:
    """What the wall refused."""
    status = 400 if refusal.code in _OF_REQUEST else status_of(refusal)
    reason = "; ".join([refusal.reason, *refusal.errors])
    return wrong(api, status, refusal.code, reason, record=refusal.record, retry_after=refusal.retry_after)


def held(api: Api, waiting: HeldCall) -> Reply:
    """A human has not answered yet."""
    reason = f"a human must approve this call first; repeat it with the header ringwall-approval: {waiting.record}"
    return wrong(api, 409, "held", reason, record=waiting.record)


def stopped(api: Api, denied: Denied, record: str) -> Reply:
    """A ring stopped the answer before any of it was out."""
    return wrong(api, 403, denied.code, denied.reason, record=record)


def failed(api: Api, last: Last, record: str) -> Reply:
    """The call ran and came to nothing."""
    code, reason = why(last)
    return wrong(api, _STATUS.get(code, 502), code, reason, record=record)


def why(last: Last) -> tuple[str, str]:
    """Code and reason of an end that is not a good one."""
    error = last.error or {}
    unknown = "it is not known whether the call took effect" if last.end == "unknown" else "the call failed"
    return error.get("code") or f"effect_{last.end}", error.get("reason") or unknown


def listing(names: list[Json], anthropic: bool) -> Json:
    """The models of a role, as that provider lists them."""
    if anthropic:
        first, last = (names[0]["id"], names[-1]["id"]) if names else (None, None)
        return {"data": names, "has_more": False, "first_id": first, "last_id": last}
    return {"object": "list", "data": names}


def model(name: str, anthropic: bool) -> Json:
    """One model. When it was made, nobody here knows: it is what the operator calls it."""
    if anthropic:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "ringwall"}


def _json(body: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))
