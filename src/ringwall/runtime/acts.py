"""What operators may do beside starting agents: one function a verb, run only behind the wall."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec

from ringwall.call import Call, CallId, Chunk, Facts, Json, Last
from ringwall.clock import Clock
from ringwall.errors import BadInput, RingwallError
from ringwall.interface import Effect

Act = Callable[[Call], Awaitable[Json]]
"""Does what a judged and recorded call of an operator asks, and gives the answer. Raises RingwallError."""

RUN: Final = "run"  # the verb that starts an agent: its answer is a stream, so it is the launcher's
_T = TypeVar("_T")


class Acts:
    """Implements ``interface.Effect`` for kind "operate".

    Args:
        launcher: the effect behind ``run``.
        acts: verb -> act.

    """

    def __init__(self, launcher: Effect, acts: Mapping[str, Act]) -> None:
        self._launcher = launcher
        self._acts = dict(acts)

    def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """One chunk, the act's answer, then a Last. What an act raises is how it failed, with its remedy."""
        return self._launcher.run(call, facts) if call.target.name == RUN else self._act(call)

    async def _act(self, call: Call) -> AsyncGenerator[Chunk | Last, None]:
        act = self._acts.get(call.target.name)
        if act is None:
            yield _failed(BadInput(f"nothing answers to {call.target.name[:80]!a} here", code="unknown_verb"))
            return
        try:
            answer = await act(call)
        except RingwallError as fault:
            yield _failed(fault)
            return
        yield Chunk(value=answer)
        yield Last(end="done")


class Arrivals:
    """When the acts under way arrived, on the monotonic clock: before anything was asked about them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[CallId, float] = {}

    @contextmanager
    def of(self, call: Call, at: float) -> Generator[None]:
        """This act is under way, and arrived then."""
        self._at[call.id] = at
        try:
            yield
        finally:
            self._at.pop(call.id, None)

    def at(self, call: CallId) -> float:
        """When it arrived; now, for one that came another way."""
        return self._at.get(call, self._clock.monotonic())

    def now(self) -> float:
        """What to note for an act that arrives."""
        return self._clock.monotonic()


def arguments(call: Call, of: type[_T]) -> _T:
    """The arguments of an operator's call as a ``msgspec.Struct`` that forbids unknown fields.

    Raises:
        BadInput: ``bad_act``; they are not what this verb takes.

    """
    try:
        return msgspec.convert(call.args, of, strict=True)
    except msgspec.ValidationError as fault:
        raise BadInput(f"{call.target.name}: {fault}", code="bad_act", remedy="see docs/operators.md") from None


def _failed(fault: RingwallError) -> Last:
    return Last(end="failed", error={"code": fault.code, "reason": fault.cause, "remedy": fault.remedy})
