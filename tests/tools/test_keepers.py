"""What the core believes of a sidecar's news, and when it asks a server elsewhere for its definitions again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

import pytest
from tests.fakes import FakeClock

from ringwall.call import Json
from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.tools.keepers import NEWS, REFUSED, REFUSED_S, Keepers
from ringwall.tools.protocol import Attach, Changed, Lost, Outlet, OutletRefused, Passed, Ready, ServerConfig
from ringwall.tools.remote import LISTED_S

SERVERS = {
    "far": ServerConfig(kind="mcp", url="https://far.test/mcp"),
    "near": ServerConfig(network=("files.test:443",)),
    "alone": ServerConfig(),
}


class Bench:
    """Keepers whose surroundings are lists."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.listed: list[tuple[str, dict[str, str]]] = []
        self.refused: list[OutletRefused] = []
        self.passed: list[Passed] = []
        self.wrong = ""
        self.meanwhile = lambda: None
        self.keepers = Keepers(
            SERVERS, spawn=self.spawn, pass_on=lambda message, _: self.passed.append(message), gone=lambda _: None,
            listing=self.listing, verify=self.verify, refused=self.refused.append, clock=self.clock, start_s=5,
        )

    async def spawn(self, name: str) -> tuple[int, ...]:
        raise AssertionError(name)

    async def listing(self, name: str, headers: Mapping[str, str]) -> list[Json]:
        self.listed.append((name, dict(headers)))
        await asyncio.sleep(0)
        self.meanwhile()
        return []

    def verify(self, _name: str, _definitions: Sequence[Json]) -> None:
        if self.wrong:
            raise RingwallError("changed", code=self.wrong)


def test_a_server_elsewhere_is_compared_at_first_when_it_changes_and_after_a_while() -> None:
    async def run() -> None:
        bench = Bench()
        await asyncio.gather(*(bench.keepers.ready("far", {"A": "b"}) for _ in range(5)))
        assert bench.listed == [("far", {"A": "b"})]
        bench.keepers.hear(Changed(server="far", generation=1))
        await bench.keepers.ready("far", {})
        bench.clock.seconds += LISTED_S
        await bench.keepers.ready("far", {})
        bench.keepers.lost()
        await bench.keepers.ready("far", {})
        await bench.keepers.ready("far", {})
        assert len(bench.listed) == 4

    asyncio.run(run())


def test_definitions_that_are_not_the_pinned_ones_refuse_every_call_until_they_are() -> None:
    async def run() -> None:
        bench = Bench()
        bench.wrong = "definition_changed"
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await bench.keepers.ready("far", {})
            assert caught.value.code == "definition_changed"
        bench.wrong = ""
        await bench.keepers.ready("far", {})
        assert len(bench.listed) == 3

    asyncio.run(run())


def test_a_change_while_they_are_compared_has_them_compared_again() -> None:
    async def run() -> None:
        bench = Bench()

        def once() -> None:
            bench.meanwhile = lambda: None
            bench.keepers.hear(Changed(server="far", generation=1))

        bench.meanwhile = once
        await bench.keepers.ready("far", {})
        assert len(bench.listed) == 2

    asyncio.run(run())


@pytest.mark.parametrize("news", [
    Ready(server="far", generation=1), Lost(server="far", generation=1), Changed(server="none", generation=1),
    OutletRefused(server="alone", code="not_listed", count=1),
    OutletRefused(server="none", code="not_listed", count=1),
    OutletRefused(server="far", code="not_listed", count=1),
])
def test_news_that_no_honest_sidecar_tells_are_refused(news: Ready | Lost | Changed | OutletRefused) -> None:
    with pytest.raises(BadInput):
        Bench().keepers.hear(news)


def test_news_and_refusals_are_bounded() -> None:
    bench = Bench()
    said = OutletRefused(server="near", code="not_listed", count=3)
    for _ in range(REFUSED):
        bench.keepers.hear(said)
    with pytest.raises(BadInput):
        bench.keepers.hear(said)
    bench.clock.seconds += REFUSED_S
    bench.keepers.hear(said)
    assert bench.refused == [said] * (REFUSED + 1)
    for _ in range(NEWS):
        bench.keepers.hear(Changed(server="far", generation=1))
    with pytest.raises(BadInput):
        bench.keepers.hear(Changed(server="far", generation=1))


def test_an_outlet_is_passed_before_the_pipes_of_the_same_start() -> None:
    async def run() -> None:
        bench = Bench()
        made: list[int] = []

        async def spawn(_name: str) -> tuple[int, ...]:
            made.extend((*os.pipe(), os.dup(0)))
            return tuple(made)

        both = asyncio.Event()

        def pass_on(message: Passed, _descriptors: Sequence[int]) -> None:
            bench.passed.append(message)
            if len(bench.passed) == 2:
                both.set()

        keepers = Keepers(
            SERVERS, spawn=spawn, pass_on=pass_on, gone=lambda _: None,
            listing=bench.listing, verify=bench.verify, refused=bench.refused.append, clock=bench.clock, start_s=5,
        )
        start = asyncio.create_task(keepers.started("near"))
        await both.wait()
        keepers.hear(Ready(server="near", generation=1))
        await start
        assert bench.passed == [Outlet(server="near", generation=1), Attach(server="near", generation=1)]
        for number in made:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)

    asyncio.run(run())
