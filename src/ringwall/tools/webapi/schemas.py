"""Schemas of OpenAPI 3.0 and 3.1 as the part of JSON Schema 2020-12 that ``capability.closing`` can close.

Every check of a value is kept; what cannot be kept is refused. Notes that check nothing are left out.
"""

from __future__ import annotations

from typing import Final, cast

from ringwall.call import Json
from ringwall.tools.webapi.document import MAX_HOPS, Document, Object, a_list, an_object, bad, step

MAX_NODES: Final = 2000  # schemas in one operation, references written out, as in ``capability.closing``
MAX_DEPTH: Final = 48  # nesting with references written out; ``capability.closing`` takes half of it
_CHECKS: Final = frozenset({"minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum",
                            "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems",
                            "minProperties", "maxProperties", "enum", "const", "format"})
_NOTES: Final = frozenset({"title", "description", "deprecated", "default", "writeOnly"})
_DROPPED: Final = frozenset({"example", "examples", "xml", "externalDocs", "discriminator", "readOnly", "$comment",
                             "contentEncoding", "contentMediaType"})
_SHAPE: Final = frozenset({"type", "nullable", "properties", "required", "additionalProperties", "items",
                           "prefixItems", "$ref", "allOf", "anyOf", "oneOf"})
_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_MERGEABLE: Final = frozenset({"type", "properties", "required", "additionalProperties", *_NOTES})


class Schemas:
    """Converts the schemas of one operation, with a budget for all of them."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = self._depth = 0

    def convert(self, value: Json, at: str, within: tuple[str, ...] = ()) -> Json:
        """One schema with its references written out.

        Args:
            value: as it stands in the description.
            at: where.
            within: the places of the references that led here.

        Raises:
            BadInput: ``bad_openapi``.

        """
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_NODES or self._depth > MAX_DEPTH:
            raise bad(at, f"has more than {MAX_NODES} schemas, or {MAX_DEPTH} levels, with references written out")
        made = self._one(value, at, within)
        self._depth -= 1
        return made

    def _one(self, value: Json, at: str, within: tuple[str, ...]) -> Json:
        if value is False:
            return False
        schema = an_object(value, at) if value is not True else {}
        schema = {key: inner for key, inner in schema.items() if key not in _DROPPED and not key.startswith("x-")}
        if unknown := sorted(set(schema) - _CHECKS - _NOTES - _SHAPE):
            raise bad(step(at, unknown[0]), "is not understood")
        if "$ref" in schema:
            return self._reference(schema, at, within)
        if "allOf" in schema:
            return self._all(schema, at, within)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return self._either(name, schema, at, within)
        return self._plain(schema, at, within)

    def _reference(self, schema: Object, at: str, within: tuple[str, ...]) -> Json:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        if self._document.version == "3.0":
            beside.pop("nullable", None)  # 3.0 says that siblings count for nothing
        if checks := sorted(set(beside) - _NOTES):
            raise bad(step(at, checks[0]), "stands beside '$ref'")
        target, there = self._document.resolve(schema["$ref"], at)
        if there in within or len(within) >= MAX_HOPS:
            raise bad(at, f"is recursive, or nested too deeply, through {there}")
        found = self.convert(target, there, (*within, there))
        return {**cast("Object", found), **_notes(beside)} if isinstance(found, dict) else found

    def _all(self, schema: Object, at: str, within: tuple[str, ...]) -> Json:
        """``allOf``: one branch is itself; several are one if all are objects that name different members."""
        listed = a_list(schema["allOf"], step(at, "allOf"))
        here = step(at, "allOf")
        branches = [self.convert(one, step(here, i), within) for i, one in enumerate(listed)]
        rest = {key: value for key, value in schema.items() if key not in {"allOf", "nullable", *_NOTES}}
        if rest:
            branches.append(self._plain(rest, at, within))
        if len(branches) == 1 and isinstance(branches[0], dict):
            made = {**cast("Object", branches[0]), **_notes(schema)}
        else:
            made = {**_merged(branches, at), **_notes(schema)}
        return _nullable(made) if schema.get("nullable") is True else made

    def _either(self, name: str, schema: Object, at: str, within: tuple[str, ...]) -> Json:
        here = step(at, name)
        listed = a_list(schema[name], here)
        if beside := sorted(set(schema) - _NOTES - {name, "nullable"}):
            raise bad(step(at, beside[0]), f"stands beside {name!r}")
        branches = [self.convert(one, step(here, i), within) for i, one in enumerate(listed)]
        if schema.get("nullable") is True and {"type": "null"} not in branches:
            branches.append({"type": "null"})
        return {name: branches, **_notes(schema)}

    def _plain(self, schema: Object, at: str, within: tuple[str, ...]) -> Object:
        made = _notes(schema) | {key: schema[key] for key in _CHECKS if key in schema}
        kinds = self._types(schema, at)
        if kinds:
            made["type"] = kinds[0] if len(kinds) == 1 else kinds
        if self._document.version == "3.0":
            _exclusive(made)
        _ranged(made, kinds)
        if "object" in kinds:
            made |= self._object(schema, at, within)
        if "prefixItems" in schema:
            listed = a_list(schema["prefixItems"], step(at, "prefixItems"))
            made["prefixItems"] = [self.convert(one, step(step(at, "prefixItems"), i), within)
                                   for i, one in enumerate(listed)]
        if "items" in schema:
            made["items"] = self.convert(schema["items"], step(at, "items"), within)
        return made

    @staticmethod
    def _types(schema: Object, at: str) -> list[str]:
        kind = schema.get("type")
        if kind is None:
            kind = ["object"] if "properties" in schema else ["array"] if "items" in schema else []
        found = cast("list[Json]", kind) if isinstance(kind, list) else [kind]
        kinds = [one for one in found if isinstance(one, str)]
        if len(kinds) != len(found):
            raise bad(step(at, "type"), "is neither a text nor a list of texts")
        return [*kinds, "null"] if schema.get("nullable") is True and kinds and "null" not in kinds else kinds

    def _object(self, schema: Object, at: str, within: tuple[str, ...]) -> Object:
        here = step(at, "properties")
        properties = an_object(schema.get("properties", {}), here)
        required = a_list(schema.get("required", []), step(at, "required"))
        if not all(isinstance(one, str) for one in required):
            raise bad(step(at, "required"), "is no list of texts")
        kept = {name: value for name, value in properties.items() if not self._read_only(value)}
        gone = set(properties) - set(kept)
        if not isinstance(schema.get("additionalProperties", True), bool) and schema["additionalProperties"] != {}:
            raise bad(step(at, "additionalProperties"), "lets arbitrary names through")
        made: Object = {name: self.convert(value, step(here, name), within) for name, value in kept.items()}
        needed = [name for name in required if name not in gone]
        return {"properties": made, "additionalProperties": False, **({"required": needed} if needed else {})}

    def _read_only(self, value: Json) -> bool:
        """Whether a member is the server's to set: not part of a request, though it may be among the required."""
        return isinstance(value, dict) and cast("Object", value).get("readOnly") is True


def _notes(schema: Object) -> Object:
    return {key: schema[key] for key in _NOTES if key in schema
            and (key not in {"title", "description"} or isinstance(schema[key], str))}


def _exclusive(schema: Object) -> None:
    """3.0 writes ``exclusiveMinimum: true`` beside ``minimum``."""
    for edge in ("Minimum", "Maximum"):
        flag = schema.pop(f"exclusive{edge}", False)
        if flag is True:
            if edge.lower() in schema:
                schema[f"exclusive{edge}"] = schema.pop(edge.lower())
        elif flag is not False:
            schema[f"exclusive{edge}"] = flag


def _ranged(schema: Object, kinds: list[str]) -> None:
    """``int32`` and ``int64`` are checks: as ranges, because they are no formats of JSON Schema."""
    form = schema.get("format")
    if "integer" not in kinds or not isinstance(form, str) or form not in _RANGES:
        return
    low, high = _RANGES[str(schema.pop("format"))]
    for key, edge, tighter in (("minimum", low, max), ("maximum", high, min)):
        given = schema.get(key, edge)
        schema[key] = tighter(given, edge) if isinstance(given, int | float) else given


def _nullable(schema: Object) -> Object:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    return schema


def _merged(branches: list[Json], at: str) -> Object:
    """One object out of several that name different members. Raises BadInput."""
    properties: Object = {}
    required: list[Json] = []
    for branch in branches:
        part = cast("Object", branch) if isinstance(branch, dict) else {}
        if part.get("type") != "object" or set(part) - _MERGEABLE:
            raise bad(step(at, "allOf"), "has a branch that is not a plain object")
        named = cast("Object", part.get("properties", {}))
        if again := sorted(key for key in named if key in properties and properties[key] != named[key]):
            raise bad(step(at, "allOf"), f"has several schemas for {again[0]!r}")
        properties |= named
        required += [one for one in cast("list[Json]", part.get("required", [])) if one not in required]
    return {"type": "object", "properties": properties, "additionalProperties": False,
            **({"required": required} if required else {})}
