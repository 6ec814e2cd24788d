"""Other gateways as shipped, before the same MCP server and the same model: LiteLLM, ContextForge, fastmcp's proxy.

Each is started with one worker, as its own command does it, in an environment of its own: the folder that
``RINGWALL_RIVALS_LITELLM``, ``RINGWALL_RIVALS_CONTEXTFORGE`` or ``RINGWALL_RIVALS_FASTMCP`` names, with ``bin/``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

import stack

RIVALS: Final = {"litellm": "litellm", "contextforge": "mcp-contextforge-gateway", "fastmcp": "fastmcp"}  # packages
KEY: Final = "sk-bench-0123456789abcdef"
START_S: Final = 120.0  # LiteLLM and ContextForge import for half a minute on a busy machine
SETTINGS: Final = {
    "litellm": "1 worker, master key, no database, --telemetry False",
    "contextforge": "1 worker, SQLite, SSRF_ALLOW_LOCALHOST, SSRF_ALLOW_PRIVATE_NETWORKS, no rate limit",
    "fastmcp": "fastmcp run URL --transport http",
}
_LITELLM: Final = """
model_list:
  - model_name: main
    litellm_params: {{model: openai/main, api_base: "{model}", api_key: none}}
mcp_servers:
  bench: {{url: "{tool}", transport: "http"}}
general_settings: {{master_key: {key}}}
"""


def folder_of(name: str) -> Path:
    return Path(os.environ.get(f"RINGWALL_RIVALS_{name.upper()}", ""))


def missing() -> dict[str, str]:
    """Rivals that are not on this machine, and why."""
    return {name: f"RINGWALL_RIVALS_{name.upper()} names no environment with {package}"
            for name, package in RIVALS.items() if not (folder_of(name) / "bin" / "python").is_file()}


def versions() -> dict[str, str]:
    """Of those that are there."""
    absent, found = missing(), dict[str, str]()
    for name, package in RIVALS.items():
        if name not in absent:
            asked = f"from importlib.metadata import version; print(version({package!r}))"
            done = subprocess.run((folder_of(name) / "bin" / "python", "-c", asked), capture_output=True, text=True,
                                  check=True)
            found[name] = done.stdout.strip()
    return found


@contextlib.contextmanager
def running(name: str, folder: Path, tool: str, model: str) -> Generator[dict[str, dict[str, Any]]]:
    """One of them; where its MCP (and its chat) is, as arguments of ``gateway_load.Target``."""
    port = stack.free_port()
    start = {"litellm": _litellm, "contextforge": _contextforge, "fastmcp": _fastmcp}[name]
    command, environment = start(folder, port, tool, model)
    with stack.silent(command, port, folder / f"{name}.log", environment=environment, cwd=folder,
                      seconds=START_S):
        if name == "litellm":
            key = {"x-litellm-api-key": f"Bearer {KEY}"}
            yield {"mcp": {"address": port, "route": "/mcp/", "headers": key},
                   "chat": {"address": port, "route": "/v1/chat/completions",
                            "headers": {"Authorization": f"Bearer {KEY}"}}}
        elif name == "contextforge":
            yield {"mcp": _registered(port, tool, environment)}
        else:
            yield {"mcp": {"address": port, "route": "/mcp", "headers": {}}}


Started = tuple[tuple[str, ...], Mapping[str, str]]


def _litellm(folder: Path, port: int, tool: str, model: str) -> Started:
    config = folder / "litellm.yaml"
    config.write_text(_LITELLM.format(tool=tool, model=model, key=KEY))
    command = (str(folder_of("litellm") / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1",
               "--port", str(port), "--telemetry", "False")
    return command, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it asks the network


def _contextforge(folder: Path, port: int, tool: str, model: str) -> Started:
    # It refuses to start without secrets of its own; on the loopback, as a test needs them.
    environment = {
        "DATABASE_URL": f"sqlite:///{folder}/contextforge.db", "JWT_SECRET_KEY": f"{KEY}-of-tokens",
        "AUTH_ENCRYPTION_SECRET": f"{KEY}-of-secrets", "BASIC_AUTH_PASSWORD": f"{KEY}-B",
        "PLATFORM_ADMIN_PASSWORD": f"{KEY}-P", "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true", "RATE_LIMITING_ENABLED": "false",
    }
    command = (str(folder_of("contextforge") / "bin" / "mcpgateway"), "mcpgateway.main:app", "--host", "127.0.0.1",
               "--port", str(port))
    return command, environment


def _fastmcp(folder: Path, port: int, tool: str, model: str) -> Started:
    command = (str(folder_of("fastmcp") / "bin" / "fastmcp"), "run", tool, "--transport", "http", "--host",
               "127.0.0.1", "--port", str(port), "--no-banner")
    return command, {"FASTMCP_CHECK_FOR_UPDATES": "off"}


def _registered(port: int, tool: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """ContextForge is told of the server behind it, and makes one before it."""
    made = subprocess.run(
        (folder_of("contextforge") / "bin" / "python", "-m", "mcpgateway.utils.create_jwt_token", "--username",
         "admin@example.com", "--admin"),
        env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    bearer = {"Authorization": f"Bearer {made.stdout.split()[-1]}"}

    def ask(path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body),
                           {**bearer, "Content-Type": "application/json"})
        answer = connection.getresponse()
        raw = answer.read()
        if answer.status >= 300:
            sys.exit(f"contextforge refused {path}: {raw[:500]!r}")
        return json.loads(raw)

    ask("/gateways", {"name": "bench", "url": tool, "transport": "STREAMABLEHTTP"})
    tools = [found["id"] for found in ask("/tools")]
    server = ask("/servers", {"server": {"name": "bench", "associated_tools": tools}})
    return {"address": port, "route": f"/servers/{server['id']}/mcp/", "headers": bearer}
