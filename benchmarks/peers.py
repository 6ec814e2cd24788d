"""What messages between agents cost: the inbound path against haproxy and Envoy, then the whole path in ms.

    python benchmarks/peers.py [--rounds N] [--calls N] [--json] [--save] [--folder DIR]

CPU per request of what serves a peer's message while the wall answers at once: `ringwall up` as it is, a confined
sidecar that ends the TLS and pipes, a core that has judged the certificate, reads HTTP, parses the message by the
closed schema, opens the sender's envelope (an ECDSA signature, good once) and seals its answer (another one). Only
rings, record and effect are left out. A second row does without the sender's envelope, as for a peer of a trust
domain elsewhere. Rivals in the same run, in turns, from the same load generator (wrk, 16 connections): haproxy
with mutual TLS and no check at all, and Envoy with its SPIFFE validator and RBAC matcher. Their CPU is the proxy's;
nginx, which answers behind them, is saved apart. What a new connection costs (ours with the strict verifier) is
measured by itself and taken off.

Then the whole path: a confined agent sends, another's small A2A server answers, through both walls, two records'
intents durable, beside the same client asking the same server with nothing between. Rivals that are not installed
are named and left out.

Both targets are missed. So exit code 1 means a change for the worse: over BOUND. Exit code 2: no verdict, because
other work made somebody's rounds too different; nothing is saved then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

import results
from parts import pem, rivals

import stack
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import bundle, issue
from ringwall.identity.svid.interface import Bundle

TARGETS: Final = {"haproxy": 3.0, "envoy": 1.0}  # CPU per request: at most so many times theirs
BOUND: Final = {"haproxy": 30.0, "envoy": 15.0}  # what was measured, and a third more for the machine's moods
BUSY: Final = 1.75  # anybody's dearest round over his cheapest; on a quiet machine it is 1.1 to 1.4
CONNECTIONS: Final = 16
SECONDS: Final = 1  # of a round
ENVELOPES: Final = 5000  # for a round: more than it can use
SENDERS: Final = ("ana", "amy", "ann")  # in turn: a core takes 16,384 envelopes of one sender in a minute
OPENED: Final = 40  # connections, to see what one costs; fewer than one peer may have open
ROUNDS_WHOLE: Final = 10
WARM: Final = 30
NAMES: Final = {"ours": "ringwall", "foreign": "ringwall, no envelope to open", "haproxy": "haproxy, no check",
                "envoy": "Envoy + RBAC"}
ANA: Final = "spiffe://bench.example/tenant/bench/agent/ana/role/asker"  # whom Envoy lets in
PARTNER: Final = "spiffe://partner.example/agents/bob"
TEXT: Final = "The quarterly report is due on Friday; please quote the price of printing 200 copies of it. " * 3
BODY: Final[dict[str, Any]] = {
    "jsonrpc": "2.0", "id": 1, "method": "SendMessage",
    "params": {"message": {"messageId": "@@@@@@@@@@@@", "role": "ROLE_USER", "parts": [{"text": TEXT}],
                           "metadata": {"urn:ringwall:skill": "quote"}}},
}
SERVE: Final = 9801
MANIFEST: Final = """
version = 1
trust_domain = "bench.example"
audit = {{ quota_mib = 1048576 }}
[identity.federation."partner.example"]
bundle = {bundle}
[peers.partner]
spiffe_id = "{partner}"
url = "https://127.0.0.1:9/"
skills.quote = {{}}
[tenants.bench.roles.asker]
[tenants.bench]
limits = {{ concurrent = 1024 }}
[tenants.bench.roles.worker]
limits = {{ calls = "6000000/min burst 1000000", concurrent = 1024 }}
[tenants.bench.agents.ana]
role = "asker"
work = {work}
send = {{ sam = ["quote"] }}
[tenants.bench.agents.amy]
role = "asker"
send = {{ sam = ["quote"] }}
[tenants.bench.agents.ann]
role = "asker"
send = {{ sam = ["quote"] }}
[tenants.bench.agents.sam]
role = "worker"
listen = "127.0.0.1:{port}"
serve = {serve}
skills.quote = {{}}
receive = {{ ana = ["quote"], amy = ["quote"], ann = ["quote"], partner = ["quote"] }}
"""


class Bench:
    """Everything that is measured, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(mode=0o755)
        self.ports = {"ours": stack.free_port()}
        self._foreign()
        self.stack = stack.Stack(folder, MANIFEST.format(
            bundle=json.dumps(str(folder / "config" / "partner.json")), partner=PARTNER,
            work=json.dumps(str(self.work)), port=self.ports["ours"], serve=SERVE), "peers_core.py")
        self.ports["foreign"] = self.ports["ours"]
        self.body = folder / "body"
        self.body.write_text(json.dumps(BODY))
        self.envelopes = folder / "envelopes"
        self.senders = deque(SENDERS)
        self.opening: dict[str, list[float]] = {}
        self.pids: dict[str, list[int]] = {}

    def _foreign(self) -> None:
        """A trust domain elsewhere, with an authority and one agent."""
        own, key = issue.new_key(), issue.new_key()
        times = {"begins": time.time() - 60, "ends": time.time() + 86_400}
        root = issue.authority(own, trust_domain="partner.example", name="root", **times)
        document = bundle.document(Bundle(trust_domain="partner.example", authorities=(root,), sequence=1))
        (self.folder / "config" / "partner.json").write_bytes(document)
        leaf, _ = issue.leaf(own, root, spiffe_id=AnyId.parse(PARTNER), key=key.public_key(), **times)
        pem.write(self.folder / "partner", chain=[leaf], key=issue.pkcs8(key))

    @contextlib.contextmanager
    def agents(self) -> Generator[None]:
        """They run, and their SVIDs are in files: the load generator's are the senders', sam's is the rivals'."""
        commands = {name: self.stack.command(name, "idle.py") for name in SENDERS}
        commands["sam"] = self.stack.command("sam", "a2a_server.py", str(SERVE))
        with contextlib.ExitStack() as running:
            for name, command in commands.items():
                running.enter_context(stack.process(command, "ready", stderr=subprocess.DEVNULL))
                self.stack.ask("certificate", agent=name, folder=str(self.folder / name))
            yield

    @contextlib.contextmanager
    def servers(self, absent: Mapping[str, str]) -> Generator[None]:
        """Ours, and the rivals that are there."""
        pids = self.stack.ask("pids")
        self.pids["ours"] = self.pids["foreign"] = [pids["core"], pids["sidecar-bench"]]
        with contextlib.ExitStack() as open_:
            self.pids["nginx"] = [open_.enter_context(rivals.nginx(self.folder)).pid]
            for name in {"haproxy", "envoy"} - absent.keys():
                self.ports[name] = stack.free_port()
                server = self.folder / "sam"
                made = (rivals.haproxy(self.folder, server, self.ports[name]) if name == "haproxy" else
                        rivals.envoy(self.folder, server, self.ports[name], ANA))
                self.pids[name] = [open_.enter_context(made).pid]
            self._wait_for_ours()
            yield

    def _wait_for_ours(self) -> None:
        """The sidecar's gate has its SVID a moment after the launch."""
        self.wrk("foreign")
        self.stack.ask("wall", quick=True)

    def connection(self, name: str) -> list[float]:
        """CPU seconds of a connection with one request on it, by process."""
        client = self.folder / ("partner" if name == "foreign" else "ana")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(client / "chain.pem", client / "key.pem")
        body = self.body.read_bytes()
        request = (b"POST / HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\n"
                   b"Content-Length: %d\r\n\r\n" % len(body)) + body
        before = [stack.cpu([pid]) for pid in self.pids[name]]
        for _ in range(OPENED):
            with (socket.create_connection(("127.0.0.1", self.ports[name])) as plain,
                  context.wrap_socket(plain) as sock):
                sock.sendall(request)
                if not sock.recv(1 << 16).startswith(b"HTTP/1.1 200"):
                    sys.exit(f"{name} did not answer")
        return [(stack.cpu([pid]) - was) / OPENED for pid, was in zip(self.pids[name], before, strict=True)]

    def settle(self, name: str) -> None:
        """What a new connection costs this one."""
        one = self.round(name)
        found = [self.connection(name) for _ in range(3)]
        self.opening[name] = [max(statistics.median(part) - own / 1e6, 0.0)
                              for part, own in zip(zip(*found, strict=True), one["parts_us"], strict=True)]

    def round(self, name: str) -> dict[str, Any]:
        """One second of load on one of them."""
        if name == "ours":
            self.senders.rotate()
            self.stack.ask("envelopes", sender=self.senders[0], body=self.body.read_text(), count=ENVELOPES,
                           file=str(self.envelopes))
        self.stack.ask("wall", quick=True)
        before = {one: [stack.cpu([pid]) for pid in self.pids[one]] for one in (name, "nginx")}
        found = self.wrk(name)
        spent = {one: [stack.cpu([pid]) - was for pid, was in zip(self.pids[one], before[one], strict=True)]
                 for one in (name, "nginx")}
        if name in {"ours", "foreign"}:
            told = self.stack.ask("wall", quick=True)
            # Requests under way when the time was over may have passed too.
            if told["refused"] or not 0 <= told["passed"] - found["requests"] <= CONNECTIONS:
                sys.exit(f"{name}: {found['requests']} answers, but {told}")
        if found["errors"]:
            sys.exit(f"{name}: {found['errors']} of {found['requests']} requests failed")
        opening = self.opening.get("foreign" if name == "ours" else name, [0.0] * len(self.pids[name]))
        each = [round(1e6 * (one - CONNECTIONS * its) / found["requests"], 1)
                for one, its in zip(spent[name], opening, strict=True)]
        return {"cpu_us": sum(each), "parts_us": each, "per_second": found["requests"] / found["seconds"],
                "nginx_us": 1e6 * spent["nginx"][0] / found["requests"], "p50_us": found["p50_us"]}

    def wrk(self, name: str) -> dict[str, Any]:
        """The load generator, once; what it says."""
        client = self.folder / {"foreign": "partner", "ours": self.senders[0]}.get(name, "ana")
        environment = {
            **os.environ, "LD_PRELOAD": str(self.folder / "certificate.so"), "BENCH_BODY": str(self.body),
            "BENCH_CHAIN": str(client / "chain.pem"), "BENCH_KEY": str(client / "key.pem"),
            "BENCH_ENVELOPES": os.devnull if name == "foreign" else str(self.envelopes),
        }
        command = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(stack.PARTS / "message.lua"),
                   f"https://127.0.0.1:{self.ports[name]}/")
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        lines = done.stdout.splitlines()
        if done.returncode or not lines or not lines[-1].startswith("{"):
            sys.exit(f"wrk failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        return json.loads(lines[-1])

    def inbound(self, rounds: int, absent: Mapping[str, str]) -> dict[str, Any]:
        """Everybody in turn, so many times."""
        so = self.folder / "certificate.so"
        subprocess.run(("cc", "-shared", "-fPIC", "-O2", "-o", str(so), str(stack.PARTS / "client_certificate.c"),
                        "-lssl", "-ldl"), check=True)
        names = [name for name in NAMES if name not in absent]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        with self.servers(absent):
            self.round("ours")  # makes the envelopes that all are sent
            for name in names:
                if name != "ours":  # the same listener as that of the foreign peer
                    self.settle(name)
            for _ in range(rounds):
                for name in names:
                    found[name].append(self.round(name))
        self.stack.ask("wall", quick=False)
        return {name: {**_middle(runs), "connection_us": self._connection_us(name)} for name, runs in found.items()}

    def _connection_us(self, name: str) -> float:
        return round(1e6 * sum(self.opening["foreign" if name == "ours" else name]), 1)

    def whole(self, calls: int) -> dict[str, Any]:
        """From agent to agent, with nothing left out; beside it the same server without anything between."""
        targets = [
            {"name": "plain", "path": "/workspace/plain.sock", "route": "/"},
            {"name": "walls", "path": "/run/ringwall/door.sock", "route": "/a2a/sam"},
        ]
        plan = {
            "targets": [{**target, "payload": BODY, "holds": f"read {len(TEXT)} characters"} for target in targets],
            "connections": [1, CONNECTIONS], "rounds": ROUNDS_WHOLE, "calls": max(1, calls // ROUNDS_WHOLE),
            "warm": WARM,
        }
        plain = (sys.executable, str(stack.PARTS / "a2a_server.py"), str(self.work / "plain.sock"))
        with stack.process(plain, "ready"):
            found = self.stack.load("ana", plan)
        rows: dict[str, Any] = {}
        for key, entry in found.items():
            name, connections = key.split()
            times = sorted(entry["us"])
            rows.setdefault(connections, {})[name] = {
                "p50_ms": round(statistics.median(times) / 1000, 3),
                "p99_ms": round(times[min(len(times) - 1, len(times) * 99 // 100)] / 1000, 3),
                "per_second": round(statistics.median(entry["per_second"])),
                "rounds_ms": [round(min(entry["rounds"]) / 1000, 3), round(max(entry["rounds"]) / 1000, 3)],
            }
        return rows


def _middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and the least and the most CPU of a round."""
    spent = [run["cpu_us"] for run in runs]
    parts = zip(*(run["parts_us"] for run in runs), strict=True)
    others = ("nginx_us", "per_second", "p50_us")
    return {
        "cpu_us": round(statistics.median(spent), 1),
        "least_us": round(min(spent), 1),
        "most_us": round(max(spent), 1),
        "parts_us": [round(statistics.median(part), 1) for part in parts],
        **{name: round(statistics.median(run[name] for run in runs), 1) for name in others},
    }


def ratios(inbound: Mapping[str, Any]) -> dict[str, float]:
    """CPU of ours by the rivals'."""
    ours = inbound["ours"]["cpu_us"]
    return {name: round(ours / inbound[name]["cpu_us"], 2) for name in TARGETS if name in inbound}


def busy(figures: Mapping[str, Any]) -> bool:
    """Whether other work disturbed the measurement too much for a verdict."""
    return any(row["most_us"] > BUSY * row["least_us"] for row in figures.get("inbound", {}).values())


def report(figures: Mapping[str, Any], where: str) -> None:
    """For people."""
    inbound = figures.get("inbound", {})
    print(f"Messages between agents; {where}")
    for name, why in figures["absent"].items():
        print(f"  left out: {name}: {why}")
    if inbound:
        print(f"\nInbound, the wall answering at once: CPU µs for a request, {CONNECTIONS} connections")
        print(f"  {'':<30}{'median':>8}{'least':>8}{'most':>8}{'req/s':>8}{'p50 µs':>8}{'a connection':>14}")
        for name, row in inbound.items():
            print(f"  {NAMES[name]:<30}{row['cpu_us']:>8}{row['least_us']:>8}{row['most_us']:>8}"
                  f"{row['per_second']:>8.0f}{row['p50_us']:>8.0f}{row['connection_us']:>14.0f}")
        core, sidecar = inbound["ours"]["parts_us"]
        print(f"  of ringwall's: core {core}, sidecar {sidecar}")
        for name, ratio in figures["ratios"].items():
            met = "within" if ratio <= TARGETS[name] else "OVER"
            print(f"  {ratio:.2f} times {NAMES[name]}: {met} the target of {TARGETS[name]:g}")
    print("\nThe whole path, agent to agent, records durable")
    print(f"  {'':<26}{'p50 ms':>8}{'p99 ms':>8}{'calls/s':>8}  median of a round, least to most")
    for connections, rows in figures["whole"].items():
        for name, row in rows.items():
            title = f"{connections:>2} · " + ("with nothing between" if name == "plain" else "through both walls")
            least, most = row["rounds_ms"]
            print(f"  {title:<26}{row['p50_ms']:>8.2f}{row['p99_ms']:>8.2f}{row['per_second']:>8}"
                  f"  {least} to {most}")


def run(folder: Path, rounds: int, calls: int) -> dict[str, Any]:
    """All of it."""
    absent = rivals.missing()
    figures: dict[str, Any] = {"absent": absent, "versions": rivals.versions()}
    bench = Bench(folder)
    with bench.stack.up(), bench.agents():
        if not absent.keys() & {"wrk", "cc", "nginx"}:
            figures["inbound"] = bench.inbound(rounds, absent)
            figures["ratios"] = ratios(figures["inbound"])
        figures["whole"] = bench.whole(calls)
    return figures


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What messages between agents cost.")
    parser.add_argument("--rounds", type=int, default=7, help="of the inbound path, a second of each (7)")
    parser.add_argument("--calls", type=int, default=1000, help="measured calls of the whole path (1000)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (/var/tmp)")  # noqa: S108
    return parser


def main() -> int:
    options = arguments().parse_args()
    with stack.folder("rwp", options.folder) as folder:
        figures = run(folder, options.rounds, options.calls)
    disturbed = busy(figures)
    if options.save and not disturbed:
        results.save("peers", figures, folder=options.folder)
    if options.json:
        print(json.dumps(figures))
    else:
        report(figures, results.machine(options.folder))
    if disturbed:
        print("no verdict: the machine was busy with other work")
        return 2
    return 1 if any(ratio > BOUND[name] for name, ratio in figures.get("ratios", {}).items()) else 0


if __name__ == "__main__":
    sys.exit(main())
