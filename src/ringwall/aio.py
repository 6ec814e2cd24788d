"""The functions of ``ringwall`` for asyncio. Cancelling one closes its connection, which cancels the call."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final
from weakref import WeakKeyDictionary, finalize

from ringwall import _client, _secret
from ringwall.errors import Unavailable

MAX_IDLE: Final = 8  # connections kept for each loop: more are opened when needed and closed after use
_READ: Final = 256 << 10


async def call_tool(
    name: str,
    args: Mapping[str, Any] | None = None,
    /,
    *,
    wait: float | None = None,
    approval: str | None = None,
    **kwargs: Any,
) -> Any:
    """Use a tool. As ``ringwall.call_tool``."""
    return await default().ask("/v1/tools/call", _client.tool_call(name, args, kwargs, approval), wait)


async def list_tools() -> list[dict[str, Any]]:
    """The tools this agent was given. As ``ringwall.list_tools``."""
    return _client.tool_list(await default().ask("/v1/tools/list", {}))


async def complete(
    model: str,
    messages: Sequence[Mapping[str, Any]],
    /,
    *,
    wait: float | None = None,
    approval: str | None = None,
    **params: Any,
) -> dict[str, Any]:
    """Ask a model. As ``ringwall.complete``."""
    answer = await default().ask("/v1/models/complete", _client.chat(model, messages, params, approval), wait)
    return _client.completion(answer)


async def send_message(
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
    """Send a message to another agent. As ``ringwall.send_message``."""
    path, body = _client.sending(
        peer, skill, parts, task_id=task_id, context_id=context_id, message_id=message_id, approval=approval
    )
    return _client.completion(await default().ask(path, body, wait))


class Secret(_secret.Handle):
    """A handle of a secret, as ``ringwall.secret`` gives it, whose methods wait without blocking."""

    __slots__ = ()

    async def reveal(self, *, wait: float | None = None) -> str:
        """Ask for the secret's text. As ``ringwall.secret(name).reveal``."""
        return self._text(await default().ask(_secret.PATH, self._body(), wait))

    async def reveal_bytes(self, *, wait: float | None = None) -> bytes:
        """Ask for the secret's bytes. As ``ringwall.secret(name).reveal_bytes``."""
        return self._bytes(await default().ask(_secret.PATH, self._body(), wait))


def secret(name: str, /) -> Secret:
    """A handle of a secret. As ``ringwall.secret``."""
    return Secret(name)


class AsyncClient:
    """Calls from any number of tasks, each on a connection of its own while it runs.

    Args:
        path: of the door's socket; None: ``RINGWALL_DOOR``, read at each connect.

    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._idle: WeakKeyDictionary[asyncio.AbstractEventLoop, _Idle] = WeakKeyDictionary()

    async def ask(self, path: str, payload: Any, wait: float | None = None) -> Any:
        """One call. Raises as ``ringwall.call_tool`` documents."""
        data = _client.request(path, payload, wait)
        loop = asyncio.get_running_loop()
        idle = self._idle.get(loop)
        if idle is None:
            idle = self._idle[loop] = _Idle()
            finalize(loop, idle.close)
        parser = await self._exchange(loop, idle, data)
        return _client.result(parser)

    async def _exchange(self, loop: asyncio.AbstractEventLoop, idle: _Idle, data: bytes) -> _client.Parser:
        sock = idle.take()
        try:
            sent = 0 if sock is None else _first(sock, data)
            if sock is None or sent < 0:
                if sock is not None:
                    sock.close()
                sock, sent = await self._connect(loop), 0
            await _send_rest(loop, sock, data[sent:])
            parser = await _receive(loop, sock)
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        if parser.keep_alive:
            idle.put(sock)
        else:
            sock.close()
        return parser

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        path = self._path or _client.door_path()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, path)
        except BlockingIOError as fault:  # the backlog is full (unix(7): EAGAIN), so nothing was sent
            sock.close()
            raise Unavailable("the door is overrun by connections", code="door_busy") from fault
        except OSError as fault:
            sock.close()
            raise _client.no_door(path, fault) from fault
        except BaseException:
            sock.close()
            raise
        return sock


class _Idle:
    """Idle connections of one loop, closed when the loop is collected."""

    def __init__(self) -> None:
        self._socks: list[socket.socket] = []
        self._pid = os.getpid()

    def take(self) -> socket.socket | None:
        """The youngest connection that is still good."""
        if self._pid != os.getpid():  # forked: these are the parent's
            self.close()
            self._pid = os.getpid()
        while self._socks:
            sock = self._socks.pop()
            if not _client.stale(sock):
                return sock
            sock.close()
        return None

    def put(self, sock: socket.socket) -> None:
        if len(self._socks) < MAX_IDLE:
            self._socks.append(sock)
        else:
            sock.close()

    def close(self) -> None:
        while self._socks:
            self._socks.pop().close()


def _first(sock: socket.socket, data: bytes) -> int:
    """Bytes sent at once on a kept connection; -1: it was closed and none went out, so asking again is safe."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0
    except (BrokenPipeError, ConnectionResetError):
        return -1


async def _send_rest(loop: asyncio.AbstractEventLoop, sock: socket.socket, data: bytes) -> None:
    """A door that stops listening may have answered already, so the answer is read anyway."""
    if not data:
        return
    try:
        await loop.sock_sendall(sock, data)
    except (BrokenPipeError, ConnectionResetError):
        pass


async def _receive(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> _client.Parser:
    parser = _client.Parser()
    while not parser.done:
        try:
            data = await loop.sock_recv(sock, _READ)
        except ConnectionResetError as fault:
            raise _client.lost("reset") from fault
        if not data:
            raise _client.lost("truncated" if parser.started else "no answer")
        parser.feed(data)
    return parser


@cache
def default() -> AsyncClient:
    """The client behind the functions of this module."""
    return AsyncClient()


__all__ = ["call_tool", "complete", "list_tools", "secret", "send_message"]
