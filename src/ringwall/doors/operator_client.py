"""The command line's side of the operators' door. Blocking, standard library only."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from ringwall import _client
from ringwall.errors import Unavailable

MAX_LINE: Final = 1 << 20  # the core sends output in pieces far smaller
MAX_ANSWER: Final = 16 << 20
MAX_DOWNLOAD: Final = 256 << 20  # a backup of the vault
FIRST_PIECE: Final = 64 << 10  # of an upload, as the door takes it
PIECE: Final = 1 << 20  # each further one
STDIN_PIECE: Final = 256 << 10  # one request's worth; the door takes 4 MiB

_Line = dict[str, Any]


class _Connection(http.client.HTTPConnection):
    """http.client over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("ringwall")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(str(self._path))
        except OSError as fault:
            self.close()
            raise _not_up(self._path, fault) from fault


class OperatorClient:
    """Asks the core that ``ringwall up`` runs. Each request has a connection of its own.

    Args:
        path: of the operator socket.

    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, body: _Line, on_line: Callable[[_Line], None]) -> None:
        """Start a run and follow it to its end.

        Args:
            body: the operator's call.
            on_line: gets each line: ``started``, ``stdout``, ``stderr``, at last ``exit``.

        Raises:
            Refused: the wall refused the run.
            Unavailable: ``ringwall up`` is not running, or went away before the run's ``exit`` line.

        """
        data = json.dumps(body, allow_nan=False).encode()
        with self._request("POST", "/v1/run", data, "application/json") as response:
            _follow(response, on_line)

    def attach(self, run: str, on_line: Callable[[_Line], None]) -> None:
        """Follow a run again, for instance after a restart of the core. As ``run``."""
        with self._request("GET", f"/v1/runs/{run}/attach") as response:
            _follow(response, on_line)

    def send_stdin(self, run: str, data: bytes, *, eof: bool = False) -> None:
        """Hand bytes to the run's standard input, and close it if ``eof``. Raises as ``run``."""
        pieces = [data[start : start + STDIN_PIECE] for start in range(0, len(data), STDIN_PIECE)] or [b""]
        for number, piece in enumerate(pieces, start=1):
            headers = {"Ringwall-EOF": "1"} if eof and number == len(pieces) else {}
            self._ask("POST", f"/v1/runs/{run}/stdin", piece, "application/octet-stream", headers)

    def signal(self, run: str, name: str) -> None:
        """Send the run a signal by name. Raises as ``run``."""
        data = json.dumps({"signal": name}).encode()
        self._ask("POST", f"/v1/runs/{run}/signal", data, "application/json")

    def operate(self, verb: str, args: _Line) -> Any:
        """Ask for an act, and wait for its answer.

        Args:
            verb: for instance ``freeze``.
            args: what it takes.

        Raises:
            Refused: a ring refused it, or it could not be done as asked.
            Unavailable: ``ringwall up`` is not running, or a part that must decide is down.

        """
        data = json.dumps({"verb": verb, "args": args}, allow_nan=False).encode()
        return self._ask("POST", "/v1/operate", data, "application/json")

    def upload(self, data: bytes) -> str:
        """Hand over what no call may carry; the name by which an act takes it, once, within a minute.

        Args:
            data: at most 64 KiB, but for a backup: that goes in pieces.

        Raises as ``run``.

        """
        kind = "application/octet-stream"
        name = str(_object(self._ask("POST", "/v1/uploads", data[:FIRST_PIECE], kind)).get("upload"))
        for start in range(FIRST_PIECE, len(data), PIECE):
            self._ask("POST", f"/v1/uploads/{name}", data[start : start + PIECE], kind)
        return name

    def download(self, name: str) -> bytes:
        """What an act left to be fetched, once. Raises as ``run``."""
        with self._request("GET", f"/v1/downloads/{name}") as response:
            raw = response.read(MAX_DOWNLOAD + 1)
            if len(raw) > MAX_DOWNLOAD:
                raise Unavailable("the core's answer is larger than it may be", code="answer_too_large")
            if response.length:
                raise http.client.IncompleteRead(raw, response.length)
            return raw

    def status(self) -> Any:
        """What runs. Raises as ``run``."""
        return self._ask("GET", "/v1/status")

    def _ask(
        self, method: str, path: str, data: bytes | None = None, kind: str = "", more: dict[str, str] | None = None
    ) -> Any:
        with self._request(method, path, data, kind, more) as response:
            return _object(_read(response)).get("result")

    @contextmanager
    def _request(
        self, method: str, path: str, data: bytes | None = None, kind: str = "", more: dict[str, str] | None = None
    ) -> Generator[http.client.HTTPResponse]:
        """A response with status 200, or the error it carries. Faults of the line become Unavailable."""
        connection = _Connection(self._path)
        headers = {**({"Content-Type": kind} if kind else {}), **(more or {})}
        try:
            try:
                connection.request(method, path, body=data, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent: the answer says why
            response = connection.getresponse()
            if response.status != 200:
                problem = _object(_read(response)).get("error")
                raise _client.error(response.status, _object(problem))
            yield response
        except (http.client.HTTPException, ConnectionError) as fault:
            raise _client.lost(f"{type(fault).__name__}: {fault}") from fault
        finally:
            connection.close()


def _follow(response: http.client.HTTPResponse, on_line: Callable[[_Line], None]) -> None:
    while True:
        raw = response.readline(MAX_LINE + 1)
        if not raw:
            raise _client.lost("the run goes on; `ringwall status` shows it")
        if not raw.endswith(b"\n"):
            raise _client.lost("a line without an end")
        line = _object(_decoded(raw))
        problem = line.get("error")
        if problem is not None:
            raise _client.error(503, _object(problem))
        on_line(line)
        if "exit" in line:
            return


def _read(response: http.client.HTTPResponse) -> Any:
    raw = response.read(MAX_ANSWER + 1)
    if len(raw) > MAX_ANSWER:
        raise Unavailable(f"the core's answer is larger than {MAX_ANSWER} bytes", code="answer_too_large")
    if response.length:  # read(amount) is silent about a body that ended early
        raise http.client.IncompleteRead(raw, response.length)
    return _decoded(raw)


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as fault:
        raise Unavailable(f"the core's answer is not JSON: {fault}", code="bad_answer") from fault


def _object(value: Any) -> _Line:
    if not isinstance(value, dict):
        raise Unavailable("the core's answer is not a JSON object", code="bad_answer")
    return cast("_Line", value)


def _not_up(path: Path, fault: OSError) -> Unavailable:
    if isinstance(fault, PermissionError):
        return Unavailable(
            f"the operator socket {path} belongs to another user",
            code="not_operator",
            remedy="run this as the user who runs `ringwall up`",
        )
    return Unavailable(
        f"`ringwall up` is not running: nobody listens at {path}",
        code="not_up",
        remedy="start it with: ringwall up",
    )
