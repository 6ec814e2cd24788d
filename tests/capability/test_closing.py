"""capability/closing.py and schema.py: what a schema does not name is refused, at every level."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.call import canonical
from ringwall.capability.closing import MAX_DEPTH, close
from ringwall.capability.keywords import FORMATS
from ringwall.capability.schema import MAX_ERRORS, Schema
from ringwall.errors import BadInput

TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def closed(schema: dict[str, Any]) -> Schema:
    return Schema(close(schema, frozenset(schema["properties"])))


def test_every_object_is_closed_however_deep_it_lies() -> None:
    inner = of(b=TEXT)
    schema = of(plain=inner, listed={"type": "array", "items": inner}, either={"anyOf": [TEXT, inner]},
                pair={"type": "array", "prefixItems": [inner]}, one={"allOf": [inner]}, open=inner | {
                    "additionalProperties": True}, referred={"$ref": "#/$defs/B"}) | {"$defs": {"B": inner}}
    check = closed(schema)
    good, bad = {"b": "x"}, {"b": "x", "c": "y"}
    assert check.errors({"plain": good, "listed": [good], "either": good, "pair": [good], "one": good, "open": good,
                         "referred": good}) == ()
    for args in ({"plain": bad}, {"listed": [good, bad]}, {"either": bad}, {"pair": [bad]}, {"pair": [good, good]},
                 {"one": bad}, {"open": bad}, {"referred": bad}, {"more": 1}):
        assert check.errors(args), args


def test_what_an_argument_wants_repeated_in_a_header_stays_in_the_schema() -> None:
    region = {"type": "string", "x-mcp-header": "Region"}
    assert close({"type": "object", "properties": {"where": region}}, frozenset({"where"})) == {
        "type": "object", "properties": {"where": region}, "additionalProperties": False}


def test_an_argument_the_manifest_does_not_declare_is_taken_out_of_the_schema() -> None:
    made = close(of(path=TEXT, paths={"type": "array", "items": TEXT}), frozenset({"path"}))
    assert made["properties"] == {"path": TEXT}
    assert "'paths' was unexpected" in Schema(made).errors({"paths": ["/etc"]})[0]


@pytest.mark.parametrize(("schema", "allowed", "why"), [
    ({}, "", "does not describe an object"),
    ([], "", "is not an object"),
    (True, "", "is not an object"),
    ({"type": ["object", "null"], "properties": {}}, "", "does not describe an object"),
    (of(a=TEXT), "b", "has no argument 'b'"),
    (of(a=TEXT, b=TEXT) | {"required": ["b"]}, "a", "requires 'b'"),
    (of(a=TEXT) | {"required": [["b"]]}, "a", "requires"),
    (of(a=TEXT) | {"required": "a"}, "a", "'required' that is not a list"),
    (of(a=TEXT) | {"patternProperties": {".*": {}}}, "a", "'patternProperties'"),
    (of(a=TEXT) | {"additionalProperties": {"type": "string"}}, "a", "arbitrary names"),
    (of(a=TEXT) | {"additionalProperties": {}}, "a", "arbitrary names"),
    (of(a=TEXT) | {"unevaluatedProperties": {}}, "a", "'unevaluatedProperties'"),
    (of(a=TEXT) | {"unevaluatedProperties": True}, "a", "'unevaluatedProperties'"),
    (of(a=TEXT) | {"allOf": [{"unevaluatedProperties": False}]}, "a", "'unevaluatedProperties'"),
    (of(a=TEXT) | {"allOf": [{"patternProperties": {}}]}, "a", "'patternProperties'"),
    (of(a=TEXT) | {"allOf": [{"not": {}}]}, "a", "'not'"),
    (of(a=TEXT) | {"allOf": [{"additionalProperties": {}}]}, "a", "arbitrary names"),
    (of(a=TEXT) | {"allOf": [{"properties": {"a": {"items": {}}}}]}, "a", "a second time"),
    (of(a=TEXT) | {"allOf": [{"items": {}}]}, "a", "'items'"),
    (of(a=TEXT) | {"allOf": [5]}, "a", "is no schema"),
    (of(a=TEXT) | {"then": {}}, "a", "without 'if'"),
    (of(a={"type": "object", "if": {"properties": {"b": True}}}), "a", "named by a condition only"),
    (of(a={"oneOf": [of(b=of(c=TEXT)), of(d=TEXT)], "type": "object"}), "a", "below 'oneOf'"),
    (of(a={"allOf": [of(b=of(c=TEXT)), of(b=of(d=TEXT))]}), "a", "a second time"),
    (of(a={"allOf": [{"minLength": 1}, {"maxLength": 2}]}), "a", "accepts anything"),
    (of(a={"allOf": [{"$ref": "#/$defs/A"}, TEXT]}) | {"$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}}, "a",
     "recursive"),
    (of(a={"enum": [[1]], "items": False}), "a", "not its type"),
    (of(a=TEXT) | {"propertyNames": {"pattern": "^a"}}, "a", "'propertyNames'"),
    (of(a=TEXT) | {"dependentSchemas": {}}, "a", "'dependentSchemas'"),
    (of(a=TEXT) | {"$id": "https://x.example/"}, "a", "'$id'"),
    (of(a={"not": {"type": "object"}}), "a", "'not'"),
    (of(a={"if": {}, "then": {}}), "a", "accepts anything"),
    (of(a={}), "a", "accepts anything"),
    (of(a=True), "a", "accepts anything"),
    (of(a={"minLength": 1}), "a", "accepts anything"),
    (of(a={"type": 5}), "a", "accepts anything"),
    (of(a={"type": "array"}), "a", "array of anything"),
    (of(a={"type": "array", "items": {}}), "a", "accepts anything"),
    (of(a={"type": "array", "items": [TEXT]}), "a", "accepts anything"),
    (of(a={"type": "array", "prefixItems": {}}), "a", "'prefixItems'"),
    (of(a={"type": "object", "properties": []}), "a", "'properties'"),
    (of(a={"anyOf": []}), "a", "no list"),
    (of(a={"anyOf": "x"}), "a", "no list"),
    (of(a={"$ref": "https://evil.example/schema"}), "a", "outside"),
    (of(a={"$ref": "file:///etc/passwd"}), "a", "outside"),
    (of(a={"$ref": "#"}), "a", "outside"),
    (of(a={"$ref": 5}), "a", "outside"),
    (of(a={"$ref": "#/$defs/none"}), "a", "does not define"),
    (of(a={"$ref": "#/properties/a"}), "a", "does not define"),
    (of(a={"$ref": "#/$defs/A", "type": "string"}) | {"$defs": {"A": TEXT}}, "a", "beside '$ref'"),
    (of(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": {"$ref": "#/$defs/A"}}}, "a", "recursive"),
    (of(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": of(next={"$ref": "#/$defs/A"})}}, "a", "recursive"),
    (of(a={"$ref": "#/$defs/0"}) | {"$defs": {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(500)}}, "a",
     "nested too deeply"),
    (of(a={"$ref": "#/$defs/0"}) | {"$defs": {
        str(i): {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(20)} | {"20": TEXT}}, "a",
     "larger than"),
])
def test_what_cannot_be_closed_is_refused_with_its_reason(schema: Any, allowed: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        close(schema, frozenset(allowed))
    assert why in caught.value.cause
    assert caught.value.code == "unclosable_schema"


def test_a_schema_nested_out_of_all_measure_is_refused() -> None:
    schema = TEXT
    for _ in range(MAX_DEPTH * 3):
        schema = of(a=schema)
    with pytest.raises(BadInput, match="nested deeper"):
        close(schema, frozenset("a"))


@pytest.mark.parametrize(("keyword", "good", "bad"), [
    ({"type": "string", "maxLength": 3}, "abc", "abcd"),
    ({"type": "string", "pattern": "^[a-z]+$"}, "abc", "ABC"),
    ({"type": "string", "enum": ["a", "b"]}, "a", "c"),
    ({"enum": ["a", 1]}, 1, 2),
    ({"const": {"k": 1}}, {"k": 1}, {"k": 1, "l": 2}),
    ({"type": "integer", "minimum": 1, "maximum": 5}, 5, 10**60),
    ({"type": "number", "multipleOf": 0.5}, 1.5, 1.4),
    ({"type": ["string", "null"]}, None, 5),
    ({"type": "integer"}, 5, "5"),
    ({"type": "integer"}, 5, True),
    ({"type": "array", "items": TEXT, "maxItems": 1}, ["a"], ["a", "b"]),
    ({"type": "object", "properties": {"a": TEXT}, "required": ["a"]}, {"a": "x"}, {}),
    ({"type": "object", "additionalProperties": True}, {}, {"a": 1}),
])
def test_what_a_schema_says_of_values_is_still_enforced(keyword: dict[str, Any], good: Any, bad: Any) -> None:
    check = closed(of(x=keyword))
    assert check.errors({"x": good}) == ()
    assert check.errors({"x": bad})


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_that_stays_in_a_schema_is_enforced(name: str) -> None:
    assert closed(of(x={"type": "string", "format": name})).errors({"x": "\x00 %% no : //["})


def test_a_format_nobody_checks_is_not_shown_as_if_somebody_did() -> None:
    for name in ("path", "binary", "password", ["date"]):
        assert "format" not in close(of(x={"type": "string", "format": name}), frozenset("x"))["properties"]["x"]


@pytest.mark.parametrize("keyword", [
    {"type": "string", "pattern": "("}, {"type": "string", "pattern": "(?=a)b"},  # needs backtracking
    {"type": "string", "pattern": r"(a)\1"}, {"type": "string", "pattern": "((a{100}){100}){100}"},
    {"type": "objekt"}, {"type": "string", "minLength": -1}, {"type": "integer", "minimum": "x"},
])
def test_a_schema_that_is_wrong_or_needs_backtracking_is_refused(keyword: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        closed(of(x=keyword))
    assert caught.value.code == "bad_schema"


def test_errors_name_every_place_and_are_bounded() -> None:
    numbers = {"type": "array", "items": {"type": "integer"}}
    check = closed(of(a=TEXT, b=numbers, **{"c/~": TEXT}) | {"required": ["a"]})
    errors = check.errors({"b": [1, "x", None], "c/~": 5, "d": 1})
    assert [error.partition(":")[0] for error in errors] == ["/b/1", "/b/2", "/c~1~0", "/", "/"]
    assert any("'d' was unexpected" in error for error in errors) and any('"a" is a required' in e for e in errors)
    many = check.errors({"b": ["y" * 10_000] * 500})
    assert len(many) == MAX_ERRORS and all(len(error) < 500 for error in many)


LEAVES = st.integers() | st.sampled_from([
    TEXT, {"type": "integer"}, {"enum": [1]}, {}, True, False, None, {"$ref": "#/$defs/A"}, {"type": []},
    {"type": "array"}])
KEYWORDS = ["type", "properties", "items", "anyOf", "allOf", "$ref", "required", "additionalProperties",
            "prefixItems", "enum", "format", "pattern"]
SCHEMAS = st.recursive(LEAVES, lambda inner: st.dictionaries(
    st.sampled_from(KEYWORDS),
    inner | st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    | st.sampled_from(["object", "array", "string", "(", "date"]), max_size=4), max_leaves=12)


@given(st.dictionaries(st.sampled_from("ab"), SCHEMAS, max_size=2), SCHEMAS)
@settings(max_examples=250, deadline=None)
def test_a_hostile_schema_is_refused_or_closes_and_a_closed_one_closes_to_itself(
        properties: Any, defs: Any) -> None:
    schema = of(**properties) | {"$defs": {"A": defs}}
    try:
        made = close(schema, frozenset(properties))
        check = Schema(made)
    except BadInput:
        return
    assert canonical(close(made, frozenset(properties))) == canonical(made)
    assert check.errors({"undeclared": 1})
