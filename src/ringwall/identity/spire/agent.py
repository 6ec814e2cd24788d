"""Connections to a SPIRE agent's Workload API, each attested by whoever connected."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, cast

from ringwall.errors import Refused, Unavailable
from ringwall.identity.spire.wire import UNKNOWN, Answered, Broken, Event, GrpcClient, Over
from ringwall.identity.workload.messages import WORKLOAD
from ringwall.identity.workload.proto import decode, encode
from ringwall.identity.workload.wire import OK, PERMISSION_DENIED

HEADER: Final = {"workload.spiffe.io": "true"}  # SPIFFE Workload Endpoint, section 4
CALL_SECONDS: Final = 20.0  # for the first message of an answer; a SPIRE agent that has to ask its server needs one
_METHODS: Final = {one.name: one for one in WORKLOAD.methods}

Connect = Callable[[], Awaitable[socket.socket]]
"""A socket connected to the agent by the process that it shall attest. Raises Unavailable."""


class SpireAgent:
    """One attested caller. A connection is made when it is needed, and made again when it broke."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()

    async def one(self, method: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The first message of a method's answer. Raises as ``stream``."""
        async with aclosing(self.stream(method, values)) as answers:
            async for found in answers:
                return found
        raise Unavailable("the SPIRE agent ended the call without an answer", code="spire_broken")

    async def stream(self, method: str, values: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Every message of a method's answer, for as long as the caller wants them.

        Raises:
            Refused: ``spire_no_identity``: nothing is registered for this caller.
            Unavailable: ``spire_unreachable``, ``spire_broken``, ``spire_slow`` or ``spire_failed``.
            BadInput: ``bad_protobuf``.

        """
        one = _METHODS[method]
        line = await self._open()
        queue = line.begin(f"/{WORKLOAD.service}/{method}", encode(one.request, values))
        seconds: float | None = CALL_SECONDS
        try:
            while True:
                async with asyncio.timeout(seconds):
                    event = await queue.events.get()
                if not isinstance(event, Answered):
                    if event.status == OK:
                        return
                    raise _refused(event.status, event.message)
                seconds = None
                yield decode(one.response, event.data)
        except TimeoutError:
            raise Unavailable("the SPIRE agent does not answer", code="spire_slow") from None
        finally:
            line.end(queue.stream)

    async def _open(self) -> _Line:
        async with self._connecting:
            if self._line is None or self._line.closed:
                sock = await self._connect()
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                _, self._line = await loop.create_connection(_Line, sock=sock)
            return self._line

    def close(self) -> None:
        """End the connection and its calls."""
        if self._line is not None:
            self._line.close()


class _Waiting:
    """One call's answer, as it comes."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.events: asyncio.Queue[Event] = asyncio.Queue()


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._grpc = GrpcClient()
        self._calls: dict[int, _Waiting] = {}
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._grpc.receive(data):
                waiting = self._calls.get(event.stream)
                if waiting is not None:
                    waiting.events.put_nowait(event)
        except Broken:
            self.close()
            return
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        for waiting in self._calls.values():
            waiting.events.put_nowait(Over(waiting.stream, UNKNOWN, "the connection ended"))

    def begin(self, path: str, message: bytes) -> _Waiting:
        """Raises Unavailable (``spire_broken``)."""
        try:
            stream = self._grpc.call(path, message, HEADER)
        except Broken as fault:
            self.close()
            raise Unavailable(str(fault), code="spire_broken") from fault
        waiting = self._calls[stream] = _Waiting(stream)
        self._flush()
        return waiting

    def end(self, stream: int) -> None:
        self._calls.pop(stream, None)
        self._grpc.cancel(stream)
        if not self.closed:
            self._flush()

    def close(self) -> None:
        self.closed = True
        self._transport.abort()

    def _flush(self) -> None:
        data = self._grpc.outgoing()
        if data:
            self._transport.write(data)


def _refused(status: int, message: str) -> Refused | Unavailable:
    if status == PERMISSION_DENIED:
        return Refused(f"the SPIRE agent knows no identity for this caller: {message}", code="spire_no_identity",
                       remedy="spire-server entry create -selector unix:uid:…; docs/identity.md, SPIRE")
    return Unavailable(f"the SPIRE agent answered status {status}: {message}", code="spire_failed")


async def direct(path: str) -> socket.socket:
    """Connect as this process itself. Raises Unavailable (``spire_unreachable``)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, path)
    except (OSError, TimeoutError) as fault:
        sock.close()
        raise Unavailable(f"no SPIRE agent at {path}: {fault}", code="spire_unreachable",
                          remedy="start it, or mend [identity] spire") from None
    return sock
