"""The tool servers of one tenant, inside its sidecar. Decides nothing and starts nothing: the core has a server
started, confined, and passes the two ends of its pipes, or says where an MCP server is to be asked over HTTP.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import builtin
from ringwall.tools.mcp_call import Tell
from ringwall.tools.mcp_session import McpServer
from ringwall.tools.outlet import Proxy
from ringwall.tools.protocol import (
    Attach,
    CallTool,
    Changed,
    Listen,
    ListTools,
    Lost,
    News,
    Outlet,
    OutletRefused,
    Ready,
    ServerConfig,
)

if TYPE_CHECKING:
    from ringwall.tools.mcp_http import McpHttp

HTTP_MODULE: Final = "ringwall.tools.mcp_http"


class _Served:
    """A server over pipes, at one generation; or over HTTP, where there is only the first."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.server: McpServer | None = None
        self.task: asyncio.Task[None] | None = None
        self.probe: asyncio.Task[None] | None = None
        self.changed = False  # the core was told, and has not asked since


class ToolHost:
    """Calls tool servers. ``tell`` gets the news of them.

    Args:
        servers: the servers of this tenant, by name.
        tell: sends news to the core.

    """

    def __init__(self, *, servers: Mapping[str, ServerConfig], tell: Callable[[News], None]) -> None:
        self._servers = dict(servers)
        self._tell = tell
        self._served: dict[str, _Served] = {}
        self._outlets: dict[str, tuple[int, Proxy]] = {}
        self._http: dict[str, McpHttp] = {}
        self._loading: asyncio.Task[None] | None = None

    def warm_up(self) -> None:
        """Import the HTTP client in a thread: the first call need not wait, and this loop does not stand still."""
        if self._loading is None and any(server.kind == "mcp" for server in self._servers.values()):
            self._loading = asyncio.create_task(_import(HTTP_MODULE))

    def attach(self, message: Attach, descriptors: list[int]) -> None:
        """Take over a server's pipes; an earlier generation is closed. Descriptors are ours from now on."""
        config = self._servers.get(message.server)
        good = len(descriptors) == 2 and all(map(_is_pipe, descriptors))
        if config is None or not _over_pipes(config) or not good:
            _close_all(descriptors)
            self._tell(Lost(server=message.server, generation=message.generation))
            return
        self._close(message.server)
        served = _Served(message.generation)
        self._served[message.server] = served
        served.task = asyncio.create_task(self._serve(message.server, served, descriptors, config))
        # A task that is cancelled before its first step has not taken them.
        served.task.add_done_callback(lambda _: _close_all(descriptors))

    def outlet(self, message: Outlet, descriptors: list[int]) -> None:
        """Serve a server's way out, in place of an earlier generation's. Descriptors are ours from now on."""
        config = self._servers.get(message.server)
        if config is None or not config.network or len(descriptors) != 1 or not _listens(descriptors[0]):
            _close_all(descriptors)
            return
        self._close_outlet(message.server)
        proxy = Proxy(
            allowed=config.network,
            private=config.private,
            tell=lambda code, count: self._tell(OutletRefused(server=message.server, code=code, count=count)),
        )
        self._outlets[message.server] = (message.generation, proxy)
        proxy.serve(socket.socket(fileno=descriptors.pop()))

    async def _serve(self, name: str, served: _Served, descriptors: list[int], config: ServerConfig) -> None:
        generation = served.generation
        try:
            stdin, stdout = descriptors
            descriptors.clear()
            served.server = McpServer(
                stdin=stdin,
                stdout=stdout,
                asks=config.asks,
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
        outlet = self._outlets.get(name)
        if outlet is not None and outlet[0] == served.generation:
            self._close_outlet(name)
        self._tell(Lost(server=name, generation=served.generation))

    async def call(self, message: CallTool, left: Callable[[], bool], tell: Tell) -> Json:
        """Run one operation. Cancelled while ``left``, it tells the server to stop, and waits for its last word.

        Args:
            message: what the core asks for.
            left: whether nobody waits for the answer any more, only for its end.
            tell: takes events and questions of a call of form ``mcp``.

        Raises:
            ToolFailed: the tool said no, in its own words.
            BadInput: no_such_server, no_such_operation, bad_arguments, bad_answer or tool_input_required.
            Unavailable: server_gone (nothing was sent), server_lost, or abandoned: it was left, and is over.
            NoAnswer: over HTTP, with its end.

        """
        config = self._config(message.server)
        args: Json = msgspec.json.decode(message.args)
        if config.builtin:
            value = builtin.call(config.builtin, message.op, args)
            return value if message.form == "value" else _result(value)
        if config.kind == "mcp":
            return await (await self._over_http(message.server, config)).call(message, args, left, tell)
        return await self._connected(message.server).call(message, args, left, tell)

    async def listen(self, message: Listen, tell: Callable[[bytes], None]) -> None:
        """Hear what a server says by itself, until that ends. Raises as ``call`` does."""
        config = self._config(message.server)
        if config.builtin:
            raise BadInput("it says nothing by itself", code="no_such_operation")
        if config.kind == "mcp":
            await (await self._over_http(message.server, config)).listen(message, tell)
        else:
            await self._connected(message.server).listen(message, tell)

    async def definitions(self, message: ListTools) -> list[Json]:
        """The server's definitions, asked anew. Raises as ``call`` does."""
        config = self._config(message.server)
        if config.builtin:
            return builtin.definitions(config.builtin)
        if config.kind == "mcp":
            server = await self._over_http(message.server, config)
            self._served[message.server].changed = False
            return await server.definitions(message.headers)
        if message.server in self._served:
            self._served[message.server].changed = False
        return await self._connected(message.server).definitions()

    def suspect(self, server: str) -> None:
        """A call to this server timed out: unless it answers a ping it hangs, and is closed."""
        served = self._served.get(server)
        if served is None or served.server is None or (served.probe is not None and not served.probe.done()):
            return
        served.probe = asyncio.create_task(_probe(served.server))

    async def _over_http(self, name: str, config: ServerConfig) -> McpHttp:
        self.warm_up()
        if self._loading is not None:
            await asyncio.shield(self._loading)
        from ringwall.tools.mcp_http import McpHttp

        found = self._http.get(name)
        if found is None:
            served = self._served[name] = _Served(1)
            found = self._http[name] = McpHttp(config, on_changed=lambda: self._changed(name, served))
        return found

    def _config(self, server: str) -> ServerConfig:
        config = self._servers.get(server)
        if config is None or config.kind == "http":
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

    def _close_outlet(self, name: str) -> None:
        found = self._outlets.pop(name, None)
        if found is not None:
            found[1].close()

    async def close(self) -> None:
        """Close every server's pipes and connections and wait until that is done."""
        tasks = [served.task for served in self._served.values() if served.task is not None]
        probes = [served.probe for served in self._served.values() if served.probe is not None]
        outlets = [proxy for _, proxy in self._outlets.values()]
        for name in list(self._outlets):
            self._close_outlet(name)
        for name in list(self._served):
            self._close(name)
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*tasks, *probes, *(proxy.over() for proxy in outlets), return_exceptions=True)
        if self._loading is not None:
            await asyncio.gather(self._loading, return_exceptions=True)
        for server in self._http.values():
            await server.close()


def _over_pipes(config: ServerConfig) -> bool:
    return not config.builtin and config.kind == "pipes"


def _result(value: Json) -> Json:
    """A built-in's value as MCP has it."""
    text = msgspec.json.encode(value).decode()
    return {"result": {"content": [{"type": "text", "text": text}], "structuredContent": value, "isError": False}}


async def _import(name: str) -> None:
    await asyncio.to_thread(importlib.import_module, name)


async def _probe(server: McpServer) -> None:
    if not await server.answers():
        server.close()


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _is_pipe(number: int) -> bool:
    mode = os.fstat(number).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _listens(number: int) -> bool:
    """Whether a descriptor is a TCP socket that listens."""
    try:
        with socket.socket(fileno=os.dup(number)) as found:
            listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return found.family == socket.AF_INET and bool(listens)
    except OSError:
        return False
