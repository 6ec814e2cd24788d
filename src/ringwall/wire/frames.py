"""Frames between Ringwall's own processes: a 4-byte big-endian length, then that many bytes.

``Framer`` is sans-I/O; ``Link`` puts it on a connected stream socket. The peer may be taken over, so a frame
that is too long ends the link.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from ringwall.errors import BadInput, Unavailable

MAX_FRAME: Final = 16 << 20  # an 8 MiB result in JSON escapes at most; more is an attack or a fault
_HEAD: Final = 4


def encode(payload: bytes) -> bytes:
    """One frame. Raises BadInput if the payload is longer than MAX_FRAME bytes."""
    if len(payload) > MAX_FRAME:
        raise BadInput(f"a frame of {len(payload)} bytes is over the limit of {MAX_FRAME}", code="frame_too_long")
    return len(payload).to_bytes(_HEAD, "big") + payload


class Framer:
    """Bytes in, whole frames out."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """Take received bytes, give the frames they complete. Raises BadInput for an over-long frame."""
        self._buffer += data
        frames: list[bytes] = []
        while len(self._buffer) >= _HEAD:
            length = int.from_bytes(self._buffer[:_HEAD], "big")
            if length > self._limit:
                raise BadInput(f"the peer announced a frame of {length} bytes", code="frame_too_long")
            if len(self._buffer) < _HEAD + length:
                break
            frames.append(bytes(self._buffer[_HEAD:_HEAD + length]))
            del self._buffer[:_HEAD + length]
        return frames

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)


class Link(asyncio.Protocol):
    """A framed connection to one peer. ``on_frame`` gets each frame; ``on_close`` is called once."""

    def __init__(self, on_frame: Callable[[bytes], None], on_close: Callable[[], None]) -> None:
        self._framer = Framer()
        self._on_frame = on_frame
        self._on_close = on_close
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, sock: socket.socket, on_frame: Callable[[bytes], None],
                   on_close: Callable[[], None]) -> Link:
        """Take over a connected stream socket."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(on_frame, on_close), sock=sock)
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's transport by asyncio's contract; uvloop's is no subclass of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._framer.feed(data)
        except BadInput:
            self.close()
            return
        for frame in frames:
            self._on_frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_close()

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def queued(self) -> int:
        """Bytes that the peer has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, payload: bytes) -> None:
        """Queue one frame. Raises Unavailable when the link is gone."""
        if self._transport is None or self._transport.is_closing():
            raise Unavailable("the link to this process is closed", code="link_closed")
        self._transport.write(encode(payload))

    def close(self) -> None:
        """End the connection now; what is queued is dropped."""
        if self._transport is not None:
            self._transport.abort()
