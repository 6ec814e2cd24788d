"""A journal that also counts, per launch, what became of its calls."""

from __future__ import annotations

from ringwall.call import Call, Event, Outcome, Process, Verdicts
from ringwall.interface import Journal, Seq
from ringwall.runtime.runs import Tally


class CountingJournal:
    """Implements ``interface.Journal`` in front of another one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[Seq, str] = {}
        self.tallies: dict[str, Tally] = {}

    async def intent(self, call: Call, verdicts: Verdicts) -> Seq:
        seq = await self._journal.intent(call, verdicts)
        if isinstance(call.subject, Process):
            self._open[seq] = call.subject.launch
        return seq

    async def outcome(self, seq: Seq, outcome: Outcome) -> None:
        self._count(self._open.pop(seq, ""), outcome.end, seq)
        await self._journal.outcome(seq, outcome)

    async def refusal(self, call: Call, verdicts: Verdicts) -> Seq:
        seq = await self._journal.refusal(call, verdicts)
        if isinstance(call.subject, Process):
            self._count(call.subject.launch, "refused", seq)
        return seq

    async def held(self, call: Call, verdicts: Verdicts) -> Seq:
        seq = await self._journal.held(call, verdicts)
        if isinstance(call.subject, Process):
            self._count(call.subject.launch, "held", seq)
        return seq

    async def note(self, event: Event) -> Seq:
        seq = await self._journal.note(event)
        if event.type == "refused_before_call":
            self._count(str(event.body.get("launch", "")), "refused", seq)
        return seq

    def count(self, event: Event) -> None:
        self._journal.count(event)

    def _count(self, launch: str, end: str, record: str) -> None:
        tally = self.tallies.get(launch)
        if tally is not None:
            tally.count(end, record)
