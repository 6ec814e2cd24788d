"""wire/a2a/views.py: what a message carries."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.a2a.examples import ARTIFACT, CARD, EVENTS, MESSAGE, PARAMS, RESULTS, TASK

from ringwall.wire.a2a import TaskView, file_urls, media_types, task_of

URL = "https://files.example/a?b=c"
ALL = {"text/plain", "application/octet-stream", "image/png", "application/json"}


@pytest.mark.parametrize(("value", "state"), [
    (RESULTS["SendMessage"], "TASK_STATE_WORKING"), (TASK, "TASK_STATE_WORKING"), (EVENTS["task"],
    "TASK_STATE_WORKING"),
    (EVENTS["statusUpdate"], "TASK_STATE_WORKING"), (EVENTS["artifactUpdate"], ""), (EVENTS["message"], ""),
])
def test_the_task_of_an_answer_is_found(value: Any, state: str) -> None:
    assert task_of(value) == TaskView(task="t-1", context="c-1", state=state)


@pytest.mark.parametrize("value", [
    None, {}, [], CARD, RESULTS["ListTasks"], RESULTS["GetTaskPushNotificationConfig"],
    {"message": {key: item for key, item in MESSAGE.items() if key != "taskId"}},
])
def test_an_answer_about_no_task_or_about_many_has_none(value: Any) -> None:
    assert task_of(value) is None


def test_what_a_part_does_not_say_follows_from_its_kind() -> None:
    parts = [{"text": "a"}, {"data": None}, {"raw": "AA=="}]
    assert media_types({"message": {"parts": parts}}) == {"text/plain", "application/json",
    "application/octet-stream"}
    assert media_types({"message": {"parts": [{"url": URL}]}}) == {"application/octet-stream"}
    assert media_types({"message": {"parts": [{"text": "a", "mediaType": "text/csv"}]}}) == {"text/csv"}


@pytest.mark.parametrize(("value", "times"), [
    (PARAMS["SendMessage"], 1), (PARAMS["PushNotification"], 1), (RESULTS["GetTask"], 3), (RESULTS["SendMessage"],
    3),
    (RESULTS["ListTasks"], 3), (EVENTS["statusUpdate"], 1), (EVENTS["artifactUpdate"], 1), (EVENTS["message"], 1),
])
def test_parts_are_found_wherever_the_schema_has_them(value: Any, times: int) -> None:
    assert media_types(value) == ALL
    assert file_urls(value) == [URL] * times


def test_free_json_that_looks_like_a_message_is_not_one() -> None:
    value = {"message": {**MESSAGE, "parts": [{"data": ARTIFACT}], "metadata": {"message": MESSAGE,
    "parts": [{"url": "x:"}]}}}
    assert media_types(value) == {"application/json"}
    assert file_urls(value) == []


@pytest.mark.parametrize("method", ["GetTask", "ListTasks", "CancelTask", "GetExtendedAgentCard"])
def test_a_request_without_content_carries_nothing(method: str) -> None:
    assert media_types(PARAMS[method]) == set()
    assert file_urls(PARAMS[method]) == []
