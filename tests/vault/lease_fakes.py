"""What leases need around them, for tests: a provider that knows what is alive there, a store in memory, clocks."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tests.fakes import FakeJournal

from ringwall.call import Json, LaunchId
from ringwall.errors import AuditError, BadInput, Refused, RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.details import Detail
from ringwall.store.interface import Row, Value, Writer
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.interface import Credential, Owner, Wanted
from ringwall.vault.lease_rows import LeaseRow, LeaseRows
from ringwall.vault.leases import Leases

T = TypeVar("T")
DOMAIN = "example.org"
DETAIL = Detail(identifier="files/get", actions=("read",), locations=("s3:team-1/a",))


def who(agent: str = "alice", tenant: str = "acme", role: str = "reader") -> SpiffeId:
    return SpiffeId.make(trust_domain=DOMAIN, tenant=tenant, agent=agent, role=role)


def wanted(agent: str = "alice", secret: str = "bucket", place: str = "s3:team-1/a",  # noqa: S107 (a name)
           tenant: str = "acme") -> Wanted:
    return Wanted(who=who(agent, tenant), launch=LaunchId("l1"), secret=secret,
                  details=(replace(DETAIL, locations=(place,)),))


def owner(agent: str = "alice", tenant: str = "acme") -> Owner:
    return Owner.of(who(agent, tenant))


class Clocks:
    """A wall clock and a monotonic one, apart."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.steady = 500.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class _Work:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Value] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self._connection.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()


class MemoryStore:
    """A database that forgets with the process. ``broken``: it cannot be written; ``writes``: how often it was."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self.broken = False
        self.writes = 0
        self.before: Callable[[], None] = lambda: None

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def write(self, work: Callable[[Writer], T]) -> T:
        self.before()
        with self._lock:
            if self.broken:
                raise Unavailable("the disk is full", code="store_unwritable")
            self.writes += 1
            return work(_Work(self._connection))

    def close(self) -> None:
        self._connection.close()


class FakeVault:
    """Keeps things under their owner and purpose. ``fault``: its code while it is sealed or absent."""

    def __init__(self) -> None:
        self.fault = ""
        self.secrets: dict[tuple[Owner, str], bytes] = {}

    def _check(self) -> None:
        if self.fault:
            raise Unavailable("the vault is not open", code=self.fault)

    def keep(self, owner: Owner, purpose: str, plain: bytes) -> bytes:
        self._check()
        return repr((owner, purpose)).encode() + b"\0" + bytes(255 - byte for byte in plain)

    def opened(self, owner: Owner, purpose: str, blob: bytes) -> bytes:
        self._check()
        head, _, body = blob.partition(b"\0")
        if head != repr((owner, purpose)).encode():
            raise BadInput("it is of another", code="vault_damaged")
        return bytes(255 - byte for byte in body)

    def read(self, owner: Owner, name: str) -> bytes:
        self._check()
        if (owner, name) not in self.secrets:
            raise BadInput("there is none", code="no_such_secret")
        return self.secrets[owner, name]


class Provider:
    """What lives at a provider, whoever asks for it; a credential there never ends by itself.

    ``gate``: mints wait for it. ``late``: they make it, and say nothing; ``down``: nobody can ask; ``answer``: what
    is changed in what it says.
    """

    def __init__(self, clock: Clocks) -> None:
        self._clock = clock
        self.alive: dict[str, Order] = {}
        self.minted: list[Order] = []
        self.revoked: list[tuple[str, str]] = []
        self.renewed: list[Order] = []
        self.gate: asyncio.Event | None = None
        self.mint_fault: RingwallError | None = None
        self.late_fault: RingwallError | None = None
        self.revoke_fault: RingwallError | None = None
        self.renew_fault: RingwallError | None = None
        self.answer: Callable[[Minted], Minted] = lambda minted: minted
        self.longer = 0.0

    async def mint(self, secret: str, order: Order) -> Minted:
        if self.gate is not None:
            await self.gate.wait()
        if self.mint_fault is not None:
            raise self.mint_fault
        self.minted.append(order)
        self.alive[order.lease] = order
        if self.late_fault is not None:
            raise self.late_fault
        return self.answer(Minted(values={"username": "u", "password": f"pw-{order.lease}"},
                                  expires_at=self._clock.now() + order.seconds + self.longer,
                                  handle=f"h-{order.lease}"))

    async def renew(self, secret: str, order: Order, handle: str) -> float:
        if self.renew_fault is not None:
            raise self.renew_fault
        self.renewed.append(order)
        return self._clock.now() + order.seconds + self.longer

    async def revoke(self, secret: str, order: Order, handle: str) -> None:
        if self.revoke_fault is not None:
            raise self.revoke_fault
        self.revoked.append((order.lease, handle))
        self.alive.pop(order.lease, None)


class PlainOrders:
    """Orders without tokens. ``fault``: none can be made; ``login_fault``: the login for revoking is not there."""

    def __init__(self) -> None:
        self.fault: RingwallError | None = None
        self.later_fault: RingwallError | None = None

    async def minting(self, wanted: Wanted, lease: str, seconds: int) -> Order:
        if self.fault is not None:
            raise self.fault
        return Order(lease=lease, seconds=seconds, details=wanted.details)

    async def later(self, owner: Owner, secret: str, lease: str, seconds: int) -> Order:
        if self.later_fault is not None:
            raise self.later_fault
        return Order(lease=lease, seconds=seconds)


@dataclass
class World:
    """All around leases. ``leases()`` is one core; another one over the same is a restart."""

    clock: Clocks = field(default_factory=Clocks)
    store: MemoryStore = field(default_factory=MemoryStore)
    vault: FakeVault = field(default_factory=FakeVault)
    journal: FakeJournal = field(default_factory=FakeJournal)
    orders: PlainOrders = field(default_factory=PlainOrders)
    frozen: set[Owner] = field(default_factory=set)
    dropped: list[Credential] = field(default_factory=list)
    revision: str = "r1"
    running: bool = True
    broker: Provider = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.broker = Provider(self.clock)

    def leases(self) -> Leases:
        return Leases(
            store=self.store, vault=self.vault, journal=self.journal, clock=self.clock,
            brokers=lambda tenant: self.broker if self.running else None, orders=self.orders,
            frozen=lambda one: "yes" if one in self.frozen else "", on_drop=self.dropped.append,
            trust_domain=DOMAIN, revision=self.revision)

    async def core(self) -> Leases:
        leases = self.leases()
        await leases.restore(lambda one: one not in self.frozen)
        return leases

    def rows(self) -> dict[str, LeaseRow]:
        broken, self.store.broken = self.store.broken, False
        found = {row.id: row for row in LeaseRows(self.store).open()[0]}
        self.store.broken = broken
        return found

    def notes(self, name: str = "") -> list[Json]:
        return [event for event in self.journal.of("note") if name in {"", event.type}]

    def full_log(self) -> None:
        self.journal.broken = {"note"}


DENIED = Refused("no", code="provider_denied")
SLOW = Unavailable("slow", code="provider_slow")
UNREACHABLE = Unavailable("gone", code="provider_unreachable")
NOT_REVOCABLE = Refused("no", code="not_revocable")
AUDIT = AuditError("the disk is full")
