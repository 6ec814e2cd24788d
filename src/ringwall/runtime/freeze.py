"""The kill switch: who or what is frozen, and the acts that freeze and thaw.

A freeze is in the log before it holds, is taken from there at the next start, and refuses new calls in two rings.
What can be frozen can always be frozen: a log that cannot be written makes a freeze forgetful, never void.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

import msgspec

from ringwall.call import Call, CallId, Denied, Event, Json, Operator, Peer, Process, as_object, subject_name
from ringwall.clock import Clock
from ringwall.errors import AuditError, BadInput, Refused
from ringwall.identity.ring import own
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Journal
from ringwall.manifest.types import Manifest
from ringwall.running import Halted
from ringwall.runtime.acts import arguments

FREEZE: Final = "freeze"  # the verb
Scope = Literal["agent", "tenant", "tool", "all"]
MAX_REASON: Final = 200  # characters; a reason is a line in a listing, and stands in the log in clear
KILL_S: Final = 2.0  # SIGKILL takes milliseconds; what lives longer hangs in the kernel, and is reported
RETRY_S: Final = 5.0  # between two tries to write down a freeze that a full disk kept out of the log
PAUSE_S: Final = 1.0  # how long a new call waits for a freeze to be decided; well below what a ring may take
LOG: Final = "system"  # one log for all of them: a tenant that filled its own cannot keep a freeze out of it


class FreezeOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``freeze`` takes. ``name``: ``tenant/agent``, a tenant, ``server`` or ``server/operation``."""

    scope: Scope
    reason: str
    name: str = ""
    kill: bool = False


class ThawOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``thaw`` takes."""

    scope: Scope
    reason: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """One freeze that holds. ``record`` is empty while it is not in the log; ``at`` in seconds since the epoch."""

    scope: Scope
    name: str
    reason: str
    by: str
    at: float
    kill: bool = False
    record: str = ""

    def covers_agent(self, tenant: str, agent: str) -> bool:
        """Whether this agent is frozen by it."""
        return (self.scope, self.name) in {("all", ""), ("tenant", tenant), ("agent", f"{tenant}/{agent}")}

    def covers(self, call: Call) -> bool:
        """Whether this call would be refused by it: a message, if either of its ends is. Operators never are."""
        if isinstance(call.subject, Operator):
            return False
        if self.scope == "tool":
            server = call.target.name.partition("/")[0]
            return call.kind == "tool" and self.name in {server, call.target.name}
        return any(self.covers_agent(who.tenant, who.agent) for who in _ends(call.subject, call))


class Freezes:
    """All that is frozen now. Asked for every call, twice: fast where nothing is."""

    def __init__(self) -> None:
        self._held: dict[tuple[Scope, str], Freeze] = {}
        self._pauses: dict[asyncio.Event, Freeze] = {}
        self.on_change: Callable[[], None] = lambda: None  # told of each that is put or dropped

    def restore(self, events: Iterable[tuple[str, str, float, Mapping[str, Json]]]) -> None:
        """Take what the log says: (type, record, time, body), oldest first."""
        for kind, record, at, body in events:
            scope, name = cast("Scope", body["scope"]), str(body["name"])
            if kind == "thaw":
                self._held.pop((scope, name), None)
            else:
                self.put(Freeze(scope=scope, name=name, reason=str(body["reason"]), by=str(body["by"]), at=at,
                                kill=body["kill"] is True, record=record))

    def put(self, freeze: Freeze) -> None:
        """From now on this is frozen."""
        self._held[freeze.scope, freeze.name] = freeze
        self.on_change()

    def drop(self, scope: Scope, name: str) -> None:
        """No longer."""
        self._held.pop((scope, name), None)
        self.on_change()

    def get(self, scope: Scope, name: str) -> Freeze | None:
        """The freeze of exactly this."""
        return self._held.get((scope, name))

    def held(self) -> Sequence[Freeze]:
        """All of them, oldest first."""
        return sorted(self._held.values(), key=lambda one: one.at)

    def agent(self, who: SpiffeId) -> str:
        """Why this agent is frozen; empty if it is not."""
        return self._why(lambda one: one.covers_agent(who.tenant, who.agent)) if self._held else ""

    def call(self, call: Call) -> str:
        """Why this call is refused: its agent, its tenant, its tool or everything is frozen."""
        return self._why(lambda one: one.covers(call)) if self._held else ""

    def tool(self, name: str) -> str:
        """Why this tool, ``server/operation``, is frozen."""
        server = name.partition("/")[0]
        return self._why(lambda one: one.scope == "tool" and one.name in {server, name}) if self._held else ""

    def killed(self, tenant: str, agent: str) -> bool:
        """Whether processes of this agent must not even live."""
        return any(one.kill and one.covers_agent(tenant, agent) for one in self._held.values())

    def _why(self, covers: Callable[[Freeze], bool]) -> str:
        found = next((one for one in self.held() if covers(one)), None)
        return f"{_spelled(found.scope, found.name)}: {found.reason}" if found is not None else ""

    @contextmanager
    def pausing(self, freeze: Freeze) -> Generator[None]:
        """While this is decided and written down, new calls that it covers wait in front of the rings.

        They are neither refused nor let through: under load, a freeze would otherwise wait for all who come
        after it.
        """
        over = asyncio.Event()
        self._pauses[over] = freeze
        try:
            yield
        finally:
            del self._pauses[over]
            over.set()

    def waits(self, call: Call) -> Awaitable[object] | None:
        """What a new call has to wait for, at most PAUSE_S; None, nearly always: nothing."""
        if not self._pauses:
            return None
        found = [over.wait() for over, freeze in self._pauses.items() if freeze.covers(call)]
        return asyncio.wait([asyncio.ensure_future(one) for one in found], timeout=PAUSE_S) if found else None

    def status(self) -> list[Json]:
        """For ``ringwall status`` and ``doctor``."""
        return [_shown(one) for one in self.held()]


class Freezer:
    """The acts ``freeze`` and ``thaw``.

    Args:
        freezes: what they change.
        manifest: what can be named.
        journal: where they are written first.
        cancel: ends calls that are under way (``Wall.cancel``).
        kill: kills what a freeze covers; a future for each process, done when it has ended.
        arrived: when an act arrived, on the monotonic clock.
        clock: for the time a freeze took.
        retry_s: between two tries to write down what holds without a record.

    """

    def __init__(
        self,
        *,
        freezes: Freezes,
        manifest: Manifest,
        journal: Journal,
        cancel: Callable[[Callable[[Call], bool], Denied], Awaitable[Halted]],
        kill: Callable[[Freeze], Sequence[asyncio.Future[int]]],
        arrived: Callable[[CallId], float],
        clock: Clock,
        retry_s: float = RETRY_S,
    ) -> None:
        self._freezes = freezes
        self._manifest = manifest
        self._journal = journal
        self._cancel = cancel
        self._kill = kill
        self._arrived = arrived
        self._clock = clock
        self._retry_s = retry_s
        self._order = asyncio.Lock()  # what the log says last is what holds
        self._at_work: set[asyncio.Task[Json]] = set()
        self._retrying: asyncio.Task[None] | None = None

    async def freeze(self, call: Call) -> Json:
        """Refuse new calls, end those under way, kill if asked; the answer says how long all that took.

        It goes on to its end when the operator's terminal goes. Raises BadInput for what does not exist.
        """
        order = arguments(call, FreezeOrder)
        self._check(order.scope, order.name, order.reason)
        work = asyncio.ensure_future(self._freeze(call, order))
        self._at_work.add(work)
        work.add_done_callback(self._at_work.discard)
        return await asyncio.shield(work)

    async def thaw(self, call: Call) -> Json:
        """Let calls through again. Raises AuditError: then it stays frozen; Refused: it is not frozen."""
        order = arguments(call, ThawOrder)
        _reason(order.reason)
        async with self._order:
            if self._freezes.get(order.scope, order.name) is None:
                raise Refused(f"{_spelled(order.scope, ascii(order.name))} is not frozen", code="not_frozen",
                              remedy="`ringwall status` lists what is")
            by = subject_name(call.subject)
            body = {"scope": order.scope, "name": order.name, "reason": order.reason, "by": by}
            record = await self._journal.note(Event(type="thaw", tenant=LOG, subject=by, body=body))
            self._freezes.drop(order.scope, order.name)
        return {"thawed": {**body, "record": record}, "still": self._freezes.status()}

    async def _freeze(self, call: Call, order: FreezeOrder) -> Json:
        started = self._arrived(call.id)
        async with self._order:
            before = self._freezes.get(order.scope, order.name)
            kill = order.kill or (before is not None and before.kill)
            freeze = await self._written(Freeze(
                scope=order.scope, name=order.name, reason=order.reason, by=subject_name(call.subject),
                at=self._clock.now(), kill=kill,
            ))
            self._freezes.put(freeze)
        dying = self._kill(freeze) if order.kill else ()
        why = Denied(code="frozen", reason="this was frozen while it ran", remedy="ask the operator",
                     detail={"why": freeze.reason})
        halted = await self._cancel(freeze.covers, why)
        alive = await _ended(dying)
        last = self._clock.monotonic() if dying or halted.late else halted.at
        done: dict[str, Json] = {
            "seconds": round(last - started, 6), "calls": halted.calls, "begun": halted.begun,
            "late": halted.late, "killed": len(dying) - alive, "alive": alive,
        }
        await self._measured(freeze, done)
        return {"frozen": _shown(freeze), **done}

    async def _written(self, freeze: Freeze) -> Freeze:
        """The same with its record, or without one when there can be none: it holds all the same."""
        try:
            return replace(freeze, record=await self._journal.note(_event(freeze)))
        except AuditError as fault:
            print(f"ringwall: a freeze is not in the log: {fault}", file=sys.stderr, flush=True)
            if self._retrying is None or self._retrying.done():
                self._retrying = asyncio.ensure_future(self._again())
            return freeze

    async def _again(self) -> None:
        """Write down, as soon as that can be done, what holds without a record."""
        while any(not one.record for one in self._freezes.held()):
            await asyncio.sleep(self._retry_s)
            async with self._order:
                for freeze in [one for one in self._freezes.held() if not one.record]:
                    try:
                        self._freezes.put(replace(freeze, record=await self._journal.note(_event(freeze))))
                    except AuditError:
                        break

    async def _measured(self, freeze: Freeze, done: Mapping[str, Json]) -> None:
        """The second record: when the last effect had ended."""
        body = {"scope": freeze.scope, "name": freeze.name, "freeze": freeze.record, **done}
        try:
            await self._journal.note(Event(type="frozen", tenant=LOG, subject=freeze.by, body=body))
        except AuditError as fault:
            print(f"ringwall: how a freeze went is not in the log: {fault}", file=sys.stderr, flush=True)

    def _check(self, scope: Scope, name: str, reason: str) -> None:
        """Raises BadInput: a freeze of nothing would be believed."""
        _reason(reason)
        agents = {f"{tenant.name}/{agent}" for tenant in self._manifest.tenants.values() for agent in tenant.agents}
        tools = {*self._manifest.tools, *(f"{server.name}/{operation}" for server in self._manifest.tools.values()
                                          for operation in server.ops)}
        known = {"agent": agents, "tenant": set(self._manifest.tenants), "tool": tools, "all": {""}}[scope]
        if name not in known:
            shown = ", ".join(sorted(known)[:20]) if scope != "all" else "no name"
            raise BadInput(f"there is no {scope} {name[:200]!a} here", code="unknown_name",
                           remedy=f"known: {shown or 'none'}")


def _ends(subject: Process | Peer, call: Call) -> Iterator[SpiffeId]:
    """The agents of this installation that take part in a call."""
    here = subject.receiver if isinstance(subject, Peer) else subject.spiffe_id
    yield here
    args = as_object(call.args) or {}
    peer = args.get("peer") if call.kind == "message" else None
    try:
        other = AnyId.parse(peer) if isinstance(peer, str) else None
    except BadInput:
        other = None  # nobody's name: other rings refuse it
    for one in (subject.spiffe_id if isinstance(subject, Peer) else None, other):
        found = own(one, here.trust_domain) if one is not None else None
        if found is not None:
            yield found


async def _ended(dying: Sequence[asyncio.Future[int]]) -> int:
    """Wait for killed processes; how many live on."""
    if not dying:
        return 0
    _, alive = await asyncio.wait([asyncio.shield(one) for one in dying], timeout=KILL_S)
    return len(alive)


def _event(freeze: Freeze) -> Event:
    body = {
        "scope": freeze.scope, "name": freeze.name, "reason": freeze.reason, "by": freeze.by, "kill": freeze.kill,
    }
    return Event(type="freeze", tenant=LOG, subject=freeze.by, body=body)


def _shown(freeze: Freeze) -> dict[str, Json]:
    return {"scope": freeze.scope, "name": freeze.name, "reason": freeze.reason, "by": freeze.by, "at": freeze.at,
            "kill": freeze.kill, "record": freeze.record, "durable": bool(freeze.record)}


def _reason(text: str) -> None:
    """Raises BadInput: it is shown on terminals, so it is one line that can be printed."""
    if not text.strip() or len(text) > MAX_REASON or not text.isprintable():
        raise BadInput(f"a reason is one line of 1 to {MAX_REASON} printable characters", code="bad_reason",
                       remedy='--reason "who asked for it, and why"')


def _spelled(scope: str, name: str) -> str:
    return f"{scope} {name[:200]}" if name else scope
