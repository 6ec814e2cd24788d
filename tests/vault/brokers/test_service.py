"""The broker process: orders in threads, one answer for each, and nothing of a value in anything else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes import run, until

from ringwall.clock import SystemClock
from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.vault.brokers import oauth, protocol
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.brokers.protocol import (
    MAX_ORDERS,
    Cancel,
    Done,
    Failed,
    Fetch,
    FromProcess,
    Hello,
    Made,
    Mint,
    OAuth,
    Renew,
    Renewed,
    Revoke,
    ToProcess,
)
from ringwall.vault.brokers.service import Service
from ringwall.wire import frames
from ringwall.wire.frames import Link

HELLO = Hello(providers={"crm": OAuth(token_url="https://as.example/token")}, vaults={})
ORDER = Order(lease="le1", seconds=900, token="PLANTED")
GOOD = Minted(values={"access_token": "PLANTED"}, expires_at=2e9, handle="PLANTED-handle")
START = ("import os,sys;os.dup2(int(sys.argv[1]),3);"
         "os.execv(sys.executable,[sys.executable,'-m','ringwall.vault.brokers.service'])")


class FakeBroker:
    """Does what it is told; what is alive at it is in ``alive``."""

    def __init__(self) -> None:
        self.minted: Callable[[Order], Minted] = lambda _: GOOD
        self.alive: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0

    def mint(self, order: Order) -> Minted:
        self.begun += 1
        self.gate.wait(20)
        made = self.minted(order)
        self.alive.append(made.handle)
        return made

    def renew(self, order: Order, handle: str) -> float:
        return 2e9 + order.seconds

    def revoke(self, order: Order, handle: str) -> None:
        if handle in self.alive:
            self.alive.remove(handle)


class Process:
    """A service in this process, and its link's other end."""

    def __init__(self, link: Link, answers: list[FromProcess], running: asyncio.Task[int]) -> None:
        self.link = link
        self.answers = answers
        self.running = running

    def send(self, *messages: ToProcess) -> None:
        for message in messages:
            self.link.send(protocol.encode(message))

    async def answer(self, number: int) -> FromProcess:
        found: list[FromProcess] = []

        def there() -> bool:
            found[:] = [one for one in self.answers if one.id == number]
            return bool(found)

        await until(there)
        assert len(found) == 1
        return found[0]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    fake = FakeBroker()
    monkeypatch.setattr(oauth, "make", lambda provider, clock: fake)
    return fake


@asynccontextmanager
async def process(*, seconds: float = 20.0, hello: Hello | None = HELLO) -> AsyncGenerator[Process]:
    ours, theirs = socket.socketpair()
    answers: list[FromProcess] = []
    running = asyncio.create_task(Service(SystemClock(), seconds=seconds).run(theirs))
    link = await Link.open(ours, lambda raw: answers.append(protocol.from_process(raw)), lambda: None)
    found = Process(link, answers, running)
    if hello is not None:
        found.send(hello)
    try:
        yield found
    finally:
        link.close()
        await running


def test_each_order_has_one_answer(broker: FakeBroker) -> None:
    async def scenario() -> None:
        async with process() as there:
            there.send(Mint(id=1, secret="crm", order=ORDER), Renew(id=2, secret="crm", order=ORDER, handle="h"),
                       Revoke(id=3, secret="crm", order=ORDER, handle="h"))
            assert await there.answer(1) == Made(id=1, values=dict(GOOD.values), expires_at=2e9, handle=GOOD.handle)
            assert await there.answer(2) == Renewed(id=2, expires_at=2e9 + 900)
            assert await there.answer(3) == Done(id=3)

    run(scenario())


def test_what_it_was_not_told_of_is_unknown() -> None:
    async def scenario() -> None:
        async with process() as there:
            there.send(Mint(id=1, secret="other", order=ORDER),
                       Fetch(id=2, vault="none", token="t", path="p", key="k"))
            assert await there.answer(1) == Failed(id=1, code="unknown_secret")
            assert await there.answer(2) == Failed(id=2, code="unknown_secret")

    run(scenario())


@pytest.mark.parametrize(("fault", "code"), [
    (Refused("PLANTED", code="provider_wider"), "provider_wider"),
    (Unavailable("PLANTED", code="provider_slow"), "provider_slow"),
    (Refused("PLANTED", code="something_else"), "broker_failed"),
    (BadInput("PLANTED", code="provider_denied"), "broker_failed"),
    (ValueError("PLANTED"), "broker_failed"), (KeyError("PLANTED"), "broker_failed"),
    (ImportError("PLANTED"), "broker_failed"),
])
def test_of_a_fault_only_a_code_leaves_the_process(
    broker: FakeBroker, fault: Exception, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(order: Order) -> Minted:
        raise fault

    async def scenario() -> None:
        broker.minted = fails
        async with process() as there:
            there.send(Mint(id=1, secret="crm", order=ORDER))
            answer = await there.answer(1)
            assert isinstance(answer, Failed)
            assert answer.code == code

    run(scenario())
    assert "PLANTED" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("values", [
    {}, {"access_token": "x" * 40_000}, {"access_token": "a\r\nb"}, {"Not A Name": "x"},
    {f"v{'i' * n}": "x" for n in range(12)}, {"access_token": b"bytes"}, {"access_token": object()},
    {"access_token": "\ud800"},
])
def test_what_the_core_would_not_take_is_revoked_and_refused(broker: FakeBroker, values: Any) -> None:
    async def scenario() -> None:
        broker.minted = lambda _: Minted(values=values, expires_at=2e9, handle="h")
        async with process() as there:
            there.send(Mint(id=1, secret="crm", order=ORDER))
            answer = await there.answer(1)
            assert isinstance(answer, Failed)
            assert answer.code in {"provider_garbage", "broker_failed"}
            assert broker.begun == 1
            assert not broker.alive

    run(scenario())


def test_an_order_that_takes_too_long_is_answered_and_what_it_makes_is_revoked(broker: FakeBroker) -> None:
    async def scenario() -> None:
        revoked = noting_revocation(broker)
        broker.gate.clear()
        async with process(seconds=0.02) as there:
            there.send(Mint(id=1, secret="crm", order=ORDER))
            assert await there.answer(1) == Failed(id=1, code="provider_slow")
            assert not revoked.is_set()
            broker.gate.set()
            await revoked.wait()
            assert len(there.answers) == 1

    run(scenario())


def noting_revocation(broker: FakeBroker) -> asyncio.Event:
    """Set once what was minted is revoked."""
    loop, revoked = asyncio.get_running_loop(), asyncio.Event()

    def revoke(order: Order, handle: str) -> None:
        if (order, handle) == (ORDER, GOOD.handle):
            loop.call_soon_threadsafe(revoked.set)

    broker.revoke = revoke  # type: ignore[method-assign]
    return revoked


def test_a_cancelled_order_is_answered_at_once_and_what_it_makes_is_revoked(broker: FakeBroker) -> None:
    async def scenario() -> None:
        revoked = noting_revocation(broker)
        broker.gate.clear()
        async with process() as there:
            there.send(Mint(id=1, secret="crm", order=ORDER), Cancel(id=1), Cancel(id=1), Cancel(id=77))
            assert await there.answer(1) == Failed(id=1, code="order_cancelled")
            broker.gate.set()
            await revoked.wait()
            assert len(there.answers) == 1

    run(scenario())


def test_more_orders_than_threads_are_refused_and_the_others_go_on(broker: FakeBroker) -> None:
    async def scenario() -> None:
        broker.gate.clear()
        async with process() as there:
            there.send(*(Mint(id=n, secret="crm", order=ORDER) for n in range(1, MAX_ORDERS + 2)))
            assert await there.answer(MAX_ORDERS + 1) == Failed(id=MAX_ORDERS + 1, code="broker_busy")
            broker.gate.set()
            for number in range(1, MAX_ORDERS + 1):
                assert isinstance(await there.answer(number), Made)

    run(scenario())


def test_a_process_whose_every_thread_is_stuck_ends(broker: FakeBroker, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        broker.gate.clear()
        async with process(seconds=0.02) as there:
            there.send(*(Mint(id=n, secret="crm", order=ORDER) for n in range(1, MAX_ORDERS + 1)))
            await until(lambda: len(there.answers) == MAX_ORDERS)
            there.send(Mint(id=99, secret="crm", order=ORDER))
            assert await there.running == 1
            broker.gate.set()

    run(scenario())
    assert "every thread waits" in capsys.readouterr().err


@pytest.mark.parametrize("given", [
    [b"\xc1"], [b""], [protocol.encode(HELLO), protocol.encode(HELLO)],
    [protocol.encode(Mint(id=1, secret="crm", order=ORDER))], [protocol.encode(Done(id=1))],
])
def test_a_core_that_speaks_nonsense_ends_it(
    given: list[bytes], broker: FakeBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with process(hello=None) as there:
            for raw in given:
                there.link.send(raw)
            assert await there.running == 1

    run(scenario())
    assert "PLANTED" not in "".join(capsys.readouterr())


def test_a_number_that_is_used_twice_ends_it(broker: FakeBroker) -> None:
    async def scenario() -> None:
        broker.gate.clear()
        async with process() as there:
            there.send(Mint(id=1, secret="crm", order=ORDER), Mint(id=1, secret="crm", order=ORDER))
            assert await there.running == 1
            broker.gate.set()

    run(scenario())


def started(theirs: socket.socket, **env: str) -> subprocess.Popen[bytes]:
    """A real one; its standard error is a pipe."""
    with theirs:
        return subprocess.Popen([sys.executable, "-c", START, str(theirs.fileno())], pass_fds=[theirs.fileno()],
                                stderr=subprocess.PIPE, env={**os.environ, **env})


def test_a_real_process_ends_with_the_link_or_a_signal() -> None:
    for end in ("link", "signal"):
        ours, theirs = socket.socketpair()
        with ours, started(theirs) as child:
            ours.sendall(frames.encode(protocol.encode(HELLO)))
            ours.sendall(frames.encode(protocol.encode(Mint(id=1, secret="other", order=ORDER))))
            assert frames.Framer().feed(ours.recv(4096)) == [
                protocol.encode(Failed(id=1, code="unknown_secret"))]
            if end == "link":
                ours.shutdown(socket.SHUT_RDWR)
            else:
                child.send_signal(signal.SIGTERM)
            assert child.wait(20) == 0
            assert child.stderr is not None
            assert child.stderr.read() == b""


def test_a_provider_that_is_not_used_is_not_imported() -> None:
    told = subprocess.run([sys.executable, "-c", """
import json, sys
from ringwall.clock import SystemClock
from ringwall.vault.brokers import service
from ringwall.vault.brokers.protocol import Hello, OAuth
from ringwall.vault.brokers.roster import Roster
hello = Hello(providers={"crm": OAuth(token_url="https://as.example/token")}, vaults={})
Roster(hello, SystemClock()).broker("crm")
print(json.dumps(sorted(sys.modules)))
"""], capture_output=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(told.stdout)}
    assert "ringwall" in loaded
    assert not loaded & {"boto3", "botocore", "hvac", "requests", "pg8000", "urllib3"}


def test_a_client_library_that_is_not_installed_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> Any:
        raise ImportError("no module named PLANTED")

    async def scenario() -> None:
        monkeypatch.setattr(oauth, "make", missing)
        async with process() as there:
            there.send(Mint(id=1, secret="crm", order=ORDER))
            assert await there.answer(1) == Failed(id=1, code="provider_missing")

    run(scenario())


def test_a_broker_that_cannot_be_made_now_is_made_later(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(*_: object) -> FakeBroker:
        made.append("once more")
        if len(made) == 1:
            raise Unavailable("not now", code="provider_unreachable")
        return broker

    async def scenario() -> None:
        monkeypatch.setattr(oauth, "make", make)
        async with process() as there:
            for number, kind in ((1, Failed), (2, Made), (3, Made)):
                there.send(Mint(id=number, secret="crm", order=ORDER))
                assert isinstance(await there.answer(number), kind)
        assert len(made) == 2

    run(scenario())
