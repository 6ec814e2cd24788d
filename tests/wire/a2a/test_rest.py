"""wire/a2a/rest.py: paths, queries and bodies of HTTP+JSON."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.wire.a2a.examples import PARAMS, PUSH, SEND

from ringwall.errors import BadInput
from ringwall.wire import a2a

CONFIGS = "/tasks/t-1/pushNotificationConfigs"


def refused(http: str, path: str, query: str = "", raw: bytes = b"") -> str:
    with pytest.raises(BadInput) as caught:
        a2a.parse_rest(http, path, query, raw)
    return caught.value.code


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(("http", "path", "query", "sent", "method", "params"), [
    ("POST", "/message:send", "", raw(SEND), "SendMessage", SEND),
    ("POST", "/message:stream", "", raw(SEND), "SendStreamingMessage", SEND),
    ("GET", "/tasks/t-1", "", b"", "GetTask", {"id": "t-1"}),
    ("GET", "/tasks/t-1", "historyLength=0", b"", "GetTask", {"id": "t-1", "historyLength": 0}),
    ("GET", "/tasks/urn:uuid:1", "", b"", "GetTask", {"id": "urn:uuid:1"}),
    ("GET", "/tasks/cancel", "", b"", "GetTask", {"id": "cancel"}),
    ("GET", "/tasks", "", b"", "ListTasks", {}),
    ("GET", "/tasks", "pageToken=a%2Bb%3D%2F~&status=TASK_STATE_WORKING&includeArtifacts=false&contextId=c%3A1",
    b"",
     "ListTasks", {"pageToken": "a+b=/~", "status": "TASK_STATE_WORKING", "includeArtifacts": False,
     "contextId": "c:1"}),
    ("POST", "/tasks/t-1:cancel", "", b"", "CancelTask", {"id": "t-1"}),
    ("POST", "/tasks/t-1:cancel", "", raw({"metadata": {"a": 1}}), "CancelTask", {"id": "t-1",
    "metadata": {"a": 1}}),
    ("POST", "/tasks/t-1:subscribe", "", b"", "SubscribeToTask", {"id": "t-1"}),
    ("GET", "/tasks/t-1:subscribe", "", b"", "SubscribeToTask", {"id": "t-1"}),
    ("POST", CONFIGS, "", raw(PUSH), "CreateTaskPushNotificationConfig", PUSH),
    ("POST", CONFIGS, "", raw({"url": "https://a.example"}), "CreateTaskPushNotificationConfig",
     {"url": "https://a.example", "taskId": "t-1"}),
    ("GET", CONFIGS, "pageSize=5&pageToken=abc", b"", "ListTaskPushNotificationConfigs",
     {"taskId": "t-1", "pageSize": 5, "pageToken": "abc"}),
    ("GET", f"{CONFIGS}/p-1", "", b"", "GetTaskPushNotificationConfig", {"taskId": "t-1", "id": "p-1"}),
    ("DELETE", f"{CONFIGS}/p-1", "", b"", "DeleteTaskPushNotificationConfig", {"taskId": "t-1", "id": "p-1"}),
    ("GET", "/extendedAgentCard", "", b"", "GetExtendedAgentCard", {}),
])
def test_a_path_a_query_and_a_body_mean_one_method(
    http: str, path: str, query: str, sent: bytes, method: str, params: Any
) -> None:
    assert a2a.parse_rest(http, path, query, sent) == a2a.Request(method=method, params=params)


@pytest.mark.parametrize("path", [
    "", "/", "//", "message:send", "//message:send", "/message:send/", "/message/send", "/Message:send",
    "/message:Send",
    "/acme/message:send", "/tasks/", "/tasks//t-1", "/v1/message:send", "/message:send;a=b",
    "/.well-known/agent-card.json",
    "/tasks/t-1/pushNotificationConfigs/", "/tasks/t-1/pushNotificationConfigs/p/q",
    "/tasks/t-1/pushnotificationconfigs",
    "/tasks/t-1/:cancel/x", "/tasks/t-1/../t-2/x", "/./message:send",
])
def test_a_path_that_is_not_exactly_one_of_the_protocol_is_refused(path: str) -> None:
    for http in ("POST", "GET", "DELETE"):
        assert refused(http, path) in {"a2a_unknown_path", "a2a_bad_params"}


@pytest.mark.parametrize("http", ["HEAD", "PUT", "PATCH", "OPTIONS", "post", "", "POST "])
def test_another_http_method_is_refused(http: str) -> None:
    assert refused(http, "/message:send", "", raw(SEND)) == "a2a_unknown_path"


@pytest.mark.parametrize("path", [
    "/message%3Asend", "/message%3asend", "/%6dessage:send", "/tasks/t%2D1", "/tasks/%2e%2e", "/tasks/a%2Fb",
    "/tasks/a%00",
    "/tasks/%", "/tasks/%zz", "/tasks/%C3%BC", "/tasks/ü", "/tasks/" + "a" * 1024,
])
def test_a_path_has_one_spelling(path: str) -> None:
    assert refused("GET", path) == "a2a_bad_path"
    assert refused("POST", path, "", raw(SEND)) == "a2a_bad_path"


@pytest.mark.parametrize("path", ["/tasks/a b", "/tasks/..", "/tasks/.", "/tasks/a?b", "/tasks/a#b", "/tasks/{a}",
                                  "/tasks/a\\b", "/tasks/:subscribe", "/tasks/t:cancel",
                                  "/tasks/t:subscribe:subscribe"])
def test_a_task_id_in_a_path_is_a_task_id(path: str) -> None:
    assert refused("GET", path) == "a2a_bad_params"


@pytest.mark.parametrize("query", [
    "&", "pageSize", "=", "=5", "pageSize=", "pageSize=5&", "&pageSize=5", "pageSize=5&pageSize=5",
    "pageSize=5&pageSize=6",
    "pagesize=5", "page_size=5", "page%53ize=5", "pageSize=05", "pageSize=+5", "pageSize=-5", "pageSize=5.0",
    "pageSize=%35", "pageSize=1_0", "pageSize=٥", "pageSize=99999999999", "pageSize=5;pageToken=a", "tenant=acme",
    "id=t",
    "includeArtifacts=True", "includeArtifacts=1", "includeArtifacts=", "pageToken=a+b", "pageToken=a%2fb",
    "pageToken=a/b",
    "pageToken=a%7Eb", "pageToken=%41", "pageToken=%", "pageToken=%4", "pageToken=%zz", "pageToken=%ff",
    "pageToken=ü",
    "pageToken=%C3", "statusTimestampAfter=2020-01-01T00:00:00Z", "x=1", "pageToken=" + "a" * 9000, "pageToken=a=b",
    "pageToken=%ED%A0%80",
])
def test_a_query_names_each_thing_once_in_its_one_spelling(query: str) -> None:
    assert refused("GET", "/tasks", query) == "a2a_bad_query"


@pytest.mark.parametrize("query", ["pageToken=a%20b", "pageToken=a%00", "pageSize=0", "status=WORKING",
    "pageToken=%C3%BC"])
def test_what_a_query_means_is_checked_like_a_body(query: str) -> None:
    assert refused("GET", "/tasks", query) == "a2a_bad_params"


@pytest.mark.parametrize(("http", "path"), [
    ("GET", "/tasks/t-1"), ("GET", "/tasks"), ("DELETE", f"{CONFIGS}/p-1"), ("GET", "/extendedAgentCard"),
    ("GET", "/tasks/t-1:subscribe"),
])
def test_a_request_that_has_no_body_must_have_none(http: str, path: str) -> None:
    assert refused(http, path, "", b"{}") == "a2a_bad_body"


@pytest.mark.parametrize(("path", "sent", "code"), [
    ("/message:send", b"", "bad_json"), ("/message:send", b"[]", "a2a_bad_body"), ("/message:send", b"{}",
    "a2a_bad_params"),
    ("/message:send", b"null", "a2a_bad_body"), ("/message:send", b'{"message":{},"message":{}}', "duplicate_key"),
    ("/tasks/t-1:cancel", raw({"id": "t-2"}), "a2a_bad_body"), ("/tasks/t-1:cancel", raw({"id": 5}),
    "a2a_bad_body"),
    ("/tasks/t-1:cancel", raw({"id": ""}), "a2a_bad_body"), ("/tasks/t-1:cancel", raw({"x": 1}), "a2a_bad_params"),
    ("/tasks/t-1:subscribe", raw({"historyLength": 1}), "a2a_bad_params"),
    (CONFIGS, raw({**PUSH, "taskId": "t-2"}), "a2a_bad_body"), (CONFIGS, raw({"taskId": "t-1"}), "a2a_bad_params"),
])
def test_a_body_is_an_object_that_does_not_gainsay_the_path(path: str, sent: bytes, code: str) -> None:
    assert refused("POST", path, "", sent) == code


@pytest.mark.parametrize("query", ["a=1", "historyLength=1", "tenant="])
def test_a_request_without_parameters_has_no_query(query: str) -> None:
    assert refused("POST", "/message:send", query, raw(SEND)) == "a2a_bad_query"


def test_an_answer_is_the_object_itself_and_nothing_is_an_empty_one() -> None:
    assert a2a.rest_result("DeleteTaskPushNotificationConfig", None) == (200, b"{}")
    assert a2a.rest_result("GetTask", {"id": "ü"}) == (200, '{"id":"ü"}'.encode())


SEGMENTS = ["tasks", "message:send", "pushNotificationConfigs", "t-1", ":cancel", ":subscribe", "%2F", "..", "",
    "ü", "extendedAgentCard"]
QUERIES = ["pageSize", "pageToken", "historyLength", "contextId", "=", "&", "5", "%41", "%2B", "+", "a", "%"]


@settings(max_examples=150, deadline=None)
@given(
    http=st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    path=st.lists(st.sampled_from(SEGMENTS) | st.text(max_size=4),
    max_size=5).map(lambda parts: "/" + "/".join(parts)),
    query=st.lists(st.sampled_from(QUERIES) | st.text(max_size=3), max_size=6).map("".join),
    sent=st.just(b"") | st.sampled_from([raw(value) for value in PARAMS.values()]) | st.binary(max_size=16),
)
@example(http="GET", path="/tasks/\ud800", query="", sent=b"")
@example(http="GET", path="/tasks", query="pageToken=\ud800", sent=b"")
def test_anything_is_refused_or_means_what_json_rpc_can_say(http: str, path: str, query: str, sent: bytes) -> None:
    try:
        request = a2a.parse_rest(http, path, query, sent)
    except BadInput as fault:
        assert fault.code
        return
    assert a2a.parse_rpc(a2a.rpc_request(request)) == request
    assert "%" not in path


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40))
def test_every_page_token_can_be_written_in_one_way_and_only_in_that(text: str) -> None:
    spelling = quote(text, safe="")
    assert a2a.parse_rest("GET", "/tasks", f"pageToken={spelling}", b"").params == {"pageToken": text}
    lower = "".join(f"%{ord(one):02x}" if one in "*+,/:;=?@[]|~" else quote(one, safe="") for one in text)
    for other in {quote(text, safe=":/?@!$'()*+,;"), "".join(f"%{ord(one):02X}" for one in text),
    lower} - {spelling}:
        assert refused("GET", "/tasks", f"pageToken={other}") == "a2a_bad_query"
