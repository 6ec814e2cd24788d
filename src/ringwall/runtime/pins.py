"""Pinned tool definitions: written to the log, taken from it again at the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ringwall.call import Digest, Event, Json, as_object, digest
from ringwall.errors import AuditError
from ringwall.interface import Journal


@dataclass(frozen=True, slots=True)
class Pin:
    """A reviewed definition. ``listed``: itself; None if it was pinned by a version that kept its hash alone."""

    definition: Digest
    listed: Json | None


class LogPins:
    """The catalogue's ``Pins`` of one tenant. A new pin counts at once and is durable after ``flush``."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._pins: dict[str, Pin] = {}
        self._new: list[str] = []
        self._writing = asyncio.Lock()

    def restore(self, events: Iterable[Mapping[str, Json]]) -> None:
        """Take pins from the log's events, oldest first. Raises AuditError for an event that is no pin.

        A pin that is lost would let a changed definition pass as new, so then nothing may start.
        """
        for body in events:
            tool, definition, listed = body.get("tool"), body.get("definition"), body.get("listed")
            if not isinstance(tool, str) or not isinstance(definition, str) or not tool or not definition:
                raise self._bad()
            if listed is not None and (as_object(listed) is None or digest(listed) != definition):
                raise self._bad()
            self._pins[tool] = Pin(Digest(definition), listed)

    def _bad(self) -> AuditError:
        return AuditError(f"a pin in the log of {self._tenant} cannot be read", code="bad_pin",
                          remedy="run `ringwall audit verify`")

    def get(self, name: str) -> Digest | None:
        """The pinned hash of ``server/operation``."""
        found = self._pins.get(name)
        return None if found is None else found.definition

    def all(self) -> Mapping[str, Pin]:
        """Every pin by its tool's name."""
        return dict(self._pins)

    def set(self, name: str, definition: Digest, listed: Json) -> None:
        """Pin a definition seen for the first time."""
        self._pins[name] = Pin(definition, listed)
        self._new.append(name)

    async def flush(self, journal: Journal) -> None:
        """Write new pins down. Raises AuditError: then no tool of theirs may be offered."""
        async with self._writing:
            while self._new:
                name = self._new[0]
                await journal.note(self._event(name, self._pins[name]))
                self._new.pop(0)

    async def accept(self, journal: Journal, name: str, pin: Pin, by: str) -> str:
        """Pin another definition than before, as an operator decided: its record. Raises AuditError: not pinned."""
        async with self._writing:
            record = await journal.note(self._event(name, pin, by, was=self.get(name)))
            self._pins[name] = pin
            return record

    def _event(self, name: str, pin: Pin, by: str = "", *, was: Digest | None = None) -> Event:
        body = {"tool": name, "definition": pin.definition, "listed": pin.listed}
        return Event(
            type="pin", tenant=self._tenant, subject=by, body=body if was is None else {**body, "was": was}
        )
