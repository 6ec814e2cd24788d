"""Unix sockets that come and go in one running loop: one for each launch, and the operators'."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from uvicorn.config import Config

from ringwall.call import Denied, LaunchId
from ringwall.doors.interface import App, Peers
from ringwall.doors.protocol import UNREAD_SECONDS, Door
from ringwall.errors import BadInput, Unavailable
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.pidfd import HasOptions
from ringwall.identity.registry import Connection, Registry

BACKLOG: Final = 4096  # a hundred was too few for 500 agents starting together; the kernel caps at somaxconn
KEEP_ALIVE_SECONDS: Final = 60  # an idle connection; a new one costs 0.1 ms
OPERATOR_UNREAD_SECONDS: Final = 86_400.0  # `ringwall run | less` may wait for its reader for a day
MAX_PATH: Final = 107  # sun_path of unix(7) is 108 bytes with its NUL


@dataclass(frozen=True, slots=True)
class _LaunchPeers:
    """Connections of one launch's door."""

    registry: Registry
    launch: LaunchId

    def open(self, sock: HasOptions) -> Connection | Denied:
        return self.registry.open(self.launch, sock)

    def close(self, connection: Any) -> None:
        self.registry.close(connection)


class SocketServer:
    """Serves one app on any number of Unix sockets.

    Args:
        app: answers.
        unread_seconds: how long an answer may wait for its reader.

    """

    def __init__(self, app: App, *, unread_seconds: float = UNREAD_SECONDS) -> None:
        self._unread_seconds = unread_seconds
        self._config = Config(
            app,  # pyright: ignore[reportArgumentType] (ASGI, typed without uvicorn's private types)
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        self._open: dict[str, tuple[asyncio.Server, Door, Path]] = {}

    async def listen(self, name: str, path: Path, peers: Peers, *, mode: int) -> None:
        """Open a socket under a name of its own; a stale socket file at the path is replaced.

        Raises:
            BadInput: the path is too long, or something that is no socket lies there.
            Unavailable: the name is taken, or the socket cannot be made.

        """
        if name in self._open:
            raise Unavailable(f"door {name} is open already", code="door_exists")
        sock = bound(path, mode)
        door = Door(self._config, peers, unread_seconds=self._unread_seconds)
        try:
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(door.protocol, sock=sock, backlog=BACKLOG)
        except BaseException:
            sock.close()
            raise
        self._open[name] = (server, door, path)

    async def remove(self, name: str) -> None:
        """Close a socket, end its connections, cancel their calls. Harmless when repeated."""
        found = self._open.pop(name, None)
        if found is None:
            return
        server, door, path = found
        server.close()
        door.disconnect()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        while door.state.tasks:
            await asyncio.wait(tuple(door.state.tasks))

    async def close(self) -> None:
        """Remove every socket."""
        for name in tuple(self._open):
            await self.remove(name)


class DoorServer:
    """The agents' doors: a socket for each launch.

    Args:
        app: from ``doors.agent``.
        registry: names the peers; a launch is registered before its door is added.

    """

    def __init__(self, app: App, registry: Registry) -> None:
        self._sockets = SocketServer(app)
        self._registry = registry

    async def add(self, launch: LaunchId, path: Path) -> None:
        """Open a launch's door. Its folder must be this launch's own: the socket is open to every uid.

        Raises BadInput or Unavailable, as ``SocketServer.listen`` does.
        """
        await self._sockets.listen(launch, path, _LaunchPeers(self._registry, launch), mode=0o666)

    async def remove(self, launch: LaunchId) -> None:
        """Close a launch's door; calls that run over it are cancelled, and settled on return."""
        await self._sockets.remove(launch)

    async def close(self) -> None:
        """Close every door."""
        await self._sockets.close()


class OperatorServer:
    """The operators' socket.

    Args:
        app: from ``doors.operator``.
        operators: names the peers.

    """

    def __init__(self, app: App, operators: OperatorPeers) -> None:
        self._sockets = SocketServer(app, unread_seconds=OPERATOR_UNREAD_SECONDS)
        self._operators = operators

    async def open(self, path: Path, *, shared: bool = False) -> None:
        """Listen; at a shared socket every user may connect, and is attested like any other.

        Raises BadInput or Unavailable, as ``SocketServer.listen`` does.
        """
        mode = 0o666 if shared else 0o600
        await self._sockets.listen(str(path), path, self._operators, mode=mode)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self._sockets.close()


def bound(path: Path, mode: int) -> socket.socket:
    """A socket at the path with this mode; nobody can connect before it listens.

    Raises:
        BadInput: the path is too long, or something that is no socket lies there.
        Unavailable: the socket cannot be made.

    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise BadInput(
            f"the socket path {path} is longer than {MAX_PATH} bytes",
            code="path_too_long",
            remedy="use a state folder with a shorter path",
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _clear(path)
        sock.bind(os.fspath(path))
        path.chmod(mode)
    except OSError as fault:
        sock.close()
        raise Unavailable(f"the socket {path} cannot be made: {fault}", code="door_failed") from fault
    except BadInput:
        sock.close()
        raise
    return sock


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BadInput(f"{path} is not a socket", code="not_a_socket", remedy="move the file away")
    path.unlink()
