"""The endpoint process, and the core's side of it: real processes, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import run, until
from tests.identity.endpoint.web import (
    ENDPOINT,
    document,
    listening,
    partner_ca,
    served,
    spiffe_pem,
    web_ca,
    web_pem,
)

from ringwall.clock import SystemClock
from ringwall.errors import BadInput, Unavailable
from ringwall.identity.endpoint import protocol
from ringwall.identity.endpoint.client import EndpointClient
from ringwall.identity.endpoint.fetch import fetch
from ringwall.identity.endpoint.protocol import Failed, Fetch, Fetched
from ringwall.wire import frames

CA = ssl.DER_cert_to_PEM_cert(web_ca().certificate)
START = ("import os,sys;os.dup2(int(sys.argv[1]),3);os.dup2(int(sys.argv[2]),4);"
         "os.execv(sys.executable,[sys.executable,'-m','ringwall.identity.endpoint.service'])")


def started(*given: socket.socket) -> subprocess.Popen[bytes]:
    """An endpoint process with these as its descriptors 3 and 4."""
    # Above 4, so that neither overwrites the other on its way.
    fds = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 10) for one in given]
    process = subprocess.Popen([sys.executable, "-c", START, *map(str, fds)], pass_fds=fds, stderr=subprocess.PIPE)
    for fd in fds:
        os.close(fd)
    for one in given:
        one.close()
    return process


class Bench:
    """A process and the client on it; ``faults``: how often the client wants it ended."""

    def __init__(self) -> None:
        self.ups = self.faults = 0
        self.client = EndpointClient(on_up=self._up, on_fault=self._fault)
        self.process: subprocess.Popen[bytes] | None = None

    def _up(self) -> None:
        self.ups += 1

    def _fault(self) -> None:
        self.faults += 1

    async def start(self, listening: socket.socket | None = None) -> None:
        link, link_theirs = socket.socketpair()
        passing, passing_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = started(link_theirs, passing_theirs)
        await self.client.attach(link, passing, listening)

    def end(self) -> int:
        assert self.process is not None
        _, errors = self.process.communicate(timeout=20)
        assert not errors, errors
        return self.process.returncode


@asynccontextmanager
async def bench() -> AsyncGenerator[Bench, None]:
    made = Bench()
    try:
        yield made
    finally:
        made.client.detach()
        if made.process is not None and made.process.returncode is None:
            await asyncio.to_thread(made.process.communicate)


def test_a_process_asks_and_ends_with_the_cores_link() -> None:
    async def scenario() -> None:
        async with bench() as made:
            with pytest.raises(Unavailable, match="link_closed"):
                await made.client.fetch("https://127.0.0.1:1/")
            await made.start()
            known = partner_ca()
            async with served(spiffe_pem(known), {"/": document(known)}) as url:
                found = await made.client.fetch(url, spiffe_id=ENDPOINT, authorities=[known.certificate])
                assert found == document(known)
                with pytest.raises(Unavailable, match="endpoint_untrusted"):
                    await made.client.fetch(url, ca=CA)
            made.client.detach()
            assert await asyncio.to_thread(made.end) == 0
            assert (made.ups, made.faults) == (1, 0)

    run(scenario())


def test_a_process_serves_on_the_socket_it_was_given_and_its_successor_goes_on() -> None:
    async def scenario() -> None:
        sock = listening()
        url = f"https://127.0.0.1:{sock.getsockname()[1]}/keys"
        async with bench() as made:
            for page in (b"one", b"two"):
                await made.start(sock)
                await made.client.publish(*web_pem(), {"/keys": page})
                assert await fetch(Fetch(id=1, url=url, ca=CA), SystemClock()) == page
                with pytest.raises(Unavailable, match="publish_unusable"):
                    await made.client.publish(b"x", b"y", {})
                assert made.process is not None
                made.process.kill()
                await until(lambda: made.faults >= made.ups)
                await asyncio.to_thread(made.process.communicate)
                with pytest.raises(Unavailable, match="link_closed"):
                    await made.client.publish(*web_pem(), {})
        sock.close()

    run(scenario())


def test_a_core_that_speaks_nonsense_ends_the_process() -> None:
    async def scenario() -> None:
        async with bench() as made:
            await made.start()
            assert made.client._link is not None and made.process is not None
            made.client._link.send(b"nonsense")
            await until(lambda: made.faults)
            _, errors = await asyncio.to_thread(made.process.communicate)
            assert made.process.returncode == 1 and b"bad_frame" in errors

    run(scenario())


@pytest.mark.parametrize("answer", [
    b"nonsense", protocol.encode(protocol.Published(id=1)), None,
    protocol.encode(Failed(id=1, code="endpoint_status", cause="\x1b[2J" + "x" * 1000)),
])
def test_a_process_that_was_taken_over_can_only_fail(answer: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr("ringwall.identity.endpoint.client.ANSWER_SECONDS", 0.2)
        made = Bench()
        (link, his), (passing, other) = socket.socketpair(), socket.socketpair()
        await made.client.attach(link, passing, None)
        asked = asyncio.create_task(made.client.fetch("https://x/"))
        await asyncio.sleep(0)
        if answer is not None:
            his.sendall(frames.encode(answer))
        with pytest.raises(Unavailable) as caught:
            await asked
        assert caught.value.cause.isprintable() and len(caught.value.cause) <= protocol.MAX_CAUSE
        assert made.faults == (0 if answer and b"endpoint_status" in answer else 1)
        made.client.detach()
        for one in (his, other):
            one.close()
        await asyncio.sleep(0)

    run(scenario())


def test_answers_that_nobody_asked_for_end_the_process() -> None:
    async def scenario() -> None:
        made = Bench()
        (link, his), (passing, other) = socket.socketpair(), socket.socketpair()
        await made.client.attach(link, passing, None)
        his.sendall(frames.encode(protocol.encode(Fetched(id=7, body=bytes(1000)))) * 50)
        await until(lambda: made.faults)
        assert made.faults == 1
        for one in (his, other):
            one.close()
        await asyncio.sleep(0)

    run(scenario())


@given(st.binary(max_size=200))
def test_frames_are_messages_or_bad_input(raw: bytes) -> None:
    for read in (protocol.to_process, protocol.from_process):
        with contextlib.suppress(BadInput):
            read(raw)
    assert protocol.from_process(protocol.encode(Fetched(id=1, body=raw))) == Fetched(id=1, body=raw)
