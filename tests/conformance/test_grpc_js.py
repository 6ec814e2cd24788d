"""@grpc/grpc-js, the other big gRPC stack: fetches an SVID, and gets a renewed one without asking."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.fakes import run
from tests.identity.workload.bench import Bench, bench

from ringwall.runtime.workload import SOCKET

SOURCE = Path(__file__).parent / "grpc-js"
INVALID_ARGUMENT, PERMISSION_DENIED = 3, 7

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (SOURCE / "node_modules").is_dir(),
    reason="needs_node: no node, or its packages are not here (npm ci)",
)


async def client(made: Bench, folder: Path, launched: bool) -> asyncio.subprocess.Process:
    """A started client; ``launched``: it is alice's process, else somebody beside her at her socket."""
    node = shutil.which("node")
    assert node is not None
    place = f"unix://{folder}/d/alice/{SOCKET}"
    process = await asyncio.create_subprocess_exec(
        node, SOURCE / "client.js", stdin=PIPE, stdout=PIPE, env={**os.environ, "SPIFFE_ENDPOINT_SOCKET": place}
    )
    await made.launch("alice", pid=process.pid if launched else os.getpid())
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    return process


def test_it_fetches_and_is_given_the_next_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            agent = await client(made, tmp_path, launched=True)
            assert agent.stdout is not None
            said = (await agent.stdout.readline()).decode().split()
            who = "spiffe://acme.example/tenant/acme/agent/alice/role/caller"
            assert said == ["ready", who, str(INVALID_ARGUMENT), str(PERMISSION_DENIED)]
            made.clock.ahead = 451
            made.authority.changed()
            assert await agent.stdout.read() == b"rotated\n"
            assert await agent.wait() == 0

    run(scenario())


def test_a_process_that_was_not_launched_gets_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            stranger = await client(made, tmp_path, launched=False)
            assert stranger.stdout is not None
            assert await stranger.stdout.read() == b"refused %d\n" % PERMISSION_DENIED
            assert await stranger.wait() == 1

    run(scenario())
