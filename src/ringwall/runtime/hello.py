"""What a tenant's sidecar is told first: the tool servers and model upstreams that its roles were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ringwall.manifest.types import Manifest, ToolServer
from ringwall.tools.mcp_ops import ANSWERS
from ringwall.tools.protocol import Hello, ModelConfig, ServerConfig


def hello(manifest: Manifest, tenant: str) -> Hello:
    """The first frame for the sidecar of a tenant."""
    models = {name.partition("/")[0] for role in manifest.tenants[tenant].roles.values() for name in role.models}
    return Hello(
        tenant=tenant,
        servers={one.name: _server(one) for one in manifest.tools.values() if used(manifest, tenant, one.name)},
        models={name: _model(manifest, name) for name in models},
    )


def used(manifest: Manifest, tenant: str, server: str) -> bool:
    """Whether any role of this tenant was given something of this server."""
    return any(
        tool.split("/", 1)[0] == server for role in manifest.tenants[tenant].roles.values() for tool in role.tools
    )


def _model(manifest: Manifest, name: str) -> ModelConfig:
    model = manifest.models[name]
    return ModelConfig(url=model.url, wire=model.wire, read_s=float(model.timeout_s), retries=model.retries)


def _server(server: ToolServer) -> ServerConfig:
    builtins: Mapping[str, Literal["", "echo"]] = {"": "", "echo": "echo"}
    kind: Literal["pipes", "mcp", "http"] = "mcp" if server.mcp else "http" if server.outward else "pipes"
    tokens = (server.oauth.token_url,) if server.oauth else ()
    return ServerConfig(
        builtin=builtins.get(server.builtin, ""),
        kind=kind,
        url=server.mcp,
        prefixes=(*server.http, *((server.url + "/",) if server.url else ()), *tokens),
        private=server.private,
        network=server.reaches,
        asks=tuple(ask for op, ask in ANSWERS.items() if op in server.ops),
        max_bytes=server.max_bytes,
        timeout_s=float(server.timeout_s),
    )
