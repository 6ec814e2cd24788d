"""How a lease ends: the row, the provider, the log, in this order, each tried again until it worked.

By then nobody uses the credential any more: that is done first, in ``leases``, and needs nothing from here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from ringwall.call import Event, Json
from ringwall.clock import Clock
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.interface import BROKER, Owner, Wanted
from ringwall.vault.lease_book import Book, Entry, Keeper, Notes, unsealed
from ringwall.vault.lease_rows import LeaseRow, LeaseRows

T = TypeVar("T")
BROKER_S: Final = 40.0  # the broker's client gives up before: after 15 s of waiting in line, and 15 more
AT_ONCE: Final = 8  # leases of a tenant being ended: a broker process has 16 threads, and others want credentials
FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 300.0  # a provider that is back should not have to wait longer for us
LATE_S: Final = 60.0  # so long a provider may still make what we gave up waiting for: it is revoked once more then
_WAITS: Final = frozenset({"vault_sealed"})  # what is kept can be read later; anything else will not get better


class Minter(Protocol):
    """A tenant's broker process, as ``broker_client`` shows it. Raises Refused and Unavailable with their codes."""

    async def mint(self, secret: str, order: Order) -> Minted:
        """Make a credential."""
        ...

    async def renew(self, secret: str, order: Order, handle: str) -> float:
        """Prolong it."""
        ...

    async def revoke(self, secret: str, order: Order, handle: str) -> None:
        """End it."""
        ...


class Orders(Protocol):
    """Makes orders for brokers, with all that proves for whom they are. Raises RingwallError."""

    async def minting(self, wanted: Wanted, lease: str, seconds: int) -> Order:
        """For a new credential."""
        ...

    async def later(self, owner: Owner, secret: str, lease: str, seconds: int) -> Order:
        """For one that exists, to renew or to revoke it."""
        ...


class Ends:
    """Ends leases that nobody may use any more.

    Args:
        rows: their rows.
        keeper: opens what the rows keep.
        journal: where each end is told.
        clock: for pauses between tries.
        brokers: a tenant's broker process; None: it is not there.
        orders: what is asked of it.
        trust_domain: of the subjects in the log.
        book: all leases.

    """

    def __init__(self, *, rows: LeaseRows, keeper: Keeper, journal: Notes, clock: Clock,
                 brokers: Callable[[str], Minter | None], orders: Orders, trust_domain: str, book: Book) -> None:
        self._rows = rows
        self._keeper = keeper
        self._journal = journal
        self._clock = clock
        self._brokers = brokers
        self._orders = orders
        self._trust_domain = trust_domain
        self._book = book
        self._few: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    def begin(self, entry: Entry) -> asyncio.Task[None]:
        """Do all that is left to be done about its end, or as much as works now."""
        if entry.work is None or entry.work.done():
            entry.work = asyncio.create_task(self._settle(entry))
        return entry.work

    def again(self, entry: Entry, monotonic: float) -> float:
        """Try once more if it is time; how many seconds that is off."""
        if entry.work is not None and not entry.work.done():
            return FIRST_RETRY_S
        if monotonic >= entry.next_try:
            self.begin(entry)
            return FIRST_RETRY_S
        return entry.next_try - monotonic

    def broker(self, tenant: str) -> Minter:
        """Raises Unavailable (``broker_unavailable``)."""
        found = self._brokers(tenant)
        if found is None:
            raise Unavailable("this tenant's broker process is not running", code="broker_unavailable",
                              remedy="`ringwall doctor`")
        return found

    def handle(self, entry: Entry) -> str:
        """What the provider needs to know it by. Raises Unavailable (``vault_sealed``): somebody must unseal it."""
        if entry.handle is None:
            try:
                entry.handle = unsealed(self._keeper, entry.row)[1]
            except RingwallError as fault:
                if fault.code in _WAITS:
                    raise
                entry.handle = ""  # the lease's id is all there is: enough for what the provider names by it
        return entry.handle

    def event(self, name: str, row: LeaseRow, **more: Json) -> Event:
        """A record of a lease: names, never values."""
        owner = row.owner
        subject = "ringwall" if owner.agent == BROKER else (
            f"spiffe://{self._trust_domain}/tenant/{owner.tenant}/agent/{owner.agent}/role/{owner.role}")
        return Event(type=name, tenant=owner.tenant, subject=subject,
                     body={"lease": row.id, "secret": row.secret, "launch": row.launch, **more})

    async def _settle(self, entry: Entry) -> None:
        async with self._few[entry.owner.tenant]:
            try:
                await self._provider(entry)
                await self._told(entry)
                if entry.stored:
                    await asyncio.to_thread(self._rows.forget, entry.id)
            except RingwallError as fault:
                await self._failed(entry, fault)
            else:
                self._book.remove(entry)

    async def _provider(self, entry: Entry) -> None:
        if entry.state == "ended":
            return
        row = entry.row
        if entry.stored:
            await self._tried(self._rows.revoking, row.id, row.reason, row.by)
        entry.outcome = await self._revoked(entry) if entry.asked else "not_made"
        left = entry.again_at - self._clock.monotonic()
        if left > 0 and entry.outcome == "revoked":
            entry.next_try = entry.again_at
            raise Unavailable("the provider may still make what it was asked for", code="lease_unsure")
        entry.state = "ended"
        if entry.stored:
            await self._tried(self._rows.ended, row.id)

    async def _revoked(self, entry: Entry) -> str:
        row = entry.row
        handle = self.handle(entry)
        order = await self._orders.later(row.owner, row.secret, row.id, 0)
        try:
            await in_time(self.broker(row.owner.tenant).revoke(row.secret, order, handle))
        except Refused as fault:
            if fault.code != "not_revocable":
                raise
            return "not_revocable"
        return "revoked"

    async def _told(self, entry: Entry) -> None:
        if entry.told:
            row = entry.row
            await self._journal.note(self.event(
                "lease_revoked", row, reason=row.reason, by=row.by, provider=entry.outcome or "revoked"))
            entry.told = False

    async def _tried(self, work: Callable[..., None], *arguments: str) -> None:
        """A database that cannot be written keeps no credential alive: after a restart all is done again."""
        try:
            await asyncio.to_thread(work, *arguments)
        except Unavailable as fault:
            entry = self._book.get(arguments[0])
            if entry is not None:
                entry.fault = fault.code

    async def _failed(self, entry: Entry, fault: RingwallError) -> None:
        if fault.code == "lease_unsure":
            return
        news = fault.code != entry.fault
        entry.tries += 1
        entry.fault = fault.code
        pause = min(FIRST_RETRY_S * 2 ** min(entry.tries - 1, 16), LAST_RETRY_S)
        entry.next_try = self._clock.monotonic() + pause
        if news and entry.state != "ended":
            try:
                await self._journal.note(self.event("lease_revoke_failed", entry.row, reason=entry.row.reason,
                                                    code=fault.code))
            except RingwallError:
                return  # `ringwall leases` shows it, and its end will be told


async def in_time(work: Awaitable[T]) -> T:
    """What a broker process does. Raises Unavailable (``broker_unavailable``) where it takes too long."""
    try:
        async with asyncio.timeout(BROKER_S):
            return await work
    except TimeoutError:
        raise Unavailable("this tenant's broker process does not answer", code="broker_unavailable",
                          remedy="`ringwall doctor`") from None
