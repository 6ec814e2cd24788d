"""One message of each method with every field set, and ways to change a message at one place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

DATA: Any = {"k": [1, 2.5, None, True, "ü"], "n": {"z": 3}}
PARTS: Any = [
    {"text": "pay", "metadata": {"x": 1}, "filename": "a.txt", "mediaType": "text/plain"},
    {"raw": "AP/+", "filename": "b.bin", "mediaType": "application/octet-stream"},
    {"url": "https://files.example/a?b=c", "mediaType": "image/png"},
    {"data": DATA, "mediaType": "application/json"},
]
MESSAGE: Any = {
    "messageId": "m-1", "contextId": "c-1", "taskId": "t-1", "role": "ROLE_USER", "parts": PARTS,
    "metadata": {"urn:ringwall:skill": "pay"}, "extensions": ["https://ext.example/v1"],
    "referenceTaskIds": ["t-0"],
}
PUSH: Any = {
    "id": "p-1", "taskId": "t-1", "url": "https://ana.example/push", "token": "tok",
    "authentication": {"scheme": "Bearer", "credentials": "abc"},
}
SEND: Any = {
    "message": MESSAGE,
    "configuration": {
        "acceptedOutputModes": ["text/plain"], "taskPushNotificationConfig": PUSH, "historyLength": 3,
        "returnImmediately": True,
    },
    "metadata": {"why": ["x"]},
}
STATUS: Any = {"state": "TASK_STATE_WORKING", "message": MESSAGE, "timestamp": "2026-01-31T12:00:00.250Z"}
ARTIFACT: Any = {
    "artifactId": "a-1", "name": "out", "description": "what came out", "parts": PARTS, "metadata": {"x": 1},
    "extensions": ["urn:x"],
}
TASK: Any = {
    "id": "t-1", "contextId": "c-1", "status": STATUS, "artifacts": [ARTIFACT], "history": [MESSAGE],
    "metadata": {"x": 1},
}
EVENTS: dict[str, Any] = {
    "task": {"task": TASK},
    "message": {"message": MESSAGE},
    "statusUpdate": {"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": STATUS, "metadata": {"x": 1}}},
    "artifactUpdate": {
        "artifactUpdate": {
            "taskId": "t-1", "contextId": "c-1", "artifact": ARTIFACT, "append": True, "lastChunk": True,
            "metadata": {"x": 1},
        }
    },
}
PARAMS: dict[str, Any] = {
    "SendMessage": SEND,
    "SendStreamingMessage": SEND,
    "GetTask": {"id": "t-1", "historyLength": 0},
    "ListTasks": {
        "contextId": "c-1", "status": "TASK_STATE_WORKING", "pageSize": 10, "pageToken": "abc", "historyLength": 1,
        "statusTimestampAfter": "2026-01-31T12:00:00Z", "includeArtifacts": False,
    },
    "CancelTask": {"id": "t-1", "metadata": {"why": "x"}},
    "SubscribeToTask": {"id": "t-1"},
    "CreateTaskPushNotificationConfig": PUSH,
    "GetTaskPushNotificationConfig": {"taskId": "t-1", "id": "p-1"},
    "ListTaskPushNotificationConfigs": {"taskId": "t-1", "pageSize": 5, "pageToken": "abc"},
    "DeleteTaskPushNotificationConfig": {"taskId": "t-1", "id": "p-1"},
    "GetExtendedAgentCard": {},
    "GetAgentCard": {},
    "PushNotification": {"push": "p-1", "event": EVENTS["statusUpdate"]},
}
CARD: Any = {
    "name": "sam", "description": "pays", "version": "1.0.0",
    "provider": {"organization": "Acme", "url": "https://acme.example"},
    "documentationUrl": "https://acme.example/doc", "iconUrl": "https://acme.example/icon.png",
    "supportedInterfaces": [
        {"url": "https://sam.example/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        {"url": "https://sam.example/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"},
    ],
    "capabilities": {
        "streaming": True, "pushNotifications": False, "extendedAgentCard": True,
        "extensions": [{"uri": "urn:x", "description": "x", "required": True, "params": {"a": 1}}],
    },
    "securitySchemes": {
        "m": {"mtlsSecurityScheme": {"description": "mutual TLS"}},
        "k": {"apiKeySecurityScheme": {"location": "header", "name": "X-Key"}},
        "h": {"httpAuthSecurityScheme": {"scheme": "bearer", "bearerFormat": "JWT"}},
        "i": {"openIdConnectSecurityScheme": {"openIdConnectUrl": "https://id.example/x"}},
        "o": {
            "oauth2SecurityScheme": {
                "flows": {"clientCredentials": {"tokenUrl": "https://id.example/t", "scopes": {"a": "b"}}},
                "oauth2MetadataUrl": "https://id.example/m",
            }
        },
    },
    "securityRequirements": [{"schemes": {"m": {}, "o": {"list": ["a"]}}}],
    "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
    "skills": [
        {
            "id": "pay", "name": "Pay", "description": "pays", "tags": ["money"], "examples": ["pay 5"],
            "inputModes": ["text/plain"], "outputModes": ["text/plain"],
            "securityRequirements": [{"schemes": {"m": {}}}],
        }
    ],
    "signatures": [{"protected": "e30", "signature": "AAAA", "header": {"x": 1}}],
}
RESULTS: dict[str, Any] = {
    "SendMessage": {"task": TASK},
    "GetTask": TASK,
    "CancelTask": TASK,
    "ListTasks": {"tasks": [TASK], "nextPageToken": "abc", "pageSize": 1, "totalSize": 1},
    "CreateTaskPushNotificationConfig": PUSH,
    "GetTaskPushNotificationConfig": PUSH,
    "ListTaskPushNotificationConfigs": {"configs": [PUSH], "nextPageToken": "abc"},
    "GetExtendedAgentCard": CARD,
    "GetAgentCard": CARD,
}
FREE = {"metadata", "data", "params", "header"}  # below these any JSON may stand
MAPS = {"securitySchemes", "schemes", "scopes"}  # whose keys are names, not fields


def places(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place of a message but those inside free JSON, the whole first."""
    yield at
    if at and at[-1] in FREE:
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*at, key))


def found(value: Any, at: Path) -> Any:
    for key in at:
        value = value[key]
    return value


def changed(value: Any, at: Path, new: Any) -> Any:
    """A copy with another value at one place."""
    if not at:
        return new
    fresh = copy.deepcopy(value)
    found(fresh, at[:-1])[at[-1]] = new
    return fresh


def without(value: Any, at: Path) -> Any:
    fresh = copy.deepcopy(value)
    del found(fresh, at[:-1])[at[-1]]
    return fresh


def snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
