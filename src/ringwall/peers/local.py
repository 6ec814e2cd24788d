"""The sidecar as a client of an agent's own server, over sockets that belong to the agent's network namespace.

The core had them made there before the agent's program started. They are used again: ``connect`` to AF_UNSPEC takes
a TCP socket back to where it began (connect(2)).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from ringwall.peers.connection import AGENT, Connection, PeerFault
from ringwall.peers.http import Address, path
from ringwall.wire.a2a.sse import SseEvent

HOST: Final = "127.0.0.1"
CONNECT_S: Final = 5.0  # on one machine it takes microseconds, or the server's backlog is full
ENVELOPE: Final = 2048  # bytes: goes on beside each event, and counts there; so a stream too long ends here first
LEAVE_S: Final = 1.0  # for a server to close its side
TURN_S: Final = 10.0  # for a free socket
_UNSPEC: Final = struct.pack("@H14x", socket.AF_UNSPEC)  # struct sockaddr


class InsideSockets:
    """Of one launch."""

    def __init__(self) -> None:
        self._free: asyncio.LifoQueue[socket.socket] = asyncio.LifoQueue()
        self._all: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    def add(self, sockets: Sequence[socket.socket]) -> None:
        """More of them; ours from now on."""
        for sock in sockets:
            sock.setblocking(False)
            self._all.append(sock)
            self._free.put_nowait(sock)

    async def ask(self, port: int, request: bytes, *, stream: bool) -> AsyncGenerator[SseEvent, None]:
        """Send a request to the server on this port; its answers. Raises PeerFault."""
        async with self._connected(port) as connection:
            answers = connection.ask(request, stream=stream)
            async with aclosing(answers):
                async for event in answers:
                    yield event

    async def tell(self, port: int, request: bytes) -> None:
        """Send a request of which only the status is of interest. Raises PeerFault."""
        async with self._connected(port) as connection:
            await connection.tell(request)

    @asynccontextmanager
    async def _connected(self, port: int) -> AsyncGenerator[Connection]:
        """A connection, for as long as it is needed. Raises PeerFault: nothing was sent."""
        if self._closed or not self._all:
            raise PeerFault("agent_unreachable", "failed")
        try:
            async with asyncio.timeout(TURN_S):
                sock = await self._free.get()
        except TimeoutError:
            raise PeerFault("agent_unreachable", "failed") from None
        connection = Connection(AGENT, until_close=True, beside=ENVELOPE)
        try:
            await self._connect(sock, port, connection)
            yield connection
        finally:
            self._connections.discard(connection)
            leaving = asyncio.ensure_future(self._left(sock, connection))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _left(self, sock: socket.socket, connection: Connection) -> None:
        """A server that sees its connection reset logs an error; one that sees its end does not."""
        await connection.leave(LEAVE_S)
        connection.abort()
        self._back(sock)

    def close(self) -> None:
        """Close every socket."""
        self._closed = True
        for connection in list(self._connections):
            connection.abort()
        for sock in self._all:
            sock.close()
        self._all.clear()

    async def _connect(self, sock: socket.socket, port: int, connection: Connection) -> None:
        """Raises PeerFault: nothing was sent."""
        loop = asyncio.get_running_loop()
        try:
            self._disconnect(sock)
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(sock, (HOST, port))
                # The transport closes its own descriptor of the same socket.
                double = socket.socket(fileno=os.dup(sock.fileno()))
                double.setblocking(False)
                try:
                    await loop.create_connection(lambda: connection, sock=double)
                except BaseException:
                    double.close()
                    raise
        except OSError:
            raise PeerFault("agent_unreachable", "failed") from None
        if self._closed:
            raise PeerFault("agent_unreachable", "failed")
        self._connections.add(connection)

    def _back(self, sock: socket.socket) -> None:
        """Ready for the next; one that cannot be is closed."""
        if self._closed:
            return
        try:
            self._disconnect(sock)
        except OSError:
            self._all.remove(sock)
            sock.close()
        else:
            self._free.put_nowait(sock)

    def _disconnect(self, sock: socket.socket) -> None:
        """Raises OSError. Python's own ``connect`` knows no AF_UNSPEC."""
        if self._libc.connect(sock.fileno(), _UNSPEC, len(_UNSPEC)) != 0:
            raise OSError(ctypes.get_errno(), "connect to AF_UNSPEC")


def at(port: int, where: str) -> Address:
    """The address of the agent's own server. Raises BadInput (``bad_arguments``)."""
    return Address(host=HOST, port=port, authority=f"{HOST}:{port}", path=path(where))
