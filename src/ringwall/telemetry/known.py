"""What the manifest names: the only tools, models and peers that a span is called after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringwall.manifest.types import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """``tools``: each operation, and whether its server speaks MCP; ``models``: each with its wire; ``agents``:
    agents and remotes that messages name."""

    tools: Mapping[str, bool]
    models: Mapping[str, str]
    agents: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> Known:
        """Whoever was granted a tool that is not declared is told so elsewhere."""
        tools = {
            f"{server.name}/{op}": bool(server.command or server.python or server.mcp)
            for server in manifest.tools.values() for op in server.ops
        }
        agents = {agent for tenant in manifest.tenants.values() for agent in tenant.agents}
        agents |= {f"{tenant}/{agent}" for tenant, found in manifest.tenants.items() for agent in found.agents}
        return cls(
            tools=tools,
            models={name: model.wire for name, model in manifest.models.items()},
            agents=frozenset({*agents, *manifest.peers}),
        )
