"""Pinned tool definitions: written to the log, taken from it again at the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from ringwall.call import Digest, Event, Json
from ringwall.errors import AuditError
from ringwall.interface import Journal


class LogPins:
    """The catalogue's ``Pins`` of one tenant. A new pin counts at once and is durable after ``flush``."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._pins: dict[str, Digest] = {}
        self._new: list[str] = []
        self._writing = asyncio.Lock()

    def restore(self, events: Iterable[Mapping[str, Json]]) -> None:
        """Take pins from the log's events, oldest first. Raises AuditError for an event that is no pin.

        A pin that is lost would let a changed definition pass as new, so then nothing may start.
        """
        for body in events:
            tool, definition = body.get("tool"), body.get("definition")
            if not isinstance(tool, str) or not isinstance(definition, str) or not tool or not definition:
                raise AuditError(
                    "a pin in the system log cannot be read", code="bad_pin", remedy="run `ringwall audit verify`"
                )
            self._pins[tool] = Digest(definition)

    def get(self, name: str) -> Digest | None:
        """The pinned hash of ``server/operation``."""
        return self._pins.get(name)

    def set(self, name: str, definition: Digest) -> None:
        """Pin a definition seen for the first time."""
        self._pins[name] = definition
        self._new.append(name)

    async def flush(self, journal: Journal) -> None:
        """Write new pins down. Raises AuditError: then no tool of theirs may be offered."""
        async with self._writing:
            while self._new:
                name = self._new[0]
                await journal.note(
                    Event(type="pin", tenant=self._tenant, body={"tool": name, "definition": self._pins[name]})
                )
                self._new.pop(0)
