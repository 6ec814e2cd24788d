"""A Workload API that tells callers apart as SPIRE does, by their uid; its SVIDs are those of our authority."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.identity.svid.world import World

from ringwall.call import LaunchId
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.bundle import jwks
from ringwall.identity.workload import messages, wire
from ringwall.identity.workload.proto import decode, encode
from ringwall.identity.workload.wire import GrpcConnection


class FakeSpire:
    """``entries``: SPIFFE IDs by uid. ``spoil``: changes what an answer's SVID says."""

    def __init__(self, authority: EmbeddedAuthority, entries: Callable[[int], list[SpiffeId]]) -> None:
        self.authority = authority
        self.entries = entries
        self.asked: list[tuple[int, str]] = []
        self.spoil: Callable[[dict[str, Any]], None] = lambda one: None
        self.lines: set[_Line] = set()

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncGenerator[None, None]:
        server = await asyncio.get_running_loop().create_unix_server(lambda: _Line(self), str(path))
        path.chmod(0o777)  # noqa: ASYNC240 (one file)
        end = self.authority.on_change(lambda: [line.push() for line in tuple(self.lines)] and None)
        try:
            yield
        finally:
            end()
            server.close()
            self.drop()

    def drop(self) -> None:
        """End every connection."""
        for line in tuple(self.lines):
            line.transport.abort()

    async def svids(self, uid: int, method: str, asked: dict[str, Any]) -> bytes:
        """Raises LookupError: nothing is registered for this uid."""
        found = self.entries(uid)
        if not found:
            raise LookupError
        svids: list[dict[str, Any]] = []
        for who in found:
            if method == "FetchX509SVID":
                made = await self.authority.x509_svid(who, LaunchId("spire"))
                one: dict[str, Any] = {"spiffe_id": str(who), "x509_svid": b"".join(made.chain),
                                       "x509_svid_key": made.key, "bundle": b"".join(made.authorities)}
            else:
                token = await self.authority.jwt_svid(who, LaunchId("spire"), asked["audience"])
                one = {"spiffe_id": str(who), "svid": token.token}
            self.spoil(one)
            svids.append(one)
        response = messages.X509_RESPONSE if method == "FetchX509SVID" else messages.JWT_RESPONSE
        return encode(response, {"svids": svids})

    def bundles(self, method: str) -> bytes:
        if method == "FetchX509Bundles":
            found = {f"spiffe://{name}": b"".join(one.authorities)
                     for name, one in self.authority.bundles().items()}
            return encode(messages.X509_BUNDLES, {"bundles": found})
        # SPIRE's JWKS leave the use out.
        found = {f"spiffe://{name}": jwks(one).replace(b'"use":"jwt-svid",', b"")
                 for name, one in self.authority.bundles().items()}
        return encode(messages.JWT_BUNDLES, {"bundles": found})


class _Line(asyncio.Protocol):
    def __init__(self, spire: FakeSpire) -> None:
        self._spire = spire
        self._grpc = GrpcConnection(lambda cost: True)
        self._paths: dict[int, str] = {}
        self._streams: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        sock = transport.get_extra_info("socket")
        _, self._uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self._spire.lines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._spire.lines.discard(self)

    def data_received(self, data: bytes) -> None:
        for event in self._grpc.receive(data):
            if isinstance(event, wire.Opened):
                assert event.metadata["workload.spiffe.io"] == ("true",)
                self._paths[event.stream] = event.path.rpartition("/")[2]
            elif isinstance(event, wire.Received):
                task = asyncio.create_task(self._answer(event.stream, event.data))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(event, wire.Gone):
                self._streams.pop(event.stream, None)
        self.transport.write(self._grpc.outgoing())

    async def _answer(self, stream: int, data: bytes) -> None:
        method = self._paths[stream]
        self._spire.asked.append((self._uid, method))
        if method.endswith("Bundles"):
            self._streams[stream] = method
            self.push()
            return
        try:
            asked = decode(messages.JWT_REQUEST, data)
            self._grpc.send(stream, await self._spire.svids(self._uid, method, asked))
            if method == "FetchJWTSVID":
                self._grpc.finish(stream, wire.OK)
        except LookupError:
            self._grpc.finish(stream, wire.PERMISSION_DENIED, "no identity issued")
        self.transport.write(self._grpc.outgoing())

    def push(self) -> None:
        """Bundles, to every stream of them."""
        for stream, method in self._streams.items():
            if self._spire.entries(self._uid):
                self._grpc.send(stream, self._spire.bundles(method))
            else:
                self._grpc.finish(stream, wire.PERMISSION_DENIED, "no identity issued")
        self.transport.write(self._grpc.outgoing())


def spire_of(world: World, *entries: SpiffeId) -> FakeSpire:
    """Everybody is registered as these."""
    return FakeSpire(world.authority, lambda uid: list(entries))
