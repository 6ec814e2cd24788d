"""Keeping a confined helper process running: the guard, the sidecars. While one is down, what needs it refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ringwall.confine.spec import Confinement
from ringwall.errors import RingwallError
from ringwall.runtime.children import Child, Children
from ringwall.runtime.output import OutputFilter

BACK_OFF: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start
STEADY_S: Final = 30.0  # one that ran this long starts again at once
LAST_WORDS: Final = 2048  # bytes of a process's stderr kept for `ringwall status`


class LastWords:
    """The end of what a process wrote to its standard error, filtered: for an operator who looks for a cause."""

    def __init__(self) -> None:
        self._text = b""
        self._screen = OutputFilter()
        self._transport: asyncio.ReadTransport | None = None

    async def open(self) -> int:
        """A descriptor for the process to write to; the caller closes it after the spawn."""
        ours, theirs = os.pipe()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(
            lambda: _Tail(self._take), os.fdopen(ours, "rb", buffering=0)
        )
        return theirs

    def _take(self, data: bytes) -> None:
        self._text = (self._text + self._screen.feed(data))[-LAST_WORDS:]

    @property
    def text(self) -> str:
        return self._text.decode(errors="replace")


class _Tail(asyncio.Protocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def data_received(self, data: bytes) -> None:
        self._take(data)


class Service:
    """One helper process with its sockets.

    Args:
        name: for records and `ringwall status`.
        children: starts processes.
        spec: how it is confined.
        sockets: the kinds of the sockets it gets as descriptors 3, 4, ...
        connect: called with our ends once it runs; raises RingwallError when it is not as it must be.
        report: called with (name, what) whenever it ends or cannot start.

    """

    def __init__(
        self,
        *,
        name: str,
        children: Children,
        spec: Callable[[], Confinement],
        sockets: Sequence[socket.SocketKind],
        connect: Callable[[Sequence[socket.socket]], Awaitable[None]],
        report: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.restarts = -1
        self.fault = ""
        self.words = LastWords()
        self.child: Child | None = None
        self._children = children
        self._spec = spec
        self._sockets = tuple(sockets)
        self._connect = connect
        self._report = report
        self._stopped = False

    async def run(self) -> None:
        """Start it, and again whenever it ends, until ``stop``."""
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopped:
            started = loop.time()
            self.restarts += 1
            try:
                status = await self._life()
                self.fault = f"ended with status {status}"
            except RingwallError as fault:
                self.fault = str(fault)
            self.ready.clear()
            if self._stopped:
                return
            await self._report(self.name, self.fault)
            failures = 0 if loop.time() - started > STEADY_S else failures + 1
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])

    async def _life(self) -> int:
        """From spawn to end."""
        pairs = [socket.socketpair(socket.AF_UNIX, kind) for kind in self._sockets]
        self.words = LastWords()
        errors = await self.words.open()
        try:
            theirs = {3 + number: pair[1].fileno() for number, pair in enumerate(pairs)}
            child = self.child = await self._children.spawn(self._spec(), {2: errors, **theirs})
        except BaseException:
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            os.close(errors)
            for _, his in pairs:
                his.close()
        try:
            await self._children.go(child)
            await self._connect([ours for ours, _ in pairs])
            self.fault = ""
            self.ready.set()
            return await asyncio.shield(child.ended)
        except BaseException:
            if not child.ended.done():
                self._children.signal(child, signal.SIGKILL)
            raise
        finally:
            child.close()

    def stop(self) -> None:
        """Do not start it again, and end it now."""
        self._stopped = True
        self.kill()

    def kill(self) -> None:
        """End this process; the service starts a new one."""
        if self.child is not None and not self.child.ended.done():
            self._children.signal(self.child, signal.SIGKILL)
