"""The line between the supervisor and the core: one message a packet, descriptors beside it.

Both ends are Ringwall's own; the messages are typed and small all the same, so that a fault in one end is an
error in the other and not a surprise.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ringwall.errors import BadInput, Unavailable

MAX_PACKET: Final = 160 << 10  # below the kernel's default socket buffer, so that one packet always fits
MAX_DESCRIPTORS: Final = 64  # far above what an agent has; SCM_RIGHTS takes 253


class Spawn(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Core: start a confined process. Descriptors: first those of ``numbers``, then those to hold."""

    id: int
    spec: msgspec.Raw
    numbers: list[int]
    hold: bool = False  # an agent: survives the core; given back with ``meta`` when the core restarts
    meta: msgspec.Raw = msgspec.Raw(b"null")


class Go(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Core: let a spawned process start its program."""

    id: int
    child: int


class Signal(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Core: send a signal to a child."""

    child: int
    signum: int


class Forget(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Core: this held agent has ended and its output is read; let its descriptors go."""

    child: int


class Release(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Core: one of an agent's held descriptors, by its place, has done its work; close it. (A pipe gives its
    reader no end while any copy of the writing end is open.)"""

    child: int
    place: int


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Core: every door is open."""

    summary: str


class Start(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Supervisor: first message to a core; ``held`` agents follow as Held messages."""

    held: int
    restarts: int


class Held(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Supervisor: an agent that outlived the last core. Descriptors: pidfd, pid namespace, the door if it has one
    over TCP, ``inside`` sockets of its network, then the held ones."""

    child: int
    meta: msgspec.Raw
    exited: int | None = None
    door: bool = False
    inside: int = 0


class Spawned(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Supervisor: the answer to Spawn. Descriptors: pidfd, pid namespace, the door if it has one over TCP,
    ``inside`` sockets of its network."""

    id: int
    child: int
    pid: int
    self_test: dict[str, str]
    door: bool = False
    inside: int = 0


class Done(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Supervisor: the answer to Go, or to a Spawn that failed (``code`` is then set)."""

    id: int
    code: str = ""
    cause: str = ""
    remedy: str = ""


class Exited(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Supervisor: a child ended, with its status as a shell reports it."""

    child: int
    status: int


Message = Spawn | Go | Signal | Forget | Release | Ready | Start | Held | Spawned | Done | Exited
_decoder: Final = msgspec.json.Decoder(Message)


def decode(packet: bytes) -> Message:
    """One message, or BadInput."""
    try:
        return _decoder.decode(packet)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"a control message is malformed: {fault}", code="bad_control_message") from fault


class Control:
    """One end of the line, on a connected SEQPACKET socket in an asyncio loop."""

    def __init__(
        self, sock: socket.socket, on_message: Callable[[Message, list[int]], None], on_close: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_close = on_close
        self._queue: list[tuple[bytes, list[int]]] = []
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Queue one message; the descriptors are duplicated, the caller keeps its own."""
        if not self._open:
            raise Unavailable("the supervisor's line is closed", code="supervisor_lost")
        packet = msgspec.json.encode(message)
        if len(packet) > MAX_PACKET:
            raise BadInput(f"a control message of {len(packet)} bytes is too large", code="message_too_large")
        if len(descriptors) > MAX_DESCRIPTORS:
            raise BadInput(f"{len(descriptors)} descriptors in one control message", code="message_too_large")
        self._queue.append((packet, [os.dup(number) for number in descriptors]))
        self._writable()

    def _writable(self) -> None:
        while self._queue:
            packet, descriptors = self._queue[0]
            ancillary: list[tuple[int, int, Any]] = []
            if descriptors:
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            try:
                self._sock.sendmsg([packet], ancillary)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._writable)
                return
            except OSError:
                self.close()
                return
            self._queue.pop(0)
            for number in descriptors:
                os.close(number)
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            packet, descriptors, flags, _ = socket.recv_fds(self._sock, MAX_PACKET, MAX_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors, flags = b"", [], 0
        try:
            if not packet or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise BadInput("the line ended, or a packet was cut", code="bad_control_message")
            message = decode(packet)
        except BadInput:
            # A peer that sends what it never should is not to be trusted with the next message either.
            for number in descriptors:
                os.close(number)
            self.close()
            return
        for number in descriptors:
            os.set_inheritable(number, False)
        self._on_message(message, list(descriptors))

    def close(self) -> None:
        """End the line; ``on_close`` is called once."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        for _, descriptors in self._queue:
            for number in descriptors:
                os.close(number)
        self._queue.clear()
        self._sock.close()
        self._on_close()
