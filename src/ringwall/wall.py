"""The wall: every call crosses the same rings in the same order, is written down, runs, and is settled.

``admit`` makes a call of bytes, ``perform`` lets it through or not, ``judge`` asks every ring without
running anything. No door can forget a ring, a record or a refund, because there is no other path.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import NewType, Protocol, TypeAlias

from ringwall.call import (
    Allowed, Call, Chunk, Denied, Digest, End, Event, Facts, Json, Kind, Last, NeedsApproval, Outcome, RingName,
    Subject, Usage, Verdict, Verdicts, canonical, subject_name,
)
from ringwall.clock import Clock
from ringwall.errors import AuditError, BadInput, RingwallError

Seq = NewType("Seq", str)  # a record's name: "<tenant>/<n>"

RING_SECONDS = 2.0  # a ring that has not answered by then refuses
RELEASE_SECONDS = 5.0  # the same for one chunk on its way back
MAX_RESULT_BYTES = 8 << 20  # what one call may return in all


class Stopped(Exception):  # noqa: N818 (an event on the way back, not a fault)
    """A ring stops an answer on its way back; nothing more is released."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.reason)
        self.denied = denied


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What may be shown in a listing: target name -> public definition."""

    definitions: Mapping[str, Json]


class Passage(Protocol):
    """One ring's part in one call."""

    verdict: Verdict

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        """Let a piece of the answer through: hold back, redact, label. Raises Stopped."""
        ...

    async def finish(self) -> Sequence[Chunk]:
        """What was held back, now that the answer is over. Raises Stopped."""
        ...

    async def leave(self, end: End, usage: Usage) -> None:
        """Called once, in reverse order: refund or settle."""
        ...


class Through:
    """A passage with a verdict and nothing to do on the way back."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        return (chunk,)

    async def finish(self) -> Sequence[Chunk]:
        return ()

    async def leave(self, end: End, usage: Usage) -> None:
        return None


class Ring(Protocol):
    """One question asked of every call. A raise or a time-out is a denial."""

    name: RingName

    async def enter(self, call: Call, facts: Facts) -> Passage:
        """Judge the call; write what was found out to ``facts[self.name]``."""
        ...

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Which of these may be shown to this subject."""
        ...


class Effect(Protocol):
    """What happens when a call is allowed; one per kind. The last item is a Last."""

    def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]: ...


class Journal(Protocol):
    """The audit log as the wall sees it."""

    async def intent(self, call: Call, verdicts: Verdicts) -> Seq:
        """Durable on return. Raises AuditError: then nothing happens."""
        ...

    async def outcome(self, seq: Seq, outcome: Outcome) -> None:
        """Recorded after the last release; may become durable with the next batch."""
        ...

    async def note(self, event: Event) -> Seq:
        """Durable on return."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where bytes came from, as the door attests it; ``key`` is what attempts are counted under."""

    subject: Subject
    session: str | None
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused call as the door answers it."""

    code: str
    reason: str
    remedy: str = ""
    record: str = ""
    retry_after: float | None = None
    errors: tuple[str, ...] = ()  # schema errors, in full


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """A call that waits for a human. (Until approvals exist, the wall refuses instead.)"""

    record: str
    question: str


class Attempts(Protocol):
    """The budget that is spent before anything is parsed."""

    def attempt(self, key: str, size: int) -> Denied | None:
        """Count one attempt of ``size`` bytes. Never refunded."""
        ...


class Resolver(Protocol):
    """Bytes to a canonical Call: one strict parse, then typed resources. Raises BadInput."""

    def resolve(self, origin: Origin, kind: Kind, raw: bytes) -> Call: ...
