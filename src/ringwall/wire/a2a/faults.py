"""Errors of A2A, in the words of both bindings.

JSON-RPC: code, message and ``data``, a list of google.rpc details. HTTP+JSON: google.rpc.Status in ``error``.
Source: A2A 1.0, section 5.4 (error code mappings), and what a2a-sdk writes and reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ringwall.call import Json, as_array, canonical

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
TASK_NOT_FOUND: Final = -32001
UNSUPPORTED_OPERATION: Final = -32004
CONTENT_TYPE_NOT_SUPPORTED: Final = -32005
INVALID_AGENT_RESPONSE: Final = -32006
VERSION_NOT_SUPPORTED: Final = -32009
# A2A 1.0 has no codes for what follows: ours, from the range JSON-RPC leaves to servers, beyond A2A's own.
REFUSED: Final = -32050
LIMITED: Final = -32051
HELD: Final = -32052
UNAVAILABLE: Final = -32053
UNKNOWN: Final = -32054  # it began, and nobody knows how it ended

_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
_A2A: Final = "a2a-protocol.org"
DOMAIN: Final = "ringwall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An A2A error.

    Args:
        code: as JSON-RPC has it.
        message: one sentence.
        data: google.rpc details, as a list; None: there are none.

    """

    code: int
    message: str
    data: Json = None


@dataclass(frozen=True, slots=True)
class _Meaning:
    """One error in HTTP+JSON: HTTP status, name of the gRPC status, reason of A2A."""

    http: int
    status: str
    reason: str = ""


_FAILED: Final = "FAILED_PRECONDITION"
_WRONG: Final = "INVALID_ARGUMENT"
_MEANINGS: Final[Mapping[int, _Meaning]] = MappingProxyType(
    {
        PARSE_ERROR: _Meaning(400, _WRONG, "INVALID_REQUEST"),
        INVALID_REQUEST: _Meaning(400, _WRONG, "INVALID_REQUEST"),
        METHOD_NOT_FOUND: _Meaning(404, "NOT_FOUND", "METHOD_NOT_FOUND"),
        INVALID_PARAMS: _Meaning(400, _WRONG, "INVALID_PARAMS"),
        INTERNAL_ERROR: _Meaning(500, "INTERNAL", "INTERNAL_ERROR"),
        TASK_NOT_FOUND: _Meaning(404, "NOT_FOUND", "TASK_NOT_FOUND"),
        -32002: _Meaning(400, _FAILED, "TASK_NOT_CANCELABLE"),
        -32003: _Meaning(400, _FAILED, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        UNSUPPORTED_OPERATION: _Meaning(400, _FAILED, "UNSUPPORTED_OPERATION"),
        CONTENT_TYPE_NOT_SUPPORTED: _Meaning(400, _WRONG, "CONTENT_TYPE_NOT_SUPPORTED"),
        INVALID_AGENT_RESPONSE: _Meaning(500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
        -32007: _Meaning(400, _FAILED, "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
        -32008: _Meaning(400, _FAILED, "EXTENSION_SUPPORT_REQUIRED"),
        VERSION_NOT_SUPPORTED: _Meaning(400, _FAILED, "VERSION_NOT_SUPPORTED"),
        REFUSED: _Meaning(403, "PERMISSION_DENIED"),
        LIMITED: _Meaning(429, "RESOURCE_EXHAUSTED"),
        HELD: _Meaning(409, _FAILED),
        UNAVAILABLE: _Meaning(503, "UNAVAILABLE"),
        UNKNOWN: _Meaning(502, "UNKNOWN"),
    }
)
_OTHER: Final = _Meaning(500, "INTERNAL")  # a server's own code: it means something to its client only

# Our codes that have a word of A2A's own; what the agent or the peer cannot tell apart need not differ here.
_NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("bad_json", "bad_utf8", "bad_number"), PARSE_ERROR),
        **dict.fromkeys(
            ("duplicate_key", "too_large", "too_deep", "too_many_values", "bad_request", "a2a_bad_rpc"),
            INVALID_REQUEST,
        ),
        **dict.fromkeys(
            ("a2a_unknown_method", "a2a_unknown_path", "unknown_path", "unknown_method"), METHOD_NOT_FOUND
        ),
        **dict.fromkeys(
            ("a2a_bad_params", "a2a_bad_path", "a2a_bad_query", "a2a_bad_body", "skill_unknown",
             "duplicate_message", "unknown_context", "bad_push_config"),
            INVALID_PARAMS,
        ),
        **dict.fromkeys(("mode_not_declared", "uri_not_declared"), CONTENT_TYPE_NOT_SUPPORTED),
        **dict.fromkeys(("unknown_task", "unknown_push"), TASK_NOT_FOUND),
        "task_over": UNSUPPORTED_OPERATION,
        **dict.fromkeys(
            ("a2a_bad_answer", "a2a_bad_card", "a2a_bad_sse", "a2a_truncated", "result_too_large", "bad_task_state",
             "bad_task_id", "task_of_another", "peer_bad_answer", "agent_bad_answer", "no_answer"),
            INVALID_AGENT_RESPONSE,
        ),
        **dict.fromkeys(("effect_failed", "internal", "ring_failed", "resolver_failed"), INTERNAL_ERROR),
        "effect_unknown": UNKNOWN,
        "held": HELD,
        **dict.fromkeys(
            ("rate_limited", "too_many_at_once", "budget_exhausted", "too_many_attempts", "door_busy",
             "too_many_connections", "too_many_budgets", "too_many_sessions", "too_many_tasks",
             "too_many_push_configs"),
            LIMITED,
        ),
        **dict.fromkeys(
            ("peer_unreachable", "peer_broken", "peer_slow", "agent_unreachable", "agent_broken", "agent_slow",
             "sidecar_unavailable", "sidecar_busy", "sidecar_lost", "audit_unavailable", "unavailable"),
            UNAVAILABLE,
        ),
    }
)


def fault_of(code: str, reason: str, record: str, *, retry_after: float | None = None) -> Fault:
    """One of our refusals as an A2A error.

    Args:
        code: ours, as in docs/errors.md. One that has no word in A2A is a plain refusal.
        reason: what the asker may know.
        record: the number of the record; empty: there is none.
        retry_after: seconds, if asking again later helps.

    """
    number = LIMITED if retry_after is not None else _NUMBERS.get(code, REFUSED)
    about = {"code": code, **({"record": record} if record else {})}
    details: list[Json] = []
    if standard := _MEANINGS[number].reason:
        # The first detail is the one that A2A clients map to their own error classes.
        details.append({"@type": _ERROR_INFO, "reason": standard, "domain": _A2A, "metadata": about})
    details.append({"@type": _ERROR_INFO, "reason": code.upper(), "domain": DOMAIN, "metadata": about})
    if retry_after is not None:
        details.append({"@type": _RETRY_INFO, "retryDelay": f"{max(retry_after, 0.0):.3f}s"})
    return Fault(code=number, message=reason, data=details)


def rest_fault(fault: Fault) -> tuple[int, bytes]:
    """An error in HTTP+JSON.

    Returns:
        The HTTP status and the body, google.rpc.Status below ``error``.

    """
    meaning = _MEANINGS.get(fault.code, _OTHER)
    details: list[Json] | None = as_array(fault.data)
    # The SDK says nothing more of an internal error either: only of the errors that A2A has a name for.
    if not details and meaning.reason and fault.code != INTERNAL_ERROR:
        details = [{"@type": _ERROR_INFO, "reason": meaning.reason, "domain": _A2A, "metadata": {}}]
    status: Json = {"code": meaning.http, "status": meaning.status, "message": fault.message}
    return meaning.http, canonical({"error": {**status, **({"details": details} if details else {})}})
