"""A model upstream on loopback that speaks three interfaces and behaves as the first part of the path says."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.models.provider import PATHS, answer, events

KEY = "sk-secret-4711-abcdefgh"
CALL = ("c1", "read", '{"path": "/a"}')
ASKED = (("c1", "closed__echo", '{"text": "out"}'), ("c2", "echo__echo", '{"text": "in"}'), ("c3", "mine", "{}"))
HUGE = 1 << 30  # bytes an upstream that does not stop would send


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Upstream
    api = key = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        _, mode, *_ = self.path.split("/")
        self.api = next(api for api, path in PATHS.items() if self.path.endswith("/v1" + path))
        sent = self.headers["Authorization"] or self.headers["x-api-key"] or ""
        self.key = sent.rpartition(" ")[2]
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

    def whole(self, text: str = "hello", *calls: Any, counted: bool = True, **headers: str) -> None:
        self.answer(answer(self.api, text, calls, counted=counted), **headers)

    def stream(self, pieces: Iterable[bytes], kind: str = "text/event-stream") -> None:
        """Send in chunks of HTTP, each in a write of its own."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # the client has had enough
            self.server.left.set()
            self.close_connection = True

    def mode_normal(self) -> None:
        self.whole(Set_Cookie="track=1")

    def mode_tools(self) -> None:
        self.whole("", CALL)

    def mode_unoffered(self) -> None:
        self.whole("", ("c9", "rm_rf", "{}"))

    def mode_uncounted(self) -> None:
        self.whole(counted=False)

    def mode_echo(self) -> None:
        self.whole("your key is " + self.key)

    def mode_echo_in_call(self) -> None:
        self.whole("", ("c1", "read", json.dumps({"path": self.key}).replace("s", "\\u0073")))

    def mode_busy(self) -> None:
        if len(self.server.seen) < 3:
            self.answer({}, status=529 if len(self.server.seen) == 1 else 503, Retry_After="0")
        else:
            self.whole()

    def mode_busy_for_long(self) -> None:
        self.answer({}, status=429, Retry_After="11")

    def mode_huge(self) -> None:
        self.stream((b'{"x":"', *(b"x" * (1 << 20) for _ in range(HUGE >> 20))), "application/json")

    # --- streams

    def events(self, *deltas: str, calls: Any = (), counted: bool = True) -> list[bytes]:
        return events(self.api, list(deltas), calls, counted=counted)

    def mode_s_normal(self) -> None:
        self.stream(self.events("hel", "lo ", "wörld \U0001f600"))

    def mode_s_busy(self) -> None:
        if len(self.server.seen) < 3:
            self.answer({}, status=429, Retry_After="0")
        else:
            self.mode_s_normal()

    def mode_s_bytes(self) -> None:
        self.stream(bytes([one]) for one in b"".join(self.events("hel", "lo ", "wörld \U0001f600")))

    def mode_s_uncounted(self) -> None:
        self.stream(self.events("hello", counted=False))

    def mode_s_tools(self) -> None:
        self.stream(self.events("well", calls=(CALL,)))

    def mode_judged(self) -> None:
        if b'"stream":true' in self.server.seen[-1][2]:
            self.stream(self.events("well", calls=ASKED))
        else:
            self.whole("well", *ASKED)

    def mode_s_unoffered(self) -> None:
        self.stream(self.events("well", calls=(("c9", "rm_rf", "{}"),)))

    def mode_s_echo(self) -> None:
        self.stream(self.events("your key is ", *self.key, " indeed"))

    def mode_s_echo_in_call(self) -> None:
        self.stream(self.events("well", calls=(("c1", "read", json.dumps({"path": self.key})),)))

    def mode_s_dies(self) -> None:
        whole = self.events("hel", "lo ")
        self.stream(whole[: len(whole) - 2])

    def mode_s_cut(self) -> None:
        """The connection breaks, not even the response ends."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"".join(self.begin()))
        self.close_connection = True

    def begin(self) -> list[bytes]:
        """All up to the first words."""
        whole = self.events("first")
        return whole[: 1 + next(place for place, one in enumerate(whole) if b"first" in one)]

    def endless(self, piece: bytes) -> Iterator[bytes]:
        yield from self.begin()
        while not self.server.released.is_set():
            yield piece
            self.server.released.wait(0.01)

    def mode_s_comments(self) -> None:
        self.stream(self.endless(b": still here\n\n"))

    def mode_s_more(self) -> None:
        piece = next(one for one in self.events("and on ") if b"and on" in one)
        self.stream(self.endless(piece))

    def mode_s_huge(self) -> None:
        piece = next(one for one in self.events("x" * (1 << 16)) if b"xxx" in one)
        self.stream([*self.begin(), *(piece for _ in range(HUGE >> 16))])

    def mode_s_flood(self) -> None:
        """Words without end, as fast as they are taken, of characters that have more bytes than one."""
        piece = next(one for one in self.events("mehr 𝄞 für " * 2000) if b"mehr" in one)
        self.stream([*self.begin(), *(piece for _ in range(HUGE >> 15))])

    def mode_s_wide(self) -> None:
        """As many characters as a reader takes, and more bytes than the core does."""
        self.stream(self.events(*["\u4e2d" * 50_000] * 70))

    def mode_s_line(self) -> None:
        self.stream(b"data: " + b"x" * (1 << 20) if not n else b"x" * (1 << 20) for n in range(HUGE >> 20))

    def mode_s_json(self) -> None:
        self.whole()

    def mode_s_gate(self) -> None:
        """The words before the gate are more than anybody holds back."""
        self.stream(self.gated(self.events("so far so good " * 40, "and the rest")))

    def gated(self, whole: list[bytes]) -> Iterator[bytes]:
        for place, piece in enumerate(whole):
            if b"and the rest" in piece and b"and the rest" not in b"".join(whole[:place]):
                self.server.begun.set()
                self.server.go.wait(30)
            yield piece

    def mode_s_zipped(self) -> None:
        raw = gzip.compress(b"".join(self.events("hello")))
        self.answer(raw, kind="text/event-stream", Content_Encoding="gzip")

    def mode_s_tail(self) -> None:
        """The stream has its end, the response has none."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"".join(self.events("hello")))
        self.server.released.wait(20)
        self.close_connection = True

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

    def mode_slow(self) -> None:
        self.server.released.wait(20)
        self.close_connection = True

    def mode_truncated(self) -> None:
        self.answer(json.dumps(answer(self.api)).encode()[:40], Content_Length="500")
        self.close_connection = True

    def mode_cut(self) -> None:
        self.answer(json.dumps(answer(self.api)).encode()[:40])

    def mode_html(self) -> None:
        self.answer(answer(self.api), kind="text/html")

    def mode_zipped(self) -> None:
        self.answer(answer(self.api), Content_Encoding="gzip")

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
        self.begun, self.go = threading.Event(), threading.Event()  # of a stream that stands still in the middle
        self.left = threading.Event()  # a client went in the middle of a stream

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
        server.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
