"""The office's model as a service on loopback, over three APIs: ``python -m ringwall.redteam.office.model PORT``.

``/v1/chat/completions``, ``/v1/responses`` and ``/v1/messages``, whole and streamed. It asks for no key. What it
searches the web for is written down: that is where a search goes, to somebody else.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from ringwall.redteam.office.journalled import append
from ringwall.redteam.office.obeying import looked_up, obey
from ringwall.redteam.office.wires import WIRES, Declined, Events


def _encoded(events: Events) -> Iterator[bytes]:
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        yield (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    searches: Path | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wire = WIRES.get(self.path.partition("?")[0])  # Anthropic's betas ask with ?beta=true
        if wire is None:
            self._whole(HTTPStatus.NOT_FOUND, {"error": {"type": "not_found_error", "message": self.path}})
            return
        try:
            context = wire.read(json.loads(body))
            self._search(looked_up(context))
            answer = wire.whole(obey(context), context)
        # A request that is none, or arguments that are no JSON.
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            why = {"type": "invalid_request_error", "message": f"{type(fault).__name__}: {fault}"}
            details = {"details": {"error_code": fault.code}} if isinstance(fault, Declined) else {}
            self._whole(HTTPStatus.BAD_REQUEST, {"type": "error", "error": {**why, **details}})
            return
        if context.stream:
            self._streamed(wire.events(answer, context))
        else:
            self._whole(HTTPStatus.OK, answer)

    def _search(self, queries: Iterable[str]) -> None:
        for query in queries:
            if self.searches is not None:
                append(self.searches, query=query)

    def _whole(self, status: HTTPStatus, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _streamed(self, events: Events) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in _encoded(events):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        return


class Model:
    """The model while the block runs. ``port``: where; 0 for any that is free. ``url`` ends with ``/v1``.

    ``searches``: the file for what it searches the web for; None: nobody looks.
    """

    def __init__(self, port: int = 0, *, searches: Path | None = None) -> None:
        handler = type("Handler", (_Handler,), {"searches": searches})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def main() -> int:
    """Until somebody ends it."""
    with Model(int(sys.argv[1])) as model:
        print(model.url, flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
