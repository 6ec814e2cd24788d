"""wire/a2a: the closed schema. Each message is changed at one place at a time, and must then be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.a2a.examples import (
    CARD,
    EVENTS,
    FREE,
    MAPS,
    MESSAGE,
    PARAMS,
    RESULTS,
    SEND,
    TASK,
    changed,
    found,
    places,
    snake,
    without,
)

from ringwall.call import canonical
from ringwall.errors import BadInput
from ringwall.wire import a2a, strict

Check = Callable[[Any], Any]


def _params(method: str) -> Check:
    return lambda value: a2a.check_params(method, value)


def _result(method: str) -> Check:
    return lambda value: a2a.check_result(method, value)


CASES: dict[str, tuple[Check, Any]] = {
    **{f"{method} asked": (_params(method), value) for method, value in PARAMS.items()},
    **{f"{method} answered": (_result(method), value) for method, value in RESULTS.items()},
    **{f"event {name}": (a2a.check_event, value) for name, value in EVENTS.items()},
    "card": (a2a.check_card, CARD),
}
CODES = {"a2a_bad_params", "a2a_bad_answer", "a2a_bad_card"}
OPTIONAL = {
    "contextId", "extensions", "referenceTaskIds", "configuration", "metadata", "filename", "mediaType", "name",
    "description", "timestamp", "history", "artifacts", "append", "lastChunk", "token", "authentication",
    "credentials", "historyLength", "returnImmediately", "acceptedOutputModes", "taskPushNotificationConfig",
    "pageSize", "pageToken", "statusTimestampAfter", "includeArtifacts", "tasks", "nextPageToken", "totalSize",
    "configs", "provider", "documentationUrl", "iconUrl", "streaming", "pushNotifications", "extendedAgentCard",
    "required", "params", "securitySchemes", "securityRequirements", "defaultInputModes", "defaultOutputModes",
    "skills", "signatures", "header", "tags", "examples", "inputModes", "outputModes", "list", "bearerFormat",
    "oauth2MetadataUrl", "scopes", "schemes",
}
each = pytest.mark.parametrize("case", CASES)


def is_optional(value: Any, at: tuple[str | int, ...]) -> bool:
    """Whether a message may do without the field at this place."""
    name, parent, above = at[-1], found(value, at[:-1]), at[-2] if len(at) > 1 else None
    if isinstance(name, int):
        return len(parent) > 1 or above not in {"parts", "supportedInterfaces"}
    if above in MAPS:
        return True
    if name == "taskId":
        return "messageId" in parent or above == "taskPushNotificationConfig"
    if name == "contextId":
        return above not in {"statusUpdate", "artifactUpdate"}
    if name == "id":
        return "url" in parent
    if name == "message":
        return "state" in parent
    if name == "status":
        return "pageSize" in parent  # the filter of a list
    if name == "name" and ("location" in parent or "tags" in parent or "version" in parent):
        return False
    return name in OPTIONAL


def refused(check: Check, value: Any) -> str:
    with pytest.raises(BadInput) as caught:
        check(value)
    assert caught.value.code in CODES
    return caught.value.code


@each
def test_a_whole_message_is_understood_and_comes_out_as_it_went_in(case: str) -> None:
    check, value = CASES[case]
    made = check(value)
    assert made == value
    assert check(made) == made


@each
def test_what_comes_out_shares_nothing_with_what_went_in(case: str) -> None:
    check, value = CASES[case]
    made = check(value)
    mutable = {id(found(value, at)) for at in places(value) if isinstance(found(value, at), dict | list)}
    assert not mutable & {id(found(made, at)) for at in places(made)}


@each
def test_a_field_that_is_missing_is_refused_unless_it_is_optional(case: str) -> None:
    check, value = CASES[case]
    for at in list(places(value))[1:]:
        less = without(value, at)
        if is_optional(value, at):
            check(less)
        else:
            refused(check, less)


@each
def test_a_field_nobody_knows_is_refused_in_every_object(case: str) -> None:
    check, value = CASES[case]
    for at in places(value):
        one = found(value, at)
        if isinstance(one, dict) and (not at or at[-1] not in FREE | MAPS):
            refused(check, changed(value, at, {**one, "surprise": 1}))
            refused(check, changed(value, at, {**one, "metadata\n": {}}))


@each
def test_a_field_in_snake_case_is_refused_alone_and_beside_its_own_spelling(case: str) -> None:
    check, value = CASES[case]
    for at in list(places(value))[1:]:
        name = at[-1]
        if isinstance(name, str) and snake(name) != name:
            parent, one = found(value, at[:-1]), found(value, at)
            refused(check, changed(value, at[:-1], {**parent, snake(name): one}))
            alone = {key: item for key, item in parent.items() if key != name} | {snake(name): one}
            refused(check, changed(value, at[:-1], alone))


@each
def test_a_value_of_another_type_is_refused_everywhere(case: str) -> None:
    check, value = CASES[case]
    for at in places(value):
        if at and at[-1] == "data":
            continue  # anything may stand there
        one = found(value, at)
        others: list[Any] = [None, 1, 1.5, True, "1", [], {}, [[]], -1, 2**31, 10**40]
        for other in others:
            if type(other) is type(one) and type(one) is not int:
                continue
            if type(one) is int and other == 1:
                continue
            refused(check, changed(value, at, other))


@each
@pytest.mark.parametrize("hostile", ["a\0b", "a\ud800b", "\udfff", "a\0"])
def test_nul_and_half_surrogate_pairs_are_refused_in_every_text(case: str, hostile: str) -> None:
    check, value = CASES[case]
    for at in places(value):
        if at and at[-1] in FREE:
            free = {"k": [hostile]}, {hostile: 1}
            for one in free:
                refused(check, changed(value, at, one))
        elif isinstance(found(value, at), str):
            refused(check, changed(value, at, hostile))


@each
def test_free_json_is_bounded_in_depth_and_numbers(case: str) -> None:
    check, value = CASES[case]
    deep: Any = 1
    for _ in range(30):
        deep = {"a": deep}
    for at in places(value):
        if at and at[-1] in FREE:
            refused(check, changed(value, at, {"a": deep}))
            refused(check, changed(value, at, {"a": 2**53}))
            refused(check, changed(value, at, {"k" * 300: 1}))
            refused(check, changed(value, at, {"a": [0] * 60_000}))


def test_a_message_deeper_than_the_interpreter_goes_is_refused() -> None:
    deep: Any = []
    for _ in range(200_000):
        deep = [deep]
    refused(_params("SendMessage"), changed(SEND, ("metadata",), {"a": deep}))
    while deep:  # freed level by level: the interpreter's own way of freeing it recurses
        deep = deep.pop()


@pytest.mark.parametrize("method", sorted(set(PARAMS) - {"PushNotification"}))
def test_a_tenant_is_taken_from_nobody_but_its_being_empty_is_harmless(method: str) -> None:
    refused(_params(method), {**PARAMS[method], "tenant": "acme"})
    assert "tenant" not in a2a.check_params(method, {**PARAMS[method], "tenant": ""})


def test_what_protobuf_calls_unset_is_left_out() -> None:
    printed = {**MESSAGE, "contextId": "", "taskId": "", "extensions": [], "referenceTaskIds": [],
               "parts": [{"text": "", "filename": "", "mediaType": ""}]}
    assert a2a.check_params("SendMessage", {"message": printed})["message"] == {
        "messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": ""}], "metadata": MESSAGE["metadata"]}


def test_a_page_of_tasks_always_says_all_there_is_to_a_page() -> None:
    assert a2a.check_result("ListTasks", {}) == {"tasks": [], "nextPageToken": "", "pageSize": 0, "totalSize": 0}


@pytest.mark.parametrize("part", [
    {}, {"text": "a", "url": "https://x.example"}, {"text": "a", "data": None}, {"raw": "AA", "text": ""},
    {"raw": "AA"}, {"raw": "AB=="}, {"raw": "A A="}, {"raw": "AP_-"}, {"raw": "AAAA\n"}, {"raw": "="},
    {"raw": "ü==="},
    {"url": ""}, {"url": "files/a"}, {"url": "//x.example/a"}, {"url": "https://x.example/a b"},
    {"url": "https:\\\\x.example"}, {"url": "HTTPS://x.example"}, {"url": "https://x.example/ü"},
    {"url": "https://x.example/" + "a" * 2048}, {"url": "https://x.example/\n"},
    {"text": "a", "filename": "../a"}, {"text": "a", "filename": "a\\b"}, {"text": "a", "filename": ".."},
    {"text": "a", "filename": "/etc/passwd"}, {"text": "a", "filename": "a\u202eb"}, {"text": "a",
    "filename": "ü" * 128},
    {"text": "a", "mediaType": "text"}, {"text": "a", "mediaType": "Text/Plain"}, {"text": "a",
    "mediaType": "text/"},
    {"text": "a", "mediaType": "text/plain; charset=utf-8"}, {"text": "a", "mediaType": "text/plain\n"},
    {"text": "a", "mediaType": "*/*"}, {"text": "a", "mediaType": "a/" + "b" * 128},
    {"text": "a", "kind": "text"}, {"file": {"uri": "x"}},
])
def test_a_part_that_is_not_exactly_one_plain_thing_is_refused(part: Any) -> None:
    refused(_params("SendMessage"), {"message": {**MESSAGE, "parts": [part]}})


@pytest.mark.parametrize("part", [
    {"text": ""}, {"text": "\u202e\u200b"}, {"data": None}, {"data": False}, {"data": []}, {"raw": ""},
    {"raw": "AA=="},
    {"url": "urn:x:y"}, {"text": "a", "filename": "Übersicht 1.pdf"},
    {"text": "a", "mediaType": "application/vnd.oasis.opendocument.text"}, {"text": "a",
    "mediaType": "image/svg+xml"},
])
def test_a_plain_part_is_taken_as_it_is(part: Any) -> None:
    made = a2a.check_params("SendMessage", {"message": {**MESSAGE, "parts": [part]}})
    assert made["message"]["parts"] == [part]


@pytest.mark.parametrize("text", [
    "", " ", "a b", "a" * 257, "ü", "a/b", "a?b", "a#b", "a%41", "a\\b", ".", "..", "t:cancel", "t:subscribe",
    "a\n", "{a}",
    "а",  # Cyrillic
])
def test_a_task_id_that_would_read_otherwise_in_a_path_is_refused(text: str) -> None:
    refused(_params("GetTask"), {"id": text})
    refused(_result("GetTask"), {**TASK, "id": text})
    if text:
        refused(_params("SendMessage"), {"message": {**MESSAGE, "taskId": text}})


@pytest.mark.parametrize("text", [
    "", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00:00+00:00", "2026-01-31t12:00:00z",
    "2026-02-30T12:00:00Z",
    "2026-01-31T24:00:00Z", "2026-01-31T12:00:60Z", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00.0000000000Z",
    "0000-01-01T00:00:00Z", "2026-01-31T12:00:00Z\n", "٢٠٢٦-01-31T12:00:00Z",
])
def test_a_time_has_one_form_and_exists(text: str) -> None:
    refused(_params("ListTasks"), {"statusTimestampAfter": text})


@pytest.mark.parametrize(("method", "params"), [
    ("ListTasks", {"pageSize": 0}), ("ListTasks", {"pageSize": 101}), ("ListTasks", {"status": "WORKING"}),
    ("ListTasks", {"status": "TASK_STATE_UNSPECIFIED"}), ("ListTasks", {"pageToken": "a b"}),
    ("SendMessage", {"message": {**MESSAGE, "role": "user"}}),
    ("SendMessage", {"message": {**MESSAGE, "role": "ROLE_UNSPECIFIED"}}),
    ("SendMessage", {"message": {**MESSAGE, "role": 1}}),
    ("SendMessage", {"message": {**MESSAGE, "extensions": ["x"]}}),
    ("SendMessage", {"message": {**MESSAGE, "parts": [{"text": "a"}] * 257}}),
    ("SendMessage", {"message": MESSAGE, "configuration": {"historyLength": -1}}),
    ("SendMessage", {"message": MESSAGE, "configuration": {"blocking": True}}),
    ("CreateTaskPushNotificationConfig", {"url": "https://a.example"}),
    ("CreateTaskPushNotificationConfig", {"taskId": "t", "url": "file:///etc/passwd"}),
    ("CreateTaskPushNotificationConfig", {"taskId": "t", "url": "https://a.example", "token": "a\r\nb"}),
    ("CreateTaskPushNotificationConfig",
     {"taskId": "t", "url": "https://a.example", "authentication": {"scheme": "Bearer x"}}),
    ("CreateTaskPushNotificationConfig",
     {"taskId": "t", "url": "https://a.example", "authentication": {"scheme": "Bearer", "credentials": "a\r\nb"}}),
])
def test_a_value_out_of_its_range_is_refused(method: str, params: Any) -> None:
    refused(_params(method), params)


def test_an_unknown_method_is_refused_and_so_is_the_one_answer_of_a_stream() -> None:
    for check in (lambda: a2a.check_params("message/send", SEND), lambda: a2a.check_params("sendMessage", SEND),
                  lambda: a2a.check_result("SendStreamingMessage", {})):
        with pytest.raises(BadInput) as caught:
            check()
        assert caught.value.code == "a2a_unknown_method"


@pytest.mark.parametrize("method", ["DeleteTaskPushNotificationConfig", "PushNotification"])
def test_a_method_that_answers_nothing_answers_nothing(method: str) -> None:
    assert a2a.check_result(method, None) is None
    assert a2a.check_result(method, {}) is None
    for something in ({"a": 1}, [], "", 0, False):
        refused(_result(method), something)


def test_the_methods_are_those_of_the_protocol() -> None:
    assert len(a2a.METHODS) == 11
    assert a2a.METHODS >= a2a.STREAMS
    assert not a2a.METHODS & a2a.EXTRA
    assert set(PARAMS) == a2a.METHODS | a2a.EXTRA


@pytest.mark.parametrize("card", [
    {**CARD, "name": ""}, {**CARD, "name": "sam\u202e"}, {**CARD, "supportedInterfaces": []},
    {**CARD, "iconUrl": "javascript:alert(1)"}, {**CARD, "skills": [CARD["skills"][0]] * 2},
    {**CARD, "signatures": [{"protected": "e30=", "signature": "AAAA"}]},
    {**CARD, "signatures": [{"protected": "e31", "signature": "AAAA"}]},  # spare bits set
    {**CARD, "securitySchemes": {"m": {}}}, {**CARD, "protocolVersion": "0.3"},
    {**CARD, "securitySchemes": {
        "m": {"mtlsSecurityScheme": {}, "apiKeySecurityScheme": {"location": "a", "name": "b"}}}},
    {**CARD, "securitySchemes": {"o": {"oauth2SecurityScheme": {"flows": {}}}}},
    {**CARD, "supportedInterfaces": [{**CARD["supportedInterfaces"][0], "tenant": "acme"}]},
])
def test_a_card_that_is_not_one_is_refused(card: Any) -> None:
    assert refused(a2a.check_card, card) == "a2a_bad_card"


@pytest.mark.parametrize("value", [None, [], "x", {"capabilities": 1, "skills": [1], "securitySchemes": {"a": 1}}])
def test_an_own_card_that_is_not_one_is_refused_too(value: Any) -> None:
    refused(a2a.own_card, value)


def test_a_cause_names_the_place_and_is_safe_to_show() -> None:
    with pytest.raises(BadInput) as caught:
        a2a.check_params("SendMessage", {"message": {**MESSAGE, "\x1b[2J\u202e": 1}})
    assert "$.message" in caught.value.cause
    assert caught.value.cause.isprintable()
    assert caught.value.cause.isascii()
    with pytest.raises(BadInput) as caught:
        a2a.check_params("SendMessage", {"message": {**MESSAGE, "x" * 10_000: 1}})
    assert len(caught.value.cause) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(case=st.sampled_from(sorted(CASES)), data=st.data())
def test_any_change_is_refused_or_understood_in_one_way(case: str, data: st.DataObject) -> None:
    check, value = CASES[case]
    at = data.draw(st.sampled_from(list(places(value))))
    try:
        made = check(changed(value, at, data.draw(JSON)))
    except BadInput as fault:
        assert fault.code in CODES
        return
    assert check(made) == made
    if made is not None:
        assert check(strict.parse(canonical(made))) == made
        assert json.loads(canonical(made)) == made
