"""The counters of one core, for Prometheus. Always counted; shown where ``[telemetry] metrics`` says.

Labels come from closed sets only, and each child is bound before it is needed, so that counting is one addition
under a lock, from any thread. Nothing that an agent, a tool or a model wrote is ever a label.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ringwall.call import End, Kind, RingName
from ringwall.guard.interface import Direction
from ringwall.telemetry.codes import OTHER, closed

Result: TypeAlias = Literal["sent", "failed", "dropped"]
_T = TypeVar("_T", bound=Collector)
_F = TypeVar("_F", GaugeMetricFamily, CounterMetricFamily)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ENDS: Final[tuple[End, ...]] = tuple(end for end in get_args(End) if end != "dry")  # nothing ran, nothing ended
RINGS: Final[tuple[RingName, ...]] = tuple(ring for ring in get_args(RingName) if ring != "audit")
PLACES: Final[frozenset[str]] = frozenset({*get_args(RingName), "admission", "approval", "wall"})
RESULTS: Final[tuple[Result, ...]] = get_args(Result)
SHORT: Final = (.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1.0, 2.5)  # our own work
LONG: Final = (.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)  # others' work


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What is asked for at each scrape instead of being counted. Names come from the manifest.

    ``restarts``: by process; ``up``: which of them run; ``logs``: bytes of each log's segments; ``quota``: of one.
    """

    held: int = 0
    restarts: Mapping[str, int] = field(default_factory=dict[str, int])
    up: Collection[str] = ()
    logs: Mapping[str, int] = field(default_factory=dict[str, int])
    quota: int = 0


class Metrics:
    """All of them. One a core.

    Args:
        version: Ringwall's own.

    """

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # one more series for each child, for a format that is not served here
        self._families = CollectorRegistry()
        self._collectors: list[Collector] = []
        calls = self._counter("ringwall_calls", "Calls that ended, also those that were refused or held.",
                              ("kind", "end"))
        running = self._gauge("ringwall_calls_running", "Calls whose effect runs.", ("kind",))
        ring = self._histogram("ringwall_ring_seconds", "What one ring took to judge one call.", SHORT, ("ring",))
        added = self._histogram("ringwall_added_seconds", "From the first look at a request until its effect may "
                                "begin: what Ringwall adds before it.", SHORT, ("kind",))
        whole = self._histogram("ringwall_call_seconds", "From the first look at a request until its outcome is "
                                "recorded.", LONG, ("kind",))
        effect = self._histogram("ringwall_effect_seconds", "From the intent until the last piece of the answer is "
                                 "released.", LONG, ("kind",))
        guard = self._histogram("ringwall_guard_seconds", "One question to the guard's process and its answer.",
                                SHORT, ("direction",))
        tokens = self._counter("ringwall_tokens", "Tokens of model calls, as their upstreams count them.",
                               ("direction",))
        spans = self._counter("ringwall_spans", "Spans for OpenTelemetry: taken by the collector, refused by it, "
                              "or dropped because it is too slow or away.", ("result",))
        self._refusals = self._counter("ringwall_refusals", "Refused calls, by what refused them and why.",
                                       ("ring", "code"))
        self._faults = self._counter("ringwall_faults", "Calls that were let through and whose effect failed.",
                                     ("code",))
        self.append = self._histogram("ringwall_log_append_seconds", "What a call waited until its record was "
                                      "durable.", SHORT)
        self.sync = self._histogram("ringwall_log_sync_seconds", "One fdatasync of a log.", SHORT)
        self.streams = self._gauge("ringwall_streams_open", "Calls whose answer still comes as a stream.")
        self.reads = self._counter("ringwall_secret_reads", "Secrets that agents read themselves.")
        self.broken = self._counter("ringwall_telemetry_faults", "Calls that could not be counted: a fault of "
                                    "Ringwall's own.")
        self._gauge("ringwall_build_info", "1, for this version.", ("version", "python")).labels(
            version, platform.python_version()).set(1)
        self.calls: Mapping[tuple[str, str], Counter] = {
            (kind, end): calls.labels(kind, end) for kind in KINDS for end in ENDS}
        self.running: Mapping[str, Gauge] = {kind: running.labels(kind) for kind in KINDS}
        self.ring: Mapping[str, Histogram] = {name: ring.labels(name) for name in RINGS}
        self.added: Mapping[str, Histogram] = {kind: added.labels(kind) for kind in KINDS}
        self.whole: Mapping[str, Histogram] = {kind: whole.labels(kind) for kind in KINDS}
        self.effect: Mapping[str, Histogram] = {kind: effect.labels(kind) for kind in KINDS}
        self.guard: Mapping[str, Histogram] = {one: guard.labels(one) for one in get_args(Direction)}
        self.tokens_in, self.tokens_out = tokens.labels("in"), tokens.labels("out")
        self.spans: Mapping[Result, Counter] = {result: spans.labels(result) for result in RESULTS}
        # Of these there are some thousand possible ones: each is bound when it is first met.
        self._bound: dict[tuple[str, str], Counter] = {}
        self._collectors.append(ProcessCollector(registry=None))

    def refused(self, place: str, code: str) -> None:
        """One call was refused. A code or a place that is not in its table counts as ``other``."""
        key = (place if place in PLACES else OTHER, closed(code))
        found = self._bound.get(key)
        if found is None:
            found = self._bound[key] = self._refusals.labels(*key)
        found.inc()

    def failed(self, code: str) -> None:
        """The effect of one call failed."""
        key = ("", closed(code))
        found = self._bound.get(key)
        if found is None:
            found = self._bound[key] = self._faults.labels(key[1])
        found.inc()

    def pages(self, now: Now) -> Iterable[bytes]:
        """The page, one metric after the other, so that calls go on between two of them."""
        for collector in [*self._collectors, _Current(now)]:
            yield generate_latest(_One(collector))

    def names(self) -> list[str]:
        """Each metric's name as the page has it."""
        found = [(metric.name, metric.type) for collector in [*self._collectors, _Current(Now())]
                 for metric in collector.collect()]
        return [f"{name}_total" if kind == "counter" else name for name, kind in found]

    def _counter(self, name: str, doc: str, labels: tuple[str, ...] = ()) -> Counter:
        return self._kept(Counter(name, doc, labels, registry=self._families))

    def _gauge(self, name: str, doc: str, labels: tuple[str, ...] = ()) -> Gauge:
        return self._kept(Gauge(name, doc, labels, registry=self._families))

    def _histogram(self, name: str, doc: str, buckets: tuple[float, ...],
                   labels: tuple[str, ...] = ()) -> Histogram:
        return self._kept(Histogram(name, doc, labels, buckets=buckets, registry=self._families))

    def _kept(self, metric: _T) -> _T:
        self._collectors.append(metric)
        return metric


class _One(CollectorRegistry):
    """A registry of one collector, for ``generate_latest``."""

    def __init__(self, collector: Collector) -> None:
        super().__init__(auto_describe=False)
        self._only = collector

    def collect(self) -> Iterable[Metric]:
        return self._only.collect()


class _Current(Collector):
    """What ``Now`` says, as metrics."""

    def __init__(self, now: Now) -> None:
        self._now = now

    def collect(self) -> Iterable[Metric]:
        now = self._now
        yield GaugeMetricFamily("ringwall_held_calls", "Calls that wait for a human.", value=now.held)
        yield GaugeMetricFamily("ringwall_log_quota_bytes", "What the segments of one log may fill.",
                                value=now.quota)
        yield _family(GaugeMetricFamily("ringwall_log_bytes", "What the segments of a log fill.", labels=("log",)),
                      now.logs)
        yield _family(GaugeMetricFamily("ringwall_process_up", "Whether a helper process runs and is ready.",
                                        labels=("process",)), {name: name in now.up for name in now.restarts})
        yield _family(CounterMetricFamily("ringwall_process_restarts", "How often a helper process was started "
                                          "again.", labels=("process",)), now.restarts)


def _family(family: _F, values: Mapping[str, float]) -> _F:
    for name, value in sorted(values.items()):
        family.add_metric([name], value)
    return family

