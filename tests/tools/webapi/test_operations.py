"""OpenAPI operations: what is understood keeps every check, and what is not is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tools.webapi.descriptions import SHOP, TEXT, operation, server, single

from ringwall.capability.closing import close
from ringwall.capability.schema import Schema
from ringwall.errors import BadInput
from ringwall.manifest.types import Injection
from ringwall.tools.webapi.document import Document, load
from ringwall.tools.webapi.operation import read


def schema_of(name: str, spec: dict[str, Any] = SHOP) -> Schema:
    """As the catalogue makes it."""
    inputs = operation(spec, name).inputs
    return Schema(close(inputs, frozenset(inputs["properties"])))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("getUser", {"id": "a b"}),
        ("getUser", {"id": "a", "fields": ["name", "mail"]}),
        ("putUser", {"id": "a", "name": "n"}),
        ("putUser", {"id": "a", "name": "n", "mail": None}),
        ("putUser", {"id": "a", "name": "n", "mail": "a@b.example"}),
        ("listUsers", {"q": "", "limit": 99, "active": False, "rate": 1.5, "tag": ["x"], "where": {"age": 3}}),
        ("login", {"user": "u", "scopes": ["a", "b"]}),
    ],
)
def test_arguments_that_fit_are_let_through(name: str, args: dict[str, Any]) -> None:
    assert schema_of(name).errors(args) == ()


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("getUser", {}),
        ("getUser", {"id": "A"}),
        ("getUser", {"id": "a" * 21}),
        ("getUser", {"id": ""}),
        ("getUser", {"id": 1}),
        ("getUser", {"id": "a", "fields": ["other"]}),
        ("getUser", {"id": "a", "fields": []}),
        ("getUser", {"id": "a", "fields": ["name"] * 3}),
        ("getUser", {"id": "a", "X-Trace": "x" * 41}),
        ("getUser", {"id": "a", "Authorization": "x"}),
        ("putUser", {"id": "a"}),
        ("putUser", {"id": "a", "name": ""}),
        ("putUser", {"id": "a", "name": "n", "made": "x"}),
        ("putUser", {"id": "a", "name": "n", "mail": "nonsense"}),
        ("putUser", {"id": "a", "name": "n", "more": 1}),
        ("listUsers", {}),
        ("listUsers", {"q": "x", "limit": 100}),
        ("listUsers", {"q": "x", "limit": 0}),
        ("listUsers", {"q": "x", "limit": "1"}),
        ("listUsers", {"q": "x", "active": None}),
        ("listUsers", {"q": "x", "where": {}}),
        ("listUsers", {"q": "x", "where": {"more": "x"}}),
        ("listUsers", {"q": "x", "tag": "x"}),
        ("login", {}),
    ],
)
def test_every_check_of_the_description_holds(name: str, args: dict[str, Any]) -> None:
    assert schema_of(name).errors(args)


@pytest.mark.parametrize(("form", "good", "bad"), [("int32", 2**31 - 1, 2**31), ("int64", -(2**63), -(2**63) - 1)])
def test_integer_formats_are_ranges(form: str, good: int, bad: int) -> None:
    found = schema_of(
        "op", single(body={"type": "object", "properties": {"n": {"type": "integer", "format": form}}})
    )
    assert found.errors({"n": good}) == ()
    assert found.errors({"n": bad})


def test_null_beside_one_type_has_no_spelling_in_a_query_and_is_left_out() -> None:
    spec = single(
        {"name": "q", "in": "query", "schema": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}, method="get"
    )
    assert operation(spec, "op").inputs["properties"]["q"] == {"type": "integer"}


def query(schema: Any, **more: Any) -> dict[str, Any]:
    return single({"name": "q", "in": "query", "schema": schema, **more})


REFUSED: list[tuple[dict[str, Any], str]] = [
    (single({"name": "c", "in": "cookie", "schema": TEXT}), "/in"),
    (query(TEXT, style="spaceDelimited"), "/style"),
    (query(TEXT, style="pipeDelimited"), "/style"),
    (query(TEXT, style=["form"]), "/style"),
    (query(TEXT, allowReserved=True), "allowReserved"),
    (query(TEXT, content={}), "/content"),
    (query({"type": "object", "properties": {"a": TEXT}}, explode=False), "spelling"),
    (query({"type": "array", "items": {"type": "array", "items": TEXT}}), "list of more"),
    (query({"type": "object", "additionalProperties": TEXT}), "arbitrary"),
    (query({"type": ["string", "integer"]}), "neither"),
    (query({}), "neither"),
    (query({"anyOf": [TEXT, {"type": "integer"}]}), "neither"),
    (query({"$ref": "https://evil.example/x.json"}), "outside"),
    (query({"$ref": "other.json#/a"}), "outside"),
    (query({"$ref": "#/components/none"}), "not there"),
    (query({"$ref": 7}), "outside"),
    (query({"type": "string", "not": {"const": "x"}}), "/not"),
    (single({"in": "query", "schema": TEXT}), "no name"),
    (single({"name": "q", "in": "query"}), "no schema"),
    (single({"name": "a b", "in": "header", "schema": TEXT}), "name of a header"),
    (single({"name": "h", "in": "header", "schema": {"type": "object", "properties": {"a": TEXT}}}), "spelling"),
    (single({"name": "x", "in": "path", "required": True, "schema": TEXT}), "does not name"),
    (single(path="/a/{x}"), "does not name"),
    (single({"name": "x", "in": "path", "schema": TEXT}, path="/{x}/{x}"), "does not name"),
    (single({"name": "x", "in": "path", "schema": TEXT}, path="/{x}{y}"), "half of one"),
    (single({"name": "x", "in": "path", "style": "matrix", "schema": TEXT}, path="/{x}"), "/style"),
    (single(path="/a/../b"), "plain path"),
    (single(path="/a/%2e%2e/b"), "plain path"),
    (single(path="a"), "plain path"),
    (single(path="//evil.example/"), "plain path"),
    (single(path="/a?b"), "plain path"),
    (single(path="/a#b"), "plain path"),
    (single(body={"type": "object", "patternProperties": {"a": TEXT}}), "patternProperties"),
    (single(body={"type": "object", "additionalProperties": {"type": "string"}}), "arbitrary"),
    (single(body={"type": "object", "unevaluatedProperties": False}), "unevaluated"),
    (single(body={"type": "object", "properties": {"a": TEXT}, "required": [{}]}), "required"),
    (single(body={"allOf": [{"type": "object", "properties": {"a": TEXT}}, {"type": "string"}]}), "plain object"),
    (
        single(
            body={
                "allOf": [
                    {"type": "object", "properties": {"a": TEXT}},
                    {"type": "object", "properties": {"a": {"type": "integer"}}},
                ]
            }
        ),
        "several schemas",
    ),
    (single(servers=[{"url": "https://evil.example"}]), "servers"),
    (single(requestBody={"content": {"multipart/form-data": {}}}), "neither application/json"),
    (
        single(requestBody={"content": {"application/x-www-form-urlencoded": {"schema": {"type": "string"}}}}),
        "no object",
    ),
    (single(requestBody={"content": {"application/json": {"schema": TEXT, "encoding": {}}}}), "/encoding"),
    (single(body=TEXT, method="get"), "has none"),
    (single({"name": "body", "in": "query", "schema": TEXT}, body=TEXT), "'body'"),
    (single(unknown=1), "/unknown"),
]


@pytest.mark.parametrize(("spec", "said"), REFUSED, ids=[said + str(i) for i, (_, said) in enumerate(REFUSED)])
def test_what_is_not_understood_is_refused_with_its_place(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as fault:
        operation(spec, "op")
    assert fault.value.code == "bad_openapi"
    assert said in fault.value.cause


def test_names_that_two_arguments_would_share_are_refused() -> None:
    spec = single({"name": "x", "in": "query", "schema": TEXT})
    spec["paths"]["/a"]["post"]["parameters"] += [{"name": "x", "in": "header", "schema": TEXT}]
    with pytest.raises(BadInput, match="several parameters named"):
        operation(spec, "op")


def test_members_of_two_objects_that_would_share_a_name_in_the_query_are_refused() -> None:
    """The wall would judge each, and the server would choose one."""
    members: dict[str, Any] = {"type": "object", "properties": {"x": TEXT}}
    deep = {"style": "deepObject", "explode": True}
    for first, second in (
        ({"name": "a", "schema": members}, {"name": "b", "schema": members}),
        ({"name": "a", "schema": members, **deep}, {"name": "a[x]", "schema": TEXT}),
    ):
        spec = single({"in": "query", **first})
        spec["paths"]["/a"]["post"]["parameters"] += [{"in": "query", **second}]
        with pytest.raises(BadInput, match="several parameters named"):
            operation(spec, "op")


def test_a_recursive_schema_is_refused() -> None:
    spec = single(body={"$ref": "#/components/schemas/T"})
    spec["components"] = {
        "schemas": {"T": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/T"}}}}
    }
    with pytest.raises(BadInput, match="recursive"):
        operation(spec, "op")


def test_references_that_multiply_are_refused() -> None:
    spec = single(body={"$ref": "#/components/schemas/L0"})
    spec["components"] = {
        "schemas": {
            f"L{n}": {
                "type": "object",
                "properties": {k: {"$ref": f"#/components/schemas/L{n + 1}"} for k in "abcd"},
            }
            for n in range(12)
        }
        | {"L12": TEXT}
    }
    with pytest.raises(BadInput, match="more than 2000"):
        operation(spec, "op")


def test_references_that_go_in_circles_are_refused() -> None:
    spec = single()
    spec["paths"]["/a"]["post"]["parameters"] = [{"$ref": "#/components/parameters/a"}]
    spec["components"] = {
        "parameters": {"a": {"$ref": "#/components/parameters/b"}, "b": {"$ref": "#/components/parameters/a"}}
    }
    with pytest.raises(BadInput, match="itself"):
        operation(spec, "op")


def test_one_bad_operation_spoils_no_other(tmp_path: Path) -> None:
    spec = json.loads(json.dumps(SHOP))
    spec["paths"]["/users"]["get"]["parameters"][0]["style"] = "pipeDelimited"
    api = server(tmp_path, spec, getUser=("id",), listUsers=("q",), nothing=())
    assert list(api.operations) == ["getUser"]
    assert len(api.problems) == 2
    assert "listUsers" in api.problems[0]
    assert "nothing" in api.problems[1]


def test_only_declared_operations_are_listed_and_the_pin_covers_what_is_sent(tmp_path: Path) -> None:
    api = server(tmp_path, getUser=("id",))
    assert [one["name"] for one in api.definitions()] == ["getUser"]
    request = api.definitions()[0]["annotations"]["request"]
    assert (request["method"], request["path"]) == ("GET", "/users/{id}")
    assert request["parameters"]["fields"] == "query form"


def test_an_operation_is_found_by_method_and_path_and_an_id_cannot_pretend_to_be_one() -> None:
    spec = json.loads(json.dumps(SHOP))
    spec["paths"]["/users"]["get"]["operationId"] = "DELETE /users/{id}"
    assert operation(spec, "DELETE /users/{id}").method == "DELETE"
    spec["paths"]["/users"]["get"]["operationId"] = "deleteUser"
    with pytest.raises(BadInput, match="no operation"):
        operation(spec, "deleteUser")  # two have that id


def test_what_ringwall_injects_is_no_argument(tmp_path: Path) -> None:
    spec = single(
        body={
            "type": "object",
            "required": ["auth", "a"],
            "properties": {
                "a": TEXT,
                "auth": {"type": "object", "required": ["token"], "properties": {"token": TEXT}},
            },
        }
    )
    assert set(operation(spec, "op", pointer="/auth/token").inputs["properties"]) == {"a"}
    assert operation(spec, "op", pointer="/auth/token").inputs["required"] == ["a"]
    only = single(body={"type": "object", "required": ["token"], "properties": {"token": TEXT}})
    assert operation(only, "op", pointer="/token").inputs["properties"] == {}
    api = server(tmp_path, inject=Injection(header="x-trace"), getUser=("id",))
    assert "X-Trace" not in api.operations["getUser"].inputs["properties"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openapi: 3.0.0\npaths: {}\n", "not JSON"),
        ('{"swagger":"2.0"}', "2.0"),
        ('{"openapi":"4.0.0"}', "expected 3"),
        ("[]", "not JSON"),
        ('{"openapi":"3.1.0","openapi":"3.1.0"}', "twice"),
        ("", "not JSON"),
        ('{"openapi":"3.1.0","jsonSchemaDialect":"https://evil.example"}', "language"),
        ('{"openapi":"3.1.0","paths":[]}', "/paths"),
        ('{"openapi":"3.1.0","a":' + "[" * 300 + "]" * 300 + "}", "deep"),
    ],
)
def test_a_file_that_is_no_description_says_why(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput) as fault:
        load(tmp_path / "a.json")
    assert said in fault.value.cause


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        load(tmp_path / "none.json")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["string", "object", "array", "query", "path", "a", "#/paths", "#/components/schemas/A", "form", "int32"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "$ref",
                    "allOf",
                    "anyOf",
                    "enum",
                    "required",
                    "name",
                    "in",
                    "schema",
                    "style",
                    "explode",
                    "content",
                    "application/json",
                    "application/x-www-form-urlencoded",
                    "nullable",
                    "format",
                    "minimum",
                    "exclusiveMinimum",
                    "minLength",
                    "minItems",
                    "additionalProperties",
                    "default",
                    "a",
                    "readOnly",
                    "prefixItems",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(JSON, JSON, JSON, st.sampled_from(["3.0.0", "3.1.0"]), st.sampled_from(["/a", "/{a}"]))
def test_a_hostile_description_is_understood_or_refused(
    parameters: Any, body: Any, schema: Any, version: str, path: str
) -> None:
    spec = {
        "openapi": version,
        "components": {"schemas": {"A": schema}},
        "paths": {
            path: {
                "parameters": parameters,
                "post": {"operationId": "op", "requestBody": {"content": {"application/json": {"schema": body}}}},
                "put": {"requestBody": body, "parameters": [{"name": "a", "in": "query", "schema": schema}]},
            }
        },
    }
    document = Document(spec)
    for found in document.operations:
        try:
            made = read(document, found, pointer="/a/a")
            closed = close(made.inputs, frozenset(made.inputs["properties"]))
            Schema(closed)
        except BadInput as fault:
            assert fault.code in {"bad_openapi", "unclosable_schema", "bad_schema"}
