"""capability/closing.py: compositions, conditions. What no part names is refused; nothing more is accepted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.capability.test_closing import TEXT, closed, of

from ringwall.capability.closing import close, shown
from ringwall.capability.schema import Schema
from ringwall.errors import BadInput

NUMBER = {"type": "integer"}
CONDITIONAL = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": TEXT}},
              "loop": of(next={"$ref": "#/$defs/loop"})},
    **of(address={"$ref": "#/$defs/address"}, contact={"type": "string", "enum": ["phone", "email"]}, phone=TEXT,
         email=TEXT),
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contact": {"const": "phone"}}, "required": ["contact"]},
    "then": {"required": ["phone"]}, "else": {"required": ["email"]},
}  # fmt: skip


@pytest.mark.parametrize(("args", "good"), [
    ({"contact": "phone", "phone": "1"}, True), ({"contact": "phone", "email": "1"}, False), ({"email": "1"}, True),
    ({"phone": "1"}, False), ({"email": "1", "more": 1}, False),
    ({"email": "1", "address": {"street": "x", "more": 1}}, False),
])
def test_conditions_are_enforced_and_closed(args: Any, good: bool) -> None:
    assert (closed(CONDITIONAL).errors(args) == ()) is good


def test_agents_see_the_dialect_and_the_definitions_that_were_listed_closed() -> None:
    allowed = frozenset({"address", "contact", "phone", "email"})
    seen = shown(CONDITIONAL, allowed)
    street = {"type": "object", "properties": {"street": TEXT}, "additionalProperties": False}
    assert seen["$defs"] == {"address": {"$anchor": "addressDef", **street}}  # the other cannot be closed
    assert {**seen, "$schema": "", "$defs": ""} == {"$schema": "", "$defs": "", **close(CONDITIONAL, allowed)}
    older = {**of(a=TEXT), "$schema": "http://json-schema.org/draft-07/schema#"}
    assert shown(older, frozenset("a")) == close(older, frozenset("a"))


def test_a_part_about_an_argument_that_is_not_declared_does_not_bring_it_back() -> None:
    schema = of(a=TEXT, b=TEXT) | {"anyOf": [{"properties": {"b": TEXT}}, {"required": ["a"]}]}
    check = Schema(close(schema, frozenset("a")))
    assert check.errors({"a": "x"}) == () and check.errors({"a": "x", "b": "y"})


@pytest.mark.parametrize(("schema", "good", "bad"), [
    ({"allOf": [of(b=TEXT), of(c=TEXT)]}, [{"b": "", "c": ""}, {}], [{"d": 1}, {"b": 1}]),
    ({"allOf": [{"$ref": "#/$defs/A"}, of(c=TEXT)]}, [{"b": {"x": ""}, "c": ""}], [{"b": {"y": ""}}, {"d": 1}]),
    ({"allOf": [of(b=TEXT) | {"additionalProperties": True}, of(c=TEXT)]}, [{"b": "", "c": ""}], [{"d": 1}]),
    ({"allOf": [of(b=TEXT) | {"additionalProperties": False}, of(c=TEXT)]}, [{"b": ""}], [{"c": ""}]),
    (of(b=TEXT) | {"anyOf": [of(c=TEXT), of(d=of(e=TEXT))]}, [{"b": "", "c": ""}, {"d": {"e": ""}}],
     [{"f": 1}, {"d": {"f": 1}}]),
    (of(b=TEXT) | {"if": {"properties": {"b": {"const": "x"}}}, "then": {"properties": {"c": TEXT}}},
     [{"b": "x", "c": ""}, {"b": "y"}], [{"b": "y", "c": ""}, {"b": "x", "c": 1}]),
    (of(b=TEXT) | {"oneOf": [{"required": ["b"]}, {"properties": {"c": NUMBER}, "required": ["c"]}]},
     [{"b": ""}, {"c": 1}], [{"b": "", "c": 1}, {"d": 1}]),
    ({"oneOf": [of(b=NUMBER), of(b=NUMBER, c=of(d=NUMBER))]}, [{"b": ""}], [{"b": 1, "c": {"d": 1}}]),
    ({"allOf": [{"type": "array"}, {"minItems": 0}]}, [[]], [[1]]),
    ({"type": "array", "items": of(b=TEXT), "anyOf": [{"minItems": 1}]}, [[{"b": ""}]], [[], [{"c": 1}]]),
    ({"type": "string", "anyOf": [{"format": "date"}, {"maxLength": 1}]}, ["2020-01-01", "x"], ["xyz", {}]),
])
def test_each_composition_is_closed_where_it_stands(schema: Any, good: list[Any], bad: list[Any]) -> None:
    defs = {"$defs": {"A": of(b=of(x=TEXT))}}
    check, listed = closed(of(a=schema) | defs), Schema(of(a=schema) | defs)
    for value in good:
        assert (check.errors({"a": value}) == ()) == (listed.errors({"a": value}) == ()), value
    assert any(check.errors({"a": value}) == () for value in good) or "oneOf" in schema
    for value in bad:
        assert check.errors({"a": value}), value


# --- properties

NAMES = "abc"
WAYS = ("allOf", "anyOf", "oneOf", "if")
PLAIN: st.SearchStrategy[Any] = st.sampled_from([TEXT, NUMBER, {"enum": [1, "x"]}, {"const": 1}])


def members(draw: st.DrawFn, depth: int) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))
    return {"properties": {name: location(draw, depth - 1) for name in names}}


def applied(draw: st.DrawFn, way: str, depth: int) -> dict[str, Any]:
    if way == "if":
        return {one: part(draw, depth) for one in ("if", "then", "else")}
    return {way: [part(draw, depth) for _ in range(draw(st.integers(1, 2)))]}


def part(draw: st.DrawFn, depth: int) -> Any:
    kind = draw(st.sampled_from(["required", "members", "check", "closed", "type", "any", *WAYS] if depth > 0
                                else ["required", "check", "closed", "any"]))
    match kind:
        case "required":
            return {"required": [draw(st.sampled_from(NAMES))]}
        case "members":
            return members(draw, depth)
        case "check":
            return {"properties": {draw(st.sampled_from(NAMES)): draw(st.sampled_from([{"const": 1}, True, TEXT]))}}
        case "closed":
            return {**members(draw, min(depth, 1)), "additionalProperties": False}
        case "type":
            return {"type": "object"}
        case "any":
            return draw(st.booleans())
        case _:
            return applied(draw, kind, depth - 1)


def objects(draw: st.DrawFn, depth: int) -> dict[str, Any]:
    more = draw(st.sampled_from([{}, {"additionalProperties": True}, {"additionalProperties": False}]))
    return {"type": "object", **members(draw, depth), **more}


def location(draw: st.DrawFn, depth: int) -> Any:
    kind = draw(st.sampled_from(["plain", "object", "parts", "parts", "alone", "list"] if depth > 0 else ["plain"]))
    match kind:
        case "plain":
            return draw(PLAIN)
        case "object":
            return objects(draw, depth)
        case "parts":
            return {**objects(draw, depth), **applied(draw, draw(st.sampled_from(WAYS)), depth)}
        case "alone":
            ways = draw(st.sampled_from(["allOf", "anyOf", "oneOf"]))
            return {ways: [objects(draw, depth) for _ in range(draw(st.integers(1, 2)))]}
        case _:
            return {"type": "array", "items": location(draw, depth - 1)}


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    return location(draw, 3)


SCHEMAS = schemas()
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([1, 2, "x", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6)


def instance(schema: Any, draw: Any) -> Any:
    """A value made of named members only: those of one branch at each place."""
    if not isinstance(schema, dict):
        return draw(VALUES)
    if "items" in schema:
        return [instance(schema["items"], draw) for _ in range(draw(st.integers(0, 2)))]
    if not {"type", "properties", *WAYS}.isdisjoint(schema) and schema.get("type", "object") == "object":
        return {name: instance(draw(st.sampled_from(found)), draw) for name, found in named(schema, draw).items()
                if draw(st.booleans())}
    return draw(st.sampled_from([1, "x"]))


def named(schema: Any, draw: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if not isinstance(schema, dict):
        return found
    for name, value in schema.get("properties", {}).items():
        found.setdefault(name, []).append(value)
    picked = [*schema.get("allOf", [])]
    picked += [draw(st.sampled_from(schema[way])) for way in ("anyOf", "oneOf") if way in schema]
    picked += [schema["then"] if draw(st.booleans()) else schema["else"]] if "if" in schema else []
    for part in picked:
        for name, values in named(part, draw).items():
            found.setdefault(name, []).extend(values)
    return found


def spoiled(value: Any) -> list[Any]:
    """The value with a member that nobody names, at each place where that can be."""
    if isinstance(value, dict):
        inner = [{**value, name: bad} for name, one in value.items() for bad in spoiled(one)]
        return [{**value, "zz": 1}, *inner]
    if isinstance(value, list):
        return [[*value[:i], bad, *value[i + 1:]] for i, one in enumerate(value) for bad in spoiled(one)]
    return []


@given(SCHEMAS, VALUES, st.data())
@settings(max_examples=400, deadline=None)
@example({"oneOf": [of(a=NUMBER), of(a=NUMBER, b=of(c=NUMBER))]}, {"a": 1, "b": {"c": 1}}, None)
def test_a_closed_schema_accepts_less_than_the_listed_one_and_never_what_nobody_names(
        schema: Any, value: Any, data: Any) -> None:
    root = of(a=schema)
    try:
        check = closed(root)
    except BadInput:
        assume(False)
        return
    listed = Schema(root)
    for one in (value, *([] if data is None else [instance(schema, data.draw)])):
        if check.errors({"a": one}) == ():
            assert listed.errors({"a": one}) == ()
            for bad in spoiled({"a": one}):
                assert check.errors(bad), bad


@given(SCHEMAS, st.data())
@settings(max_examples=400, deadline=None)
def test_what_the_listed_schema_accepts_with_named_members_only_is_accepted(schema: Any, data: Any) -> None:
    root = of(a=schema)
    try:
        check = closed(root)
    except BadInput:
        assume(False)
        return
    made = {"a": instance(schema, data.draw)}
    if Schema(root).errors(made) == () and every_member_was_looked_at(schema, made["a"]):
        assert check.errors(made) == ()


def every_member_was_looked_at(schema: Any, value: Any) -> bool:
    """Whether a part that holds names each member: one that fails may have named it for another case."""
    if not isinstance(schema, dict):
        return not isinstance(value, (dict, list))
    if isinstance(value, list):
        return all(every_member_was_looked_at(schema.get("items", True), one) for one in value)
    if not isinstance(value, dict):
        return True
    looked = applying(schema, value)
    return all(name in looked and all(every_member_was_looked_at(one, inner) or not isinstance(inner, (dict, list))
                                      for one in looked[name]) for name, inner in value.items())


def applying(schema: Any, value: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if not isinstance(schema, dict) or Schema(schema).errors(value):
        return found
    for name, one in schema.get("properties", {}).items():
        found.setdefault(name, []).append(one)
    for way in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(way, []):
            for name, ones in applying(part, value).items():
                found.setdefault(name, []).extend(ones)
    if "if" in schema:
        asked = schema["if"]
        holds = asked is True or (isinstance(asked, dict) and Schema(asked).errors(value) == ())
        for name, ones in applying(schema["then" if holds else "else"], value).items():
            found.setdefault(name, []).extend(ones)
    return found
