"""The unmodified a2a-sdk as judge: what each method gives through two walls is what it gives direct.

The SDK lives in an environment of its own, which ``RINGWALL_A2A_PYTHON`` names (``.ci/run`` makes it).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_messages import free_port
from tests.stack import Stack

PYTHON = os.environ.get("RINGWALL_A2A_PYTHON", "")
HERE = Path(__file__).parent / "a2a"
SERVE, PUSH, DOOR = 9811, 9812, 9810
MANIFEST = """
version = 1
trust_domain = "acme.example"
[tenants.acme.roles.asker]
[tenants.acme.roles.worker]
[tenants.acme.agents.ana]
role = "asker"
send = {{ sam = ["quote"] }}
listen = "127.0.0.1:{ana}"
push = {push}
[tenants.acme.agents.sam]
role = "worker"
listen = "127.0.0.1:{sam}"
serve = {serve}
door = {door}
skills.quote = {{}}
receive = {{ ana = ["quote"] }}
"""

pytestmark = pytest.mark.skipif(not PYTHON, reason="a2a-sdk has an environment of its own: RINGWALL_A2A_PYTHON")


def manifest(folder: Path) -> str:
    return MANIFEST.format(ana=free_port(), sam=free_port(), serve=SERVE, push=PUSH, door=DOOR)


def prepare(folder: Path) -> None:
    for program in HERE.glob("*.py"):
        (folder / "p" / program.name).write_bytes(program.read_bytes())


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(manifest, prepare) as running:
        yield running


@contextmanager
def direct_server(port: int) -> Generator[None]:
    with subprocess.Popen([PYTHON, str(HERE / "server.py"), str(port)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.terminate()


def direct(binding: str) -> Any:
    port = free_port()
    with direct_server(port):
        command = [PYTHON, str(HERE / "matrix.py"), f"http://127.0.0.1:{port}", binding, str(free_port())]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    return json.loads(done.stdout)


def through(stack: Stack, binding: str) -> Any:
    with stack.begin("sam", [PYTHON, "server.py", str(SERVE)]) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n", stack.told.read_text()
        door = "/run/ringwall/door.sock"
        command = [PYTHON, "matrix.py", "http://ringwall/a2a/sam", binding, str(PUSH), door]
        ran = stack.run("ana", command, seconds=120)
    assert ran.code == 0, (ran.err, ran.out)
    print(ran.err)
    return without_skill(ran.json)


def without_skill(value: Any) -> Any:
    """What the server is told besides, so that it knows for which skill it was asked: it stands in its history."""
    if isinstance(value, list):
        return [without_skill(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: without_skill(one) for name, one in value.items() if name != "urn:ringwall:skill"}
    return {name: one for name, one in kept.items() if name != "metadata" or one}


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_every_method_gives_through_two_sidecars_what_it_gives_direct(stack: Stack, binding: str) -> None:
    wanted, found = direct(binding), through(stack, binding)
    differing = {name: (wanted.get(name), found.get(name)) for name in {*wanted, *found}
                 if wanted.get(name) != found.get(name)}
    assert not differing, json.dumps(differing, indent=1)
