"""A call that was let through: its effect runs, and what comes back crosses the rings again, outward."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

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

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Released pieces of the answer.

        Raises:
            Stopped: a ring stopped the answer; nothing after what was yielded gets out.
            RuntimeError: asked a second time, or after the call was settled: one intent is one effect.

        """
        if self._closed or self._stream is not None:
            raise RuntimeError("the effect of a call runs once, before the call is settled")
        self._stream = self._effect.run(self._call, self._facts)
        try:
            async with aclosing(self._stream) as effect:
                async for item in effect:
                    if isinstance(item, Last):
                        self.last = item
                        break
                    if not isinstance(item, Chunk):  # pyright: ignore[reportUnnecessaryIsInstance]
                        raise TypeError("the effect gave something that is no piece of an answer")
                    for chunk in await self._release(item, 0):
                        yield self._count(chunk)
            for chunk in await self._finish():
                yield self._count(chunk)
        except Stopped as stop:
            self._stopped = stop.denied
            raise
        except RingwallError as fault:
            self.last = Last(end="failed", error={"code": fault.code, "reason": fault.cause})
        except Exception as fault:
            # It may have happened. The fault's own words may carry what the effect read: they go to the core's
            # log only.
            log.exception("the effect of %s failed unexpectedly", self.record)
            reason = f"the effect failed unexpectedly ({type(fault).__name__})"
            self.last = Last(end="unknown", usage=self.usage, error={"code": "effect_failed", "reason": reason})
        if self.last is None:
            self.last = Last(end="unknown", error={"code": "no_outcome", "reason": "the effect gave no outcome"})

    async def close(self) -> None:
        """End the effect if a door left before it was over. Called before the outcome is written."""
        self._closed = True
        if self._stream is None:
            return
        try:
            await self._stream.aclose()
        except Exception:
            log.exception("the effect of %s failed while it was being ended", self.record)

    def _count(self, chunk: Chunk) -> Chunk:
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
        if self._stopped is not None:
            return "stopped"
        if self.last is not None:
            return self.last.end
        # A caller who hangs up does not undo what has begun: a payment may be on its way.
        return "cancelled" if self._stream is None else "unknown"

    @property
    def usage(self) -> Usage:
        return self.last.usage if self.last is not None else Usage()

    def outcome(self) -> Outcome:
        """For the journal, after the last release."""
        code, reason = "", ""
        if self._stopped is not None:
            code, reason = self._stopped.code, self._stopped.reason
        elif self.last is not None and self.last.error:
            code, reason = self.last.error.get("code", "failed"), self.last.error.get("reason", "")
        elif self.end == "unknown":
            code, reason = "caller_left", "the caller left while the effect was under way"
        return Outcome(
            end=self.end,
            usage=self.usage,
            code=code,
            reason=reason,
            released=Digest(self._hash.hexdigest()) if self._released else None,
            seconds=self._clock.monotonic() - self._started,
        )
