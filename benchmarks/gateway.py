"""What the gateway adds to a tool call over MCP, to a chat completion and to a stream, beside other gateways.

    python benchmarks/gateway.py [--calls N] [--json] [--save] [--folder DIR]

One run, rounds of all in turn, one client for all: HTTP on kept connections, 2 KB each way, in a confined agent for
Ringwall and outside for the others ("confinement" says what that alone costs the client). Behind everybody the same
server of the MCP SDK over streamable HTTP and the same model. "Added" is over the same request sent there directly.

Ringwall: the agent's door over TCP, every ring, the guard, every record durable before its effect; once more
without the guard, and with the tool as a Python module over pipes. Rivals as shipped (parts/gateway_rivals.py): no
guard, no record. MCP in 2025-11-25, which all speak, and Ringwall in 2026-07-28 as well.

The stream has a token of four characters every 5 ms. The guard holds 128 characters back, so a text is compared
with the moment at which the model sent the token that lets it go.

Exit code 1: over BOUND, a change for the worse. Exit code 2: no verdict, because other work slowed those down that
are compared; nothing is saved then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import results
from parts import gateway_bench, gateway_load, gateway_model, gateway_rivals

import stack

TARGETS: Final = {"mcp": 0.1, "chat": 0.2}  # added at the median, at most so many times the best rival's
TARGET_STREAM_MS: Final = 5.0
BOUND: Final = {"mcp": 0.2, "chat": 0.4, "stream_ms": 10.0}
ROUNDS: Final = 15
ROUNDS_MANY: Final = 5
MANY: Final = 16  # connections
STREAMS: Final = 3
WARM: Final = 30
HELD: Final = 128  # characters that the guard holds back
BUSY: Final = 1.75  # a median over its quietest round, of those that are compared
NAMES: Final = {
    "direct": "direct", "ringwall": "ringwall", "blind": "ringwall without guard",
    "pipes": "ringwall, tool over pipes",
    "litellm": "LiteLLM", "contextforge": "ContextForge", "fastmcp": "fastmcp proxy",
    "direct_new": "direct, 2026-07-28", "ringwall_new": "ringwall, 2026-07-28",
    "outside": "model's socket, from outside", "inside": "model's socket, from an agent",
}
BASE: Final = {"ringwall_new": "direct_new", "inside": "outside"}  # of the others: direct
Asker = tuple[gateway_bench.Client, str]


class Bench:
    """Everything that is measured, running, and who asks it."""

    def __init__(self, folder: Path, absent: Mapping[str, str]) -> None:
        self.folder = folder
        self._absent = absent
        self._model = stack.free_port()
        self.mcp: dict[str, Asker] = {}
        self.chat: dict[str, Asker] = {}
        self.streams: dict[str, Asker] = {}

    @contextlib.contextmanager
    def up(self) -> Generator[None]:
        """Start all; each is asked once before anything is measured."""
        model = f"http://127.0.0.1:{self._model}/v1"
        with contextlib.ExitStack() as opened:
            enter = opened.enter_context
            server = enter(gateway_bench.tool(self.folder))
            tool = server.url
            own = gateway_bench.Gateway(self.folder / "own", tool=tool, model=model, core="core.py")
            blind = gateway_bench.Gateway(self.folder / "blind", tool=tool, model=model, core="blind_core.py")
            for where in (str(self._model), str(own.work / "model.sock")):
                command = (sys.executable, str(stack.PARTS / "gateway_model.py"), where, gateway_bench.TEXT)
                enter(stack.process(command, "ready"))
            outside = enter(gateway_bench.outside(self.folder))
            inside, unguarded = enter(own.up()), enter(blind.up())
            direct = {"address": server.port, "route": "/mcp", "headers": {}}
            self._mcp("direct", outside, direct)
            self._mcp("direct_new", outside, direct, gateway_load.STATELESS)
            for name, client, at in (("ringwall", inside, "web"), ("blind", unguarded, "web"),
                                     ("pipes", inside, "pipes")):
                self._mcp(name, client, {"address": gateway_bench.DOOR, "route": f"/mcp/{at}", "headers": {}})
            self._mcp("ringwall_new", inside, {"address": gateway_bench.DOOR, "route": "/mcp/web", "headers": {}},
                      gateway_load.STATELESS)
            door = {"address": gateway_bench.DOOR, "route": "/openai/v1/chat/completions", "headers": {}}
            self._chat("direct", outside, {"address": self._model, "route": "/v1/chat/completions", "headers": {}})
            self._chat("ringwall", inside, door)
            self._chat("blind", unguarded, door)
            for name in gateway_rivals.RIVALS:
                if name not in self._absent:
                    rival = enter(gateway_rivals.running(name, self.folder, tool, model))
                    self._mcp(name, outside, rival["mcp"])
                    if "chat" in rival:
                        self._chat(name, outside, rival["chat"])
            for name, client, path in (("outside", outside, str(own.work / "model.sock")),
                                       ("inside", inside, "/workspace/model.sock")):
                self._chat(name, client, {"address": path, "route": "/v1/chat/completions", "headers": {}})
            yield

    def _mcp(self, name: str, client: gateway_bench.Client, where: Mapping[str, Any],
             revision: str = gateway_load.REVISION) -> None:
        client.ask("open", f"mcp {name}", **where, mcp=revision, body={"text": gateway_bench.TEXT},
                   holds=gateway_bench.TEXT)
        self.mcp[name] = client, f"mcp {name}"

    def _chat(self, name: str, client: gateway_bench.Client, where: Mapping[str, Any]) -> None:
        body = {"model": "main", "messages": [{"role": "user", "content": gateway_bench.TEXT}]}
        client.ask("open", f"chat {name}", **where, body=body, holds=gateway_bench.TEXT)
        self.chat[name] = client, f"chat {name}"
        if name not in {"outside", "inside"}:
            body = {**body, "stream": True, "stream_options": {"include_usage": True}}
            client.ask("open", f"stream {name}", **where, body=body, holds="[DONE]")
            self.streams[name] = client, f"stream {name}"

    def sent(self) -> list[float]:
        """When the tokens of the last stream were sent."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._model}/sent") as answer:
            found: list[float] = json.load(answer)["sent"]
            return found


def rounds(askers: Mapping[str, Asker], connections: int, count: int, calls: int) -> dict[str, dict[str, Any]]:
    """So many rounds of all of them in turn; their times in ms, with what was added to the direct ones."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in askers}
    for client, target in askers.values():
        client.ask("run", target, connections=connections, calls=max(WARM, 2 * connections))
    for _ in range(count):
        for name, (client, target) in askers.items():
            runs[name].append(client.ask("run", target, connections=connections, calls=calls))
    rows = {name: _row(found, calls) for name, found in runs.items()}
    for name, row in rows.items():
        base = rows[BASE.get(name, "direct")]
        row["added_p50_ms"] = round(row["p50_ms"] - base["p50_ms"], 3)
        row["added_p99_ms"] = round(row["p99_ms"] - base["p99_ms"], 3)
    return rows


def _row(found: Sequence[Mapping[str, Any]], calls: int) -> dict[str, Any]:
    times = sorted(us / 1000 for run in found for us in run["us"])
    middles = [statistics.median(run["us"]) / 1000 for run in found]
    return {
        "p50_ms": round(statistics.median(times), 3),
        "p99_ms": round(times[min(len(times) - 1, len(times) * 99 // 100)], 3),
        "rounds_ms": [round(min(middles), 3), round(max(middles), 3)],
        "per_second": round(statistics.median(calls / run["seconds"] for run in found)),
    }


def streams(bench: Bench) -> dict[str, dict[str, float]]:
    """Some streams of each, in turn: how late each text came, by the token that let it go."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in bench.streams}
    for client, target in bench.streams.values():
        client.ask("stream", target)
    for _ in range(STREAMS):
        for name, (client, target) in bench.streams.items():
            told = client.ask("stream", target)
            found[name].append(_late(told, bench.sent(), HELD if name == "ringwall" else 0))
    rows: dict[str, dict[str, float]] = {}
    for name, runs in found.items():
        late = sorted(one for run in runs for one in run["late"])
        rows[name] = {
            "first_ms": round(statistics.median(run["first"] for run in runs), 2),
            "first_late_ms": round(statistics.median(run["late"][0] for run in runs), 2),
            "token_p50_ms": round(statistics.median(late), 2),
            "token_p99_ms": round(late[len(late) * 99 // 100], 2),
            "end_ms": round(statistics.median(run["end"] for run in runs), 2),
            "texts": round(statistics.median(len(run["late"]) for run in runs)),
        }
    for row in rows.values():
        row["added_first_ms"] = round(row["first_ms"] - rows["direct"]["first_ms"], 2)
        row["added_first_late_ms"] = round(row["first_late_ms"] - rows["direct"]["first_late_ms"], 2)
        row["added_token_p50_ms"] = round(row["token_p50_ms"] - rows["direct"]["token_p50_ms"], 2)
    return rows


def _late(told: Mapping[str, Any], sent: Sequence[float], held: int) -> dict[str, Any]:
    late: list[float] = []
    characters = 0
    for at, came in told["pieces"]:
        characters += came
        needed = -(-(characters + held) // gateway_model.TOKEN)
        late.append(1000 * (at - sent[min(needed, len(sent)) - 1]))
    if characters != gateway_model.TOKENS * gateway_model.TOKEN or len(sent) != gateway_model.TOKENS:
        sys.exit(f"a stream had {characters} characters and {len(sent)} tokens")
    return {"late": late, "first": 1000 * (told["pieces"][0][0] - told["begun"]),
            "end": 1000 * (told["end"] - sent[-1])}


def ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    """What Ringwall adds at the median, by what the best rival adds."""
    found: dict[str, float] = {}
    for what in TARGETS:
        rows = figures[what]["1"]
        rivals = [rows[name]["added_p50_ms"] for name in gateway_rivals.RIVALS if name in rows]
        if rivals:
            found[what] = round(rows["ringwall"]["added_p50_ms"] / min(rivals), 3)
    return found


def busy(figures: Mapping[str, Any]) -> bool:
    """Whether other work disturbed the measurement too much for a verdict."""
    compared = {"direct", "ringwall", *gateway_rivals.RIVALS}
    return any(row["p50_ms"] > BUSY * row["rounds_ms"][0]
               for what in TARGETS for name, row in figures[what]["1"].items() if name in compared)


def report(figures: Mapping[str, Any], where: str) -> None:
    """For people."""
    print(f"Through the gateway, 2 KB each way; {where}")
    for name, why in figures["absent"].items():
        print(f"  left out: {name}: {why}")
    for what, title in (("mcp", "A tool call over MCP"), ("chat", "A chat completion, whole")):
        for connections, rows in figures[what].items():
            print(f"\n{title}, {connections} connection{'s' if connections != '1' else ''} (ms)")
            print(f"  {'':<31}{'p50':>8}{'p99':>9}{'added p50':>11}{'added p99':>11}{'calls/s':>9}"
                  "  rounds' medians")
            for name, row in rows.items():
                least, most = row["rounds_ms"]
                print(f"  {NAMES[name]:<31}{row['p50_ms']:>8.2f}{row['p99_ms']:>9.2f}{row['added_p50_ms']:>11.2f}"
                      f"{row['added_p99_ms']:>11.2f}{row['per_second']:>9}  {least} to {most}")
    print(f"\nA stream, a token of {gateway_model.TOKEN} characters every {1000 * gateway_model.PAUSE_S:g} ms (ms)")
    print(f"  {'':<31}{'first':>8}{'late':>8}{'token p50':>11}{'p99':>8}{'end':>8}{'texts':>8}")
    for name, row in figures["stream"].items():
        print(f"  {NAMES[name]:<31}{row['first_ms']:>8.2f}{row['first_late_ms']:>8.2f}"
              f"{row['token_p50_ms']:>11.2f}"
              f"{row['token_p99_ms']:>8.2f}{row['end_ms']:>8.2f}{row['texts']:>8}")
    print("  late: behind the model's sending of the token that lets a text go\n")
    for what, ratio in figures["ratios"].items():
        print(f"{what}: adds {ratio:.3f} times what the best rival adds: {_met(ratio, TARGETS[what])}")
    first = figures["stream"]["ringwall"]["added_first_late_ms"]
    print(f"stream: the first text {first:.2f} ms later than {HELD} characters: {_met(first, TARGET_STREAM_MS)}")


def _met(found: float, target: float) -> str:
    return f"{'OVER' if found > target else 'within'} the target of {target:g}"


def worse(figures: Mapping[str, Any]) -> bool:
    """Over BOUND."""
    found = {**figures["ratios"], "stream_ms": figures["stream"]["ringwall"]["added_first_late_ms"]}
    return any(value > BOUND[what] for what, value in found.items())


def run(folder: Path, calls: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it."""
    absent = gateway_rivals.missing()
    bench = Bench(folder, absent)
    figures: dict[str, Any] = {"absent": absent, "versions": gateway_rivals.versions(),
                               "settings": {name: how for name, how in gateway_rivals.SETTINGS.items()
                                            if name not in absent}}
    with bench.up():
        for what, askers in (("mcp", bench.mcp), ("chat", bench.chat)):
            say(what)
            figures[what] = {"1": rounds(askers, 1, ROUNDS, max(1, calls // ROUNDS)),
                             str(MANY): rounds(askers, MANY, ROUNDS_MANY, max(4 * MANY, calls // ROUNDS_MANY))}
        say("streams")
        figures["stream"] = streams(bench)
    figures["ratios"] = ratios(figures)
    return figures


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What the gateway adds, beside other gateways.")
    parser.add_argument("--calls", type=int, default=450, help="measured calls of each kind (450)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (/var/tmp)")  # noqa: S108
    return parser


def main() -> int:
    options = arguments().parse_args()
    with stack.folder("rwg", options.folder) as folder:
        figures = run(folder, options.calls, lambda what: print(f"measuring: {what}", file=sys.stderr))
    disturbed = busy(figures)
    if options.save and not disturbed:
        results.save("gateway", figures, folder=options.folder)
    if options.json:
        print(json.dumps(figures))
    else:
        report(figures, results.machine(options.folder))
    if disturbed:
        print("no verdict: the machine was busy with other work", file=sys.stderr)
        return 2
    return 1 if worse(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
