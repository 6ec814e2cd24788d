"""Whether calls leave anything behind: memory and times over very many calls through the MCP door.

    python benchmarks/soak.py [--calls N] [--json] [--save] [--folder DIR]

One confined agent, 64 connections, 2 KB each way, to a server of the MCP SDK over streamable HTTP; guard on, every
record durable. After each tenth: the memory of core, sidecar and guard (proportional set size) and the 99th
percentile of its calls. Beside them what other machines and moods change less: each process's CPU time for a call.

Exit code 1: memory at the end is more than a tenth above that after the first tenth, or the last tenth's p99 is
over 1.5 times the first's. Exit code 2: no verdict on times, because other work had more than BUSY of the CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import results
from parts import gateway_bench, gateway_load

import stack

CONNECTIONS: Final = 64
TENTHS: Final = 10
WARM: Final = 2000  # calls before the first tenth: pools are filled, code is compiled
FLAT: Final = 0.10
SLOWER: Final = 1.5
BUSY: Final = 0.15  # of all CPUs, for work that is not ours, in the first or the last tenth
KIB: Final = 1024


def pss(pid: int) -> int:
    """A process's memory in bytes; a page that several have counts in part."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return KIB * int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))


def running() -> float:
    """Seconds of CPU that this machine has spent on anything, or had taken away."""
    told = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(told) - told[3] - told[4]) / os.sysconf("SC_CLK_TCK")  # but for idle and waiting for a disk


def run(folder: Path, calls: int) -> dict[str, Any]:
    """All of it."""
    with gateway_bench.tool(folder) as tool:
        own = gateway_bench.Gateway(folder / "own", tool=tool.url, model="http://127.0.0.1:9/v1", core="told.py")
        with own.up() as inside:
            pids = own.stack.ask("pids")
            inside.ask("open", "mcp", address=gateway_bench.DOOR, route="/mcp/web", headers={},
                       mcp=gateway_load.REVISION, body={"text": gateway_bench.TEXT}, holds=gateway_bench.TEXT)
            inside.ask("run", "mcp", connections=CONNECTIONS, calls=WARM)
            return _tenths(inside, {**pids, "server": tool.pid}, max(CONNECTIONS, calls // TENTHS))


def _tenths(inside: gateway_bench.Client, pids: Mapping[str, int], calls: int) -> dict[str, Any]:
    tenths: list[dict[str, Any]] = []
    for number in range(TENTHS):
        before, busy_before = {name: stack.cpu([pid]) for name, pid in pids.items()}, running()
        told = inside.ask("run", "mcp", connections=CONNECTIONS, calls=calls)
        spent = {name: stack.cpu([pid]) - before[name] for name, pid in pids.items()}
        others = running() - busy_before - sum(spent.values()) - told["cpu_s"]
        times = sorted(told["us"])
        tenths.append({
            "p50_ms": round(statistics.median(times) / 1000, 2),
            "p99_ms": round(times[len(times) * 99 // 100] / 1000, 2),
            "per_second": round(calls / told["seconds"]),
            "pss_mib": {name: round(pss(pid) / KIB**2, 1) for name, pid in pids.items() if name != "server"},
            "cpu_us": {name: round(1e6 * one / calls) for name, one in spent.items()},
            "others": round(max(others, 0.0) / told["seconds"] / (os.cpu_count() or 1), 2),
        })
        print(f"{number + 1} of {TENTHS}: {json.dumps(tenths[-1])}", file=sys.stderr)
    first, last = tenths[0], tenths[-1]
    grown = {name: round(last["pss_mib"][name] / first["pss_mib"][name] - 1, 3) for name in first["pss_mib"]}
    return {"calls": calls * TENTHS, "connections": CONNECTIONS, "tenths": tenths, "grown": grown,
            "grown_in_all": round(_all(last) / _all(first) - 1, 3),
            "p99_ratio": round(last["p99_ms"] / first["p99_ms"], 2)}


def _all(tenth: Mapping[str, Any]) -> float:
    return sum(tenth["pss_mib"].values())


def busy(tenths: Sequence[Mapping[str, Any]]) -> bool:
    """Whether other work slowed the tenths that are compared."""
    return max(tenths[0]["others"], tenths[-1]["others"]) > BUSY


def report(figures: Mapping[str, Any], where: str) -> None:
    """For people."""
    print(f"{figures['calls']} calls through the MCP door, {CONNECTIONS} connections; {where}\n")
    names = list(figures["grown"])
    print(f"  {'tenth':<8}{'p50 ms':>8}{'p99 ms':>8}{'calls/s':>9}{'others':>8}"
          + "".join(f"{name:>24}" for name in names))
    for number, tenth in enumerate(figures["tenths"], 1):
        each = "".join(f"{tenth['pss_mib'][name]:>11.1f} MiB{tenth['cpu_us'][name]:>6} µs" for name in names)
        print(f"  {number:<8}{tenth['p50_ms']:>8.1f}{tenth['p99_ms']:>8.1f}{tenth['per_second']:>9}"
              f"{tenth['others']:>8.0%}{each}")
    print("  µs: CPU of a call; others: of all CPUs, for work that is not ours")
    print(f"\nmemory {figures['grown_in_all']:+.1%} since the first tenth ("
          + ", ".join(f"{name} {grown:+.1%}" for name, grown in figures["grown"].items())
          + f"): {'OVER' if leaks(figures) else 'within'} {FLAT:.0%}")
    print(f"p99 of the last tenth {figures['p99_ratio']:.2f} times the first's: "
          f"{'OVER' if figures['p99_ratio'] > SLOWER else 'within'} {SLOWER:g}")


def leaks(figures: Mapping[str, Any]) -> bool:
    """Whether memory was not flat, of any process or of all."""
    return any(grown > FLAT for grown in (*figures["grown"].values(), figures["grown_in_all"]))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Whether very many calls leave anything behind.")
    parser.add_argument("--calls", type=int, default=200_000, help="measured calls (200000)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (/var/tmp)")  # noqa: S108
    return parser


def main() -> int:
    options = arguments().parse_args()
    with stack.folder("rws", options.folder) as folder:
        figures = run(folder, options.calls)
    disturbed = busy(figures["tenths"])
    if options.save and not disturbed:
        results.save("soak", figures, folder=options.folder)
    if options.json:
        print(json.dumps(figures))
    else:
        report(figures, results.machine(options.folder))
    if leaks(figures):
        return 1
    if disturbed:
        print("no verdict on times: the machine was busy with other work", file=sys.stderr)
        return 2
    return 1 if figures["p99_ratio"] > SLOWER else 0


if __name__ == "__main__":
    sys.exit(main())
