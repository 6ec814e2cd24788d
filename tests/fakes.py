"""Fakes that more than one package's tests use: clock, journal, rings, effects, subjects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Chunk,
    Denied,
    End,
    Event,
    Facts,
    Json,
    Kind,
    Last,
    LaunchId,
    Outcome,
    Process,
    RingName,
    SessionId,
    Subject,
    Target,
    Usage,
    Verdict,
    Verdicts,
)
from ringwall.errors import AuditError
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Origin, Seq, Targets
from ringwall.vault.interface import Credential
from ringwall.wall import Wall

T = TypeVar("T")
ALICE = Process(
    spiffe_id=SpiffeId.make(trust_domain="example.org", tenant="acme", agent="alice", role="reader"),
    launch=LaunchId("l1"),
    connection=1,
)
ORIGIN = Origin(subject=ALICE, session="s1", key="acme/alice")
NO = Denied(code="no", reason="it says no")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, with a limit that only a fault reaches."""

    async def limited() -> T:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(limited())


async def until(condition: Callable[[], object]) -> None:
    """Let everything else go on until something is so."""
    while not condition():  # noqa: ASYNC110 (what is waited for has no event of its own)
        await asyncio.sleep(0)


def call(
    target: str = "mail/send", args: Json = None, *, kind: Kind = "tool", session: str | None = "s1",
    subject: Subject = ALICE,
) -> Call:
    return Call.make(
        id=CallId("c1"), kind=kind, subject=subject, session=SessionId(session) if session else None,
        target=Target(name=target), args={} if args is None else args,
    )


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class FakeJournal:
    """Keeps what it is told, in order; ``broken`` names the methods that fail, ``gate`` holds notes back."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []
        self.broken: set[str] = set()
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()

    def _write(self, what: str, value: object) -> Seq:
        if what in self.broken:
            raise AuditError("the disk is full")
        self.log.append((what, value))
        return Seq(f"acme/{len(self.log)}")

    def of(self, what: str) -> list[Any]:
        return [value for name, value in self.log if name == what]

    async def intent(self, call: Call, verdicts: Verdicts) -> Seq:
        return self._write("intent", verdicts)

    async def outcome(self, seq: Seq, outcome: Outcome) -> None:
        self._write("outcome", outcome)

    async def refusal(self, call: Call, verdicts: Verdicts) -> Seq:
        return self._write("refusal", verdicts)

    async def held(self, call: Call, verdicts: Verdicts) -> Seq:
        return self._write("held", verdicts)

    async def note(self, event: Event) -> Seq:
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        return self._write("note", event)

    def count(self, event: Event) -> None:
        self._write("count", event)


class FakePassage:
    """Writes down what happens to it."""

    def __init__(self, ring: FakeRing, verdict: Any) -> None:
        self.verdict: Verdict = verdict
        self._ring = ring

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        self._ring.trace.append(f"{self._ring.name}:release")
        return await self._ring.released(chunk)

    async def finish(self) -> Sequence[Chunk]:
        self._ring.trace.append(f"{self._ring.name}:finish")
        return await self._ring.finished()

    async def leave(self, end: End, usage: Usage) -> None:
        self._ring.trace.append(f"{self._ring.name}:leave:{end}")
        if self._ring.on_leave is not None:
            await self._ring.on_leave()


class FakeRing:
    """A ring that says what the test says. ``on_enter``, ``on_leave``: run meanwhile; may raise or hang."""

    def __init__(self, name: RingName, trace: list[str], verdict: Any = None) -> None:
        self.name: RingName = name
        self.trace = trace
        self.verdict = verdict if verdict is not None else Allowed()
        self.on_enter: Callable[[Call, Facts], Coroutine[Any, Any, Any]] | None = None
        self.on_leave: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.on_release: Callable[[Chunk], Coroutine[Any, Any, Sequence[Chunk]]] | None = None
        self.on_finish: Callable[[], Coroutine[Any, Any, Sequence[Chunk]]] | None = None

    async def enter(self, call: Call, facts: Facts) -> Any:
        self.trace.append(f"{self.name}:enter")
        if self.on_enter is not None:
            answer = await self.on_enter(call, facts)
            if answer is not None:
                return answer
        return FakePassage(self, self.verdict)

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        return targets

    async def released(self, chunk: Chunk) -> Sequence[Chunk]:
        return (chunk,) if self.on_release is None else await self.on_release(chunk)

    async def finished(self) -> Sequence[Chunk]:
        return () if self.on_finish is None else await self.on_finish()


class FakeEffect:
    """Yields ``items``; an exception among them is raised, an Event is waited for."""

    def __init__(self, trace: list[str], *items: Any) -> None:
        self.trace = trace
        self.items = items or (Chunk(value="fine"), Last(end="done"))

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Any, None]:
        self.trace.append("effect:begin")
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, asyncio.Event):
                    await item.wait()
                    continue
                yield item
        finally:
            self.trace.append("effect:end")


class FakeAttempts:
    def __init__(self) -> None:
        self.denied: Denied | None = None
        self.seen: list[tuple[str, int]] = []

    def attempt(self, key: str, size: int) -> Denied | None:
        self.seen.append((key, size))
        return self.denied


class FakeResolver:
    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.asked = 0

    def resolve(self, origin: Origin, kind: Kind, raw: bytes) -> Call:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return call(kind=kind)


class World:
    """A wall with fakes all around, and the trace of what they did."""

    def __init__(self, names: Sequence[RingName] = ("identity", "limits", "policy"), *items: Any) -> None:
        self.trace: list[str] = []
        self.rings = {name: FakeRing(name, self.trace) for name in names}
        self.journal = FakeJournal()
        self.effect = FakeEffect(self.trace, *items)
        self.attempts = FakeAttempts()
        self.resolver = FakeResolver()
        self.clock = FakeClock()
        self.wall = Wall(
            rings=list(self.rings.values()), effects={"tool": self.effect}, resolver=self.resolver,
            attempts=self.attempts, journal=self.journal, clock=self.clock, ring_seconds=0.05,
        )

    def ends(self) -> list[str]:
        """Who settled, and with which end, in order."""
        return [line for line in self.trace if ":leave:" in line]


class NamedSecrets:
    """Secrets with the same value for everybody, by name. Implements ``vault.interface.Secrets``."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read

    async def value(self, who: SpiffeId, launch: LaunchId, name: str) -> bytes:
        return self._read(name)

    async def own(self, tenant: str, name: str) -> bytes:
        return self._read(name)

    async def credential(self, call: Call, name: str) -> Credential:
        values = {"access_token": self._read(name).decode()}
        return Credential(lease="lease", secret=name, expires_at=2e9, values=values)
