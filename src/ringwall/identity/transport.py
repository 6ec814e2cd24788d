"""An asyncio transport over a Unix socket that knows which process sent each piece it reads.

SO_PEERPIDFD names whoever called connect(); a socket can be handed on after that, by fork or SCM_RIGHTS, to a
process that lives beside its owner. With SO_PASSPIDFD the kernel puts a pidfd of the sender beside every read
(SCM_PIDFD, unix(7)), and never joins what two processes sent into one read. Neither uvloop nor asyncio hands
control messages out, so accepting, reading and writing are done here, upon ``add_reader`` and ``add_writer``.

A process with CAP_SYS_ADMIN over its own pid namespace may name another process of that namespace as the sender
(unix(7), SCM_CREDENTIALS), and the kernel's pidfd follows that. Confined processes have no capability; one started
with ``--unconfined`` by root has, and can name others of the host.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

log = logging.getLogger(__name__)

SO_PASSPIDFD: Final = 76  # include/uapi/asm-generic/socket.h, Linux 6.5; Python has no name for it
SO_PASSRIGHTS: Final = 83  # the same, Linux 6.16: 0 lets nobody send descriptors to this socket
SCM_PIDFD: Final = 4  # include/linux/socket.h, Linux 6.5
READ: Final = 64 << 10  # bytes of one read; a request of ours is far smaller
# The pidfd, and before it as many descriptors as one message can carry (unix(7): SCM_MAX_FD): none pushes it out.
CONTROL: Final = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(4 * 253)
ACCEPTS: Final = 64  # connections taken at once, before others on the loop have their turn
CROWDED_SECONDS: Final = 1.0  # without a free descriptor or memory, accepting waits; as in asyncio
HIGH: Final = 64 << 10  # unsent bytes at which writing is to pause; it goes on at a quarter of it; as in asyncio
_INT: Final = struct.Struct("i")
_CLOEXEC, _TRUNCATED = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CTRUNC)  # as enumerations: 0.5 us more


class Receiver(Protocol):
    """An ``asyncio.Protocol`` that is asked about the sender of each piece before it gets it."""

    def connection_made(self, transport: Any, /) -> None: ...

    def connection_lost(self, exc: Exception | None, /) -> None: ...

    def data_received(self, data: bytes, /) -> None: ...

    def eof_received(self) -> bool | None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def sent_by(self, process: int | None) -> bool:
        """Whether what was read counts. If not, nothing more is read, and the connection ends.

        Args:
            process: pidfd of the sender, closed afterwards; None where the kernel named nobody, or not only him.

        """
        ...


class SenderTransport(asyncio.Transport):
    """One connection. Made by ``Acceptor``.

    Args:
        loop: stock asyncio's or uvloop's.
        sock: accepted, non-blocking, with SO_PASSPIDFD; closed when the connection is over.
        receiver: its protocol.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, receiver: Receiver) -> None:
        super().__init__({"socket": sock})
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._receiver = receiver
        self._unsent = bytearray()
        self._high, self._low = HIGH, HIGH // 4
        self._reading = False
        self._full = False  # the protocol was asked to pause
        self._closing = False
        self._ended = False  # by write_eof
        self._over = False  # connection_lost was called, or is about to be

    def start(self) -> None:
        """Tell the protocol, and begin to read."""
        try:
            self._receiver.connection_made(self)
        except BaseException:
            self.abort()
            raise
        self.resume_reading()

    # --- reading

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        """Harmless when repeated."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Harmless when repeated, and when the connection closes."""
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            data, control, flags, _ = self._sock.recvmsg(READ, CONTROL, _CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as fault:
            self._end(fault)
            return
        process, only = sender(control)
        try:
            if not data:
                self._hung_up()
            elif self._receiver.sent_by(process if only and not flags & _TRUNCATED else None):
                self._receiver.data_received(data)
            else:
                self.close()  # what the protocol had to say still goes out
        except BaseException:
            self.abort()
            raise  # to the loop, which reports it
        finally:
            if process is not None:
                os.close(process)

    def _hung_up(self) -> None:
        self.pause_reading()
        if not self._receiver.eof_received():
            self.close()

    # --- writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send now what the socket takes, and the rest when it takes more. Dropped once the connection closes."""
        if self._ended:
            raise RuntimeError("write_eof() was called before")
        if self._closing or not data:
            return
        if not self._unsent:
            sent = self._send(data)
            if sent == len(data) or self._over:
                return
            data = memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._writable)
        self._unsent += data
        if len(self._unsent) > self._high and not self._full:
            self._full = True
            self._receiver.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        """How much the socket took; a broken one ends the connection."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as fault:
            self._end(fault)
            return 0

    def _writable(self) -> None:
        with memoryview(self._unsent) as unsent:
            sent = self._send(unsent)
        if self._over:
            return
        del self._unsent[:sent]
        if self._full and len(self._unsent) <= self._low:
            self._full = False
            self._receiver.resume_writing()
        # The protocol may have written more, or closed.
        if self._unsent or self._over:
            return
        self._loop.remove_writer(self._fd)
        if self._closing:
            self._end(None)
        elif self._ended:
            self._shut()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nothing more is written after what is waiting; reading goes on. Harmless when repeated."""
        if self._ended or self._closing:
            return
        self._ended = True
        if not self._unsent:
            self._shut()

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as fault:
            self._end(fault)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As in asyncio. Raises ValueError unless ``high >= low >= 0``."""
        if high is None:
            high = HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and that at least 0")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    # --- the end

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self._receiver)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """The new protocol must be a ``Receiver`` too."""
        self._receiver = cast("Receiver", protocol)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Read nothing more, send what is waiting, then end. Harmless when repeated."""
        if self._closing:
            return
        self.pause_reading()
        self._closing = True
        if not self._unsent:
            self._end(None)

    def abort(self) -> None:
        """End now; what is waiting is lost. Harmless when repeated."""
        self._end(None)

    def _end(self, fault: Exception | None) -> None:
        """The protocol hears of it in the loop's next round, never from inside its own call."""
        if self._over:
            return
        self._over = True
        self.pause_reading()
        self._closing = True
        self._loop.remove_writer(self._fd)
        self._loop.call_soon(self._lost, fault)

    def _lost(self, fault: Exception | None) -> None:
        try:
            self._receiver.connection_lost(fault)
        finally:
            self._unsent.clear()
            self._sock.close()


class Acceptor:
    """Listens on a bound Unix socket; each connection gets a transport and a protocol of its own.

    Args:
        sock: bound, not listening yet; owned from now on.
        make: one protocol for each connection.
        backlog: of listen(2).

    Raises:
        OSError: the kernel has no SO_PASSPIDFD, or the socket cannot listen. The socket is the caller's then.

    """

    def __init__(self, sock: socket.socket, make: Callable[[], Receiver], *, backlog: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._make = make
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        prepare(sock)
        sock.listen(backlog)
        self._loop.add_reader(sock.fileno(), self._ready)

    def close(self) -> None:
        """Accept nobody any more; connections go on. Harmless when repeated."""
        if self._sock.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _ready(self) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as fault:
                self._wait(fault)
                return
            sock.setblocking(False)
            SenderTransport(self._loop, sock, self._make()).start()

    def _wait(self, fault: OSError) -> None:
        log.error("no connection can be accepted for %s s: %s", CROWDED_SECONDS, fault)
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(CROWDED_SECONDS, self._again)

    def _again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._ready)


def prepare(sock: socket.socket) -> None:
    """Have the kernel name senders, also of what is sent before accept; accepted sockets inherit it.

    Raises OSError where the kernel cannot.
    """
    sock.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
    except OSError:
        pass  # before Linux 6.16: whatever is passed is closed and refused instead


def sender(control: Sequence[tuple[int, int, bytes]]) -> tuple[int | None, bool]:
    """The sender's pidfd, and whether nothing else came along; passed descriptors are closed.

    The kernel puts an error number in place of a pidfd that it could not make, for want of descriptors.
    """
    found: int | None = None
    only = True
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, SCM_PIDFD) and len(data) == _INT.size and found is None:
            (number,) = _INT.unpack(data)
            found = number if number >= 0 else None
            continue
        only = False
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            for (descriptor,) in _INT.iter_unpack(data[: len(data) // _INT.size * _INT.size]):
                os.close(descriptor)
    return found, only
