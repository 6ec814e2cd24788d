"""A scripted OPA on a Unix socket: right in everything that a test does not make wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringwall.policy.opa.address import Address

GOOD: Any = {"allow": True, "deny": [], "ask": [], "remedy": ""}


def http(status: int, value: Any, *, raw: bytes | None = None, extra: str = "") -> bytes:
    """One answer, as OPA frames it."""
    body = json.dumps(value).encode() if raw is None else raw
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n" \
        .encode() + body


@dataclass
class FakeOpa:
    """State that tests change. ``raw``: what a decision is answered with instead, and whether to hang up then."""

    version: str = "1.21.3"
    revision: str = "r1"
    bundle: str = "b.tar.gz"
    roots: tuple[str, ...] = ("ringwall/decide",)
    health: int = 200
    decision: list[Any] = field(default_factory=lambda: [GOOD])
    digest: str | None = None
    parents: bool = False  # whether /ringwall exists
    raw: bytes | None = None
    hang_up: bool = False
    silent: bool = False
    refuses: int = 0  # status for every write
    requests: list[tuple[str, str, bytes]] = field(default_factory=list[tuple[str, str, bytes]])
    connections: int = 0
    lost: int = 0  # connections closed after the request, before any answer
    reached: asyncio.Event = field(default_factory=asyncio.Event)  # a decision is kept waiting
    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    @property
    def decisions(self) -> int:
        return sum(method == "POST" for method, _, _ in self.requests)

    @property
    def pushes(self) -> int:
        return sum(method == "PATCH" for method, _, _ in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the end of the test too: asyncio would report a handler that is cancelled
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        body = await reader.readexactly(length)
        self.requests.append((method, target, body))
        if method == "POST" and self.lost:
            self.lost -= 1
            return False
        if method == "POST" and self.silent:
            self.reached.set()
            await asyncio.Event().wait()
        if method == "POST" and self.raw is not None:
            writer.write(self.raw)
            await writer.drain()
            return not self.hang_up
        writer.write(self._answer(method, target, body))
        await writer.drain()
        return True

    def _answer(self, method: str, target: str, body: bytes) -> bytes:
        provenance = {"version": self.version, "build_commit": "",
                      "bundles": {self.bundle: {"revision": self.revision}}}
        if target.startswith("/health"):
            return http(self.health, {})
        if method in {"PUT", "PATCH"}:
            return self._write(method, target, body)
        if target.startswith("/v1/data/system/bundles"):
            manifest = {"revision": self.revision, "roots": list(self.roots)}
            return http(200, {"provenance": provenance, "result": {self.bundle: {"manifest": manifest}}})
        if self.digest is None:
            return http(200, {"provenance": provenance})
        return http(200, {"provenance": provenance, "result": {"digest": self.digest, "decision": self.decision}})

    def _write(self, method: str, target: str, body: bytes) -> bytes:
        if self.refuses:
            return http(self.refuses, {"code": "unauthorized", "message": "request rejected"})
        if target.startswith("/v1/policies/"):
            return http(200, {})
        if method == "PUT":
            self.parents = self.parents or target.startswith("/v1/data/ringwall/")
            return http(204, None, raw=b"")
        if not self.parents:
            return http(404, {"code": "resource_not_found", "message": "storage_not_found_error"})
        self.digest = next(op["value"]["digest"] for op in json.loads(body) if op["path"] == "/ringwall_core")
        return http(204, None, raw=b"")


def with_fake(folder: Path, fake: FakeOpa, act: Callable[[Address], Awaitable[None]]) -> None:
    """Run a test against a fake."""
    async def run() -> None:
        path = str(folder / "o.sock")
        server = await asyncio.start_unix_server(fake.serve, path)
        try:
            await act(Address(path=path))
        finally:
            server.close()
            for writer in fake.writers:
                writer.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
    asyncio.run(run())
