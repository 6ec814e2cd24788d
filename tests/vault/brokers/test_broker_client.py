"""The core's end of a broker process, with processes that are honest, gone, stuck, or somebody else's by now."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import FakeClock, run, until
from tests.vault.brokers.test_oauth import LOGIN, READ, Bench, bench
from tests.vault.brokers.test_service import started

from ringwall.clock import SystemClock
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.manifest.types import OutsideVault, Secret
from ringwall.vault import broker_client
from ringwall.vault.broker_client import BrokerClient, hello
from ringwall.vault.brokers import protocol
from ringwall.vault.brokers.interface import REFUSED, Minted, Order, RefusedCode, UnavailableCode
from ringwall.vault.brokers.protocol import (
    MAX_ORDERS,
    Aws,
    Cancel,
    Done,
    Failed,
    Fetch,
    FromProcess,
    Hello,
    Made,
    Mint,
    OAuth,
    OpenBao,
    Postgres,
    Renew,
    Renewed,
    Revoke,
    Seal,
    ToProcess,
    Unseal,
    Value,
    Vault,
)
from ringwall.wire.frames import Link

__all__ = ["bench"]  # a fixture
HELLO = Hello(providers={"crm": OAuth(token_url="https://as.example/token")}, vaults={})
ORDER = Order(lease="le1", seconds=300, token="jwt")
CLOCK = FakeClock()
NOW = CLOCK.now()


def made(number: int, **fields: Any) -> Made:
    whole = {"values": {"access_token": "t"}, "expires_at": NOW + 60, "handle": "h"}
    return Made(id=number, **{**whole, **fields})  # type: ignore[arg-type]


class Puppet:
    """A broker process whose every word the test says. ``downs``: how often the client wants it ended."""

    def __init__(self) -> None:
        self.downs = 0
        self.heard: list[ToProcess] = []
        self.client = BrokerClient(HELLO, CLOCK, self._down)
        self.link: Link | None = None
        self.closed = 0

    def _down(self) -> None:
        self.downs += 1

    def _closed(self) -> None:
        self.closed += 1

    async def attach(self) -> None:
        ours, theirs = socket.socketpair()
        self.link = await Link.open(
            theirs, lambda raw: self.heard.append(protocol.to_process(raw)), self._closed)
        await self.client.attach(ours)

    def say(self, *messages: FromProcess | bytes) -> None:
        assert self.link is not None
        for one in messages:
            self.link.send(one if isinstance(one, bytes) else protocol.encode(one))

    async def next(self, kind: type[Any], count: int = 1) -> Any:
        """The ``count``-th message of this kind."""
        await until(lambda: sum(isinstance(one, kind) for one in self.heard) >= count)
        return [one for one in self.heard if isinstance(one, kind)][count - 1]

    async def mint(self, *said: Callable[[int], FromProcess | bytes]) -> Minted:
        """What a mint comes to if the process says this, given the order's number."""
        asked = asyncio.create_task(self.client.mint("crm", ORDER))
        number = (await self.next(Mint, 1 + sum(isinstance(one, Mint) for one in self.heard))).id
        self.say(*(one(number) for one in said))
        return await asked


@asynccontextmanager
async def puppet(*, attached: bool = True) -> AsyncGenerator[Puppet]:
    found = Puppet()
    if attached:
        await found.attach()
    try:
        yield found
    finally:
        found.client.detach()
        if found.link is not None:
            found.link.close()
            await until(lambda: found.closed)


async def code(work: Awaitable[Any]) -> str:
    with pytest.raises(RingwallError) as fault:
        await work
    return fault.value.code


def test_a_new_process_is_told_first_what_it_may_be_asked() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            assert await there.next(Hello) == HELLO
            assert there.heard[0] == HELLO

    run(scenario())


def test_every_order_has_its_answer() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            client = there.client
            assert await there.mint(made) == Minted(values={"access_token": "t"}, expires_at=NOW + 60, handle="h")

            async def asked(work: Awaitable[Any], kind: type[Any], answer: Callable[[int], FromProcess]) -> Any:
                running = asyncio.ensure_future(work)
                sent = await there.next(kind)
                there.say(answer(sent.id))
                return sent, await running

            sent, until_ = await asked(client.renew("crm", ORDER, "h"), Renew,
                                       lambda n: Renewed(id=n, expires_at=NOW + 99))
            assert (sent.secret, sent.order, sent.handle, until_) == ("crm", ORDER, "h", NOW + 99)
            sent, _ = await asked(client.revoke("crm", ORDER, "h"), Revoke, lambda n: Done(id=n))
            assert (sent.secret, sent.order, sent.handle) == ("crm", ORDER, "h")
            sent, value = await asked(client.fetch("main", "jwt", "a/b", "value"), Fetch,
                                      lambda n: Value(id=n, value=b"\0\xff"))
            assert (sent.vault, sent.token, sent.path, sent.key) == ("main", "jwt", "a/b", "value")
            assert value == b"\0\xff"
            sent, blob = await asked(client.encrypt("main", "jwt", "root", b"k"), Seal,
                                     lambda n: Value(id=n, value=b"vault:v1:x"))
            assert (sent.plain, blob) == (b"k", "vault:v1:x")
            sent, plain = await asked(client.decrypt("main", "jwt", "root", blob), Unseal,
                                      lambda n: Value(id=n, value=b"k"))
            assert (sent.blob, plain) == (blob, b"k")
            assert not there.downs

    run(scenario())


def test_a_provider_that_hangs_holds_up_no_other() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            stuck = [asyncio.create_task(there.client.mint("crm", ORDER)) for _ in range(2 * MAX_ORDERS)]
            await there.next(Mint, MAX_ORDERS // 2)
            other = asyncio.create_task(there.client.mint("billing", ORDER))
            sent = await there.next(Mint, MAX_ORDERS // 2 + 1)
            assert sent.secret == "billing"
            there.say(made(sent.id))
            assert (await other).handle == "h"
            for one in stuck:
                one.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    run(scenario())


@pytest.mark.parametrize(("said", "clamped"), [
    (NOW + 60, NOW + 60), (NOW + 300, NOW + 300), (NOW + 301, NOW + 300), (NOW + 1e15, NOW + 300),
])
def test_no_provider_decides_how_long_a_credential_lives(said: float, clamped: float) -> None:
    async def scenario() -> None:
        async with puppet() as there:
            assert (await there.mint(lambda n: made(n, expires_at=said))).expires_at == clamped
            renewed = asyncio.create_task(there.client.renew("crm", ORDER, "h"))
            there.say(Renewed(id=(await there.next(Renew)).id, expires_at=said))
            assert await renewed == clamped

    run(scenario())


def test_not_even_the_core_has_one_for_more_than_fifteen_minutes() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            long = Order(lease="le1", seconds=86_400)
            asked = asyncio.create_task(there.client.mint("crm", long))
            there.say(made((await there.next(Mint)).id, expires_at=NOW + 86_400))
            assert (await asked).expires_at == NOW + 900

    run(scenario())


def test_a_credential_that_is_over_already_is_refused_and_given_back() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            assert await code(there.mint(lambda n: made(n, expires_at=NOW))) == "provider_garbage"
            back = await there.next(Revoke)
            assert (back.secret, back.order, back.handle) == ("crm", ORDER, "h")
            there.say(Failed(id=back.id, code="provider_denied"))  # which nobody waits for

    run(scenario())


def test_of_a_failure_the_core_has_the_words() -> None:
    codes = get_args(RefusedCode) + get_args(UnavailableCode)
    assert set(broker_client._FAILURES) == set(codes)

    async def scenario() -> None:
        async with puppet() as there:
            for one in codes:
                with pytest.raises(RingwallError) as fault:
                    await there.mint(lambda n, one=one: Failed(id=n, code=one))
                assert fault.value.code == one
                assert isinstance(fault.value, Refused if one in REFUSED else Unavailable)
            assert not there.downs

    run(scenario())


NONSENSE: dict[str, list[Callable[[int], FromProcess | bytes]]] = {
    "garbage": [lambda n: b"\xc1"],
    "nothing": [lambda n: b""],
    "another number": [lambda n: made(n + 7)],
    "another answer": [lambda n: Done(id=n)],
    "a value": [lambda n: Value(id=n, value=b"x")],
    "no time": [lambda n: made(n, expires_at=math.nan)],
    "for ever": [lambda n: made(n, expires_at=math.inf)],
    "two lines": [lambda n: made(n, values={"access_token": "a\r\nb"})],
    "no values": [lambda n: made(n, values={})],
    "an order": [lambda n: msgspec.msgpack.encode({"type": "cancel", "id": n})],
    "another code": [lambda n: msgspec.msgpack.encode({"type": "failed", "id": n, "code": "secret-in-code"})],
    "too long a frame": [lambda n: b"x" * (protocol.MAX_ANSWER + 1)],
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_process_that_speaks_nonsense_is_ended_and_nothing_is_given(
    said: list[Callable[[int], FromProcess | bytes]]
) -> None:
    async def scenario() -> None:
        async with puppet() as there:
            assert await code(there.mint(*said)) == "broker_unavailable"
            assert there.downs == 1
            assert await code(there.client.mint("crm", ORDER)) == "broker_unavailable"
            assert there.downs == 1

    run(scenario())


def test_a_second_answer_ends_the_process_and_the_first_counts() -> None:
    async def scenario() -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: faults.append(told))
        async with puppet() as there:
            minted = await there.mint(made, lambda n: made(n, values={"access_token": "other"}))
            assert minted.values == {"access_token": "t"}
            await until(lambda: there.downs == 1)
        assert not faults

    run(scenario())


def test_an_answer_that_nobody_asked_for_ends_the_process() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            there.say(Done(id=5))
            await until(lambda: there.downs == 1)

    run(scenario())


def test_a_gigabyte_is_not_read() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        downs: list[None] = []
        client = BrokerClient(HELLO, CLOCK, lambda: downs.append(None))
        await client.attach(ours)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        sent = 0
        with theirs, contextlib.suppress(OSError):
            await loop.sock_sendall(theirs, (1 << 30).to_bytes(4, "big"))
            while sent < 1 << 30:
                await loop.sock_sendall(theirs, bytes(1 << 16))
                sent += 1 << 16
        assert sent < 8 << 20
        assert len(downs) == 1

    run(scenario())


def test_a_process_that_dies_fails_what_is_under_way() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = [asyncio.create_task(there.client.mint("crm", ORDER)) for _ in range(3)]
            await there.next(Mint, 3)
            assert there.link is not None
            there.link.close()
            assert [await code(one) for one in asked] == ["broker_unavailable"] * 3
            assert there.downs == 1

    run(scenario())


def test_without_a_process_every_order_fails_and_with_the_next_one_works() -> None:
    async def scenario() -> None:
        async with puppet(attached=False) as there:
            client = there.client
            for work in (client.mint("crm", ORDER), client.renew("crm", ORDER, ""), client.revoke("crm", ORDER, ""),
                         client.fetch("main", "t", "p", "k"), client.encrypt("main", "t", "k", b""),
                         client.decrypt("main", "t", "k", "")):
                assert await code(work) == "broker_unavailable"
            await there.attach()
            assert await there.mint(made)
            client.detach()
            assert await code(client.mint("crm", ORDER)) == "broker_unavailable"
            assert there.downs == 0  # whoever detaches knows

    run(scenario())


def test_the_end_of_an_older_process_is_not_taken_for_this_ones() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            before = there.link
            await there.attach()
            assert before is not None
            before.close()
            assert await there.mint(made)
            assert there.downs == 0

    run(scenario())


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_client, "ANSWER_SECONDS", 0.02)

    async def scenario() -> None:
        async with puppet() as there:
            assert await code(there.mint()) == "broker_unavailable"
            assert there.downs == 1

    run(scenario())


def test_more_orders_than_the_process_has_threads_wait_here() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = [asyncio.create_task(there.client.mint(f"crm{n % 3}", ORDER)) for n in range(MAX_ORDERS + 2)]
            await there.next(Mint, MAX_ORDERS)
            await asyncio.sleep(0)
            mints = [one for one in there.heard if isinstance(one, Mint)]
            assert len(mints) == MAX_ORDERS
            there.say(*(made(one.id) for one in mints))
            for count in (MAX_ORDERS + 1, MAX_ORDERS + 2):
                there.say(made((await there.next(Mint, count)).id))
            assert len(await asyncio.gather(*asked)) == MAX_ORDERS + 2

    run(scenario())


def test_an_order_that_finds_no_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = [asyncio.create_task(there.client.mint(f"crm{n % 3}", ORDER)) for n in range(MAX_ORDERS)]
            last = await there.next(Mint, MAX_ORDERS)
            monkeypatch.setattr(broker_client, "ANSWER_SECONDS", 0.02)
            assert await code(there.client.mint("crm", ORDER)) == "broker_busy"
            assert there.downs == 0
            there.say(*(made(n) for n in range(last.id - MAX_ORDERS + 1, last.id + 1)))
            await asyncio.gather(*asked)

    run(scenario())


def test_what_is_minted_for_nobody_any_more_is_revoked() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = asyncio.create_task(there.client.mint("crm", ORDER))
            number = (await there.next(Mint)).id
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert (await there.next(Cancel)).id == number
            there.say(made(number, handle="crossed"))
            back = await there.next(Revoke)
            assert (back.order, back.handle) == (ORDER, "crossed")
            there.say(Done(id=back.id))
            assert await there.mint(made)
            assert there.downs == 0

    run(scenario())


def test_a_cancelled_order_that_is_answered_as_such_is_over() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = asyncio.create_task(there.client.mint("crm", ORDER))
            number = (await there.next(Mint)).id
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            there.say(Failed(id=number, code="order_cancelled"))
            assert await there.mint(made)
            assert not any(isinstance(one, Revoke) for one in there.heard)
            assert there.downs == 0

    run(scenario())


def test_an_order_cancelled_before_it_was_sent_is_never_sent() -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = [asyncio.create_task(there.client.mint(f"crm{n % 3}", ORDER)) for n in range(MAX_ORDERS)]
            await there.next(Mint, MAX_ORDERS)
            late = asyncio.create_task(there.client.mint("crm", ORDER))
            for _ in range(5):
                await asyncio.sleep(0)
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
            there.say(*(made(one.id) for one in there.heard if isinstance(one, Mint)))
            await asyncio.gather(*asked)
            revoked = asyncio.create_task(there.client.revoke("crm", ORDER, "h"))
            there.say(Done(id=(await there.next(Revoke)).id))
            await revoked
            assert sum(isinstance(one, Mint) for one in there.heard) == MAX_ORDERS
            assert not any(isinstance(one, Cancel) for one in there.heard)

    run(scenario())


@pytest.mark.parametrize("value", [b"", b"\xff", b"x" * (protocol.MAX_SEALED + 1)])
def test_what_transit_gives_must_be_a_short_ascii_text(value: bytes) -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = asyncio.create_task(there.client.encrypt("main", "jwt", "root", b"k"))
            there.say(Value(id=(await there.next(Seal)).id, value=value))
            assert await code(asked) == "provider_garbage"

    run(scenario())


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_any_bytes_of_a_process_end_it_or_are_an_answer(frames: list[bytes]) -> None:
    async def scenario() -> None:
        async with puppet() as there:
            asked = asyncio.create_task(there.client.mint("crm", ORDER))
            await there.next(Mint)
            there.say(*frames)
            assert await code(asked) == "broker_unavailable"
            assert there.downs == 1

    run(scenario())


def test_a_process_is_told_of_minted_secrets_and_vaults_only() -> None:
    read: list[Path] = []

    def pem(file: Path) -> str:
        read.append(file)
        return f"PEM of {file}"

    told = hello([
        Secret(name="f", source="file", file=Path("/etc/f")), Secret(name="v", source="vault"),
        Secret(name="kv", source="openbao", vault="main"),
        Secret(name="a", source="aws", role_arn="arn", region="eu-west-1", sts="https://sts.example"),
        Secret(name="p", source="postgres", url="postgresql://db:5432/x", admin="pw", admin_user="root",
               ca_file=Path("/etc/ca.pem"), private=("10.0.0.0/8",)),
        Secret(name="o", source="oauth", token_url="https://t", revoke_url="https://r", client_id="c",
               client_secret="cs", resource="https://api", scopes=("read",)),
        Secret(name="b", source="openbao", vault="main", database="ro"),
    ], [OutsideVault(name="main", url="https://bao", role="r", namespace="ns", ca_file=Path("/etc/b.pem"))], pem)
    assert told.providers == {
        "a": Aws(role_arn="arn", region="eu-west-1", sts="https://sts.example"),
        "p": Postgres(url="postgresql://db:5432/x", admin_user="root", ca="PEM of /etc/ca.pem",
                      private=("10.0.0.0/8",)),
        "o": OAuth(token_url="https://t", revoke_url="https://r", client_id="c", resource="https://api",
                   scopes=("read",)),
        "b": OpenBao(vault="main", database="ro")}
    assert told.vaults == {"main": Vault(
        url="https://bao", role="r", mount="jwt", kv="secret", database="database", transit="transit",
        namespace="ns", ca="PEM of /etc/b.pem")}
    assert read == [Path("/etc/ca.pem"), Path("/etc/b.pem")]


def test_from_the_core_to_a_real_provider_and_back(bench: Bench) -> None:
    """Real processes, a real authority's JWT-SVIDs, TLS: minted, seen there, killed, started again, revoked."""

    async def scenario(stack: contextlib.ExitStack, token: str, again: str) -> None:
        downs: list[None] = []
        client = BrokerClient(Hello(providers={"crm": bench.provider}, vaults={}), SystemClock(),
                              lambda: downs.append(None))

        async def attached(**env: str) -> subprocess.Popen[bytes]:
            ours, theirs = socket.socketpair()
            child = stack.enter_context(started(theirs, **env))
            stack.callback(child.kill)
            await client.attach(ours)
            return child

        order = Order(lease="le1", seconds=60, details=(READ,), token=token, login=LOGIN)
        child = await attached(HTTPS_PROXY="http://127.0.0.1:1", SSL_CERT_FILE="/dev/null")
        minted = await client.mint("crm", order)
        assert bench.server.introspect(minted.values["access_token"])["sub"].endswith("/agent/ana/role/reader")
        assert SystemClock().now() < minted.expires_at <= SystemClock().now() + 60  # the server says 300
        assert await code(client.mint("crm", order)) == "provider_denied"  # one use of a token
        child.kill()
        await until(lambda: downs)
        assert child.stderr is not None
        assert child.stderr.read() == b""
        child = await attached()
        await client.revoke("crm", order, minted.handle)
        assert not bench.server.alive
        assert await client.mint("crm", Order(lease="le2", seconds=60, token=again, login=LOGIN))
        client.detach()
        assert await asyncio.to_thread(child.wait, 20) == 0

    with contextlib.ExitStack() as stack:
        run(scenario(stack, bench.token(), bench.token()))
