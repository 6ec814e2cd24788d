"""The supervisor's side of the zygote: start it first, then ask it for confined children.

zygote = Zygote.start()                      # single-threaded, before secrets, before asyncio
child = await zygote.spawn(spec, {0: stdin, 1: stdout, 2: stderr})
...register child.pidfd, record child.self_test...
await zygote.go(child.id)                    # now it runs
status = await zygote.wait(child.id)
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ringwall.confine import nursery
from ringwall.confine.remedies import remedy
from ringwall.confine.spec import Confinement, parse_object, string_map
from ringwall.errors import BadInput, ConfinementError

SPAWN_SECONDS: Final = 20.0  # a bind source on a dead network file system hangs for ever; usual is 8 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """A child that has applied everything, passed its self-test through and is blocked before exec.

    Args:
        id: for go, wait and signal.
        pid: as this process counts.
        pidfd: the caller's to close; key of its identity.
        pidns_fd: of ``/proc/PID/ns/pid``, the caller's to close. Without the layer ``namespaces`` it names the
            host's own: whoever compares descendants with it must not.
        self_test: probe name -> errno name, or ``SUCCEEDED``.
        door: listening on the port of its ``Loopback.door``, the caller's to close; None: it has none.
        inside: unconnected TCP sockets of its network, the caller's to close.

    """

    id: int
    pid: int
    pidfd: int
    pidns_fd: int
    self_test: Mapping[str, str]
    door: int | None = None
    inside: tuple[int, ...] = ()


@dataclass(slots=True)
class _Known:
    """What the client keeps of one child until its exit is collected."""

    ready: asyncio.Future[Mapping[str, str]]
    running: asyncio.Future[None]
    ended: asyncio.Future[int]
    expected: int  # how many sockets it is to hand out
    pid: int = 0
    pidfd: int = -1
    pidns_fd: int = -1
    sockets: list[int] = field(default_factory=list[int])  # until they are handed out

    def fail(self, error: ConfinementError) -> None:
        """Whoever waits next learns of it; the rest is settled silently."""
        for future in (self.ready, self.running, self.ended):
            if not future.done():
                future.set_exception(error)
                future.exception()  # marked as retrieved: not every future has a waiter


class Zygote:
    """One zygote process and its children. Build it with :meth:`start`; use it from one event loop."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._sock = sock
        self._pid = pid
        self._known: dict[int, _Known] = {}
        self._next = 1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gone = False
        self._sending = asyncio.Lock()

    @classmethod
    def start(cls) -> Zygote:
        """Fork the zygote now. Raises ConfinementError in a process with threads, whose copy is no copy."""
        if len(os.listdir("/proc/self/task")) != 1:
            raise ConfinementError(
                "the zygote must be started before any thread",
                code="zygote_too_late",
                remedy="call Zygote.start() first",
            )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            gc.freeze()  # what was imported stays shared with the children
            _keep_only(theirs.fileno())
            nursery.main(theirs)
        theirs.close()
        ours.setblocking(False)
        return cls(ours, pid)

    @property
    def pid(self) -> int:
        """The zygote's own process number."""
        return self._pid

    async def spawn(self, spec: Confinement, fds: Mapping[int, int]) -> Spawned:
        """Start a child up to right before its exec.

        Args:
            spec: what it is to be.
            fds: the child's number -> our descriptor, which stays ours. All others are closed inside; 0, 1 and 2
                default to /dev/null.

        Raises:
            ConfinementError: it could not be set up: cause ``step: ERRNO``, with the remedy.
            BadInput: the specification or ``fds`` are too large.

        """
        _check(spec, fds)
        loop = self._attach()
        number, self._next = self._next, self._next + 1
        known = _Known(loop.create_future(), loop.create_future(), loop.create_future(), _sockets(spec))
        self._known[number] = known
        message = {"op": "spawn", "id": number, "spec": spec.to_json().decode("ascii"), "fds": list(fds)}
        try:
            await self._send(message, list(fds.values()))
            async with asyncio.timeout(SPAWN_SECONDS):
                results = await known.ready
        except BaseException as fault:
            self._abandon(number)
            if isinstance(fault, TimeoutError):
                raise ConfinementError(
                    f"{spec.name}: the set-up took longer than {SPAWN_SECONDS:g} seconds",
                    remedy="is a bound folder on a file system that hangs?",
                ) from fault
            raise
        has_door = spec.loopback is not None and spec.loopback.door is not None
        sockets, known.sockets = tuple(known.sockets), []
        return Spawned(
            id=number,
            pid=known.pid,
            pidfd=os.dup(known.pidfd),
            pidns_fd=known.pidns_fd,
            self_test=results,
            door=sockets[0] if has_door else None,
            inside=sockets[1:] if has_door else sockets,
        )

    async def go(self, id: int) -> None:  # noqa: A002 (the name of the field it takes)
        """Let the child start its program; returns when it has. Raises ConfinementError ``exec: ERRNO``."""
        known = self._of(id)
        await self._send({"op": "go", "id": id}, [])
        try:
            await asyncio.shield(known.running)
        except ConfinementError:
            self._abandon(id)
            raise

    async def wait(self, id: int) -> int:  # noqa: A002
        """The exit status as shells count: 0 to 255, or 128 + signal. Once per child: it is forgotten then."""
        known = self._of(id)
        try:
            return await asyncio.shield(known.ended)
        finally:
            if known.ended.done():
                self._abandon(id)

    def signal(self, id: int, signum: int) -> None:  # noqa: A002
        """Signal the child; SIGKILL takes its whole process namespace with it. No error if it is gone."""
        known = self._known.get(id)
        if known is not None and known.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(known.pidfd, signum)

    def close(self) -> None:
        """End the zygote and every child, and collect the zygote."""
        self._lost()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _of(self, number: int) -> _Known:
        known = self._known.get(number)
        if known is None:
            raise ConfinementError(f"there is no child {number}", code="no_such_child")
        return known

    def _attach(self) -> asyncio.AbstractEventLoop:
        if self._gone:
            raise _gone()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            loop.add_reader(self._sock.fileno(), self._readable)
        return loop

    async def _send(self, message: Mapping[str, Any], fds: list[int]) -> None:
        loop, raw = self._attach(), json.dumps(message).encode("ascii")
        async with self._sending:
            while True:
                try:
                    socket.send_fds(self._sock, [raw], fds)
                    return
                except BlockingIOError:
                    await _writable(loop, self._sock)
                except OSError as fault:
                    self._lost()
                    raise _gone() from fault

    def _readable(self) -> None:
        try:
            raw, fds, _, _ = socket.recv_fds(
                self._sock, nursery.MAX_MESSAGE, nursery.MAX_FDS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            raw, fds = b"", []
        if not raw:
            self._lost()
            return
        message = parse_object(raw)
        known = self._known.get(message.get("id", 0))
        if known is None:  # given up meanwhile
            for fd in fds:
                if message["op"] == "started" and fd == fds[0]:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
                os.close(fd)
            return
        self._learn(known, message, fds)

    def _learn(self, known: _Known, message: Mapping[str, Any], fds: list[int]) -> None:
        match message:
            case {"op": "started", "pid": int(pid)}:
                known.pid, (known.pidfd, known.pidns_fd) = pid, fds
            case {"op": "ready", "self_test": results} if not known.ready.done():
                known.sockets = fds
                if len(fds) == known.expected:
                    known.ready.set_result(string_map(results, "self_test"))
                else:
                    known.fail(_cut(known))
            case {"op": "running"} if not known.running.done():
                known.running.set_result(None)
            case {"op": "exited", "status": int(status)} if not known.ended.done():
                if not known.running.done():
                    known.running.set_result(None)
                known.ended.set_result(status)
            case {"op": "failed", "step": str(step), "code": str(code), "about": str(about)}:
                known.fail(_failure(step, code, about))
            case _:
                self._lost()

    def _abandon(self, number: int) -> None:
        """Forget a child, killing it if it lives."""
        self.signal(number, signal.SIGKILL)
        known = self._known.pop(number, None)
        if known is None:
            return
        if known.pidfd >= 0:
            os.close(known.pidfd)
        if known.pidns_fd >= 0 and (not known.ready.done() or known.ready.cancelled() or known.ready.exception()):
            os.close(known.pidns_fd)  # never handed out
        for fd in known.sockets:
            os.close(fd)

    def _lost(self) -> None:
        """The zygote is gone: so must be all its children. They die with it; this makes sure."""
        if self._gone:
            return
        self._gone = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for number, known in list(self._known.items()):
            self.signal(number, signal.SIGKILL)
            known.fail(_gone())


def _check(spec: Confinement, fds: Mapping[int, int]) -> None:
    root = os.geteuid() == 0
    if root and spec.uid is None:
        raise ConfinementError(
            f"{spec.name}: started by root, it needs a uid of its own",
            code="uid_needed",
            remedy="set uid to a number above those of real users",
        )
    if not root and spec.uid not in {None, os.geteuid()}:
        raise ConfinementError(
            f"{spec.name}: only root can start it as uid {spec.uid}", code="uid_not_ours", remedy="leave uid out"
        )
    if len(fds) > nursery.MAX_FDS or any(not 0 <= target < spec.limits.open_files for target in fds):
        raise BadInput(
            f"descriptors must be at most {nursery.MAX_FDS}, numbered below open_files", code="bad_confinement"
        )


def _sockets(spec: Confinement) -> int:
    return spec.loopback.sockets if spec.loopback is not None else 0


def _cut(known: _Known) -> ConfinementError:
    """The kernel drops what does not fit into the receiver's limit."""
    return ConfinementError(
        f"loopback: of {known.expected} descriptors {len(known.sockets)} arrived",
        code="too_few_descriptors",
        remedy="raise the limit on open files (ulimit -n) of ringwall up",
    )


def _failure(step: str, code: str, about: str) -> ConfinementError:
    where = f" ({about})" if about else ""
    return ConfinementError(f"{step}: {code}{where}", remedy=remedy(step, code))


def _gone() -> ConfinementError:
    return ConfinementError(
        "the zygote is gone and its children with it", code="zygote_gone", remedy="restart ringwall up"
    )


async def _writable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    free = loop.create_future()
    loop.add_writer(sock.fileno(), lambda: free.done() or free.set_result(None))
    try:
        await free
    finally:
        loop.remove_writer(sock.fileno())


def _keep_only(fd: int) -> None:
    """Of the supervisor's descriptors the zygote keeps its socket and standard error."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1):
        os.dup2(null, standard)
    os.closerange(3, fd)
    os.closerange(fd + 1, 0x7FFFFFFF)
