"""wire/a2a/faults.py: refusals of ours in the words of A2A."""

from __future__ import annotations

import json

import pytest

from ringwall.wire import a2a


@pytest.mark.parametrize(("code", "number", "http", "reason"), [
    ("bad_json", -32700, 400, "INVALID_REQUEST"),
    ("duplicate_key", -32600, 400, "INVALID_REQUEST"),
    ("a2a_bad_rpc", -32600, 400, "INVALID_REQUEST"),
    ("a2a_unknown_method", -32601, 404, "METHOD_NOT_FOUND"),
    ("unknown_path", -32601, 404, "METHOD_NOT_FOUND"),
    ("a2a_bad_params", -32602, 400, "INVALID_PARAMS"),
    ("a2a_bad_query", -32602, 400, "INVALID_PARAMS"),
    ("unknown_task", -32001, 404, "TASK_NOT_FOUND"),
    ("task_over", -32004, 400, "UNSUPPORTED_OPERATION"),
    ("mode_not_declared", -32005, 400, "CONTENT_TYPE_NOT_SUPPORTED"),
    ("a2a_bad_answer", -32006, 500, "INVALID_AGENT_RESPONSE"),
    ("internal", -32603, 500, "INTERNAL_ERROR"),
])
def test_a_refusal_that_a2a_has_a_word_for_uses_it(code: str, number: int, http: int, reason: str) -> None:
    fault = a2a.fault_of(code, "why", "acme/7")
    assert (fault.code, fault.message) == (number, "why")
    status, body = a2a.rest_fault(fault)
    assert (status, json.loads(body)["error"]["code"]) == (http, http)
    standard, ours = fault.data
    assert (standard["reason"], standard["domain"]) == (reason, "a2a-protocol.org")
    assert ours == {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code.upper(),
    "domain": "ringwall",
                    "metadata": {"code": code, "record": "acme/7"}}
    assert json.loads(body)["error"]["details"] == fault.data


@pytest.mark.parametrize(("code", "http", "status"), [
    ("not_granted", 403, "PERMISSION_DENIED"), ("loop", 403, "PERMISSION_DENIED"),
    ("held", 409, "FAILED_PRECONDITION"), ("rate_limited", 429, "RESOURCE_EXHAUSTED"),
    ("peer_unreachable", 503, "UNAVAILABLE"), ("effect_unknown", 502, "UNKNOWN"),
    ("some_code_nobody_thought_of", 403, "PERMISSION_DENIED"),
])
def test_a_refusal_that_a2a_has_no_word_for_has_a_number_of_its_own(code: str, http: int, status: str) -> None:
    fault = a2a.fault_of(code, "why", "")
    assert -32099 <= fault.code <= -32050  # A2A's own end at -32009
    (ours,) = fault.data
    assert ours["metadata"] == {"code": code}
    given, body = a2a.rest_fault(fault)
    assert (given, json.loads(body)["error"]["status"]) == (http, status)


def test_asking_again_later_says_when() -> None:
    fault = a2a.fault_of("a_new_limit", "why", "acme/7", retry_after=1.5)
    assert fault.data[-1] == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"}
    assert a2a.rest_fault(fault)[0] == 429


def test_a_fault_survives_the_way_between_two_walls() -> None:
    fault = a2a.fault_of("not_granted", "wäs nicht", "acme/7")
    assert a2a.parse_rpc_answer(a2a.rpc_fault("1", fault), "1") == fault


@pytest.mark.parametrize("code", [-1, 0, 5, -32000, 2**31 - 1])
def test_a_servers_own_error_code_is_an_internal_error_in_http(code: int) -> None:
    status, body = a2a.rest_fault(a2a.Fault(code=code, message="boom"))
    assert status == 500
    assert json.loads(body) == {"error": {"code": 500, "status": "INTERNAL", "message": "boom"}}


def test_a_bare_error_with_a_known_code_gets_its_reason_in_http() -> None:
    body = json.loads(a2a.rest_fault(a2a.Fault(code=-32001, message="gone"))[1])
    assert body["error"]["details"][0]["reason"] == "TASK_NOT_FOUND"
