"""What the core and the exporter's process say to each other: msgpack of the structs below, in ``wire.frames``.

The core believes nothing of the exporter but how many of the spans it was given are done with.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ringwall.errors import BadInput

MAX_BATCH: Final = 256  # spans of one frame, and of one request to the collector: some 100 KB

Value: TypeAlias = str | bool | int
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_BATCH)]


class Span(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """One finished call. ``link``: the caller's own ``traceparent``, or empty; times in nanoseconds."""

    name: str
    kind: Literal["client", "server", "internal"]
    trace_id: str
    span_id: str
    link: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Value]


class Hello(msgspec.Struct, tag="hello", array_like=True, forbid_unknown_fields=True, frozen=True):
    """The core's first frame: where to, and on whose behalf."""

    url: str
    version: str
    installation: str  # the trust domain


class Spans(msgspec.Struct, tag="spans", array_like=True, forbid_unknown_fields=True, frozen=True):
    """Send these. Answered with one ``Done``."""

    spans: Annotated[list[Span], Meta(max_length=MAX_BATCH)]


class Done(msgspec.Struct, tag="done", array_like=True, forbid_unknown_fields=True, frozen=True):
    """The oldest batch is done with: what the collector took, what it did not."""

    sent: _Count
    failed: _Count


ToExporter: TypeAlias = Hello | Spans

_encoder: Final = msgspec.msgpack.Encoder()
_to_exporter: Final = msgspec.msgpack.Decoder(ToExporter)
_from_exporter: Final = msgspec.msgpack.Decoder(Done)


def encode(message: ToExporter | Done) -> bytes:
    """The payload of one frame."""
    return _encoder.encode(message)


def to_exporter(raw: bytes) -> ToExporter:
    """What the core said. Raises BadInput (``bad_frame``)."""
    try:
        return _to_exporter.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"a frame of the core is malformed: {fault}"[:300], code="bad_frame") from fault


def from_exporter(raw: bytes) -> Done:
    """What the exporter said; it may be taken over by its collector. Raises BadInput (``bad_frame``)."""
    try:
        return _from_exporter.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"a frame of the exporter is malformed: {fault}"[:300], code="bad_frame") from fault
