"""The parameters of each method, closed."""

# ruff: noqa: RUF012 (msgspec gives each object an empty list of its own)

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from ringwall.wire.a2a import texts
from ringwall.wire.a2a.answers import StreamResponse
from ringwall.wire.a2a.types import (
    MAX_CONFIGS,
    MAX_MODES,
    Closed,
    Free,
    Int32,
    Message,
    PageSize,
    PushConfig,
    Scoped,
    State,
    check_metadata,
)


class SendConfiguration(Closed, kw_only=True):
    """SendMessageConfiguration."""

    accepted_output_modes: Annotated[list[str], Meta(max_length=MAX_MODES)] = []
    task_push_notification_config: PushConfig | UnsetType = UNSET
    history_length: Int32 | UnsetType = UNSET
    return_immediately: bool = False

    def __post_init__(self) -> None:
        for one in self.accepted_output_modes:
            texts.mode(one, "acceptedOutputModes")


class SendMessageRequest(Scoped, kw_only=True):
    """Of SendMessage and SendStreamingMessage."""

    message: Message
    configuration: SendConfiguration | UnsetType = UNSET
    metadata: Free | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_metadata(self.metadata)


class SubscribeToTaskRequest(Scoped, kw_only=True):
    """Of SubscribeToTask."""

    id: str

    def __post_init__(self) -> None:
        texts.path_id(self.id, "id")


class GetTaskRequest(SubscribeToTaskRequest, kw_only=True):
    """Of GetTask."""

    history_length: Int32 | UnsetType = UNSET


class CancelTaskRequest(SubscribeToTaskRequest, kw_only=True):
    """Of CancelTask."""

    metadata: Free | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)


class ListTasksRequest(Scoped, kw_only=True):
    """Of ListTasks."""

    context_id: str = ""
    status: State | UnsetType = UNSET
    page_size: PageSize | UnsetType = UNSET
    page_token: str = ""
    history_length: Int32 | UnsetType = UNSET
    status_timestamp_after: str | UnsetType = UNSET
    include_artifacts: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.context_id:
            texts.identifier(self.context_id, "contextId")
        texts.token(self.page_token, "pageToken")
        if isinstance(self.status_timestamp_after, str):
            texts.timestamp(self.status_timestamp_after, "statusTimestampAfter")


class PushConfigRequest(Scoped, kw_only=True):
    """Of GetTaskPushNotificationConfig and DeleteTaskPushNotificationConfig."""

    task_id: str
    id: str

    def __post_init__(self) -> None:
        texts.path_id(self.task_id, "taskId")
        texts.path_id(self.id, "id")


class ListPushConfigsRequest(Scoped, kw_only=True):
    """Of ListTaskPushNotificationConfigs."""

    task_id: str
    page_size: Annotated[int, Meta(ge=0, le=MAX_CONFIGS)] = 0
    page_token: str = ""

    def __post_init__(self) -> None:
        texts.path_id(self.task_id, "taskId")
        texts.token(self.page_token, "pageToken")


class CardRequest(Scoped, kw_only=True):
    """Of GetExtendedAgentCard and of GetAgentCard."""


class PushNotificationRequest(Closed, kw_only=True):
    """Ours: an event of a task that the caller asked to be told of. ``push`` names the configuration."""

    push: str
    event: StreamResponse

    def __post_init__(self) -> None:
        texts.identifier(self.push, "push")
