"""What telemetry adds to one allowed tool call: counting alone, and with a span, beside OpenTelemetry's own span.

The core's thread does only this: the clock is read around six rings, a record is pretended, an effect is none. The
rival is the SDK in process, as it is used elsewhere: a sampled span with the same attributes, kept for a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Final, cast

import results
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from ringwall.call import Call, CallId, Event, LaunchId, Outcome, Process, RingName, Target, Verdicts
from ringwall.clock import SystemClock
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Effect, Seq
from ringwall.telemetry import protocol
from ringwall.telemetry.calls import Calls, HeardJournal, OnwardEffect
from ringwall.telemetry.known import Known
from ringwall.telemetry.metrics import RINGS, Metrics, Now
from ringwall.telemetry.protocol import MAX_BATCH, Span, Spans
from ringwall.telemetry.spans import Tracer

ROUNDS: Final = 9
CALLS: Final = 5_000  # of a round
TARGET_US: Final = 20.0  # counting and a span together
VERDICTS: Final = Verdicts(rings=(), facts={})
WHO: Final = Process(
    spiffe_id=SpiffeId.make(trust_domain="example.org", tenant="acme", agent="alice", role="reader"),
    launch=LaunchId("l1"), connection=1)
KNOWN: Final = Known(tools={"mail/send": True}, models={}, agents=frozenset())


class Silent:
    """A journal that writes nothing."""

    def __init__(self) -> None:
        self._number = 0

    async def intent(self, call: Call, verdicts: Verdicts) -> Seq:
        self._number += 1
        return Seq(f"acme/{self._number}")

    async def outcome(self, seq: Seq, outcome: Outcome) -> None: ...

    async def refusal(self, call: Call, verdicts: Verdicts) -> Seq:
        return Seq("acme/0")

    async def held(self, call: Call, verdicts: Verdicts) -> Seq:
        return Seq("acme/0")

    async def note(self, event: Event) -> Seq:
        return Seq("acme/0")

    def count(self, event: Event) -> None: ...


class Nothing:
    """An effect that does nothing."""

    def run(self, call: Call, facts: Any) -> AsyncGenerator[Any, None]:
        return cast("AsyncGenerator[Any, None]", None)


class Box:
    """Packs spans as the core does."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def put(self, span: Span) -> None:
        self._spans.append(span)
        if len(self._spans) == MAX_BATCH:
            protocol.encode(Spans(self._spans))
            self._spans = []


class Kept(SpanProcessor):
    """The rival's batch."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)
        if len(self._spans) == MAX_BATCH:
            self._spans = []


async def crossing(call: Call, journal: Any, effect: Effect, calls: Calls | None, clock: SystemClock) -> None:
    """One call as the wall tells of it; without ``calls``, the same without telling."""
    since = clock.monotonic()
    if calls is not None:
        calls.admitted(call, since)
        before = clock.monotonic()
        ring: RingName
        for ring in RINGS:
            now = clock.monotonic()
            calls.judged(ring, now - before)
            before = now
    record = await journal.intent(call, VERDICTS)
    effect.run(call, {})
    await journal.outcome(record, Outcome(end="done", seconds=0.001))


async def ours(put: Callable[[Span], None] | None, *, heard: bool) -> float:
    """Seconds of one call."""
    clock, journal, effect, calls = SystemClock(), Silent(), Nothing(), None
    asked = Call.make(id=CallId("c1"), kind="tool", subject=WHO, session=None, target=Target(name="mail/send"),
                      args={})
    told: Any = journal
    if heard:
        metrics = Metrics("1")
        tracer = Tracer(KNOWN, lambda: "revision") if put is not None else None
        calls = Calls(metrics, clock, tracer, put or (lambda span: None))
        told, effect = HeardJournal(journal, calls, metrics, clock), OnwardEffect(effect, calls)
    began = time.thread_time()
    for _ in range(CALLS):
        await crossing(asked, told, effect, calls, clock)
    return (time.thread_time() - began) / CALLS


def rival(attributes: dict[str, Any]) -> float:
    """Seconds of one span of the SDK's."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Kept())
    tracer = provider.get_tracer("rival")
    began = time.thread_time()
    for _ in range(CALLS):
        tracer.start_span("execute_tool mail/send", attributes=attributes).end()
    return (time.thread_time() - began) / CALLS


async def measured() -> dict[str, Any]:
    """Medians, in microseconds; the page in milliseconds."""
    seen: list[Span] = []
    await ours(seen.append, heard=True)
    rounds: dict[str, list[float]] = {"bare": [], "counting": [], "counting_and_span": [], "sdk_span": []}
    for _ in range(ROUNDS):
        rounds["bare"].append(await ours(None, heard=False))
        rounds["counting"].append(await ours(None, heard=True))
        rounds["counting_and_span"].append(await ours(Box().put, heard=True))
        rounds["sdk_span"].append(rival(dict(seen[0].attributes)))
    found = {name: statistics.median(times) * 1e6 for name, times in rounds.items()}
    added = {name: round(found[name] - found["bare"], 2) for name in ("counting", "counting_and_span")}
    steps: list[float] = []
    metrics, last = Metrics("1"), time.perf_counter()
    for _ in metrics.pages(Now()):
        now = time.perf_counter()
        steps.append(now - last)
        last = now
    return {**added, "sdk_span": round(found["sdk_span"], 2),
            "ratio": round(found["sdk_span"] / (added["counting_and_span"] - added["counting"]), 1),
            "page_ms": round(sum(steps) * 1e3, 2), "page_longest_step_ms": round(max(steps) * 1e3, 2)}


def main() -> int:
    """0: within the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--save", action="store_true", help="store the figures in results.json")
    options = parser.parse_args()
    figures = asyncio.run(measured())
    if options.save:
        results.save("telemetry", figures, folder=Path("/tmp"))  # noqa: S108 (nothing is written)
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"Added to one tool call, µs of the core's processor time; {results.machine(Path('/tmp'))}")  # noqa: S108
        print(f"  counting                  {figures['counting']:>8.2f}")
        print(f"  counting, and a span      {figures['counting_and_span']:>8.2f}   (target {TARGET_US:g})")
        print(f"  the SDK's span in process {figures['sdk_span']:>8.2f}   ({figures['ratio']} times ours)")
        print(f"a page: {figures['page_ms']} ms, its longest step {figures['page_longest_step_ms']} ms")
    return 0 if figures["counting_and_span"] <= TARGET_US else 1


if __name__ == "__main__":
    sys.exit(main())
