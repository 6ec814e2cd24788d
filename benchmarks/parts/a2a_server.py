"""A small A2A server: ``a2a_server.py PORT`` or ``a2a_server.py PATH``. It answers every message with one.

No framework: whatever is measured around it should weigh as much as it can.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._data = b""
        asked = json.loads(body)
        message = asked["params"]["message"]
        answer = {"messageId": f"re-{message['messageId']}", "role": "ROLE_AGENT",
                  "parts": [{"text": f"read {len(message['parts'][0]['text'])} characters"}]}
        told = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"message": answer}}).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(told) + told)


async def serve(where: str) -> None:
    loop = asyncio.get_running_loop()
    if where.isdigit():
        await loop.create_server(Connection, "127.0.0.1", int(where))
    else:
        os.umask(0)  # whoever measures may have another uid
        await loop.create_unix_server(Connection, where)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
