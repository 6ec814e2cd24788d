"""A whole Ringwall whose core is killed between writing a freeze down and carrying it out, once for each file
``die`` beside the manifest: ``dying_core.py --state … --manifest …``, as ``ringwall up``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ringwall.call import Call, Denied
from ringwall.confine.zygote import Zygote
from ringwall.running import Halted
from ringwall.runtime import core
from ringwall.runtime.freeze import Freeze
from ringwall.runtime.launch import Launcher
from ringwall.runtime.state import State
from ringwall.runtime.supervisor import Supervisor
from ringwall.wall import Wall


class DyingWall(Wall):
    """Ends the core instead of the calls."""

    die = Path()

    async def cancel(self, matching: Callable[[Call], bool], why: Denied) -> Halted:
        die_if(self.die)
        return await super().cancel(matching, why)


class DyingLauncher(Launcher):
    """Ends the core instead of the agents."""

    def kill(self, freeze: Freeze) -> list[asyncio.Future[int]]:
        die_if(DyingWall.die)
        return super().kill(freeze)


def die_if(told: Path) -> None:
    if told.exists():
        told.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """As supervisor, or as its core."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--control", type=int)
    options = parser.parse_args()
    if options.control is not None:
        DyingWall.die = options.manifest.parent / "die"
        core.Wall, core.Launcher = DyingWall, DyingLauncher  # type: ignore[misc]
        return core.main(core.Core)
    supervisor = Supervisor(zygote=Zygote.start(), state=State.open(options.state).root, manifest=options.manifest,
                            core=(sys.executable, __file__))
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    sys.exit(main())
