"""A process to be killed: writes intents and outcomes, and prints each acknowledged name."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.audit.support import a_call, opened, verdicts

from ringwall.call import Outcome


async def _write(state: Path) -> None:
    async with opened(state, segment=256 << 10) as journal:
        async def caller(name: int) -> None:
            for n in range(100_000):
                seq = await journal.intent(a_call({"text": "x" * (n * 37 % 5000)}, id=f"{name}.{n}"), verdicts())
                sys.stdout.write(f"{seq} {name}.{n}\n")
                sys.stdout.flush()
                await journal.outcome(seq, Outcome(end="done"))

        await asyncio.gather(*(caller(name) for name in range(4)))


asyncio.run(_write(Path(sys.argv[1])))
