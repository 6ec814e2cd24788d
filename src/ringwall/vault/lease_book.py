"""Leases in the core's memory: which one answers whom, until when, and how they are chosen and shown."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeAlias

import msgspec

from ringwall.call import Event, Json, canonical, digest
from ringwall.errors import BadInput, RingwallError
from ringwall.interface import Seq
from ringwall.manifest.details import Detail
from ringwall.vault.interface import Credential, Owner
from ringwall.vault.lease_rows import LeaseRow, State

Key: TypeAlias = tuple[Owner, str, str]  # owner, secret, scope
EARLY_S: Final = 30.0  # before its end no new call gets a credential: a call that has begun needs it to its own end
EARLY_PART: Final = 4  # ... but at most this part of a short life


class Keeper(Protocol):
    """The embedded vault, for small things beside its secrets. Raises RingwallError: ``vault_sealed``, ..."""

    def keep(self, owner: Owner, purpose: str, plain: bytes) -> bytes:
        """Encrypted under the owner's tenant's key, for this purpose only."""
        ...

    def opened(self, owner: Owner, purpose: str, blob: bytes) -> bytes:
        """What ``keep`` was given."""
        ...


class Notes(Protocol):
    """The one thing that leases need of the log."""

    async def note(self, event: Event) -> Seq:
        """Durable on return. Raises AuditError."""
        ...


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is encrypted in a row."""

    values: dict[str, str]
    handle: str

    def __repr__(self) -> str:
        return "<_Kept>"


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """One lease. Changed in the event loop only.

    Args:
        row: what the disk has of it, but for ``state``.
        until: when it ends, on the monotonic clock.
        limit: how far ``until`` can be moved: ``MAX_SECONDS`` after its issue.
        fresh: until when new calls get it, on the same clock.
        used: when it was last handed out, on the same clock.
        state: how far it is; ahead of the disk when it is being ended.
        credential: what is handed out; None: nothing yet, not any more, or still only in ``row.kept``.
        handle: what the provider needs to end it; None: not known, or only in ``row.kept``.
        answer: who waits for the exchange; its result says nothing.
        asked: the provider may have made something.
        again_at: until then, on the monotonic clock, the provider may still make what we gave up waiting for.
        stored: there is a row.
        told: the log has its beginning, and needs its end.
        outcome: what the provider said of the end; empty: nothing yet.
        tries: how often ending it failed.
        next_try: when to try again, on the monotonic clock.
        fault: code of the last failure.
        work: what is being done about its end.

    """

    row: LeaseRow
    until: float
    limit: float
    fresh: float
    used: float
    state: State = "pending"
    credential: Credential | None = field(default=None, repr=False)
    handle: str | None = field(default=None, repr=False)
    answer: asyncio.Future[None] | None = None
    asked: bool = False
    again_at: float = 0.0
    stored: bool = False
    told: bool = False
    outcome: str = ""
    tries: int = 0
    next_try: float = 0.0
    fault: str = ""
    work: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def owner(self) -> Owner:
        return self.row.owner

    @property
    def doomed(self) -> bool:
        """Nobody may use it any more."""
        return bool(self.row.reason)

    @property
    def key(self) -> Key:
        """Who asks for the same gets the same."""
        return self.row.owner, self.row.secret, self.row.scope

    def doom(self, reason: str, by: str) -> None:
        """Nobody may use it from now on."""
        self.row = replace(self.row, reason=reason, by=by)

    def say(self, fault: RingwallError) -> None:
        """Tell all who wait for the exchange that nothing comes of it."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(fault)
            self.answer.exception()  # nobody has to wait

    def over(self, now: float, monotonic: float) -> bool:
        """Whether its time is up by either clock. A wall clock that was set back in front of its beginning says
        nothing about its end any more, so that counts too."""
        return monotonic >= self.until or now >= self.row.expires_at or now < self.row.issued_at - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseInfo:
    """What operators see of a lease: names and times, no values."""

    lease: str
    tenant: str
    agent: str
    role: str
    secret: str
    state: State
    issued_at: float
    expires_at: float
    reason: str = ""
    by: str = ""
    tries: int = 0
    fault: str = ""

    @classmethod
    def of(cls, entry: Entry) -> LeaseInfo:
        """As it is now."""
        row = entry.row
        return cls(lease=row.id, tenant=row.owner.tenant, agent=row.owner.agent, role=row.owner.role,
                   secret=row.secret, state=entry.state, issued_at=row.issued_at, expires_at=row.expires_at,
                   reason=row.reason, by=row.by, tries=entry.tries, fault=entry.fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which leases an operator means: all that every filled member fits.

    Args:
        lease: its id.
        tenant: its tenant.
        agent: its agent; needs ``tenant``, because names of agents repeat.
        prefix: how ``secret/lease`` begins.

    """

    lease: str = ""
    tenant: str = ""
    agent: str = ""
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.agent and not self.tenant:
            raise BadInput("an agent's leases are named with its tenant", code="bad_selection",
                           remedy="--agent TENANT/AGENT")

    @property
    def empty(self) -> bool:
        """Whether it means all of them."""
        return not (self.lease or self.tenant or self.agent or self.prefix)

    def covers(self, row: LeaseRow) -> bool:
        """Whether it means this one."""
        return (self.lease in {"", row.id} and self.tenant in {"", row.owner.tenant}
                and self.agent in {"", row.owner.agent} and f"{row.secret}/{row.id}".startswith(self.prefix))


class Book:
    """All leases that are not ended, and which of them answers whom."""

    def __init__(self) -> None:
        self._all: dict[str, Entry] = {}
        self._current: dict[Key, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._all.values()))

    def get(self, lease: str) -> Entry | None:
        """The lease of this id."""
        return self._all.get(lease)

    def current(self, key: Key) -> Entry | None:
        """The lease that who asks for this is given, or waits for."""
        return self._current.get(key)

    def add(self, entry: Entry, *, usable: bool = True) -> None:
        """One more; where it is usable, the one that answers from now on."""
        self._all[entry.id] = entry
        if usable:
            self._current[entry.key] = entry

    def unlink(self, entry: Entry) -> None:
        """It answers nobody any more."""
        if self._current.get(entry.key) is entry:
            del self._current[entry.key]

    def remove(self, entry: Entry) -> None:
        """It is over."""
        self.unlink(entry)
        self._all.pop(entry.id, None)

    def of(self, covers: Callable[[Owner], bool]) -> list[Entry]:
        """Those of some owners."""
        return [entry for entry in self._all.values() if covers(entry.owner)]


def scope_of(details: Sequence[Detail]) -> str:
    """A digest of what a credential is good for, the same for every order of the same details."""
    return digest(sorted(canonical(msgspec.to_builtins(detail)).decode() for detail in details))


def early(seconds: float) -> float:
    """How long before its end a credential of this life is no longer given to new calls."""
    return min(EARLY_S, seconds / EARLY_PART)


def sealed(keeper: Keeper, row: LeaseRow, values: Mapping[str, str], handle: str) -> bytes:
    """What the row of a lease keeps; empty where the vault is not open: then the core's memory has it alone."""
    plain = msgspec.json.encode(_Kept(values=dict(values), handle=handle))
    try:
        return keeper.keep(row.owner, _purpose(row), plain)
    except RingwallError:
        return b""


def unsealed(keeper: Keeper, row: LeaseRow) -> tuple[dict[str, str], str]:
    """Values and handle from a row. Raises RingwallError: ``vault_sealed``, ``vault_damaged``, ..."""
    if not row.kept:
        raise BadInput("nothing of this lease's credential was kept", code="lease_unkept")
    plain = keeper.opened(row.owner, _purpose(row), row.kept)
    try:
        kept = msgspec.json.decode(plain, type=_Kept)
    except msgspec.MsgspecError:
        raise BadInput("what is kept of this lease cannot be read", code="vault_damaged") from None
    return kept.values, kept.handle


def _purpose(row: LeaseRow) -> str:
    """All that a row says of what it keeps: a row that was changed opens nothing."""
    told: Json = [row.id, row.secret, row.scope, row.revision, row.issued_at, row.expires_at]
    return f"lease/{row.id}/{hashlib.sha256(canonical(told)).hexdigest()}"
