"""limits/shared.py, lua.py, wire.py: a real Redis of the test's own, and everything that may happen to it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis import exceptions
from tests.limits.private_redis import PrivateRedis, needs_redis

from ringwall.clock import SystemClock
from ringwall.errors import Unavailable
from ringwall.limits.interface import KEEP_DAY, Replay, Reserve, self_check
from ringwall.limits.shared import SharedCounters
from ringwall.limits.wire import PAUSE_SECONDS, Redis
from ringwall.manifest.types import Rate

pytestmark = needs_redis
HOUR = 3600.0
FEW = Rate(count=1, seconds=HOUR, burst=3)  # too few for leases: each take asks the store
MANY = Rate(count=1, seconds=HOUR, burst=1000)  # leased by 100
PATIENT = 30.0  # seconds: a machine may be busy
HASTY = 1.0  # for a server that does not answer; it is waited for as long
DAY = "acme|day:2026-11-22"


class Moving:
    """The machine's clock with a hand that a test turns."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return SystemClock().now() + self.ahead

    def monotonic(self) -> float:
        return SystemClock().monotonic() + self.ahead


async def nothing(reserve: Reserve) -> None:
    return None


def counters(store: str, clock: Moving | None = None, installation: str = "one",
             replay: Replay = nothing, seconds: float = PATIENT) -> SharedCounters:
    return SharedCounters(redis=Redis(store, clock or Moving(), seconds=seconds), domain="acme.example",
                          installation=installation, replay=replay)


def on(server: PrivateRedis, work: Callable[[SharedCounters], Awaitable[None]], **more: object) -> None:
    async def run() -> None:
        made = counters(server.store, **more)  # pyright: ignore[reportArgumentType]
        try:
            await work(made)
        finally:
            await made.close()

    asyncio.run(run())


async def fails(work: Awaitable[object]) -> str:
    with pytest.raises(Unavailable) as failed:
        await work
    return failed.value.code


def test_it_passes_the_check_every_store_must_pass() -> None:
    with PrivateRedis() as server:
        on(server, self_check)


def test_it_passes_over_loopback_with_a_password_and_tls(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", str(key),
                    "-out", str(cert), "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    port = str(free_port())
    with PrivateRedis("--tls-port", port, "--tls-cert-file", str(cert), "--tls-key-file", str(key),
                      "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no", "--requirepass", "sesame") as _:
        async def run(password: bytes, ca: str | None) -> None:
            redis = Redis(f"rediss://localhost:{port}/0", Moving(), password=lambda: password, ca_file=ca,
                          seconds=PATIENT)
            made = SharedCounters(redis=redis, domain="d", installation="i", replay=nothing)
            try:
                await self_check(made)
            finally:
                await made.close()

        asyncio.run(run(b"sesame", str(cert)))
        assert asyncio.run(fails(run(b"wrong", str(cert)))) == "limits_store_refused"
        assert asyncio.run(fails(run(b"sesame", None))) == "limits_store_down"  # signed by nobody known


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_lease_is_spent_here_and_lets_no_more_through_than_the_burst() -> None:
    async def work(made: SharedCounters) -> None:
        taken = [(await made.take("acme|r", MANY)).taken for _ in range(1500)]
        assert 900 <= sum(taken) <= 1000  # what may be held by a lease is never let through twice
        assert not taken[-1]

    with PrivateRedis() as server:
        on(server, work)
        asked = server.ask("INFO", "commandstats")
        calls = next(line for line in asked.splitlines() if line.startswith("cmdstat_evalsha"))
        assert int(calls.split("calls=")[1].split(",")[0]) < 700  # 9 leases, and then each refusal asks


def test_two_cores_share_rates_slots_and_budgets() -> None:
    async def run(server: PrivateRedis) -> None:
        one, two = counters(server.store), counters(server.store, installation="two")
        both = (one, two)
        try:
            takes = [await made.take("acme|r", FEW) for made in both * 3]
            assert sum(take.taken for take in takes) == 3
            leases = [await made.lease("acme|c", str(n), 2) for n, made in enumerate(both * 2)]
            assert [lease.taken for lease in leases] == [True, True, False, False]
            spends = [await made.reserve(DAY, "a", 100, 40, KEEP_DAY) for made in both * 2]
            assert [spend.taken for spend in spends] == [True, True, False, False]
            assert (await one.spent(DAY), await one.held("acme|c")) == ({"a": 80}, 2)
        finally:
            for made in both:
                await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


def test_budgets_outlive_a_core_and_its_slots_do_not() -> None:
    async def first(made: SharedCounters) -> None:
        assert (await made.reserve(DAY, "a", 100, 70, KEEP_DAY)).taken
        assert (await made.lease("acme|c", "call", 1)).taken

    async def second(made: SharedCounters) -> None:
        assert not (await made.reserve(DAY, "a", 100, 40, KEEP_DAY)).taken
        assert (await made.lease("acme|c", "other", 1)).taken

    async def never(reserve: Reserve) -> None:
        raise AssertionError("this store knows already what was used")

    with PrivateRedis() as server:
        on(server, first)
        on(server, second, replay=never)


def test_a_store_that_is_down_at_the_start_takes_nothing_and_is_used_once_it_is_there() -> None:
    async def run(server: PrivateRedis) -> None:
        clock = Moving()
        made = counters(server.store, clock)
        try:
            assert await fails(made.open()) == "limits_store_down"
            assert await fails(made.take("acme|r", FEW)) == "limits_store_down"
            server.start()
            assert await fails(made.take("acme|r", FEW)) == "limits_store_down"  # nobody asks for a moment
            clock.ahead += PAUSE_SECONDS
            assert (await made.take("acme|r", FEW)).taken
        finally:
            await made.close()

    server = PrivateRedis()
    try:
        asyncio.run(run(server))
    finally:
        server.__exit__()


def test_a_store_killed_under_load_refuses_and_never_lets_more_through() -> None:
    async def run(server: PrivateRedis) -> None:
        clock = Moving()
        made = counters(server.store, clock)
        let, codes = 0, set[str]()

        async def one(number: int) -> None:
            nonlocal let
            for _ in range(50):
                try:
                    let += (await made.take(f"acme|{number % 4}", FEW)).taken
                except Unavailable as fault:
                    codes.add(fault.code)
                if number == 7 and not codes:
                    server.kill()
                await asyncio.sleep(0)

        try:
            await asyncio.gather(*(one(number) for number in range(20)))
            assert let <= 4 * FEW.burst
            assert codes == {"limits_store_down"}
        finally:
            await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


def test_a_store_that_hangs_is_a_store_that_is_down() -> None:
    async def run(server: PrivateRedis) -> None:
        clock = Moving()
        made = counters(server.store, clock, seconds=HASTY)
        try:
            assert (await made.take("acme|r", FEW)).taken
            server.pause()
            assert await fails(made.take("acme|r", FEW)) == "limits_store_down"
            server.go_on()
            clock.ahead += PAUSE_SECONDS
            taken = [(await made.take("acme|r", FEW)).taken for _ in range(3)]
            assert sum(taken) <= 2  # the take that nobody heard of may have counted, and never the other way
        finally:
            await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


def test_what_is_given_back_while_the_store_is_down_arrives_later() -> None:
    async def run(server: PrivateRedis) -> None:
        clock = Moving()
        made = counters(server.store, clock, seconds=HASTY)
        try:
            assert (await made.lease("acme|c", "a", 1)).taken
            assert (await made.reserve(DAY, "t", 100, 60, KEEP_DAY)).taken
            server.pause()
            await made.release("acme|c", "a")
            await made.settle(DAY, "t", 60, 90)
            server.go_on()
            clock.ahead += PAUSE_SECONDS
            assert (await made.lease("acme|c", "b", 1)).taken
            assert await made.spent(DAY) == {"t": 90}
        finally:
            await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


@pytest.mark.parametrize("how", ["FLUSHALL", "restart"])
def test_lost_counters_refuse_and_are_then_counted_again_from_the_log_and_rates_begin_empty(how: str) -> None:
    async def log(reserve: Reserve) -> None:
        await reserve(DAY, "t", 1000, 77, KEEP_DAY)

    async def run(server: PrivateRedis) -> None:
        clock = Moving()
        made = counters(server.store, clock, replay=log)
        try:
            await made.open()
            assert (await made.take("acme|r", MANY)).taken  # 99 more are held
            assert (await made.lease("acme|c", "running", 1)).taken
            if how == "restart":
                server.kill()
                server.start()
                assert await fails(made.spent(DAY)) == "limits_store_down"  # its connections are gone
                clock.ahead += PAUSE_SECONDS
            else:
                server.ask("FLUSHALL")
            assert await fails(made.reserve(DAY, "t", 100, 1, KEEP_DAY)) == "limits_lost"
            assert await made.spent(DAY) == {"t": 77}
            assert not (await made.take("acme|r", MANY)).taken
            assert not (await made.take("acme|other", FEW)).taken
            assert not (await made.lease("acme|c", "another", 1)).taken  # the running call still has it
        finally:
            await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


def test_nothing_is_let_through_while_the_log_is_counted_again() -> None:
    async def run(server: PrivateRedis) -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def slow(reserve: Reserve) -> None:
            begun.set()
            await go.wait()
            await reserve(DAY, "t", 1000, 100, KEEP_DAY)

        made = counters(server.store, replay=slow)
        try:
            asking = asyncio.create_task(made.reserve(DAY, "t", 100, 1, KEEP_DAY))
            await begun.wait()
            other = asyncio.create_task(made.take("acme|r", FEW))
            await asyncio.sleep(0)
            assert not asking.done() and not other.done()
            other.cancel()  # as the wall does after its time: the counting goes on
            go.set()
            assert not (await asking).taken
        finally:
            await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


@pytest.mark.parametrize(("wrong", "use"), [
    (("LPUSH", "{k}", "x"), lambda made: made.take("acme|k", FEW)),
    (("SET", "{k}", "abc"), lambda made: made.take("acme|k", FEW)),
    (("SET", "{k}", "abc"), lambda made: made.lease("acme|k", "a", 1)),
    (("LPUSH", "{k}", "x"), lambda made: made.held("acme|k")),
    (("SET", "{k}", "abc"), lambda made: made.reserve("acme|k", "a", 100, 1, 60)),
    (("HSET", "{k}", "a", "much"), lambda made: made.reserve("acme|k", "a", 100, 1, 60)),
    (("HSET", "{k}", "a", "much"), lambda made: made.spent("acme|k")),
])
def test_a_key_of_the_wrong_type_refuses_and_keeps_nobody_else_out(
        wrong: tuple[str, ...], use: Callable[[SharedCounters], Awaitable[object]]) -> None:
    async def run(server: PrivateRedis) -> None:
        made = counters(server.store)
        try:
            await made.open()
            server.ask(*(word.replace("{k}", "{ringwall:acme.example}:acme|k") for word in wrong))
            assert await fails(use(made)) == "limits_store_refused"
            assert (await made.take("acme|fine", FEW)).taken
        finally:
            await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


def test_a_caller_who_gives_up_gets_nobody_elses_answer() -> None:
    async def run(server: PrivateRedis) -> None:
        made = counters(server.store)
        try:
            await made.open()
            for _ in range(30):
                tasks = [asyncio.create_task(made.spent(DAY)) for _ in range(3)]
                await asyncio.sleep(0)
                tasks[0].cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert await made.look("acme|r", FEW) == 3
                assert await made.spent(DAY) == {}
        finally:
            await made.close()

    with PrivateRedis() as server:
        asyncio.run(run(server))


def test_a_rate_that_the_store_cannot_count_exactly_is_refused() -> None:
    async def work(made: SharedCounters) -> None:
        slow = Rate(count=1, seconds=86400.0, burst=10**9)
        assert await fails(made.take("acme|r", slow)) == "limits_too_slow"

    with PrivateRedis() as server:
        on(server, work)


def test_what_the_store_says_cannot_steer_a_terminal() -> None:
    async def run() -> None:
        line = Redis("unix:/nowhere", Moving())

        async def lies(**_: object) -> object:
            raise exceptions.ResponseError("\x1b[2J\x1b]0;all is well\x07")

        line._scripts["text"] = lies  # pyright: ignore[reportArgumentType, reportPrivateUsage]
        with pytest.raises(Unavailable) as caught:
            await line.script("text", [], [])
        assert caught.value.code == "limits_store_refused"
        assert str(caught.value).isprintable()
        await line.close()

    asyncio.run(run())
