"""The label of each context, written to the log before the text that changed it is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from ringwall.call import Event, Json, SessionId
from ringwall.flow.labels import CLEAN, WORST, Label
from ringwall.interface import Journal


class LabelBook:
    """Labels by context: a workspace folder, and with it every process that can write to it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._labels: dict[str, Label] = {}
        self._durable: dict[str, Label] = {}
        self._sources: dict[str, tuple[str, ...]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._floor = CLEAN

    def restore(self, events: Iterable[Mapping[str, Json]]) -> None:
        """Take labels from the log's events; one that cannot be read is the worst label there is.

        An event that does not even say whose label it was counts for every context.
        """
        for body in events:
            context, to = body.get("context"), body.get("to")
            try:
                label = Label.parse(to) if isinstance(to, str) else WORST
            except KeyError:
                label = WORST
            if not isinstance(context, str) or not context:
                self._floor = WORST
                continue
            self._labels[context] = self._durable[context] = self.current(context).join(label)
            self._came_from(context, body.get("source"))

    def current(self, context: str) -> Label:
        """The join of all that was shown in this context so far."""
        return self._labels.get(context, CLEAN).join(self._floor)

    def sources(self, context: str) -> tuple[str, ...]:
        """The targets whose answers made the label what it is, oldest first."""
        return self._sources.get(context, ())

    def _came_from(self, context: str, source: Json) -> None:
        """A label gets worse six times at most, so this is short."""
        known = self.sources(context)
        if isinstance(source, str) and source and source not in known:
            self._sources[context] = (*known, source)

    async def join(
        self, context: str, label: Label, *, tenant: str, session: SessionId | None, source: str
    ) -> Label:
        """Join a label. Durable on return when it changed anything. Raises AuditError: then deliver nothing.

        Args:
            context: whose label.
            label: of what is about to be delivered.
            tenant: whose log.
            session: in which it happens.
            source: the target that the text came from.

        """
        # The lock is taken even when nothing will change: the note of another call may not be durable yet.
        async with self._locks.setdefault(context, asyncio.Lock()):
            old = self._durable.get(context, CLEAN).join(self._floor)
            new = self.current(context).join(label)
            # In memory first: between the two, a call sees the worse label, never the better one.
            self._labels[context] = new
            # Against what is durable, not what is in memory: an earlier note may have failed or been cancelled.
            if new != old:
                await self._journal.note(
                    Event(
                        type="label",
                        tenant=tenant,
                        session=session,
                        body={"context": context, "from": str(old), "to": str(new), "source": source},
                    )
                )
                self._durable[context] = new
                self._came_from(context, source)
            return new
