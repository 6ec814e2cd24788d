"""The rival: an echo on the same server stack that appends 600 bytes and fdatasyncs before it answers.

``base.py SOCKET FILE``. On the path ``/grouped`` requests that wait at the same time share one append and one
fdatasync, as records behind the wall share a batch.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from ringwall.doors.http import read_body, send_json
from ringwall.doors.interface import Receive, Scope, Send
from ringwall.doors.listener import SocketServer

RECORD = b"r" * 599 + b"\n"


class Anybody:
    """Names nobody."""

    def open(self, sock: object) -> object:
        return self

    def close(self, connection: Any) -> None:
        return None


class Echo:
    """The app."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body is None:
            return
        if scope["path"] != "/grouped":
            os.write(self._fd, RECORD)
            os.fdatasync(self._fd)
            await send_json(send, body)
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._commit)
        durable = loop.create_future()
        self._waiting.append(durable)
        await durable
        await send_json(send, body)

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        os.write(self._fd, RECORD * len(waiting))
        os.fdatasync(self._fd)
        for durable in waiting:
            durable.set_result(None)


async def serve(socket: Path, file: Path) -> None:
    server = SocketServer(Echo(file))
    await server.listen("base", socket, Anybody(), mode=0o666)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
