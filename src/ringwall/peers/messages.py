"""Which messages came in: so that none is delivered twice, whatever is sent again and whoever restarted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from ringwall.clock import Clock
from ringwall.errors import BadInput

KEEP_SECONDS: Final = 86_400.0  # a sender that repeats a message after a day means it
MAX_OF_PAIR: Final = 8_192  # one each 10 s for a day; beyond it the oldest is forgotten, and would be taken as new
MAX_OF_AGENT: Final = 65_536  # of all its senders, some 20 MB; beyond it whoever has most loses his oldest


@dataclass(frozen=True, slots=True)
class _Message:
    digest: str
    until: float  # monotonic


class Messages:
    """Message ids by receiver and sender, as hashes: they are texts of somebody else's choice.

    Args:
        clock: the monotonic one says when to forget.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._agents: dict[str, dict[str, dict[str, _Message]]] = {}
        self._counts: dict[str, int] = {}

    def take(self, local: str, other: str, name: str, digest: str, *, seconds: float = KEEP_SECONDS) -> None:
        """Remember a message.

        Args:
            local: who receives it.
            other: who sent it.
            name: as :func:`named` gives it.
            digest: of its content.
            seconds: for how long.

        Raises:
            BadInput: ``duplicate_message``.

        """
        now = self._clock.monotonic()
        pair = self._agents.setdefault(local, {}).setdefault(other, {})
        self._forget(local, pair, now)
        known = pair.get(name)
        if known is not None and known.until > now:
            how = "with this content" if known.digest == digest else "with another content"
            raise BadInput(f"a message with this messageId came before, {how}; it is not delivered again",
                           code="duplicate_message", remedy="give each message a messageId of its own")
        self.drop(local, other, name)
        self._counts[local] = self._counts.get(local, 0) + 1
        pair[name] = _Message(digest, now + seconds)
        self._shrink(local, pair)

    def drop(self, local: str, other: str, name: str) -> None:
        """It did not come in after all."""
        if self._agents.get(local, {}).get(other, {}).pop(name, None) is not None:
            self._counts[local] -= 1

    def __len__(self) -> int:
        return sum(self._counts.values())

    def _forget(self, local: str, pair: dict[str, _Message], now: float) -> None:
        while pair:
            oldest = next(iter(pair))
            if pair[oldest].until > now:
                return
            del pair[oldest]
            self._counts[local] -= 1

    def _shrink(self, local: str, pair: dict[str, _Message]) -> None:
        if len(pair) > MAX_OF_PAIR:
            del pair[next(iter(pair))]
            self._counts[local] -= 1
        if self._counts[local] > MAX_OF_AGENT:
            largest = max(self._agents[local].values(), key=len)
            del largest[next(iter(largest))]
            self._counts[local] -= 1


def named(message: str) -> str:
    """The hash under which a message id is kept."""
    return hashlib.sha256(message.encode("utf-8", "surrogatepass")).hexdigest()[:32]
