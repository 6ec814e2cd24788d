"""Start a supervisor with the core that a benchmark names: ``start.py STATE MANIFEST CORE_COMMAND...``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ringwall.confine.zygote import Zygote
from ringwall.runtime.state import State
from ringwall.runtime.supervisor import Supervisor

if __name__ == "__main__":
    state, manifest, *core = sys.argv[1:]
    supervisor = Supervisor(
        zygote=Zygote.start(), state=State.open(Path(state)).root, manifest=Path(manifest), core=core
    )
    sys.exit(asyncio.run(supervisor.run()))
