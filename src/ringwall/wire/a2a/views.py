"""What a checked message carries, for those who judge it: kinds of content, URLs, the task it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ringwall.call import Json, as_array, as_object

_TEXT, _DATA, _BYTES = "text/plain", "application/json", "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as one answer or event shows it.

    Args:
        task: its id.
        context: its context's id; empty: not said.
        state: ``TASK_STATE_...``; empty: not said (an artifact, or a message of the task).

    """

    task: str
    context: str
    state: str


def task_of(result_or_event: Json) -> TaskView | None:
    """The task that a checked answer or event is about; None: it is about none, or about many.

    Args:
        result_or_event: as ``check_result`` or ``check_event`` gives it.

    """
    fields = as_object(result_or_event) or {}
    if (update := as_object(fields.get("statusUpdate")) or as_object(fields.get("artifactUpdate"))) is not None:
        return TaskView(task=update["taskId"], context=update["contextId"], state=_state(update))
    if (message := as_object(fields.get("message"))) is not None and "taskId" in message:
        return TaskView(task=message["taskId"], context=message.get("contextId", ""), state="")
    task = as_object(fields.get("task")) or fields
    if "id" in task and "status" in task:
        return TaskView(task=task["id"], context=task.get("contextId", ""), state=_state(task))
    return None


def media_types(value: Json) -> set[str]:
    """The media types of all parts in checked parameters, an answer or an event.

    A part that does not say is what its kind of content is: text/plain, application/json, or
    application/octet-stream for bytes and URLs.
    """
    return {_type(part) for part in _parts(value)}


def file_urls(value: Json) -> list[str]:
    """The URLs of all parts in checked parameters, an answer or an event, in document order."""
    return [part["url"] for part in _parts(value) if "url" in part]


def _state(update: dict[str, Json]) -> str:
    return (as_object(update.get("status")) or {}).get("state", "")


def _type(part: dict[str, Json]) -> str:
    if stated := part.get("mediaType", ""):
        return stated
    return _TEXT if "text" in part else _DATA if "data" in part else _BYTES


def _parts(value: Json) -> Iterator[dict[str, Json]]:
    """Every part: the places where the schema has messages and artifacts. Free JSON is never looked into."""
    fields = as_object(value) or {}
    yield from as_array(fields.get("parts")) or []
    for name in ("message", "task", "status", "artifact", "statusUpdate", "artifactUpdate", "event"):
        if as_object(fields.get(name)) is not None:
            yield from _parts(fields[name])
    for name in ("tasks", "artifacts", "history"):
        for one in as_array(fields.get(name)) or []:
            yield from _parts(one)
