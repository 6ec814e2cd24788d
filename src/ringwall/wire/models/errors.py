"""Our refusals in the words of the providers: their SDKs raise them as the errors they know."""

from __future__ import annotations

from typing import Final

import msgspec

from ringwall.call import Json

_OPENAI: Final = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
                  404: "not_found_error", 409: "conflict_error", 413: "invalid_request_error",
                  429: "rate_limit_error"}
_ANTHROPIC: Final = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
                     404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
                     503: "overloaded_error", 504: "timeout_error"}


def openai_object(status: int, code: str, reason: str, record: str) -> Json:
    """The ``error`` member."""
    kind = _OPENAI.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"message": reason, "type": kind, "param": None, "code": code, **({"record": record} if record else {})}


def openai_error(status: int, code: str, reason: str, record: str) -> bytes:
    """The body of an error response of OpenAI's interfaces."""
    return msgspec.json.encode({"error": openai_object(status, code, reason, record)})


def anthropic_error(status: int, code: str, reason: str, record: str) -> bytes:
    """The body of an error response of Anthropic's interface, and its ``error`` event."""
    kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": reason,
                                                           "details": {"error_code": code}},
                                "request_id": record or None})
