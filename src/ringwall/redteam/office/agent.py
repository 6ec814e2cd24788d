"""The office's agent, written as anybody would write one: ask the model, call the tools it wants, repeat.

It knows nothing of attacks. Its functions are handed in: Ringwall's, or the demo's direct ones.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Complete = Callable[..., Mapping[str, Any]]
CallTool = Callable[[str, Mapping[str, Any]], Any]
ListTools = Callable[[], Sequence[Mapping[str, Any]]]
SendMessage = Callable[..., Mapping[str, Any]]

MAX_TURNS = 12
ASK = "agent/ask"
_ASK: Mapping[str, Any] = {
    "name": ASK,
    "description": "Ask another agent, and wait for its answer.",
    "inputSchema": {"type": "object", "properties": {
        "to": {"type": "string"}, "skill": {"type": "string"}, "text": {"type": "string"}, "id": {"type": "string"},
    }},
}  # fmt: skip

# What its author wrote it for, whoever runs it: offered to its model though nobody lists them to it. (A model
# behind Ringwall is not believed when it calls what was not offered: then no other ring would be asked.)
WRITTEN_FOR = (
    "docs/read", "docs/delete", "keys/read", "mail/send", "payments/pay", "search/web", "rates/today", "rates/fees",
    "web/get", "desk/find", "desk/check", "store/get", "store/put", "archive/get",
)  # fmt: skip


def as_functions(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tool definitions as the model's API wants them; its names allow no slash."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool["name"].replace("/", "__"),
                "description": tool.get("description", ""),
                "parameters": tool.get("inputSchema", {"type": "object"}),
            },
        }
        for tool in tools
    ]


def work(
    task: str, *, complete: Complete, call_tool: CallTool, list_tools: ListTools, send_message: SendMessage
) -> str:
    """Do a task; returns the model's answer."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": task}]
    for _ in range(MAX_TURNS):
        listed = list_tools()  # each time, as agents do whose tools come and go
        others = [{"name": name} for name in WRITTEN_FOR if name not in {tool["name"] for tool in listed}]
        tools = as_functions([*listed, *others, _ASK])
        message = complete("main", messages, tools=tools)["choices"][0]["message"]
        calls: list[dict[str, Any]] = message.get("tool_calls") or []
        messages.append(
            {"role": "assistant", "content": message.get("content"), **({"tool_calls": calls} if calls else {})}
        )
        if not calls:
            return str(message.get("content") or "")
        for call in calls:
            name = call["function"]["name"].replace("__", "/")
            try:
                given = json.loads(call["function"]["arguments"])
                result = said(send_message, given) if name == ASK else call_tool(name, given)
            except Exception as fault:  # noqa: BLE001 (an agent tells its model what went wrong and goes on)
                result = f"error: {fault}"
            text = result if isinstance(result, str) else json.dumps(result)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
    return "gave up"


def said(send_message: SendMessage, given: Mapping[str, Any]) -> str:
    """Ask another agent; the text of its answer."""
    answer = send_message(given["to"], given["skill"], given["text"], message_id=given.get("id"))
    return "\n".join(part.get("text", "") for part in answer["message"]["parts"])


def obey(task: str) -> str:
    """Do a task behind Ringwall, with the functions of ``import ringwall``."""
    import ringwall

    return work(
        task,
        complete=ringwall.complete,
        call_tool=ringwall.call_tool,
        list_tools=ringwall.list_tools,
        send_message=ringwall.send_message,
    )


def main() -> int:
    """Behind Ringwall: the task comes as an argument."""
    print(obey(sys.argv[1]))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
