"""Where an Envoy ends the TLS: its sockets come and go with launches, and no sidecar gets a listener."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.envoy.front import SAM, front, manifest
from tests.fakes import run

from ringwall.call import LaunchId, SessionId
from ringwall.errors import Unavailable
from ringwall.flow.book import LabelBook
from ringwall.runtime.callers import Place
from ringwall.runtime.peering import Peering
from ringwall.runtime.runs import Tasks
from ringwall.runtime.sessions import Session, Sessions


class Line:
    """A sidecar that takes everything."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def identity(self, svid: Any, launch: str) -> None:
        self.told.append("identity")

    async def dismiss(self, launch: str) -> None:
        self.told.append("dismiss")

    async def gate(self, launch: str, listener: Any) -> None:
        self.told.append("gate")

    async def trust(self, bundles: Any) -> None:
        self.told.append("trust")


class Front:
    """Writes down what it is asked. ``broken``: it cannot open."""

    def __init__(self) -> None:
        self.open_: list[str] = []
        self.broken = False

    async def open(self, place: Place) -> None:
        if self.broken:
            raise Unavailable("there is no room", code="door_failed")
        self.open_.append(place.launch)

    async def close(self, launch: LaunchId) -> None:
        self.open_.remove(launch)


def test_one_launch_of_an_agent_is_in_front_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        settled = manifest(tmp_path)
        agent = settled.tenants["a"].agents["sam"]
        async with front(tmp_path, settled) as made:
            line, before = Line(), Front()
            peering = Peering(
                callers=made.callers, authority=made.authority, sessions=Sessions(),
                book=LabelBook(made.journal), clock=made.clock, tasks=Tasks(_fail), app=_nothing,
                begins=lambda *_: None, front=before)
            peering.serve({"a": line})  # type: ignore[dict-item]
            for name in ("l1", "l2"):
                await peering.add(_session(name), SAM, agent, ())
            assert before.open_ == ["l1"]
            assert peering.status()["listening"] == {str(SAM): {"address": agent.listen, "connections": 0}}
            await peering.remove(LaunchId("l1"))
            assert before.open_ == ["l2"]
            before.broken = True
            await peering.add(_session("l3"), SAM, agent, ())
            await peering.remove(LaunchId("l2"))
            assert before.open_ == []
            assert peering.status()["listening"] == {}
            assert "there is no room" in peering.status()["problems"][agent.listen]
            await peering.close()
            assert "gate" not in line.told

    run(scenario())


def _session(name: str) -> Session:
    return Session(id=SessionId("s" + name), launch=LaunchId(name), tenant="a", agent="sam", context=name, task="")


def _fail(fault: BaseException) -> None:
    raise fault


def _nothing() -> Any:
    raise AssertionError("nobody asks")
