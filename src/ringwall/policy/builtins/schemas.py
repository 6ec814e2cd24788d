"""``json.verify_schema`` and ``json.match_schema``: JSON Schema as OPA's validator reads it, in its own words.

A schema with another keyword than those here ends the decision with an error: a constraint that is not looked at
would let everything through.
"""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ringwall.errors import PolicyError
from ringwall.policy.builtins.documents import marshal, parse, parses
from ringwall.policy.builtins.patterns import compiled, is_valid
from ringwall.policy.builtins.table import Builtin, BuiltinError
from ringwall.policy.builtins.text import to_json
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value, equal

_TYPES: Final = ("array", "boolean", "integer", "number", "null", "object", "string")
_SIZES: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_NOTES: Final = frozenset({"title", "description", "examples", "default"})  # they decide nothing
_KNOWN: Final = _NOTES | {"type", "properties", "required", "additionalProperties", "items", "enum", "pattern",
                          *_SIZES, *_BOUNDS}
_MAX_DEPTH: Final = 64  # schemas inside of schemas
_MAX_PLAIN: Final = 1_000_000  # up to here Go writes a bound's digits out, beyond it with an exponent


def _unsupported(what: str) -> PolicyError:
    return PolicyError(f"JSON schemas with {what} are not supported in policies", code="policy_failed",
                       remedy="check it with rules, or before the decision, and pass the result as a fact")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schema:
    """A schema that was checked."""

    types: tuple[str, ...] = ()
    properties: Mapping[str, _Schema] = field(default_factory=dict[str, "_Schema"])
    required: tuple[str, ...] = ()
    more: bool = True  # additionalProperties
    items: _Schema | None = None
    enum: Sequence[Value] | None = None
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    pattern: str | None = None


def _types(given: Value) -> tuple[str, ...]:
    named = [given] if type(given) is str else given
    if type(named) is not list or not named or not all(type(one) is str for one in named):
        raise _unsupported("a type that is no name and no list of names")
    for one in named:
        if one not in _TYPES:
            raise BuiltinError(f"has a primitive type that is NOT VALID -- given: /{one}/ Expected valid values "
                               f"are:[{' '.join(_TYPES)}]")
    if len(set(named)) != len(named):
        raise _unsupported("a type named twice")
    return tuple(named)


def _schema(tree: Value, level: int = 0) -> _Schema:
    if type(tree) is not dict or level > _MAX_DEPTH:
        raise _unsupported("parts that are no objects, or nested too deep")
    if unknown := sorted(key for key in tree if key not in _KNOWN):
        raise _unsupported(f"the keyword {unknown[0][:40]!r}")
    properties, required = tree.get("properties", {}), tree.get("required", [])
    more, enum, pattern = tree.get("additionalProperties", True), tree.get("enum"), tree.get("pattern")
    if type(properties) is not dict or type(more) is not bool or type(required) is not list \
            or not all(type(name) is str for name in required) or len(set(required)) != len(required):
        raise _unsupported("properties, required or additionalProperties of another form than usual")
    if "enum" in tree and (type(enum) is not list or not enum
                           or any(type(one) in (dict, list, float) for one in enum)):
        raise _unsupported("an enum of others than texts, whole numbers, booleans and null")
    if "pattern" in tree and not is_valid(pattern):
        raise _unsupported("a pattern that is no RE2 expression")
    return _Schema(types=_types(tree["type"]) if "type" in tree else (), required=tuple(required), more=more,
                   properties={name: _schema(part, level + 1) for name, part in properties.items()}, enum=enum,
                   items=_schema(tree["items"], level + 1) if "items" in tree else None, limits=_limits(tree),
                   pattern=pattern)


def _limits(tree: Mapping[str, Value]) -> dict[str, int]:
    found = {name: tree[name] for name in (*_SIZES, *_BOUNDS) if name in tree}
    for name, value in found.items():
        if type(value) is not int or abs(value) >= _MAX_PLAIN or (name in _SIZES and value < 0):
            raise _unsupported(f"a {name} that is no whole number below {_MAX_PLAIN}")
    if any(found.get(f"min{what}", 0) > found.get(f"max{what}", _MAX_PLAIN)
           for what in ("Items", "Length", "Properties")):
        raise _unsupported("a least that is more than the most")
    return found


# -- matching; each problem is (place, kind, text)

Problem = tuple[str, str, str]


def _type_of(value: Value) -> str:
    if value is None:
        return "null"
    if type(value) is float:
        return "integer" if value.is_integer() else "number"
    return {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}[type(value)]


def _problems(context: Context, schema: _Schema, value: Value, place: str) -> Iterator[Problem]:
    context.charge(1 + len(schema.properties) + len(schema.required))
    kind = _type_of(value)
    if schema.types and kind not in schema.types and not (kind == "integer" and "number" in schema.types):
        wanted = schema.types[0] if len(schema.types) == 1 else f"[{','.join(schema.types)}]"
        yield place, "invalid_type", f"Invalid type. Expected: {wanted}, given: {kind}"
        return
    if kind in ("integer", "number"):
        yield from _number(schema, value, place)
    elif kind == "array":
        yield from _array(context, schema, value, place)
    elif kind == "object":
        yield from _object(schema, value, place)
    if schema.enum is not None and not any(equal(one, value) for one in schema.enum):
        allowed = ", ".join(marshal(one) for one in schema.enum)
        yield place, "enum", f"{place} must be one of the following: {allowed}"
    if kind == "string":
        yield from _string(schema, value, place)
    elif kind == "object":
        for name in sorted(schema.properties.keys() & value.keys()):
            yield from _problems(context, schema.properties[name], value[name], _inner(place, name))


def _inner(place: str, name: str) -> str:
    return name if place == "(Root)" else f"{place}.{name}"


def _array(context: Context, schema: _Schema, value: list[Value], place: str) -> Iterator[Problem]:
    if schema.items is not None:
        for index, item in enumerate(value):
            yield from _problems(context, schema.items, item, _inner(place, str(index)))
    if len(value) < (least := schema.limits.get("minItems", 0)):
        yield place, "array_min_items", f"Array must have at least {least} items"
    if len(value) > (most := schema.limits.get("maxItems", len(value))):
        yield place, "array_max_items", f"Array must have at most {most} items"


def _object(schema: _Schema, value: Mapping[str, Value], place: str) -> Iterator[Problem]:
    if len(value) < (least := schema.limits.get("minProperties", 0)):
        yield place, "array_min_properties", f"Must have at least {least} properties"
    if len(value) > (most := schema.limits.get("maxProperties", len(value))):
        yield place, "array_max_properties", f"Must have at most {most} properties"
    for name in schema.required:
        if name not in value:
            yield place, "required", f"{name} is required"
    if not schema.more:
        for name in sorted(value.keys() - schema.properties.keys()):
            yield place, "additional_property_not_allowed", f"Additional property {name} is not allowed"


def _string(schema: _Schema, value: str, place: str) -> Iterator[Problem]:
    if len(value) < (least := schema.limits.get("minLength", 0)):
        yield place, "string_gte", f"String length must be greater than or equal to {least}"
    if len(value) > (most := schema.limits.get("maxLength", len(value))):
        yield place, "string_lte", f"String length must be less than or equal to {most}"
    if schema.pattern is not None and compiled(schema.pattern).search(value) is None:
        yield place, "pattern", f"Does not match pattern '{schema.pattern}'"


def _number(schema: _Schema, value: float, place: str) -> Iterator[Problem]:
    limits = schema.limits
    if value > (most := limits.get("maximum", value)):
        yield place, "number_lte", f"Must be less than or equal to {most}"
    if "exclusiveMaximum" in limits and value >= limits["exclusiveMaximum"]:
        yield place, "number_lt", f"Must be less than {limits['exclusiveMaximum']}"
    if value < (least := limits.get("minimum", value)):
        yield place, "number_gte", f"Must be greater than or equal to {least}"
    if "exclusiveMinimum" in limits and value <= limits["exclusiveMinimum"]:
        yield place, "number_gt", f"Must be greater than {limits['exclusiveMinimum']}"


def _tree(value: Value) -> Value:
    """A document or schema: an object or array, or its text."""
    if type(value) is str:
        if not parses(value):
            raise BuiltinError("invalid JSON string")
        return parse(value)
    if type(value) not in (dict, list):
        raise BuiltinError("wrong type, expected string or object")
    return to_json(value)


def match_schema(context: Context, document: Value, schema: Value) -> Value:
    """[whether the document matches, what is wrong with it]."""
    checked = _schema(_tree(schema))
    found = list(_problems(context, checked, _tree(document), "(Root)"))
    return [not found, [{"error": f"{place}: {text}", "type": kind, "field": place, "desc": text}
                        for place, kind, text in found]]


def verify_schema(schema: Value) -> Value:
    """[whether it is a schema, what is wrong with it or null]."""
    try:
        _schema(_tree(schema))
    except BuiltinError as error:
        return [False, f"jsonschema: {error}"]
    return [True, None]


SCHEMAS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "json.match_schema": Builtin(match_schema, 2, context=True, deep=True),
    "json.verify_schema": Builtin(verify_schema, 1, deep=True),
})
