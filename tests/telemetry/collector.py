"""An OpenTelemetry collector over HTTP that keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """``requests``: path and decoded message of each. ``status``: what it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []
        self.raw = b""
        self.asked: list[str] = []
        self.status = 200
        self.url = ""

    @property
    def spans(self) -> list[Any]:
        return [span for _, request in list(self.requests) for resource in request.resource_spans
                for scope in resource.scope_spans for span in scope.spans]

    def resource(self) -> dict[str, str]:
        [one] = self.requests[0][1].resource_spans
        return {each.key: each.value.string_value for each in one.resource.attributes}


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@contextmanager
def collector() -> Generator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.raw += body
            found.asked.append(f"POST {self.path}")
            if found.status == 200:
                found.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(found.status)
            self.send_header("location", f"{found.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            found.asked.append(f"GET {self.path}")
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
