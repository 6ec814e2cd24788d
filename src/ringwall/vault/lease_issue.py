"""How a lease comes to be, and how it is prolonged: nothing is asked of a provider before it is durable here."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from ringwall.clock import Clock
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.vault.brokers.interface import Minted
from ringwall.vault.interface import Credential, Owner, Wanted
from ringwall.vault.lease_book import Entry, Keeper, Notes, early, sealed
from ringwall.vault.lease_ends import Ends, Orders, in_time
from ringwall.vault.lease_rows import LeaseRow, LeaseRows

_NOT_MADE: Final = frozenset({
    "provider_denied", "provider_address_refused", "provider_missing", "scope_empty", "scope_inexpressible",
    "scope_too_large", "unknown_secret", "broker_busy",
})
"""What a broker refuses with before anything exists at the provider."""


AT_ONCE: Final = 4  # exchanges of one owner at once: of a tenant's 16, so that the others' need not stand in line
WAIT_S: Final = 15.0  # for one's turn, as in the broker's client


class Issue:
    """Makes leases usable.

    Args:
        rows: where they are kept.
        keeper: encrypts what a row keeps.
        journal: where they are told.
        clock: when they begin and end.
        orders: what is asked of a broker.
        ends: finds the broker, and what it knows a credential by.

    """

    def __init__(self, *, rows: LeaseRows, keeper: Keeper, journal: Notes, clock: Clock, orders: Orders,
                 ends: Ends) -> None:
        self._rows = rows
        self._keeper = keeper
        self._journal = journal
        self._clock = clock
        self._orders = orders
        self._ends = ends
        self._turns: defaultdict[Owner, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    async def make(self, entry: Entry, wanted: Wanted, seconds: int) -> None:
        """Turn a pending lease into one that is used.

        Raises:
            RingwallError: it is not usable; ``entry.asked`` says whether the provider may have made something.

        """
        turn = self._turns[entry.owner]
        try:
            async with asyncio.timeout(WAIT_S):
                await turn.acquire()
        except TimeoutError:
            raise Unavailable("this agent has too much asked for already", code="broker_busy") from None
        try:
            await self._make(entry, wanted, seconds)
        finally:
            turn.release()

    async def _make(self, entry: Entry, wanted: Wanted, seconds: int) -> None:
        if entry.doomed:  # while it waited
            raise revoked()
        order = await self._orders.minting(wanted, entry.id, seconds)
        entry.stored = True  # also where the thread that does it outlives this task
        try:
            await asyncio.to_thread(self._rows.add, entry.row)
        except Unavailable:
            entry.stored = False
            raise
        await self._journal.note(self._ends.event(
            "lease_issued", entry.row, expires_at=entry.row.expires_at, scope=entry.row.scope,
            tools=[detail.identifier for detail in wanted.details]))
        entry.told = True
        broker = self._ends.broker(entry.owner.tenant)
        if entry.doomed:
            raise revoked()
        entry.asked = True
        try:
            minted = await in_time(broker.mint(wanted.secret, order))
        except RingwallError as fault:
            entry.asked = fault.code not in _NOT_MADE
            raise
        await self._activate(entry, minted)

    async def longer(self, entry: Entry, seconds: int, by: str) -> None:
        """Prolong a lease in use to ``seconds`` from now, or to when its provider says. Raises RingwallError."""
        row, now, monotonic = entry.row, self._clock.now(), self._clock.monotonic()
        handle = self._ends.handle(entry)
        order = await self._orders.later(entry.owner, row.secret, row.id, seconds)
        await self._journal.note(self._ends.event("lease_renewed", row, by=by, expires_at=now + seconds))
        if entry.doomed:
            raise revoked()
        said = await in_time(self._ends.broker(entry.owner.tenant).renew(row.secret, order, handle))
        values: Mapping[str, str] = entry.credential.values if entry.credential is not None else {}
        new = replace(row, expires_at=max(_clamped(said, now, now + seconds), row.expires_at))
        new = await asyncio.to_thread(self._write, self._rows.renew, new, values, handle)
        if entry.doomed:
            raise revoked()
        self._live(entry, new, min(entry.limit, monotonic + new.expires_at - now), values)

    async def _activate(self, entry: Entry, minted: Minted) -> None:
        entry.handle = minted.handle
        values = _values(minted)
        row = replace(entry.row, expires_at=_clamped(minted.expires_at, self._clock.now(), entry.row.expires_at))
        row = await asyncio.to_thread(self._write, self._rows.activate, row, values, minted.handle)
        if entry.doomed:
            raise revoked()
        entry.state = "active"
        self._live(entry, row, entry.until - (entry.row.expires_at - row.expires_at), values)
        if entry.answer is not None and not entry.answer.done():
            entry.answer.set_result(None)
        entry.answer = None

    def _write(self, change: Callable[[str, float, bytes], None], row: LeaseRow, values: Mapping[str, str],
               handle: str) -> LeaseRow:
        """The row with what it keeps, durable. Blocks."""
        row = replace(row, kept=sealed(self._keeper, row, values, handle) if values else b"")
        change(row.id, row.expires_at, row.kept)
        return row

    def _live(self, entry: Entry, row: LeaseRow, until: float, values: Mapping[str, str]) -> None:
        """It may be used, until then."""
        entry.row = row
        entry.until = until
        entry.fresh = until - early(row.expires_at - row.issued_at)
        if values:
            entry.credential = Credential(lease=row.id, secret=row.secret, expires_at=row.expires_at, values=values)


def revoked() -> Refused:
    """Nobody may use it any more."""
    return Refused("this credential was revoked", code="lease_revoked", remedy="ask the operator")


def _values(minted: Minted) -> dict[str, str]:
    """What was minted. Raises Refused (``provider_garbage``) for nothing."""
    values = dict(minted.values)
    if not values or not all(values.values()):
        raise _garbage()
    return values


def _clamped(said: float, now: float, most: float) -> float:
    """When it ends: when its provider says so, and never later than ``most``.

    Raises Refused (``provider_garbage``): that is no time, or over already.
    """
    if not math.isfinite(said) or said <= now:
        raise _garbage()
    return min(said, most)


def _garbage() -> Refused:
    return Refused("the provider's answer holds no credential", code="provider_garbage")
