"""Keeps one tool server running, in the core: started on first use, started again with back-off when lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from ringwall.call import Json
from ringwall.clock import Clock
from ringwall.errors import RingwallError, Unavailable
from ringwall.tools.protocol import Attach

FIRST_PAUSE_S: Final = 0.5  # before the second start in a row; doubled each time
MAX_PAUSE_S: Final = 30.0
STEADY_S: Final = 10.0  # a server that ran this long is not failing to start

Spawn: TypeAlias = Callable[[str], Awaitable[tuple[int, ...]]]
"""Start a server, confined: name -> (descriptor to write to it, descriptor to read from it), both ours then;
where it has an outlet, also the socket that listens in its network.
Must end an earlier process of the same server first. Raises RingwallError or OSError."""
Verify: TypeAlias = Callable[[str, Sequence[Json]], None]
"""Compare a server's definitions with the pinned ones. Raises RingwallError if they may not be used."""


class Keeper:
    """One server. ``started`` and ``ready`` share one attempt among all who wait.

    Args:
        name: the server.
        spawn: starts its process.
        hand_over: passes its pipes to the sidecar and closes them here.
        listing: asks the running server for its definitions.
        verify: refuses definitions that are not the pinned ones.
        clock: for back-off.
        start_s: seconds a start may take.

    """

    def __init__(
        self,
        *,
        name: str,
        spawn: Spawn,
        hand_over: Callable[[Attach, Sequence[int]], None],
        listing: Callable[[str], Awaitable[list[Json]]],
        verify: Verify,
        clock: Clock,
        start_s: float,
    ) -> None:
        self._name = name
        self._spawn = spawn
        self._hand_over = hand_over
        self._listing = listing
        self._verify = verify
        self._clock = clock
        self._start_s = start_s
        self._generation = 0
        self._handshake: asyncio.Future[None] | None = None
        self._up = False
        self._verified = False
        self._since = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._starting: asyncio.Task[None] | None = None
        self._verifying: asyncio.Task[None] | None = None

    async def started(self) -> None:
        """Return when the server has shaken hands. Raises Unavailable: nothing was sent."""
        while not self._up:
            if self._starting is None:
                self._starting = _watched(self._start())
                self._starting.add_done_callback(lambda _: self._forget("_starting"))
            await asyncio.shield(self._starting)

    async def ready(self) -> None:
        """Return when the server runs with the pinned definitions. Raises Unavailable: nothing was sent."""
        await self.started()
        while not self._verified:
            if self._verifying is None:
                self._verifying = _watched(self._check())
                self._verifying.add_done_callback(lambda _: self._forget("_verifying"))
            await asyncio.shield(self._verifying)

    def shook_hands(self, generation: int) -> None:
        """The sidecar says Ready."""
        if generation == self._generation and self._handshake is not None and not self._handshake.done():
            self._handshake.set_result(None)

    def lost(self, generation: int) -> None:
        """The sidecar says Lost; old news is ignored."""
        if generation != self._generation:
            return
        if self._up:
            if self._clock.monotonic() - self._since >= STEADY_S:
                self._failures = 0
            self._failed()
        self._down(Unavailable(f"tool server {self._name} ended while it was started", code="server_not_started"))

    def changed(self, generation: int) -> None:
        """The server says that its definitions changed: they are compared again before the next call."""
        if generation == self._generation:
            self._verified = False

    def sidecar_lost(self) -> None:
        """The sidecar is gone and its ends of the pipes with it; no failure of the server."""
        self._down(Unavailable("the tenant's sidecar is gone", code="sidecar_unavailable"))

    def _down(self, why: Unavailable) -> None:
        self._up = self._verified = False
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(why)

    def _failed(self) -> None:
        self._failures += 1
        pause = 0.0 if self._failures == 1 else min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self._failures - 2))
        self._not_before = self._clock.monotonic() + pause

    async def _start(self) -> None:
        wait = self._not_before - self._clock.monotonic()
        if wait > 0:
            raise Unavailable(
                f"tool server {self._name} keeps ending; it is started again in {wait:.1f} s",
                code="server_restarting",
                remedy="try again later",
            )
        self._generation += 1
        self._handshake = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._start_s):
                pipes = await self._spawn(self._name)
                self._hand_over(Attach(server=self._name, generation=self._generation), pipes)
                await self._handshake
        except TimeoutError:
            self._failed()
            raise Unavailable(
                f"tool server {self._name} did not shake hands within {self._start_s} s", code="server_not_started"
            ) from None
        except (RingwallError, OSError) as fault:
            self._failed()
            code = fault.code if isinstance(fault, RingwallError) else "server_not_started"
            raise Unavailable(f"tool server {self._name} cannot be started: {fault}", code=code) from fault
        finally:
            self._handshake = None
        self._up, self._since = True, self._clock.monotonic()

    async def _check(self) -> None:
        generation = self._generation
        definitions = await self._listing(self._name)
        try:
            self._verify(self._name, definitions)
        except RingwallError as fault:
            raise Unavailable(
                f"tool server {self._name}: {fault.cause}", code=fault.code, remedy=fault.remedy
            ) from fault
        if not self._up or generation != self._generation:
            raise Unavailable(
                f"tool server {self._name} ended while its definitions were compared", code="server_lost"
            )
        self._verified = True

    def _forget(self, which: str) -> None:
        setattr(self, which, None)


def _watched(work: Awaitable[None]) -> asyncio.Task[None]:
    """A task whose fault is not reported as lost when everybody who waited has gone."""

    async def run() -> None:
        await work

    task = asyncio.create_task(run())
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)
    return task
