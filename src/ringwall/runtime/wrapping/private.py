"""The private Ringwall of one wrapped server: its folder, its manifest, and the process tree that ends with us.

``wrap/NAME/ringwall.toml`` below the state folder is the manifest; ``wrap/NAME/1``, ``2`` … are state folders, one
for each client at a time, so that no two share sessions, labels or a log.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ringwall.confine.zygote import Zygote
from ringwall.errors import RingwallError, Unavailable
from ringwall.runtime.reading import read_manifest
from ringwall.runtime.state import State
from ringwall.runtime.unattested import client_socket
from ringwall.runtime.wrapping.listing import listed
from ringwall.runtime.wrapping.order import CLIENT, TENANT, Order, manifest

SLOTS: Final = 8  # clients of one server at a time; each has processes of its own
UP_S: Final = 90.0  # to the first answer on a busy machine; usual is 2 s
STOP_S: Final = 15.0  # what still runs then is killed
LOOK_S: Final = 0.05
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_TAIL: Final = 2000  # characters of a failed start that are shown


class Private:
    """A running private Ringwall. Use it as a context: everything ends with it.

    Args:
        order: what is wrapped.
        state: the state folder it lies below.

    """

    def __init__(self, order: Order, state: Path) -> None:
        self.order = order
        self._base = folder(order, state)
        self.manifest = self._base / "ringwall.toml"
        self.state, self._lock = _slot(self._base)
        self.door = client_socket(self.state.root, TENANT, CLIENT)
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> bool:
        """Write the manifest if there is none; True: it is new. Before any thread. Raises RingwallError."""
        if self.manifest.exists():
            self._check_command()
            return False
        zygote = Zygote.start()
        try:
            found = asyncio.run(listed(self.order, zygote=zygote, state=self.state, manifest=self.manifest))
        finally:
            zygote.close()
        fresh = self.manifest.with_suffix(".new")
        fresh.write_text(manifest(self.order, found))
        fresh.chmod(0o600)
        read_manifest(fresh)
        fresh.replace(self.manifest)
        return True

    def _check_command(self) -> None:
        """The file that was reviewed is for this very command."""
        server = read_manifest(self.manifest).tools.get(self.order.name)
        if server is None or server.command != self.order.command:
            raise RingwallError(
                f"{self.manifest} is for another command", code="other_command",
                remedy="give this one a name of its own (--name), or edit or delete that file",
            )

    def __enter__(self) -> Self:
        """Start it and wait until its door is open. Raises RingwallError with the end of what it said."""
        log = self.state.root / "up.log"
        command = (sys.executable, "-m", "ringwall.cli.main", "up", "--manifest", str(self.manifest), "--state",
                   str(self.state.root))
        self.door.unlink(missing_ok=True)
        ours = os.getpid()
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                preexec_fn=lambda: _die_with(ours),  # noqa: PLW1509 (no thread runs yet)
            )
        until = time.monotonic() + UP_S
        while not _listens(self.door):
            if self._process.poll() is not None or time.monotonic() > until:
                self.__exit__(None, None, None)
                said = log.read_text(errors="replace")[-_TAIL:].strip()
                raise Unavailable(f"the private Ringwall did not start: {said}", code="not_started",
                                  remedy=f"ringwall check {self.manifest}")
            time.sleep(LOOK_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None,
                 trace: TracebackType | None) -> None:
        """End it: politely, then not."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def ended(self) -> bool:
        """Wait until it ends, in a thread of its own; False: because it was told to."""
        process = self._process
        if process is not None:
            process.wait()
        return self._process is not None


def folder(order: Order, state: Path) -> Path:
    """Where everything about this server lies. Raises RingwallError: the state folder is not safe to use."""
    base = State.open(state).root / "wrap" / order.name
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    return base


def _slot(base: Path) -> tuple[State, int]:
    """A state folder that nobody uses now, held by its lock."""
    for number in range(1, SLOTS + 1):
        state = State.open(base / str(number))
        lock = os.open(state.root / "wrap.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return state, lock
    raise Unavailable(f"{SLOTS} clients use this server already", code="too_many_clients",
                      remedy="end one of them, or wrap it again under another --name")


def _die_with(parent: int) -> None:
    """In the child: end when the process that started us does, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True
