"""One incoming connection in the sidecar: TLS on one side, the core's Unix socket on the other, bytes between.

Neither side is read faster than the other takes. Nothing is read before the core has said yes, and nothing lives
longer than the certificates it was opened with.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

IDLE_S: Final = 300.0  # a connection without a byte in either direction; servers of events send one every 15 s
LINGER_S: Final = 1.0  # for a refusal to arrive before the connection goes
BUFFER: Final = 64 << 10  # bytes waiting for one side before the other is not read any more
MAX_EARLY: Final = 256 << 10  # bytes that TLS had decrypted when reading was paused; more is not honest
REFUSAL: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Outer(asyncio.Protocol):
    """The peer's side.

    Args:
        on_gone: called once, when it is closed.

    """

    def __init__(self, on_gone: Callable[[Outer], None]) -> None:
        self._on_gone = on_gone
        self._transport: asyncio.Transport | None = None
        self._inner: _Inner | None = None
        self._early = bytearray()
        self._refused = False
        self._timers: list[asyncio.TimerHandle] = []
        self._touched = 0.0
        self.gone = False
        self.claimed = ""
        """Whom its certificate names, by whose authority; for counting only."""

    @property
    def ssl_object(self) -> object:
        """Of the finished handshake."""
        return self._transport.get_extra_info("ssl_object") if self._transport is not None else None

    def limit(self, seconds: float) -> None:
        """Close it in so many seconds, whatever it does then."""
        self._timers.append(asyncio.get_running_loop().call_later(max(seconds, 0.0), self.abort))

    async def join(self, sock: socket.socket) -> None:
        """Pipe from here on; the socket is ours. Raises OSError."""
        loop = asyncio.get_running_loop()
        inner = _Inner(self)
        try:
            await loop.create_connection(lambda: inner, sock=sock)
        except BaseException:
            sock.close()
            raise
        if self.gone or self._transport is None:
            inner.abort()
            return
        self._inner = inner
        if self._early:
            inner.write(bytes(self._early))
            self._early.clear()
        self._touched = loop.time()
        self._watch()
        if not inner.full:
            self._transport.resume_reading()

    def refuse(self) -> None:
        """Say that nobody is let in, and close."""
        if self._transport is None or self.gone:
            return
        self._refused = True
        self._early.clear()
        self._transport.write(REFUSAL)
        # What arrives is thrown away: closing over unread bytes would reset the connection and lose the refusal.
        self._transport.resume_reading()
        self.limit(LINGER_S)

    def abort(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        """From the core to the peer."""
        self._touched = asyncio.get_running_loop().time()
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """The core has closed: what it said is still sent."""
        if self._transport is not None:
            self._transport.close()
            self.limit(LINGER_S)

    def hold(self, full: bool) -> None:
        """The core does not take, or takes again."""
        if self._transport is None or self._transport.is_closing():
            return
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _watch(self) -> None:
        """Close what has been silent for too long."""
        loop = asyncio.get_running_loop()
        left = self._touched + IDLE_S - loop.time()
        if left <= 0:
            self.abort()
        else:
            self._timers.append(loop.call_later(left, self._watch))
            self._timers = [timer for timer in self._timers if timer.when() > loop.time()]

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By asyncio's contract; uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=BUFFER)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._touched = asyncio.get_running_loop().time()
        if self._inner is not None:
            self._inner.write(data)
        elif not self._refused:
            self._early += data
            if len(self._early) > MAX_EARLY:
                self.abort()

    def eof_received(self) -> None:
        if self._inner is not None:
            self._inner.finish()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.hold(True)

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._transport = None
        for timer in self._timers:
            timer.cancel()
        if self._inner is not None:
            self._inner.finish()
        self._on_gone(self)


class _Inner(asyncio.Protocol):
    """The core's side."""

    def __init__(self, outer: Outer) -> None:
        self._outer = outer
        self._transport: asyncio.Transport | None = None
        self.full = False

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self) -> None:
        """The peer is gone: what it said still arrives, and then the core hears that it went."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def hold(self, full: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=BUFFER)

    def data_received(self, data: bytes) -> None:
        self._outer.write(data)

    def pause_writing(self) -> None:
        self.full = True
        self._outer.hold(True)

    def resume_writing(self) -> None:
        self.full = False
        self._outer.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._outer.finish()
