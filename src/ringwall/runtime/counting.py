"""Limits as the core runs them: which store, what the log says was used, turns, and what operators see of it."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringwall.audit.journal import AuditJournal
from ringwall.audit.records import Record
from ringwall.call import (
    Call,
    CallId,
    End,
    Json,
    Kind,
    LaunchId,
    Peer,
    Process,
    Resource,
    SessionId,
    Target,
    Usage,
    as_array,
    as_object,
)
from ringwall.clock import Clock
from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Effect
from ringwall.keys.interface import RootKeys, audit_signer
from ringwall.limits.budgets import day
from ringwall.limits.fair import Begins, Turns
from ringwall.limits.interface import Counters, Reserve
from ringwall.limits.memory import MemoryCounters
from ringwall.limits.ring import Afterwards, LimitsRing
from ringwall.manifest.types import Limits, Manifest, Secret
from ringwall.runtime.acts import Act, arguments
from ringwall.runtime.secrets import FileSecrets
from ringwall.runtime.sessions import Session

RECORDS: Final = frozenset({"intent", "outcome"})
_BUDGETS: Final = ("calls_per_session", "calls_per_day", "tokens_per_session", "tokens_per_day",
                   "money_per_session", "money_per_day")


class _Show(msgspec.Struct, forbid_unknown_fields=True):
    tenant: str = ""


class Counting:
    """The limits of one core.

    Args:
        manifest: what holds.
        clock: for rates, days and pauses.
        keys: name this installation to a store that others share.
        audit: what was used is read from it.
        open_sessions: those of this moment.
        afterwards: keeps slots taken while tools go on that nobody waits for.

    """

    def __init__(self, *, manifest: Manifest, clock: Clock, keys: RootKeys, audit: AuditJournal,
                 open_sessions: Callable[[], Sequence[Session]],
                 afterwards: Afterwards = lambda call, free: False) -> None:
        self._manifest = manifest
        self._clock = clock
        self._audit = audit
        self._open_sessions = open_sessions
        self._live: frozenset[str] = frozenset()  # sessions that were open before this core
        self._turns = Turns()
        self._counters = self._store(keys)
        self.ring = LimitsRing(manifest, self._counters, clock, self._turns, afterwards)

    def _store(self, keys: RootKeys) -> Counters:
        settings = self._manifest.limits
        if settings.store == "memory":
            return MemoryCounters(self._clock, self._replay)
        # Imported here: an installation without a store has none of its client's code in the core.
        from ringwall.limits.shared import SharedCounters
        from ringwall.limits.wire import Redis

        files = {} if settings.password_file is None else {
            "limits": Secret(name="limits", file=settings.password_file)}
        redis = Redis(settings.store, self._clock,
                      password=(lambda: FileSecrets(files).value("limits")) if files else None,
                      ca_file=str(settings.ca_file) if settings.ca_file else None)
        public = keys.signing_key(audit_signer("system")).public_key()
        name = hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
        return SharedCounters(redis=redis, domain=self._manifest.trust_domain, installation=name,
                              replay=self._replay)

    async def open(self, live: Collection[str]) -> None:
        """Before the first call: count again what the log says was used.

        A store that does not answer keeps nobody from starting: until it does, what it counts is refused.

        Args:
            live: sessions of agents that outlived the last core.

        """
        self._live = frozenset(live)
        try:
            await self._counters.open()
        except Unavailable as down:
            print(f"ringwall: limits: {down}", file=sys.stderr, flush=True)

    async def close(self) -> None:
        """Give up the store."""
        await self._counters.close()

    def begins(self, effect: Effect) -> Effect:
        """An effect whose beginning ends its call's turn in the rings."""
        return Begins(effect, self._turns)

    def acts(self) -> dict[str, Act]:
        """``limits.show``."""
        return {"limits.show": self._show}

    async def _replay(self, reserve: Reserve) -> None:
        """Every call of today, and of the sessions that go on, in every budget that it used."""
        live = self._live | {session.id for session in self._open_sessions()}
        for tenant in self._manifest.tenants:
            if self._budgeted(tenant) and tenant not in self._audit.faults:
                for call, end, usage, at in await asyncio.to_thread(self._used, tenant, live):
                    await self.ring.charge(call, end, usage, at, reserve)

    def _budgeted(self, tenant: str) -> bool:
        found = self._manifest.tenants[tenant]
        limits = [found.limits]
        for role in found.roles.values():
            limits += [role.limits, role.process_limits]
            for grant in role.tools.values():
                limits += [grant.limits, grant.resource_limits]
        return any(_has_budget(one) for one in limits)

    def _used(self, tenant: str, live: Collection[str]) -> list[tuple[Call, End | None, Usage, float]]:
        """Intents with their outcomes. Blocks for the disk."""
        today = day(self._clock.now())
        intents: dict[int, Record] = {}
        outcomes: dict[int, Record] = {}
        for record in self._audit.records(tenant, types=RECORDS):
            if record.type == "outcome":
                outcomes[record.clear["of"]] = record
            elif day(record.time) == today or record.clear["session"] in live:
                intents[record.number] = record
        return list(self._calls(tenant, intents, outcomes))

    def _calls(self, tenant: str, intents: Mapping[int, Record], outcomes: Mapping[int, Record]
               ) -> Iterator[tuple[Call, End | None, Usage, float]]:
        for number, record in intents.items():
            call = _recorded(record, self._body(tenant, record))
            if call is not None:
                outcome = outcomes.get(number)
                end, usage = (None, Usage()) if outcome is None else _ended(outcome)
                yield call, end, usage, record.time

    def _body(self, tenant: str, record: Record) -> dict[str, Json]:
        """What the call carried; nothing where its key was destroyed."""
        try:
            return as_object((as_object(self._audit.unsealed(tenant, record)) or {}).get("input")) or {}
        except (BadInput, RingwallError):
            return {}

    async def _show(self, call: Call) -> Json:
        """What is used and left, for each agent and each of its open sessions. Raises Unavailable."""
        wanted = arguments(call, _Show).tenant
        if wanted and wanted not in self._manifest.tenants:
            raise BadInput(f"there is no tenant {wanted[:64]!r}", code="no_such_tenant",
                           remedy="`ringwall limits` without a tenant shows all")
        return {"store": self._manifest.limits.store, "currency": self._manifest.limits.currency,
                "agents": [row for name in self._manifest.tenants if wanted in {"", name}
                           for row in await self._rows(name)]}

    async def _rows(self, tenant: str) -> list[Json]:
        rows: list[Json] = []
        for agent in self._manifest.tenants[tenant].agents.values():
            who = SpiffeId.make(trust_domain=self._manifest.trust_domain, tenant=tenant, agent=agent.name,
                                role=agent.role)
            sessions = [one.id for one in self._open_sessions() if (one.tenant, one.agent) == (tenant, agent.name)]
            for session in sessions or [SessionId("")]:
                asked = Call.make(id=CallId("show"), kind="model", session=session, target=Target(name=""), args={},
                                  subject=Process(spiffe_id=who, launch=LaunchId(""), connection=0))
                rows.append({"tenant": tenant, "agent": agent.name, "session": session,
                             "limits": await self.ring.show(asked)})
        return rows


def _has_budget(limits: Limits) -> bool:
    return any(getattr(limits, name) is not None for name in _BUDGETS)


def _recorded(record: Record, body: Mapping[str, Json]) -> Call | None:
    """The call of an intent, as far as limits look at it; None: not an agent's."""
    subject = as_object(body.get("subject")) or {}
    asked = as_object(body.get("call")) or {}
    try:
        who = _counted(record, subject)
    except BadInput:
        return None
    kind: Kind = record.clear["kind"]
    return Call.make(
        id=CallId(str(record.clear["call"])), kind=kind, subject=who,
        session=SessionId(str(record.clear["session"])), target=Target(name=str(record.clear["target"])),
        args=asked.get("args", {}), resources=tuple(_resources(asked)),
    )


def _counted(record: Record, subject: Mapping[str, Json]) -> Process | Peer:
    """Whose call an intent was. Raises BadInput: an operator's."""
    name, launch, number = str(record.clear["subject"]), subject.get("launch"), subject.get("number")
    message = as_object(record.clear.get("message")) or {}
    if message.get("direction") == "in":
        return Peer(spiffe_id=AnyId.parse(name), receiver=SpiffeId.parse(str(message.get("receiver"))),
                    launch=LaunchId(""), connection=0)
    return Process(spiffe_id=SpiffeId.parse(name), launch=LaunchId(launch if isinstance(launch, str) else ""),
                   connection=0, number=number if isinstance(number, int) else 0)


def _resources(asked: Mapping[str, Json]) -> Iterator[Resource]:
    for one in as_array(asked.get("resources")) or []:
        found = as_object(one) or {}
        yield Resource(type=str(found.get("type")), id=str(found.get("id")), key=(), action="", argument="")


def _ended(record: Record) -> tuple[End, Usage]:
    usage = as_object(record.clear.get("usage")) or {}
    end: End = record.clear["end"]
    return end, Usage(tokens_in=_count(usage, "tokens_in"), tokens_out=_count(usage, "tokens_out"))


def _count(usage: Mapping[str, Json], name: str) -> int:
    found = usage.get(name)
    return found if isinstance(found, int) else 0
