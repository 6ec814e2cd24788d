"""The wall: every call crosses the same rings in the same order, is written down, runs, and is settled.

``admit`` makes a call of bytes, ``perform`` lets it through or not, ``judge`` asks every ring without
running anything. No door can forget a ring, a record or a refund, because there is no other path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from ringwall.call import (
    Allowed,
    Approval,
    Call,
    Chunk,
    Denied,
    End,
    Event,
    Facts,
    Kind,
    Last,
    NeedsApproval,
    Peer,
    Process,
    RingName,
    SessionId,
    Usage,
    Verdict,
    Verdicts,
    subject_name,
)
from ringwall.clock import Clock, Limit
from ringwall.errors import AuditError, BadInput
from ringwall.interface import (
    Approvals,
    Attempts,
    Effect,
    HeldCall,
    Journal,
    Origin,
    Passage,
    Refusal,
    Resolver,
    Ring,
    Seq,
    Stopped,
    Targets,
    Through,
)
from ringwall.running import Flights, Halted, Running

log = logging.getLogger(__name__)

RING_SECONDS = 2.0  # a ring that has not answered by then refuses
HALT_SECONDS = 2.0  # an effect that was told to end and has not by then is reported, and goes on being told
VALUE_BYTES = 160  # judging one more value costs as much as reading so many bytes of text; measured: 8 us

LISTING = "ringwall/list"  # the built-in tool that lists what this subject may call


class Wall:
    """The one path. Built once by the core; every door holds the same one.

    Args:
        rings: in the order of DESIGN section 2; audit is the journal.
        effects: one per kind.
        resolver: bytes to Call.
        attempts: the budget spent before parsing.
        journal: the audit log.
        clock: for outcome durations.
        approvals: what humans say to questions; None: a call that a ring asks about is refused.

    """

    def __init__(
        self,
        *,
        rings: Sequence[Ring],
        effects: Mapping[Kind, Effect],
        resolver: Resolver,
        attempts: Attempts,
        journal: Journal,
        clock: Clock,
        ring_seconds: float = RING_SECONDS,
        approvals: Approvals | None = None,
    ) -> None:
        self._approvals = approvals
        self._rings = tuple(rings)
        self._effects = dict(effects)
        self._resolver = resolver
        self._attempts = attempts
        self._journal = journal
        self._clock = clock
        self._ring_seconds = ring_seconds
        self._flights = Flights(clock)

    async def admit(self, origin: Origin, kind: Kind, raw: bytes) -> Call | Refusal:
        """Count the attempt, parse once, resolve. Whatever fails is recorded and refused."""
        denied = self._attempts.attempt(origin.key, _weight(raw))
        if denied is not None:
            self._journal.count(_counted(origin, kind, denied.code))
            return _refusal(denied, "")
        try:
            return self._resolve(origin, kind, raw)
        except BadInput as fault:
            try:
                record = await self._journal.note(_before(origin, kind, fault.code, fault.cause))
            except AuditError as broken:
                self._count_unwritten(_counted(origin, kind, broken.code))
                return _refusal(_unwritten(broken), "")
            return Refusal(code=fault.code, reason=fault.cause, remedy=fault.remedy, record=record)

    def _resolve(self, origin: Origin, kind: Kind, raw: bytes) -> Call:
        """Raises BadInput, also for bytes that the resolver did not expect: they are refused and recorded too."""
        try:
            return self._resolver.resolve(origin, kind, raw)
        except BadInput:
            raise
        except Exception as fault:
            raise BadInput(
                f"the request could not be resolved ({type(fault).__name__})",
                code="resolver_failed",
                remedy="ask the operator to run `ringwall doctor`",
            ) from fault

    @asynccontextmanager
    async def perform(self, call: Call) -> AsyncGenerator[Running | HeldCall | Refusal, None]:
        """Let one call through all rings, or refuse it at the first that denies."""
        facts: Facts = {}
        entered: list[tuple[RingName, Passage]] = []
        running: Running | None = None
        flight = self._flights.open(call)
        try:
            verdicts = await self._enter(call, facts, entered)
            answer = await self._record(call, verdicts)
            if isinstance(answer, HeldCall):
                # Nothing waits inside the wall: what the rings reserved is given back, and asked for again later.
                left, entered = entered, []
                await _leave(left, "held", Usage(), self._ring_seconds)
            if isinstance(answer, (Refusal, HeldCall)):
                yield answer
                return
            running = Running(
                call=call,
                facts={**facts, "audit": {"record": answer}},
                record=answer,
                effect=self._effects[call.kind],
                passages=[passage for _, passage in entered],
                clock=self._clock,
            )
            yield flight.carries(running)
        finally:
            try:
                if running is not None:
                    await self._end(running)
            finally:
                end: End = "refused" if running is None else running.end
                usage = running.usage if running is not None else Usage()
                self._flights.close(flight)
                await _leave(entered, end, usage, self._ring_seconds)

    async def cancel(self, matching: Callable[[Call], bool], why: Denied) -> Halted:
        """End every matching call that is under way; on return they can do nothing more, or are counted as late."""
        return await self._flights.halt(matching, why, HALT_SECONDS)

    async def _end(self, running: Running) -> None:
        """End the effect, then write down how it ended, whatever happens meanwhile."""
        try:
            await running.close()
        finally:
            await self._journal.outcome(Seq(running.record), running.outcome())

    async def judge(self, call: Call) -> Verdicts:
        """Ask every ring, also after a denial; nothing runs, everything reserved is given back."""
        facts: Facts = {}
        entered: list[tuple[RingName, Passage]] = []
        try:
            return await self._enter(call, facts, entered, to_the_end=True)
        finally:
            await _leave(entered, "dry", Usage(), self._ring_seconds)

    async def _enter(
        self, call: Call, facts: Facts, entered: list[tuple[RingName, Passage]], *, to_the_end: bool = False
    ) -> Verdicts:
        said: list[tuple[RingName, Verdict]] = []
        for ring in self._rings:
            passage = await self._ask(ring, call, facts)
            entered.append((ring.name, passage))
            said.append((ring.name, passage.verdict))
            if isinstance(passage.verdict, Denied) and not to_the_end:
                break
        return Verdicts(rings=tuple(said), facts=facts)

    async def _ask(self, ring: Ring, call: Call, facts: Facts) -> Passage:
        """One ring's passage; a ring that raises, hangs or answers nonsense has refused.

        It judges a copy of what the others found out, and only what it says under its own name is kept.
        """
        own: Facts = {name: dict(found) for name, found in facts.items()}
        limit = Limit(self._ring_seconds)
        try:
            passage = await limit.run(ring.enter(call, own))
            found = own.get(ring.name, {})
            if not isinstance(passage.verdict, (Allowed, NeedsApproval, Denied)):  # pyright: ignore[reportUnnecessaryIsInstance]
                return Through(_broken(ring.name, "answered something that is no verdict"))
            if not isinstance(found, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
                return Through(_broken(ring.name, "found out something that is no object"))
            facts[ring.name] = found
            return _Late(passage, ring.name) if limit.expired else passage
        except TimeoutError:
            return Through(_broken(ring.name, f"did not answer within {self._ring_seconds} s"))
        except Exception as fault:  # noqa: BLE001 (fails closed: whatever a ring raises is a denial)
            return Through(_broken(ring.name, f"failed: {type(fault).__name__}: {fault}"))

    async def _record(self, call: Call, verdicts: Verdicts) -> Refusal | HeldCall | str:
        """Make the decision durable: the refusal, the question, or the intent of what will now happen."""
        denied: Denied | None = verdicts.denied[0][1] if verdicts.denied else None
        if denied is None and call.kind not in self._effects:
            denied = Denied(code="unknown_kind", reason=f"nothing runs calls of kind {call.kind!r}")
        try:
            if denied is None:
                answer = await self._answered(call, verdicts)
                if isinstance(answer, HeldCall):
                    return answer
                if isinstance(answer, Call):
                    return await self._journal.intent(answer, verdicts)
                denied = answer
                verdicts = replace(verdicts, facts={**verdicts.facts, "approvals": {"code": denied.code}})
            return _refusal(denied, await self._journal.refusal(call, verdicts))
        except AuditError as fault:
            self._count_unwritten(_unrecorded(call, fault))
            return _refusal(_unwritten(fault), "")

    async def _answered(self, call: Call, verdicts: Verdicts) -> Call | HeldCall | Denied:
        """The call with the human's yes that it runs on, if it needs one; it is spent here, on this call only."""
        if call.approval is None and not verdicts.asked:
            return call
        if self._approvals is None:
            return Denied(code="approval_unavailable", reason="a human would have to approve this, and nobody can")
        yes = self._approvals.spend(call, verdicts)
        if isinstance(yes, Approval):
            return replace(call, approval=yes)
        return yes or await self._approvals.hold(call, verdicts)

    def _count_unwritten(self, event: Event) -> None:
        """An attempt without a record of its own (too large, disk full) is counted all the same."""
        try:
            self._journal.count(event)
        except AuditError as broken:
            log.error("a refused call of %s could not be counted: %s", event.tenant, broken)


class Listing:
    """The tool effect, with ``ringwall/list`` answered here: what every ring lets this subject see."""

    def __init__(self, *, rings: Sequence[Ring], catalogue: Callable[[str], Targets], others: Effect) -> None:
        self._rings = tuple(rings)
        self._catalogue = catalogue
        self._others = others

    def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """The listing, or the other effect untouched."""
        return self._list(call) if call.target.name == LISTING else self._others.run(call, facts)

    async def _list(self, call: Call) -> AsyncGenerator[Chunk | Last, None]:
        shown = self._catalogue(call.tenant)
        for ring in self._rings:
            shown = await Limit(RING_SECONDS).run(ring.lists(call.subject, shown))
        yield Chunk(value=[shown.definitions[name] for name in sorted(shown.definitions)])
        yield Last(end="done")


def _weight(raw: bytes) -> int:
    """What a body will cost, in bytes of plain text; counted before anything is parsed, so roughly."""
    return len(raw) + VALUE_BYTES * (raw.count(b"{") + raw.count(b"[") + raw.count(b'",'))


def _before(origin: Origin, kind: Kind, code: str, cause: str = "") -> Event:
    return Event(
        type="refused_before_call",
        tenant=origin.subject.tenant,
        subject=subject_name(origin.subject),
        session=SessionId(origin.session) if origin.session else None,
        body={"kind": kind, "code": code, "launch": _launch(origin), **_receiver(origin)},
        sealed={"cause": cause[:500]} if cause else {},
    )


def _counted(origin: Origin, kind: Kind, code: str) -> Event:
    """The same, to be counted with its like: of another trust domain's agents, which may be any number, as one."""
    event, who = _before(origin, kind, code), origin.subject
    if isinstance(who, Peer) and who.spiffe_id.trust_domain != who.receiver.trust_domain:
        return replace(event, subject=f"spiffe://{who.spiffe_id.trust_domain}")
    return event


def _launch(origin: Origin) -> str:
    return origin.subject.launch if isinstance(origin.subject, Process) else ""


def _receiver(origin: Origin) -> dict[str, str]:
    """Of a message that comes in: the record's subject is its sender."""
    return {"receiver": str(origin.subject.receiver)} if isinstance(origin.subject, Peer) else {}


def _broken(name: str, how: str) -> Denied:
    return Denied(
        code="ring_failed",
        reason=f"the {name} ring could not judge this call, so it is refused",
        remedy="ask the operator to run `ringwall doctor`",
        detail={"ring": name, "fault": how},
    )


def _unrecorded(call: Call, fault: AuditError) -> Event:
    return Event(
        type="refused_unrecorded",
        tenant=call.tenant,
        subject=subject_name(call.subject),
        session=call.session,
        body={"kind": call.kind, "code": fault.code},
    )


def _unwritten(fault: AuditError) -> Denied:
    if fault.code == "log_budget":  # its own doing, not the disk's
        return Denied(code=fault.code, reason=fault.cause, remedy="wait, and call less or with less in it")
    return Denied(
        code="audit_unavailable",
        reason="the call could not be written to the audit log, so it is refused",
        remedy="ask the operator to run `ringwall doctor`",
        detail={"fault": fault.cause},
    )


def _refusal(denied: Denied, record: str) -> Refusal:
    return Refusal(
        code=denied.code,
        reason=denied.reason,
        remedy=denied.remedy,
        record=record,
        retry_after=denied.retry_after,
        errors=tuple(str(text) for text in denied.detail.get("errors", ())),
    )


class _Late(Through):
    """A ring that answered after its time: refused, but what it reserved is settled."""

    def __init__(self, passage: Passage, name: str) -> None:
        super().__init__(_broken(name, "answered too late"))
        self._passage = passage

    async def leave(self, end: End, usage: Usage) -> None:
        await self._passage.leave(end, usage)


async def _leave(entered: Sequence[tuple[RingName, Passage]], end: End, usage: Usage, seconds: float) -> None:
    """Settle in reverse order; one ring's fault, or being cancelled, does not keep another from settling."""
    faults: list[Exception] = []
    cancelled: asyncio.CancelledError | None = None
    for _, passage in reversed(entered):
        try:
            await Limit(seconds).run(passage.leave(end, usage))
        except asyncio.CancelledError as gone:
            cancelled = gone
        except Exception as fault:  # noqa: BLE001 (raised below, after everyone has settled)
            faults.append(fault)
    if cancelled is not None:
        raise cancelled
    if faults:
        raise ExceptionGroup("rings failed while settling", faults)


__all__ = [
    "LISTING",
    "Attempts",
    "Effect",
    "HeldCall",
    "Journal",
    "Listing",
    "Origin",
    "Passage",
    "Refusal",
    "Resolver",
    "Ring",
    "Running",
    "Seq",
    "Stopped",
    "Targets",
    "Through",
    "Wall",
]
