"""All tool servers of one tenant, in the core: what is started, what is elsewhere, what the sidecar says of them.

The sidecar may be taken over: news that no honest one would tell, or too much of it, end the link.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.tools.keeper import Keeper, Spawn, Verify
from ringwall.tools.protocol import Attach, Changed, Lost, News, Outlet, OutletRefused, Passed, Ready, ServerConfig
from ringwall.tools.remote import Listing, RemoteKeeper

NEWS: Final = 64  # frames about servers, beyond those that starts and listings explain
REFUSED: Final = 16  # frames about refusals of one server's outlet at once
REFUSED_S: Final = 1.0  # seconds until there may be another: an honest sidecar gathers them for ten


class Keepers:
    """A keeper for each server.

    Args:
        servers: as in the hello.
        spawn: starts a server, confined.
        pass_on: passes descriptors to the sidecar; raises Unavailable.
        gone: told when a server is gone, and what it worked on with it.
        listing: asks a server for its definitions.
        verify: refuses definitions that are not the pinned ones.
        refused: told what a server's outlet refused.
        clock: for back-off.
        start_s: seconds a start may take.

    """

    def __init__(
        self,
        servers: Mapping[str, ServerConfig],
        *,
        spawn: Spawn,
        pass_on: Callable[[Passed, Sequence[int]], None],
        gone: Callable[[str], None],
        listing: Listing,
        verify: Verify,
        refused: Callable[[OutletRefused], None],
        clock: Clock,
        start_s: float,
    ) -> None:
        self._servers = servers
        self._pass_on = pass_on
        self._gone = gone
        self._refused = refused
        self._clock = clock
        self._news = NEWS  # how many more frames about servers the sidecar may send
        self._refusals: dict[str, float] = {}  # when the next frame about each one's outlet would be on time
        self.pipes = {
            name: Keeper(
                name=name,
                spawn=spawn,
                hand_over=self._hand_over,
                listing=lambda server: listing(server, {}),
                verify=verify,
                clock=clock,
                start_s=start_s,
            )
            for name, server in servers.items()
            if not server.builtin and server.kind == "pipes"
        }
        """Those that are started."""
        self._remote = {
            name: RemoteKeeper(name=name, listing=listing, verify=verify, clock=clock)
            for name, server in servers.items()
            if not server.builtin and server.kind == "mcp"
        }

    async def started(self, server: str) -> None:
        """Return when the server can be asked. Raises Unavailable: nothing was sent."""
        keeper = self.pipes.get(server)
        if keeper is not None:
            await keeper.started()

    async def ready(self, server: str, headers: Mapping[str, str]) -> None:
        """The same, when its definitions are the pinned ones, too."""
        keeper, remote = self.pipes.get(server), self._remote.get(server)
        if keeper is not None:
            await keeper.ready()
        elif remote is not None:
            await remote.ready(headers)

    async def compare(self, server: str, headers: Mapping[str, str]) -> None:
        """``ready``, with definitions that are listed anew where the server is asked over HTTP."""
        remote = self._remote.get(server)
        if remote is not None:
            remote.changed()
        await self.ready(server, headers)

    def asked(self) -> None:
        """A server is asked for its definitions: it may change them once more."""
        self._news += 1

    def fresh(self) -> None:
        """A fresh sidecar is there."""
        self._news = NEWS

    def lost(self) -> None:
        """The sidecar is gone, and its ends of the pipes with it."""
        for keeper in self.pipes.values():
            keeper.sidecar_lost()
        for remote in self._remote.values():
            remote.changed()

    def hear(self, message: News) -> None:
        """News of a server. Raises BadInput for what no honest sidecar sends."""
        if isinstance(message, OutletRefused):
            self._hear_refused(message)
            return
        self._news -= 1
        if self._news < 0:
            raise BadInput("the sidecar tells more news of its servers than there can be", code="bad_frame")
        keeper, remote = self.pipes.get(message.server), self._remote.get(message.server)
        if keeper is not None:
            self._hear_of(keeper, message)
        elif remote is not None and isinstance(message, Changed):
            remote.changed()
        else:
            raise BadInput("the sidecar speaks of a server it was never given", code="bad_frame")

    def _hear_of(self, keeper: Keeper, message: Ready | Lost | Changed) -> None:
        match message:
            case Ready():
                keeper.shook_hands(message.generation)
            case Lost():
                keeper.lost(message.generation)
                self._gone(message.server)
            case Changed():
                keeper.changed(message.generation)

    def _hear_refused(self, message: OutletRefused) -> None:
        server = self._servers.get(message.server)
        now = self._clock.monotonic()
        due = max(self._refusals.get(message.server, now), now) + REFUSED_S
        if server is None or not server.network or due - now > REFUSED * REFUSED_S:
            raise BadInput("the sidecar tells of an outlet that was never given, or too much", code="bad_frame")
        self._refusals[message.server] = due
        self._refused(message)

    def _hand_over(self, message: Attach, descriptors: Sequence[int]) -> None:
        """Pass a server's pipes, and its outlet if it has one. Ours are closed in any case. Raises Unavailable."""
        self._news += 3  # it gets ready, changes, is lost
        try:
            if len(descriptors) > 2:
                self._pass_on(Outlet(server=message.server, generation=message.generation), descriptors[2:])
            self._pass_on(message, descriptors[:2])
        finally:
            for number in descriptors:
                os.close(number)
