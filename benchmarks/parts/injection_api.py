"""The web API of benchmarks/injection.py: ``injection_api.py PORT SECRET TEXT``.

Answers every request at once with ``TEXT`` and says whether it came with the secret, in a header or in its body. No
framework: it should weigh next to nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    secret: bytes
    answers: dict[bool, bytes]

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
            return
        came, self._data = self.secret in self._data, b""
        self._transport.write(self.answers[came])


def answer(text: str, *, came: bool) -> bytes:
    told = json.dumps({"came": "with" if came else "without", "text": text}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(told) + told


async def serve(port: int, secret: str, text: str) -> None:
    Connection.secret = secret.encode()
    Connection.answers = {came: answer(text, came=came) for came in (True, False)}
    await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
