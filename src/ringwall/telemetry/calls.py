"""Every call from its first look to its outcome, counted and told; and the journal and the effects it is heard at.

Nothing here decides or waits. What is counted is what was written down: a call that the log did not take has not
happened, and is counted as the refusal that the wall makes of it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Final

from ringwall.call import (
    Call,
    CallId,
    Chunk,
    Event,
    Facts,
    Last,
    Outcome,
    RingName,
    Verdicts,
    as_object,
)
from ringwall.clock import Clock
from ringwall.interface import Effect, Journal, Seq
from ringwall.telemetry.metrics import KINDS, Metrics
from ringwall.telemetry.protocol import Span
from ringwall.telemetry.spans import Fate, Tracer
from ringwall.telemetry.trace import Context, spelled

MAX_OPEN: Final = 8192  # calls between their first look and their record; the oldest are forgotten, not counted
STREAMING: Final = frozenset({"SendStreamingMessage", "SubscribeToTask"})  # of A2A
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    """One call. ``since``: monotonic; ``at``: the same moment, since the epoch."""

    call: Call
    since: float
    at: float
    context: Context | None
    streams: bool = False


class Calls:
    """Hears of every call. Implements ``interface.Watch``. Used from one thread.

    Args:
        metrics: where all is counted.
        clock: its two clocks.
        tracer: makes spans; None: nobody wants any.
        put: takes a finished span, at once.

    """

    def __init__(self, metrics: Metrics, clock: Clock, tracer: Tracer | None = None,
                 put: Callable[[Span], None] = lambda span: None) -> None:
        self._metrics = metrics
        self._clock = clock
        self._tracer = tracer
        self._put = put
        self._admitted: dict[CallId, _Open] = {}
        self._running: dict[Seq, _Open] = {}
        self._onward: dict[CallId, str] = {}  # of what runs: the traceparent of its own span

    # --- what the wall tells

    def admitted(self, call: Call, since: float) -> None:
        """The bytes that came at ``since`` (monotonic, seconds) are this call."""
        if len(self._admitted) >= MAX_OPEN:
            del self._admitted[next(iter(self._admitted))]
        self._admitted[call.id] = self._opened(call, since)

    def judged(self, ring: RingName, seconds: float) -> None:
        """A ring has judged a call."""
        self._metrics.ring[ring].observe(seconds)

    # --- what the journal tells

    def began(self, call: Call, record: Seq) -> None:
        """Its intent is durable: its effect begins now."""
        one = self._take(call)
        one.streams = streams(call)
        self._running[record] = one
        if one.context is not None:
            self._onward[call.id] = spelled(one.context)
        self._metrics.added[call.kind].observe(self._clock.monotonic() - one.since)
        self._metrics.running[call.kind].inc()
        if one.streams:
            self._metrics.streams.inc()

    def ended(self, record: Seq, outcome: Outcome) -> None:
        """How it ended."""
        one = self._running.pop(record, None)
        if one is None:
            return
        self._onward.pop(one.call.id, None)
        metrics, kind = self._metrics, one.call.kind
        metrics.running[kind].dec()
        if one.streams:
            metrics.streams.dec()
        metrics.calls[kind, outcome.end].inc()
        metrics.effect[kind].observe(outcome.seconds)
        metrics.whole[kind].observe(self._clock.monotonic() - one.since)
        if outcome.usage.tokens_in or outcome.usage.tokens_out:
            metrics.tokens_in.inc(outcome.usage.tokens_in)
            metrics.tokens_out.inc(outcome.usage.tokens_out)
        if outcome.end in {"failed", "unknown"}:
            metrics.failed(outcome.code)
        self._span(one, Fate(decision="allow", end=outcome.end, record=record, code=outcome.code,
                             usage=outcome.usage))

    def refused(self, call: Call, verdicts: Verdicts, record: Seq) -> None:
        """A ring, a human or the wall itself said no."""
        place, code = refuser(verdicts)
        self._metrics.calls[call.kind, "refused"].inc()
        self._metrics.refused(place, code)
        self._span(self._take(call), Fate(decision="deny", end="refused", record=record, ring=place, code=code))

    def held(self, call: Call, record: Seq) -> None:
        """It waits for a human."""
        self._metrics.calls[call.kind, "held"].inc()
        self._span(self._take(call), Fate(decision="ask", end="held", record=record))

    def told(self, event: Event) -> None:
        """An event; of interest is a request that became no call, and a call that could not be written down."""
        place = {"refused_before_call": "admission", "refused_unrecorded": "audit"}.get(event.type)
        kind = event.body.get("kind")
        if place is None or kind not in KINDS:
            return
        self._metrics.calls[kind, "refused"].inc()
        self._metrics.refused(place, str(event.body.get("code", "")))

    def forgotten(self, call: Call) -> None:
        """The log did not take it: the wall tells of it again, as an event."""
        self._admitted.pop(call.id, None)

    # --- what effects are told

    def onward(self, call: Call) -> Call:
        """The call as its effect sees it: with the ``traceparent`` of its own span, or none; never its caller's."""
        trace = self._onward.get(call.id, "")
        return call if call.trace == trace else replace(call, trace=trace)

    def _opened(self, call: Call, since: float) -> _Open:
        began = self._clock.now() - (self._clock.monotonic() - since)
        return _Open(call, since, began, self._tracer.begin(call) if self._tracer is not None else None)

    def _take(self, call: Call) -> _Open:
        """What is known of a call; of one that came another way, from now on."""
        return self._admitted.pop(call.id, None) or self._opened(call, self._clock.monotonic())

    def _span(self, one: _Open, fate: Fate) -> None:
        if self._tracer is not None and one.context is not None:
            seconds = self._clock.monotonic() - one.since
            self._put(self._tracer.finish(one.call, one.context, one.at, seconds, fate))


class HeardJournal:
    """Implements ``interface.Journal`` in front of another one. A fault in counting is counted, and harms no call.

    Args:
        journal: writes.
        calls: hears what was written.
        metrics: how long that took.
        clock: a monotonic one.

    """

    def __init__(self, journal: Journal, calls: Calls, metrics: Metrics, clock: Clock) -> None:
        self._journal = journal
        self._calls = calls
        self._metrics = metrics
        self._clock = clock

    async def intent(self, call: Call, verdicts: Verdicts) -> Seq:
        since = self._clock.monotonic()
        try:
            record = await self._journal.intent(call, verdicts)
        except BaseException:
            self._calls.forgotten(call)
            raise
        self._metrics.append.observe(self._clock.monotonic() - since)
        self._tell(lambda: self._calls.began(call, record))
        return record

    async def outcome(self, seq: Seq, outcome: Outcome) -> None:
        self._tell(lambda: self._calls.ended(seq, outcome))
        await self._journal.outcome(seq, outcome)

    async def refusal(self, call: Call, verdicts: Verdicts) -> Seq:
        try:
            record = await self._journal.refusal(call, verdicts)
        except BaseException:
            self._calls.forgotten(call)
            raise
        self._tell(lambda: self._calls.refused(call, verdicts, record))
        return record

    async def held(self, call: Call, verdicts: Verdicts) -> Seq:
        try:
            record = await self._journal.held(call, verdicts)
        except BaseException:
            self._calls.forgotten(call)
            raise
        self._tell(lambda: self._calls.held(call, record))
        return record

    async def note(self, event: Event) -> Seq:
        record = await self._journal.note(event)
        self._tell(lambda: self._calls.told(event))
        return record

    def count(self, event: Event) -> None:
        self._tell(lambda: self._calls.told(event))
        self._journal.count(event)

    def _tell(self, what: Callable[[], None]) -> None:
        """What was decided is written down by now, and stays as it is."""
        try:
            what()
        except Exception:
            self._metrics.broken.inc()
            log.exception("a call could not be counted")


class OnwardEffect:
    """An effect that hands the trace on as ``Calls.onward`` says."""

    def __init__(self, effect: Effect, calls: Calls) -> None:
        self._effect = effect
        self._calls = calls

    def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        return self._effect.run(self._calls.onward(call), facts)


def refuser(verdicts: Verdicts) -> tuple[str, str]:
    """What refused, and with which code: the first ring that denied, the human's side, or the wall itself."""
    if verdicts.denied:
        ring, denied = verdicts.denied[0]
        return ring, denied.code
    approval = verdicts.facts.get("approvals")
    return ("approval", str(approval.get("code", ""))) if approval else ("wall", "unknown_kind")


def streams(call: Call) -> bool:
    """Whether the answer was asked for in pieces."""
    args = as_object(call.args) or {}
    if call.kind == "model":
        return (as_object(args.get("request")) or {}).get("stream") is True
    return call.kind == "message" and args.get("method") in STREAMING

