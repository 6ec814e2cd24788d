"""A draft of the policy that judges live calls beside the active one, and decides nothing.

It sees a call after the policy ring has answered, from a bounded queue, and takes at most a fifth of the core's
time; what does not fit is counted as not judged. Whatever goes wrong in the draft is a difference.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from ringwall.call import (
    Allowed,
    Call,
    Denied,
    Event,
    Facts,
    Json,
    NeedsApproval,
    RingName,
    Subject,
    Verdict,
    subject_name,
)
from ringwall.clock import Clock
from ringwall.errors import AuditError
from ringwall.interface import Journal, Passage, Ring, Targets
from ringwall.policy.interface import PolicyBackend
from ringwall.policy.ring import PolicyRing

WAITING: Final = 1024  # calls, about a kilobyte each: half a second of the busiest core
SHARE: Final = 0.2  # of the core's time, at most
EXAMPLES: Final = 3  # call ids kept and written down for each kind of difference
MAX_GROUPS: Final = 256  # kinds of difference told apart; a draft that needs more is not near to the active policy
MAX_CODE: Final = 128  # characters; a code is a word, and a draft's may be anything
OTHERS: Final = "(others)"
Said: TypeAlias = Literal["allowed", "needs_approval", "denied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A call as the policy ring judged it."""

    call: Call
    facts: Facts
    verdict: Verdict
    now: float


@dataclass(slots=True, kw_only=True)
class _Group:
    was: Said
    would: Said
    code: str
    target: str
    count: int = 0
    examples: list[str] = field(default_factory=list[str])

    def as_json(self) -> Json:
        return {"was": self.was, "would": self.would, "code": self.code, "target": self.target,
                "count": self.count, "examples": list(self.examples)}  # fmt: skip


class Comparison:
    """One draft's work: what it judged, what differs.

    Args:
        draft: the policy; not the one that decides.
        journal: for differences.
        clock: for the share of time.

    """

    def __init__(self, draft: PolicyBackend, journal: Journal, clock: Clock) -> None:
        self._draft = draft
        self._journal = journal
        self._clock = clock
        self._queue: asyncio.Queue[_Seen] = asyncio.Queue(WAITING)
        self._time = _CallTime()
        self._approved = False
        self._ring = PolicyRing(draft, self._time, lambda _: self._approved)
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._since = clock.now()
        self._judged = self._same = self._skipped = self._unrecorded = 0

    @property
    def revision(self) -> str:
        return self._draft.revision

    def offer(self, seen: _Seen) -> None:
        """Take a call if there is room. Never waits."""
        try:
            self._queue.put_nowait(seen)
        except asyncio.QueueFull:
            self._skipped += 1

    async def run(self) -> None:
        """Judge what waits, one after the other, until cancelled."""
        while True:
            seen = await self._queue.get()
            began = self._clock.monotonic()
            self._compare(seen, await self._judge(seen))
            took = self._clock.monotonic() - began
            await asyncio.sleep(max(took, 0.0) * (1 / SHARE - 1))

    def status(self) -> dict[str, Json]:
        """For ``ringwall policy shadow --show``."""
        groups = sorted(self._groups.values(), key=lambda one: (-one.count, one.target, one.code))
        return {
            "draft": self.revision,
            "since": self._since,
            "judged": self._judged,
            "same": self._same,
            "not_judged": self._skipped,
            "waiting": self._queue.qsize(),
            "unrecorded": self._unrecorded,
            "differences": [group.as_json() for group in groups],
        }

    async def _judge(self, seen: _Seen) -> Verdict:
        self._time.at = seen.now
        self._approved = seen.facts.get("policy", {}).get("approved") is True
        facts: Facts = {name: found for name, found in seen.facts.items() if name != "policy"}
        try:
            return (await self._ring.enter(seen.call, facts)).verdict
        except Exception as fault:  # noqa: BLE001 (it decides nothing: a draft that breaks is what is to be found out)
            return Denied(code="draft_failed", reason=f"the draft failed: {type(fault).__name__}")

    def _compare(self, seen: _Seen, verdict: Verdict) -> None:
        self._judged += 1
        was, would = _said(seen.verdict), _said(verdict)
        if was == would:
            self._same += 1
            return
        code = next((v.code for v in (verdict, seen.verdict) if not isinstance(v, Allowed)), "")[:MAX_CODE]
        group = self._group(was, would, code, seen.call.target.name)
        group.count += 1
        body: dict[str, Json] = {
            "draft": self.revision, "kind": seen.call.kind, "target": group.target, "was": was, "would": would,
            "code": group.code,
        }  # fmt: skip
        if len(group.examples) < EXAMPLES:
            group.examples.append(seen.call.id)
            body["call"] = seen.call.id  # an example has a record of its own; the rest is added up
        try:
            self._journal.count(
                Event(
                    type="shadow_difference",
                    tenant=seen.call.tenant,
                    subject=subject_name(seen.call.subject),
                    body=body,
                )
            )
        except AuditError:
            self._unrecorded += 1

    def _group(self, was: Said, would: Said, code: str, target: str) -> _Group:
        key = (was, would, code, target)
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            target = code = OTHERS  # the code too: a draft may make one of what an agent sends
            key = (was, would, code, target)
        return self._groups.setdefault(key, _Group(was=was, would=would, code=code, target=target))


class Shadow:
    """The draft that runs beside the active policy, if there is one."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._comparison: Comparison | None = None
        self._work: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._starts = itertools.count(1)

    def beside(self, ring: Ring) -> Ring:
        """The policy ring, with this looking on."""
        return _Watched(ring, self)

    def saw(self, call: Call, facts: Facts, verdict: Verdict) -> None:
        """A call was judged by the active policy."""
        if self._comparison is not None:
            kept: Facts = {name: dict(found) for name, found in facts.items()}  # rings go on writing to theirs
            self._comparison.offer(_Seen(call=call, facts=kept, verdict=verdict, now=self._clock.now()))

    async def start(self, draft: PolicyBackend, by: str) -> dict[str, Json]:
        """Begin with this draft, in place of any other. Raises AuditError: then all is as it was."""
        async with self._changing:
            await self._note("shadow_start", by, {"draft": draft.revision})
            self._end()
            self._comparison = Comparison(draft, self._journal, self._clock)
            name = f"policy shadow {next(self._starts)}"
            self._work = asyncio.get_running_loop().create_task(self._comparison.run(), name=name)
            return self.status()

    async def stop(self, by: str) -> dict[str, Json]:
        """End it; what it found is in the answer and in the log. Raises AuditError: then it goes on."""
        async with self._changing:
            last = self.status()
            if self._comparison is not None:
                counted = {name: last[name] for name in ("draft", "judged", "same", "not_judged")}
                await self._note("shadow_stop", by, counted)
                self._end()
            return {**last, "active": False}

    def status(self) -> dict[str, Json]:
        """What it found so far."""
        return {"active": False} if self._comparison is None else {"active": True, **self._comparison.status()}

    def _end(self) -> None:
        if self._work is not None:
            self._work.cancel()
        self._work = self._comparison = None

    async def _note(self, what: str, by: str, body: Mapping[str, Json]) -> None:
        await self._journal.note(Event(type=what, tenant="system", subject=by, body=body))


class _Watched:
    """A ring whose verdicts the shadow sees, once they are given."""

    def __init__(self, ring: Ring, shadow: Shadow) -> None:
        self.name: RingName = ring.name
        self._ring = ring
        self._shadow = shadow

    async def enter(self, call: Call, facts: Facts) -> Passage:
        passage = await self._ring.enter(call, facts)
        self._shadow.saw(call, facts, passage.verdict)
        return passage

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        return await self._ring.lists(subject, targets)


class _CallTime:
    """The time at which the active policy judged the call."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def _said(verdict: Verdict) -> Said:
    match verdict:
        case Allowed():
            return "allowed"
        case NeedsApproval():
            return "needs_approval"
        case Denied():
            return "denied"
