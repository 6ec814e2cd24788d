"""The operators' door and the command line's client of it, end to end."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.doors.fakes import looped, post, read_all

from ringwall.call import Json, Operator
from ringwall.doors.interface import Acted, RunStream
from ringwall.doors.listener import OperatorServer
from ringwall.doors.operator import OperatorDoor
from ringwall.doors.operator_client import FIRST_PIECE, PIECE, STDIN_PIECE, OperatorClient
from ringwall.errors import Refused, Unavailable
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import Probe
from ringwall.interface import Origin, Refusal

PROBE = Probe(method="inode", tree=True)
LINES: list[dict[str, Json]] = [
    {"started": {"run": "r1"}},
    {"stdout": base64.b64encode(b"hello\n").decode()},
    {"exit": 3, "summary": {}},
]


class FakeStream:
    def __init__(self, lines: list[dict[str, Json]], fault: Exception | None = None) -> None:
        self._lines = lines
        self._fault = fault

    async def __aiter__(self) -> AsyncIterator[dict[str, Json]]:
        for line in self._lines:
            yield line
        if self._fault is not None:
            raise self._fault


class FakeRuns:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.stream: RunStream | Refusal = FakeStream(LINES)
        self.refusal: Refusal | None = None
        self.held = b""

    async def upload(self, origin: Origin, name: str, data: bytes) -> Json | Refusal:
        self.seen.append(("upload", name, data))
        return self.refusal or {"upload": "0" * 32}

    async def download(self, origin: Origin, name: str) -> bytes | Refusal:
        self.seen.append(("download", name))
        return self.refusal or self.held

    async def start(self, origin: Origin, raw: bytes) -> RunStream | Refusal:
        self.seen.append(("start", origin, raw))
        return self.stream

    async def operate(self, origin: Origin, raw: bytes) -> Acted | Refusal:
        self.seen.append(("operate", origin, raw))
        return self.refusal or Acted(result={"frozen": True}, record="system/7")

    async def attach(self, origin: Origin, run: str) -> RunStream | Refusal:
        self.seen.append(("attach", origin, run))
        return self.stream

    async def stdin(self, origin: Origin, run: str, data: bytes, eof: bool) -> Refusal | None:
        self.seen.append(("stdin", run, data, eof))
        return self.refusal

    async def signal(self, origin: Origin, run: str, name: str) -> Refusal | None:
        self.seen.append(("signal", run, name))
        return self.refusal

    async def status(self, origin: Origin) -> Json:
        return {"agents": [origin.key]}


@contextmanager
def up(folder: Path, *, named: dict[int, str] | None = None) -> Generator[tuple[FakeRuns, OperatorClient, Path]]:
    runs = FakeRuns()
    peers = OperatorPeers(PROBE, named=named)
    server = OperatorServer(OperatorDoor(runs, peers), peers)
    path = folder / "operator.sock"
    with looped() as loop:
        asyncio.run_coroutine_threadsafe(server.open(path), loop).result(30)
        try:
            yield runs, OperatorClient(path), path
        finally:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(30)


def exchange(path: Path, data: bytes) -> tuple[int, dict[str, Any]]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        sock.sendall(data)
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_run_is_followed_line_by_line_to_its_exit(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, _):
        lines: list[dict[str, Any]] = []
        client.run({"verb": "run", "args": {"agent": "alice"}}, lines.append)
        client.attach("r1", lines.append)
        assert lines == LINES * 2
        verb, origin, raw = runs.seen[0]
        assert (verb, json.loads(raw)["verb"]) == ("start", "run")
        assert isinstance(origin.subject, Operator)
        assert (origin.session, origin.key) == (None, f"operator:{origin.subject.name}")


def test_input_goes_in_pieces_and_its_end_is_told_once(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, _):
        data = b"x" * (STDIN_PIECE + 1)
        client.send_stdin("r1", data, eof=True)
        client.send_stdin("r1", b"", eof=True)
        client.send_stdin("r1", b"\x00\xff")
        assert runs.seen == [
            ("stdin", "r1", data[:STDIN_PIECE], False),
            ("stdin", "r1", b"x", True),
            ("stdin", "r1", b"", True),
            ("stdin", "r1", b"\x00\xff", False),
        ]


def test_signals_and_status_pass_through(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, _):
        client.signal("r1", "SIGTERM")
        assert runs.seen == [("signal", "r1", "SIGTERM")]
        assert client.status()["agents"][0].startswith("operator:")
        runs.refusal = Refusal(code="unknown_run", reason="no such run", record="system/4")
        with pytest.raises(Refused, match="unknown_run") as caught:
            client.signal("r9", "SIGTERM")
        assert caught.value.record == "system/4"


def test_an_act_is_handed_on_as_it_came_and_answered_with_its_result(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, path):
        assert client.operate("freeze", {"agent": "acme/alice"}) == {"frozen": True}
        verb, origin, raw = runs.seen.pop()
        assert (verb, json.loads(raw)) == ("operate", {"verb": "freeze", "args": {"agent": "acme/alice"}})
        assert isinstance(origin.subject, Operator)
        _, answer = exchange(path, post("/v1/operate", b"{}"))
        assert answer == {"result": {"frozen": True}, "record": "system/7"}
        runs.refusal = Refusal(code="not_granted", reason="not yours", remedy="ask an admin", record="system/8")
        with pytest.raises(Refused, match="ask an admin") as caught:
            client.operate("freeze", {})
        assert caught.value.record == "system/8"


def test_a_refused_run_never_starts_a_stream(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, _):
        runs.stream = Refusal(code="policy", reason="not today", record="system/5")
        with pytest.raises(Refused, match="not today"):
            client.run({}, pytest.fail)


def test_a_stream_that_breaks_off_is_an_error_and_not_an_exit(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, _):
        for fault, code in (
            (None, "answer_lost"),
            (Unavailable("supervisor gone", code="supervisor_lost"), "supervisor_lost"),
            (KeyError("bug"), "answer_lost"),
        ):
            runs.stream = FakeStream(LINES[:2], fault)
            with pytest.raises(Unavailable, match=code):
                client.run({}, lambda line: None)


def test_somebody_who_is_no_operator_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with up(tmp_path, named={os.geteuid() + 1: "eve"}) as (runs, client, _):
        with pytest.raises(Refused, match="not_operator"):
            client.run({}, pytest.fail)
        with pytest.raises(Refused, match="not_operator"):
            client.send_stdin("r1", b"x" * 3_000_000)
        assert runs.seen == []


def test_without_a_core_the_client_says_what_to_start(tmp_path: Path) -> None:
    client = OperatorClient(tmp_path / "operator.sock")
    with pytest.raises(Unavailable, match="ringwall up"):
        client.status()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"POST /v1/run HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 415, "unknown_type"),
        (b"GET /v1/operate HTTP/1.1\r\nConnection: close\r\n\r\n", 405, "unknown_method"),
        (b"POST /v1/operate HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 415, "unknown_type"),
        (b"GET /v1/run HTTP/1.1\r\nConnection: close\r\n\r\n", 405, "unknown_method"),
        (b"GET /v1/status?x HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "bad_query"),
        (b"GET /v1/runs/../stdin HTTP/1.1\r\nConnection: close\r\n\r\n", 404, "unknown_path"),
        (b"GET /v1/runs/%s/attach HTTP/1.1\r\nConnection: close\r\n\r\n" % (b"a" * 65), 404, "unknown_path"),
        (post("/v1/runs/r1/signal", b'{"signal":1}'), 400, "bad_body"),
        (post("/v1/runs/r1/signal", b'{"signal":"SIGTERM","x":1}'), 400, "bad_body"),
        (post("/v1/runs/r1/signal", b"\xff"), 400, "bad_body"),
        (post("/v1/runs/r1/signal", b"[" * 50_000), 400, "bad_body"),
    ],
)
def test_bad_requests_are_told_precisely(tmp_path: Path, data: bytes, status: int, code: str) -> None:
    with up(tmp_path) as (runs, _, path):
        found, body = exchange(path, data)
        assert (found, body["error"]["code"]) == (status, code)
        assert runs.seen == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
        b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_a_core_that_answers_nonsense_is_unavailable(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "operator.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer_once() -> None:
            with listener.accept()[0] as sock:
                sock.recv(1 << 16)
                sock.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        with pytest.raises(Unavailable):
            OperatorClient(path).status()
        thread.join()


def test_bytes_are_handed_in_beside_the_calls_in_pieces_and_fetched_as_they_are(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, _):
        data = bytes(range(256)) * 300 + b"x" * (3 * PIECE)
        assert client.upload(data) == "0" * 32
        assert [seen[0] for seen in runs.seen] == ["upload"] * 5
        assert [seen[1] for seen in runs.seen] == ["", *["0" * 32] * 4]
        assert b"".join(seen[2] for seen in runs.seen) == data
        assert len(runs.seen[0][2]) == FIRST_PIECE
        runs.held = data
        assert client.download("0" * 32) == data
        assert runs.seen[-1] == ("download", "0" * 32)
        assert client.upload(b"") == "0" * 32


def test_a_refused_upload_or_download_says_why(tmp_path: Path) -> None:
    with up(tmp_path) as (runs, client, _):
        runs.refusal = Refusal(code="no_such_upload", reason="nothing of yours waits under this name")
        with pytest.raises(Refused, match="no_such_upload"):
            client.download("0" * 32)
        with pytest.raises(Refused, match="no_such_upload"):
            client.upload(b"x")


@pytest.mark.parametrize(("head", "status"), [
    (b"POST /v1/uploads HTTP/1.1\r\nContent-Type: application/json\r\n", 415),
    (b"POST /v1/uploads HTTP/1.1\r\n", 415),
    (b"POST /v1/uploads HTTP/1.1\r\nContent-Type: application/octet-stream\r\nContent-Encoding: gzip\r\n", 415),
    (b"GET /v1/uploads HTTP/1.1\r\n", 405),
    (b"POST /v1/downloads/%s HTTP/1.1\r\nContent-Type: application/octet-stream\r\n" % (b"0" * 32), 405),
    (b"GET /v1/downloads HTTP/1.1\r\n", 404),
    (b"GET /v1/downloads/%s HTTP/1.1\r\n" % (b"0" * 31), 404),
    (b"GET /v1/downloads/%s?x=1 HTTP/1.1\r\n" % (b"0" * 32), 400),
    (b"POST /v1/uploads/../run HTTP/1.1\r\nContent-Type: application/octet-stream\r\n", 404),
])
def test_nothing_else_is_an_upload_or_a_download(tmp_path: Path, head: bytes, status: int) -> None:
    with up(tmp_path) as (runs, _, path):
        found, body = exchange(path, head + b"Host: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
        assert (found, set(body)) == (status, {"error"})
        assert runs.seen == []
