"""What a limit costs: our GCRA in memory and by leases of 100 from Redis, beside the ``limits`` package.

Processor time of the asking thread, median of rounds; with Redis also the time that passed, for the store works
in a process of its own. Needs redis-server (Debian: redis-server); without it only memory is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import results
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from limits import RateLimitItemPerSecond
from ringwall.clock import SystemClock
from ringwall.limits.gcra import Gcra
from ringwall.limits.interface import Reserve
from ringwall.limits.memory import MemoryCounters
from ringwall.limits.shared import LEASE, SharedCounters
from ringwall.limits.wire import Redis
from ringwall.manifest.types import Rate

ROUNDS: Final = 9
TAKES: Final = 20_000  # of a round
ALONE: Final = 500  # takes that each ask the store
KEYS: Final = 100  # agents
TARGET_US: Final = 2.0  # a take in memory
TARGET_RATIO: Final = 3.0  # a leased take to one in memory
WIDE: Final = Rate(count=10**6, seconds=1.0, burst=10**5)  # never refuses here
NARROW: Final = Rate(count=10**6, seconds=1.0, burst=19)  # too small a burst for leases


def measured(work: Callable[[], object], takes: int) -> float:
    """Microseconds of processor time a take, the median round."""
    found: list[float] = []
    for _ in range(ROUNDS + 1):
        before = time.thread_time()
        work()
        found.append((time.thread_time() - before) / takes * 1e6)
    return statistics.median(found[1:])  # the first round warms up


def in_memory() -> dict[str, float]:
    """Ours and the rival's, one after the other in this thread."""
    clock, names = SystemClock(), [f"acme|calls:agent:{number}" for number in range(KEYS)]
    gcra, counters, window = Gcra(clock), MemoryCounters(clock), MovingWindowRateLimiter(MemoryStorage())
    item = RateLimitItemPerSecond(WIDE.burst)

    def ours() -> None:
        take = gcra.take
        for number in range(TAKES):
            take(names[number % KEYS], WIDE)

    def theirs() -> None:
        hit = window.hit
        for number in range(TAKES):
            hit(item, names[number % KEYS])

    async def counted() -> None:
        for number in range(TAKES):
            await counters.take(names[number % KEYS], WIDE)

    with asyncio.Runner() as runner:
        return {"gcra": measured(ours, TAKES), "memory": measured(lambda: runner.run(counted()), TAKES),
                "rival_moving_window": measured(theirs, TAKES)}


@contextmanager
def private_redis() -> Generator[str]:
    """A server of this run's own."""
    folder = Path(tempfile.mkdtemp(prefix="rwb", dir="/tmp"))
    command = ["redis-server", "--port", "0", "--unixsocket", str(folder / "r.sock"), "--dir", str(folder),
               "--save", ""]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            if not any("eady to accept" in line for line in server.stdout):
                sys.exit("redis-server did not start")
            yield f"unix:{folder / 'r.sock'}"
            server.kill()
    finally:
        shutil.rmtree(folder)


def in_redis(store: str) -> dict[str, float]:
    """By leases, and each take alone."""

    async def nothing(reserve: Reserve) -> None:
        return None

    with asyncio.Runner() as runner:
        async def make() -> SharedCounters:
            counters = SharedCounters(redis=Redis(store, SystemClock()), domain="bench", installation="bench",
                                      replay=nothing)
            await counters.open()
            return counters

        counters = runner.run(make())
        names = [f"acme|calls:agent:{number}" for number in range(KEYS)]

        async def takes(rate: Rate, many: int, prefix: str) -> None:
            for number in range(many):
                await counters.take(prefix + names[number % KEYS], rate)

        def round_of(rate: Rate, many: int, prefix: str) -> Callable[[], None]:
            return lambda: runner.run(takes(rate, many, prefix))

        found = {"leased": measured(round_of(WIDE, TAKES, ""), TAKES),
                 "alone": measured(round_of(NARROW, ALONE, "n"), ALONE)}
        started = time.perf_counter()
        runner.run(takes(WIDE, TAKES, ""))
        found["leased_passed"] = (time.perf_counter() - started) / TAKES * 1e6
        runner.run(counters.close())
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description="What a limit costs.")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    options = parser.parse_args()
    figures: dict[str, Any] = in_memory()
    if shutil.which("redis-server"):
        with private_redis() as store:
            figures |= {f"redis_{name}": value for name, value in in_redis(store).items()}
        figures["ratio"] = figures["redis_leased"] / figures["memory"]
    figures["rival_ratio"] = figures["rival_moving_window"] / figures["memory"]
    figures = {name: round(value, 2) for name, value in figures.items()}
    if options.save:
        results.save("limits", figures, folder=Path("/tmp"))  # noqa: S108 (nothing is written)
    if options.json:
        print(json.dumps(figures))
    else:
        report(figures)
    met = figures["gcra"] <= TARGET_US and figures.get("ratio", 0.0) <= TARGET_RATIO
    return 0 if met else 1


def report(figures: dict[str, Any]) -> None:
    """For people."""
    print(f"One take from a rate, {KEYS} agents, µs of processor time; {results.machine(Path('/tmp'))}")  # noqa: S108
    rows = {"gcra": f"GCRA alone (target {TARGET_US:g})", "memory": "counters in memory",
            "rival_moving_window": "`limits`, moving window in memory", "redis_leased": f"Redis, leases of {LEASE}",
            "redis_alone": "Redis, each take asks", "redis_leased_passed": "Redis, leases, time that passed"}
    for name, label in rows.items():
        if name in figures:
            print(f"  {label:<36}{figures[name]:>9.2f}")
    if "ratio" in figures:
        print(f"leases in Redis: {figures['ratio']:.2f} times memory (target {TARGET_RATIO:g})")
    print(f"the rival: {figures['rival_ratio']:.2f} times ours")


if __name__ == "__main__":
    sys.exit(main())
