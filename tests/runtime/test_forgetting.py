"""Forgetting a session: who asked stays, what was asked is gone, and the log still verifies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.audit.support import a_call, opened, verdicts

from ringwall.audit.journal import AuditJournal
from ringwall.audit.verify import verify
from ringwall.call import Call, CallId, Event, Operator, Outcome, SessionId, Target
from ringwall.errors import BadInput, Refused, RingwallError
from ringwall.runtime.forgetting import Forgetting

RITA = Operator(name="rita", uid=0, connection=1)


def scene(folder: Path, play: Callable[[AuditJournal, Callable[..., Awaitable[Any]]], Awaitable[None]]) -> None:
    async def played() -> None:
        async with opened(folder) as journal:
            seq = await journal.intent(a_call(), verdicts())
            await journal.outcome(seq, Outcome(end="failed", code="tool_error", reason="file is gone"))
            await journal.note(Event(type="launch", tenant="acme", session=SessionId("s1"), sealed={"task": "t"}))
            act = Forgetting(journal, lambda session: SimpleNamespace() if session == "live" else None).acts()  # type: ignore[arg-type, return-value]
            await play(journal, lambda **args: act["audit.forget"](order(args)))

    asyncio.run(played())


def order(args: dict[str, Any]) -> Call:
    return Call.make(id=CallId("1"), kind="operate", subject=RITA, session=None, args=args,
                     target=Target(name="audit.forget"))


def test_the_answer_counts_what_can_no_longer_be_read_and_the_log_says_who_wanted_it(tmp_path: Path) -> None:
    async def play(journal: AuditJournal, forget: Callable[..., Awaitable[Any]]) -> None:
        done = await forget(tenant="acme", session="s1")
        assert done["unreadable"] == {"intent": 1, "outcome": 1, "launch": 1}
        *before, event = journal.records("acme")
        assert (f"acme/{event.number}", event.type, event.clear["subject"], event.clear["session"]) == (
            done["record"], "session_forgotten", "operator:rita", "s1")
        assert [journal.unsealed("acme", record) for record in before] == [None] * 3
        assert before[0].clear["target"]
        with pytest.raises(BadInput) as again:
            await forget(tenant="acme", session="s1")
        assert again.value.code == "no_such_session"

    scene(tmp_path, play)
    assert verify(tmp_path).ok


@pytest.mark.parametrize(("args", "kind", "code"), [
    ({"tenant": "gone", "session": "s1"}, BadInput, "no_log"),
    ({"tenant": "../x", "session": "s1"}, BadInput, "no_log"),
    ({"tenant": "acme", "session": "s9"}, BadInput, "no_such_session"),
    ({"tenant": "acme", "session": ""}, BadInput, "bad_session"),
    ({"tenant": "acme", "session": "live"}, Refused, "session_open"),
    ({"tenant": "acme"}, BadInput, "bad_act"),
    ({"tenant": "acme", "session": "s1", "yes": True}, BadInput, "bad_act"),
])
def test_what_cannot_be_forgotten_says_why_and_nothing_is_lost(
    tmp_path: Path, args: dict[str, Any], kind: type[RingwallError], code: str
) -> None:
    async def play(journal: AuditJournal, forget: Callable[..., Awaitable[Any]]) -> None:
        with pytest.raises(kind) as fault:
            await forget(**args)
        assert fault.value.code == code
        records = list(journal.records("acme"))
        assert [record.type for record in records] == ["intent", "outcome", "launch"]
        assert all(journal.unsealed("acme", record) is not None for record in records)

    scene(tmp_path, play)
