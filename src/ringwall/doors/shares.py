"""Whose requests a door holds in memory: nobody's may be so many that there is no room for the others'."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

Shares: TypeAlias = tuple[tuple[str, int], ...]
"""Names that a connection counts for, each with the part (one in so many) that those of this name get at most."""


class Holders(Counter[str]):
    """Bytes by name."""

    def take(self, shares: Shares, size: int, most: int) -> bool:
        """Take ``size`` bytes of ``most``, or give them back (below 0). False: one of the names has its part."""
        if size > 0 and any(self[name] + size > most // part for name, part in shares):
            return False
        for name, _ in shares:
            self[name] += size
            if not self[name]:
                del self[name]
        return True
