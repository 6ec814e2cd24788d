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
from ringwall.doors.protocol import MAX_BODY, UNREAD_SECONDS, Door, Sender
from ringwall.errors import BadInput, Unavailable
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.pidfd import HasOptions
from ringwall.identity.registry import Connection, Registry
from ringwall.identity.transport import Acceptor

BACKLOG: Final = 4096  # a hundred was too few for 500 agents starting together; the kernel caps at somaxconn
KEEP_ALIVE_SECONDS: Final = 60  # an idle connection; a new one costs 0.1 ms
OPERATOR_UNREAD_SECONDS: Final = 86_400.0  # `ringwall run | less` may wait for its reader for a day
MAX_PATH: Final = 107  # sun_path of unix(7) is 108 bytes with its NUL


@dataclass(frozen=True, slots=True)
class _InsidePeers:
    """Connections over the loopback of one launch's own network."""

    registry: Registry
    launch: LaunchId

    def open(self, sock: HasOptions) -> Connection | Denied:
        return self.registry.open_inside(self.launch)

    def close(self, connection: Any) -> None:
        self.registry.close(connection)


@dataclass(frozen=True, slots=True)
class _LaunchPeers:
    """Connections of one launch's door."""

    registry: Registry
    launch: LaunchId

    def open(self, sock: HasOptions) -> Connection | Denied:
        return self.registry.open(self.launch, sock)

    def close(self, connection: Any) -> None:
        self.registry.close(connection)

    def sender(self, connection: Connection, process: int | None) -> Denied | None:
        return self.registry.sender(connection.number, process)


@dataclass(frozen=True, slots=True)
class _ClientPeers:
    """Connections of a client's door: of processes that nobody launched."""

    registry: Registry
    launch: LaunchId

    def open(self, sock: HasOptions) -> Connection | Denied:
        return self.registry.open_client(self.launch, sock)

    def close(self, connection: Any) -> None:
        self.registry.close(connection)


class SocketServer:
    """Serves one app on any number of sockets.

    Args:
        app: answers.
        unread_seconds: how long an answer may wait for its reader.
        max_body: of a request, in bytes.

    """

    def __init__(self, app: App, *, unread_seconds: float = UNREAD_SECONDS, max_body: int = MAX_BODY) -> None:
        self._unread_seconds = unread_seconds
        self._max_body = max_body
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
        self._open: dict[str, tuple[asyncio.Server | Acceptor, Door, Path | None]] = {}

    async def listen(
        self, name: str, path: Path, peers: Peers, *, mode: int, sender: Sender | None = None
    ) -> None:
        """Open a socket under a name of its own; a stale socket file at the path is replaced.

        With ``sender``, the process that sent each piece is looked at before the piece counts.

        Raises:
            BadInput: the path is too long, or something that is no socket lies there.
            Unavailable: the name is taken, or the socket cannot be made.

        """
        if name in self._open:
            raise Unavailable(f"door {name} is open already", code="door_exists")
        sock = bound(path, mode)
        door = Door(self._config, peers, sender=sender, unread_seconds=self._unread_seconds,
                    max_body=self._max_body)
        try:
            server = await _serve(sock, door)
        except BaseException:
            sock.close()
            raise
        self._open[name] = (server, door, path)

    async def serve(self, name: str, sock: socket.socket, peers: Peers) -> None:
        """Serve a TCP socket that listens already; it is ours from now on.

        Raises:
            Unavailable: the name is taken.

        """
        door = Door(self._config, peers, unread_seconds=self._unread_seconds, max_body=self._max_body)
        try:
            if name in self._open:
                raise Unavailable(f"door {name} is open already", code="door_exists")
            server = await asyncio.get_running_loop().create_server(door.protocol, sock=sock, backlog=BACKLOG)
        except BaseException:
            sock.close()
            raise
        self._open[name] = (server, door, None)

    async def remove(self, name: str) -> None:
        """Close a socket, end its connections, cancel their calls. Harmless when repeated."""
        found = self._open.pop(name, None)
        if found is None:
            return
        server, door, path = found
        server.close()
        door.disconnect()
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        while door.state.tasks:
            await asyncio.wait(tuple(door.state.tasks))

    async def close(self) -> None:
        """Remove every socket."""
        for name in tuple(self._open):
            await self.remove(name)


class DoorServer:
    """The agents' doors: a Unix socket for each launch, and one over TCP for those that have a port for it.

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
        peers = _LaunchPeers(self._registry, launch)
        sender = peers.sender if self._registry.probe.reads else None
        await self._sockets.listen(launch, path, peers, mode=0o666, sender=sender)

    async def add_tcp(self, launch: LaunchId, sock: socket.socket) -> None:
        """Open the same door on a listener of the launch's own network.

        Args:
            launch: registered, confined.
            sock: made in that network before its program started; ours from now on. Who connects is known by that
                network alone: see ``Registry.open_inside``.

        Raises:
            Unavailable: it is open already.

        """
        await self._sockets.serve(_tcp(launch), sock, _InsidePeers(self._registry, launch))

    async def add_client(self, launch: LaunchId, path: Path) -> None:
        """Open the door of a client that nobody launched, for this user alone. As at the operators' socket, who
        sends each piece is not looked at: any other process of the user may connect by itself.

        Raises BadInput or Unavailable, as ``SocketServer.listen`` does.
        """
        await self._sockets.listen(launch, path, _ClientPeers(self._registry, launch), mode=0o600)

    async def remove(self, launch: LaunchId) -> None:
        """Close a launch's door; calls that run over it are cancelled, and settled on return."""
        await self._sockets.remove(launch)
        await self._sockets.remove(_tcp(launch))

    async def close(self) -> None:
        """Close every door."""
        await self._sockets.close()


class OperatorServer:
    """The operators' socket.

    The sender of each read is not looked at here. An operator is a user, not a process: any process of his may
    connect by itself, so he loses nothing by handing a connection to one of them; and nobody can hand one to an
    agent, which shares no socket with an operator's process.

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


def _tcp(launch: LaunchId) -> str:
    return f"{launch} over TCP"


async def _serve(sock: socket.socket, door: Door) -> asyncio.Server | Acceptor:
    if door.sender is not None:
        return Acceptor(sock, door.protocol, backlog=BACKLOG)
    return await asyncio.get_running_loop().create_unix_server(door.protocol, sock=sock, backlog=BACKLOG)


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
