"""Leases: every minted credential, from before its provider is asked until after it was told to end it.

A lease goes ``pending`` (row and record are durable, then the provider is asked), ``active`` (row durable, then it
is used), ``revoking`` (used no more, row durable, then the provider is told), ``ended`` (told; its record, then its
row goes). Nobody uses a credential whose lease is not ``active`` in memory, whatever the rest of the machine does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.manifest.types import MAX_SECONDS
from ringwall.store.interface import Store
from ringwall.vault.interface import Credential, Owner, Wanted
from ringwall.vault.lease_book import (
    Book,
    Entry,
    Keeper,
    LeaseInfo,
    Notes,
    Selection,
    early,
    scope_of,
    unsealed,
)
from ringwall.vault.lease_ends import LATE_S, Ends, Minter, Orders
from ringwall.vault.lease_issue import Issue, revoked
from ringwall.vault.lease_rows import LeaseRow, LeaseRows

log = logging.getLogger(__name__)

MAX_LEASES: Final = 256  # of one owner: each may be a role in a database; beyond it the longest unused one ends
IDLE_S: Final = 60.0  # a credential that was asked for this recently is in use: it is not ended to make room
TICK_S: Final = 1.0  # between two looks at the clocks: a wall clock may be set
_OPEN_VALUES: Final = frozenset({"username", "access_key_id"})  # names, no secrets


class Leases:
    """Issues, keeps and ends leases. Used from one event loop.

    Args:
        store: the database for their rows.
        vault: encrypts what a row keeps; where it is not open, a credential is in this process's memory only.
        journal: no record, no credential.
        clock: a lease ends when either of its clocks says so.
        brokers: a tenant's broker process; None: it is not there.
        orders: what is asked of it (``vault.orders``).
        frozen: why an owner may use nothing now; empty: he may.
        on_drop: told of each credential that must not be used any more, at once; must not raise or wait.
        trust_domain: of the manifest.
        revision: of the manifest: under another one a lease of before is not used any more.

    """

    def __init__(self, *, store: Store, vault: Keeper, journal: Notes, clock: Clock,
                 brokers: Callable[[str], Minter | None], orders: Orders, frozen: Callable[[Owner], str],
                 on_drop: Callable[[Credential], None], trust_domain: str, revision: str) -> None:
        self._rows = LeaseRows(store)
        self._vault = vault
        self._clock = clock
        self._frozen = frozen
        self._on_drop = on_drop
        self._revision = revision
        self._book = Book()
        self._ends = Ends(rows=self._rows, keeper=vault, journal=journal, clock=clock, brokers=brokers,
                          orders=orders, trust_domain=trust_domain, book=self._book)
        self._issue = Issue(rows=self._rows, keeper=vault, journal=journal, clock=clock, orders=orders,
                            ends=self._ends)
        self._exchanges: set[asyncio.Task[None]] = set()
        self._open = False

    async def restore(self, keeps: Callable[[Owner], bool]) -> None:
        """Take up what a core before this one left; before this nothing is issued.

        Of a life before only the wall clock tells. Where it stands before the beginning of any lease, it was set
        back, and nothing that it says of an end is worth anything: all of them are revoked.

        Args:
            keeps: whether an owner still has a process, and is not frozen: what others have is revoked.

        Raises:
            Unavailable: the database cannot be read or written.

        """
        rows, damaged = await asyncio.to_thread(self._rows.open)
        set_back = any(self._clock.now() < row.issued_at - 1.0 for row in rows)
        for row in rows:
            entry = self._restored(row)
            self._book.add(entry, usable=row.state == "active")
            if row.state == "active":
                why = "clock_set_back" if set_back else self._unusable(entry, keeps(row.owner))
                if why:
                    self._drop([entry], why)
                continue
            if not entry.doomed:
                entry.doom("restarted", "")
            self._ends.begin(entry)
        for lease in damaged:
            log.error("the row of lease %s is damaged: what it stands for is not revoked", ascii(lease))
        self._open = True

    async def obtain(self, wanted: Wanted, seconds: int, *, own: bool = False) -> Credential:
        """The credential for this: one that is there, or a new one. Askers for the same share one exchange.

        Args:
            wanted: for whom, of which secret, good for what.
            seconds: how long a new one lives, at most ``MAX_SECONDS``.
            own: it is for Ringwall itself, not for the agent.

        Raises:
            Refused: ``frozen``, ``lease_revoked``, ``too_many_leases``, ``provider_garbage``, what the broker
                refuses.
            Unavailable: ``broker_unavailable``, ``store_unwritable``, ``leases_closed``, what the broker lacks.
            RingwallError: what making the order raised.
            AuditError: it could not be written down, so nothing was made.

        """
        owner = Owner.broker(wanted.who.tenant) if own else Owner.of(wanted.who)
        self._refuse_frozen(owner)
        if not self._open:
            raise Unavailable("leases are not open", code="leases_closed", remedy="wait for the core to start")
        entry = self._book.current((owner, wanted.secret, scope_of(wanted.details)))
        if entry is not None and entry.answer is None and (found := self._usable(entry)) is not None:
            return found
        if entry is None or entry.answer is None:
            entry = self._begin(owner, wanted, min(max(seconds, 1), MAX_SECONDS))
        if entry.answer is not None:
            await asyncio.shield(entry.answer)
        self._refuse_frozen(owner)  # it may have been frozen while the exchange went on
        found = self._usable(entry)
        if found is None:
            raise revoked()
        return found

    async def renew(self, lease: str, by: str) -> LeaseInfo:
        """Let it live longer, never past ``MAX_SECONDS`` from its issue.

        Raises:
            Refused: ``unknown_lease``, ``lease_revoked``, ``not_renewable``, what the broker refuses.
            Unavailable: the broker, the vault or the database is not there: it ends when it would have.
            AuditError: it could not be written down, so nothing was done.

        """
        entry = self._book.get(lease)
        if entry is None or entry.state != "active":
            raise Refused("there is no such lease that can be used", code="unknown_lease",
                          remedy="`ringwall leases` lists them")
        row, now, monotonic = entry.row, self._clock.now(), self._clock.monotonic()
        if entry.over(now, monotonic):
            self._drop([entry], "expired")
            raise revoked()
        seconds = int(min(row.issued_at + MAX_SECONDS - now, entry.limit - monotonic))
        if now + seconds <= row.expires_at:
            raise Refused(f"a lease lives {MAX_SECONDS} seconds at most", code="not_renewable")
        if entry.credential is None:
            self._wake(entry)
        if entry.doomed:
            raise revoked()
        await self._issue.longer(entry, seconds, by)
        return LeaseInfo.of(entry)

    def listed(self, selection: Selection | None = None) -> list[LeaseInfo]:
        """Every lease that is not ended, oldest first."""
        wanted = selection or Selection()
        return sorted((LeaseInfo.of(entry) for entry in self._book if wanted.covers(entry.row)),
                      key=lambda info: (info.issued_at, info.lease))

    async def revoke(self, selection: Selection, by: str) -> list[LeaseInfo]:
        """Let nobody use these from now on, and tell their providers.

        Returns:
            Each as it stands after its provider was asked once: ``ended``, or ``revoking`` with a ``fault``, and
            then it is tried again.

        Raises:
            BadInput: ``bad_selection``: it names nothing, and all leases would end.

        """
        if selection.empty:
            raise BadInput("this names no leases", code="bad_selection",
                           remedy="name a lease, an agent, a tenant or a prefix")
        chosen = [entry for entry in self._book if selection.covers(entry.row)]
        self._drop(chosen, "operator", by)
        for entry in chosen:
            if entry.state in {"revoking", "ended"}:
                self._ends.begin(entry)  # also one that waits for its next try
        await asyncio.gather(*(asyncio.shield(entry.work) for entry in chosen if entry.work is not None))
        return [LeaseInfo.of(entry) for entry in chosen]

    def freeze(self, covers: Callable[[Owner], bool], reason: str = "frozen") -> int:
        """Let these owners use nothing from this moment on; providers are told afterwards. How many ended.

        What an exchange under way still makes for them is revoked and never used.
        """
        return self._drop(self._book.of(covers), reason)

    def ended(self, owner: Owner) -> int:
        """An agent has no process any more: its credentials have no use. How many ended."""
        return self._drop(self._book.of(lambda one: one == owner), "agent_ended")

    async def told(self, owner: Owner) -> None:
        """When the providers of what this owner had were each asked once to end it."""
        work = {one.work for one in self._book if one.owner == owner and one.work and not one.work.done()}
        if work:
            await asyncio.wait(work)

    def unsealed(self) -> None:
        """The vault can be read: what could not be revoked without it is tried now, and not after its pause."""
        for entry in self._book:
            if entry.state == "revoking" and entry.fault == "vault_sealed":
                self._ends.begin(entry)

    def values(self, owners: Iterable[Owner]) -> tuple[bytes, ...]:
        """The secret ones of what these owners can use now, to recognise them in output."""
        wanted = frozenset(owners)
        return tuple(value.encode() for one in self._book if one.owner in wanted and one.credential is not None
                     for name, value in one.credential.values.items() if name not in _OPEN_VALUES)

    def tick(self) -> float:
        """End what is over, try again what failed. Seconds until that may be needed next."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        self._drop([one for one in self._book if one.state == "active" and one.over(now, monotonic)], "expired")
        soon = TICK_S
        for entry in self._book:
            if entry.state == "active":
                soon = min(soon, entry.until - monotonic, entry.row.expires_at - now)
            elif entry.state != "pending":
                soon = min(soon, self._ends.again(entry, monotonic))
        return max(soon, 0.01)

    async def run(self) -> None:
        """Keep looking at the clocks, for as long as the core lives."""
        while True:  # noqa: ASYNC110 (clocks make no events)
            await asyncio.sleep(self.tick())

    async def settled(self) -> None:
        """When nothing is under way any more: what is left then waits for its next try."""
        while work := {*self._exchanges, *(one.work for one in self._book if one.work and not one.work.done())}:
            await asyncio.wait(work)

    async def close(self) -> None:
        """Issue nothing more and let go of what is under way: the next core takes it up from the rows."""
        self._open = False
        work = {*self._exchanges, *(one.work for one in self._book if one.work is not None)}
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    def _restored(self, row: LeaseRow) -> Entry:
        monotonic = self._clock.monotonic()
        until = monotonic + min(row.expires_at - self._clock.now(), MAX_SECONDS)
        pending = row.state == "pending"
        return Entry(row=row, until=until, limit=until + row.issued_at + MAX_SECONDS - row.expires_at,
                     fresh=until - early(row.expires_at - row.issued_at), used=monotonic, asked=True, stored=True,
                     told=True, state="revoking" if pending else row.state,
                     again_at=monotonic + LATE_S if pending else 0.0)

    def _unusable(self, entry: Entry, keeps: bool) -> str:
        """Why an active lease of a core before this one is not taken up; empty: it is."""
        row = entry.row
        if entry.over(self._clock.now(), self._clock.monotonic()):
            return "expired"
        if not keeps:
            return "agent_ended"
        if row.revision != self._revision:
            return "manifest_changed"  # it may mean another provider by this name, or grant less
        return "" if row.kept else "restarted"

    def _refuse_frozen(self, owner: Owner) -> None:
        if self._frozen(owner):
            raise Refused("this agent is frozen", code="frozen", remedy="ask the operator")

    def _usable(self, entry: Entry) -> Credential | None:
        """Its credential, if it may be given to a call now."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if entry.state != "active" or entry.doomed:
            return None
        if entry.over(now, monotonic):
            self._drop([entry], "expired")
            return None
        if monotonic >= entry.fresh:
            return None
        if entry.credential is None:
            self._wake(entry)
        if entry.credential is not None:
            entry.used = monotonic
        return entry.credential

    def _wake(self, entry: Entry) -> None:
        """Take what the row of a core before this one kept."""
        try:
            values, entry.handle = unsealed(self._vault, entry.row)
        except RingwallError as fault:
            if fault.code != "vault_sealed":
                self._drop([entry], fault.code)
            return
        entry.credential = Credential(lease=entry.id, secret=entry.row.secret, expires_at=entry.row.expires_at,
                                      values=values)

    def _begin(self, owner: Owner, wanted: Wanted, seconds: int) -> Entry:
        """A new lease, and the exchange for it."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        self._make_room(owner, monotonic)
        row = LeaseRow(id=secrets.token_hex(10), owner=owner, launch=wanted.launch, secret=wanted.secret,
                       scope=scope_of(wanted.details), revision=self._revision, state="pending", issued_at=now,
                       expires_at=now + seconds)
        entry = Entry(row=row, until=monotonic + seconds, limit=monotonic + MAX_SECONDS, used=monotonic,
                      fresh=monotonic + seconds - early(seconds), answer=asyncio.get_running_loop().create_future())
        self._book.add(entry)
        task = asyncio.create_task(self._exchange(entry, wanted, seconds))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)
        return entry

    def _make_room(self, owner: Owner, monotonic: float) -> None:
        held = self._book.of(lambda one: one == owner)
        if len(held) < MAX_LEASES:
            return
        idle = [one for one in held if one.state == "active" and monotonic - one.used >= IDLE_S]
        if not idle:
            raise Refused("this agent has as many credentials as it may have, all in use or being revoked",
                          code="too_many_leases", remedy="`ringwall leases` lists them")
        self._drop([min(idle, key=lambda one: one.used)], "made_room")

    async def _exchange(self, entry: Entry, wanted: Wanted, seconds: int) -> None:
        """Ask the provider. However this ends, the lease is usable afterwards, or is being ended."""
        try:
            await self._issue.make(entry, wanted, seconds)
        except RingwallError as fault:
            self._failed(entry, fault)
        finally:
            if entry.state == "pending":  # the core stops, or this is a fault of ours
                self._failed(entry, Unavailable("making the credential did not end well", code="lease_failed"))

    def _failed(self, entry: Entry, fault: RingwallError) -> None:
        """No credential comes of this one."""
        entry.say(fault)
        entry.answer = None
        if not entry.doomed:
            entry.doom(fault.code, "")
            self._book.unlink(entry)
        if entry.asked and entry.handle is None:  # nobody knows what the provider still does about it
            entry.again_at = self._clock.monotonic() + LATE_S
        entry.state = "revoking"
        if self._open:
            self._ends.begin(entry)

    def _drop(self, chosen: Sequence[Entry], reason: str, by: str = "") -> int:
        """Let nobody use these any more: without waiting for anything, and first for all of them."""
        fresh = [entry for entry in chosen if not entry.doomed]
        gone: list[Credential] = []
        for entry in fresh:
            entry.doom(reason, by)
            self._book.unlink(entry)
            if entry.credential is not None:
                gone.append(entry.credential)
                entry.credential = None
            if entry.state == "pending":
                entry.say(revoked())  # its exchange ends it once it knows what there is to end
            else:
                entry.state = "revoking"
        for credential in gone:
            self._on_drop(credential)
        for entry in fresh:
            if entry.state == "revoking":
                self._ends.begin(entry)
        return len(fresh)
