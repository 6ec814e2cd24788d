"""What an Envoy in front received for one agent: a Unix socket; each request brings its peer's certificates."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from uvicorn.config import Config

from ringwall.call import Denied
from ringwall.clock import Clock
from ringwall.doors.http import Problem, of_denied, send_problem
from ringwall.doors.interface import App, Receive, Scope, Send
from ringwall.doors.protocol import CONNECTION, Door
from ringwall.errors import BadInput, Refused
from ringwall.identity.probe import Probe
from ringwall.identity.svid.interface import Authority
from ringwall.identity.svid.verifier import Verified
from ringwall.identity.transport import Acceptor
from ringwall.peers.envoy import MAX_CONNECTIONS
from ringwall.peers.forwarded import HEADER, read
from ringwall.peers.interface import PeerConnection
from ringwall.runtime.callers import Callers, Place
from ringwall.runtime.fronters import Fronter, Fronters

KEEP_ALIVE_SECONDS: Final = 300
BACKLOG: Final = 1024
MAX_REMEMBERED: Final = 256  # certificates judged over one connection: as many as peers may be there at once


class FrontDoor:
    """One agent's.

    Args:
        place: whom it is for.
        uid: Envoy's.
        probe: how processes are told apart on this machine.
        authority: says when what was proved must be proved again.
        callers: judges who comes, and knows who is there.
        clock: what time it is.
        app: the peers' door.

    """

    def __init__(
        self, *, place: Place, uid: int, probe: Probe, authority: Authority, callers: Callers, clock: Clock,
        app: Callable[[], App],
    ) -> None:
        self.place = place
        self._authority = authority
        self._callers = callers
        self._clock = clock
        self._app = app
        self._judged: dict[int, dict[bytes, Verified]] = {}  # by connection, and by hash of the header
        self._fronters = Fronters(
            probe, uid, most=MAX_CONNECTIONS, closed=self._forget,
            refused=lambda denied: callers.refused(place, denied.code),
        )
        config = Config(
            self._answer,  # pyright: ignore[reportArgumentType] (ASGI, typed without uvicorn's private types)
            http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._door = Door(config, self._fronters, sender=self._sender if probe.reads else None)
        self._unchanged: Callable[[], None] | None = None
        self._server: asyncio.Server | Acceptor | None = None
        self._path: Path | None = None

    async def listen(self, path: Path, sock: socket.socket) -> None:
        """From now on, at a bound socket, which is ours."""
        try:
            if self._door.sender is not None:
                self._server = Acceptor(sock, self._door.protocol, backlog=BACKLOG)
            else:
                loop = asyncio.get_running_loop()
                self._server = await loop.create_unix_server(self._door.protocol, sock=sock, backlog=BACKLOG)
        except BaseException:
            sock.close()
            raise
        self._path = path
        self._unchanged = self._authority.on_change(self._judged.clear)

    async def close(self) -> None:
        """End every connection; calls that run for them are cancelled, and settled on return."""
        if self._server is None or self._path is None or self._unchanged is None:
            return
        self._unchanged()
        self._server.close()
        self._path.unlink(missing_ok=True)
        self._door.disconnect()
        while self._door.state.tasks:
            await asyncio.wait(tuple(self._door.state.tasks))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: find who sent it, then hand it to the peers' door."""
        found = self._identify(scope)
        if isinstance(found, Problem):
            await send_problem(send, 403, found)
            return
        fields = [(name, value) for name, value in scope["headers"] if name != HEADER]
        extensions = {**scope["extensions"], CONNECTION: found}
        try:
            await self._app()({**scope, "headers": fields, "extensions": extensions}, receive, send)
        finally:
            self._callers.gone(found)

    def _identify(self, scope: Scope) -> PeerConnection | Problem:
        """Who sent a request, by its certificates; or why it is refused, which is counted."""
        fronter: Fronter = scope["extensions"][CONNECTION]
        denied = self._fronters.attest(fronter.number)
        if denied is not None:
            self._callers.refused(self.place, denied.code)
            return of_denied(denied)
        forwarded = [value for name, value in scope["headers"] if name == HEADER]
        try:
            if len(forwarded) != 1:
                raise BadInput(f"there are {len(forwarded)} forwarded certificates, not one", code="bad_forwarded")
            chain = read(forwarded[0], receiver=str(self.place.receiver))
        except BadInput as fault:
            self._callers.refused(self.place, fault.code)
            return Problem(code=fault.code, reason=fault.cause)
        try:
            return self._callers.admit(self.place, self._proved(fronter.number, forwarded[0], chain), chain)
        except Refused as fault:
            return Problem(code=fault.code, reason=fault.cause)

    def _proved(self, number: int, raw: bytes, chain: tuple[bytes, ...]) -> Verified:
        """Judge a certificate: once for each connection, and again when anything changed. Raises Refused."""
        judged = self._judged.setdefault(number, {})
        key = hashlib.sha256(raw).digest()
        found = judged.get(key)
        if found is None or not self._stands(found):
            if len(judged) >= MAX_REMEMBERED:
                judged.clear()
            judged.pop(key, None)
            found = judged[key] = self._callers.judge(self.place, chain)
        return found

    def _stands(self, proved: Verified) -> bool:
        withdrawn = self._authority.revoked(str(proved.spiffe_id), proved.number)
        return self._clock.now() < proved.expires_at and not withdrawn

    def _forget(self, number: int) -> None:
        self._judged.pop(number, None)

    def _sender(self, connection: Any, process: int | None) -> Denied | None:
        return self._fronters.sender(connection.number, process)
