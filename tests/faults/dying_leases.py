"""A core that issues a lease and ends it, and is killed at one step of that: ``dying_leases.py FOLDER STEP``.

The provider is a folder, ``alive``, with a file for each credential. Steps are counted over all that lasts: writes
of the store (before and after each), records, what the provider does. Where STEP is not reached, it prints how many
there are.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.vault.lease_fakes import DOMAIN, PlainOrders, wanted

from ringwall.call import Event
from ringwall.clock import SystemClock
from ringwall.interface import Seq
from ringwall.keys.file import FileRootKeys
from ringwall.store.interface import Row, Value, Writer
from ringwall.store.sqlite import SqliteStore
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.embedded import EmbeddedVault
from ringwall.vault.interface import Owner
from ringwall.vault.leases import Leases

T = TypeVar("T")


class Steps:
    """Kills this process at one step."""

    def __init__(self, last: int) -> None:
        self.done = 0
        self._last = last

    def step(self) -> None:
        self.done += 1
        if self.done == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingStore:
    """A step before each transaction, and one after it."""

    def __init__(self, store: SqliteStore, steps: Steps) -> None:
        self._store = store
        self._steps = steps

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._store.rows(sql, values)

    def write(self, work: Callable[[Writer], T]) -> T:
        self._steps.step()
        done = self._store.write(work)
        self._steps.step()
        return done

    def close(self) -> None:
        self._store.close()


class FolderProvider:
    """Its credentials are files, and outlive whoever asked for them."""

    def __init__(self, folder: Path, steps: Steps) -> None:
        self.alive = folder / "alive"
        self.alive.mkdir(exist_ok=True)
        self._steps = steps

    async def mint(self, secret: str, order: Order) -> Minted:
        self._steps.step()
        (self.alive / order.lease).touch()
        self._steps.step()
        return Minted(values={"password": "pw"}, expires_at=SystemClock().now() + order.seconds, handle=order.lease)

    async def renew(self, secret: str, order: Order, handle: str) -> float:
        return SystemClock().now() + order.seconds

    async def revoke(self, secret: str, order: Order, handle: str) -> None:
        self._steps.step()
        (self.alive / order.lease).unlink(missing_ok=True)
        self._steps.step()


class FileJournal:
    """A record is a line."""

    def __init__(self, folder: Path, steps: Steps) -> None:
        self.file = folder / "log"
        self._steps = steps

    async def note(self, event: Event) -> Seq:
        self._steps.step()
        with self.file.open("a") as out:
            out.write(f"{event.type} {event.body['lease']}\n")
        self._steps.step()
        return Seq("acme/1")


def core(folder: Path, steps: Steps) -> tuple[Leases, FolderProvider]:
    """Leases on a real store, with a real vault."""
    store = SqliteStore(folder / "leases.db")
    vault = EmbeddedVault(SqliteStore(folder / "vault.db"), SystemClock())
    made = vault.state == "absent"
    root = FileRootKeys.create(folder / "root.key") if made else FileRootKeys.open(folder / "root.key")
    if made:
        vault.init(root, 1)
    else:
        vault.unseal(root)
    provider = FolderProvider(folder, steps)
    return Leases(
        store=DyingStore(store, steps), vault=vault, journal=FileJournal(folder, steps), clock=SystemClock(),
        brokers=lambda tenant: provider, orders=PlainOrders(), frozen=lambda one: "", on_drop=lambda one: None,
        trust_domain=DOMAIN, revision="r1"), provider


async def life(folder: Path, steps: Steps) -> None:
    """Issue, use, renew, end."""
    leases, _ = core(folder, steps)
    await leases.restore(lambda one: True)
    credential = await leases.obtain(wanted(), 60)
    await leases.renew(credential.lease, "mia")
    leases.ended(Owner(tenant="acme", agent="alice", role="reader"))
    await leases.settled()
    assert not leases.listed()
    await leases.close()


if __name__ == "__main__":
    counted = Steps(int(sys.argv[2]))
    asyncio.run(life(Path(sys.argv[1]), counted))
    print(counted.done)
