"""Whose a conversation is where no task was made: a server tells its callers apart by nothing but the context."""

from __future__ import annotations

import pytest
from tests.fakes import FakeClock
from tests.peers.test_tasks import ANA, BOB, SAM, Office

from ringwall.errors import AuditError, BadInput
from ringwall.peers import contexts
from ringwall.peers.contexts import Contexts
from ringwall.peers.messages import KEEP_SECONDS


def test_a_context_that_one_caller_began_is_no_others_even_after_a_restart() -> None:
    office = Office()
    assert office.room(other=BOB, context="project") == ""
    office.message("m1", context="project")
    office.message("m2", context="project")
    for _ in range(2):
        assert office.room(context="project") == ""
        assert office.room(other=BOB, context="project") == "unknown_context"
        with pytest.raises(BadInput) as no:  # two that came at once: the second is not delivered
            office.message("m3", other=BOB, context="project")
        assert no.value.code == "unknown_context"
        assert office.refused(other=BOB, task="t9", context="project") == "task_of_another"
        office.restarted()
    assert "project" not in str(office.noted("message"))
    office.message("m3", other=BOB, context="its own")  # what was refused was not taken
    office.clock.seconds += KEEP_SECONDS
    assert office.room(other=BOB, context="project") == ""


def test_a_context_that_could_not_be_written_down_is_nobodys() -> None:
    office = Office()
    office.journal.broken.add("note")
    with pytest.raises(AuditError):
        office.message("m1", context="project")
    office.journal.broken.clear()
    assert office.room(other=BOB, context="project") == ""


def test_who_has_most_loses_his_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "MAX_OF_PAIR", 3)
    monkeypatch.setattr(contexts, "MAX_OF_AGENT", 4)
    kept, sam = Contexts(FakeClock()), str(SAM)
    kept.claim(sam, ANA, "a")
    for name in ("1", "2", "3", "1", "4"):
        kept.claim(sam, BOB, name)
    assert [name for name in "1234" if kept.anothers(sam, ANA, name)] == ["1", "3", "4"]
    kept.claim(sam, ANA, "b")
    assert [name for name in "134" if kept.anothers(sam, ANA, name)] == ["1", "4"]
    assert kept.anothers(sam, BOB, "a")
