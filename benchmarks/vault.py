"""What the embedded vault costs: a read with its decryption, a write, and 20,000 data keys wrapped again.

Beside OpenBao's KV version 2, read over HTTP on loopback by one kept connection, in the same run; its server
keeps everything in memory (`-dev`), which is the fastest it has. Needs `bao`, named by RINGWALL_BAO or in PATH;
without it only the vault is measured. Reads: median of rounds. Writes are durable when they return (SQLite, WAL,
synchronous=FULL).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import shutil
import socket
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

from ringwall.clock import SystemClock
from ringwall.keys.file import FileRootKeys
from ringwall.store.sqlite import SqliteStore
from ringwall.vault.embedded import EmbeddedVault
from ringwall.vault.interface import Owner

ROUNDS: Final = 9
READS: Final = 5_000  # of a round, of the vault
ASKED: Final = 300  # of a round, of the rival
SECRETS: Final = 20_000
AGENTS: Final = 200
WRITES: Final = 200
VALUE: Final = 64  # bytes: a usual key or token
TARGET_READ_US: Final = 50.0
TARGET_REWRAP_S: Final = 1.0
SLOWEST_START_S: Final = 20.0


def timed(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Microseconds of processor time of this thread, and those that passed, each time; the median round's."""
    cpu: list[float] = []
    passed: list[float] = []
    for _ in range(ROUNDS + 1):
        began, used = time.perf_counter(), time.thread_time()
        work()
        cpu.append((time.thread_time() - used) / times * 1e6)
        passed.append((time.perf_counter() - began) / times * 1e6)
    return statistics.median(cpu[1:]), statistics.median(passed[1:])  # the first round warms up


def paths() -> list[tuple[Owner, str]]:
    """Where the secrets are."""
    owners = [Owner(tenant="acme", agent=f"agent-{number}", role="clerk") for number in range(AGENTS)]
    return [(owners[number % AGENTS], f"secret-{number}") for number in range(SECRETS)]


def ours(folder: Path) -> dict[str, float]:
    """The vault with all its secrets."""
    store = SqliteStore(folder / "vault.db")
    vault = EmbeddedVault(store, SystemClock())
    vault.init(FileRootKeys(secrets.token_bytes(32)), 1)
    places = paths()
    began = time.perf_counter()
    for owner, name in places[:WRITES]:
        vault.put(owner, name, secrets.token_bytes(VALUE))
    written = (time.perf_counter() - began) / WRITES * 1e6
    for owner, name in places[WRITES:]:
        vault.put(owner, name, secrets.token_bytes(VALUE))

    def read() -> None:
        step = SECRETS // READS
        for owner, name in places[::step]:
            vault.read(owner, name)

    cpu, passed = timed(read, READS)
    rotations: list[float] = []
    for generation in (2, 3, 4):
        began = time.perf_counter()
        assert vault.rotate_root(FileRootKeys(secrets.token_bytes(32)), generation) == SECRETS
        rotations.append(time.perf_counter() - began)
    began = time.perf_counter()
    assert vault.rotate_tenant("acme") == SECRETS
    tenant = time.perf_counter() - began
    root = FileRootKeys(secrets.token_bytes(32))
    vault.rotate_root(root, 5)
    vault.seal()
    began = time.perf_counter()
    vault.unseal(root)
    unsealed = time.perf_counter() - began
    store.close()
    return {"read_cpu_us": cpu, "read_us": passed, "put_us": written, "rewrap_s": statistics.median(rotations),
            "rewrap_tenant_s": tenant, "unseal_s": unsealed}


@contextmanager
def private_bao(program: str, folder: Path) -> Generator[tuple[int, str]]:
    """A server of this run's own: its port and its token."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    token = secrets.token_hex(16)
    command = [program, "server", "-dev", f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "BAO_DEV_ROOT_TOKEN_ID": token}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as server:
        try:
            until = time.monotonic() + SLOWEST_START_S
            while not answers(port):
                if server.poll() is not None or time.monotonic() > until:
                    sys.exit("bao did not start")
                time.sleep(0.05)
            yield port, token
        finally:
            server.kill()


def answers(port: int) -> bool:
    """Whether the server is unsealed and has its KV engine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/v1/sys/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def theirs(port: int, token: str) -> dict[str, float]:
    """The same reads of the rival, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"X-Vault-Token": token}

    def asked(method: str, path: str, body: str | None = None) -> Any:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content)

    places = [f"/v1/secret/data/agents/{owner.tenant}/{owner.agent}/{name}" for owner, name in paths()[:ASKED]]
    for path in places:
        asked("POST", path, json.dumps({"data": {"value": secrets.token_hex(VALUE // 2)}}))

    def read() -> None:
        for path in places:
            assert asked("GET", path)["data"]["data"]["value"]

    cpu, passed = timed(read, ASKED)
    connection.close()
    return {"bao_client_cpu_us": cpu, "bao_read_us": passed}


def version(program: str) -> str:
    """Of the rival: ``OpenBao v2.7.2, built …``."""
    done = subprocess.run((program, "version"), capture_output=True, text=True, check=False)
    return done.stdout.partition(" v")[2].partition(",")[0].partition(" ")[0].strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description="What the embedded vault costs.")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--save", action="store_true", help="put the figures into benchmarks/results.json")
    options = parser.parse_args()
    program = os.environ.get("RINGWALL_BAO") or shutil.which("bao")
    folder = Path(tempfile.mkdtemp(prefix="rwb"))
    try:
        figures: dict[str, Any] = ours(folder)
        if program:
            with private_bao(program, folder) as (port, token):
                figures |= theirs(port, token)
            figures["ratio"] = figures["bao_read_us"] / figures["read_us"]
        figures = {name: round(value, 3 if name.endswith("_s") else 1) for name, value in figures.items()}
        if program:
            figures["versions"] = {"openbao": version(program)}
        if options.save:
            results.save("vault", figures, folder=folder)
        if options.json:
            print(json.dumps(figures))
        else:
            report(figures, folder)
    finally:
        shutil.rmtree(folder)
    met = figures["read_cpu_us"] <= TARGET_READ_US and figures["rewrap_s"] <= TARGET_REWRAP_S
    return 0 if met else 1


def report(figures: dict[str, Any], folder: Path) -> None:
    """For people."""
    print(f"The embedded vault with {SECRETS:,} secrets of {VALUE} bytes; {results.machine(folder)}")
    rows = {"read_cpu_us": f"read and decrypt, µs of processor time (target {TARGET_READ_US:g})",
            "read_us": "the same, µs that passed", "put_us": "put, durable, µs that passed",
            "rewrap_s": f"another root key, s (target {TARGET_REWRAP_S:g})",
            "rewrap_tenant_s": "another tenant key, s", "unseal_s": "unseal: every mark checked, s",
            "bao_read_us": "OpenBao KV v2 over HTTP, in memory, µs that passed",
            "bao_client_cpu_us": "the same, µs of the asking thread's processor time"}
    for name, label in rows.items():
        if name in figures:
            print(f"  {label:<58}{figures[name]:>10}")
    if "ratio" in figures:
        print(f"the rival: {figures['ratio']} times ours")
    else:
        print("without OpenBao beside it: RINGWALL_BAO names no `bao`, and PATH has none")


if __name__ == "__main__":
    sys.exit(main())
