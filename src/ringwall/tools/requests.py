"""The sidecar's end of ``CallHttp``: one client a server, and nothing outside the server's prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringwall.tools.addresses import OutsideFault
from ringwall.tools.answer import HttpAnswer
from ringwall.tools.echo import of_headers
from ringwall.tools.outside import Outside
from ringwall.tools.places import below, place
from ringwall.tools.protocol import CallHttp, ServerConfig

MAX_CONNECTIONS: Final = 32  # to one server; more requests wait


class Requests:
    """Sends what the core asks for.

    Args:
        servers: what the hello says of each.

    """

    def __init__(self, servers: Mapping[str, ServerConfig]) -> None:
        self._servers = servers
        self._clients: dict[str, Outside] = {}

    async def send(self, message: CallHttp) -> HttpAnswer:
        """One request. Raises OutsideFault; ``host_refused`` if the URL lies below no prefix of the server."""
        config = self._servers.get(message.server)
        if config is None:
            raise OutsideFault("no_such_server")
        if not below(message.url, config.prefixes):
            raise OutsideFault("host_refused")
        names = [name.lower() for name in (*message.headers, *message.injected)]
        if len(set(names)) != len(names):
            raise OutsideFault("bad_arguments")
        return await self._client(message.server, config).send(
            message.method, message.url, {**message.headers, **message.injected}, message.body,
            secrets=[*message.withheld, *of_headers(message.injected.values())])

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()

    def _client(self, name: str, config: ServerConfig) -> Outside:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = Outside(
                private=config.private, literal=[place(prefix).host for prefix in config.prefixes],
                timeout_s=config.timeout_s, max_bytes=config.max_bytes, connections=MAX_CONNECTIONS)
        return client
