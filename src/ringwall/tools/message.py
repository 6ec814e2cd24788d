"""What every message between core and sidecar is made of: ``tools.protocol`` and ``peers.protocol`` build on it."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

MAX_RESULT: Final = 8 << 20  # bytes of JSON in one result; the wall's own limit for one call

CallNumber: TypeAlias = Annotated[int, Meta(ge=1, le=2**53)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Body: TypeAlias = Annotated[bytes, Meta(max_length=MAX_RESULT)]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="t"):
    """One frame; its tag says which."""
