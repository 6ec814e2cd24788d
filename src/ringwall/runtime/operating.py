"""What the operator socket can do, behind the wall: start an agent, follow it, feed it, stop it, look around."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

from ringwall.call import Json
from ringwall.interface import HeldCall, Origin, Refusal, Stopped
from ringwall.runtime.launch import Launcher
from ringwall.runtime.runs import Run
from ringwall.wall import Wall

# What may be forwarded to an agent; SIGSTOP and the like would hold the terminal without saying why.
FORWARDED: Final = frozenset(
    {"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGWINCH"}
)


class Operating:
    """Implements ``doors.interface.Runs``."""

    def __init__(self, *, wall: Wall, launcher: Launcher, status: Callable[[], Awaitable[Json]]) -> None:
        self._wall = wall
        self._launcher = launcher
        self._status = status

    async def start(self, origin: Origin, raw: bytes) -> AsyncGenerator[dict[str, Json], None] | Refusal:
        """An operator's ``run``: a call like any other; what it starts is then followed."""
        call = await self._wall.admit(origin, "operate", raw)
        if isinstance(call, Refusal):
            return call
        started: dict[str, Json] | None = None
        try:
            async with self._wall.perform(call) as running:
                if isinstance(running, Refusal):
                    return running
                if isinstance(running, HeldCall):
                    return Refusal(code="approval_unavailable", reason=running.question, record=running.record)
                async for chunk in running.chunks():
                    started = chunk.value
                last, record = running.last, running.record
        except Stopped as stop:
            return Refusal(code=stop.denied.code, reason=stop.denied.reason, remedy=stop.denied.remedy)
        if started is None or last is None or last.end != "done":
            error: Mapping[str, str] = (last.error if last is not None else None) or {}
            return Refusal(
                code=error.get("code", "failed"), reason=error.get("reason", "the launch failed"), record=record
            )
        return _follow(self._launcher.runs[str(started["run"])], started)

    async def attach(self, origin: Origin, run: str) -> AsyncGenerator[dict[str, Json], None] | Refusal:
        """Follow a run that an earlier connection, or an earlier core, started."""
        found = self._launcher.runs.get(run)
        return _no_run(run) if found is None else _follow(found, None)

    async def stdin(self, origin: Origin, run: str, data: bytes, eof: bool) -> Refusal | None:
        """Input for the agent."""
        found = self._launcher.runs.get(run)
        if found is None:
            return _no_run(run)
        await found.write(data, eof=eof)
        return None

    async def signal(self, origin: Origin, run: str, name: str) -> Refusal | None:
        """Forward a signal."""
        found = self._launcher.runs.get(run)
        if found is None:
            return _no_run(run)
        if name not in FORWARDED:
            return Refusal(
                code="bad_signal",
                reason=f"{name} is not forwarded to agents",
                remedy="one of " + ", ".join(sorted(FORWARDED)),
            )
        found.stop(signal.Signals[name])
        return None

    async def status(self, origin: Origin) -> Json:
        """What runs, at which strength, and what is wrong."""
        return await self._status()


async def _follow(run: Run, started: dict[str, Json] | None) -> AsyncGenerator[dict[str, Json], None]:
    if started is not None:
        yield {"started": started}
    async for line in run.stream():
        yield dict(line)


def _no_run(run: str) -> Refusal:
    return Refusal(
        code="no_such_run", reason=f"nothing runs under {run[:64]!r}", remedy="`ringwall status` lists what runs"
    )
