"""The worst model there is, on the OpenAI wire: it obeys whatever instruction stands anywhere in its context.

An instruction is a line ``call NAME with {JSON}`` or ``answer TEXT``; ``<<NAME>>`` in it stands for the last
result of that tool. It makes no difference whether the user wrote the line or a document that a tool read.
Nothing here decides what is harmful: with this model, every text that reaches the context is a command.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

_CALL: Final = re.compile(r"call ([a-z]+/[a-z]+) with (\{.*\})", re.IGNORECASE)
_ANSWER: Final = re.compile(r"answer[: ]+(.*)", re.IGNORECASE)
_RESULT: Final = re.compile(r"<<([a-z]+/[a-z]+)>>")


def _results(messages: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The last result of each tool."""
    calls: list[dict[str, Any]] = []
    for message in messages:
        calls += message.get("tool_calls") or []
    names = {call["id"]: call["function"]["name"].replace("__", "/") for call in calls}
    return {
        names[message["tool_call_id"]]: str(message["content"])
        for message in messages
        if message["role"] == "tool" and message["tool_call_id"] in names
    }


def _fill(text: str, results: dict[str, str], *, quoted: bool) -> str:
    def value(match: re.Match[str]) -> str:
        found = results.get(match.group(1), "")
        return json.dumps(found)[1:-1] if quoted else found

    return _RESULT.sub(value, text)


def obey(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The next assistant message: the first instruction in the context that was not carried out yet."""
    results = _results(messages)
    done = sum(len(message.get("tool_calls") or []) for message in messages)
    text = "\n".join(str(message.get("content") or "") for message in messages if message["role"] != "assistant")
    calls = _CALL.findall(text)
    if done < len(calls):
        name, arguments = calls[done]
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": f"call_{done}",
                    "type": "function",
                    "function": {
                        "name": name.replace("/", "__"),
                        "arguments": _fill(arguments, results, quoted=True),
                    },
                }
            ],
        }
    answers = _ANSWER.findall(text)
    return {"role": "assistant", "content": _fill(answers[-1], results, quoted=False) if answers else "Done."}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = obey(request["messages"])
        body = json.dumps(
            {
                "id": "chatcmpl-office",
                "object": "chat.completion",
                "created": 0,
                "model": request.get("model", ""),
                "choices": [
                    {
                        "index": 0,
                        "message": message,
                        "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
                    }
                ],
                "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        return


class Model:
    """The model as a service on loopback."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
