"""How a door hands a request to the wall together with what it knows besides: JSON around the bytes as they came.

The bytes stay in Base64 or are the door's own re-serialised value: they are parsed once, at the wall.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from ringwall.call import Json, Trait
from ringwall.wire.models.interface import Api


def model_call(api: Api, raw: bytes, *, approval: str = "", trace: str = "") -> bytes:
    """A request in a provider's own words.

    Args:
        api: whose words.
        raw: the body as it came.
        approval: the record of a held call that a human said yes to; empty: none.
        trace: the caller's W3C traceparent; empty: none.

    """
    body = base64.b64encode(raw).decode("ascii")
    return msgspec.json.encode({"api": api, "body": body, **_given(approval=approval, trace=trace)})


def tool_call(
    tool: str, args: Json, *, progress: bool = False, client: Sequence[Trait] = (), approval: str = "",
    trace: str = "", inputs: Json = None,
) -> bytes:
    """A call of a tool whose answer is wanted as MCP's messages.

    Args:
        tool: ``server/operation``.
        args: its arguments, a JSON object.
        progress: whether to hear of progress.
        client: what the client says of itself.
        approval: the record of a held call that a human said yes to; empty: none.
        trace: the caller's W3C traceparent; empty: none.
        inputs: what the tool asked for in an earlier answer, and its state; None: nothing.

    """
    more = _given(approval=approval, trace=trace)
    if client:
        more["client"] = list(client)
    if inputs is not None:
        more["inputs"] = inputs
    return msgspec.json.encode({"tool": tool, "args": args, "form": "mcp", "progress": progress, **more})


def _given(**texts: str) -> dict[str, Json]:
    return {name: text for name, text in texts.items() if text}
