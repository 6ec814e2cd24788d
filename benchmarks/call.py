"""What the wall costs: a governed tool call that does nothing, against an echo that is only as durable.

    python benchmarks/call.py [--calls N] [--json] [--save] [--folder DIR]

Governed: a confined agent calls the sidecar's built-in echo, 1 KB each way, through every ring, guard on, with
its intent durable before the effect. Rival ("base"): an echo on the same HTTP server, loop and socket type that
appends 600 bytes and calls fdatasync in the same file system. Beside them, without a target: the same echo with
requests that wait together sharing the append and the fdatasync, and an ordinary server of the MCP SDK behind the
wall. The client sits in the agent and is the same for all; rounds alternate. A second, separate run with a clock
around each part prints where the time goes.

The target is missed at one connection. So exit code 1 means a change for the worse: a median above BOUND times the
base. Exit code 2: no verdict, because other work slowed even the base down; nothing is saved then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import results

import stack

TARGET: Final = 4.0  # times the base, at the median
GOAL: Final = 3.0
BOUND: Final = {"1": 8.5, "16": 4.5}  # by connections: what was measured, and a fifth more for the machine's moods
ROUNDS: Final = 20
WARM: Final = 100  # calls before the first round
BUSY: Final = 1.75  # the base's median over its quietest round; on a machine left alone it is 1.1 to 1.5
SENTENCE: Final = "The meeting on the quarterly report was moved to the large room on the second floor. "
TEXT: Final = (SENTENCE * 12)[:1000]  # with its JSON around it 1 KB
NAMES: Final = {
    "base": "base: echo + fdatasync", "grouped": "  the same, grouped", "wall": "governed call",
    "sdk": "  the same, MCP SDK server",
}
STAGES: Final = (
    ("resolve", "attempt, parse, resolve"),
    ("identity", "identity"),
    ("capability", "capability"),
    ("limits", "limits"),
    ("flow", "flow"),
    ("guard", "guard, arguments"),
    ("policy", "policy"),
    ("intent durable", "intent durable"),
    ("effect", "effect (sidecar)"),
    ("guard back", "guard, result"),
    ("others back", "other rings' release"),
    ("outcome", "outcome handed over"),
    ("between", "wall and door between these"),
    ("transport", "HTTP, sockets, wake-ups"),
)
MANIFEST: Final = """
version = 1
trust_domain = "bench.example"
audit = {{ quota_mib = 1048576 }}
[tools.echo]
builtin = "echo"
clearance = "private"
[tools.sdk]
command = {sdk}
read_only = [{parts}]
clearance = "private"
[tools.sdk.ops.echo]
effect = "read"
[tools.sdk.ops.echo.args]
text = "param"
[tenants.bench.roles.load.tools]
"echo/echo" = []
"sdk/echo" = []
[tenants.bench.agents.load]
role = "load"
work = {work}
"""


class Bench:
    """A runtime and the rival, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(mode=0o755)
        sdk = [sys.executable, str(stack.PARTS / "sdk_server.py")]
        self.stack = stack.Stack(folder, MANIFEST.format(sdk=json.dumps(sdk), work=json.dumps(str(self.work)),
                                                         parts=json.dumps(str(stack.PARTS))))

    def runtime(self, stages: Path | None = None) -> AbstractContextManager[None]:
        """``ringwall up`` with the benchmark's core; with ``stages``, its parts are measured into that file."""
        return self.stack.up(**({} if stages is None else {"RINGWALL_BENCH_STAGES": str(stages)}))

    def rival(self) -> AbstractContextManager[object]:
        """The base, on a socket in the agent's folder: the agent has no other common place with it."""
        command = (sys.executable, str(stack.PARTS / "base.py"), str(self.work / "base.sock"),
                   str(self.folder / "base.log"))
        return stack.process(command, "ready")

    def load(self, targets: Sequence[str], connections: Sequence[int], calls: int) -> dict[str, Any]:
        """Run the load as a confined agent."""
        rival, door = "/workspace/base.sock", "/run/ringwall/door.sock"
        echo, sdk = ({"tool": f"{server}/echo", "args": {"text": TEXT}} for server in ("echo", "sdk"))
        known = {
            "base": {"path": rival, "route": "/", "payload": echo},
            "grouped": {"path": rival, "route": "/grouped", "payload": echo},
            "wall": {"path": door, "route": "/v1/tools/call", "payload": echo},
            "sdk": {"path": door, "route": "/v1/tools/call", "payload": sdk},
        }
        return self.stack.load("load", {
            "targets": [{"name": name, **known[name]} for name in targets],
            "connections": list(connections), "rounds": ROUNDS, "calls": max(1, calls // ROUNDS), "warm": WARM,
        })


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """p50, p99 and the p50 of the quietest round in microseconds, and calls a second, by connections and target.

    Ratios to the base are of the p50 over everything, and of the quietest rounds: other work on a machine slows
    a chain of four processes down more than one server.
    """
    figures: dict[str, Any] = {}
    for key, entry in found.items():
        name, connections = key.split()
        times = sorted(entry["us"])
        figures.setdefault(connections, {})[name] = {
            "p50_us": round(statistics.median(times)),
            "p99_us": round(times[min(len(times) - 1, len(times) * 99 // 100)]),
            "quiet_us": round(min(entry["rounds"])),
            "per_second": round(statistics.median(entry["per_second"])),
        }
    for rows in figures.values():
        for row in rows.values():
            row["ratio"] = round(row["p50_us"] / rows["base"]["p50_us"], 2)
            row["quiet_ratio"] = round(row["quiet_us"] / rows["base"]["quiet_us"], 2)
    return figures


def split(found: Mapping[str, Any], stages: Mapping[str, list[float]]) -> dict[str, int]:
    """Median microseconds of each part; the parts add up to the median call, but for rounding."""
    medians = {name: statistics.median(times[WARM:]) for name, times in stages.items()}
    back = [name for name in medians if name.endswith(" back")]
    medians["others back"] = sum(medians[name] for name in back if name != "guard back")
    inside = {name for name, _ in STAGES} - {"between", "transport"}
    medians["between"] = medians["door"] - sum(medians[name] for name in inside)
    medians["transport"] = statistics.median(found["wall 1"]["us"]) - medians["door"]
    return {name: round(medians[name]) for name, _ in STAGES}


def report(figures: Mapping[str, Any], parts: Mapping[str, int], where: str) -> None:
    """For people."""
    print(f"A governed tool call, 1 KB each way; {where}")
    for connections, rows in figures.items():
        print(f"\n{connections} connection{'s' if connections != '1' else ''}")
        print(f"  {'':<26}{'p50 µs':>8}{'p99 µs':>8}{'calls/s':>8}{'ratio':>7}{'quiet µs':>10}{'ratio':>7}")
        for name, row in rows.items():
            print(f"  {NAMES[name]:<26}{row['p50_us']:>8}{row['p99_us']:>8}{row['per_second']:>8}"
                  f"{row['ratio']:>7.2f}{row['quiet_us']:>10}{row['quiet_ratio']:>7.2f}")
    print("\nWhere the time goes (1 connection, a run of its own, median µs)")
    for name, label in STAGES:
        print(f"  {label:<28}{parts[name]:>9}")
    print(f"  {'in all':<28}{sum(parts.values()):>9}")
    print()
    if busy(figures):
        print("no verdict: the machine was busy with other work")
        return
    for connections, rows in figures.items():
        print(f"{connections:>2}: {verdict(rows['wall']['ratio'])}")


def busy(figures: Mapping[str, Any]) -> bool:
    """Whether other work disturbed the measurement too much for a verdict."""
    return any(rows["base"]["p50_us"] > BUSY * rows["base"]["quiet_us"] for rows in figures.values())


def verdict(ratio: float) -> str:
    """In words."""
    if ratio > TARGET:
        return f"{ratio:.2f} times the base: OVER the target of {TARGET:g}"
    return f"{ratio:.2f} times the base: within the target of {TARGET:g}" + (
        f", goal {GOAL:g} reached" if ratio <= GOAL else f", goal {GOAL:g} not reached"
    )


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What the wall costs, against an echo that is only as durable.")
    parser.add_argument("--calls", type=int, default=2000, help="measured calls of each kind (2000)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (/var/tmp)")  # noqa: S108
    return parser


def main() -> int:
    options = arguments().parse_args()
    with stack.folder("rwb", options.folder) as folder:
        bench = Bench(folder)
        with bench.rival(), bench.runtime():
            figures = summary(bench.load(("base", "grouped", "wall", "sdk"), (1, 16), options.calls))
        measured = folder / "stages.json"
        with bench.runtime(measured):
            found = bench.load(("wall",), (1,), options.calls)
        parts = split(found, json.loads(measured.read_text()))
    disturbed = busy(figures)
    if options.save and not disturbed:
        results.save("call", {"connections": figures, "stages_us": parts}, folder=options.folder)
    if options.json:
        print(json.dumps({"connections": figures, "stages_us": parts}))
    else:
        report(figures, parts, results.machine(options.folder))
    if disturbed:
        return 2
    return 1 if any(rows["wall"]["ratio"] > BOUND[key] for key, rows in figures.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
