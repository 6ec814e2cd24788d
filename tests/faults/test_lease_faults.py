"""A core that is killed anywhere in the life of a lease leaves no credential behind: a real store, a real vault."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes import run
from tests.faults.dying_leases import Steps, core
from tests.vault.lease_fakes import DOMAIN, FakeVault, World, owner, wanted

from ringwall.clock import SystemClock
from ringwall.errors import Unavailable
from ringwall.store.sqlite import SqliteStore
from ringwall.vault.lease_rows import LeaseRows
from ringwall.vault.leases import Leases

ROOT = Path(__file__).resolve().parents[2]
STEPS = 24  # of ``dying_leases.life``; the last test says if that changes
NEVER = Steps(0)


def killed(folder: Path, step: int) -> int:
    """Live one life up to a step; the exit code."""
    done = subprocess.run((sys.executable, "-m", "tests.faults.dying_leases", str(folder), str(step)), cwd=ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        assert int(done.stdout) < step
    else:
        assert done.returncode == -signal.SIGKILL, done.stderr
    return done.returncode


async def restarted(folder: Path, keeps: bool) -> None:
    """The next core: it takes up what it can, and ends the rest."""
    leases, provider = core(folder, NEVER)
    names = {path.name for path in provider.alive.iterdir()}
    rows = {row.id: row for row in LeaseRows(SqliteStore(folder / "leases.db")).open()[0]}
    assert names <= set(rows)
    await leases.restore(lambda one: keeps)
    await leases.settled()
    usable = {info.lease for info in leases.listed() if info.state == "active"}
    assert usable <= names
    if keeps and usable:
        assert (await leases.obtain(wanted(), 60)).lease in usable
    leases.freeze(lambda one: True)
    await leases.settled()
    assert not list(provider.alive.iterdir())
    await leases.close()


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_at_any_step_the_next_core_ends_what_is_left(tmp_path: Path, step: int, keeps: bool) -> None:
    assert killed(tmp_path, step) == -signal.SIGKILL
    asyncio.run(restarted(tmp_path, keeps))


def test_the_steps_above_are_all_there_are(tmp_path: Path) -> None:
    assert killed(tmp_path, STEPS) == -signal.SIGKILL
    (tmp_path / "again").mkdir()
    assert killed(tmp_path / "again", STEPS + 1) == 0


def test_on_a_full_disk_nothing_is_minted_and_everything_can_be_revoked(tmp_path: Path) -> None:
    """The kernel refuses to let the files grow: a real ENOSPC's sibling, EFBIG."""

    async def go() -> None:
        world = World()
        store = SqliteStore(tmp_path / "leases.db")
        leases = Leases(
            store=store, vault=FakeVault(), journal=world.journal, clock=SystemClock(),
            brokers=lambda tenant: world.broker, orders=world.orders, frozen=lambda one: "",
            on_drop=world.dropped.append, trust_domain=DOMAIN, revision="r1")
        world.broker._clock = SystemClock()  # type: ignore[assignment]
        await leases.restore(lambda one: True)
        await leases.obtain(wanted(), 60)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            with pytest.raises(Unavailable, match="store_unwritable"):
                await leases.obtain(wanted("bob"), 60)
            assert len(world.broker.minted) == 1
            assert leases.ended(owner()) == 1
            await leases.settled()
            assert not world.broker.alive
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        await asyncio.gather(*(leases._ends.begin(entry) for entry in leases._book))
        assert not leases.listed()
        assert LeaseRows(store).open() == ([], [])
        store.close()

    run(go())
