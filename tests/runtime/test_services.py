"""A helper process is started again whenever it ends, and while it is down it is not ready."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence

import pytest
from tests.fakes import run, until

from ringwall.confine.spec import Confinement
from ringwall.errors import ConfinementError, Unavailable
from ringwall.runtime import services as module
from ringwall.runtime.children import Child
from ringwall.runtime.services import LAST_WORDS, LastWords, Service


class FakeChildren:
    """Starts nothing; ``current`` is what would run."""

    def __init__(self) -> None:
        self.current: Child | None = None
        self.spawned = 0
        self.signals: list[int] = []
        self.fault: Exception | None = None
        self.numbers: list[int] = []

    async def spawn(self, spec: Confinement, descriptors: Mapping[int, int]) -> Child:
        self.spawned += 1
        self.numbers = list(descriptors)
        if self.fault is not None:
            raise self.fault
        os.write(descriptors[2], b"its last \x1b[2Jwords")
        self.current = Child(number=1, pid=9, pidfd=-1, pidns=-1, ended=asyncio.get_running_loop().create_future())
        return self.current

    async def go(self, child: Child) -> None:
        return None

    def signal(self, child: Child, signum: int) -> None:
        self.signals.append(signum)
        child.ended.set_result(128 + signum)


class Bench:
    def __init__(self) -> None:
        self.children = FakeChildren()
        self.reports: list[tuple[str, str]] = []
        self.connected: list[Sequence[socket.socket]] = []
        self.fault: Exception | None = None
        self.service = Service(
            name="guard", children=self.children, spec=lambda: None,  # type: ignore[arg-type, return-value]
            sockets=[socket.SOCK_STREAM, socket.SOCK_SEQPACKET], connect=self._connect, report=self._report,
        )

    async def _connect(self, sockets: Sequence[socket.socket]) -> None:
        self.connected.append(sockets)
        for sock in sockets:
            sock.close()
        if self.fault is not None:
            raise self.fault

    async def _report(self, name: str, what: str) -> None:
        self.reports.append((name, what))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACK_OFF", (0.0,))


def test_it_is_ready_while_it_runs_and_starts_again_when_it_ends() -> None:
    async def scenario() -> None:
        bench = Bench()
        running = asyncio.create_task(bench.service.run())
        await bench.service.ready.wait()
        assert bench.children.numbers == [2, 3, 4]
        assert bench.service.restarts == 0
        first = bench.children.current
        assert first is not None
        first.ended.set_result(1)
        await until(lambda: not bench.service.ready.is_set())
        await bench.service.ready.wait()
        assert (bench.service.restarts, bench.children.spawned) == (1, 2)
        assert bench.reports == [("guard", "ended with status 1")]
        bench.service.stop()
        await running
        assert bench.children.signals == [signal.SIGKILL]
        assert not bench.service.ready.is_set()

    run(scenario())


def test_one_that_cannot_start_is_reported_and_tried_again() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.children.fault = ConfinementError("no namespaces", code="no_userns")
        running = asyncio.create_task(bench.service.run())
        await until(lambda: len(bench.reports) > 2)
        assert not bench.service.ready.is_set()
        assert "no_userns" in bench.service.fault
        bench.service.stop()
        await running

    run(scenario())


def test_one_that_is_not_as_it_must_be_is_killed() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.fault = Unavailable("it says nothing")
        running = asyncio.create_task(bench.service.run())
        await until(lambda: bench.reports)
        assert bench.children.signals[0] == signal.SIGKILL
        assert not bench.service.ready.is_set()
        bench.service.stop()
        await running

    run(scenario())


def test_the_back_off_grows_to_its_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACK_OFF", (0.0, 0.01, 0.02))
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    async def scenario() -> None:
        monkeypatch.setattr(module.asyncio, "sleep", noted)
        bench = Bench()
        bench.children.fault = ConfinementError("no")
        running = asyncio.create_task(bench.service.run())
        while len(pauses) < 4:
            await sleep(0)
        bench.service.stop()
        await running

    run(scenario())
    assert pauses[:4] == [0.01, 0.02, 0.02, 0.02]


def test_last_words_are_filtered_and_short() -> None:
    async def scenario() -> None:
        words = LastWords()
        number = await words.open()
        os.write(number, b"x" * (LAST_WORDS + 100) + b"\x1b[2Jthe end")
        os.close(number)
        await until(lambda: words.text.endswith("the end"))
        assert len(words.text) == LAST_WORDS
        assert "\x1b" not in words.text
        await asyncio.sleep(0)

    run(scenario())
