"""What each method answers, closed."""

# ruff: noqa: RUF012 (msgspec gives each object an empty list of its own)

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from ringwall.wire.a2a import texts
from ringwall.wire.a2a.types import (
    MAX_CONFIGS,
    MAX_PAGE,
    Closed,
    Int32,
    Message,
    Task,
    TaskArtifactUpdateEvent,
    TaskPushConfig,
    TaskStatusUpdateEvent,
)


class SendMessageResponse(Closed, kw_only=True):
    """A task, or a message if the agent needs none."""

    task: Task | UnsetType = UNSET
    message: Message | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.task is UNSET) == (self.message is UNSET):
            raise ValueError("an answer must have exactly one of `task` and `message`")


class StreamResponse(Closed, kw_only=True):
    """One event of a stream."""

    task: Task | UnsetType = UNSET
    message: Message | UnsetType = UNSET
    status_update: TaskStatusUpdateEvent | UnsetType = UNSET
    artifact_update: TaskArtifactUpdateEvent | UnsetType = UNSET

    def __post_init__(self) -> None:
        contents = (self.task, self.message, self.status_update, self.artifact_update)
        if sum(item is not UNSET for item in contents) != 1:
            raise ValueError("an event must have one of `task`, `message`, `statusUpdate` and `artifactUpdate`")


class ListTasksResponse(Closed, omit_defaults=False, kw_only=True):
    """One page of tasks. All four fields are always written (A2A 1.0, section 3.1.4)."""

    tasks: Annotated[list[Task], Meta(max_length=MAX_PAGE)] = []
    next_page_token: str = ""
    page_size: Int32 = 0
    total_size: Int32 = 0

    def __post_init__(self) -> None:
        texts.token(self.next_page_token, "nextPageToken")


class ListPushConfigsResponse(Closed, kw_only=True):
    """The push configurations of one task."""

    configs: Annotated[list[TaskPushConfig], Meta(max_length=MAX_CONFIGS)] = []
    next_page_token: str = ""

    def __post_init__(self) -> None:
        texts.token(self.next_page_token, "nextPageToken")
