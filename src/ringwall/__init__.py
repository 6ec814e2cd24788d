"""Ringwall: what an agent imports. Standard library only.

A program started by ``ringwall run`` has one way out of its confinement: these functions. Each asks the wall
for one effect and returns its result, or raises one of ``ringwall.errors``. ``ringwall.aio`` has the same
functions for asyncio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ringwall.errors import Held, Limited, Refused, RingwallError, Unavailable

if TYPE_CHECKING:
    from ringwall._secret import Secret


def call_tool(
    name: str,
    args: Mapping[str, Any] | None = None,
    /,
    *,
    wait: float | None = None,
    approval: str | None = None,
    **kwargs: Any,
) -> Any:
    """Use a tool.

    Args:
        name: ``server/operation``, as ``list_tools`` shows it.
        args: the tool's arguments. Those called ``wait`` or ``approval`` must be given here.
        wait: seconds to wait if a human must approve; None: do not wait, raise ``Held`` at once.
        approval: of an earlier ``Held``, for exactly the same call.
        **kwargs: further arguments; a name may not be in both.

    Returns:
        The tool's result, a JSON value.

    Raises:
        Refused: a ring refused; ``record`` names the audit record. ``Limited`` says when to try again.
        Held: a human must approve the call first, and has not done so (within ``wait``).
        Unavailable: a part that must decide is down, or this program was not started by ``ringwall run``.
        BadInput: the arguments cannot be written as JSON.
        RingwallError: the call was let through, and the tool failed.

    """
    from ringwall import _client

    return _client.default().ask("/v1/tools/call", _client.tool_call(name, args, kwargs, approval), wait)


def list_tools() -> list[dict[str, Any]]:
    """The tools this agent was given: name, description and JSON Schema of each. Raises as ``call_tool``."""
    from ringwall import _client

    return _client.tool_list(_client.default().ask("/v1/tools/list", {}))


def complete(
    model: str,
    messages: Sequence[Mapping[str, Any]],
    /,
    *,
    wait: float | None = None,
    approval: str | None = None,
    **params: Any,
) -> dict[str, Any]:
    """Ask a model.

    Args:
        model: its name in the manifest.
        messages: of an OpenAI chat completion.
        wait: as in ``call_tool``.
        approval: as in ``call_tool``.
        **params: further fields of the request: ``tools``, ``temperature``, ``max_tokens``, ...

    Returns:
        An OpenAI ``chat.completion``. Tool calls in it are only text: each is judged when it is made.

    Raises as ``call_tool``.

    """
    from ringwall import _client

    asked = _client.chat(model, messages, params, approval)
    return _client.completion(_client.default().ask("/v1/models/complete", asked, wait))


def send_message(
    peer: str,
    skill: str,
    parts: Sequence[Mapping[str, Any]] | str,
    /,
    *,
    task_id: str | None = None,
    context_id: str | None = None,
    message_id: str | None = None,
    wait: float | None = None,
    approval: str | None = None,
) -> dict[str, Any]:
    """Send a message to another agent over A2A 1.0 (``SendMessage``), and wait for its answer.

    Args:
        peer: an agent of the same tenant, ``tenant/agent``, or a name in the manifest's ``[peers]``.
        skill: what the peer is asked for.
        parts: A2A parts such as ``{"text": "..."}`` or ``{"data": {...}}``; a plain text is one text part.
        task_id: of a task of this peer that the message goes on with.
        context_id: of a conversation with this peer.
        message_id: names the message; one that the peer has seen is refused. None: a new one. To repeat a call with
            ``approval``, give the same one as before.
        wait: as in ``call_tool``.
        approval: as in ``call_tool``.

    Returns:
        An A2A ``SendMessageResponse``: an object with ``task`` or ``message``.

    Raises as ``call_tool``.

    """
    from ringwall import _client

    path, body = _client.sending(
        peer, skill, parts, task_id=task_id, context_id=context_id, message_id=message_id, approval=approval
    )
    return _client.completion(_client.default().ask(path, body, wait))


def secret(name: str, /) -> Secret:
    """A handle of a secret. It prints as its name; ``.reveal()`` asks for its text, ``.reveal_bytes()`` for bytes.

    Agents seldom need this: Ringwall puts a secret where it is used, and the agent never has it. Reading is a
    capability of its own (``read`` in the role), and each reading raises an alert.

    Args:
        name: in the manifest's ``[secrets]``.

    Raises:
        BadInput: it is no name. Whether there is such a secret shows when it is revealed.

    """
    from ringwall import _secret

    return _secret.Secret(name)


__all__ = [
    "Held",
    "Limited",
    "Refused",
    "RingwallError",
    "Unavailable",
    "call_tool",
    "complete",
    "list_tools",
    "secret",
    "send_message",
]
