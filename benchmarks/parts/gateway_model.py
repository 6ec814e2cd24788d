"""The model of benchmarks/gateway.py: ``gateway_model.py WHERE TEXT``, a port or a socket's path.

OpenAI's chat completions, answered at once with ``TEXT``. Streamed, it sends ``TEXT`` four characters at a time, a
token every 5 ms; ``GET /sent`` tells when each of the last stream went out, in seconds of the monotonic clock. No
framework: it should weigh next to nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any, Final

TOKEN: Final = 4  # characters
PAUSE_S: Final = 0.005
TOKENS: Final = 400
ANSWER: Final = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "main"}
USAGE: Final = {"prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 1000}


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    sent: list[float]
    text: str

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if len(body) < length:
            return
        self._data = b""
        if head.startswith(b"GET"):
            self._whole({"sent": self.sent})
        elif (asked := json.loads(body)).get("stream"):
            self._streaming = asyncio.ensure_future(self._stream(bool(asked.get("stream_options"))))
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
            self._whole({**ANSWER, "choices": [choice], "usage": USAGE})

    def _whole(self, value: Any) -> None:
        told = json.dumps(value).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(told) + told)

    async def _stream(self, counts: bool) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                              b"Transfer-Encoding: chunked\r\n\r\n")
        self.sent.clear()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        for number in range(TOKENS):
            await asyncio.sleep(begun + number * PAUSE_S - loop.time())
            start = number * TOKEN % (len(self.text) - TOKEN)
            self.sent.append(time.monotonic())
            delta = {"content": self.text[start : start + TOKEN]}
            self._event([{"index": 0, "delta": delta, "finish_reason": None}])
        self._event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if counts:
            self._event([], {"usage": USAGE})
        self._chunk(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _event(self, choices: list[Any], more: dict[str, Any] | None = None) -> None:
        made = {**ANSWER, "object": "chat.completion.chunk", "choices": choices, **(more or {})}
        self._chunk(b"data: " + json.dumps(made).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))


async def serve(where: str, text: str) -> None:
    Connection.sent, Connection.text = [], text
    loop = asyncio.get_running_loop()
    if where.isdigit():
        await loop.create_server(Connection, "127.0.0.1", int(where))
    else:
        os.umask(0)  # the agent has another uid
        await loop.create_unix_server(Connection, where)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1], sys.argv[2]))
