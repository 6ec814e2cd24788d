"""The agent's side of its door: HTTP/1.1 over a Unix socket, as little of it as the door speaks.

``Parser`` is sans-I/O; ``Client`` blocks, ``ringwall.aio`` does not. The door always sends Content-Length, so
nothing else is accepted, and http.client with its general header parser is not needed.
"""

from __future__ import annotations

import json
import math
import os
import select
import socket
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NoReturn, cast

from ringwall.errors import BadInput, Held, Limited, Refused, RingwallError, Unavailable

DEFAULT_DOOR: Final = "/run/ringwall/door.sock"
MAX_HEAD: Final = 16 << 10  # the door sends some 100 bytes
MAX_ANSWER: Final = 64 << 20  # the wall ends a result at 8 MiB; escapes can make six bytes of one
MAX_WAIT: Final = 1_000_000  # seconds
_READ: Final = 256 << 10


class Parser:
    """One response. Feed it what arrives; ``done`` when the body is complete."""

    def __init__(self) -> None:
        self.status = 0
        self.keep_alive = True
        self.started = False
        self._head = bytearray()
        self._body = bytearray()
        self._length = -1

    @property
    def done(self) -> bool:
        return len(self._body) == self._length

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    def feed(self, data: bytes) -> None:
        """Take received bytes. Raises Unavailable for anything that is not one whole, bounded response."""
        if data:
            self.started = True
        if self._length < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n", max(0, len(self._head) - len(data) - 3))
            if end < 0:
                if len(self._head) > MAX_HEAD:
                    raise _garbage("its header has no end")
                return
            self._read_head(bytes(self._head[:end]))
            data = bytes(self._head[end + 4 :])
            self._head.clear()
        self._body += data
        if len(self._body) > self._length:
            raise _garbage("it is longer than it says")

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        version, _, rest = first.partition(b" ")
        status = rest[:3]
        if version != b"HTTP/1.1" or not _digits(status, 3) or rest[3:4] not in {b"", b" "}:
            raise _garbage("it is not HTTP/1.1")
        self.status = int(status)
        fields = [_field(line) for line in lines]
        lengths = [value for name, value in fields if name == b"content-length"]
        if len(lengths) != 1 or not _digits(lengths[0], 0) or any(n == b"transfer-encoding" for n, _ in fields):
            raise _garbage("it does not say its length")
        self._length = int(lengths[0])
        if self._length > MAX_ANSWER:
            raise Unavailable(f"the door's answer of {self._length} bytes is too large", code="answer_too_large")
        self.keep_alive = (b"connection", b"close") not in fields


def _digits(text: bytes, exactly: int) -> bool:
    return text.isdigit() and (len(text) == exactly if exactly else len(text) <= 12)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not name or not colon or name != name.strip():
        raise _garbage("a header line has no name")
    return name.lower(), value.strip().lower()


def _garbage(why: str) -> Unavailable:
    return Unavailable(
        f"the door's answer cannot be read: {why}",
        code="bad_answer",
        remedy="the call may have run: see `ringwall audit tail`",
    )


def lost(why: str) -> Unavailable:
    """The connection ended in the middle of a call."""
    return Unavailable(
        f"the door closed the connection before its answer was complete ({why})",
        code="answer_lost",
        remedy="the call may have run: do not repeat it blindly, see `ringwall audit tail`",
    )


def no_door(path: str, fault: OSError) -> Unavailable:
    """There is nobody to ask."""
    if isinstance(fault, ConnectionRefusedError):
        return Unavailable(
            "the door is shut: Ringwall's core is not running, or is restarting",
            code="door_shut",
            remedy="try again in a few seconds; operators see `ringwall status`",
        )
    return Unavailable(
        f"there is no door at {path} ({fault.strerror}): this program was not started by `ringwall run`",
        code="no_door",
        remedy="start it with: ringwall run AGENT -- COMMAND",
    )


def request(path: str, payload: Any, wait: float | None = None) -> bytes:
    """The bytes of a request; ``wait``: seconds to wait for a human (RFC 7240 ``Prefer: wait``).

    Raises BadInput if the payload cannot be written as JSON, or ``wait`` is no number of seconds.
    """
    try:
        body = json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as fault:
        raise BadInput(f"the arguments cannot be written as JSON: {fault}", code="bad_arguments") from fault
    head = f"POST {path} HTTP/1.1\r\nHost: ringwall\r\nContent-Type: application/json\r\n"
    if wait:
        head += f"Prefer: wait={_seconds(wait)}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _seconds(wait: float) -> int:
    """Whole seconds, rounded up. Raises BadInput."""
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 < wait < MAX_WAIT:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadInput(f"wait is a number of seconds below {MAX_WAIT}", code="bad_arguments")
    return math.ceil(wait)


def result(parser: Parser) -> Any:
    """The result in a complete response, or the error it carries as an exception."""
    try:
        answer = json.loads(parser.body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as fault:
        raise _garbage(f"it is not JSON: {fault}") from fault
    if not isinstance(answer, dict):
        raise _garbage("it is not a JSON object")
    fields = cast("dict[str, Any]", answer)
    if parser.status == 200 and "result" in fields:
        return fields["result"]
    problem = fields.get("error")
    if parser.status == 200 or not isinstance(problem, dict):
        raise _garbage("it has neither a result nor an error")
    raise error(parser.status, cast("dict[str, Any]", problem))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def error(status: int, problem: Mapping[str, Any]) -> RingwallError:
    """The exception for a status and its ``error`` object. Raises Unavailable if that is malformed."""
    code, cause, remedy, record = (_text(problem, name) for name in ("code", "reason", "remedy", "record"))
    errors = problem.get("errors")
    if isinstance(errors, list) and errors and str(cast("list[Any]", errors)[0]) not in cause:
        cause = f"{cause}: {'; '.join(str(error) for error in cast('list[Any]', errors))}"
    if status == 429:
        wait = problem.get("retry_after")
        seconds = float(wait) if isinstance(wait, (int, float)) else 0.0
        return Limited(cause, code=code, remedy=remedy, record=record, retry_after=seconds)
    if status == 409:
        return Held(cause, remedy=remedy, record=record)
    if status == 503:
        return Unavailable(cause, code=code, remedy=remedy, record=record)
    if status < 500:
        return Refused(cause, code=code, remedy=remedy, record=record)
    return RingwallError(cause, code=code, remedy=remedy, record=record)


def _text(problem: Mapping[str, Any], name: str) -> str:
    value = problem.get(name, "")
    if not isinstance(value, str):
        raise _garbage(f"the error's {name} is not a text")
    return value


def door_path() -> str:
    """Where the door is: ``RINGWALL_DOOR``, or the place where ``ringwall run`` puts it."""
    return os.environ.get("RINGWALL_DOOR") or DEFAULT_DOOR


def stale(sock: socket.socket) -> bool:
    """Whether an idle connection has been closed by the door (or has bytes that nobody asked for)."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


class Client:
    """Blocking calls; one kept-alive connection for each thread of each process.

    Args:
        path: of the door's socket; None: ``door_path()``, read at each connect.

    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._kept = _Kept()

    def ask(self, path: str, payload: Any, wait: float | None = None) -> Any:
        """One call. Raises as ``ringwall.call_tool`` documents."""
        data = request(path, payload, wait)
        sock = self._kept.take()
        try:
            if sock is None or not _send(sock, data):
                if sock is not None:
                    sock.close()
                sock = self._connect()
                _send_all(sock, data)
            parser = _receive(sock)
        except BaseException:
            if sock is not None:
                sock.close()  # a connection with half an exchange on it is of no use to anybody
            raise
        if parser.keep_alive:
            self._kept.put(sock)
        else:
            sock.close()
        return result(parser)

    def close(self) -> None:
        """Close this thread's connection."""
        sock = self._kept.take()
        if sock is not None:
            sock.close()

    def _connect(self) -> socket.socket:
        path = self._path or door_path()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError as fault:
            sock.close()
            raise no_door(path, fault) from fault
        return sock


class _Owned:
    """A socket that is closed when its thread ends."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket | None = sock
        self.pid = os.getpid()

    def __del__(self) -> None:
        if self.sock is not None:
            self.sock.close()


class _Kept(threading.local):
    """This thread's idle connection. A forked child leaves its parent's alone: both would read the answers."""

    def __init__(self) -> None:
        self._owned: _Owned | None = None

    def take(self) -> socket.socket | None:
        """The idle connection, if it is still good."""
        owned, self._owned = self._owned, None
        if owned is None or owned.sock is None or owned.pid != os.getpid() or stale(owned.sock):
            return None
        sock, owned.sock = owned.sock, None
        return sock

    def put(self, sock: socket.socket) -> None:
        self._owned = _Owned(sock)


def _send(sock: socket.socket, data: bytes) -> bool:
    """Send on a kept connection. False: it was closed and not one byte went out, so asking again is safe."""
    try:
        sent = sock.send(data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    _send_all(sock, data[sent:])
    return True


def _send_all(sock: socket.socket, data: bytes) -> None:
    """Send the rest. A door that stops listening may have answered already, so the answer is read anyway."""
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def _receive(sock: socket.socket) -> Parser:
    parser = Parser()
    while not parser.done:
        try:
            data = sock.recv(_READ)
        except ConnectionResetError as fault:
            raise lost("reset") from fault
        if not data:
            raise lost("truncated" if parser.started else "no answer")
        parser.feed(data)
    return parser


@cache
def default() -> Client:
    """The client behind ``ringwall.call_tool``."""
    return Client()


def tool_call(
    name: str, args: Mapping[str, Any] | None, more: Mapping[str, Any], approval: str | None = None
) -> dict[str, Any]:
    """The body of a tool call. Raises BadInput if an argument is given twice."""
    given = dict(args or {})
    twice = sorted(given.keys() & more.keys())
    if twice:
        raise BadInput(f"{', '.join(twice)} given twice, in the mapping and by keyword", code="bad_arguments")
    return {"tool": name, "args": {**given, **more}, **_approved(approval)}


def _approved(approval: str | None) -> dict[str, str]:
    return {} if approval is None else {"approval": approval}


def tool_list(answer: Any) -> list[dict[str, Any]]:
    """Check that a listing is a list of objects."""
    if not isinstance(answer, list):
        raise _garbage("a listing must be a list")
    items = cast("list[Any]", answer)
    if not all(isinstance(item, dict) for item in items):
        raise _garbage("a listing must be a list of objects")
    return items


def chat(
    model: str, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any], approval: str | None = None
) -> dict[str, Any]:
    """The body of a chat completion request."""
    request = {**params, "messages": [dict(message) for message in messages]}
    return {"model": model, "request": request, **_approved(approval)}


def sending(
    peer: str,
    skill: str,
    parts: Sequence[Mapping[str, Any]] | str,
    *,
    task_id: str | None,
    context_id: str | None,
    message_id: str | None,
    approval: str | None,
) -> tuple[str, dict[str, Any]]:
    """The path and the body of a message to a peer. A plain text stands for one text part."""
    given = [{"text": parts}] if isinstance(parts, str) else [dict(part) for part in parts]
    more = {"task_id": task_id, "context_id": context_id, "message_id": message_id, "approval": approval}
    body = {"skill": skill, "parts": given, **{name: value for name, value in more.items() if value is not None}}
    return f"/v1/messages/send/{peer}", body


def completion(answer: Any) -> dict[str, Any]:
    """Check that a completion is an object."""
    if not isinstance(answer, dict):
        raise _garbage("a completion must be an object")
    return cast("dict[str, Any]", answer)
