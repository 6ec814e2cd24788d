"""From the manifest's ports to a child's loopback, and from the child's listener to its door."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from tests.fakes import run

from ringwall.call import LaunchId
from ringwall.confine.spec import Loopback
from ringwall.errors import BadInput
from ringwall.manifest.types import Agent
from ringwall.runtime import loopback
from ringwall.runtime.children import Child

LAUNCH = LaunchId("l1")


class Doors:
    """What was opened."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int]] = []

    async def add_tcp(self, launch: LaunchId, sock: socket.socket) -> None:
        self.opened.append((launch, sock.getsockname()[1]))
        sock.close()


@pytest.mark.parametrize(
    ("agent", "found"),
    [
        (Agent(name="a", role="r"), None),
        (Agent(name="a", role="r", door=4000), Loopback(door=4000, inside=0, bind=(), connect=(4000,))),
        (Agent(name="a", role="r", serve=5000),
         Loopback(door=None, inside=loopback.INSIDE, bind=(5000,), connect=())),
        (Agent(name="a", role="r", door=4000, push=6000),
         Loopback(door=4000, inside=loopback.INSIDE, bind=(6000,), connect=(4000,))),
    ],
)  # fmt: skip
def test_ports_of_the_manifest_are_all_that_the_loopback_has(agent: Agent, found: Loopback | None) -> None:
    assert loopback.of_agent(agent) == found


def test_two_uses_of_one_port_are_refused() -> None:
    with pytest.raises(BadInput, match="twice"):
        loopback.of_agent(Agent(name="a", role="r", door=4000, serve=4000))


@pytest.mark.parametrize(
    ("processes", "alone", "opens"),
    [("one", True, True), ("tree", False, True), ("tree", True, True), ("one", False, False)],
)
def test_a_door_is_served_unless_the_manifest_now_allows_one_caller_and_it_can_be_several(
    processes: str, alone: bool, opens: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        doors = Doors()
        agent = Agent(name="ana", role="r", door=4000, processes="tree" if processes == "tree" else "one")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            child = Child(number=1, pid=1, pidfd=-1, pidns=-1, door=os.dup(listener.fileno()),
                          ended=asyncio.get_running_loop().create_future())  # fmt: skip
            await loopback.open_door(doors, LAUNCH, child, agent=agent, alone=alone)  # type: ignore[arg-type]
            assert doors.opened == ([("l1", listener.getsockname()[1])] if opens else [])
            assert child.door is not None
            os.fstat(child.door)  # the child's own copy stays, for the next door
            child.close()

    run(scenario())
    assert ("ana has no door over TCP" in capsys.readouterr().err) is not opens


def test_a_child_without_a_listener_has_no_door_over_tcp() -> None:
    async def scenario() -> None:
        doors = Doors()
        child = Child(number=1, pid=1, pidfd=-1, pidns=-1, ended=asyncio.get_running_loop().create_future())
        agent = Agent(name="ana", role="r", door=4000)
        await loopback.open_door(doors, LAUNCH, child, agent=agent, alone=True)  # type: ignore[arg-type]
        assert doors.opened == []

    run(scenario())
