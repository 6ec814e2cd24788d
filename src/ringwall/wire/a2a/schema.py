"""The methods of A2A 1.0, and the checks of what goes with each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.wire.a2a import answers, requests, types
from ringwall.wire.a2a.card import check_card

_PARAMS: Final[Mapping[str, type[types.Closed]]] = MappingProxyType(
    {
        "SendMessage": requests.SendMessageRequest,
        "SendStreamingMessage": requests.SendMessageRequest,
        "GetTask": requests.GetTaskRequest,
        "ListTasks": requests.ListTasksRequest,
        "CancelTask": requests.CancelTaskRequest,
        "SubscribeToTask": requests.SubscribeToTaskRequest,
        "CreateTaskPushNotificationConfig": types.TaskPushConfig,
        "GetTaskPushNotificationConfig": requests.PushConfigRequest,
        "ListTaskPushNotificationConfigs": requests.ListPushConfigsRequest,
        "DeleteTaskPushNotificationConfig": requests.PushConfigRequest,
        "GetExtendedAgentCard": requests.CardRequest,
        "GetAgentCard": requests.CardRequest,
        "PushNotification": requests.PushNotificationRequest,
    }
)
_RESULTS: Final[Mapping[str, type[types.Closed]]] = MappingProxyType(
    {
        "SendMessage": answers.SendMessageResponse,
        "GetTask": types.Task,
        "ListTasks": answers.ListTasksResponse,
        "CancelTask": types.Task,
        "CreateTaskPushNotificationConfig": types.TaskPushConfig,
        "GetTaskPushNotificationConfig": types.TaskPushConfig,
        "ListTaskPushNotificationConfigs": answers.ListPushConfigsResponse,
    }
)
_CARDS: Final = frozenset({"GetExtendedAgentCard", "GetAgentCard"})
_NOTHING: Final = frozenset({"DeleteTaskPushNotificationConfig", "PushNotification"})

EXTRA: Final = frozenset({"GetAgentCard", "PushNotification"})
"""Methods of ours: a card is a document in A2A, and a push a plain HTTP request."""
METHODS: Final = frozenset(_PARAMS) - EXTRA
"""The methods of A2A 1.0, by their JSON-RPC names."""
STREAMS: Final = frozenset({"SendStreamingMessage", "SubscribeToTask"})
"""Methods whose answer is a stream of events."""


def check_params(method: str, params: Json) -> dict[str, Json]:
    """Check the parameters of a method.

    Args:
        method: of METHODS or EXTRA.
        params: a parsed JSON object.

    Returns:
        A new object that shares nothing with ``params``: known fields only, what protobuf calls unset left out.

    Raises:
        BadInput: ``a2a_unknown_method``, or ``a2a_bad_params``; the cause names the field.

    """
    shape = _PARAMS.get(method)
    if shape is None:
        raise BadInput(
            f"A2A 1.0 has no method {method[:80]!a}",
            code="a2a_unknown_method",
            remedy="names are as in SendMessage",
        )
    return types.checked(params, shape, code="a2a_bad_params", what=f"the parameters of {method}")


def check_result(method: str, result: Json) -> Json:
    """Check the answer of a method that does not stream.

    Args:
        method: of METHODS or EXTRA.
        result: parsed JSON. Methods that answer nothing have null.

    Returns:
        A new value with known fields only.

    Raises:
        BadInput: ``a2a_bad_answer``, ``a2a_bad_card``, or ``a2a_unknown_method`` if it has no such answer.

    """
    if method in _CARDS:
        return check_card(result)
    if method in _NOTHING:
        # HTTP+JSON and some JSON-RPC servers write google.protobuf.Empty as an empty object.
        if result is not None and result != {}:
            raise BadInput(f"{method} answers nothing, but there is an answer", code="a2a_bad_answer")
        return None
    shape = _RESULTS.get(method)
    if shape is None:
        raise BadInput(f"{method[:80]!a} is no method with one answer", code="a2a_unknown_method")
    return types.checked(result, shape, code="a2a_bad_answer", what=f"the answer of {method}")


def check_event(event: Json) -> dict[str, Json]:
    """Check one event of a stream (StreamResponse).

    Returns:
        A new object with known fields only.

    Raises:
        BadInput: ``a2a_bad_answer``; the cause names the field.

    """
    return types.checked(event, answers.StreamResponse, code="a2a_bad_answer", what="the event")
