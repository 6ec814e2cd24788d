"""The keywords of JSON Schema that ``closing`` knows, by what they do, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast

from ringwall.call import Json
from ringwall.errors import BadInput

FORMATS: Final = frozenset({
    "date", "date-time", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6",
    "uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid", "json-pointer",
    "relative-json-pointer", "regex",
})
"""The formats the validator enforces. Others are taken out: a keyword nobody checks is a false promise."""

NOTES: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
                           "$comment", "x-mcp-header"})
CHECKS: Final = frozenset({"minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum",
                            "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems",
                            "minProperties", "maxProperties", "required", "enum", "const"})
COMBINING: Final = ("anyOf", "oneOf", "allOf")
CONDITION: Final = ("if", "then", "else")
APPLYING: Final = frozenset({*COMBINING, *CONDITION})
SHAPE: Final = frozenset({"type", "properties", "additionalProperties", "items", "prefixItems", "format", "$ref",
                           "unevaluatedProperties", "unevaluatedItems", *APPLYING})
IN_PARTS: Final = frozenset({"type", "properties", "additionalProperties", "format", *APPLYING})
TYPING: Final = frozenset({"type", "properties", "enum", "const"})
UNEVALUATED: Final = frozenset({"unevaluatedProperties", "unevaluatedItems"})
AS_THEY_ARE: Final = frozenset({"additionalProperties", *UNEVALUATED})
NESTING: Final = frozenset({"object", "array"})


def unclosable(at: str, why: str) -> BadInput:
    # A server's own words, on their way to an operator's terminal.
    return BadInput(f"inputSchema{ascii(at[:200])[1:-1]}: {why[:200]}", code="unclosable_schema")


@dataclass(frozen=True, slots=True)
class Members:
    """Names of one location, as parts are read. ``sure``: closed by what always applies; ``seen``: elsewhere."""

    sure: set[str]
    seen: set[str] = field(default_factory=set[str])

    def branch(self) -> Members:
        """For a part that may not apply."""
        return Members(set(self.sure), set(self.seen))

    def all(self) -> set[str]:
        """Every name so far."""
        return self.sure | self.seen


@dataclass(frozen=True, slots=True)
class How:
    """How a part is read. ``only``: names that there are (the others are taken out); ``plain``: it may name plain
    values only, below a ``oneOf``; ``condition``: it may name nothing, below an ``if``."""

    only: frozenset[str] | None
    plain: bool = False
    condition: bool = False


def named(schema: dict[str, Json], at: str) -> dict[str, Json]:
    """Its properties. Raises BadInput."""
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise unclosable(at, "has 'properties' that is not an object")
    return cast("dict[str, Json]", properties)


def checks(schema: dict[str, Json]) -> dict[str, Json]:
    """What looks at no member and at no item."""
    kept = {key: value for key, value in schema.items() if key in NOTES or key in CHECKS or key == "type"}
    form = schema.get("format")
    return {**kept, "format": form} if isinstance(form, str) and form in FORMATS else kept


def is_plain(closed: Json) -> bool:
    """Whether closing changed nothing: it takes neither objects nor lists, or those it spells out."""
    schema = cast("dict[str, Json]", closed) if isinstance(closed, dict) else {}
    kinds = schema.get("type", [])
    return not set(schema) - NOTES - CHECKS - {"type", "format"} and (
        NESTING.isdisjoint([kinds] if isinstance(kinds, str) else kinds))
