"""Requests to web APIs: whatever an agent says, the request reads back as just that, at the pinned host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.tools.webapi.descriptions import SHOP, TEXT, URL, operation, server, single

from ringwall.capability.closing import close
from ringwall.capability.schema import Schema
from ringwall.errors import BadInput
from ringwall.tools.answer import HttpAnswer, HttpRequest
from ringwall.tools.places import below
from ringwall.tools.webapi.operation import WebOperation
from ringwall.tools.webapi.request import build


def made(name: str, args: dict[str, Any], spec: dict[str, Any] = SHOP) -> HttpRequest:
    return build(operation(spec, name), URL, args)


def test_a_request_is_put_together_as_the_description_says() -> None:
    request = made("getUser", {"id": "a b/é", "fields": ["name", "mail"], "X-Trace": "t 1"})
    assert request == HttpRequest(
        method="GET",
        url=URL + "/users/a%20b%2F%C3%A9?fields=name,mail",
        headers={"Accept": "application/json", "X-Trace": "t 1"},
    )
    request = made(
        "listUsers",
        {
            "q": "a&b=c#d?",
            "limit": 5,
            "active": True,
            "rate": 0.5,
            "tag": ["x,y", "z"],
            "where": {"city": "Ulm", "age": 7},
        },
    )
    assert request.url == (
        URL + "/users?limit=5&active=true&rate=0.5&tag=x%2Cy&tag=z&where%5Bcity%5D=Ulm"
        "&where%5Bage%5D=7&q=a%26b%3Dc%23d%3F"
    )
    request = made("putUser", {"id": "a", "name": "n", "mail": None})
    assert (request.method, request.body) == ("PUT", b'{"mail":null,"name":"n"}')
    assert request.headers["Content-Type"] == "application/json"
    request = made("login", {"user": "a&b=c", "scopes": ["x", "y"]})
    assert request.body == b"user=a%26b%3Dc&scopes=x&scopes=y"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_body_that_is_no_plain_object_is_one_argument() -> None:
    spec = single(body={"type": "array", "items": {"type": "integer"}})
    assert made("op", {"body": [1, 2]}, spec).body == b"[1,2]"


def test_an_optional_body_may_be_left_out() -> None:
    spec = single(
        requestBody={"content": {"application/json": {"schema": {"type": "object", "properties": {"a": TEXT}}}}}
    )
    assert made("op", {}, spec).body == b""
    assert "Content-Type" not in made("op", {}, spec).headers
    assert made("op", {"a": "x"}, spec).body == b'{"a":"x"}'


@pytest.mark.parametrize(
    "value",
    [
        "..",
        ".",
        "../admin",
        "..\\admin",
        "a/../b",
        "%2e%2e",
        "%252e%252e/x",
        "..;/x",
        "",
        "a\nb",
        "a\0",
        "a\u202eb",
        "a/%2e%2e/b",
        "%41",
        "%00",
    ],
)
def test_a_path_value_that_could_be_read_as_a_way_up_is_refused(value: str) -> None:
    spec = single({"name": "x", "in": "path", "schema": {"type": "string"}}, path="/files/{x}", method="get")
    with pytest.raises(BadInput) as fault:
        made("op", {"x": value}, spec)
    assert fault.value.code == "bad_arguments"


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "é", " a", "a ", "", "a\0", "a\tb", "x" * 9000])
def test_a_header_value_that_is_not_plain_is_refused(value: str) -> None:
    spec = single({"name": "X-A", "in": "header", "schema": {"type": "string"}}, method="get")
    with pytest.raises(BadInput):
        made("op", {"X-A": value}, spec)


@pytest.mark.parametrize("where", ["path", "query", "header"])
def test_a_separator_inside_of_a_joined_list_is_refused(where: str) -> None:
    spec = single(
        {"name": "x", "in": where, "explode": False, "schema": {"type": "array", "items": {"type": "string"}}},
        path="/a/{x}" if where == "path" else "/a",
        method="get",
    )
    assert made("op", {"x": ["a", "b"]}, spec)
    for bad in (["a,b"], ["a", ""]):
        with pytest.raises(BadInput):
            made("op", {"x": bad}, spec)


def test_arguments_that_nobody_knows_are_refused() -> None:
    with pytest.raises(BadInput, match="none of this operation"):
        made("deleteUser", {"id": "a", "force": True})


def test_a_url_that_becomes_too_long_is_refused() -> None:
    with pytest.raises(BadInput, match="URL of more"):
        made("listUsers", {"q": "é" * 5000})


FREE = single(
    path="/files/x{p}y/z",
    method="post",
    parameters=[
        {"name": "p", "in": "path", "schema": {"type": "string"}},
        {"name": "s", "in": "query", "schema": {"type": "string"}},
        {"name": "l", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
        {"name": "j", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "string"}}},
        {
            "name": "d",
            "in": "query",
            "style": "deepObject",
            "schema": {"type": "object", "properties": {"k": {"type": "string"}}},
        },
        {"name": "n", "in": "query", "schema": {"type": "number"}},
        {"name": "H", "in": "header", "schema": {"type": "string"}},
    ],
    requestBody={
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"a": {"type": "string"}, "b": {"type": ["number", "null"]}},
                }
            }
        }
    },
)
OPERATION: WebOperation = operation(FREE, "op")
SCHEMA = Schema(close(OPERATION.inputs, frozenset(OPERATION.inputs["properties"])))
WORDS = st.text(max_size=12) | st.sampled_from(
    [
        "..",
        "../..",
        "a/b",
        "@evil.example",
        "//evil",
        "?x=1",
        "#",
        "%2f",
        "a,b",
        "a&b",
        "\r\nHost: x",
        "{p}",
        "https://evil.example/",
        ";a=b",
    ]
)


@settings(max_examples=600, deadline=None)
@given(
    st.fixed_dictionaries(
        {"p": WORDS},
        optional={
            "s": WORDS,
            "l": st.lists(WORDS, min_size=1, max_size=3),
            "j": st.lists(WORDS, min_size=1, max_size=3),
            "d": st.fixed_dictionaries({"k": WORDS}),
            "n": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
            "H": WORDS,
            "a": WORDS,
            "b": st.none() | st.integers(-9, 9),
        },
    )
)
def test_what_passes_the_schema_reads_back_exactly_at_the_pinned_host(args: dict[str, Any]) -> None:
    assume(not SCHEMA.errors(args))
    try:
        request = build(OPERATION, URL, args)
    except BadInput as fault:
        assert fault.code == "bad_arguments"
        return
    parts = urlsplit(request.url)
    assert f"{parts.scheme}://{parts.netloc}" == "https://api.example"
    assert parts.fragment == ""
    assert below(request.url, [URL + "/"])
    segments = parts.path.split("/")
    assert [*segments[:3], segments[4]] == ["", "v1", "files", "z"]
    assert unquote(segments[3]) == f"x{args['p']}y"
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    wanted = [("s", args["s"])] if "s" in args else []
    wanted += [("l", one) for one in args.get("l", [])]
    wanted += [("j", ",".join(args["j"]))] if "j" in args else []
    wanted += [("d[k]", args["d"]["k"])] if "d" in args else []
    assert [pair for pair in pairs if pair[0] != "n"] == wanted
    numbers = [float(text) for name, text in pairs if name == "n"]
    assert numbers == ([float(args["n"])] if "n" in args else [])
    raw_j = [part[2:] for part in parts.query.split("&") if part.startswith("j=")]
    assert [unquote(one) for text in raw_j for one in text.split(",")] == args.get("j", [])
    assert request.headers.get("H") == args.get("H")
    assert all(value.isprintable() for value in request.headers.values())
    assert json.loads(request.body or b"{}") == {key: args[key] for key in ("a", "b") if key in args}


@pytest.mark.parametrize(
    ("answer", "value", "error"),
    [
        (
            HttpAnswer(status=200, headers={"content-type": "application/json; charset=utf-8"}, body=b'{"a":1}'),
            {"a": 1},
            "",
        ),
        (HttpAnswer(status=201, headers={"content-type": "application/hal+json"}, body=b"[1]"), [1], ""),
        (HttpAnswer(status=204), {"status": 204, "text": ""}, ""),
        (
            HttpAnswer(status=200, headers={"content-type": "text/plain"}, body=b"hi"),
            {"status": 200, "text": "hi"},
            "",
        ),
        (HttpAnswer(status=200, body=b"\xff"), {"status": 200, "base64": "/w=="}, ""),
        (HttpAnswer(status=404, body=b"no such user"), None, "HTTP status 404: no such user"),
        (
            HttpAnswer(status=302, headers={"location": "http://169.254.169.254/"}),
            None,
            "HTTP status 302 to http://169.254.169.254/: ",
        ),
    ],
)
def test_an_answer_becomes_a_value_or_an_error(tmp_path: Path, answer: HttpAnswer, value: Any, error: str) -> None:
    assert server(tmp_path).outcome(answer) == (value, error)


@pytest.mark.parametrize("body", [b"{", b'{"a":1,"a":2}', b"[" * 500, b"\xff"])
def test_an_answer_that_is_said_to_be_json_and_is_not_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(BadInput):
        server(tmp_path).outcome(HttpAnswer(status=200, headers={"content-type": "application/json"}, body=body))


def test_the_text_of_an_error_is_bounded(tmp_path: Path) -> None:
    _, error = server(tmp_path).outcome(HttpAnswer(status=500, body=b"x" * 10**6))
    assert len(error) == 16_384
