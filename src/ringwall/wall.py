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

from ringwall import refusing
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
    RingName,
    Usage,
    Verdict,
    Verdicts,
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
    Unwatched,
    Watch,
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
        watch: hears how long things take.

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
        watch: Watch | None = None,
    ) -> None:
        self._approvals = approvals
        self._watch: Watch = watch or Unwatched()
        self._rings = tuple(rings)
        self._effects = dict(effects)
        self._resolver = resolver
        self._attempts = attempts
        self._journal = journal
        self._clock = clock
        self._ring_seconds = ring_seconds
        self._flights = Flights(clock)

    def knock(self, origin: Origin, kind: Kind, raw: bytes) -> Refusal | None:
        """Count an attempt, also one that will be no call: before anybody looks into the bytes."""
        denied = self._attempts.attempt(origin.key, _weight(raw))
        if denied is None:
            return None
        self._journal.count(refusing.counted(origin, kind, denied.code))
        return refusing.refusal(denied, "")

    def turned_away(self, origin: Origin, kind: Kind, code: str) -> None:
        """Count a request that a door refused by itself, before it could become a call."""
        self._count_unwritten(refusing.counted(origin, kind, code))

    async def admit(self, origin: Origin, kind: Kind, raw: bytes, *, counted: bool = False) -> Call | Refusal:
        """Count the attempt, parse once, resolve. Whatever fails is recorded and refused.

        Args:
            origin: where the bytes came from.
            kind: what the door takes them for.
            raw: as the resolver of this kind wants them.
            counted: ``knock`` has counted what they were taken out of.

        """
        since = self._clock.monotonic()
        refused = None if counted else self.knock(origin, kind, raw)
        if refused is not None:
            return refused
        try:
            call = self._resolve(origin, kind, raw)
        except BadInput as fault:
            try:
                record = await self._journal.note(refusing.before(origin, kind, fault.code, fault.cause))
            except AuditError as broken:
                self._count_unwritten(refusing.counted(origin, kind, broken.code))
                return refusing.refusal(refusing.unwritten(broken), "")
            return Refusal(code=fault.code, reason=fault.cause, remedy=fault.remedy, record=record)
        self._watch.admitted(call, since)
        return call

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

    async def weigh(self, origin: Origin, kind: Kind, raw: bytes) -> Denied | None:
        """Why a call that nobody has asked for yet would be refused; None: it would not, or a human would be asked.

        What limits say is left out: they change from moment to moment. Nothing is counted or written down, and
        when the call really comes, every ring judges it anew.
        """
        try:
            call = self._resolve(origin, kind, raw)
        except BadInput as fault:
            return Denied(code=fault.code, reason=fault.cause)
        denied = (await self.judge(call)).denied
        return next((why for name, why in denied if name != "limits"), None)

    async def _enter(
        self, call: Call, facts: Facts, entered: list[tuple[RingName, Passage]], *, to_the_end: bool = False
    ) -> Verdicts:
        said: list[tuple[RingName, Verdict]] = []
        since = self._clock.monotonic()
        for ring in self._rings:
            passage = await self._ask(ring, call, facts)
            now = self._clock.monotonic()
            self._watch.judged(ring.name, now - since)
            since = now
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
                return Through(refusing.broken(ring.name, "answered something that is no verdict"))
            if not isinstance(found, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
                return Through(refusing.broken(ring.name, "found out something that is no object"))
            facts[ring.name] = found
            return _Late(passage, ring.name) if limit.expired else passage
        except TimeoutError:
            return Through(refusing.broken(ring.name, f"did not answer within {self._ring_seconds} s"))
        except Exception as fault:  # noqa: BLE001 (fails closed: whatever a ring raises is a denial)
            return Through(refusing.broken(ring.name, f"failed: {type(fault).__name__}: {fault}"))

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
            return refusing.refusal(denied, await self._journal.refusal(call, verdicts))
        except AuditError as fault:
            self._count_unwritten(refusing.unrecorded(call, fault))
            return refusing.refusal(refusing.unwritten(fault), "")

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


class _Late(Through):
    """A ring that answered after its time: refused, but what it reserved is settled."""

    def __init__(self, passage: Passage, name: str) -> None:
        super().__init__(refusing.broken(name, "answered too late"))
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
