"""A core that a benchmark can tell things, and a wall that can be made to answer at once.

One JSON object a line on the socket that ``RINGWALL_BENCH_CONTROL`` names: ``{"do": ..., ...}``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from core import BenchCore

import ringwall.runtime.core as composed
from ringwall.call import Call, Chunk, Json, Kind, Last, Peer
from ringwall.interface import Effect, HeldCall, Refusal
from ringwall.running import Running
from ringwall.runtime.process import main
from ringwall.wall import Wall

CONTROL: Final = os.environ.get("RINGWALL_BENCH_CONTROL", "")
TOLD: Final[Json] = {"message": {"messageId": "a", "role": "ROLE_AGENT", "parts": [{"text": "you said hello"}]}}


class AtOnce:
    """A call that no ring saw: a message's answer is there already, an SVID is issued."""

    record = ""

    def __init__(self, call: Call, effect: Effect) -> None:
        self.last: Last | None = None
        self._call = call
        self._effect = effect

    async def chunks(self) -> AsyncIterator[Chunk]:
        if self._call.kind == "message":
            yield Chunk(value=TOLD)
            self.last = Last(end="done")
            return
        async for item in self._effect.run(self._call, {}):
            if isinstance(item, Last):
                self.last = item
            else:
                yield item


class QuickWall(Wall):
    """The wall; or, while ``quick``, only its resolver for what peers send and for SVIDs: no ring, no record."""

    quick = False

    def __init__(self, *, effects: Mapping[Kind, Effect], **named: Any) -> None:
        super().__init__(effects=effects, **named)
        self._by_kind = effects
        self.passed = 0
        self.refused = 0

    async def admit(self, origin: Any, kind: Kind, raw: bytes, *, counted: bool = False) -> Call | Refusal:
        found = await super().admit(origin, kind, raw, counted=counted)
        self.refused += isinstance(found, Refusal)
        return found

    @asynccontextmanager
    async def perform(self, call: Call) -> AsyncGenerator[Running | HeldCall | Refusal, None]:
        if self.quick and (call.kind == "secret" or isinstance(call.subject, Peer)):
            self.passed += 1
            yield AtOnce(call, self._by_kind[call.kind])  # type: ignore[misc]
            return
        async with super().perform(call) as passage:
            yield passage


composed.Wall = QuickWall  # type: ignore[misc]  # (the core makes its wall of this)


class ToldCore(BenchCore):
    """What it is told is a method ``do_...``."""

    wall: QuickWall

    async def run(self) -> int:
        server = await asyncio.start_unix_server(self._told, CONTROL)
        try:
            return await super().run()
        finally:
            server.close()

    def do_wall(self, *, quick: bool) -> Json:
        """Let the wall answer at once, or not; what passed since it was asked last."""
        passed, refused = self.wall.passed, self.wall.refused
        self.wall.quick, self.wall.passed, self.wall.refused = quick, 0, 0
        return {"passed": passed, "refused": refused}

    def do_pids(self) -> Json:
        """The processes that serve."""
        sidecars = {one["name"]: one["pid"] for one in self.helpers.status()["processes"]}
        return {"core": os.getpid(), **sidecars}

    async def _told(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: dict[str, Any] = json.loads(await reader.readline())
        try:
            found = getattr(self, f"do_{asked.pop('do')}")(**asked)
            answer = await found if inspect.isawaitable(found) else found
        except Exception as fault:  # noqa: BLE001 (said to the benchmark, which ends)
            answer = {"fault": repr(fault)}
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()


if __name__ == "__main__":
    sys.exit(main(ToldCore))
