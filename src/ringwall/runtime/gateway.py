"""What lets agents and tools that know no Ringwall meet: the doors that speak as others do, the servers behind.

Everything here is put together only; each part judges nothing, or is judged like any other call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast, get_args

from ringwall.call import Call, Json
from ringwall.clock import Clock
from ringwall.doors.agent import Voices
from ringwall.doors.interface import Desk, Judge
from ringwall.doors.mcp import McpDoor
from ringwall.doors.models.door import ModelDoor
from ringwall.doors.models.offers import ManifestOffers
from ringwall.errors import BadInput
from ringwall.manifest.types import Manifest, ToolServer
from ringwall.tools.credentials import Credentials
from ringwall.tools.ears import Ears
from ringwall.tools.effect import ToolEffect
from ringwall.tools.giving import Giving
from ringwall.tools.mcp_ops import RESERVED
from ringwall.tools.outward import Outward
from ringwall.tools.sidecar_client import SidecarClient
from ringwall.vault.interface import Secrets
from ringwall.wire.models import wire
from ringwall.wire.models.interface import Api


class Gateway:
    """The parts of one core.

    Args:
        manifest: which servers and models there are, and for whom.
        secrets: their values, and credentials for calls.
        giving: hands credentials to workers.
        clock: for tokens and idle sessions.

    """

    def __init__(self, *, manifest: Manifest, secrets: Secrets, giving: Giving, clock: Clock) -> None:
        self._manifest = manifest
        self._clock = clock
        self.offers = ManifestOffers(manifest)
        self._secrets = secrets
        self.giving = giving
        self._credentials = Credentials(manifest, secrets, clock)
        self._outward = Outward(manifest, self._credentials)
        self._mcp: McpDoor | None = None

    def doors(
        self, wall: Judge, desk: Desk, sidecars: Callable[[str], SidecarClient | None]
    ) -> Mapping[str, Voices]:
        """Who answers below the first part of a path."""
        models = ModelDoor(wall, desk, self.offers)
        ears = Ears(self._manifest.tools, sidecars, self._credentials)
        self._mcp = McpDoor(wall, desk, self._clock, ears)
        return {"openai": models, "anthropic": models, "mcp": self._mcp}

    def effect(
        self, sidecars: Callable[[str], SidecarClient | None], unchanged: Callable[[Call], bool]
    ) -> ToolEffect:
        """What runs calls of tools."""
        return ToolEffect(
            sidecars, unchanged, servers=self._manifest.tools, outward=self._outward, credentials=self._credentials,
            secrets=self._secrets, giving=self.giving,
        )

    async def listed(self, tenant: str, server: ToolServer, sidecar: SidecarClient) -> list[Json]:
        """What a server offers, from whoever knows. Raises RingwallError."""
        if server.openapi is not None or server.http:
            return self._outward.definitions(server.name)[0]
        headers = (await self._credentials.listing(tenant, server, sidecar)).headers if server.mcp else {}
        return await sidecar.definitions(server.name, headers)

    def problems(self, server: str) -> tuple[str, ...]:
        """Why something that the manifest declares of a web API is not usable."""
        return self._outward.definitions(server)[1]

    def changed(self, tenant: str) -> None:
        """A tenant's tools are other ones now: MCP clients that listen are told."""
        if self._mcp is not None:
            self._mcp.changed(tenant)

    async def close(self) -> None:
        """End what waits between two requests."""
        if self._mcp is not None:
            await self._mcp.close()


def complete(server: ToolServer, definitions: Sequence[Json]) -> tuple[list[Json], frozenset[str]]:
    """What an MCP server listed with those of MCP's own methods that the manifest declares as operations, and the
    names of these. A tool that has such a name is listed twice then, and neither is usable."""
    speaks = server.command or server.python or server.mcp
    ours = frozenset(op for op in server.ops if op in RESERVED) if speaks else frozenset[str]()
    return [*definitions, *(RESERVED[op] for op in sorted(ours))], ours


def parse_request(api: str, request: Json) -> Json:
    """A model request in the words of an API, as its wire reads it. Raises BadInput."""
    if api not in get_args(Api):
        raise BadInput(f"there is no interface {api[:40]!a} of models", code="bad_request",
                       remedy=f"one of {', '.join(get_args(Api))}")
    return wire(cast("Api", api)).parse_request(request)
