"""The typed shape of A2A 1.0 messages, closed: what is not a field here is refused.

An empty text or list and a false are what protobuf calls unset; they are read as absent and not written. Fields
whose absence means something else than their zero (``historyLength``, the content of a part) are UNSET.
Source: proto package ``lf.a2a.v1`` of A2A 1.0; names as its JSON mapping has them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.wire.a2a import texts

# Counts that no honest message comes near; each bounds what one message can cost whoever walks it.
MAX_PARTS: Final = 256
MAX_EXTENSIONS: Final = 32
MAX_REFERENCES: Final = 256
MAX_MODES: Final = 64
MAX_HISTORY: Final = 10_000
MAX_ARTIFACTS: Final = 10_000
MAX_PAGE: Final = 100  # A2A 1.0, ListTasksRequest.page_size
MAX_CONFIGS: Final = 100
MAX_CAUSE: Final = 300  # characters of a cause

Int32: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
PageSize: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
State = Literal[
    "TASK_STATE_SUBMITTED",
    "TASK_STATE_WORKING",
    "TASK_STATE_COMPLETED",
    "TASK_STATE_FAILED",
    "TASK_STATE_CANCELED",
    "TASK_STATE_INPUT_REQUIRED",
    "TASK_STATE_REJECTED",
    "TASK_STATE_AUTH_REQUIRED",
]
Free: TypeAlias = dict[str, Json]
Uris: TypeAlias = Annotated[list[str], Meta(max_length=MAX_EXTENSIONS)]


class Closed(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, rename="camel", eq=False
):
    """A message of the protocol."""


def checked(value: Json, shape: type[Closed], *, code: str, what: str) -> dict[str, Json]:
    """The value as this shape, written anew: it shares nothing with what came.

    Args:
        value: parsed JSON.
        shape: what it must be.
        code: of the BadInput that is raised if it is not.
        what: the value's name in the cause.

    """
    try:
        return msgspec.to_builtins(msgspec.convert(value, shape, strict=True))
    except RecursionError:
        raise BadInput(f"{what}: nested too deeply", code=code) from None
    except UnicodeEncodeError:
        raise BadInput(f"{what}: a text holds half a surrogate pair", code=code) from None
    except msgspec.ValidationError as fault:
        # Names from outside stand in it: nothing but printable ASCII gets into logs and terminals.
        cause = ascii(str(fault)[:MAX_CAUSE])[1:-1]
        raise BadInput(f"{what}: {cause}", code=code) from None


class Scoped(Closed, kw_only=True):
    """A request. Its ``tenant`` must be empty: whose call this is follows from the attested subject alone."""

    tenant: Annotated[str, Meta(max_length=0)] = ""


def check_metadata(value: Free | UnsetType) -> None:
    """Raises ValueError if it is no bounded free JSON."""
    if value is not UNSET:
        texts.free(value, "metadata", texts.MAX_METADATA)


class Part(Closed, kw_only=True):
    """One piece of content: exactly one of text, raw, url and data."""

    text: str | UnsetType = UNSET
    raw: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    data: Json | UnsetType = UNSET
    metadata: Free | UnsetType = UNSET
    filename: str = ""
    media_type: str = ""

    def __post_init__(self) -> None:
        contents = (self.text, self.raw, self.url, self.data)
        if contents.count(UNSET) != len(contents) - 1:
            raise ValueError("a part must have exactly one of `text`, `raw`, `url` and `data`")
        if isinstance(self.text, str):
            texts.prose(self.text, "text")
        elif isinstance(self.raw, str):
            texts.canonical_base64(self.raw, "raw")
        elif isinstance(self.url, str):
            texts.uri(self.url, "url")
        else:
            texts.free(self.data, "data", texts.MAX_DATA)
        check_metadata(self.metadata)
        if self.filename:
            texts.filename(self.filename)
        if self.media_type:
            texts.media_type(self.media_type, "mediaType")


Parts: TypeAlias = Annotated[list[Part], Meta(min_length=1, max_length=MAX_PARTS)]


class Message(Closed, kw_only=True):
    """What one side says to the other."""

    message_id: str
    role: Literal["ROLE_USER", "ROLE_AGENT"]
    parts: Parts
    context_id: str = ""
    task_id: str = ""
    metadata: Free | UnsetType = UNSET
    extensions: Uris = []
    reference_task_ids: Annotated[list[str], Meta(max_length=MAX_REFERENCES)] = []

    def __post_init__(self) -> None:
        texts.identifier(self.message_id, "messageId")
        if self.context_id:
            texts.identifier(self.context_id, "contextId")
        if self.task_id:
            texts.path_id(self.task_id, "taskId")
        for one in self.reference_task_ids:
            texts.path_id(one, "referenceTaskIds")
        texts.each(self.extensions, "extensions")
        check_metadata(self.metadata)


class Artifact(Closed, kw_only=True):
    """What a task made."""

    artifact_id: str
    parts: Parts
    name: str = ""
    description: str = ""
    metadata: Free | UnsetType = UNSET
    extensions: Uris = []

    def __post_init__(self) -> None:
        texts.identifier(self.artifact_id, "artifactId")
        texts.label(self.name, "name")
        texts.prose(self.description, "description")
        texts.each(self.extensions, "extensions")
        check_metadata(self.metadata)


class TaskStatus(Closed, kw_only=True):
    """Where a task stands."""

    state: State
    message: Message | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        if isinstance(self.timestamp, str):
            texts.timestamp(self.timestamp, "timestamp")


class Task(Closed, kw_only=True):
    """A task as its server shows it."""

    id: str
    status: TaskStatus
    context_id: str = ""
    artifacts: Annotated[list[Artifact], Meta(max_length=MAX_ARTIFACTS)] = []
    history: Annotated[list[Message], Meta(max_length=MAX_HISTORY)] = []
    metadata: Free | UnsetType = UNSET

    def __post_init__(self) -> None:
        texts.path_id(self.id, "id")
        if self.context_id:
            texts.identifier(self.context_id, "contextId")
        check_metadata(self.metadata)


class TaskStatusUpdateEvent(Closed, kw_only=True):
    """A task changed its state."""

    task_id: str
    context_id: str
    status: TaskStatus
    metadata: Free | UnsetType = UNSET

    def __post_init__(self) -> None:
        texts.path_id(self.task_id, "taskId")
        texts.identifier(self.context_id, "contextId")
        check_metadata(self.metadata)


class TaskArtifactUpdateEvent(Closed, kw_only=True):
    """A task made an artifact, or a piece of one."""

    task_id: str
    context_id: str
    artifact: Artifact
    append: bool = False
    last_chunk: bool = False
    metadata: Free | UnsetType = UNSET

    def __post_init__(self) -> None:
        texts.path_id(self.task_id, "taskId")
        texts.identifier(self.context_id, "contextId")
        check_metadata(self.metadata)


class AuthenticationInfo(Closed, kw_only=True):
    """How the receiver of a push wants to be authenticated to."""

    scheme: str
    credentials: str = ""

    def __post_init__(self) -> None:
        texts.scheme(self.scheme)
        texts.credentials(self.credentials)


class PushConfig(Scoped, kw_only=True):
    """TaskPushNotificationConfig: where to push the events of a task."""

    url: str
    id: str = ""
    task_id: str = ""
    token: str = ""
    authentication: AuthenticationInfo | UnsetType = UNSET

    def __post_init__(self) -> None:
        texts.web_url(self.url, "url")
        if self.id:
            texts.path_id(self.id, "id")
        if self.task_id:
            texts.path_id(self.task_id, "taskId")
        texts.token(self.token, "token")


class TaskPushConfig(PushConfig, kw_only=True):
    """The same where the task must be named: everywhere but beside the message that begins it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.task_id:
            raise ValueError("`taskId` is missing")
