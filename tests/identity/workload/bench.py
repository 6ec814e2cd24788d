"""The Workload API over a real socket, with a real wall (identity, capability), a real authority, and a client."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from tests.fakes import FakeJournal

from ringwall.call import Denied, LaunchId, SessionId
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.resolve import ManifestResolver
from ringwall.capability.ring import CapabilityRing
from ringwall.clock import SystemClock
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import probe
from ringwall.identity.registry import Launch, Registry
from ringwall.identity.ring import IdentityRing
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.store import KeyStore
from ringwall.identity.workload import wire
from ringwall.identity.workload.issuing import Issuing
from ringwall.identity.workload.messages import WORKLOAD
from ringwall.identity.workload.proto import Message, decode, encode
from ringwall.keys.file import FileRootKeys
from ringwall.manifest.load import parse
from ringwall.runtime.workload import SOCKET, Workload
from ringwall.wall import Wall

MANIFEST = """
version = 1
trust_domain = "acme.example"
[models.main]
wire = "openai"
url = "https://llm.acme.example/v1"
[tenants.acme.roles.caller.svid]
x509 = true
audiences = ["billing.acme.example", "spiffe://acme.example/tenant/acme/agent/bob/role/caller"]
[tenants.acme.roles.tokens.svid]
audiences = ["billing.acme.example"]
[tenants.acme.roles.plain]
[tenants.acme.agents.alice]
role = "caller"
[tenants.acme.agents.bob]
role = "caller"
processes = "tree"
[tenants.acme.agents.tom]
role = "tokens"
[tenants.acme.agents.pete]
role = "plain"
"""
HEADER = {"workload.spiffe.io": "true"}
METHODS = {one.name: one for one in WORKLOAD.methods}


class MovableClock(SystemClock):
    """The machine's clocks, moved by as much as a test wants."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class _Pins:
    def get(self, name: str) -> None:
        return None


class Bench:
    """Everything between a client and the authority. ``frozen``: why agents are frozen, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = MovableClock()
        self.journal = FakeJournal()
        self.manifest = parse(MANIFEST, folder / "ringwall.toml")
        self.frozen: dict[str, str] = {}
        self.foreign: dict[str, Bundle] = {}
        self.registry = Registry(probe(), frozen=lambda who: self.frozen.get(who.agent, ""), max_connections=1000)
        self.authority = EmbeddedAuthority(
            trust_domain="acme.example", issuer="https://acme.example",
            store=KeyStore(folder / "identity", FileRootKeys.open_or_create(folder / "root.key"), "acme.example"),
            clock=self.clock, journal=self.journal, entitled=self.entitled,
            frozen=lambda who: self.frozen.get(who.agent, ""), foreign=lambda: self.foreign)
        self.registry.on_withdraw = self.authority.revoke
        issuing = Issuing(self.authority, self.registry, self.clock)
        catalogues = Catalogues(lambda tenant: _Pins())  # type: ignore[arg-type,return-value]
        self.ids = iter(range(1 << 30))
        self.wall = Wall(
            rings=[IdentityRing(self.registry, OperatorPeers(self.registry.probe)),
                   CapabilityRing(self.manifest, catalogues)],
            effects={"secret": issuing}, attempts=self, journal=self.journal, clock=self.clock,
            resolver=ManifestResolver(self.manifest, catalogues, lambda: str(next(self.ids)), lambda _, raw: raw))
        self.workload = Workload(manifest=self.manifest, registry=self.registry, authority=self.authority,
                                 issuing=issuing, wall=self.wall, journal=self.journal, clock=self.clock)

    def attempt(self, key: str, size: int) -> Denied | None:
        return None

    def entitled(self, who: SpiffeId, launch: LaunchId) -> Denied | None:
        return None

    async def launch(self, agent: str, *, pid: int = 0, name: str = "", processes: Any = "one") -> Path:
        """Register a running process as this agent's (our own, if none is named); its socket."""
        name = name or agent
        pidfd = os.pidfd_open(pid or os.getpid())
        pidns = os.open(f"/proc/{pid or os.getpid()}/ns/pid", os.O_RDONLY)
        role = self.manifest.tenants["acme"].agents[agent].role
        who = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent=agent, role=role)
        try:
            self.registry.register(Launch(
                id=LaunchId(name), spiffe_id=who, pidfd=pidfd, pidns_fd=pidns, processes=processes,
                session=SessionId("s" + name), confined=True, strength="full"))
        finally:
            os.close(pidfd)
            os.close(pidns)
        folder = self.folder / "d" / name
        folder.mkdir(parents=True)
        await self.workload.add(LaunchId(name), who, folder)
        return folder / SOCKET

    async def withdraw(self, name: str) -> None:
        """As the launcher does when a process has ended."""
        self.registry.withdraw(LaunchId(name))
        await self.workload.remove(LaunchId(name))

    def codes(self) -> list[str]:
        """Of all refusals on the record."""
        return [denied.code for verdicts in self.journal.of("refusal") for _, denied in verdicts.denied]


@asynccontextmanager
async def bench(folder: Path) -> AsyncGenerator[Bench, None]:
    made = Bench(folder)
    await made.authority.start()
    try:
        yield made
    finally:
        await made.workload.close()


class Failed(Exception):
    """A call ended with this status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Answer:
    """One call as its client sees it."""

    def __init__(self, client: Client, stream: int, message: Message) -> None:
        self._client = client
        self.stream = stream
        self._message = message
        self.queue: asyncio.Queue[bytes | Failed | None] = asyncio.Queue()
        self.raw = bytearray()

    async def next(self) -> dict[str, Any]:
        """The next message. Raises Failed; EOFError when the answer is over."""
        found = await asyncio.wait_for(self.queue.get(), 20)
        if isinstance(found, Failed):
            raise found
        if found is None:
            raise EOFError
        return decode(self._message, found)

    def cancel(self) -> None:
        self._client.h2.reset_stream(self.stream, 8)
        self._client.flush()


class Client:
    """A gRPC client of few words."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.reader, self.writer = reader, writer
        self.answers: dict[int, Answer] = {}
        self.h2.initiate_connection()
        self.flush()
        self.pump = asyncio.create_task(self._pump())

    @classmethod
    async def connect(cls, path: Path) -> Client:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))  # fails at once where the backlog is full
        except OSError:
            sock.close()
            raise
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def call(self, method: str, values: Mapping[str, Any] | None = None, *, header: Mapping[str, str] = HEADER,
             raw: bytes | None = None) -> Answer:
        """Begin one of the Workload API's methods."""
        one = METHODS[method]
        data = encode(one.request, values or {}) if raw is None else raw
        return self.begin(f"/SpiffeWorkloadAPI/{method}", one.response, [data], header)

    def begin(self, path: str, response: Message, messages: list[bytes], header: Mapping[str, str],
              *, framed: bool = False, content: str = "application/grpc", end: bool = True) -> Answer:
        stream = self.h2.get_next_available_stream_id()
        answer = self.answers[stream] = Answer(self, stream, response)
        self.h2.send_headers(stream, [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
            ("te", "trailers"), ("content-type", content), *header.items()])
        for data in messages:
            self.h2.send_data(stream, data if framed else b"\0" + len(data).to_bytes(4, "big") + data)
        if end:
            self.h2.end_stream(stream)
        self.flush()
        return answer

    async def one(self, method: str, values: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The first message of a method's answer."""
        return await self.call(method, values, **more).next()

    async def fails(self, method: str, values: Mapping[str, Any] | None = None, **more: Any) -> Failed:
        """How a method refuses."""
        try:
            await self.one(method, values, **more)
        except Failed as failed:
            return failed
        raise AssertionError(f"{method} was answered")

    async def close(self) -> None:
        self.pump.cancel()
        self.writer.transport.abort()
        await asyncio.gather(self.pump, self.writer.wait_closed(), return_exceptions=True)

    async def gone(self) -> None:
        """Wait until the server has ended the connection."""
        await asyncio.wait_for(asyncio.shield(self.pump), 20)

    async def _pump(self) -> None:
        try:
            while data := await self.reader.read(1 << 16):
                for event in self.h2.receive_data(data):
                    self._take(event)
                self.flush()
        except ConnectionError:
            pass
        for answer in self.answers.values():
            answer.queue.put_nowait(Failed(wire.UNAVAILABLE, "the connection is over"))

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            answer = self.answers[event.stream_id or 0]
            answer.raw += event.data or b""
            while len(answer.raw) >= 5 and len(answer.raw) >= 5 + (size := int.from_bytes(answer.raw[1:5], "big")):
                answer.queue.put_nowait(bytes(answer.raw[5 : 5 + size]))
                del answer.raw[: 5 + size]
        elif isinstance(event, events.TrailersReceived | events.ResponseReceived):
            headers = dict(event.headers or [])
            if headers.get(":status", "200") != "200":
                self.answers[event.stream_id or 0].queue.put_nowait(Failed(int(headers[":status"]), "http"))
            elif "grpc-status" in headers:
                code = int(headers["grpc-status"])
                ended = Failed(code, headers.get("grpc-message", "")) if code else None
                self.answers[event.stream_id or 0].queue.put_nowait(ended)
        elif isinstance(event, events.StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].queue.put_nowait(Failed(wire.CANCELLED, "reset"))
