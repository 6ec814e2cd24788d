"""What a decision costs: the shipped policy at 1,000 agents and 10,000 grants, beside other engines.

    python benchmarks/policy.py [--decisions N] [--json] [--save] [--folder DIR]

Ours: the shipped plan, executed in this process. Beside it, in the same run: the real `opa` with the same sources
and data over REST on loopback; `regopy` with the same sources and data as a prepared bundle; `cedarpy` with one
policy a grant, prepared. The last two are in the dependency group `bench`; what is not installed is left out and
said. Every engine judges the same calls and has to allow the same ones. CPU is this thread's (`opa`: its process',
mean); wall is what the caller waits. A last part measures rules instead of data: 10,000 rules that begin with a
comparison, looked up and tried in turn.

Exit code 1: the p99 of ours is not under TARGET_US of CPU, or two engines disagree.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final

import results

from ringwall.capability.resources import parse_pattern
from ringwall.manifest.types import Agent, ArgumentRole, Grant, Manifest, Model, Operation, Role, Tenant, ToolServer
from ringwall.policy.build import SOURCES, find_opa, run_opa
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.plan.loader import Plan

TARGET_US: Final = 1000.0  # CPU, p99
ROLES: Final = 100
TOOLS: Final = 100  # of each role: 10,000 grants
AGENTS: Final = 1000
MOST: Final = 200  # the grants' maximum of `limit`
RULES: Final = 10_000
NEVER: Final = 1 << 40
ENTRY: Final = "ringwall/decide/call"
SEED: Final = 20_261_122
READY_S: Final = 20.0
Decide = Callable[[Any], bool]


def manifest() -> Manifest:
    """1,000 agents in 100 roles, each with 100 tools, each with two resources and a maximum."""
    args = {"path": ArgumentRole(role="selector", kind="path"), "limit": ArgumentRole(role="param")}
    servers = {f"s{n:02}": ToolServer(name=f"s{n:02}", command=("tool",), ops={
        f"op{m}": Operation(effect="read", args=args) for m in range(10)}) for n in range(TOOLS // 10)}
    tools = [f"s{n // 10:02}/op{n % 10}" for n in range(TOOLS)]
    roles = {f"r{n:02}": Role(name=f"r{n:02}", models=("main",), tools={
        tool: Grant(tool=tool, resources=(f"path:/srv/r{n:02}/", "path:/srv/all.txt"), max={"limit": MOST})
        for tool in tools}) for n in range(ROLES)}
    agents = {f"a{n:03}": Agent(name=f"a{n:03}", role=f"r{n % ROLES:02}") for n in range(AGENTS)}
    return Manifest(version=1, trust_domain="bench.example", path=Path("/nowhere/ringwall.toml"), tools=servers,
                    models={"main": Model(name="main", wire="openai", url="https://llm.example/v1")},
                    tenants={"acme": Tenant(name="acme", roles=roles, agents=agents)})


def calls(count: int) -> list[Any]:
    """Input documents: two of three are given, the rest name another's folder, too much, or no tool of theirs."""
    dice = random.Random(SEED)  # noqa: S311 (a benchmark)
    return [_call(dice) for _ in range(count)]


def _call(dice: random.Random) -> Any:
    number, kind = dice.randrange(AGENTS), dice.randrange(9)
    role, agent = f"r{number % ROLES:02}", f"a{number:03}"
    tool = "s99/op0" if kind == 0 else f"s{dice.randrange(TOOLS // 10):02}/op{dice.randrange(10)}"
    folder = f"r{(number + 1) % ROLES:02}" if kind == 1 else role
    key = ["srv", folder, f"file{dice.randrange(1000)}.txt"]
    return {
        "subject": {"type": "process", "id": f"spiffe://bench.example/tenant/acme/agent/{agent}/role/{role}",
                    "trust_domain": "bench.example", "tenant": "acme", "agent": agent, "role": role, "number": 0,
                    "launch": "l-0001"},
        "call": {"kind": "tool", "target": tool, "direction": "out", "definition": "0" * 64,
                 "args": {"path": "/" + "/".join(key), "limit": MOST + 1 if kind == 2 else dice.randrange(MOST)},
                 "session": "s-0001", "digest": "0" * 64, "approval": None,
                 "resources": [{"type": "path", "id": "/" + "/".join(key), "key": key, "action": "read",
                                "argument": "path"}]},
        "facts": {"identity": {"attested": True}, "capability": {"definition": "0" * 64}, "limits": {"left": 3},
                  "flow": {"denied": False}, "guard": {"blocked": False, "findings": []},
                  "policy": {"approved": False}},
        "time": {"now": 1.0},
    }


def sources() -> dict[str, str]:
    """The shipped Rego, by path."""
    return {str(path.relative_to(SOURCES)): path.read_text() for path in sorted(SOURCES.rglob("*.rego"))
            if not path.name.endswith("_test.rego")}


def measure(decide: Decide, documents: Sequence[Any], count: int) -> tuple[dict[str, float], list[bool]]:
    """Quantiles in microseconds, and what was decided on each document."""
    answers = [decide(document) for document in documents]  # and warm
    cpu, wall = [0.0] * count, [0.0] * count
    for index in range(count):
        document = documents[index % len(documents)]
        began, since = time.thread_time_ns(), time.perf_counter_ns()
        decide(document)
        wall[index] = (time.perf_counter_ns() - since) / 1000
        cpu[index] = (time.thread_time_ns() - began) / 1000
    return {"decisions": count, **_quantiles("cpu", cpu), **_quantiles("wall", wall)}, answers


def _quantiles(name: str, values: list[float]) -> dict[str, float]:
    values.sort()
    return {f"{name}_p50_us": round(statistics.median(values), 1),
            f"{name}_p99_us": round(values[min(len(values) - 1, len(values) * 99 // 100)], 1)}


# -- the engines: each a context that gives the function to ask, and how long it took to be ready


@contextlib.contextmanager
def ours(data: Any) -> Generator[Decide]:
    """The embedded executor."""
    policy = EmbeddedPolicy.default(data)

    def decide(document: Any) -> bool:
        found: Any = policy.evaluate(ENTRY, document)
        return bool(found["allow"])
    yield decide


@contextlib.contextmanager
def opa_rest(data: Any, folder: Path) -> Generator[tuple[Decide, int]]:
    """The real opa on loopback, and its process."""
    opa = find_opa(os.environ)
    if opa is None:
        raise ImportError("opa")
    place = folder / "opa"
    for name, text in sources().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    (place / "data.json").write_text(json.dumps(data))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([opa, "run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error",
                                "--skip-version-check", str(place)], stdin=subprocess.DEVNULL)
    try:
        connection = _connected(port)

        def decide(document: Any) -> bool:
            connection.request("POST", f"/v1/data/{ENTRY}", json.dumps({"input": document}),
                               {"content-type": "application/json"})
            return bool(json.loads(connection.getresponse().read())["result"]["allow"])
        yield decide, process.pid
    finally:
        process.terminate()
        process.wait(READY_S)


def _connected(port: int) -> http.client.HTTPConnection:
    until = time.monotonic() + READY_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().read() is not None:
                return connection
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def regopy(data: Any) -> Generator[Decide]:
    """Microsoft's rego-cpp, with a prepared bundle."""
    module: Any = importlib.import_module("regopy")
    rego = module.Interpreter()
    rego.add_data(data)
    for name, text in sources().items():
        rego.add_module(name, text)
    bundle = rego.build(None, [ENTRY])

    def decide(document: Any) -> bool:
        rego.set_input(document)
        return bool(rego.query_bundle_entrypoint(bundle, ENTRY).results[0].expressions[0]["allow"])
    yield decide


@contextlib.contextmanager
def cedarpy(data: Any) -> Generator[Decide]:
    """Cedar with one policy a grant, prepared: another language, so the same grants and not the same policy."""
    module: Any = importlib.import_module("cedarpy")
    tenant = data["ringwall"]["tenants"]["acme"]
    policies = module.PolicySet.from_str("\n".join(
        f'permit(principal in Role::"{name}", action == Action::"call", resource == Tool::"{tool}") when '
        f'{{ context.limit <= {MOST} && (context.path like "/srv/{name}/*" || context.path == "/srv/all.txt") }};'
        for name, role in tenant["roles"].items() for tool in role["tools"]))
    entities = module.Entities.from_json_str(json.dumps([
        *({"uid": {"type": "Role", "id": name}, "attrs": {}, "parents": []} for name in tenant["roles"]),
        *({"uid": {"type": "Agent", "id": name}, "attrs": {}, "parents": [{"type": "Role", "id": agent["role"]}]}
          for name, agent in tenant["agents"].items())]))

    def decide(document: Any) -> bool:
        subject, call = document["subject"], document["call"]
        request = {"principal": {"type": "Agent", "id": subject["agent"]}, "context": call["args"],
                   "action": {"type": "Action", "id": "call"}, "resource": {"type": "Tool", "id": call["target"]}}
        return bool(module.is_authorized(request, policies, entities).allowed)
    yield decide


def engines(data: Any, documents: Sequence[Any], count: int, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures by engine, and what went wrong."""
    figures: dict[str, Any] = {}
    wrong: list[str] = []
    with ours(data) as decide:
        figures["ringwall"], wanted = measure(decide, documents, count)
    rivals: dict[str, tuple[Callable[[], Any], int]] = {
        "opa": (lambda: opa_rest(data, folder), count // 5), "regopy": (lambda: regopy(data), count // 50),
        "cedarpy": (lambda: cedarpy(data), count // 200)}
    for name, (engine, many) in rivals.items():
        try:
            with engine() as found:
                decide, pid = found if isinstance(found, tuple) else (found, None)
                before = _cpu_us(pid)
                figures[name], answers = measure(decide, documents[:max(10, many // 4)], max(10, many))
                if pid is not None:
                    spent = _cpu_us(pid) - before
                    figures[name]["server_cpu_mean_us"] = round(spent / (max(10, many) + len(answers)), 1)
        except ImportError:
            figures[name] = None
            continue
        if answers != wanted[:len(answers)]:
            wrong.append(f"{name} and ringwall disagree")
    for row in filter(None, figures.values()):
        row["wall_ratio"] = round(row["wall_p50_us"] / figures["ringwall"]["wall_p50_us"], 2)
    return figures, wrong


def _cpu_us(pid: int | None) -> float:
    """What a process has used so far."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def rules(count: int, folder: Path) -> dict[str, float] | None:
    """10,000 rules of one comparison: looked up, and tried in turn."""
    opa = find_opa(os.environ)
    if opa is None:
        return None
    text = "\n\n".join(
        f'deny contains {{"code": "c{n}"}} if {{\n\tinput.tenant == "acme"\n\tinput.tool == "t{n}"\n}}'
        for n in range(RULES))
    (folder / "rules.rego").write_text(f"package t\n\np := deny\n\n{text}\n")
    run_opa(opa, "build", "-t", "plan", "-e", "t/p", "-o", "rules.tar.gz", "rules.rego", cwd=folder)
    subprocess.run(["tar", "xzf", "rules.tar.gz"], cwd=folder, check=True, capture_output=True)
    raw = (folder / "plan.json").read_bytes()
    documents = [{"tenant": "acme", "tool": f"t{n * 7919 % (2 * RULES)}"} for n in range(100)]
    found: dict[str, float] = {"rules": RULES}
    for name, least, many in (("indexed", 8, count), ("in_turn", NEVER, count // 50)):
        plan = Plan(raw, indexed=least)
        figures, _ = measure(lambda document, plan=plan: bool(plan.evaluate("t/p", document, {})), documents, many)
        found[f"{name}_cpu_p50_us"] = figures["cpu_p50_us"]
    found["ratio"] = round(found["in_turn_cpu_p50_us"] / found["indexed_cpu_p50_us"], 1)
    return found


def report(figures: dict[str, Any], indexed: dict[str, float] | None, where: str) -> None:
    """For people."""
    print(f"A decision at {AGENTS:,} agents and {ROLES * TOOLS:,} grants; {where}\n")
    print(f"  {'':<10}{'CPU p50 µs':>12}{'p99':>10}{'wall p50 µs':>13}{'p99':>10}{'ratio':>9}{'decisions':>11}")
    for name, row in figures.items():
        if row is None:
            print(f"  {name:<10} not installed")
            continue
        print(f"  {name:<10}{row['cpu_p50_us']:>12}{row['cpu_p99_us']:>10}{row['wall_p50_us']:>13}"
              f"{row['wall_p99_us']:>10}{row['wall_ratio']:>9}{row['decisions']:>11}")
        if "server_cpu_mean_us" in row:
            print(f"  {'':<10} and in its own process {row['server_cpu_mean_us']} µs of CPU on average")
    if indexed is not None:
        print(f"\n  {RULES:,} rules: {indexed['indexed_cpu_p50_us']} µs looked up, "
              f"{indexed['in_turn_cpu_p50_us']} µs tried in turn: {indexed['ratio']} times")


def main() -> int:
    parser = argparse.ArgumentParser(description="What a decision costs, beside other engines.")
    parser.add_argument("--decisions", type=int, default=20_000, help="of ours; others get fewer (20000)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="for files (/var/tmp)")  # noqa: S108
    options = parser.parse_args()
    data = policy_data(manifest(), parse_pattern)
    with tempfile.TemporaryDirectory(prefix="rwb", dir=options.folder) as scratch:
        figures, wrong = engines(data, calls(500), options.decisions, Path(scratch))
        indexed = rules(options.decisions // 2, Path(scratch))
    if figures["ringwall"]["cpu_p99_us"] >= TARGET_US:
        wrong.append(f"p99 is {figures['ringwall']['cpu_p99_us']} µs of CPU: OVER the target of {TARGET_US:g}")
    if options.save:
        results.save("policy", {"engines": figures, "rules": indexed}, folder=options.folder)
    if options.json:
        print(json.dumps({"engines": figures, "rules": indexed, "wrong": wrong}))
    else:
        report(figures, indexed, results.machine(options.folder))
        print(f"\n{'; '.join(wrong) or f'p99 within the target of {TARGET_US:g} µs'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
