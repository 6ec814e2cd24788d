"""What was issued and has not expired, by launch: so that withdrawing a launch withdraws what it holds."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ringwall.call import LaunchId
from ringwall.errors import Unavailable

MAX_LIVE: Final = 100_000  # some 20 MB; 2,000 processes that renew in time have 4,000 certificates
PRUNE_SECONDS: Final = 5.0  # between two looks through a full ledger: each takes some 10 ms of the core's loop


class Ledger:
    """Numbers (serials and ``jti``) in memory. A core that restarts knows none of before: docs/identity.md.

    When it is full, only tenants that hold less than an equal share of it get more, so that one that hoards keeps
    nobody else from an identity. It has at most twice ``most`` numbers then.

    Args:
        most: numbers, living and withdrawn, before shares count.

    """

    def __init__(self, most: int = MAX_LIVE) -> None:
        self._most = most
        self._live: dict[LaunchId, dict[str, float]] = {}
        self._revoked: dict[str, tuple[float, str]] = {}
        self._tenants: dict[LaunchId, str] = {}  # of those in _live
        self._held: Counter[str] = Counter()  # by tenant, with what was withdrawn
        self._count = 0
        self._pruned = 0.0

    def check_room(self, tenant: str, now: float) -> None:
        """Raises Unavailable (``svid_too_many``): what cannot be withdrawn later is not issued."""
        if self._held.total() < self._most:
            return
        if abs(now - self._pruned) >= PRUNE_SECONDS:  # a clock may jump back
            self.prune(now)
        share = self._most // len({*self._held, tenant})
        if self._held.total() >= self._most and self._held[tenant] >= share:
            raise Unavailable(f"{self._most} SVIDs are alive, and this tenant has its share of them",
                              code="svid_too_many",
                              remedy="`ringwall audit tail system` shows who asks for so many")

    def add(self, tenant: str, launch: LaunchId, number: str, expires: float) -> None:
        """Issued."""
        self._live.setdefault(launch, {})[number] = expires
        self._tenants[launch] = tenant
        self._held[tenant] += 1
        self._count += 1

    def revoke(self, launch: LaunchId) -> int:
        """Nothing issued to this launch counts any more; how many that were."""
        gone, tenant = self._live.pop(launch, {}), self._tenants.pop(launch, "")
        self._count -= len(gone)
        self._revoked |= {number: (ends, tenant) for number, ends in gone.items()}
        return len(gone)

    def revoked(self, number: str) -> bool:
        """Whether it was withdrawn."""
        return number in self._revoked

    def prune(self, now: float) -> None:
        """Forget what has expired, and a minute more: verifiers' clocks may be behind."""
        past, self._pruned = now - 60.0, now
        self._revoked = {number: one for number, one in self._revoked.items() if one[0] > past}
        held = Counter(tenant for _, tenant in self._revoked.values())
        for launch, numbers in list(self._live.items()):
            kept = {number: ends for number, ends in numbers.items() if ends > past}
            self._count -= len(numbers) - len(kept)
            if kept:
                self._live[launch] = kept
                held[self._tenants[launch]] += len(kept)
            else:
                del self._live[launch], self._tenants[launch]
        self._held = held

    def __len__(self) -> int:
        return self._count
