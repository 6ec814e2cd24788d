"""The tool servers of one tenant, inside its sidecar. Decides nothing and starts nothing: the core has a server
started, confined, and passes the two ends of its pipes.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ringwall.call import Json
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import builtin
from ringwall.tools.protocol import Attach, Changed, Lost, Ready, ServerConfig

if TYPE_CHECKING:
    from ringwall.tools.mcp_session import McpServer

SESSION_MODULE: Final = "ringwall.tools.mcp_session"


class _Served:
    """A server at one generation."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.server: McpServer | None = None
        self.task: asyncio.Task[None] | None = None
        self.probe: asyncio.Task[None] | None = None
        self.changed = False  # the core was told, and has not asked since


class ToolHost:
    """Calls tool servers. ``tell`` gets Ready, Lost and Changed.

    Args:
        servers: the servers of this tenant, by name.
        tell: sends news to the core.

    """

    def __init__(
        self, *, servers: Mapping[str, ServerConfig], tell: Callable[[Ready | Lost | Changed], None]
    ) -> None:
        self._servers = dict(servers)
        self._tell = tell
        self._served: dict[str, _Served] = {}
        self._sdk: asyncio.Task[None] | None = None

    def warm_up(self) -> None:
        """Import the SDK in a thread, so that the first call need not wait and this loop does not stand still."""
        if self._sdk is None and any(not server.builtin for server in self._servers.values()):
            self._sdk = asyncio.create_task(_import_sdk())

    def attach(self, message: Attach, descriptors: list[int]) -> None:
        """Take over a server's pipes; an earlier generation is closed. Descriptors are ours from now on."""
        config = self._servers.get(message.server)
        if config is None or config.builtin or len(descriptors) != 2 or not all(map(_is_pipe, descriptors)):
            _close_all(descriptors)
            self._tell(Lost(server=message.server, generation=message.generation))
            return
        self._close(message.server)
        served = _Served(message.generation)
        self._served[message.server] = served
        served.task = asyncio.create_task(self._serve(message.server, served, descriptors))
        # A task that is cancelled before its first step has not taken them.
        served.task.add_done_callback(lambda _: _close_all(descriptors))

    async def _serve(self, name: str, served: _Served, descriptors: list[int]) -> None:
        generation = served.generation
        try:
            self.warm_up()
            if self._sdk is not None:
                await asyncio.shield(self._sdk)
            from ringwall.tools.mcp_session import McpServer

            stdin, stdout = descriptors
            descriptors.clear()
            served.server = McpServer(
                stdin=stdin,
                stdout=stdout,
                on_ready=lambda: self._tell(Ready(server=name, generation=generation)),
                on_changed=lambda: self._changed(name, served),
                on_over=lambda: self._lost(name, served),
            )
            await served.server.run()
        finally:
            if served.server is None:
                self._lost(name, served)

    def _changed(self, name: str, served: _Served) -> None:
        """Tell the core once, however often the server says it, until the core asks again."""
        if not served.changed:
            served.changed = True
            self._tell(Changed(server=name, generation=served.generation))

    def _lost(self, name: str, served: _Served) -> None:
        """Tell the core before the calls under way end: what it sends next must not go to a dead server."""
        if self._served.get(name) is served:
            del self._served[name]
        self._tell(Lost(server=name, generation=served.generation))

    async def call(self, server: str, op: str, args: Json, left: Callable[[], bool]) -> Json:
        """Run one operation. Cancelled while ``left``, it tells the server to stop, and waits for its last word.

        Raises:
            ToolFailed: the tool said no, in its own words.
            BadInput: no_such_server, no_such_operation, bad_arguments or bad_answer.
            Unavailable: server_gone (nothing was sent), server_lost, or abandoned: it was left, and is over.

        """
        config = self._config(server)
        if config.builtin:
            return builtin.call(config.builtin, op, args)
        if not isinstance(args, dict):
            raise BadInput("a tool's arguments are an object", code="bad_arguments")
        return await self._connected(server).call(op, args, left)

    async def definitions(self, server: str) -> list[Json]:
        """The server's definitions, asked anew. Raises as ``call`` does."""
        config = self._config(server)
        if config.builtin:
            return builtin.definitions(config.builtin)
        if server in self._served:
            self._served[server].changed = False
        return await self._connected(server).definitions()

    def suspect(self, server: str) -> None:
        """A call to this server timed out: unless it answers a ping it hangs, and is closed."""
        served = self._served.get(server)
        if served is None or served.server is None or (served.probe is not None and not served.probe.done()):
            return
        served.probe = asyncio.create_task(_probe(served.server))

    def _config(self, server: str) -> ServerConfig:
        config = self._servers.get(server)
        if config is None:
            raise BadInput(f"there is no tool server {server!r}", code="no_such_server")
        return config

    def _connected(self, server: str) -> McpServer:
        served = self._served.get(server)
        if served is None or served.server is None:
            raise Unavailable(f"tool server {server} is not connected", code="server_gone")
        return served.server

    def _close(self, name: str) -> None:
        served = self._served.pop(name, None)
        if served is None:
            return
        if served.server is not None:
            served.server.close()
        elif served.task is not None:
            served.task.cancel()

    async def close(self) -> None:
        """Close every server's pipes and wait until that is done."""
        tasks = [served.task for served in self._served.values() if served.task is not None]
        probes = [served.probe for served in self._served.values() if served.probe is not None]
        for name in list(self._served):
            self._close(name)
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*tasks, *probes, return_exceptions=True)
        if self._sdk is not None:
            await asyncio.gather(self._sdk, return_exceptions=True)


async def _import_sdk() -> None:
    await asyncio.to_thread(importlib.import_module, SESSION_MODULE)


async def _probe(server: McpServer) -> None:
    if not await server.answers():
        server.close()


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _is_pipe(number: int) -> bool:
    mode = os.fstat(number).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
