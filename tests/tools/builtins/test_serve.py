"""A built-in in a process of its own, as the core starts it: standard input and output, and descriptor 3."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.tools.builtins.places import VALUES, Core, http, outlet, service

from ringwall.capability.resources import s3 as names
from ringwall.manifest.layout_tools import BUILTINS
from ringwall.tools import serve as tools_serve
from ringwall.tools.builtins import serve
from ringwall.tools.builtins.serve import Place
from ringwall.tools.mcp_call import CREDENTIAL


class Worker:
    """The process, asked one thing at a time."""

    def __init__(self, process: subprocess.Popen[bytes], core: Core) -> None:
        self.process = process
        self.core = core
        self._number = 0

    def ask(self, method: str, params: Any) -> Any:
        self._number += 1
        self._write({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        assert self.process.stdout is not None
        while True:
            told = json.loads(self.process.stdout.readline())
            assert told.get("id", 0) in {0, self._number}, "another call was answered first"
            if told.get("id") == self._number:
                return told["result"]

    def begin(self) -> None:
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {},
                                "clientInfo": {"name": "test", "version": "1"}})
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, op: str, credential: object = None, **arguments: Any) -> tuple[bool, str]:
        """Whether it worked, and what was said."""
        meta = {} if credential is None else {"_meta": {CREDENTIAL: credential}}
        told = self.ask("tools/call", {"name": op, "arguments": arguments, **meta})
        return not told.get("isError"), told["content"][0]["text"]

    def _write(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()


@contextmanager
def worker(*argv: str) -> Generator[Worker]:
    ours, theirs = socket.socketpair()
    number = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD, 64)
    theirs.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "ringwall.tools.builtins.serve", *argv], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(3,),
        preexec_fn=lambda: os.dup2(number, 3),  # noqa: PLW1509 (as the nursery hands it)
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": "/nowhere"})
    os.close(number)
    with ours, process:
        try:
            yield Worker(process, Core(ours))
        finally:
            process.kill()


def test_it_serves_s3_with_the_credential_that_each_call_names(tmp_path: Path) -> None:
    with service(tmp_path, lambda _: [http(200, b"content")]) as here, outlet(here.place) as proxy, \
            worker("s3", here.url, "--region", "eu-central-1", "--ca", str(here.ca), "--seconds", "20",
                   "--proxy-port", str(proxy[1])) as at:
        at.begin()
        listed = {one["name"]: one for one in at.ask("tools/list", {})["tools"]}
        assert set(listed) == set(BUILTINS["s3"])
        for op, declared in BUILTINS["s3"].items():
            assert set(listed[op]["inputSchema"]["properties"]) == set(declared.args)
            assert listed[op]["inputSchema"]["additionalProperties"] is False
        at.core.give("le1")
        at.core.give("le2", {**VALUES, "access_key_id": "AKIAOTHER"})
        fine, said = at.call("get", "le1", object="reports/a.txt")
        assert fine
        assert json.loads(said) == {"object": "reports/a.txt", "bytes": 7, "text": "content"}
        assert at.call("get", "le2", object="reports/a.txt")[0]
        keys = [request.split(b"Credential=")[1].split(b"/")[0] for request in here.heard]
        assert keys == [b"AKIATEST", b"AKIAOTHER"]
        assert b"/eu-central-1/s3/" in here.heard[0]
        at.core.drop("le1")
        for credential in (None, "", 5, "x" * 65, {"a": 1}):
            fine, said = at.call("get", credential, object="reports/a.txt")
            assert not fine
            assert said.startswith("credential_missing: ")
        assert at.call("get", "le2", object="reports/a.txt", more=1)[0] is False
        assert at.call("get", "le2", object=5)[0] is False
        assert at.call("remove", "le2", object="reports/a.txt") == (False, "there is no such function")
        assert len(here.heard) == 2
        shown = Path(f"/proc/{at.process.pid}/environ").read_bytes() + \
            Path(f"/proc/{at.process.pid}/cmdline").read_bytes()
        assert not [value for value in VALUES.values() if value.encode() in shown]


def test_one_agents_calls_that_hang_hold_up_nobody_elses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, worker(
            "s3", "https://store.test", "--seconds", "60", "--proxy-port", str(mute.getsockname()[1])) as at:
        at.begin()
        at.core.give("le1")
        for number in range(100, 145):
            at._write({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {
                "name": "get", "arguments": {"object": "reports/a.txt"}, "_meta": {CREDENTIAL: "le1"}}})
        fine, said = at.call("get", "le1", object="reports")
        assert (fine, said.partition(":")[0]) == (False, "bad_arguments")


def test_a_worker_that_can_be_given_no_more_credentials_ends_so_that_another_is_started() -> None:
    with worker("s3", "https://store.test") as at:
        at.begin()
        at.core.sock.sendall(b"\xff" * 8)  # of no frame: nothing that comes later is one
        assert at.process.wait(20) == 1


def test_an_object_may_be_named_as_resources_are() -> None:
    for text in ("reports/a.txt", "s3://reports/a b.txt"):
        assert names.canonical(text).sent == text


@pytest.mark.parametrize("argv", [[], ["echo", "https://a"], ["s3"], ["s3", "http://a"], ["s3", "https://a", "--x"],
                                  ["s3", "https://a", "--ca", "/etc/hostname"],
                                  ["s3", "https://a", "--seconds", "x"]])
def test_a_wrong_command_ends_with_2_and_a_sentence(argv: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "ringwall.tools.builtins.serve", *argv], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_without_its_descriptor_it_does_not_serve() -> None:
    done = subprocess.run([sys.executable, "-m", "ringwall.tools.builtins.serve", "s3", "https://a.test"],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=60)
    assert done.returncode == 2
    assert "cannot be served" in done.stderr


class Broken:
    """A built-in whose library says too much."""

    @staticmethod
    def operations(place: Place) -> Sequence[Any]:
        def leak(text: str) -> str:
            """Fail."""
            raise ValueError(f"the key is {text}")

        return (leak,)


def test_what_a_library_says_in_an_exception_stays_inside() -> None:
    found = serve.tools(Broken(), Place(url=""))
    told = asyncio.run(tools_serve.call(found["leak"], {"text": "s3cr3t"}))
    assert told.is_error
    assert told.content[0].text == "tool_failed: the tool failed (ValueError)"  # type: ignore[union-attr]
