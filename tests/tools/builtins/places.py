"""What surrounds a built-in's process: the outlet's proxy, the core's end of the descriptor, and a service that
says whatever a test wants."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.rgw.tls import Authority

from ringwall.clock import Clock, SystemClock
from ringwall.tools.builtins.given import Hand
from ringwall.tools.outlet import Proxy
from ringwall.wire import frames

VALUES = {"access_key_id": "AKIATEST", "secret_access_key": "s3cr3t-key-of-the-session", "session_token": "t0ken"}
FAR = 4_000_000_000.0  # seconds since the epoch


@contextmanager
def outlet(*allowed: str) -> Generator[tuple[str, int]]:
    """The sidecar's own proxy, in a thread, for these hosts and ports."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    ready, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        proxy = Proxy(allowed=allowed, private=(), tell=lambda _code, _count: None)
        proxy.serve(listener)
        ready.set()
        await over.wait()
        proxy.close()
        await proxy.over()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


class Core:
    """The core's end of the descriptor."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def say(self, message: Any) -> None:
        self.sock.sendall(frames.encode(json.dumps(message).encode()))

    def give(self, name: str, values: Mapping[str, str] = VALUES, expires_at: float = FAR) -> None:
        self.say({"give": name, "values": dict(values), "expires_at": expires_at})

    def drop(self, name: str) -> None:
        self.say({"drop": name})


@contextmanager
def handed(clock: Clock | None = None) -> Generator[tuple[Core, Hand]]:
    """Both ends."""
    ours, theirs = socket.socketpair()
    hand = Hand(theirs, clock or SystemClock())
    hand.begin()
    with ours:
        yield Core(ours), hand


@dataclass
class Service:
    """A TLS server that answers as ``says`` does: pieces of bytes; None waits until the other side is gone."""

    url: str = ""
    ca: Path = Path()
    place: str = ""  # host:port
    says: Callable[[bytes], Sequence[bytes | None]] = lambda _: []
    heard: list[bytes] = field(default_factory=list[bytes])
    waiting: threading.Event = field(default_factory=threading.Event)


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def service(folder: Path, says: Callable[[bytes], Sequence[bytes | None]]) -> Generator[Service]:
    """Run it in threads."""
    authority = Authority.make("services")
    chain, key = authority.server("127.0.0.1", "localhost")
    for name, content in (("ca.pem", authority.pem), ("tls.pem", chain), ("tls.key", key)):
        (folder / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem", folder / "tls.key")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    here = Service(url=f"https://127.0.0.1:{port}", ca=folder / "ca.pem", place=f"127.0.0.1:{port}", says=says)

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_one, args=(here, context, sock), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield here
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _one(here: Service, context: ssl.SSLContext, plain: socket.socket) -> None:
    with plain:
        try:
            with context.wrap_socket(plain, server_side=True) as sock:
                request = _request(sock)
                here.heard.append(request)
                for piece in here.says(request):
                    if piece is None:
                        here.waiting.set()
                        sock.recv(1)
                        return
                    sock.sendall(piece)
        except OSError:
            pass  # the other side went away, or trusts somebody else


def _request(sock: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    said = [line.split(b":", 1)[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while said and len(body) < int(said[0]):
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body
