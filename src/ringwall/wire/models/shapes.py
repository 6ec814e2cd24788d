"""What the typed shapes of all model wires share: requests closed, answers open (what is unknown is dropped)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Text: TypeAlias = Annotated[str, Meta(max_length=8 << 20)]  # bounded by the size of the whole anyway
ShortText: TypeAlias = Annotated[str, Meta(max_length=1024)]
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
FunctionName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Domain: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Domains: TypeAlias = Annotated[list[Domain], Meta(max_length=100)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**40)]
Tokens: TypeAlias = Annotated[int, Meta(ge=1, le=2**31)]
Index: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]  # of a part or call: far more than answers have


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Part of a request."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer: unknown fields are dropped."""


class Approximate(Closed, frozen=True):
    """Roughly a place."""

    city: ShortText | None = None
    country: ShortText | None = None
    region: ShortText | None = None
    timezone: ShortText | None = None


class UserLocation(Approximate, frozen=True, kw_only=True):
    """Roughly where a search is from."""

    type: Literal["approximate"]


class CachedTokens(Open, frozen=True):
    """Of the request's tokens."""

    cached_tokens: Count | None = None


class ReasoningTokens(Open, frozen=True):
    """Of the answer's tokens."""

    reasoning_tokens: Count | None = None
