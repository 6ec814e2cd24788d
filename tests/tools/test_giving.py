"""Credentials on their way to workers: to the one they are for, once, and taken back when they end."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.fakes import run, until

from ringwall.errors import Unavailable
from ringwall.tools.giving import Giving
from ringwall.vault.interface import Credential
from ringwall.wire.frames import Framer


class Worker:
    """The other end of one descriptor."""

    def __init__(self, number: int) -> None:
        self.sock = socket.socket(fileno=number)
        self.sock.setblocking(False)
        self._framer = Framer()
        self.told: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        try:
            while data := self.sock.recv(1 << 16):
                self.told += [json.loads(raw) for raw in self._framer.feed(data)]
        except BlockingIOError:
            pass
        return self.told


def credential(lease: str, ends: float = 900.0) -> Credential:
    return Credential(lease=lease, secret="cloud", expires_at=ends, values={"key": f"value-of-{lease}"})


class Line:
    """A giver with the workers that were started."""

    def __init__(self) -> None:
        self.giving = Giving()
        self.workers: list[Worker] = []

    async def start(self, tenant: str) -> Worker:
        self.workers.append(Worker(await self.giving.open(tenant, "store")))
        return self.workers[-1]


def scenario(steps: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        line = Line()
        try:
            await steps(line)
        finally:
            for tenant in ("acme", "zeta"):
                line.giving.close(tenant, "store")
            for worker in line.workers:
                worker.sock.close()

    run(whole())


def test_a_worker_is_given_a_credential_once_and_again_when_it_was_renewed() -> None:
    async def steps(line: Line) -> None:
        giving = line.giving
        worker = await line.start("acme")
        for one in (credential("a"), credential("a"), credential("a", 950.0)):
            assert giving.give("acme", "store", one) == "a"
        await until(lambda: len(worker.read()) == 2)
        assert [(one["give"], one["expires_at"]) for one in worker.told] == [("a", 900.0), ("a", 950.0)]
        assert worker.told[0]["values"] == {"key": "value-of-a"}

    scenario(steps)


def test_only_who_was_given_it_is_told_to_forget_it() -> None:
    async def steps(line: Line) -> None:
        giving = line.giving
        store, other = await line.start("acme"), await line.start("zeta")
        giving.give("acme", "store", credential("a"))
        giving.drop("a")
        giving.drop("a")
        giving.drop("never-given")
        await until(lambda: len(store.read()) == 2)
        assert store.told[1] == {"drop": "a"}
        assert other.read() == []

    scenario(steps)


def test_a_worker_that_is_started_again_knows_nothing_of_before() -> None:
    async def steps(line: Line) -> None:
        giving = line.giving
        before = await line.start("acme")
        giving.give("acme", "store", credential("a"))
        after = await line.start("acme")
        giving.give("acme", "store", credential("a"))
        await until(lambda: len(after.read()) == 1)
        assert after.told[0]["give"] == "a"
        before.read()
        assert before.sock.recv(1) == b""  # its end of the line is closed

    scenario(steps)


def test_without_a_worker_nothing_is_given() -> None:
    async def steps(line: Line) -> None:
        giving = line.giving
        with pytest.raises(Unavailable) as gone:
            giving.give("acme", "store", credential("a"))
        assert gone.value.code == "server_gone"
        os.close(await giving.open("acme", "store"))
        giving.close("acme", "store")
        with pytest.raises(Unavailable):
            giving.give("acme", "store", credential("a"))
        giving.drop("a")

    scenario(steps)


def test_a_worker_that_reads_nothing_is_cut_off() -> None:
    async def steps(line: Line) -> None:
        giving = line.giving
        await line.start("acme")
        with pytest.raises(Unavailable, match="does not take"):
            for number in range(10_000):
                giving.give("acme", "store", Credential(lease=str(number), secret="s", expires_at=1.0,
                                                        values={"v": "x" * 4096}))
        with pytest.raises(Unavailable, match="ended"):
            giving.give("acme", "store", credential("a"))

    scenario(steps)
