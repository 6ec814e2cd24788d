"""A tool server's way out: an HTTP proxy for CONNECT, on a socket that listens in the server's own network.

It reaches the hosts and ports of an operator's list and nothing else. A name is resolved once, each address judged
(``tools.addresses``), and the very address connected to. Source: RFC 9110, section 9.3.6. What travels afterwards
is the server's own, mostly TLS, and is not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import string
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from ringwall.tools.addresses import Addresses, OutsideFault, Resolve

MAX_HEAD: Final = 8192  # bytes of a request's line and headers, as common servers take
MAX_TUNNELS: Final = 32  # of one server at once, waiting ones included
HEAD_S: Final = 10.0  # seconds for a whole request: it comes from this machine
CONNECT_S: Final = 10.0  # seconds for one connection
WINDOW_S: Final = 10.0  # refusals within it are told together
BUFFER: Final = 1 << 16

Code: TypeAlias = Literal["bad_request", "not_listed", "address_refused", "unreachable", "too_many"]

_HOST: Final = frozenset((string.ascii_letters + string.digits + ".-").encode())
_TOKEN: Final = frozenset((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())  # RFC 9110, 5.6.2
_CONTROLS: Final = frozenset({*range(32), 127}) - {9}
_SAYS: Final[dict[Code, tuple[str, str]]] = {
    "bad_request": ("400 Bad Request", "this proxy takes CONNECT host:port only: use https"),
    "not_listed": ("403 Forbidden", "this host and port are not in the server's network list"),
    "address_refused": ("403 Forbidden", "the name leads to an address that is not public"),
    "unreachable": ("502 Bad Gateway", "nobody answers there"),
    "too_many": ("503 Service Unavailable", "too many connections at once"),
}
_PLAIN: Final = ("403 Forbidden", "plain http is not carried: use https, with CONNECT")


class _Refused(Exception):
    def __init__(self, code: Code, says: tuple[str, str] | None = None) -> None:
        super().__init__(code)
        self.code: Code = code
        self.status, self.text = says or _SAYS[code]


def target(head: bytes) -> str:
    """The ``host:port`` a request asks for, in lower case. ``head``: up to and with the empty line.

    Raises _Refused: ``bad_request``.
    """
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, _, tail = line.partition(b" ")
    place, _, version = tail.partition(b" ")
    if method != b"CONNECT" and place[:7].lower() == b"http://":
        raise _Refused("bad_request", _PLAIN)
    host, _, port = place.rpartition(b":")
    if method != b"CONNECT" or version not in {b"HTTP/1.1", b"HTTP/1.0"} or not head.endswith(b"\r\n\r\n"):
        raise _Refused("bad_request")
    if not 0 < len(host) <= 253 or not _HOST.issuperset(host) or not port.isdigit() or len(port) > 5:
        raise _Refused("bad_request")
    for field in fields:
        name, colon, value = field.partition(b":")
        if not name or not colon or not _TOKEN.issuperset(name) or not _CONTROLS.isdisjoint(value):
            raise _Refused("bad_request")
        if name.lower() in {b"content-length", b"transfer-encoding"}:  # a body that the far end would be sent
            raise _Refused("bad_request")
    return f"{host.decode('ascii').lower()}:{int(port)}"


class Proxy:
    """One server's outlet.

    Args:
        allowed: ``host:port`` each, as the operator wrote them.
        private: networks that names may lead to although they are not public.
        tell: told of refusals: the first at once, others together after WINDOW_S.
        resolve: asks for a name's addresses.

    """

    def __init__(self, *, allowed: Sequence[str], private: Sequence[str], tell: Callable[[Code, int], None],
                 resolve: Resolve | None = None) -> None:
        self._allowed = frozenset(allowed)
        hosts = [place.rpartition(":")[0] for place in allowed]
        self._addresses = Addresses(private=private, literal=hosts, resolve=resolve)
        self._tell = tell
        self._counts: dict[Code, int] = {}
        self._window: asyncio.TimerHandle | None = None
        self._tunnels: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Task[None] | None = None

    def serve(self, listener: socket.socket) -> None:
        """Accept from a listening socket, which is ours from now on, until ``close``."""
        self._listener = asyncio.create_task(self._accept(listener))
        self._listener.add_done_callback(lambda _: listener.close())

    def close(self) -> None:
        """Stop accepting, end every tunnel, tell what was not told yet."""
        if self._listener is not None:
            self._listener.cancel()
        for tunnel in self._tunnels:
            tunnel.cancel()
        if self._window is not None:
            self._window.cancel()
            self._window = None
        self._flush()

    async def over(self) -> None:
        """Wait until all that was closed is closed."""
        left = [*self._tunnels, *([] if self._listener is None else [self._listener])]
        await asyncio.gather(*left, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._begin, sock=listener, limit=BUFFER)
        async with server:
            await server.serve_forever()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tunnels) >= 2 * MAX_TUNNELS:  # not even to be told so
            self._refused("too_many")
            writer.transport.abort()
            return
        task = asyncio.create_task(self._tunnel(reader, writer))
        self._tunnels.add(task)
        task.add_done_callback(self._tunnels.discard)
        # A task that is cancelled before its first step has not taken it.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
            await _end(writer)
        except _Refused as no:
            self._refused(no.code)
            await _answer(writer, no.status, no.text)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the server went away, or sent no request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as fault:
            raise _Refused("bad_request") from fault
        if len(self._tunnels) > MAX_TUNNELS:
            raise _Refused("too_many")
        if len(head) > MAX_HEAD:
            raise _Refused("bad_request")
        place = target(head)
        if place not in self._allowed:
            raise _Refused("not_listed")
        far_reader, far_writer = await self._connect(place)
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await _both(reader, writer, far_reader, far_writer)
            await _end(far_writer)
        finally:
            far_writer.transport.abort()

    async def _connect(self, place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = place.rpartition(":")
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await self._addresses.of(host)
                for address in addresses:
                    with contextlib.suppress(OSError):
                        return await asyncio.open_connection(str(address), int(port), limit=BUFFER)
        except OutsideFault as fault:
            raise _Refused("address_refused" if fault.code == "address_refused" else "unreachable") from fault
        except TimeoutError as late:
            raise _Refused("unreachable") from late
        raise _Refused("unreachable")

    def _refused(self, code: Code) -> None:
        """Count, and tell: a server that knocks a thousand times a second is one line in ten seconds."""
        self._counts[code] = self._counts.get(code, 0) + 1
        if self._window is None:
            self._flush()

    def _flush(self) -> None:
        counts, self._counts = self._counts, {}
        self._window = asyncio.get_running_loop().call_later(WINDOW_S, self._open_window) if counts else None
        for code, count in counts.items():
            self._tell(code, count)

    def _open_window(self) -> None:
        self._window = None
        self._flush()


async def _answer(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = f"ringwall: {text}\n"
    head = (f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n")
    with contextlib.suppress(OSError, TimeoutError):
        writer.write((head + body).encode("ascii"))
        async with asyncio.timeout(HEAD_S):
            await _end(writer)


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close once all is sent."""
    writer.close()
    await writer.wait_closed()


async def _both(near: asyncio.StreamReader, to_near: asyncio.StreamWriter,
                far: asyncio.StreamReader, to_far: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until both have ended; the end of one is passed on. Raises OSError."""
    ways = [asyncio.create_task(_one(near, to_far)), asyncio.create_task(_one(far, to_near))]
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BUFFER):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
