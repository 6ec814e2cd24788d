"""Launches: what becomes of agents that outlived the last core and may not go on."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.fakes import FakeJournal, run, until

from ringwall.manifest.types import Agent, Manifest, Tenant
from ringwall.runtime.children import Inherited
from ringwall.runtime.launch import Launcher
from ringwall.runtime.state import State


class FakeChild(SimpleNamespace):
    """As much of a child as its end needs."""


class FakeChildren:
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def signal(self, child: Any, signum: int) -> None:
        self.told.append(("signal", signum))
        child.ended.set_result(137)

    def forget(self, child: Any) -> None:
        self.told.append(("forget", child.number))


MANIFEST = Manifest(
    version=1, trust_domain="example.org", path=Path("/m.toml"),
    tenants={"acme": Tenant(name="acme", agents={"ana": Agent(name="ana", role="reader")})},
)


@pytest.mark.parametrize(("tenant", "agent", "frozen", "log", "why"), [
    ("acme", "bob", False, "acme", "not_in_manifest"),
    ("gone", "ana", False, "system", "not_in_manifest"),
    ("acme", "ana", True, "acme", "frozen"),
])
@pytest.mark.parametrize("full", [False, True])
def test_an_agent_that_may_not_go_on_is_written_down_killed_and_forgotten(
    tmp_path: Path, tenant: str, agent: str, frozen: bool, log: str, why: str, full: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scenario() -> None:
        children, journal = FakeChildren(), FakeJournal()
        journal.broken = {"note"} if full else set()
        state = State.open(tmp_path / "state")
        meta = {"launch": "l1", "session": "s1", "tenant": tenant, "agent": agent, "context": "/w", "task": "t",
                "confined": True}
        made: Any = Launcher
        launcher = made(
            manifest=MANIFEST, state=state, children=children, registry=None, doors=None, sessions=None,
            journal=journal, known=None, around=None, strength="strong", tallies={}, confine=None,
            end_session=None, standing=None, workload=None, peering=None,
            freezes=SimpleNamespace(killed=lambda *_: frozen), on_fault=faults.append,
        )
        child = FakeChild(number=7, pid=99, ended=asyncio.get_running_loop().create_future())
        held = (*os.pipe(), os.dup(0))
        door = state.door_folder("l1")
        await launcher.take_over(Inherited(child=child, meta=meta, held=held))
        await until(lambda: len(children.told) == 2)
        assert children.told == [("signal", signal.SIGKILL), ("forget", 7)]
        assert not door.exists()
        for number in held:
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(number)
        if full:
            assert journal.of("note") == []
            assert f"{tenant}/{agent}, which may not go on, is not recorded" in capsys.readouterr().err
        else:
            [event] = journal.of("note")
            assert (event.type, event.tenant, event.session) == ("not_taken_over", log, "s1")
            assert (event.body["agent"], event.body["pid"], event.body["why"]) == (agent, 99, why)

    faults: list[BaseException] = []
    run(scenario())
    assert faults == []
