"""Plain HTTP as a tool: its definitions are closed, and nothing leaves the prefixes."""

from __future__ import annotations

from typing import Any

import pytest

from ringwall.capability.closing import close
from ringwall.capability.schema import Schema
from ringwall.errors import BadInput
from ringwall.manifest.types import Operation, ToolServer
from ringwall.tools.answer import HttpAnswer
from ringwall.tools.plain_http import PlainHttp

SERVER = ToolServer(
    name="net",
    http=("https://docs.example/a/", "https://id.example/x"),
    ops={name: Operation(effect="read", args={}) for name in ("get", "post", "delete")},
)
HTTP = PlainHttp(SERVER)


def schema(op: str) -> Schema:
    (found,) = [one for one in HTTP.definitions() if one["name"] == op]
    return Schema(close(found["inputSchema"], frozenset(found["inputSchema"]["properties"])))


def test_only_declared_methods_are_there() -> None:
    assert [one["name"] for one in HTTP.definitions()] == ["get", "post", "delete"]
    with pytest.raises(BadInput, match="no such method"):
        HTTP.request("put", {"url": "https://docs.example/a/"})


@pytest.mark.parametrize(
    ("op", "args", "fits"),
    [
        ("get", {"url": "https://docs.example/a/"}, True),
        ("get", {}, False),
        ("get", {"url": 1}, False),
        ("get", {"url": "x" * 8193}, False),
        ("get", {"url": "https://a", "body": "x"}, False),
        ("get", {"url": "https://a", "headers": {}}, False),
        ("post", {"url": "https://a", "body": "x"}, True),
        ("post", {"url": "https://a", "content_type": "text/html"}, False),
        ("post", {"url": "https://a", "content_type": "text/plain", "body": "x" * (1 << 20)}, True),
        ("post", {"url": "https://a", "body": "x" * ((1 << 20) + 1)}, False),
    ],
)
def test_arguments_are_closed(op: str, args: dict[str, Any], fits: bool) -> None:
    assert (schema(op).errors(args) == ()) is fits


def test_a_url_outside_of_the_prefixes_is_refused() -> None:
    assert HTTP.request("get", {"url": "https://docs.example/a/b"}).url == "https://docs.example/a/b"
    assert HTTP.request("delete", {"url": "https://id.example/x"}).method == "DELETE"
    for url in ("https://docs.example/b", "https://id.example/x/y", "http://169.254.169.254/latest/"):
        with pytest.raises(BadInput) as fault:
            HTTP.request("get", {"url": url})
        assert fault.value.code == "host_refused"


def test_bytes_that_are_no_text_come_in_base64() -> None:
    value, error = HTTP.outcome(HttpAnswer(status=200, headers={"content-type": "image/png"}, body=b"\x89PNG"))
    assert (value, error) == ({"status": 200, "type": "image/png", "base64": "iVBORw=="}, "")
