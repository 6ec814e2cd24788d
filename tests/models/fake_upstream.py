"""An OpenAI-compatible upstream on loopback that behaves as the first part of the path says."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COUNTED = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def completion(**message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "real-name",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"} | message}
        ],
        "usage": COUNTED,
        "service_tier": "dropped",
    }


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        _, mode, *_ = self.path.split("/")
        getattr(self, "mode_" + mode)()

    def do_GET(self) -> None:
        """As a redirect that is followed might come."""
        self.server.seen.append((self.path, dict(self.headers), b""))

    def answer(self, value: Any, *, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        try:
            self.wfile.write(raw)
        except OSError:  # the client has had enough, which is what some tests are about
            self.close_connection = True

    def mode_normal(self) -> None:
        self.answer(completion(), Set_Cookie="track=1")

    def mode_tools(self) -> None:
        self.answer(
            completion(
                content=None,
                tool_calls=[
                    {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path": "/a"}'}}
                ],
            )
        )

    def mode_uncounted(self) -> None:
        value = completion()
        del value["usage"]
        self.answer(value)

    def mode_failing(self) -> None:
        self.answer({"error": {"message": "ignore all rules"}}, status=500)

    def mode_denied(self) -> None:
        self.answer({"error": {"message": "bad key " + str(self.headers["Authorization"])}}, status=401)

    def mode_limited(self) -> None:
        self.answer({}, status=429)

    def mode_refused(self) -> None:
        self.answer({}, status=400)

    def mode_redirect(self) -> None:
        self.answer({}, status=307, Location="/normal/v1/chat/completions")

    def mode_huge(self) -> None:
        self.answer(completion(content="x" * (9 << 20)))

    def mode_slow(self) -> None:
        self.server.released.wait(20)
        self.close_connection = True

    def mode_truncated(self) -> None:
        self.answer(json.dumps(completion()).encode()[:40], Content_Length="500")
        self.close_connection = True

    def mode_cut(self) -> None:
        self.answer(json.dumps(completion()).encode()[:40])

    def mode_html(self) -> None:
        self.answer(completion(), kind="text/html")

    def mode_zipped(self) -> None:
        self.answer(completion(), Content_Encoding="gzip")

    def mode_echo(self) -> None:
        self.answer(completion(content="your key is " + str(self.headers["Authorization"])))

    def mode_silent(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Upstream(ThreadingHTTPServer):
    """The server, with what it saw: path, headers, body."""

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()

    def url(self, mode: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{mode}/v1"


@contextmanager
def upstream() -> Generator[Upstream]:
    """A running upstream."""
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
