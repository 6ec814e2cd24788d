"""What MCP servers say by themselves, heard for the doors: the core's end of ``Listen``.

Only which news it is comes through, and a URI that the listener itself named; a server's words do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from ringwall.call import Last, Subject, Trait
from ringwall.errors import BadInput, RingwallError
from ringwall.interface import Listener
from ringwall.manifest.types import ToolServer
from ringwall.tools.credentials import Credentials
from ringwall.tools.effect import has_sessions
from ringwall.tools.mcp_news import decode
from ringwall.tools.pending import Pending
from ringwall.tools.protocol import Heard, Listen
from ringwall.tools.sidecar_client import SidecarClient

MAX_EARS: Final = 16  # of one tenant at one server; each holds a connection to it, of 64
LISTEN_S: Final = 3600.0  # then anew, with a fresh credential
FIRST_PAUSE_S: Final = 1.0  # before listening again; doubled while that fails, or the stream is a short one
POLL_S: Final = 5.0  # at most, where a server ends each stream soon: it wants to be polled
MAX_PAUSE_S: Final = 120.0  # at most, where it cannot be heard at all
STEADY_S: Final = 10.0  # a stream that lasts so long is no short one


class Ears:
    """Listens to servers.

    Args:
        servers: what the manifest says of each.
        sidecars: the sidecar of a tenant, or None if it has none.
        credentials: what servers elsewhere are asked with.

    """

    def __init__(self, servers: Mapping[str, ToolServer], sidecars: Callable[[str], SidecarClient | None],
                 credentials: Credentials) -> None:
        self._servers = servers
        self._sidecars = sidecars
        self._credentials = credentials
        self._open: dict[tuple[str, str], int] = {}

    async def hear(self, who: Subject, launch: str, server: str, client: tuple[Trait, ...],
                   listener: Listener) -> None:
        """Listen to one server until cancelled; returns if that cannot be, or there are too many already.

        Args:
            who: with whose secret it is asked; its tenant's sidecar listens.
            launch: whose session it is.
            server: its name.
            client: what the listener's client says of itself.
            listener: what it wants to hear, and is told.

        """
        found = self._servers.get(server)
        key = (who.tenant, server)
        if found is None or found.openapi is not None or found.http or self._open.get(key, 0) >= MAX_EARS:
            listener.ready(server)
            return
        self._open[key] = self._open.get(key, 0) + 1
        try:
            await self._listen(who, launch if has_sessions(found) else "", found, client, listener)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    async def _listen(self, who: Subject, session: str, server: ToolServer, client: tuple[Trait, ...],
                      listener: Listener) -> None:
        pause, loop = FIRST_PAUSE_S, asyncio.get_running_loop()
        while True:
            anew, began = listener.changed, loop.time()
            once = asyncio.create_task(self._once(who, session, server, client, listener))
            other = asyncio.create_task(anew.wait())
            try:
                await asyncio.wait({once, other}, return_when=asyncio.FIRST_COMPLETED)
                good = not once.done() or once.result()
            finally:
                for task in (once, other):
                    task.cancel()
                await asyncio.gather(once, other, return_exceptions=True)
            listener.ready(server.name)
            if anew.is_set():
                continue  # it watches other resources now
            lasted = loop.time() - began >= STEADY_S
            pause = FIRST_PAUSE_S if lasted else min(2 * pause, POLL_S if good else MAX_PAUSE_S)
            await asyncio.sleep(pause)

    async def _once(self, who: Subject, session: str, server: ToolServer, client: tuple[Trait, ...],
                    listener: Listener) -> bool:
        """One stream, to its end; whether anything was heard."""
        sidecar = self._sidecars(who.tenant)
        if sidecar is None:
            return False
        heard = False
        try:
            headers = (await self._credentials.listening(who, server, sidecar)).headers if server.mcp else {}
            await sidecar.started(server.name)
            async with aclosing(_news(sidecar, server.name, session, headers, client, listener.uris)) as news:
                async for item in news:
                    heard = True
                    if item.what == "tools":
                        await self._compare(who.tenant, server, sidecar)
                    elif item.what == "listening":
                        listener.ready(server.name)
                    else:
                        listener.tell(item.what, item.uri)
        except RingwallError:
            return heard
        return heard

    async def _compare(self, tenant: str, server: ToolServer, sidecar: SidecarClient) -> None:
        """Its definitions with the pinned ones, which are the tenant's. Whoever listens is told when it is done."""
        headers = (await self._credentials.listing(tenant, server, sidecar)).headers if server.mcp else {}
        await sidecar.compare(server.name, headers)


async def _news(sidecar: SidecarClient, server: str, session: str, headers: Mapping[str, str],
                client: tuple[Trait, ...], uris: frozenset[str]) -> AsyncGenerator[Heard, None]:
    """Raises BadInput for what is none, and what was not asked for."""
    pieces = sidecar.link.exchange(
        lambda number: Listen(id=number, server=server, session=session, headers=dict(headers), client=client,
                              uris=tuple(sorted(uris))),
        seconds=LISTEN_S, late=("failed", "tool_timeout"), pending=Pending(server))
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Last):
                return
            item = decode(piece)
            if item.what == "updated" and item.uri not in uris:
                raise BadInput("a resource that nobody watches is said to have changed", code="bad_answer")
            yield item
