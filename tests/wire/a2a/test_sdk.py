"""wire/a2a carries what a2a-sdk 1.3.0 sends: its client's requests and its server's answers, recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ringwall.errors import BadInput
from ringwall.wire import a2a

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "sdk_1_3_0.jsonl").read_text().splitlines()
]
CARD = [row for row in ROWS if row["binding"] == "card"]
RPC = [row for row in ROWS if row["binding"] == "rpc"]
REST = [row for row in ROWS if row["binding"] == "rest"]


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{number} {row['method']}" for number, row in enumerate(rows)]


def incomplete(row: dict[str, Any]) -> bool:
    """The SDK's client sends a message without role and parts when told to; its server refuses it, as we do."""
    return '"messageId":"x"' in row["body"]


def pruned(value: Any) -> Any:
    """Without what protobuf calls unset: its server prints such fields in lists of tasks."""
    if isinstance(value, dict):
        return {key: pruned(item) for key, item in value.items() if item not in ("", []) and item is not False}
    return [pruned(item) for item in value] if isinstance(value, list) else value


def same(made: Any, sent: Any) -> bool:
    return pruned(made) == pruned(sent)


def asked(row: dict[str, Any]) -> a2a.Request:
    if row["binding"] == "rpc":
        return a2a.parse_rpc(row["body"].encode())
    path, _, query = row["path"].removeprefix("/rest").partition("?")
    return a2a.parse_rest(row["http"], path, query, row["body"].encode())


@pytest.mark.parametrize("row", RPC, ids=names(RPC))
def test_a_json_rpc_request_goes_on_as_it_was_meant(row: dict[str, Any]) -> None:
    if incomplete(row):
        with pytest.raises(BadInput, match="role"):
            asked(row)
        return
    request, sent = asked(row), json.loads(row["body"])
    assert (request.method, request.id) == (row["method"], sent["id"])
    assert json.loads(a2a.rpc_request(request)) == {**sent, "params": request.params}
    assert same(request.params, sent["params"])


@pytest.mark.parametrize("row", REST, ids=names(REST))
def test_an_http_request_means_the_method_and_what_its_body_says(row: dict[str, Any]) -> None:
    if incomplete(row):
        with pytest.raises(BadInput, match="role"):
            asked(row)
        return
    request = asked(row)
    assert request.method == row["method"]
    if row["body"]:
        assert same(request.params, json.loads(row["body"]))
    if request.method != "CreateTaskPushNotificationConfig":  # it names the configuration in the body
        assert all(str(request.params[name]) in row["path"] for name in ("id", "taskId") if name in request.params)


def test_both_bindings_ask_for_the_same() -> None:
    for one, other in zip(RPC, REST, strict=True):
        assert one["method"] == other["method"]
        if not incomplete(one):
            assert set(asked(one).params) == set(asked(other).params)


@pytest.mark.parametrize("row", [row for row in RPC if not incomplete(row)])
def test_an_answer_over_json_rpc_is_believed_as_it_is(row: dict[str, Any]) -> None:
    request = asked(row)
    bodies = [row["answer"].encode()]
    if row["stream"]:
        reader = a2a.SseReader()
        bodies = [event.data for event in reader.feed(bodies[0])]
        reader.end()
        assert bodies
    for body in bodies:
        value, sent = a2a.parse_rpc_answer(body, request.id), json.loads(body)
        if isinstance(value, a2a.Fault):
            assert json.loads(a2a.rpc_fault(request.id, value)) == sent
        else:
            made = a2a.check_event(value) if row["stream"] else a2a.check_result(row["method"], value)
            assert same(made, sent["result"])
            assert json.loads(a2a.rpc_result(request.id, made)) == {**sent, "result": made}


def test_errors_are_the_same_in_both_bindings() -> None:
    compared = 0
    for one, other in zip(RPC, REST, strict=True):
        if other["status"] == 200 or incomplete(one):
            continue
        fault = a2a.parse_rpc_answer(one["answer"].encode(), asked(one).id)
        assert isinstance(fault, a2a.Fault)
        status, body = a2a.rest_fault(fault)
        made, sent = json.loads(body)["error"], json.loads(other["answer"])["error"]
        assert (status, made["code"], made["status"], made["details"]) == (
            other["status"], sent["code"], sent["status"], sent["details"])
        compared += 1
    assert compared == 5


def test_the_card_it_serves_is_read_without_the_fields_of_0_3() -> None:
    (row,) = CARD
    sent = json.loads(row["answer"])
    with pytest.raises(BadInput, match="unknown field"):
        a2a.check_card(sent)
    (extended,) = [json.loads(one["answer"])["result"] for one in RPC if one["method"] == "GetExtendedAgentCard"]
    assert same(a2a.own_card(sent), extended)
    assert json.loads(row["answer"]) == sent  # what was given is left as it was
