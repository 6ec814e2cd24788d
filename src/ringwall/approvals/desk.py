"""The desk where held calls wait: bounded, with a deadline, each decision in the log before it counts.

A decision is bound to one record: the digest of its call (who, session, tool, arguments, resources), the questions
that were asked, and a time. It is used up by the one intent that names it. Implements ``interface.Approvals``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from ringwall.approvals.endorsements import Endorsements
from ringwall.approvals.item import Item, Question, difference, of_call, questions_of
from ringwall.call import (
    Approval,
    Call,
    Denied,
    Event,
    Json,
    Operator,
    Process,
    Verdicts,
    canonical,
    subject_name,
)
from ringwall.clock import Clock
from ringwall.errors import AuditError, BadInput
from ringwall.interface import HeldCall, Journal
from ringwall.manifest.types import ApprovalSettings

log = logging.getLogger(__name__)

KEEP_OVER: Final = 1024  # items that are over, kept so that whoever asks late learns how they ended
MAX_WAITING_BYTES: Final = 16 << 20  # arguments of a tenant's waiting calls in memory: two of the largest requests
GRACE: Final = 0.01  # seconds past a deadline, so that the clock agrees that it has passed
State = Literal["pending", "deciding", "approved", "denied", "expired", "spent"]
WAITING: Final[frozenset[State]] = frozenset({"pending", "deciding"})


@dataclass(slots=True, kw_only=True)
class Entry:
    """One item's way: waiting, decided, used or too late. ``until``: when the decision expires."""

    item: Item
    state: State = "pending"
    by: str = ""
    until: float = 0.0
    size: int = 0  # bytes of its arguments
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Desk:
    """Use it from one event loop.

    Args:
        settings: deadlines and bounds.
        journal: where held calls and decisions are written.
        clock: for deadlines.
        endorsements: asked before a human is.
        on_held: told of each new item; must not block.

    """

    def __init__(
        self,
        *,
        settings: ApprovalSettings,
        journal: Journal,
        clock: Clock,
        endorsements: Endorsements,
        on_held: Callable[[Item], None],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._endorsements = endorsements
        self._on_held = on_held
        self._entries: dict[str, Entry] = {}
        self._entering: list[tuple[str, str, int]] = []  # tenant, subject, size of calls being written down
        self._last: dict[tuple[str, str], tuple[str, Json]] = {}  # subject and tool -> last approved call
        self._unsaid: list[Entry] = []  # expired, not yet in the log
        self._version = 0
        self._news = asyncio.Event()

    # --- for the wall

    def granted(self, call: Call) -> bool:
        """Whether the approval that a call names is a human's yes to exactly this call, and unused."""
        entry = self._entries.get(call.approval.record) if call.approval is not None else None
        return entry is not None and entry.item.digest == call.digest and entry.state == "approved" \
            and self._clock.now() < entry.until

    def spend(self, call: Call, verdicts: Verdicts) -> Approval | Denied | None:
        """See ``interface.Approvals``. No other call can use the same yes from here on."""
        questions = questions_of(verdicts)
        if call.approval is None:
            return self._endorsements.answer(call, questions)
        self._sweep()
        entry = self._entries.get(call.approval.record)
        # One answer for unknown and another's: whose records there are is nobody else's business.
        if entry is None or entry.item.digest != call.digest or entry.item.tenant != call.tenant:
            return _denied("approval_invalid", "this approval is not for this call, or is no longer known")
        if entry.state in WAITING:
            return None if questions else _denied("approval_pending", "nobody has decided on this approval yet")
        if entry.state != "approved":
            return _OVER[entry.state]
        if not set(questions) <= set(entry.item.questions):
            return None  # something is asked that the human did not see
        entry.state = "spent"
        self._wake(entry)
        return Approval(record=entry.item.record)

    async def hold(self, call: Call, verdicts: Verdicts) -> HeldCall | Denied:
        """See ``interface.Approvals``. The same call asked again waits under its first record."""
        if not isinstance(call.subject, Process):  # a peer elsewhere knows nothing of held calls
            what = "an operator's act" if isinstance(call.subject, Operator) else "a message that comes in"
            return _denied("approval_unavailable", f"{what} cannot wait for approval")
        self._sweep()
        same = self._same(call, questions_of(verdicts))
        if same is not None:
            return self._again(call, same)
        size = len(canonical(call.args))
        full = self._full(call, size)
        if full is not None:
            return full
        place = (call.tenant, subject_name(call.subject), size)
        self._entering.append(place)
        try:
            record = await self._journal.held(call, verdicts)
        finally:
            self._entering.remove(place)
        now = self._clock.now()
        item = of_call(record, call, verdicts, now=now, seconds=self._settings.deadline_s)
        self._entries[record] = Entry(item=item, size=size)
        self._changed()
        self._on_held(item)
        return HeldCall(record=record, question=item.question)

    async def decided(self, record: str, seconds: float) -> bool:
        """See ``interface.Approvals``."""
        entry = self._entries.get(record)
        if entry is None:
            return True
        left = max(0.0, min(seconds, entry.item.expires - self._clock.now() + GRACE))
        try:
            async with asyncio.timeout(left):
                await entry.over.wait()
        except TimeoutError:
            self._sweep()
        return entry.state not in WAITING

    def _same(self, call: Call, questions: tuple[Question, ...]) -> Entry | None:
        now = self._clock.now()
        alike = (
            entry for entry in self._entries.values()
            if entry.item.digest == call.digest and entry.item.questions == questions
            and (entry.state in {*WAITING, "approved"} or (entry.state == "denied" and now < entry.until))
        )
        return next(alike, None)

    def _again(self, call: Call, entry: Entry) -> HeldCall | Denied:
        if entry.state == "denied":
            return _OVER["denied"]  # whoever said no is not asked the same again at once
        self._journal.count(
            Event(type="held_again", tenant=call.tenant, subject=subject_name(call.subject), session=call.session,
                  body={"of": entry.item.record})
        )
        return HeldCall(record=entry.item.record, question=entry.item.question)

    def _full(self, call: Call, size: int) -> Denied | None:
        later = self._clock.now() + self._settings.deadline_s
        waiting = [(e.item.subject, e.size, e.item.expires) for e in self._entries.values()
                   if e.state in WAITING and e.item.tenant == call.tenant]
        waiting += [(subject, bytes_, later) for tenant, subject, bytes_ in self._entering if tenant == call.tenant]
        own = [one for one in waiting if one[0] == subject_name(call.subject)]
        crowd = own if len(own) >= self._settings.per_agent else waiting
        held = sum(bytes_ for _, bytes_, _ in waiting)
        if crowd is waiting and len(waiting) < self._settings.per_tenant and held + size <= MAX_WAITING_BYTES:
            return None
        soonest = min((expires for *_, expires in crowd), default=later)
        return Denied(
            code="approval_queue_full",
            reason="too many calls wait for a human already",
            retry_after=max(1.0, soonest - self._clock.now()),
            detail={"own": len(own), "tenant": len(waiting), "bytes": held},
        )

    # --- for operators

    async def decide(self, record: str, operator: Operator, *, yes: bool, reason: str = "") -> dict[str, Json]:
        """A human's answer to one held call; the first one counts.

        Raises:
            BadInput: ``approval_unknown``, ``approval_decided``, ``approval_expired``.
            AuditError: it could not be written down, so it was not made.

        """
        self._sweep()
        entry = self._entry(record)
        if entry.state == "expired":
            raise BadInput(f"{record} waited too long and was refused", code="approval_expired",
                           remedy="the agent must ask again")
        if entry.state != "pending":
            how = "is being decided" if entry.state == "deciding" else f"was {entry.state}"
            raise BadInput(f"{record} {how} already, by {entry.by}", code="approval_decided",
                           remedy="ringwall approvals list")
        entry.state, entry.by = "deciding", operator.name
        until = self._clock.now() + self._settings.deadline_s
        try:
            await self._journal.note(_decision(entry.item, operator, yes=yes, until=until, reason=reason))
        except BaseException:
            entry.state, entry.by = "pending", ""
            raise
        self._settle(entry, yes=yes, until=until)
        return {"id": record, "decision": entry.state, "until": until}

    def listed(self) -> dict[str, Json]:
        """What waits, oldest first, and the number by which ``watch`` knows what is new."""
        self._sweep()
        waiting = [self._shown(e) for e in self._entries.values() if e.state in WAITING]
        return {"version": self._version, "waiting": waiting, "now": self._clock.now()}

    def shown(self, record: str) -> dict[str, Json]:
        """One item with all that waits beside it in the same session. Raises BadInput (``approval_unknown``)."""
        self._sweep()
        entry = self._entry(record)
        beside = [e.item.record for e in self._entries.values()
                  if e is not entry and e.state in WAITING and e.item.session == entry.item.session]
        return {**self._shown(entry), "beside": beside, "now": self._clock.now()}

    async def watched(self, version: int, seconds: float) -> dict[str, Json]:
        """``listed``, as soon as it is not what it was at ``version``, or after so many seconds."""
        self._sweep()
        if version == self._version:
            try:
                async with asyncio.timeout(max(0.0, seconds)):
                    await self._news.wait()
            except TimeoutError:
                pass
        return self.listed()

    async def tend(self) -> None:
        """Write down what expired. Called every few seconds; a decision does not wait for it."""
        self._sweep()
        while self._unsaid:
            item = self._unsaid[0].item
            try:
                await self._journal.note(
                    Event(type="approval", tenant=item.tenant, session=item.session or None,
                          body={"of": item.record, "decision": "expired", "digest": item.digest})
                )
            except AuditError as fault:  # nothing is allowed by that: it is refused all the same
                log.error("that %s expired is not recorded: %s", item.record, fault)
            self._unsaid.pop(0)

    def _entry(self, record: str) -> Entry:
        entry = self._entries.get(record)
        if entry is None:
            raise BadInput(f"no held call is called {record[:80]!a}", code="approval_unknown",
                           remedy="ringwall approvals list")
        return entry

    def _shown(self, entry: Entry) -> dict[str, Json]:
        item = entry.item
        last = self._last.get((item.subject, item.target)) if item.kind == "tool" else None
        return {
            **item.as_json(),
            "state": entry.state,
            "by": entry.by,
            "last_approved": last[0] if last else None,
            "difference": difference(last[1], item.args) if last else None,
        }

    # --- at start

    def restore(self, item: Item) -> None:
        """A held call of the log. One whose time is over does not wait any more."""
        self._entries[item.record] = Entry(item=item, size=len(canonical(item.args)))

    def restore_last(self, item: Item) -> None:
        """The call that was last approved for its agent and tool."""
        self._last[item.subject, item.target] = (item.record, item.args)

    def restore_decision(self, body: Mapping[str, Json], by: str) -> None:
        """An ``approval`` event of the log, oldest first."""
        entry = self._entries.get(str(body.get("of")))
        decision, until = body.get("decision"), body.get("until")
        if entry is None:
            return
        entry.by = by
        ends = float(until) if isinstance(until, int | float) else 0.0
        if decision == "expired":
            entry.state = "expired"
        else:
            same = body.get("digest") == entry.item.digest
            self._settle(entry, yes=decision == "approved" and same, until=ends)

    def restore_use(self, record: str) -> None:
        """An intent of the log ran on this approval."""
        entry = self._entries.get(record)
        if entry is not None:
            entry.state = "spent"

    # --- within

    def _settle(self, entry: Entry, *, yes: bool, until: float) -> None:
        entry.state, entry.until = ("approved" if yes else "denied"), until
        if yes and entry.item.kind == "tool":
            self._last[entry.item.subject, entry.item.target] = (entry.item.record, entry.item.args)
        self._wake(entry)

    def _wake(self, entry: Entry) -> None:
        entry.over.set()
        self._changed()

    def _changed(self) -> None:
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()

    def _sweep(self) -> None:
        """What waited too long has expired; what was decided and not used, too."""
        now = self._clock.now()
        for entry in self._entries.values():
            if entry.state == "pending" and now >= entry.item.expires:
                entry.state = "expired"
                self._unsaid.append(entry)
                self._wake(entry)
            elif entry.state == "approved" and now >= entry.until:
                entry.state = "expired"
        over = [entry for entry in self._entries.values() if entry.state in _OVER]
        for entry in over:
            if entry.size:  # the log has them
                entry.item, entry.size = replace(entry.item, args=None, resources=()), 0
        for entry in over[: max(0, len(over) - KEEP_OVER)]:
            del self._entries[entry.item.record]


def _denied(code: str, reason: str) -> Denied:
    return Denied(code=code, reason=reason)


_OVER: Final[Mapping[str, Denied]] = MappingProxyType({
    "denied": _denied("approval_denied", "an operator said no to this call"),
    "expired": _denied("approval_expired", "nobody decided on this call in time, or it was not repeated in time"),
    "spent": _denied("approval_spent", "this approval was used already: one approval is one call"),
})


def _decision(item: Item, operator: Operator, *, yes: bool, until: float, reason: str) -> Event:
    return Event(
        type="approval",
        tenant=item.tenant,
        subject=subject_name(operator),
        session=item.session or None,
        body={
            "of": item.record,
            "decision": "approved" if yes else "denied",
            "digest": item.digest,
            "until": until,
            "uid": operator.uid,
        },
        sealed={"reason": reason, "questions": [[q.ring, q.code, q.text] for q in item.questions]},
    )
