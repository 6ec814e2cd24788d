"""The real Envoy, started and ended by tests: ``RINGWALL_ENVOY`` names its binary."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

START_S = 20.0  # it reads its configuration, opens its admin socket, waits for its secrets


def binary() -> str:
    """Where it is; else the test is skipped."""
    found = os.environ.get("RINGWALL_ENVOY", "")
    if not found:
        pytest.skip("needs_envoy: RINGWALL_ENVOY does not name an envoy")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Envoy:
    """A started Envoy. ``admin``: the path of its admin socket."""

    def __init__(self, process: Process, admin: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._admin = admin

    async def ask(self, path: str) -> Any:
        """What its admin interface says, as JSON."""
        reader, writer = await asyncio.open_unix_connection(str(self._admin))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        raw = await reader.read()
        writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        if b"chunked" in head:
            body = _unchunked(body)
        return json.loads(body)

    async def until(self, path: str, is_so: Any) -> Any:
        """Ask until the answer is as wanted; the answer."""
        async with asyncio.timeout(START_S):
            while True:
                try:
                    found = await self.ask(path)
                    if is_so(found):
                        return found
                except (OSError, ValueError):
                    assert self.process.returncode is None, "envoy has ended"
                await asyncio.sleep(0.05)  # it tells nobody when it is ready


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole


@asynccontextmanager
async def envoy(config: dict[str, Any], folder: Path, *, go: bool = True) -> AsyncGenerator[Envoy, None]:
    """Start it with this configuration and an admin socket. With ``go=False`` it waits for ``let_go``."""
    admin = folder / "admin.sock"
    file = folder / "envoy.json"
    file.write_text(json.dumps({**config, "admin": {"address": {"pipe": {"path": str(admin)}}}}))
    log = folder / "envoy.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", 'read line; exec "$0" "$@"', binary(), "-c", str(file), "--concurrency", "1",
            "--disable-hot-restart", "--log-level", "info", stdin=PIPE, stdout=DEVNULL, stderr=out)
    made = Envoy(process, admin)
    try:
        if go:
            let_go(made)
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def let_go(made: Envoy) -> None:
    assert made.process.stdin is not None
    made.process.stdin.write(b"go\n")
