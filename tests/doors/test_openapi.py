"""docs/openapi.json and the door say the same, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from tests.doors.fakes import Served, post, served

import ringwall
from ringwall import _client
from ringwall.call import Last
from ringwall.doors.agent import MESSAGES, ROUTES
from ringwall.doors.http import ErrorBody, ResultBody
from ringwall.interface import Refusal

FILE = Path(ringwall.__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

PATHS = {*ROUTES, f"{MESSAGES}{{peer}}"}

# RFC 9110 section 15, and RFC 6585 for 429 and 431.
STATUSES = {
    200: "The call ran; its result and the name of its record.",
    400: "The request is not what it must be: bad HTTP, bad JSON, or arguments that break the schema.",
    403: "A ring refused the call, or stopped its answer.",
    404: "There is nothing at this path.",
    405: "This path takes another method.",
    408: "The request did not arrive in time.",
    409: "The call waits for a human.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    429: "Too many, too much, too fast; Retry-After says when to ask again.",
    431: "The header is too large.",
    500: "The door failed; the call may have run, its record tells.",
    502: "The call was let through, and its effect failed.",
    503: "A part that must decide is down; nothing was allowed.",
}


def fits(name: str, value: Any) -> bool:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    return jsonschema_rs.is_valid(schema, value)


def test_every_route_is_described_and_nothing_else() -> None:
    assert set(DOCUMENT["paths"]) == PATHS
    assert all(set(item) == {"post"} for item in DOCUMENT["paths"].values())


@pytest.mark.parametrize("path", sorted(PATHS))
def test_every_status_is_described_and_nothing_else(path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    assert {int(status): found["description"] for status, found in responses.items()} == STATUSES
    for status, found in responses.items():
        (content,) = found["content"].items()
        name = "ResultBody" if status == "200" else "ErrorBody"
        assert content == ("application/json", {"schema": {"$ref": f"#/components/schemas/{name}"}})


def test_the_schemas_of_answers_are_those_of_the_code() -> None:
    template = "#/components/schemas/{name}"
    _, generated = msgspec.json.schema_components([ErrorBody, ResultBody], ref_template=template)
    assert {name: SCHEMAS[name] for name in generated} == json.loads(json.dumps(generated))
    requests = {
        item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for item in DOCUMENT["paths"].values()
    }
    assert set(SCHEMAS) == set(generated) | requests


def test_what_the_client_sends_fits_its_schema() -> None:
    assert fits("ToolCall", _client.tool_call("docs/read", {"path": "/a"}, {}))
    assert fits("Completion", _client.chat("small", [{"role": "user", "content": "hi"}], {"temperature": 0}))
    assert fits("ToolCall", _client.tool_call("docs/read", {}, {}, "acme/57"))
    assert fits("Completion", _client.chat("small", [], {}, "acme/57"))
    assert not fits("ToolCall", _client.tool_call("docs/read", {}, {}, "57"))
    assert fits("Listing", {})
    more = {"task_id": "t", "context_id": None, "message_id": None, "approval": "a/1"}
    path, body = _client.sending("sam", "quote", "hi", **more)
    assert (path, fits("Sending", body)) == (f"{MESSAGES}sam", True)
    assert not fits("Sending", {"parts": []})
    assert not fits("ToolCall", {"tool": "docs/read", "args": {}, "subject": "bob"})


def test_what_the_door_answers_fits_its_schema(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        assert fits("ResultBody", _body(door))
        door.wall.passage = Refusal(code="a", reason="b", remedy="c", record="d/1", errors=("e",), retry_after=0.5)
        assert fits("ErrorBody", _body(door))
        door.wall.passage = None
        door.wall.items = [Last(end="failed")]
        assert fits("ErrorBody", _body(door))
        assert not fits("ResultBody", _body(door))


def _body(door: Served) -> Any:
    return json.loads(door.exchange(post()).partition(b"\r\n\r\n")[2])
