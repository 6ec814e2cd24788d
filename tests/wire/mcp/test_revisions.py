"""What headers say and what bodies say are the same, or the request is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.inbound import encode_header_value

from ringwall.errors import BadInput
from ringwall.wire.mcp import revisions
from ringwall.wire.mcp.rpc import Request

META: dict[str, Any] = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                        "io.modelcontextprotocol/clientCapabilities": {}}
HEADERS = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call"), (b"mcp-name", b"echo")]


def call(name: Any = "echo", meta: Any = META) -> Request:
    return Request(id=1, method="tools/call", params={"name": name, "_meta": meta})


def code(headers: list[tuple[bytes, bytes]], request: Request) -> int:
    fault = revisions.check_stateless(headers, request)
    return fault.code if fault is not None else 0


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [field for field in HEADERS if field[0] != name]


def test_a_request_whose_headers_repeat_its_body_is_taken() -> None:
    assert code(HEADERS, call()) == 0
    assert code([*without(b"mcp-name"), (b"mcp-name", b"  echo\t")], call()) == 0


@pytest.mark.parametrize(("headers", "request_", "expected"), [
    (without(b"mcp-method"), call(), -32020),
    (without(b"mcp-name"), call(), -32020),
    (without(b"mcp-protocol-version"), call(), -32020),
    ([*HEADERS, (b"mcp-name", b"other")], call(), -32020),
    ([*HEADERS, (b"mcp-name", b"echo")], call(), -32020),
    ([*HEADERS, (b"mcp-method", b"tools/call")], call(), -32020),
    ([*without(b"mcp-method"), (b"mcp-method", b"TOOLS/CALL")], call(), -32020),
    ([*without(b"mcp-method"), (b"mcp-method", b"tools/list")], call(), -32020),
    (HEADERS, call("other"), -32020),
    ([*without(b"mcp-name"), (b"mcp-name", b"=?base64?ZWNobw==?=")], call(), 0),
    ([*without(b"mcp-name"), (b"mcp-name", b"=?base64?ZWNobw?=")], call(), -32020),
    ([*without(b"mcp-name"), (b"mcp-name", b"=?base64?/w==?=")], call(), -32020),
    (HEADERS, call(meta={}), -32602), (HEADERS, call(meta=None), -32602), (HEADERS, call(meta=[]), -32602),
    (HEADERS, call(meta={**META, "io.modelcontextprotocol/clientCapabilities": 1}), -32602),
    (HEADERS, call(meta={**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}), -32020),
    ([*without(b"mcp-protocol-version"), (b"mcp-protocol-version", b"2099-01-01")],
     call(meta={**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}), -32022),
    (HEADERS, call(meta={**META, "io.modelcontextprotocol/protocolVersion": ["2026-07-28"]}), -32020),
])  # fmt: skip
def test_a_request_that_contradicts_itself_is_refused(headers: list[tuple[bytes, bytes]], request_: Request,
                                                      expected: int) -> None:
    assert code(headers, request_) == expected


def test_an_unknown_version_is_answered_with_those_that_are_spoken() -> None:
    meta = {**META, "io.modelcontextprotocol/protocolVersion": "v9"}
    fault = revisions.check_stateless([*without(b"mcp-protocol-version"), (b"mcp-protocol-version", b"v9")],
                                      call(meta=meta))
    assert fault is not None
    assert fault.data == {"supported": ["2026-07-28"], "requested": "v9"}


@pytest.mark.parametrize(("headers", "meta", "expected"), [
    ([], None, False), ([(b"mcp-protocol-version", b"2025-11-25")], None, False),
    ([(b"mcp-protocol-version", b"2026-07-28")], None, True), ([(b"mcp-protocol-version", b"x")], {}, True),
    ([], META, True), ([(b"mcp-protocol-version", b"2025-11-25")], META, True),
    ([(b"mcp-protocol-version", b"2025-11-25"), (b"mcp-protocol-version", b"2026-07-28")], None, True),
])  # fmt: skip
def test_one_sign_of_the_newer_revision_is_enough_to_be_held_to_it(headers: Any, meta: Any, expected: bool) -> None:
    assert revisions.stateless(headers, meta) is expected


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_name_survives_the_sdks_spelling_in_a_header(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    assert revisions.decoded(encode_header_value(name)) == name


@given(st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_wrapping_is_right_or_nothing(inner: bytes) -> None:
    found = revisions.decoded(f"=?base64?{base64.b64encode(inner).decode()}?=")
    assert found is None or found.encode() == inner


SCHEMA = {"type": "object", "properties": {
    "where": {"type": "string", "x-mcp-header": "Region"},
    "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "Count"}}},
    "plain": {"type": "string"}}}  # fmt: skip


@pytest.mark.parametrize(("headers", "arguments", "good"), [
    ([], {}, True), ([], {"plain": "x"}, True), ([], {"where": None}, True),
    ([(b"mcp-param-region", b"eu")], {"where": "eu"}, True),
    ([(b"mcp-param-region", b"us")], {"where": "eu"}, False), ([], {"where": "eu"}, False),
    ([(b"mcp-param-region", b"eu")], {}, False),
    ([(b"mcp-param-region", b"eu"), (b"mcp-param-region", b"eu")], {"where": "eu"}, False),
    ([(b"mcp-param-count", b"42")], {"deep": {"n": 42}}, True),
    ([(b"mcp-param-count", b"42.0")], {"deep": {"n": 42}}, True),
    ([(b"mcp-param-count", b"42.5")], {"deep": {"n": 42}}, False),
    ([(b"mcp-param-count", b"1")], {"deep": {"n": True}}, False),
    ([(b"mcp-param-region", b"=?base64?!?=")], {"where": "eu"}, False),
    ([(b"mcp-param-count", b"1")], {"deep": []}, False),
])  # fmt: skip
def test_a_repeated_argument_agrees_with_the_body(headers: Any, arguments: Any, good: bool) -> None:
    wanted = revisions.annotated(SCHEMA)
    assert wanted == {"region": ("where",), "count": ("deep", "n")}
    assert (revisions.check_arguments(headers, wanted, arguments) is None) is good


def test_a_session_speaks_the_revision_it_agreed_on() -> None:
    revisions.need_version([], "2025-11-25")
    revisions.need_version([(b"mcp-protocol-version", b"2025-11-25")], "2025-11-25")
    with pytest.raises(BadInput):
        revisions.need_version([(b"mcp-protocol-version", b"2025-06-18")], "2025-11-25")
