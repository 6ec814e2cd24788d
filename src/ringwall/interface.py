"""The interfaces the wall joins: rings with their passages, effects, the journal, and what doors hand in.

Packages implement these; only ``runtime/core.py`` puts implementations together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

from ringwall.call import (
    Approval,
    Call,
    Chunk,
    Denied,
    End,
    Event,
    Facts,
    Json,
    Kind,
    Last,
    Outcome,
    RingName,
    Subject,
    Usage,
    Verdict,
    Verdicts,
)

Seq = NewType("Seq", str)  # a record's name: "<tenant>/<n>"


class Stopped(Exception):
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

    async def refusal(self, call: Call, verdicts: Verdicts) -> Seq:
        """A refused call with all that was judged. Durable on return."""
        ...

    async def held(self, call: Call, verdicts: Verdicts) -> Seq:
        """A call that waits for a human, with all that was judged. Durable on return."""
        ...

    async def note(self, event: Event) -> Seq:
        """Durable on return."""
        ...

    def count(self, event: Event) -> None:
        """Count an event that may come in floods: at most one record a second for equal events, none lost."""
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
    """A call that waits for a human. ``record`` is also the name of the approval that it waits for."""

    record: str
    question: str


class Approvals(Protocol):
    """What humans said to calls that a ring asked about. What a ring denies is never asked here."""

    def spend(self, call: Call, verdicts: Verdicts) -> Approval | Denied | None:
        """The human's yes that answers every question of this call; it is used up from now on.

        Returns:
            Denied: the approval that the call names is not good for it. None: nobody has answered yet.

        """
        ...

    async def hold(self, call: Call, verdicts: Verdicts) -> HeldCall | Denied:
        """Write the call down and put it before the operators. Raises AuditError."""
        ...

    async def decided(self, record: str, seconds: float) -> bool:
        """Wait at most so long; whether the held call of this record waits no more, for whatever reason."""
        ...


class Attempts(Protocol):
    """The budget that is spent before anything is parsed."""

    def attempt(self, key: str, size: int) -> Denied | None:
        """Count one attempt of ``size`` bytes. Never refunded."""
        ...


class Watch(Protocol):
    """Hears how long the wall takes. Decides nothing, keeps nobody waiting, raises nothing."""

    def admitted(self, call: Call, since: float) -> None:
        """A request that was first looked at ``since`` (monotonic, seconds) is this call."""
        ...

    def judged(self, ring: RingName, seconds: float) -> None:
        """A ring has judged a call; it took so long."""
        ...


class Listener(Protocol):
    """Wants to hear what tool servers say by themselves. Told only which news it is: no word of a server's."""

    @property
    def uris(self) -> frozenset[str]:
        """The resources it watches: it was let through to each."""
        ...

    @property
    def changed(self) -> asyncio.Event:
        """Set when it watches others."""
        ...

    def ready(self, server: str) -> None:
        """From now on it hears this server, or it is clear that it does not."""
        ...

    def tell(self, what: str, uri: str = "") -> None:
        """``tools``, ``prompts``, ``resources``: that list changed; ``updated``: the resource ``uri`` did."""
        ...


class Unwatched:
    """Implements ``Watch``: nobody wants to know."""

    def admitted(self, call: Call, since: float) -> None:
        return None

    def judged(self, ring: RingName, seconds: float) -> None:
        return None


class Resolver(Protocol):
    """Bytes to a canonical Call: one strict parse, then typed resources. Raises BadInput."""

    def resolve(self, origin: Origin, kind: Kind, raw: bytes) -> Call: ...
