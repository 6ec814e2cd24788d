"""What was issued and has not expired, by launch: so that withdrawing a launch withdraws what it holds."""

from __future__ import annotations

from typing import Final

from ringwall.call import LaunchId
from ringwall.errors import Unavailable

MAX_LIVE: Final = 100_000  # some 20 MB; 2,000 processes that renew in time have 4,000 certificates


class Ledger:
    """Numbers (serials and ``jti``) in memory. A core that restarts knows none of before: docs/identity.md."""

    def __init__(self, most: int = MAX_LIVE) -> None:
        self._most = most
        self._live: dict[LaunchId, dict[str, float]] = {}
        self._revoked: dict[str, float] = {}
        self._count = 0

    def check_room(self, now: float) -> None:
        """Raises Unavailable (``svid_too_many``): what cannot be withdrawn later is not issued."""
        if self._count + len(self._revoked) >= self._most:
            self.prune(now)
        if self._count + len(self._revoked) >= self._most:
            raise Unavailable(f"{self._most} SVIDs are alive, and no more are issued", code="svid_too_many",
                              remedy="`ringwall audit tail system` shows who asks for so many")

    def add(self, launch: LaunchId, number: str, expires: float) -> None:
        """Issued."""
        self._live.setdefault(launch, {})[number] = expires
        self._count += 1

    def revoke(self, launch: LaunchId) -> int:
        """Nothing issued to this launch counts any more; how many that were."""
        gone = self._live.pop(launch, {})
        self._count -= len(gone)
        self._revoked |= gone
        return len(gone)

    def revoked(self, number: str) -> bool:
        """Whether it was withdrawn."""
        return number in self._revoked

    def prune(self, now: float) -> None:
        """Forget what has expired, and a minute more: verifiers' clocks may be behind."""
        past = now - 60.0
        self._revoked = {number: ends for number, ends in self._revoked.items() if ends > past}
        for launch, held in list(self._live.items()):
            kept = {number: ends for number, ends in held.items() if ends > past}
            self._count -= len(held) - len(kept)
            if kept:
                self._live[launch] = kept
            else:
                del self._live[launch]

    def __len__(self) -> int:
        return self._count
