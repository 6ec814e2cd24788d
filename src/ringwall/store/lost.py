"""A database that cannot be used: whoever asks it is told why, and whoever does not goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ringwall.errors import RingwallError
from ringwall.store.interface import Row, T, Value, Writer


class LostStore:
    """Implements ``interface.Store``.

    Args:
        fault: why it cannot be used; what every method raises.

    """

    def __init__(self, fault: RingwallError) -> None:
        self._fault = fault

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        raise self._fault

    def write(self, work: Callable[[Writer], T]) -> T:
        raise self._fault

    def scrub(self) -> bool:
        return False

    def close(self) -> None:
        return None
