"""What an agent has on 127.0.0.1 of its own network, from its manifest: a door over TCP, its own servers' ports."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from typing import Final

from ringwall.call import LaunchId
from ringwall.confine.spec import Confinement, Loopback
from ringwall.doors.listener import DoorServer
from ringwall.manifest.types import Agent
from ringwall.runtime.children import Child
from ringwall.runtime.views import DOOR_URL

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


def unconfined(spec: Confinement) -> Confinement:
    """The same without any layer. It has the host's network then, where whoever is there could use its door: so it
    has none but the Unix socket, and nobody delivers to its ports."""
    env = {name: value for name, value in spec.env.items() if name != DOOR_URL}
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
