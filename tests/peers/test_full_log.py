"""A log full of tasks: what a core takes of it when it starts."""

from __future__ import annotations

import pytest
from tests.peers.test_tasks import BOB, DONE, WORKING, Office

from ringwall.peers import shelf, task, tasks
from ringwall.peers.task import Pair, Task
from ringwall.peers.tasks import TASK_SECONDS


def test_a_log_full_of_tasks_takes_no_more_memory_than_what_is_kept_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "RESTORED", 100)
    monkeypatch.setattr(tasks, "MAX_KEPT", 20)
    monkeypatch.setattr(shelf, "MAX_KEPT", 20)
    office = Office()
    office.seen(task="open", context="")
    for number in range(150):
        office.seen(DONE, task=f"t{number}", context="")
    office.seen(DONE, other=BOB, chain=(BOB,), task="bobs", context="")
    bodies = [event.body for event in office.journal.of("note")]
    most, made, kept = 0, Office(), tasks.kept

    def counted(found: dict[tuple[Pair, str], Task], now: float) -> dict[tuple[Pair, str], Task]:
        nonlocal most
        most = max(most, len(found))
        return kept(found, now)

    monkeypatch.setattr(tasks, "kept", counted)
    made.book.restore("acme", iter(bodies * 10))
    assert 0 < most <= 122
    assert made.known() == {"open", *(f"t{number}" for number in range(131, 150))}
    assert made.known(other=BOB) == {"bobs"}


def test_what_was_over_long_before_is_not_kept_while_a_log_is_read() -> None:
    office = Office()
    for number in range(30):
        office.seen(DONE if number % 2 else WORKING, task=f"t{number}", context="")
    bodies = [event.body for event in office.journal.of("note")]
    office.clock.seconds += 2 * TASK_SECONDS
    found = {one.key: one for one in (task.read("acme", body) for body in bodies)}
    assert tasks.kept(found, office.clock.now()) == {}
