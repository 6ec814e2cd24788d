"""go-spiffe, the reference client: fetches, verifies, and gets a renewed SVID without asking."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.fakes import run
from tests.identity.workload.bench import bench

from ringwall.runtime.workload import SOCKET

SOURCE = Path(__file__).parent / "go-spiffe"
BUILD_S = 300  # the first build compiles gRPC
NO_NETWORK = {"GOPROXY": "off", "GOFLAGS": "-mod=readonly"}  # tests reach nothing outside; .ci/run fetched them


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs_go: no go found")
    made = tmp_path_factory.mktemp("go") / "client"
    done = subprocess.run([go, "build", "-o", made, "."], cwd=SOURCE, capture_output=True, text=True,
                          timeout=BUILD_S, check=False, env={**os.environ, **NO_NETWORK})
    if "module lookup disabled by GOPROXY=off" in done.stderr:
        pytest.skip("needs_go: its modules are not here (go mod download)")
    assert done.returncode == 0, done.stderr
    return made


def test_the_reference_client_fetches_verifies_and_rotates(program: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            place = f"unix://{tmp_path}/d/alice/{SOCKET}"
            agent = await asyncio.create_subprocess_exec(
                "sh", "-c", 'read line; exec "$0"', program, stdin=PIPE, stdout=PIPE,
                env={**os.environ, "SPIFFE_ENDPOINT_SOCKET": place})
            assert agent.stdin is not None
            assert agent.stdout is not None
            await made.launch("alice", pid=agent.pid)
            agent.stdin.write(b"go\n")
            said: list[str] = []
            while not said or (said[-1] and not said[-1].startswith("ready")):
                said.append((await agent.stdout.readline()).decode())
            assert said[-1] == "ready spiffe://acme.example/tenant/acme/agent/alice/role/caller\n", said
            made.clock.ahead = 451
            made.authority.changed()
            assert await agent.stdout.read() == b"rotated\n"
            await agent.wait()
            assert made.codes() == ["audience_not_granted"]

    run(scenario())
