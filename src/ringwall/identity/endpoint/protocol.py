"""What the core and an endpoint process say to each other: closed messages in frames (``wire.frames``)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from ringwall.errors import BadInput

Code = Literal[
    "endpoint_unreachable", "endpoint_untrusted", "endpoint_broken", "endpoint_slow", "endpoint_status",
    "endpoint_too_large", "publish_unusable",
]
MAX_CAUSE: Final = 300  # characters of what a process says was wrong; it may be taken over


class Fetch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fetch"):
    """Get one document.

    Args:
        url: https.
        ca: PEM of who signs the endpoint's certificate; empty: whom the system trusts. ``https_web`` only.
        spiffe_id: who the endpoint must be; empty: ``https_web``.
        authorities: by which that is verified, DER each.

    """

    id: int
    url: str
    ca: str = ""
    spiffe_id: str = ""
    authorities: list[bytes] = []


class Publish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="publish"):
    """Serve these pages, by path, with this certificate and key (PEM), from now on."""

    id: int
    chain: bytes
    key: bytes
    pages: dict[str, bytes]


class Fetched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fetched"):
    """The document's bytes, as they came."""

    id: int
    body: bytes


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="published"):
    """It is served."""

    id: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="failed"):
    """It did not work."""

    id: int
    code: Code
    cause: str


ToProcess: TypeAlias = Fetch | Publish
FromProcess: TypeAlias = Fetched | Published | Failed


def encode(message: ToProcess | FromProcess) -> bytes:
    """One message as a frame's payload."""
    return msgspec.msgpack.encode(message)


def to_process(raw: bytes) -> ToProcess:
    """Raises BadInput (``bad_frame``)."""
    try:
        return msgspec.msgpack.decode(raw, type=ToProcess)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        raise _bad(str(fault)) from None


def from_process(raw: bytes) -> FromProcess:
    """Raises BadInput (``bad_frame``)."""
    try:
        return msgspec.msgpack.decode(raw, type=FromProcess)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        raise _bad(str(fault)) from None


def _bad(why: str) -> BadInput:
    return BadInput(f"this is no message between the core and an endpoint process: {why[:MAX_CAUSE]}",
                    code="bad_frame")
