"""``ringwall mcp``: MCP over standard input and output, for clients that start their servers as commands.

Runs inside an agent. Every line is one POST to the door's ``/mcp``; what the door says comes out as lines, the
events of a stream one by one. Standard library only: it is started once for each client, and decides nothing.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final, cast
from urllib.parse import urlsplit

import click

from ringwall._client import door_path

MAX_LINE: Final = 1 << 20  # bytes of one message: what the door takes
MAX_EVENT: Final = 64 << 20  # bytes of one message of the door's: the wall ends results far below
MAX_WAITING: Final = 64  # requests under way; more are refused: to wait would keep answers from being read
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_BROKEN: Final = -32000  # the door did not answer
_Headers = dict[str, str]


@click.command()
@click.option("--server", default="", metavar="NAME", help="One tool server; without it, all that you may use.")
def mcp(server: str) -> None:
    """Speak MCP over standard input and output, to the tools that this agent may use.

    For the configuration of an MCP client inside an agent that `ringwall run` started. Ends when its input ends.
    """
    path = f"/mcp/{server}" if server else "/mcp"
    Bridge(path, sys.stdin.buffer, sys.stdout.buffer).run()


class _Local(http.client.HTTPConnection):
    """HTTP over the door's Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("ringwall")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def connection() -> http.client.HTTPConnection:
    """To the door: RINGWALL_DOOR, else RINGWALL_DOOR_URL, else the place where `ringwall run` puts the socket."""
    url = os.environ.get("RINGWALL_DOOR_URL", "")
    if url and not os.environ.get("RINGWALL_DOOR"):
        parts = urlsplit(url)
        return http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80)
    return _Local(door_path())


class Bridge:
    """Lines on one side, HTTP on the other.

    Args:
        path: of the door.
        lines: what the client writes.
        out: what the client reads.

    """

    def __init__(self, path: str, lines: IO[bytes], out: IO[bytes]) -> None:
        self._path = path
        self._lines = lines
        self._out = out
        self._writing = threading.Lock()
        self._session: _Headers = {}
        self._open: dict[object, http.client.HTTPConnection] = {}  # by the request's id, or by itself

    def run(self) -> None:
        """Until the client closes its side; then nothing that is under way is waited for."""
        for line in self._requests():
            message = _object(line)
            if message.get("method") == "initialize":
                self._post(line, message)  # what comes next belongs to the session that this opens
                if self._session:
                    self._start(self._listen)
            elif message.get("method") == "notifications/cancelled" and not self._session:
                self._hang_up(message)
            elif len(self._open) >= MAX_WAITING and "id" in message and "method" in message:
                self._fault(message["id"], f"more than {MAX_WAITING} requests are under way")
            else:
                self._start(self._post, line, message)
        self._end()

    def _hang_up(self, message: Mapping[str, Any]) -> None:
        """In 2026-07-28 a request over HTTP is cancelled by that."""
        params = message.get("params")
        number = cast("dict[str, Any]", params).get("requestId") if isinstance(params, dict) else None
        asker = self._open.get(_key(number)) if isinstance(number, str | int) else None
        if asker is not None:
            _shut(asker)

    def _requests(self) -> Iterator[bytes]:
        while line := self._lines.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE and not line.endswith(b"\n"):
                self._fault(None, f"a message is longer than {MAX_LINE} bytes", -32600)
                while line and not line.endswith(b"\n"):
                    line = self._lines.readline(MAX_LINE)
            elif line.strip():
                yield line.strip()

    def _start(self, what: Any, *args: Any) -> None:
        threading.Thread(target=what, args=args, daemon=True).start()

    def _post(self, line: bytes, message: Mapping[str, Any]) -> None:
        """One message to the door, and whatever it says to that."""
        asker, wants_answer = connection(), "id" in message and "method" in message
        key = _key(message["id"]) if wants_answer else asker
        self._open[key] = asker
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                   **self._session, **_repeated(message)}
        try:
            asker.request("POST", self._path, line, headers)
            answer = asker.getresponse()
            if message.get("method") == "initialize" and (name := answer.getheader("mcp-session-id")):
                self._session = {"Mcp-Session-Id": name}
            answered = self._told(answer)
            if not answered and wants_answer and answer.status != 200:
                self._fault(message["id"], f"the door answered with status {answer.status}")
        except (OSError, http.client.HTTPException, ValueError) as fault:
            if wants_answer:
                self._fault(message["id"], f"the door broke off or is not there ({fault}): it may have run")
        finally:
            self._open.pop(key, None)
            asker.close()

    def _listen(self) -> None:
        """What the door says unasked, in a session. It may close the stream; then nothing more is heard of news."""
        asker = connection()
        self._open[asker] = asker
        try:
            asker.request("GET", self._path, headers={"Accept": "text/event-stream", **self._session})
            self._told(asker.getresponse())
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            self._open.pop(asker, None)
            asker.close()

    def _told(self, answer: http.client.HTTPResponse) -> bool:
        """Pass on all messages of an answer; whether there was one."""
        kind = (answer.getheader("content-type") or "").partition(";")[0].strip()
        found = False
        for message in events(answer) if kind == "text/event-stream" else [answer.read(MAX_EVENT)]:
            if message.strip():
                found = True
                self._write(message)
        return found

    def _write(self, message: bytes) -> None:
        with self._writing, contextlib.suppress(BrokenPipeError):  # the client is gone; its input ends, too
            self._out.write(message.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")  # in JSON, mere space
            self._out.flush()

    def _fault(self, id: Any, words: str, code: int = _BROKEN) -> None:  # noqa: A002
        self._write(json.dumps({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": words}}).encode())

    def _end(self) -> None:
        """The client is gone: hang up, which cancels what runs for it, and end the session."""
        for asker in list(self._open.values()):
            _shut(asker)
        if not self._session:
            return
        asker = connection()
        try:
            asker.request("DELETE", self._path, headers=self._session)
            asker.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            asker.close()


def _shut(asker: http.client.HTTPConnection) -> None:
    """Hang up while another thread reads."""
    with contextlib.suppress(OSError):
        if asker.sock is not None:
            asker.sock.shutdown(socket.SHUT_RDWR)


def _key(number: Any) -> str:
    """1 and "1" are two ids."""
    return json.dumps(number)


def events(answer: IO[bytes] | http.client.HTTPResponse) -> Iterator[bytes]:
    """The data of each event of the door's, which has one line. Raises ValueError for one that is too long."""
    while line := answer.readline(MAX_EVENT + 1):
        if len(line) > MAX_EVENT:
            raise ValueError("an event is too long")
        if line.startswith(b"data: "):
            yield line[6:].rstrip(b"\r\n")


def _repeated(message: Mapping[str, Any]) -> _Headers:
    """The headers that repeat the body, in 2026-07-28."""
    method, params = message.get("method"), message.get("params")
    fields = cast("dict[str, Any]", params) if isinstance(params, dict) else {}
    meta = fields.get("_meta")
    version = cast("dict[str, Any]", meta).get(VERSION_KEY) if isinstance(meta, dict) else None
    if not isinstance(version, str) or not isinstance(method, str):
        return {}
    name = fields.get(_NAMED_BY.get(method, ""))
    named = {"Mcp-Name": _spelt(name)} if isinstance(name, str) else {}
    return {"Mcp-Protocol-Version": _spelt(version), "Mcp-Method": _spelt(method), **named}


def _spelt(value: str) -> str:
    """A header's value, in Base64 where it would not come through as it is."""
    plain = value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?")
    return value if plain else f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def _object(line: bytes) -> Mapping[str, Any]:
    """What is needed of a message to send it on; the door reads it strictly."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
