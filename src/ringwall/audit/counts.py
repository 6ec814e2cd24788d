"""Floods as counted records: equal events are added up and written at most once a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ringwall.call import Event, canonical
from ringwall.errors import AuditError

COUNT_SECONDS: Final = 1.0  # equal events become at most one record in this time
MAX_KINDS: Final = 1024  # different events of one tenant kept apart; an attacker may vary what he sends

Write: TypeAlias = Callable[[Event, int, float], None]
"""Hand over the record of an event, how often it happened, and when first (epoch). Raises AuditError."""


@dataclass(slots=True)
class _Sum:
    event: Event
    count: int
    since: float  # epoch, of the first
    due: float  # monotonic


class Counter:
    """Adds events up. Not thread-safe: it belongs to the event loop.

    Args:
        write: takes what is due.

    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._sums: dict[tuple[str, bytes], _Sum] = {}
        self._kinds: dict[str, int] = {}

    def add(self, event: Event, *, now: float, monotonic: float) -> None:
        """Count one event. Raises AuditError (``bad_record``) if it has no JSON form."""
        key = _key(event)
        if key not in self._sums and self._kinds.get(event.tenant, 0) >= MAX_KINDS:
            event = Event(type=event.type, tenant=event.tenant, body={"various": True})
            key = _key(event)
        found = self._sums.get(key)
        if found is None:
            self._sums[key] = _Sum(event, 1, now, monotonic + COUNT_SECONDS)
            self._kinds[event.tenant] = self._kinds.get(event.tenant, 0) + 1
        else:
            found.count += 1

    def __len__(self) -> int:
        """How many records are waiting to be written."""
        return len(self._sums)

    def flush(self, *, monotonic: float) -> AuditError | None:
        """Write what is due; what cannot be written stays. Gives the last fault."""
        fault: AuditError | None = None
        for key, found in list(self._sums.items()):
            if found.due > monotonic:
                continue
            try:
                self._write(found.event, found.count, found.since)
            except AuditError as broken:
                fault = broken
                found.due = monotonic + COUNT_SECONDS
                continue
            del self._sums[key]
            left = self._kinds[found.event.tenant] - 1
            if left:
                self._kinds[found.event.tenant] = left
            else:
                del self._kinds[found.event.tenant]
        return fault


def _key(event: Event) -> tuple[str, bytes]:
    try:
        return event.tenant, canonical([event.type, event.subject, event.session, dict(event.body)])
    except (TypeError, ValueError, RecursionError) as fault:
        raise AuditError(f"an event holds a value that JSON cannot hold: {fault}", code="bad_record") from None
