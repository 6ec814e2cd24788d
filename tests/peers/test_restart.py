"""Tasks, messages and push configurations over the real log: what a core knew, the next one knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes import FakeClock, run
from tests.identity.svid.world import ROOT
from tests.peers.test_tasks import ANA, BOB, DONE, S1, SAM, SUBMITTED, View

from ringwall.audit.journal import AuditJournal
from ringwall.call import as_object
from ringwall.errors import BadInput
from ringwall.peers.tasks import TaskBook


def opened(folder: Path, clock: FakeClock) -> tuple[AuditJournal, TaskBook]:
    journal = AuditJournal.open(folder, ROOT, clock, quota_mib=64, segment=1 << 20)
    book = TaskBook(journal=journal, clock=clock)
    events = journal.records("acme", types=frozenset({"task", "message"}))
    book.restore("acme", [record.body for record in events])
    for record in journal.records("acme", types=frozenset({"push"})):
        book.pushes.restore("acme", record.body, as_object(journal.unsealed("acme", record)))
    return journal, book


async def see(book: TaskBook, task: str, state: str) -> None:
    await book.seen(local=SAM, direction="in", other=ANA, view=View(task, "c1", state), skill="pay", session=S1,
                    chain=(BOB, ANA))


@pytest.mark.parametrize("forget", [False, True])
def test_another_core_on_the_same_log_knows_the_same(tmp_path: Path, forget: bool) -> None:
    clock = FakeClock()
    clock.seconds = 1_800_000_000.123

    async def first() -> str:
        journal, book = opened(tmp_path, clock)
        await book.message(local=SAM, other=ANA, message="m1", digest="d", session=S1)
        await see(book, "t1", SUBMITTED)
        await see(book, "t2", DONE)
        push = await book.pushes.set(local=SAM, direction="in", other=ANA, task="t1", config="c", token="s3cret",
                                     url="https://ana.example/push/x", authentication=None, session=S1)
        if forget:
            await journal.forget("acme", S1)
        await journal.close()
        return push.name

    async def second(push: str) -> None:
        clock.seconds += 3600
        journal, book = opened(tmp_path, clock)
        assert book.acting_for(S1) == tuple(sorted((ANA, BOB)))
        assert book.known(local=SAM, direction="in", other=ANA) == {"t1", "t2"}
        with pytest.raises(BadInput) as no:
            await book.message(local=SAM, other=ANA, message="m1", digest="d", session=S1)
        assert no.value.code == "duplicate_message"
        with pytest.raises(BadInput) as no:
            await see(book, "t2", SUBMITTED)
        assert no.value.code == "bad_task_state"
        if forget:  # its secrets cannot be read any more: it is gone, the task is not
            assert len(book.pushes) == 0
        else:
            assert book.pushes.get(push).token == "s3cret"
        await see(book, "t1", DONE)
        await journal.close()

    async def third() -> None:
        journal, book = opened(tmp_path, clock)
        assert book.acting_for(S1) == ()
        assert book.status()["over"] == 2
        await journal.close()

    name = run(first())
    assert b"s3cret" not in b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    run(second(name))
    run(third())
