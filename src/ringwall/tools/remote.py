"""An MCP server elsewhere, as the core keeps it: nothing to start, but definitions to hold to the pinned ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from ringwall.call import Json
from ringwall.clock import Clock
from ringwall.errors import RingwallError, Unavailable
from ringwall.tools.keeper import Verify

LISTED_S: Final = 60.0  # a server that is asked over HTTP may have no way to say that its definitions changed

Listing: TypeAlias = Callable[[str, Mapping[str, str]], Awaitable[list[Json]]]
"""Asks a server for its definitions, with these headers. Raises Unavailable."""


class RemoteKeeper:
    """One server. Its definitions are compared before its first call, when it says that they changed, when a call
    fails as if they had, and when LISTED_S have passed.

    Args:
        name: the server.
        listing: asks it.
        verify: refuses definitions that are not the pinned ones.
        clock: for LISTED_S.

    """

    def __init__(self, *, name: str, listing: Listing, verify: Verify, clock: Clock) -> None:
        self._name = name
        self._listing = listing
        self._verify = verify
        self._clock = clock
        self._listed: float | None = None
        self._changes = 0
        self._one = asyncio.Lock()

    async def ready(self, headers: Mapping[str, str]) -> None:
        """Return when the definitions are known to be the pinned ones. Raises Unavailable: nothing was sent."""
        while not self._fresh():
            async with self._one:
                if not self._fresh():
                    await self._check(headers)

    def changed(self) -> None:
        """The server says, or shows, that its definitions changed."""
        self._changes += 1
        self._listed = None

    def _fresh(self) -> bool:
        return self._listed is not None and self._clock.monotonic() - self._listed < LISTED_S

    async def _check(self, headers: Mapping[str, str]) -> None:
        began, changes = self._clock.monotonic(), self._changes
        definitions = await self._listing(self._name, headers)
        try:
            self._verify(self._name, definitions)
        except RingwallError as fault:
            raise Unavailable(
                f"tool server {self._name}: {fault.cause}", code=fault.code, remedy=fault.remedy
            ) from fault
        if changes == self._changes:
            self._listed = began
