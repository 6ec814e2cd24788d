"""A ``CallHttp`` in the core's words: what is asked, and what the core believes of the sidecar's answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ringwall.errors import BadInput
from ringwall.tools.protocol import CallHttp

Method: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

KEPT: Final = frozenset({"content-type", "location", "retry-after", "mcp-session-id"})
"""The headers that mean something to us; others are nobody's business."""
MAX_HEADER: Final = 8192  # bytes of one that is kept; what common servers send at most


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request as it was judged. ``url`` is encoded and sent as it is; no secret is in here yet."""

    method: Method
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """One answer. ``headers``: those of KEPT that there were, by their lower-case names."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    @property
    def kind(self) -> str:
        """The media type in lower case, without parameters; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    status: Annotated[int, Meta(ge=100, le=999)]
    headers: Annotated[dict[str, Annotated[str, Meta(max_length=MAX_HEADER)]], Meta(max_length=len(KEPT))]
    text: str | None = None
    base64: str | None = None


def fits(message: CallHttp) -> bool:
    """Whether the sidecar takes a request: what it does not, it takes for a core that speaks nonsense."""
    try:
        msgspec.convert(msgspec.structs.asdict(message), CallHttp)
    except msgspec.ValidationError:
        return False
    return True


def readable(body: bytes) -> dict[str, str]:
    """A body as ``text``, or as ``base64`` where it is no UTF-8."""
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def encode_answer(answer: HttpAnswer) -> bytes:
    """The Piece of a CallHttp: the body as text where it is UTF-8, else in base64."""
    return msgspec.json.encode({"status": answer.status, "headers": answer.headers, **readable(answer.body)})


def decode_answer(raw: bytes) -> HttpAnswer:
    """What the sidecar said; it may be taken over. Raises BadInput (``bad_answer``)."""
    try:
        wire = msgspec.json.decode(raw, type=_Wire)
        if (wire.text is None) == (wire.base64 is None) or not KEPT.issuperset(wire.headers):
            raise ValueError("a body twice or not at all, or an unknown header")
        body = wire.text.encode() if wire.text is not None else base64.b64decode(wire.base64 or "", validate=True)
    except (msgspec.DecodeError, UnicodeError, RecursionError, binascii.Error, ValueError) as fault:
        raise BadInput("the sidecar gave something that is no answer to a request", code="bad_answer") from fault
    return HttpAnswer(status=wire.status, headers=wire.headers, body=body)
