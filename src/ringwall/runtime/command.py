"""Operators, put together: who they are, what they may ask for, what takes two of them, and the kill switch."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType

from ringwall.audit.journal import AuditJournal
from ringwall.call import Call, Denied, Json, Operator
from ringwall.clock import Clock
from ringwall.doors.listener import OperatorServer
from ringwall.errors import BadInput, RingwallError
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import Probe
from ringwall.interface import Journal
from ringwall.manifest.types import Manifest
from ringwall.running import Halted
from ringwall.runtime.acts import Act, Arrivals, arguments
from ringwall.runtime.freeze import FREEZE, LOG, Freeze, FreezeOrder, Freezer, Freezes
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.launch import Launcher
from ringwall.runtime.operating import STOP, Operating, stopping
from ringwall.runtime.second import TwoPeople
from ringwall.runtime.uploads import Uploads
from ringwall.wall import Wall

Cancel = Callable[[Callable[[Call], bool], Denied], Awaitable[Halted]]


class Command:
    """What the core asks about operators.

    Args:
        manifest: who may operate, and what can be frozen.
        journal: where acts are written.
        clock: for deadlines and for how long a freeze took.

    """

    def __init__(self, *, manifest: Manifest, journal: Journal, clock: Clock) -> None:
        self._manifest = manifest
        self._journal = journal
        self._clock = clock
        self._arrivals = Arrivals(clock)
        self._people = TwoPeople(manifest.operators, journal, clock)
        self._tightening: dict[str, Act] = {}
        self.freezes = Freezes()
        self.uploads = Uploads(clock)

    def peers(self, probe: Probe) -> OperatorPeers:
        """Who is at the operator socket."""
        named = {one.uid: name for name, one in self._manifest.operators.named.items()}
        return OperatorPeers(probe, named=named)

    def restore(self, audit: AuditJournal) -> None:
        """What the log says is frozen. Raises AuditError."""
        found = audit.records(LOG, types=frozenset({"freeze", "thaw"}))
        self.freezes.restore((one.type, f"{LOG}/{one.number}", one.time, one.body) for one in found)

    def acts(
        self, *, launcher: Launcher, helpers: Helpers, cancel: Cancel, others: Mapping[str, Act],
        tightening: Mapping[str, Act] = MappingProxyType({}),
    ) -> dict[str, Act]:
        """Every act by its verb, those that need two people behind that rule.

        ``tightening``: those of the others that only tighten, and so happen although a part is down.
        """
        freezer = Freezer(
            freezes=self.freezes,
            manifest=self._manifest,
            journal=self._journal,
            cancel=cancel,
            kill=lambda freeze: _kill(freeze, launcher, helpers),
            arrived=self._arrivals.at,
            clock=self._clock,
        )
        self._tightening = {FREEZE: freezer.freeze, STOP: stopping(launcher.runs), **tightening}
        return self._people.guarded({"thaw": freezer.thaw, **self._tightening, **others})

    def operating(self, *, wall: Wall, launcher: Launcher, status: Callable[[], Awaitable[Json]]) -> Operating:
        """What stands behind the operator socket."""
        return Operating(
            wall=wall,
            launcher=launcher,
            operators=self._manifest.operators,
            journal=self._journal,
            arrivals=self._arrivals,
            tightening=self._tightening,
            ahead=self._ahead,
            status=status,
            uploads=self.uploads,
        )

    def _ahead(self, call: Call) -> AbstractContextManager[None]:
        """While a freeze by somebody whose role has it is on its way, what it would cover waits."""
        who = call.subject
        if call.target.name != FREEZE or not isinstance(who, Operator):
            return nullcontext()
        if FREEZE not in self._manifest.operators.verbs(who.name, who.uid):
            return nullcontext()
        try:
            order = arguments(call, FreezeOrder)
        except BadInput:
            return nullcontext()
        return self.freezes.pausing(
            Freeze(scope=order.scope, name=order.name, reason="", by=who.name, at=self._clock.now())
        )

    async def open(self, server: OperatorServer, path: Path) -> None:
        """Listen at the state folder's socket, and at the one for other users if there is one.

        Raises:
            RingwallError: the folder of the latter is somebody else's.

        """
        await server.open(path)
        shared = self._manifest.operators.socket
        if shared is not None:
            _check_folder(shared.parent)
            await server.open(shared, shared=True)

    def status(self) -> dict[str, Json]:
        """For `ringwall status` and `doctor`."""
        return {"frozen": self.freezes.status(), "proposed": self._people.status()}


def _kill(freeze: Freeze, launcher: Launcher, helpers: Helpers) -> list[asyncio.Future[int]]:
    """The processes of what is frozen: agents, or every tool server of this name."""
    if freeze.scope == "tool":
        return helpers.kill_server(freeze.name.partition("/")[0], signal.SIGKILL)
    return launcher.kill(freeze)


def _check_folder(folder: Path) -> None:
    """Whoever can write the folder can put another socket there. Raises RingwallError."""
    try:
        found = folder.stat()
    except OSError as fault:
        raise RingwallError(
            f"the folder of the operators' socket cannot be used: {fault}",
            code="bad_socket_folder",
            remedy=f"mkdir -m 755 {folder}",
        ) from fault
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise RingwallError(
            f"others may write {folder}, the folder of the operators' socket",
            code="bad_socket_folder",
            remedy="use a folder that belongs to the user who runs `ringwall up`, with mode 755",
        )
