"""What a process has on 127.0.0.1 of its own network, from its manifest: an agent's door over TCP and its own
servers' ports; a tool server's way out."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from typing import Final

from ringwall.call import LaunchId
from ringwall.confine.spec import Confinement, Loopback
from ringwall.doors.listener import DoorServer
from ringwall.manifest.types import Agent, ToolServer
from ringwall.runtime.children import Child
from ringwall.runtime.views import DOOR_URL

NO_KEY: Final = "ringwall"  # instead of a provider's key; it opens nothing
MCP_URL: Final = "RINGWALL_MCP_URL"
_OF_DOOR: Final = frozenset({
    DOOR_URL, MCP_URL, "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY", "OPENAI_AGENTS_DISABLE_TRACING",
    "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY",
})
OUTLET: Final = 3128  # where a tool server finds its proxy; the usual port of one
INSIDE: Final = 16  # messages and pushes under way to one agent at a time; each costs three processes a descriptor


def of_agent(agent: Agent) -> Loopback | None:
    """Its loopback; None: it listens on nothing and its door is a Unix socket alone."""
    bind = tuple(port for port in (agent.serve, agent.push) if port is not None)
    if agent.door is None and not bind:
        return None
    return Loopback(
        door=agent.door,
        inside=INSIDE if bind else 0,
        bind=bind,
        connect=() if agent.door is None else (agent.door,),
    )


def familiar(agent: Agent) -> dict[str, str]:
    """The variables by which unmodified programs find models and tools: addresses of its door over TCP, and keys
    that are none, because their libraries do not start without."""
    if agent.door is None:
        return {}
    door = f"http://127.0.0.1:{agent.door}"
    return {
        "OPENAI_BASE_URL": f"{door}/openai/v1",
        "OPENAI_API_BASE": f"{door}/openai/v1",  # langchain-openai asks for this one first
        "OPENAI_API_KEY": NO_KEY,
        "OPENAI_AGENTS_DISABLE_TRACING": "1",  # it would post traces to the provider itself, which nobody reaches
        "ANTHROPIC_BASE_URL": f"{door}/anthropic",
        "ANTHROPIC_API_KEY": NO_KEY,
        MCP_URL: f"{door}/mcp",
    }


def with_outlet(spec: Confinement, server: ToolServer) -> Confinement:
    """A tool server's view, with the proxy of its tenant's sidecar on its own 127.0.0.1 where its manifest names
    hosts: the one port it may connect to, and the variables by which programs find it."""
    if not server.reaches:
        return spec
    proxy = f"http://127.0.0.1:{OUTLET}"
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
    return dataclasses.replace(
        spec,
        loopback=Loopback(door=OUTLET, inside=0, bind=(), connect=(OUTLET,)),
        env={**spec.env, **dict.fromkeys(names, proxy)},
    )


def unconfined(spec: Confinement) -> Confinement:
    """The same without any layer. It has the host's network then, where whoever is there could use its door: so it
    has none but the Unix socket, and nobody delivers to its ports."""
    env = {name: value for name, value in spec.env.items() if name not in _OF_DOOR}
    return dataclasses.replace(spec, layers=frozenset(), loopback=None, env=env)


async def open_door(doors: DoorServer, launch: LaunchId, child: Child, *, agent: Agent, alone: bool) -> None:
    """Serve the door over TCP where the process has one.

    Args:
        doors: the agents' doors.
        launch: whose.
        child: its process.
        agent: as the manifest has it now; it may have changed since the process was started.
        alone: the process can start no other.

    Raises:
        Unavailable: it is open already.

    """
    if child.door is None:
        return
    if agent.processes == "one" and not alone:
        print(f"ringwall: {agent.name} has no door over TCP until it is started again: it can start processes, and "
              "the manifest now lets only one call", file=sys.stderr, flush=True)  # fmt: skip
        return
    await doors.add_tcp(launch, socket.socket(fileno=os.dup(child.door)))
