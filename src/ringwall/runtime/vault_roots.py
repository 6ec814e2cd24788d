"""The vault's root key: opened or made with what operators bring, which no call carries and no record has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringwall.call import Json, Operator
from ringwall.clock import Clock
from ringwall.errors import RingwallError, Unavailable
from ringwall.keys.interface import RootKeys, RootSource
from ringwall.runtime.uploads import Uploads
from ringwall.vault.embedded import EmbeddedVault

COLLECT_S: Final = 900.0  # between the first share and the last: people have to be found
MAX_SHARES: Final = 64  # pieces of text that may be brought at once
MAX_GENERATIONS: Final = 1000  # that are looked through for one that no root key was ever kept under


@dataclass(slots=True, kw_only=True)
class _Collected:
    """Shares that were brought one by one, until ``until`` (monotonic)."""

    shares: list[bytes]
    until: float


class Roots:
    """Opens and makes root keys. Disks, tokens and key services take their time: all of it off the event loop.

    Args:
        vault: says which generation it needs.
        source: keeps root keys.
        uploads: what operators bring, and what they are shown.
        clock: for shares that wait for the others.
        threshold: how many shares open the vault.

    """

    def __init__(
        self, *, vault: EmbeddedVault, source: RootSource, uploads: Uploads, clock: Clock, threshold: int
    ) -> None:
        self._vault = vault
        self._source = source
        self._uploads = uploads
        self._clock = clock
        self.threshold = threshold
        self._collected = _Collected(shares=[], until=0.0)

    async def open(self, answers: Sequence[bytes], generation: int = 0) -> RootKeys:
        """The root of a generation; 0: of the vault's. Raises as ``RootSource.open``."""
        number = generation or self._vault.generation
        return await asyncio.to_thread(self._source.open, number, answers)

    async def new(
        self, generation: int, answers: Sequence[bytes]
    ) -> tuple[int, RootKeys, tuple[str, ...]]:
        """A new root under the first generation that nothing is kept under. What a crash left is never overwritten:
        it may be the root of a vault whose file is elsewhere."""
        for number in range(generation, generation + MAX_GENERATIONS):
            try:
                root, shown = await asyncio.to_thread(self._source.create, number, answers)
            except RingwallError as fault:
                if fault.code != "root_key_exists":
                    raise
            else:
                return number, root, shown
        raise Unavailable("no generation is free for another root key", code="root_key_exists",
                          remedy="remove root keys of vaults that there are no more: docs/root-keys.md")

    async def collect(self, brought: Sequence[bytes]) -> RootKeys | None:
        """Shares come one by one, from several people: the root, or None while some are missing.

        Raises:
            RingwallError: a share is damaged or another vault's: it is forgotten, the others stay. If only all of
                them together are wrong, all are forgotten.

        """
        before = self.shares()
        everything = list(dict.fromkeys([*before, *brought]))[:MAX_SHARES]
        try:
            root = await self.open(everything)
        except Unavailable as fault:
            if fault.code != "root_key_sealed":
                raise
            self._collected = _Collected(shares=everything, until=self._clock.monotonic() + COLLECT_S)
            return None
        except RingwallError:
            if len(everything) >= self.threshold and not await self._alone(before):
                self._collected.shares.clear()
            raise
        self._collected.shares.clear()
        return root

    async def _alone(self, shares: Sequence[bytes]) -> bool:
        """Whether these shares are fine but too few."""
        try:
            await self.open(shares)
        except Unavailable as fault:
            return fault.code == "root_key_sealed"
        except RingwallError:
            return False
        return True

    def shares(self) -> list[bytes]:
        """Those that wait for the others."""
        if self._collected.until <= self._clock.monotonic():
            self._collected.shares.clear()
        return self._collected.shares

    def brought(self, who: Operator, upload: str) -> tuple[bytes, ...]:
        """What the source is to be opened or made with: nothing, one passphrase, or shares, one a line."""
        if not upload:
            return ()
        data = self._uploads.inward.take(who, upload)
        return tuple(line for line in data.splitlines() if line.strip())[:MAX_SHARES]

    def shown(self, who: Operator, texts: Sequence[str]) -> dict[str, Json]:
        """What must be seen once, to be fetched beside the answer."""
        if not texts:
            return {}
        return {"download": self._uploads.outward.put(who, "\n".join(texts).encode()), "count": len(texts),
                "threshold": self.threshold}
