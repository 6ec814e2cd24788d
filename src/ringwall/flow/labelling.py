"""The way back through the flow ring: what comes is joined into the labels before it goes on to the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ringwall.call import Call, Chunk, Denied, Verdict
from ringwall.errors import AuditError
from ringwall.flow.book import LabelBook
from ringwall.flow.interface import SessionView
from ringwall.flow.labels import Label
from ringwall.interface import Stopped


class Labelling:
    """One call's passage. Implements ``interface.Passage``.

    Args:
        book: the labels.
        session: whose context it is.
        call: what was asked.
        verdict: of the ring.
        label: of a piece of what comes back.

    """

    def __init__(
        self, book: LabelBook, session: SessionView, call: Call, verdict: Verdict, label: Callable[[Chunk], Label]
    ) -> None:
        self.verdict = verdict
        self._book = book
        self._session = session
        self._call = call
        self._label = label

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        """Durable in the log first: what cannot be labelled is withheld. Raises Stopped."""
        try:
            await self._book.join(
                self._session.context,
                self._label(chunk),
                tenant=self._call.tenant,
                session=self._call.session,
                source=self._call.target.name,
            )
        except AuditError as fault:
            raise Stopped(
                Denied(
                    code="audit_unavailable",
                    reason="the label of this answer could not be written to the audit log, so it is withheld",
                    detail={"fault": fault.cause},
                )
            ) from fault
        return (chunk,)

    async def finish(self) -> Sequence[Chunk]:
        return ()

    async def leave(self, end: object, usage: object) -> None:
        return None
