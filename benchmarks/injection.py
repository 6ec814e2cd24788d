"""What using a secret adds to a call: one that Ringwall puts into a request, and one that is made for the call.

    python benchmarks/injection.py [--calls N] [--json] [--save] [--folder DIR]

Put in: a confined agent calls an operation of a web API on the loopback, 2 KB each way, through every ring, guard
on, records durable before the effect. The same operation four times: without a secret; with one of the embedded
vault in a header; with the same in the JSON body; with one out of a file in a header. "Added" is over the one
without, by time and by CPU of core and sidecar. The answer is searched for the secret in all its spellings; that is
part of it.

Rivals, in the same run with the same client and the same API: Envoy's credential injector (the nearest there is: a
proxy that keeps a secret and adds it to requests) and LiteLLM's pass-through endpoints (a gateway for agents that
does so), each over its own way without the secret. They neither judge nor record, and neither looks into the
answer. And no rival at all: a client that has the secret and sends it by itself.

Made for the call: `get` of the built-in `s3`, 2 KB, with a credential that is minted for just this object, beside
boto3 with a key of its own, a kept connection and no Ringwall, on the same store (the demo's stand-in, because what
a store costs is its own). One object, one exchange: the first 20 calls are counted.

Exit code 1: what a vault's secret adds is over the target, or 20 calls took another number of exchanges than one.
Exit code 2: no verdict, because other work disturbed what is compared; nothing is saved then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import results
from parts import gateway_bench, injection_rivals, injection_store

import stack
from ringwall.doors.operator_client import OperatorClient

TARGET_MS: Final = 0.2  # added by a secret of the vault at the median
USES: Final = 20  # of one credential, after one exchange
ROUND: Final = 10  # calls: short rounds, so that what slows one down slows down all
WARM: Final = 40
BUSY: Final = 2.0  # a median over its quietest round, of those that are compared
SECRET: Final = "tok-" + "Hq7Zp2Lk" * 5
DOOR: Final = "/run/ringwall/door.sock"
OURS: Final = {"plain": "ringwall, no secret", "vault": "ringwall, vault, header",
               "pointer": "ringwall, vault, body", "file": "ringwall, file, header"}
BASES: Final = {"vault": "plain", "pointer": "plain", "file": "plain", "client": "direct",
                "envoy": "envoy without", "litellm": "litellm without"}
GROUPS: Final = (("direct", "client"), tuple(OURS), ("envoy without", "envoy"), ("litellm without", "litellm"),
                 ("s3", "boto3"))
"""What is measured side by side, in rounds of each in turn: others in between would leave cold caches."""
NAMES: Final = {
    "direct": "directly", "client": "directly, the client has it", **OURS,
    "envoy without": "Envoy, no secret", "envoy": "Envoy, credential injector",
    "litellm without": "LiteLLM pass-through, no secret", "litellm": "LiteLLM pass-through, header",
    "s3": "ringwall, built-in s3", "boto3": "boto3, directly",
}
_BODY: Final = {"type": "object", "properties": {"text": {"type": "string"}, "token": {"type": "string"}},
                "required": ["text"]}
DESCRIPTION: Final = {"openapi": "3.1.0", "info": {"title": "api", "version": "1"}, "paths": {"/ask": {"post": {
    "operationId": "ask", "responses": {"200": {"description": "ok"}},
    "requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}}}}}
MANIFEST: Final = """
version = 1
trust_domain = "office.example"
audit = {{ quota_mib = 1048576 }}
[secrets.vault]
from = "vault"
inject = {{ header = "Authorization", format = "Bearer {{}}" }}
[secrets.pointer]
from = "vault"
inject = {{ pointer = "/token" }}
[secrets.file]
from = "file"
file = "{folder}/config/secret"
inject = {{ header = "Authorization", format = "Bearer {{}}" }}
[secrets.store]
from = "aws"
role_arn = "{role}"
region = "{region}"
sts = "{store}"
ca_file = "{ca}"
{tools}
[tools.store]
builtin = "s3"
url = "{store}"
region = "{region}"
ca_file = "{ca}"
secret = "store"
clearance = "private"
[tenants.office]
limits = {{ concurrent = 1024 }}
[tenants.office.roles.load]
secrets = ["vault", "pointer", "file", "store"]
limits = {{ concurrent = 1024 }}
[tenants.office.roles.load.tools]
{grants}
"store/get" = ["s3:{bucket}/{key}"]
[tenants.office.agents.load]
role = "load"
work = "{folder}/work"
"""
_TOOL: Final = """
[tools.{name}]
openapi = "{folder}/config/api.json"
url = "http://127.0.0.1:{api}"
clearance = "private"
{secret}
[tools.{name}.ops.ask]
effect = "read"
args = {{ text = "param" }}
"""


class Bench:
    """Everything that is measured, running, and who asks it. ``exchanges``: what the first 20 calls of s3 took."""

    def __init__(self, folder: Path, absent: Mapping[str, str]) -> None:
        self.folder = folder
        self._absent = absent
        self.askers: dict[str, Callable[[int], Sequence[float]]] = {}  # so many calls; microseconds of each
        self.exchanges = 0
        self.pids: Sequence[int] = ()  # of core and sidecar

    @contextlib.contextmanager
    def up(self) -> Generator[None]:
        """Start all; each is asked once before anything is measured."""
        api = stack.free_port()
        shop = self.folder / "store"
        shop.mkdir(mode=0o755)
        with contextlib.ExitStack() as opened:
            enter = opened.enter_context
            for part, *arguments in (("injection_api.py", str(api), SECRET),
                                     ("injection_store.py", str(shop), str(self.folder / "s"))):
                command = (sys.executable, str(stack.PARTS / part), *arguments, gateway_bench.TEXT)
                enter(stack.process(command, "ready"))
            store = f"https://127.0.0.1:{(shop / 'port').read_text()}"
            inside, outside = enter(self._ringwall(api, store)), enter(gateway_bench.outside(self.folder))
            direct = {"address": api, "route": "/ask", "headers": {}}
            self._over("direct", outside, direct, "without")
            self._over("client", outside, {**direct, "headers": {"Authorization": f"Bearer {SECRET}"}}, "with")
            for name in OURS:
                self._called(name, inside, f"{name}/ask", {"text": gateway_bench.TEXT},
                             "without" if name == "plain" else "with")
            for name in injection_rivals.SETTINGS:
                if name not in self._absent:
                    ways = enter(injection_rivals.running(name, self.folder, api, SECRET))
                    self._over(f"{name} without", outside, ways["without"], "without")
                    self._over(name, outside, ways["with"], "with")
            self._called("s3", inside, "store/get",
                         {"object": f"{injection_store.BUCKET}/{injection_store.KEY}"}, gateway_bench.SENTENCE)
            self.askers["s3"](USES - 1)
            self.exchanges = len((shop / "exchanges").read_text().splitlines())
            self.askers["boto3"] = enter(boto3_direct(store, shop / "cloud.pem"))
            yield

    @contextlib.contextmanager
    def _ringwall(self, api: int, store: str) -> Generator[gateway_bench.Client]:
        from ringwall.redteam.office.cloud import REGION, ROLE

        work = self.folder / "work"
        work.mkdir(mode=0o755)
        config = self.folder / "config"
        (config / "api.json").write_text(json.dumps(DESCRIPTION))
        (config / "secret").touch(mode=0o600)
        (config / "secret").write_text(f"{SECRET}\n")
        tools = [_TOOL.format(name=name, folder=self.folder, api=api,
                              secret="" if name == "plain" else f'secret = "{name}"') for name in OURS]
        manifest = MANIFEST.format(
            folder=self.folder, role=ROLE, region=REGION, store=store, ca=self.folder / "store" / "cloud.pem",
            tools="".join(tools), grants="\n".join(f'"{name}/ask" = []' for name in OURS),
            bucket=injection_store.BUCKET, key=injection_store.KEY)
        runtime = stack.Stack(self.folder, manifest)
        command = runtime.command("load", "gateway_load.py", "/workspace/load.sock")
        with runtime.up():
            told = OperatorClient(runtime.state / "operator.sock").status()
            sidecar = next(one["pid"] for one in told["processes"] if one["name"] == "sidecar-office")
            self.pids = (told["pid"], sidecar)
            self._vault("init")
            for name in ("vault", "pointer"):
                self._vault("put", "office/load", name, value=SECRET)
            with gateway_bench.client(work / "load.sock", command) as client:
                yield client

    def _vault(self, *words: str, value: str = "") -> None:
        done = subprocess.run((sys.executable, "-m", "ringwall.cli.main", "vault", *words, "--state",
                               str(self.folder / "s")), input=value, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"ringwall vault {words[0]}: {done.stderr}")

    def _called(self, name: str, client: gateway_bench.Client, tool: str, args: Mapping[str, str],
                holds: str) -> None:
        where = {"address": DOOR, "route": "/v1/tools/call", "headers": {}}
        self._asker(name, client, where, {"tool": tool, "args": args}, holds)

    def _over(self, name: str, client: gateway_bench.Client, where: Mapping[str, Any], came: str) -> None:
        self._asker(name, client, where, {"text": gateway_bench.TEXT}, came)

    def _asker(self, name: str, client: gateway_bench.Client, where: Mapping[str, Any], body: Any,
               holds: str) -> None:
        came = f'"{holds}"' if holds in {"with", "without"} else holds  # as the API says it
        client.ask("open", name, **where, body=body, holds=came)
        self.askers[name] = lambda calls: client.ask("run", name, connections=1, calls=calls)["us"]
        self.askers[name](1)


@contextlib.contextmanager
def boto3_direct(store: str, ca: Path) -> Generator[Callable[[int], Sequence[float]]]:
    """The same object over boto3, with a key that never ends, as programs have it that hold one themselves."""
    import boto3
    from botocore.config import Config

    from ringwall.redteam.office.cloud import OWN_KEY, REGION

    key, secret = OWN_KEY
    client = boto3.client(
        "s3", endpoint_url=store, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret,
        verify=str(ca), config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}))

    def ask(calls: int) -> Sequence[float]:
        found: list[float] = []
        for _ in range(calls):
            begun = time.perf_counter()
            got = client.get_object(Bucket=injection_store.BUCKET, Key=injection_store.KEY)["Body"].read()
            found.append((time.perf_counter() - begun) * 1e6)
            assert got == gateway_bench.TEXT.encode()
        return found

    try:
        yield ask
    finally:
        client.close()


def run(folder: Path, calls: int) -> dict[str, Any]:
    """All of it, in milliseconds."""
    absent = injection_rivals.missing()
    bench = Bench(folder, absent)
    with bench.up():
        found: dict[str, list[Sequence[float]]] = {name: [] for name in bench.askers}
        spent: dict[str, list[float]] = {name: [] for name in (*OURS, "s3")}
        for group in GROUPS:
            here = [name for name in group if name in bench.askers]
            for name in here:
                bench.askers[name](WARM)
            for number in range(max(2, calls // ROUND)):
                for name in here if number % 2 else reversed(here):
                    before = stack.cpu(bench.pids)
                    found[name].append(bench.askers[name](ROUND))
                    if name in spent:
                        spent[name].append((stack.cpu(bench.pids) - before) / ROUND * 1e6)
    rows = {name: _row(rounds) for name, rounds in found.items()}
    for name, used in spent.items():
        rows[name]["cpu_us"] = round(statistics.median(used))
    for name, base in BASES.items():
        if name in rows:
            rows[name] |= _added(found[name], found[base])
    return {"rows": rows, "exchanges_for_20_calls": bench.exchanges, "absent": absent,
            "versions": {**injection_rivals.versions(), "boto3": version("boto3")},
            "settings": {name: how for name, how in injection_rivals.SETTINGS.items() if name not in absent}}


def _row(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    times = sorted(us / 1000 for one in rounds for us in one)
    return {"p50_ms": round(statistics.median(times), 3), "p99_ms": round(times[len(times) * 99 // 100], 3),
            "quietest_ms": round(min(statistics.median(one) for one in rounds) / 1000, 3)}


def _added(rounds: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> dict[str, float]:
    """By the difference of each round to the base's round beside it: what slows one down slows the other down."""
    steps = sorted((statistics.median(one) - statistics.median(other)) / 1000
                   for one, other in zip(rounds, base, strict=True))
    lower, middle, upper = statistics.quantiles(steps, n=4)
    return {"added_p50_ms": round(middle, 3), "added_from_ms": round(lower, 3), "added_to_ms": round(upper, 3)}


def busy(rows: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether other work disturbed the measurement too much for a verdict: a median far from its quietest round, or
    differences that vary by more than the target itself."""
    vault = rows["vault"]
    return vault["added_to_ms"] - vault["added_from_ms"] > TARGET_MS or any(
        rows[name]["p50_ms"] > BUSY * rows[name]["quietest_ms"] for name in (*OURS, "s3", "boto3"))


def report(figures: Mapping[str, Any], where: str) -> None:
    """For people."""
    print(f"Using a secret, 2 KB each way, one connection; {where}")
    for name, why in figures["absent"].items():
        print(f"  left out: {name}: {why}")
    print(f"  {'(ms; CPU: µs of core and sidecar)':<34}{'p50':>9}{'p99':>9}{'CPU':>9}{'a secret adds':>15}"
          "  in the middle half of the rounds")
    for name, row in figures["rows"].items():
        added = (f"{row['added_p50_ms']:>15.3f}  {row['added_from_ms']:.3f} to {row['added_to_ms']:.3f}"
                 if "added_p50_ms" in row else "")
        print(f"  {NAMES[name]:<34}{row['p50_ms']:>9.3f}{row['p99_ms']:>9.3f}{row.get('cpu_us', ''):>9}{added}")
    found = figures["rows"]["vault"]["added_p50_ms"]
    print(f"a secret of the vault adds {found:.3f} ms: {'OVER' if found > TARGET_MS else 'within'} the target of "
          f"{TARGET_MS:g}; {figures['exchanges_for_20_calls']} exchange for the first {USES} calls of s3")


def main() -> int:
    parser = argparse.ArgumentParser(description="What using a secret adds to a call.")
    parser.add_argument("--calls", type=int, default=600, help="measured calls of each kind (600)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (/var/tmp)")  # noqa: S108
    options = parser.parse_args()
    with stack.folder("rwi", options.folder) as folder:
        figures = run(folder, options.calls)
    disturbed = busy(figures["rows"])
    if options.save and not disturbed:
        results.save("injection", figures, folder=options.folder)
    if options.json:
        print(json.dumps(figures))
    else:
        report(figures, results.machine(options.folder))
    if figures["exchanges_for_20_calls"] != 1:
        print("more than one exchange for 20 calls on one object", file=sys.stderr)
        return 1
    if disturbed:
        print("no verdict: the machine was busy with other work", file=sys.stderr)
        return 2
    return 1 if figures["rows"]["vault"]["added_p50_ms"] > TARGET_MS else 0


if __name__ == "__main__":
    sys.exit(main())
