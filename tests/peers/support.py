"""Two tenants' sidecars with their cores' lines, in one process: real frames, real TLS, handmade certificates."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvloop
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.identity.svid.workshop import Ca, Leaf, Signer, ecdsa, uri
from tests.tools.office import no_pins

from ringwall.call import Last
from ringwall.clock import Clock, SystemClock
from ringwall.errors import Refused
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.interface import Bundle, X509Svid
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.peers.interface import Answer
from ringwall.peers.line import PeerLine, PeerTimes
from ringwall.peers.protocol import Incoming
from ringwall.runtime.sidecar import Sidecar
from ringwall.tools.protocol import Hello
from ringwall.tools.sidecar_client import SidecarClient

ANA = "spiffe://a.test/tenant/acme/agent/ana/role/reader"
SAM = "spiffe://b.test/tenant/beta/agent/sam/role/payer"
EVE = "spiffe://a.test/tenant/acme/agent/eve/role/reader"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def go(work: Coroutine[Any, Any, None]) -> None:
    """Run it as the sidecar's process would, on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def pkcs8(key: Any) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Of one trust domain."""

    domain: str
    signer: Signer

    @classmethod
    def of(cls, domain: str, name: str = "", *, now: float | None = None) -> Authority:
        now = now or time.time()
        ca = Ca(name=f"root-{name or domain}", id=f"spiffe://{domain}", begins=now - 60, ends=now + 86_400)
        return cls(domain=domain, signer=ca.by())

    @property
    def bundle(self) -> Bundle:
        return Bundle(trust_domain=self.domain, authorities=(self.signer.certificate,))

    def svid(self, who: str, *, key: str = "", seconds: float = 900, now: float | None = None) -> X509Svid:
        now = float(int(now or time.time()))  # certificates know no parts of a second
        name = key or who
        leaf = Leaf(names=(uri(who),), key=ecdsa(name), begins=now - 30, ends=now + seconds)
        return X509Svid(
            spiffe_id=SpiffeId.parse(who), chain=(leaf.by(self.signer),), key=pkcs8(ecdsa(name)), authorities=(),
            issued_at=now, expires_at=now + seconds,
        )


A, B = Authority.of("a.test"), Authority.of("b.test")
BOTH = {"a.test": A.bundle, "b.test": B.bundle}


class Talk:
    """A server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.write = writer.write
        self.drain = writer.drain

    async def gone(self) -> None:
        """Until the other end has closed."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1 << 16):
                pass


Handler = Callable[[bytes, bytes, Talk], Awaitable[bool]]
"""Head and body of a request; whether the connection goes on."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    """A plain HTTP/1.1 server's loop."""
    talk = Talk(reader, writer)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = 0
            for line in head.split(b"\r\n"):
                name, _, value = line.partition(b":")
                size = int(value) if name.lower() == b"content-length" else size
            if not await handler(head, await reader.readexactly(size), talk):
                break
    writer.close()


def json_answer(body: bytes, *, envelope: str = "") -> bytes:
    more = f"Ringwall-Envelope: {envelope}\r\n".encode() if envelope else b""
    return OK + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def echo(head: bytes, body: bytes, writer: Talk) -> bool:
    writer.write(json_answer(body, envelope="ab.cd.ef"))
    return True


class Side:
    """A tenant: its sidecar, and its core's line to it."""

    def __init__(self, *, clock: Clock | None = None, times: PeerTimes | None = None) -> None:
        self.downs: list[str] = []
        self.client = SidecarClient(hello=Hello(tenant="t"), spawn=_never, verify=no_pins, clock=SystemClock(),
                                    on_down=self.downs.append)
        self.line = PeerLine(self.client.link, times=times)
        self.line.on_incoming = self.judge
        self.clock = clock or SystemClock()
        self.verifier = X509Verifier(lambda: self.bundles, self.clock)
        self.bundles = dict(BOTH)
        self.allowed: Callable[[str], bool] = lambda _: True
        self.handler: Handler = echo
        self.seen: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.tasks: list[asyncio.Future[Any]] = []

    async def judge(self, message: Incoming) -> socket.socket | None:
        """The core's part: strict verifier, then who may."""
        try:
            who = str(self.verifier.verify(message.chain).spiffe_id)
        except Refused as no:
            self.seen.append(no.code)
            return None
        self.seen.append(who)
        if not self.allowed(who):
            return None
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        self.tasks.append(asyncio.ensure_future(serve(reader, writer, self._handle)))
        return theirs

    async def _handle(self, head: bytes, body: bytes, talk: Talk) -> bool:
        return await self.handler(head, body, talk)

    async def start(self) -> None:
        ours, link = socket.socketpair()
        passing, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        passing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.passed = passed
        self.sidecar = Sidecar(passed)
        self.tasks.append(asyncio.ensure_future(self.sidecar.run(link)))
        await self.client.attach(ours, passing)
        await self.line.trust(self.bundles)

    async def equip(self, svid: X509Svid, launch: str = "l1") -> None:
        """Identity and gate."""
        await self.line.identity(svid, launch)
        await self.line.gate(launch, self.listener)

    async def stop(self) -> None:
        self.client.close()
        self.listener.close()
        await asyncio.wait_for(asyncio.gather(*self.tasks, return_exceptions=True), 20)
        self.passed.close()


@asynccontextmanager
async def sides(**settings: Any) -> AsyncGenerator[tuple[Side, Side], None]:
    """Ana's and Sam's."""
    ana, sam = Side(**settings), Side(**settings)
    try:
        for side, svid in ((ana, A.svid(ANA)), (sam, B.svid(SAM))):
            await side.start()
            await side.equip(svid)
        yield ana, sam
    finally:
        await ana.stop()
        await sam.stop()


async def ask(
    side: Side, url: str, peer: str, body: bytes = b"{}", *, envelope: str = "", stream: bool = False,
    launch: str = "l1", seconds: float | None = None,
) -> tuple[list[Answer], Last]:
    """All answers, and the end."""
    return await gathered(side.line.send(launch=launch, peer=peer, url=url, body=body, envelope=envelope,
                                         stream=stream, call="", seconds=seconds))


async def gathered(items: AsyncGenerator[Answer | Last, None]) -> tuple[list[Answer], Last]:
    found: list[Answer] = []
    async for item in items:
        if isinstance(item, Last):
            return found, item
        found.append(item)
    raise AssertionError("there was no Last")


def code(last: Last) -> tuple[str, str]:
    """How it ended, and its code."""
    return last.end, str(last.error["code"]) if last.error else ""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.001)


async def _never(_: str) -> tuple[int, int]:
    raise AssertionError("no tool server here")
