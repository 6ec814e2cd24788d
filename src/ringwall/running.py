"""A call that was let through: its effect runs, and what comes back crosses the rings again, outward."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ringwall.call import Call, Chunk, Denied, Digest, End, Facts, Last, Outcome, Usage, canonical
from ringwall.clock import Clock, Limit
from ringwall.errors import RingwallError
from ringwall.interface import Effect, Passage, Stopped

log = logging.getLogger(__name__)

RELEASE_SECONDS = 5.0  # a ring that has not released a chunk by then stops the answer
MAX_RESULT_BYTES = 8 << 20  # what one call may return in all


class Running:
    """One allowed call. Iterate ``chunks()`` once; ``last`` and ``outcome()`` tell how it ended."""

    def __init__(
        self, *, call: Call, facts: Facts, record: str, effect: Effect, passages: Sequence[Passage], clock: Clock
    ) -> None:
        self.record = record
        self.last: Last | None = None
        self._call = call
        self._facts = facts
        self._effect = effect
        # Outward, the ring nearest the effect goes first and identity last.
        self._outward = tuple(reversed(passages))
        self._clock = clock
        self._started = clock.monotonic()
        self._stopped: Denied | None = None
        self._hash = hashlib.sha256()
        self._released = 0
        self._stream: AsyncGenerator[Chunk | Last, None] | None = None
        self._closed = False
        self._halted: Denied | None = None
        self._inside: asyncio.Task[object] | None = None  # who waits for the effect or a ring, while it waits there
        self._told: asyncio.Task[object] | None = None  # was cancelled by ``halt``, and has not heard of it yet
        self._ending = False  # somebody else than the reader of ``chunks`` ends the effect
        self.over_at: float | None = None  # since when the effect, which had begun, can do nothing more
        self._waiting: list[asyncio.Future[None]] = []

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Released pieces of the answer.

        Raises:
            Stopped: a ring stopped the answer; nothing after what was yielded gets out.
            RuntimeError: asked a second time, or after the call was settled: one intent is one effect.

        """
        if self._closed or self._stream is not None:
            raise RuntimeError("the effect of a call runs once, before the call is settled")
        if self._halted is not None:
            raise Stopped(self._halted)
        self._stream = self._effect.run(self._call, self._facts)
        task = self._inside = asyncio.current_task()
        try:
            try:
                async with aclosing(self._stream) as effect:
                    async for item in effect:
                        if isinstance(item, Last):
                            self.last = item
                            break
                        if not isinstance(item, Chunk):  # pyright: ignore[reportUnnecessaryIsInstance]
                            raise TypeError("the effect gave something that is no piece of an answer")
                        for chunk in await self._release(item, 0):
                            counted, self._inside = self._count(chunk), None
                            yield counted
                            self._inside = task
                            self._check()
            finally:
                self._left()
            for chunk in await self._finish():
                counted, self._inside = self._count(chunk), None
                yield counted
                self._inside = task
            self._check()
        except asyncio.CancelledError:
            await self._mine()
            raise
        except Stopped as stop:
            self._stopped = stop.denied
            raise
        except Exception as fault:  # noqa: BLE001 (an unknown end, said and logged)
            self._failed(fault)
        finally:
            self._inside = None
            self._heard()
        if self.last is None:
            self.last = Last(end="unknown", error={"code": "no_outcome", "reason": "the effect gave no outcome"})

    def _failed(self, fault: Exception) -> None:
        """The effect broke off. Raises Stopped if it was halted: being ended twice is no fault of its own."""
        if isinstance(fault, RingwallError):
            self.last = Last(end="failed", error={"code": fault.code, "reason": fault.cause})
            return
        if self._halted is not None:
            self._stopped = self._halted
            raise Stopped(self._halted) from fault
        # It may have happened. The fault's own words may carry what the effect read: they go to the core's
        # log only.
        log.error("the effect of %s failed unexpectedly", self.record, exc_info=fault)
        reason = f"the effect failed unexpectedly ({type(fault).__name__})"
        self.last = Last(end="unknown", usage=self.usage, error={"code": "effect_failed", "reason": reason})

    def halt(self, why: Denied) -> None:
        """End this call from another task: nothing more is released, and the effect is told to end.

        What has not begun never will. ``ended`` waits until what has begun can do nothing more.
        """
        if self._halted is None and not self._closed:
            self._halted = why
            if self._inside is not None:
                self._told = self._inside
                self._told.cancel()

    async def ended(self) -> None:
        """Wait until the effect, if it has begun, can do nothing more."""
        if self._stream is None or self.over_at is not None:
            return
        if self._inside is None and not self._ending:  # its reader is busy with a piece: the effect waits
            await self._end_effect(self._stream)
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    @property
    def begun(self) -> bool:
        """Whether the effect may have done something."""
        return self._stream is not None

    async def _mine(self) -> None:
        """Raises Stopped if the cancellation that just came is ``halt``'s, and nobody else wants to cancel too."""
        if self._halted is not None and self._heard() == 0:
            self._stopped = self._halted
            await asyncio.sleep(0)  # every halted effect ends before the first of these calls is settled
            raise Stopped(self._halted) from None

    def _heard(self) -> int:
        """Take ``halt``'s cancellation back; how many others there are."""
        task, self._told = self._told, None
        return 1 if task is None else task.uncancel()

    def _check(self) -> None:
        if self._halted is not None:
            raise Stopped(self._halted)

    def _left(self) -> None:
        """The reader of ``chunks`` is done with the effect, which is over unless somebody else still ends it."""
        if not self._ending:
            self._ended()

    def _ended(self) -> None:
        if self.over_at is None:
            self.over_at = self._clock.monotonic()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def close(self) -> None:
        """End the effect if a door left before it was over. Called before the outcome is written."""
        self._closed = True
        if self._ending:
            await self.ended()
        elif self._stream is not None:
            await self._end_effect(self._stream)

    async def _end_effect(self, stream: AsyncGenerator[Chunk | Last, None]) -> None:
        """End it from outside; whoever comes second waits, because a generator that is being closed says no."""
        self._ending = True
        try:
            await stream.aclose()
        except Exception:
            log.exception("the effect of %s failed while it was being ended", self.record)
        finally:
            self._ended()

    def _count(self, chunk: Chunk) -> Chunk:
        self._check()
        raw = canonical(chunk.value)
        self._released += len(raw)
        if self._released > MAX_RESULT_BYTES:
            raise Stopped(
                Denied(code="result_too_large", reason=f"the result is larger than {MAX_RESULT_BYTES} bytes")
            )
        self._hash.update(raw)
        return chunk

    async def _release(self, chunk: Chunk, start: int) -> Sequence[Chunk]:
        """Pass a chunk outward through the rings from number ``start`` on."""
        pieces: Sequence[Chunk] = (chunk,)
        for passage in self._outward[start:]:
            if not pieces:
                break
            out: list[Chunk] = []
            for piece in pieces:
                out += await self._guarded(passage, piece)
            pieces = out
        return pieces

    async def _finish(self) -> Sequence[Chunk]:
        """What each ring still holds, through the rings after it."""
        out: list[Chunk] = []
        for number, passage in enumerate(self._outward):
            for held in await self._guarded(passage, None):
                out += await self._release(held, number + 1)
        return out

    async def _guarded(self, passage: Passage, chunk: Chunk | None) -> Sequence[Chunk]:
        """One ring's release; a ring that raises or hangs stops the answer."""
        try:
            pieces = await Limit(RELEASE_SECONDS).run(passage.finish() if chunk is None else passage.release(chunk))
            if not all(isinstance(piece, Chunk) for piece in pieces):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError("it released something that is no piece of an answer")
            return pieces
        except Stopped:
            raise
        except Exception as fault:
            raise Stopped(
                Denied(
                    code="ring_failed",
                    reason="a ring could not judge the answer, so it is withheld",
                    detail={"fault": f"{type(fault).__name__}: {fault}"},
                )
            ) from fault

    @property
    def end(self) -> End:
        """How the call ended, as far as is known now."""
        if self._halted is not None and self.last is None:
            return "unknown" if self._stream is not None else "cancelled"
        if self._stopped is not None:
            return "stopped"
        if self.last is not None:
            return self.last.end
        # A caller who hangs up does not undo what has begun: a payment may be on its way.
        return "cancelled" if self._stream is None else "unknown"

    @property
    def usage(self) -> Usage:
        return self.last.usage if self.last is not None else Usage()

    @property
    def _is_secret(self) -> bool:
        """Whether what was given out is a secret: a plain hash of a weak one, in clear, is as good as itself."""
        return self._call.kind == "secret"

    def outcome(self) -> Outcome:
        """For the journal, after the last release."""
        code, reason = "", ""
        halted = self._halted if self.last is None else None
        if (stopped := self._stopped or halted) is not None:
            code, reason = stopped.code, stopped.reason
        elif self.last is not None and self.last.error:
            code, reason = self.last.error.get("code", "failed"), self.last.error.get("reason", "")
        elif self.end == "unknown":
            code, reason = "caller_left", "the caller left while the effect was under way"
        return Outcome(
            end=self.end,
            usage=self.usage,
            code=code,
            reason=reason,
            released=Digest(self._hash.hexdigest()) if self._released and not self._is_secret else None,
            seconds=self._clock.monotonic() - self._started,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """What was under way and was ended.

    ``begun``: whose effect had begun; ``late``: whose effect did not end in time; ``at``: when the last one that
    did had ended, on the monotonic clock.
    """

    calls: int
    begun: int
    late: int
    at: float


class Flight:
    """One call between its first ring and its outcome."""

    __slots__ = ("call", "halted", "running")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.running: Running | None = None
        self.halted: Denied | None = None

    def carries(self, running: Running) -> Running:
        """The rings let it through; one that was halted meanwhile never begins."""
        self.running = running
        if self.halted is not None:
            running.halt(self.halted)
        return running

    def halt(self, why: Denied) -> None:
        self.halted = why
        if self.running is not None:
            self.running.halt(why)


class Flights:
    """Every call that is under way. Used from one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: set[Flight] = set()

    def open(self, call: Call) -> Flight:
        """A call comes to its first ring."""
        flight = Flight(call)
        self._open.add(flight)
        return flight

    def close(self, flight: Flight) -> None:
        """Its outcome is written."""
        self._open.discard(flight)

    async def halt(self, matching: Callable[[Call], bool], why: Denied, seconds: float) -> Halted:
        """End every matching call, all of them before the first wait; ``why`` is what their callers are told."""
        found = [flight for flight in self._open if matching(flight.call)]
        for flight in found:
            flight.halt(why)
        begun = [flight.running for flight in found if flight.running is not None and flight.running.begun]
        at, late = self._clock.monotonic(), 0
        if begun:
            _, waiting = await asyncio.wait([asyncio.ensure_future(one.ended()) for one in begun], timeout=seconds)
            late = len(waiting)
            for task in waiting:
                task.cancel()
            at = max([at, *(one.over_at for one in begun if one.over_at is not None)])
        return Halted(calls=len(found), begun=len(begun), late=late, at=at)
