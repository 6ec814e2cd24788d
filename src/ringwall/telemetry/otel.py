"""Our spans through OpenTelemetry's SDK, to a collector over HTTP. Imported in the exporter's process only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ringwall.telemetry.protocol import Hello, Span
from ringwall.telemetry.trace import parse

PATH: Final = "/v1/traces"  # OTLP/HTTP, section "Request"
SECONDS: Final = 5.0  # for one batch, retries included; what comes meanwhile waits in the core
_KINDS: Final = {"client": SpanKind.CLIENT, "server": SpanKind.SERVER, "internal": SpanKind.INTERNAL}


class _Given(IdGenerator):
    """The identifiers that the core chose."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Ended(SpanProcessor):
    """Keeps spans that ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class Exporter:
    """Makes the SDK's spans and sends them. Used from one thread at a time."""

    def __init__(self, hello: Hello) -> None:
        session = requests.Session()
        session.trust_env = False  # no proxy, no .netrc
        self._exporter = OTLPSpanExporter(endpoint=hello.url.rstrip("/") + PATH, timeout=SECONDS, session=session)
        self._ids, self._ended = _Given(), _Ended()
        resource = Resource({"service.name": "ringwall", "service.version": hello.version,
                             "service.namespace": hello.installation})
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids,
                                  shutdown_on_exit=False)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("ringwall", hello.version)

    def export(self, spans: Sequence[Span]) -> bool:
        """Send a batch; whether the collector took it. Blocks at most ``SECONDS``."""
        self._ended.spans = []
        for span in spans:
            self._make(span)
        return self._exporter.export(self._ended.spans) is SpanExportResult.SUCCESS

    def _make(self, span: Span) -> None:
        self._ids.trace_id, self._ids.span_id = int(span.trace_id, 16), int(span.span_id, 16)
        caller = parse(span.link)
        links: list[Link] = []
        if caller is not None:
            links.append(Link(SpanContext(
                trace_id=int(caller.trace_id, 16), span_id=int(caller.span_id, 16), is_remote=True,
                trace_flags=TraceFlags(TraceFlags.SAMPLED if caller.sampled else TraceFlags.DEFAULT))))
        made = self._tracer.start_span(
            span.name, kind=_KINDS[span.kind], attributes=span.attributes, links=links, start_time=span.start)
        made.set_status(Status(StatusCode.ERROR if span.failed else StatusCode.UNSET))
        made.end(end_time=span.end)
