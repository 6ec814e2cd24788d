"""The JSON Canonicalization Scheme (RFC 8785): the bytes that signatures of agent cards cover."""

from __future__ import annotations

import rfc8785

from ringwall.call import Json
from ringwall.errors import BadInput


def canonicalize(value: Json) -> bytes:
    """The one spelling of a JSON value.

    Raises:
        BadInput: ``card_malformed``: it has none (a number beyond 2^53, half a surrogate pair, too deep).

    """
    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as fault:  # its own errors are ValueErrors, as is UnicodeEncodeError
        raise BadInput(f"this has no canonical form: {str(fault)[:120]}", code="card_malformed") from None
