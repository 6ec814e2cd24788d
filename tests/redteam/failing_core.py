"""A whole Ringwall whose rings fail on demand: ``failing_core.py --state … --manifest …``, as ``ringwall up``.

The file ``fault`` beside the manifest says which one fails now, and how: ``RING HOW``, or ``guard gone`` and
``sidecar gone``, after which that helper cannot be started again. Composed here as the ablation's liars are: the
runtime cannot reach this.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringwall import running
from ringwall.call import Call, Chunk, Facts, RingName, Subject
from ringwall.confine.spec import Confinement
from ringwall.confine.zygote import Zygote
from ringwall.errors import ConfinementError
from ringwall.interface import Passage, Ring, Targets
from ringwall.runtime import core
from ringwall.runtime.state import State
from ringwall.runtime.supervisor import Supervisor
from ringwall.wall import RING_SECONDS, Wall

PATIENCE = 0.05  # seconds that the wall grants a ring which hangs
RELEASE_SECONDS = running.RELEASE_SECONDS


def fault_of(manifest: Path) -> tuple[str, str]:
    """Who fails now, and how."""
    file = manifest.parent / "fault"
    name, _, how = (file.read_text() if file.exists() else "").partition(" ")
    return name, how


class Failing:
    """A ring in front of a true one."""

    def __init__(self, ring: Ring, manifest: Path) -> None:
        self.name: RingName = ring.name
        self._ring = ring
        self._manifest = manifest

    def _how(self) -> str:
        name, how = fault_of(self._manifest)
        return how if name == self.name else ""

    async def enter(self, call: Call, facts: Facts) -> Any:
        how = "" if call.kind == "operate" else self._how()
        match how:
            case "raises":
                raise OSError("broken")
            case "hangs":
                await asyncio.Event().wait()
            case "answers nothing":
                return None
            case "answers garbage":
                return Garbage()
        passage = await self._ring.enter(call, facts)
        if how == "finds garbage":
            facts[self.name] = "all is well"  # type: ignore[assignment]
        return FailingPassage(passage, how) if how else passage

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        if self._how():
            raise OSError("broken")
        return await self._ring.lists(subject, targets)


class Garbage:
    """No passage, though it looks like one."""

    verdict = "allowed"

    async def leave(self, *_: object) -> None:
        return None


class FailingPassage:
    """A passage that lets the call in and fails on the way back: at once, behind the first piece, or at the end."""

    def __init__(self, passage: Passage, how: str) -> None:
        self.verdict = passage.verdict
        self.leave = passage.leave
        self._passage = passage
        self._how = how
        self._begun = False

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        if self._how.endswith("on the way back") or (self._begun and self._how.endswith("in the middle")):
            return await self._fail()
        self._begun = True
        return await self._passage.release(chunk)

    async def finish(self) -> Sequence[Chunk]:
        if self._how.endswith("at the end"):
            return await self._fail()
        return await self._passage.finish()

    async def _fail(self) -> Sequence[Chunk]:
        if self._how.startswith("raises"):
            raise OSError("broken")
        if self._how.startswith("hangs"):
            await asyncio.Event().wait()
        return ["all of it"]  # type: ignore[list-item]


class ImpatientWall(Wall):
    """Grants a ring that hangs less time, and only that one: on a busy machine the others need theirs."""

    manifest = Path()

    async def _ask(self, ring: Ring, call: Call, facts: Facts) -> Passage:
        name, how = fault_of(self.manifest)
        self._ring_seconds = PATIENCE if (name, how) == (ring.name, "hangs") else RING_SECONDS
        running.RELEASE_SECONDS = PATIENCE if how.startswith("hangs ") else RELEASE_SECONDS
        return await super()._ask(ring, call, facts)


class FailingCore(core.Core):
    """Every ring can fail; a helper that is gone stays away."""

    def compose(self) -> Mapping[RingName, Ring]:
        return {name: Failing(ring, self.manifest.path) for name, ring in super().compose().items()}

    def confine(self, spec: Confinement) -> Confinement:
        if fault_of(self.manifest.path) == (spec.profile, "gone"):
            raise ConfinementError(f"{spec.name} is kept away", code="kept_away")
        return spec


def main() -> int:
    """As supervisor, or as its core."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--control", type=int)
    options = parser.parse_args()
    if options.control is not None:
        ImpatientWall.manifest = options.manifest
        core.Wall = ImpatientWall  # type: ignore[misc]
        return core.main(FailingCore)
    supervisor = Supervisor(zygote=Zygote.start(), state=State.open(options.state).root, manifest=options.manifest,
                            core=(sys.executable, __file__))
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    sys.exit(main())
