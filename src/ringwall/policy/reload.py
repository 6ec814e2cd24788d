"""Another policy without a restart: loaded beside the one that serves, written down, then put in its place.

A bundle that cannot be loaded changes nothing but what `ringwall status` and the log say. A decision that has begun
ends with the policy it began with.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from ringwall.call import Event, Json
from ringwall.errors import AuditError, BadInput, RingwallError
from ringwall.interface import Seq
from ringwall.policy.interface import PolicyBackend

WATCH_S: Final = 2.0  # between two looks at the file: an operator who replaced it waits no longer
MAX_CAUSE: Final = 1000  # characters of a fault in the log
Signature = tuple[int, ...]


class Notes(Protocol):
    """The part of the journal that is needed here."""

    async def note(self, event: Event) -> Seq: ...


class _Held:
    """A backend and how many decisions it is asked for at this moment."""

    __slots__ = ("backend", "left", "users")

    def __init__(self, backend: PolicyBackend) -> None:
        self.backend = backend
        self.users = 0
        self.left = asyncio.Event()  # set when it was replaced and its last decision is made


class Reloading:
    """Implements ``PolicyBackend`` with the backend that is current when a decision begins."""

    def __init__(self, first: PolicyBackend) -> None:
        self._held = _Held(first)
        self._notes: Mapping[str, Json] = {}

    @property
    def revision(self) -> str:
        """The current policy's."""
        return self._held.backend.revision

    async def decide(self, entry_point: str, document: Json) -> Json:
        """See ``PolicyBackend.decide``."""
        held = self._held
        held.users += 1
        try:
            return await held.backend.decide(entry_point, document)
        finally:
            held.users -= 1
            if held is not self._held and not held.users:
                held.left.set()

    async def status(self) -> dict[str, Json]:
        """The current backend's, with what the reloader last noted."""
        return {**await self._held.backend.status(), **self._notes}

    def remark(self, notes: Mapping[str, Json]) -> None:
        """What ``status`` says beside what the backend says."""
        self._notes = dict(notes)

    async def replace(self, backend: PolicyBackend) -> None:
        """Decide with this one from now on; returns when the last decision of the old one is made."""
        old, self._held = self._held, _Held(backend)
        if old.users:
            await old.left.wait()
        await old.backend.close()

    async def close(self) -> None:
        """See ``PolicyBackend.close``."""
        await self._held.backend.close()


class Reloader:
    """Loads a bundle's policy: at start, when the file changes, and when an operator asks.

    Args:
        path: the bundle; None: the shipped policy, which never changes.
        load: reads and checks it; what it gives was not asked anything yet. Blocking; raises RingwallError.
        journal: where each change and each bad bundle is written down.
        sleep: ``asyncio.sleep``, for the watch.

    """

    def __init__(self, path: Path | None, load: Callable[[], PolicyBackend], journal: Notes,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._path = path
        self._load = load
        self._journal = journal
        self._sleep = sleep
        self._seen = signature(path)
        self._busy = asyncio.Lock()
        self.backend = Reloading(load())  # what is wrong now keeps the core from starting

    async def reload(self, by: str) -> Json:
        """Load the bundle anew, because an operator asks; ``by`` names him.

        Returns:
            ``{"revision": ..., "before": ..., "changed": ...}``.

        Raises:
            BadInput: ``no_bundle``, none is configured.
            PolicyError: the bundle is bad: the policy that served goes on serving.
            AuditError: the change cannot be written down: likewise.

        """
        if self._path is None:
            raise BadInput("no bundle is configured: the policy that ships with Ringwall decides", code="no_bundle",
                           remedy="name one under [policy] bundle and restart `ringwall up`")
        async with self._busy:
            self._seen = signature(self._path)
            return await self._reload(by)

    async def watch(self) -> None:
        """Reload whenever the file is another. Runs until it is cancelled."""
        while self._path is not None:
            await self._sleep(WATCH_S)
            async with self._busy:
                found = signature(self._path)
                if found == self._seen:
                    continue
                try:
                    await self._reload("watch")
                except AuditError:
                    continue  # not written down: tried again until it is
                except RingwallError:
                    pass  # noted, and not tried again before the file changes
                self._seen = found

    async def _reload(self, by: str) -> Json:
        before = self.backend.revision
        try:
            made = await asyncio.to_thread(self._load)  # a plan takes a tenth of a second to compile
        except RingwallError as fault:
            self.backend.remark({"stale": fault.cause[:MAX_CAUSE], "stale_code": fault.code,
                                 "stale_remedy": fault.remedy})
            await self._note("policy_refused", {"by": by, "revision": before, "code": fault.code,
                                                "cause": fault.cause[:MAX_CAUSE]})
            raise
        changed = made.revision != before
        try:
            if changed:
                await self._note("policy_loaded", {"by": by, "revision": made.revision, "before": before})
        except AuditError as fault:
            self.backend.remark({"stale": fault.cause, "stale_code": fault.code, "stale_remedy": fault.remedy})
            await made.close()
            raise
        self.backend.remark({})
        await self.backend.replace(made)
        return {"revision": made.revision, "before": before, "changed": changed}

    async def _note(self, kind: str, body: Mapping[str, Json]) -> None:
        await self._journal.note(Event(type=kind, tenant="system", body=body))


def signature(path: Path | None) -> Signature:
    """What changes when a file is written or replaced; empty: it is not there."""
    if path is None:
        return ()
    try:
        found = os.stat(path)  # noqa: PTH116 (follows links, as opening does)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
