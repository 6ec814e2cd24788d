"""Closing a tool's JSON Schema: what it does not name is refused, at every level.

Only a subset of JSON Schema 2020-12 can be closed without changing what the named part means; everything
outside it makes the tool unusable, with a reason. References are written out, so that a closed schema has no
recursion, and its size bounds the cost of checking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from ringwall.call import Json
from ringwall.errors import BadInput

MAX_NODES: Final = 2000  # schemas in one definition once references are written out; real tools have tens
MAX_DEPTH: Final = 24  # nesting of one definition; real tools have three or four levels

FORMATS: Final = frozenset({
    "date", "date-time", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6",
    "uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid", "json-pointer",
    "relative-json-pointer", "regex",
})
"""The formats the validator enforces. Others are taken out: a keyword nobody checks is a false promise."""

_NOTES: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
                           "$comment", "x-mcp-header"})
_CHECKS: Final = frozenset({"minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum",
                            "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems",
                            "minProperties", "maxProperties", "required", "enum", "const"})
_COMBINING: Final = ("anyOf", "oneOf", "allOf")
_SHAPE: Final = frozenset({"type", "properties", "additionalProperties", "items", "prefixItems", "format", "$ref",
                           *_COMBINING})
_ROOT_ONLY: Final = frozenset({"$schema", "$defs", "definitions"})


def _fail(at: str, why: str) -> BadInput:
    # A server's own words, on their way to an operator's terminal.
    return BadInput(f"inputSchema{ascii(at[:200])[1:-1]}: {why[:200]}", code="unclosable_schema")


def close(schema: Json, allowed: frozenset[str]) -> dict[str, Json]:
    """Close a tool's input schema.

    Args:
        schema: what the tool server listed.
        allowed: the arguments the manifest declares; others are taken out, so that sending one is refused.

    Raises:
        BadInput: ``unclosable_schema``, naming the place and the construct.

    """
    root, plain = _declared(schema, allowed)
    return cast("dict[str, Json]", _Closer(root).close(plain, "", ()))


def given(schema: Json, allowed: frozenset[str]) -> dict[str, Json]:
    """The same for a definition of our own, whose properties are closed already where they are meant to be."""
    return {**_declared(schema, allowed)[1], "additionalProperties": False}


def _declared(schema: Json, allowed: frozenset[str]) -> tuple[dict[str, Json], dict[str, Json]]:
    """The schema, and its arguments without those that the manifest does not declare. Raises BadInput."""
    if not isinstance(schema, dict):
        raise _fail("", "is not an object")
    root = cast("dict[str, Json]", schema)
    if root.get("type") != "object" or not isinstance(root.get("properties", {}), dict):
        raise _fail("", "does not describe an object of arguments")
    properties = cast("dict[str, Json]", root.get("properties", {}))
    required = root.get("required", [])
    if not isinstance(required, list):
        raise _fail("", "has 'required' that is not a list")
    if extra := [one for one in cast("list[Json]", required) if not (isinstance(one, str) and one in allowed)]:
        raise _fail("", f"requires {extra[0]!r}, which the manifest does not declare")
    if missing := sorted(allowed - set(properties)):
        raise _fail("", f"has no argument {missing[0]!r}, which the manifest declares")
    plain = {key: value for key, value in root.items() if key not in _ROOT_ONLY}
    plain["properties"] = {name: value for name, value in properties.items() if name in allowed}
    return root, plain


class _Closer:
    """One pass over one definition, with a budget of nodes."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root = root
        self._nodes = 0

    def close(self, node: Json, at: str, refs: tuple[str, ...]) -> Json:
        self._nodes += 1
        if self._nodes > MAX_NODES or at.count("/") > 2 * MAX_DEPTH:
            raise _fail(at, f"is larger than {MAX_NODES} schemas or nested deeper than {MAX_DEPTH}")
        if node is False:
            return False
        if not isinstance(node, dict):
            raise _fail(at, "accepts anything; give it a type")
        schema = cast("dict[str, Json]", node)
        if unknown := sorted(set(schema) - _NOTES - _CHECKS - _SHAPE):
            raise _fail(at, f"uses {unknown[0]!r}, which cannot be closed")
        if "$ref" in schema:
            return self._reference(schema, at, refs)
        if any(name in schema for name in _COMBINING):
            return self._combined(schema, at, refs)
        return self._plain(schema, at, refs)

    def _reference(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> Json:
        name = schema["$ref"]
        if beside := sorted(set(schema) - _NOTES - {"$ref"}):
            raise _fail(at, f"has {beside[0]!r} beside '$ref', which cannot be closed")
        if not isinstance(name, str) or name.count("/") != 2:
            raise _fail(at, "refers outside its own definitions")
        if name in refs or len(refs) == MAX_DEPTH:
            raise _fail(at, f"is recursive, or nested too deeply, through {name!r}")
        _, table, key = name.split("/")
        found = self._root.get(table) if name.startswith("#/") and table in _ROOT_ONLY else None
        if not isinstance(found, dict) or key not in found:
            raise _fail(at, f"refers to {name[:80]!r}, which it does not define")
        closed = self.close(cast("dict[str, Json]", found)[key], at, (*refs, name))
        notes = {key: value for key, value in schema.items() if key != "$ref"}
        return cast("dict[str, Json]", closed) | notes if isinstance(closed, dict) else closed

    def _combined(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> Json:
        combining = [name for name in _COMBINING if name in schema]
        name = combining[0]
        branches = schema[name]
        if beside := sorted(set(schema) - _NOTES - {name}):
            raise _fail(at, f"has {beside[0]!r} beside {name!r}, which cannot be closed")
        if not isinstance(branches, list) or not branches:
            raise _fail(at, f"has no list under {name!r}")
        listed = cast("list[Json]", branches)
        if name == "allOf" and len(listed) > 1:  # closing each would forbid what the others name
            raise _fail(at, "uses 'allOf' with several branches, which cannot be closed")
        return {**schema, name: [self.close(branch, f"{at}/{name}/{i}", refs) for i, branch in enumerate(listed)]}

    def _plain(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> Json:
        closed = {key: value for key, value in schema.items() if key in _NOTES or key in _CHECKS}
        types = self._types(schema, at)
        if types:
            closed["type"] = types[0] if len(types) == 1 else types
        if isinstance(form := schema.get("format"), str) and form in FORMATS:
            closed["format"] = form
        if "object" in types:
            closed |= self._object(schema, at, refs)
        if "array" in types:
            closed |= self._array(schema, at, refs)
        return closed

    @staticmethod
    def _types(schema: dict[str, Json], at: str) -> list[str]:
        kind = schema.get("type", "object" if "properties" in schema else None)
        if isinstance(kind, str):
            return [kind]
        if isinstance(kind, list) and kind and all(isinstance(one, str) for one in cast("list[Json]", kind)):
            return cast("list[str]", kind)
        if kind is None and ("enum" in schema or "const" in schema):
            return []
        raise _fail(at, "accepts anything; give it a type")

    def _object(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> dict[str, Json]:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise _fail(at, "has 'properties' that is not an object")
        if not isinstance(schema.get("additionalProperties", False), bool):
            raise _fail(at, "lets arbitrary names through ('additionalProperties' with a schema)")
        named = cast("dict[str, Json]", properties)
        inner = {key: self.close(value, f"{at}/properties/{key}", refs) for key, value in named.items()}
        return {"properties": inner, "additionalProperties": False}

    def _array(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> dict[str, Json]:
        first = schema.get("prefixItems", [])
        if not isinstance(first, list):
            raise _fail(at, "has 'prefixItems' that is not a list")
        if "items" not in schema and not first:
            raise _fail(at, "is an array of anything; give its items a type")
        prefix = [self.close(one, f"{at}/prefixItems/{i}", refs) for i, one in enumerate(cast("list[Json]", first))]
        closed: dict[str, Json] = {"items": self.close(schema.get("items", False), f"{at}/items", refs)}
        return closed | {"prefixItems": prefix} if prefix else closed
