"""How long a freeze takes under load: from its arrival to the moment the last effect has ended.

    python benchmarks/freeze.py [--freezes N] [--json] [--save] [--folder DIR]

A confined agent keeps 64 calls under way: half echo as fast as they are answered, half wait in a tool. Again and
again it is frozen and thawed by an operator. Each freeze is a call through every ring, with its intent and its own
record durable before it holds; the time is the one that the core measures and writes into the log. Beside it, what
the operator waits: with connecting, the second record and the answer. Exit code 1: over the target.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import results

import stack
from ringwall.doors.operator_client import OperatorClient

TARGET_MS: Final = 50.0  # to the last effect, p99
CONNECTIONS: Final = 64
LULL_S: Final = 0.02  # frozen; what came meanwhile is refused
STORM_S: Final = 0.1  # thawed; every connection has a call under way again
MANIFEST: Final = """
version = 1
trust_domain = "bench.example"
audit = {{ quota_mib = 1048576 }}
[tools.echo]
builtin = "echo"
clearance = "private"
[tools.waiting]
python = "waiting_tool"
read_only = [{parts}]
clearance = "private"
[tools.waiting.ops.wait]
effect = "read"
[tools.waiting.ops.wait.args]
seconds = "param"
[tenants.bench]
limits = {{ concurrent = 1024 }}
[tenants.bench.roles.load]
limits = {{ concurrent = 1024 }}
[tenants.bench.roles.load.tools]
"echo/echo" = []
"waiting/wait" = []
[tenants.bench.agents.load]
role = "load"
"""


def measure(client: OperatorClient, freezes: int) -> list[dict[str, Any]]:
    """Freeze and thaw, so many times; what each freeze said of itself, and what its operator waited."""
    found: list[dict[str, Any]] = []
    for number in range(freezes):
        time.sleep(STORM_S)
        started = time.perf_counter()
        name = {"scope": "agent", "name": "bench/load", "reason": f"benchmark {number}"}
        done = client.operate("freeze", name)
        found.append({**done, "waited": time.perf_counter() - started})
        time.sleep(LULL_S)
        client.operate("thaw", name)
    return found


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Milliseconds and calls."""
    times, waited = (sorted(one[name] * 1000 for one in found) for name in ("seconds", "waited"))
    return {
        "freezes": len(found), "p50_ms": round(statistics.median(times), 2), "p99_ms": round(at(times, 99), 2),
        "max_ms": round(times[-1], 2), "operator_p50_ms": round(statistics.median(waited), 2),
        "operator_p99_ms": round(at(waited, 99), 2),
        "calls_ended": round(statistics.median(one["calls"] for one in found)),
        "fewest_ended": min(one["calls"] for one in found),
        "of_them_begun": round(statistics.median(one["begun"] for one in found)),
        "late": sum(one["late"] for one in found),
    }


def at(times: Sequence[float], percent: int) -> float:
    return times[min(len(times) - 1, len(times) * percent // 100)]


def run(folder: Path, freezes: int) -> dict[str, float]:
    bench = stack.Stack(folder, MANIFEST.format(parts=json.dumps(str(stack.PARTS))))
    storm = bench.command("load", "storm.py", str(CONNECTIONS))
    with bench.up(), stack.process(storm, "storming"):
        return summary(measure(OperatorClient(bench.state / "operator.sock"), freezes))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How long a freeze takes under load.")
    parser.add_argument("--freezes", type=int, default=300, help="how many (300)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (/var/tmp)")  # noqa: S108
    return parser


def main() -> int:
    options = arguments().parse_args()
    with stack.folder("rwf", options.folder) as folder:
        figures = run(folder, options.freezes)
    if figures["fewest_ended"] < CONNECTIONS // 2:
        sys.exit(f"there was no load: a freeze ended {figures['fewest_ended']} calls only")
    if options.save:
        results.save("freeze", figures, folder=options.folder)
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"Freezing an agent with {CONNECTIONS} calls under way; {results.machine(options.folder)}")
        print(f"  {figures['freezes']} freezes, each ended {figures['calls_ended']} calls, of which "
              f"{figures['of_them_begun']} had begun (median)")
        print(f"  to the last effect  p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms, "
              f"most {figures['max_ms']} ms")
        print(f"  operator's answer   p50 {figures['operator_p50_ms']} ms, p99 {figures['operator_p99_ms']} ms")
        within = "within" if figures["p99_ms"] < TARGET_MS else "OVER"
        print(f"  {within} the target: p99 under {TARGET_MS:g} ms")
    return 0 if figures["p99_ms"] < TARGET_MS and not figures["late"] else 1


if __name__ == "__main__":
    sys.exit(main())
