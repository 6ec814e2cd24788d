"""How the core reaches a SPIRE agent: as itself, and as root on behalf of each of its agents, by that one's uid."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ringwall.confine.spec import MAX_NAME
from ringwall.errors import Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.spire.agent import CALL_SECONDS, SpireAgent, direct
from ringwall.identity.spire.connector import CONNECTED
from ringwall.runtime import helper_views, views
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.state import State

MAX_WHY: Final = 128  # bytes of why a connector has no socket


class Callers:
    """The SPIRE agent, by whom it is reached. Connectors are started when they are first needed.

    Args:
        path: of its socket.
        state: has the uid of each agent.

    """

    def __init__(self, path: Path, state: State) -> None:
        self._path = path
        self._state = state
        self._helpers: Helpers | None = None
        self._around: views.Surroundings | None = None
        self._agents: dict[tuple[str, str], SpireAgent] = {}
        self.single = os.geteuid() != 0
        self.own = SpireAgent(lambda: direct(str(path)))

    def start(self, helpers: Helpers, around: views.Surroundings) -> None:
        """Connectors can be started from now on."""
        self._helpers, self._around = helpers, around

    def of(self, who: SpiffeId) -> SpireAgent:
        """The SPIRE agent as it is reached for this identity."""
        if self.single:
            return self.own
        key = (who.tenant, who.agent)
        if key not in self._agents:
            connector = self._connector(who)
            self._agents[key] = SpireAgent(connector.connect)
        return self._agents[key]

    def _connector(self, who: SpiffeId) -> _Connector:
        helpers, around = self._helpers, self._around
        if helpers is None or around is None:
            raise Unavailable("connectors to SPIRE are not started yet", code="spire_unreachable")
        made = _Connector()
        uid = self._state.uid(f"{who.tenant}/agent/{who.agent}")
        name = f"spire-{who.tenant}-{who.agent}"[:MAX_NAME]
        path = self._path
        helpers.service(name, lambda: helper_views.connector_view(name=name, uid=uid, around=around, path=path),
                        (socket.SOCK_SEQPACKET,), made.attach)
        return made


class _Connector:
    """The core's side of one connector."""

    def __init__(self) -> None:
        self._link: socket.socket | None = None
        self._up = asyncio.Event()
        self._turn = asyncio.Lock()

    async def attach(self, sockets: Sequence[socket.socket]) -> None:
        """A new process is there."""
        if self._link is not None:
            self._link.close()
        self._link = sockets[0]
        self._link.setblocking(False)
        self._up.set()

    async def connect(self) -> socket.socket:
        """A connection that this process made. See ``agent.Connect``."""
        async with self._turn:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    await self._up.wait()
                    return await self._ask()
            except TimeoutError:
                raise _unreachable("the connector does not answer") from None
            except OSError as fault:
                raise _unreachable(fault.strerror or "the connector is gone") from None

    async def _ask(self) -> socket.socket:
        link = self._link
        if link is None:
            raise _unreachable("the connector is gone")
        link.send(b"?")
        await _readable(link)
        raw, descriptors, _, _ = socket.recv_fds(link, MAX_WHY, 1)
        if raw[:1] == CONNECTED and len(descriptors) == 1:
            return socket.socket(fileno=descriptors[0])
        for number in descriptors:
            os.close(number)
        if not raw:
            self._up.clear()  # until the next one is there
        raise _unreachable(raw[1:].decode("ascii", "replace") or "the connector is gone")


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    found: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock.fileno(), lambda: found.done() or found.set_result(None))
    try:
        await found
    finally:
        loop.remove_reader(sock.fileno())


def _unreachable(why: str) -> Unavailable:
    return Unavailable(f"the SPIRE agent cannot be reached: {why}", code="spire_unreachable",
                       remedy="start it, or mend [identity] spire; its socket must be open to every uid")
