"""The sidecar's process: what it obeys, when it ends, what it loads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.tools.office import start_sidecar

from ringwall.tools import protocol
from ringwall.tools.protocol import (
    Attach,
    CallModel,
    CallTool,
    Cancel,
    Ended,
    FromSidecar,
    Hello,
    ListTools,
    Lost,
    Piece,
    ServerConfig,
    ToSidecar,
)
from ringwall.wire import frames

HELLO = Hello(tenant="acme", servers={"b": ServerConfig(builtin="echo"), "s": ServerConfig()})
ECHO = CallTool(id=1, server="b", op="echo", args=b'{"text":"hi"}')


class Core:
    """The core's part, in blocking calls."""

    def __init__(self) -> None:
        self.link, link = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.passing, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link.settimeout(20)
        self.process = start_sidecar(link, passed, stderr=subprocess.PIPE)
        self._framer = frames.Framer()
        self._frames: list[bytes] = []

    def says(self, *messages: ToSidecar | bytes) -> None:
        raw = [message if isinstance(message, bytes) else protocol.encode(message) for message in messages]
        self.link.sendall(b"".join(map(frames.encode, raw)))  # at once, so that they are read together

    def hears(self) -> FromSidecar:
        while not self._frames:
            data = self.link.recv(1 << 16)
            assert data, "the sidecar closed the link"
            self._frames += self._framer.feed(data)
        return protocol.decode_from_sidecar(self._frames.pop(0))

    def ends(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors.decode()


@contextmanager
def core() -> Generator[Core]:
    made = Core()
    try:
        yield made
    finally:
        made.link.close()
        made.passing.close()
        made.process.communicate(timeout=20)


def test_it_answers_and_ends_with_the_cores_link() -> None:
    with core() as made:
        made.says(HELLO, ECHO)
        assert [made.hears(), made.hears()] == [Piece(id=1, value=b'{"text":"hi"}'), Ended(id=1, end="done")]
        made.link.close()
        assert made.ends() == (0, "")


def test_it_ends_when_the_descriptor_socket_closes() -> None:
    with core() as made:
        made.says(HELLO, ECHO)
        made.hears()
        made.passing.close()
        assert made.ends() == (0, "")


def test_it_ends_cleanly_on_sigterm() -> None:
    with core() as made:
        made.says(HELLO, ECHO)
        made.hears()
        made.process.send_signal(signal.SIGTERM)
        assert made.ends() == (0, "")


@pytest.mark.parametrize(
    "said",
    [
        [b"garbage"],
        [ECHO],
        [HELLO, HELLO],
        [HELLO, b""],
        [HELLO, protocol.encode(Ended(id=1, end="done"))],
        [HELLO, ListTools(id=4, server="b"), ListTools(id=4, server="b")],
    ],
)
def test_a_core_that_cannot_be_understood_is_not_obeyed_any_further(said: list[ToSidecar | bytes]) -> None:
    with core() as made:
        made.says(*said)
        status, errors = made.ends()
        assert status == 1
        assert "bad_frame" in errors
        assert "Traceback" not in errors


def test_calls_to_what_it_was_not_given_fail() -> None:
    with core() as made:
        made.says(
            HELLO,
            CallTool(id=1, server="x", op="o", args=b"{}"),
            CallTool(id=2, server="s", op="o", args=b"{}"),
            CallModel(id=3, upstream="m", body=b"{}", headers={}),
            ListTools(id=4, server="s"),
            Cancel(id=9, why="caller"),
        )
        ends = [made.hears() for _ in range(4)]
        assert sorted(ends, key=lambda end: getattr(end, "id", 0)) == [
            Ended(id=1, end="failed", code="no_such_server"),
            Ended(id=2, end="failed", code="server_gone"),
            Ended(id=3, end="failed", code="no_such_server"),
            Ended(id=4, end="failed", code="server_gone"),
        ]


def test_descriptors_it_cannot_use_are_closed_and_the_server_is_lost() -> None:
    with core() as made:
        reads, writes = os.pipe()
        with Path(os.devnull).open("rb") as file:
            for server, descriptors in (("s", [file.fileno(), writes]), ("s", [writes]), ("b", [writes, writes])):
                socket.send_fds(made.passing, [protocol.encode(Attach(server=server, generation=5))], descriptors)
        os.close(writes)
        made.says(HELLO)
        assert [made.hears() for _ in range(3)] == [
            Lost(server="s", generation=5),
            Lost(server="s", generation=5),
            Lost(server="b", generation=5),
        ]
        assert os.read(reads, 1) == b""  # nobody holds the other end any more
        os.close(reads)


def test_passing_nonsense_ends_it() -> None:
    with core() as made:
        made.says(HELLO)
        made.passing.send(b"nonsense")
        status, errors = made.ends()
        assert (status, "bad_frame" in errors) == (1, True)


def test_the_core_imports_neither_the_sdk_nor_an_http_client() -> None:
    code = (
        "import sys, ringwall.tools.effect, ringwall.models.effect, ringwall.tools.sidecar_client\n"
        "print(sorted({'mcp', 'mcp_types', 'httpx2', 'pydantic', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sidecar_starts_without_the_sdk_and_the_http_client() -> None:
    """They are loaded in a thread, after the first frame."""
    code = "import sys, ringwall.runtime.sidecar\nprint(sorted({'mcp', 'httpx2', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
