"""Two people: acts that only happen when a second operator, with another name and uid, asks for the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringwall.call import Call, Digest, Event, Json, Operator, digest
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused
from ringwall.interface import Journal
from ringwall.manifest.types import Operators
from ringwall.runtime.acts import Act

DEADLINE_S: Final = 900.0  # for the second operator: long enough to be fetched, too short to be forgotten
MAX_PROPOSED: Final = 64  # of one operator at a time: nobody's proposals keep another's out
BESIDE: Final = ("reason", "upload", "answers")
"""What each says in their own words, and what each hands in of their own: an act that takes an upload names its
hash as well, and compares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposal:
    """What one operator wants. ``until`` on the monotonic clock."""

    verb: str
    args: Json
    by: Operator
    record: str
    until: float


class TwoPeople:
    """Holds acts back until a second operator asks for them too.

    What was proposed is in memory only: a restart forgets it, and it is proposed again.

    Args:
        operators: which verbs need two, and who there is.
        journal: where proposal and agreement are written before they count.
        clock: for the deadline.

    """

    def __init__(self, operators: Operators, journal: Journal, clock: Clock) -> None:
        self._verbs = frozenset(operators.two_person)
        self._uids = {one.uid for one in operators.named.values()}
        self._journal = journal
        self._clock = clock
        self._proposals: dict[Digest, _Proposal] = {}
        self._order = asyncio.Lock()

    def guarded(self, acts: Mapping[str, Act]) -> dict[str, Act]:
        """The same acts, those that need two people behind that rule."""
        return {verb: self._guard(act) if verb in self._verbs else act for verb, act in acts.items()}

    def status(self) -> list[Json]:
        """What waits for a second operator."""
        now = self._clock.monotonic()
        return [{"verb": one.verb, "args": one.args, "by": one.by.name, "record": one.record,
                 "seconds": round(one.until - now)} for one in self._proposals.values() if one.until > now]

    def _guard(self, act: Act) -> Act:
        async def both(call: Call) -> Json:
            async with self._order:
                waiting = await self._second(call)
            return await act(call) if waiting is None else {"proposed": waiting}

        return both

    async def _second(self, call: Call) -> Json:
        """None if this is the second operator's word, and it is in the log; else what now waits.

        Raises Refused, BadInput, AuditError: nothing was proposed and nothing agreed to.
        """
        who = call.subject
        if not isinstance(who, Operator) or len(self._uids) < 2:
            raise Refused(f"{call.target.name} needs two operators, and they cannot be told apart here",
                          code="no_second_operator",
                          remedy="name two operators with uids of their own in [operators]")
        self._expire()
        key = digest([call.target.name, _wanted(call.args)])
        first = self._proposals.get(key)
        if first is None:
            return await self._propose(call, who, key)
        if who.uid == first.by.uid or who.name == first.by.name:
            raise Refused(f"{first.by.name} asked for this already, and a second operator must",
                          code="same_operator", remedy="have another operator run the same command",
                          record=first.record)
        del self._proposals[key]  # spent, whatever comes
        await self._journal.note(_event("seconded", call, {"first": first.by.name, "second": who.name,
                                                           "proposal": first.record}))
        return None

    async def _propose(self, call: Call, who: Operator, key: Digest) -> Json:
        if sum(one.by.uid == who.uid for one in self._proposals.values()) >= MAX_PROPOSED:
            raise BadInput(f"{MAX_PROPOSED} acts of yours wait for a second operator", code="too_many_proposals",
                           remedy="see `ringwall status`")
        record = await self._journal.note(_event("proposed", call, {"by": who.name, "uid": who.uid}))
        self._proposals[key] = _Proposal(verb=call.target.name, args=call.args, by=who, record=record,
                                         until=self._clock.monotonic() + DEADLINE_S)
        return {"verb": call.target.name, "by": who.name, "record": record, "seconds": DEADLINE_S,
                "needs": "another operator who runs the same command"}

    def _expire(self) -> None:
        now = self._clock.monotonic()
        self._proposals = {key: one for key, one in self._proposals.items() if one.until > now}


def _wanted(args: Json) -> Json:
    """What both must ask for alike: everything but their reasons, and the names of what they handed in."""
    return {name: value for name, value in args.items() if name not in BESIDE}


def _event(kind: str, call: Call, body: Mapping[str, Json]) -> Event:
    return Event(type=kind, tenant="system", subject=f"operator:{body.get('second') or body['by']}",
                 body={"verb": call.target.name, **body}, sealed={"args": call.args})
