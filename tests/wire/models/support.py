"""Requests, pieces and a scripted provider for the tests of model wires."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ringwall.call import Json, Usage
from ringwall.errors import BadInput
from ringwall.wire.models import Api, ModelWire, wire
from ringwall.wire.sse import Reader

APIS: tuple[Api, ...] = ("chat", "responses", "messages")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OFFERS: dict[str, Json] = {
    "chat": {
        "model": "main",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    },
    "responses": {
        "model": "main",
        "input": "hi",
        "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}],
    },
    "messages": {
        "model": "main",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
    },
}
USAGE = {"tokens_in": 11, "tokens_out": 7}


def asked(api: Api, **more: Json) -> Json:
    """A canonical request that offers one tool."""
    return wire(api).parse_request({**OFFERS[api], **more})


def opened(api: Api) -> Json:
    return {"open": {"id": "answer-1", "created": 0 if api == "messages" else 5, "model": "main"}}


def text(part: int, said: str, kind: str = "text") -> Json:
    return {"part": part, "kind": kind, "text": said}


def call(part: int, name: str = "weather", number: str = "c1", arguments: str = '{"city":"Bonn"}') -> Json:
    return {"part": part, "call": {"id": number, "name": name, "arguments": arguments}}


def close(finish: str = "stop", usage: Json = USAGE, **more: Json) -> Json:
    return {"close": {"finish": finish, "usage": usage, **more}}


def written(spoken: ModelWire, pieces: Sequence[Json], request: Json) -> bytes:
    """What an agent gets for these pieces."""
    writer = spoken.writer(request)
    return b"".join(writer.feed(piece) for piece in pieces) + writer.end()


def read(spoken: ModelWire, stream: bytes, request: Json) -> tuple[list[Json], Usage | None]:
    """What is believed of a provider's stream."""
    events, reader = Reader(max_event=1 << 23, max_stream=1 << 26), spoken.reader(request)
    pieces = [piece for event in events.feed(stream) for piece in reader.feed(event)]
    events.end()
    rest, usage = reader.end()
    return pieces + rest, usage


def events(*values: Json) -> bytes:
    """A provider's stream: each event named as its type says."""
    return b"".join(
        (f"event: {value['type']}\n" if "type" in value else "").encode()
        + b"data: "
        + json.dumps(value).encode()
        + b"\n\n"
        for value in values
    )


def kept(pieces: list[Json]) -> list[Json]:
    """Texts joined by part, and calls: what must survive a writer and a reader."""
    found: list[Json] = []
    for piece in pieces:
        if "kind" in piece and found and found[-1][:2] == [piece["part"], piece["kind"]]:
            found[-1][2] += piece["text"]
        elif "kind" in piece:
            found.append([piece["part"], piece["kind"], piece["text"]])
        elif "call" in piece:
            found.append(list(piece["call"].values()))
    return found


def code(run: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        run()
    return caught.value.code


class Provider:
    """Answers as a provider would, in our writers' bytes: at first with a tool call, then with a text."""

    def __init__(self) -> None:
        self.requests: list[tuple[Api, Json]] = []
        self.refused: list[str] = []

    def answer(self, api: Api, raw: bytes) -> tuple[int, str, bytes]:
        spoken = wire(api)
        try:
            request = spoken.parse_request(json.loads(raw))
        except BadInput as fault:
            self.refused.append(f"{fault.code}: {fault.cause}")
            return 400, "application/json", spoken.error(400, fault.code, fault.cause, "acme/7")
        self.requests.append((api, request))
        number = len(self.requests)
        begin = {"open": {"id": f"answer-{number}", "created": 5, "model": "main"}}
        results = ('"role":"tool"', '"function_call_output"', '"tool_result"')
        if "tools" in request and not any(mark in json.dumps(request, separators=(",", ":")) for mark in results):
            pieces = [
                begin,
                text(0, "Let me "),
                text(0, "see."),
                call(1, number=f"call_{number}"),
                close("tool_calls"),
            ]
        else:
            pieces = [begin, text(0, "It is "), text(0, "sunny in Bönn."), close()]
        if api != "chat" and "tools" in request:
            sealed = {"signature": "c2ln"} if api == "messages" else {"encrypted_content": "c2ln"}
            named = [{"part": 0, "opaque": {"id": "rs_1"}}] if api == "responses" else []
            rest = [piece | {"part": piece["part"] + 1} if "part" in piece else piece for piece in pieces[1:]]
            pieces = [begin, *named, text(0, "hm", "thinking"), {"part": 0, "opaque": sealed}, *rest]
        if request.get("stream"):
            return 200, "text/event-stream", written(spoken, pieces, request)
        return 200, "application/json", json.dumps(spoken.whole(pieces, request)).encode()


@contextmanager
def serving(provider: Provider) -> Iterator[str]:
    """The provider on a port of this machine; gives the URL without ``/v1``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            path = self.path.partition("?")[0].removeprefix("/v1")
            api = next(api for api in APIS if wire(api).path == path)
            status, kind, body = provider.answer(api, raw)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
