"""The kill switch: in the log first, then in force; what it covers; and a log that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import ALICE, FakeClock, FakeJournal, call, run, until

from ringwall.call import Call, Denied, Event, Json, LaunchId, Operator, Process
from ringwall.errors import AuditError, BadInput, Refused
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Seq
from ringwall.manifest.types import Agent, Manifest, Operation, Tenant, ToolServer
from ringwall.running import Halted
from ringwall.runtime.freeze import KILL_S, MAX_REASON, Freeze, Freezer, Freezes

ROOT = Operator(name="root", uid=0, connection=1)
MANIFEST = Manifest(
    version=1, trust_domain="example.org", path=Path("/nowhere/ringwall.toml"),
    tools={"mail": ToolServer(name="mail", ops={"send": Operation(effect="send", args={})})},
    tenants={"acme": Tenant(name="acme", agents={"alice": Agent(name="alice", role="reader"),
                                                 "bob": Agent(name="bob", role="reader")}),
             "other": Tenant(name="other", agents={"alice": Agent(name="alice", role="reader")})},
)


def who(agent: str = "alice", tenant: str = "acme") -> Process:
    named = SpiffeId.make(trust_domain="example.org", tenant=tenant, agent=agent, role="reader")
    return Process(spiffe_id=named, launch=LaunchId("l"), connection=1)


class Bench:
    """A freezer with fakes around it. ``order`` is what happened in which order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.freezes = Freezes()
        self.journal = FakeJournal()
        self.clock = FakeClock()
        self.dying: list[asyncio.Future[int]] = []
        self.halted = Halted(calls=3, begun=2, late=0, at=self.clock.monotonic())
        self.matching: Callable[[Call], bool] = lambda _: False
        self.gate: asyncio.Event | None = None
        self.freezer = Freezer(
            freezes=self.freezes, manifest=MANIFEST, journal=self.journal, cancel=self._cancel, kill=self._kill,
            arrived=lambda _: self.clock.monotonic() - 0.25, clock=self.clock, retry_s=0.0,
        )

    async def _cancel(self, matching: Callable[[Call], bool], why: Denied) -> Halted:
        assert why.code == "frozen"
        self.order.append(f"cancel after {[event.type for event in self.journal.of('note')]}")
        assert self.freezes.held(), "new calls are refused before those under way are ended"
        self.matching = matching
        if self.gate is not None:
            await self.gate.wait()
        return self.halted

    def _kill(self, freeze: Freeze) -> Sequence[asyncio.Future[int]]:
        self.order.append(f"kill {freeze.scope}")
        return self.dying

    async def do(self, verb: str, scope: str = "agent", name: str = "acme/alice", **more: Any) -> Json:
        args = {"scope": scope, "name": name, "reason": "a drill", **more}
        asked = call(verb, args, kind="operate", subject=ROOT, session=None)
        return await (self.freezer.freeze if verb == "freeze" else self.freezer.thaw)(asked)


def test_a_freeze_is_in_the_log_before_it_holds_and_says_how_long_it_took() -> None:
    bench = Bench()
    done = run(bench.do("freeze"))
    assert bench.order == ["cancel after ['freeze']"]
    assert done["frozen"] | {"at": 0} == {
        "scope": "agent", "name": "acme/alice", "reason": "a drill", "by": "operator:root", "at": 0, "kill": False,
        "record": "acme/1", "durable": True}
    measured = {"seconds": 0.25, "calls": 3, "begun": 2, "late": 0, "killed": 0, "alive": 0}
    assert {name: done[name] for name in measured} == measured
    first, second = bench.journal.of("note")
    assert (first.type, first.tenant, first.subject) == ("freeze", "system", "operator:root")
    assert (second.type, second.body) == ("frozen", {"scope": "agent", "name": "acme/alice", "freeze": "acme/1",
                                                     **measured})


@pytest.mark.parametrize(("scope", "name", "frozen"), [
    ("agent", "acme/alice", {"alice@acme mail/send", "alice@acme docs/read"}),
    ("tenant", "acme", {"alice@acme mail/send", "alice@acme docs/read", "bob@acme mail/send"}),
    ("tool", "mail", {"alice@acme mail/send", "bob@acme mail/send", "alice@other mail/send"}),
    ("tool", "mail/send", {"alice@acme mail/send", "bob@acme mail/send", "alice@other mail/send"}),
    ("all", "", {"alice@acme mail/send", "alice@acme docs/read", "bob@acme mail/send", "alice@other mail/send"}),
])
def test_each_scope_covers_its_calls_and_never_an_operators(scope: str, name: str, frozen: set[str]) -> None:
    bench = Bench()
    run(bench.do("freeze", scope, name))
    calls = {"alice@acme mail/send": call("mail/send", subject=who()),
             "alice@acme docs/read": call("docs/read", subject=who()),
             "bob@acme mail/send": call("mail/send", subject=who("bob")),
             "alice@other mail/send": call("mail/send", subject=who("alice", "other"))}
    assert {text for text, one in calls.items() if bench.freezes.call(one)} == frozen
    assert {text for text, one in calls.items() if bench.matching(one)} == frozen
    operating = call("mail/send", kind="operate", subject=ROOT)
    assert not bench.freezes.call(operating)
    assert not bench.matching(operating)
    assert bool(bench.freezes.agent(who("bob").spiffe_id)) is (scope in {"tenant", "all"})
    assert bool(bench.freezes.tool("mail/send")) is (scope == "tool")
    assert not bench.freezes.tool("mailbox/send")


def test_a_thaw_needs_a_reason_and_thaws_exactly_what_it_names() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.do("freeze")
        await bench.do("freeze", "all", "")
        with pytest.raises(BadInput, match="bad_reason"):
            await bench.do("thaw", reason=" ")
        done = await bench.do("thaw", "all", "")
        assert [one["name"] for one in done["still"]] == ["acme/alice"]
        assert bench.freezes.agent(who().spiffe_id)
        assert not bench.freezes.agent(who("bob").spiffe_id)
        with pytest.raises(Refused, match="not_frozen"):
            await bench.do("thaw", "all", "")
        await bench.do("thaw")
        assert not bench.freezes.held()
        assert bench.journal.of("note")[-1].type == "thaw"

    run(main())


@pytest.mark.parametrize(("scope", "name", "code"), [
    ("agent", "acme/eve", "unknown_name"), ("agent", "alice", "unknown_name"), ("agent", "", "unknown_name"),
    ("tenant", "nobody", "unknown_name"), ("tool", "mail/erase", "unknown_name"), ("tool", "", "unknown_name"),
    ("all", "acme", "unknown_name"), ("everybody", "", "bad_act"),
])
def test_what_does_not_exist_is_not_frozen(scope: str, name: str, code: str) -> None:
    bench = Bench()
    with pytest.raises(BadInput, match=code):
        run(bench.do("freeze", scope, name))
    assert bench.journal.log == []


@pytest.mark.parametrize("reason", ["", "\t", "two\nlines", "\x1b[2J", "x" * (MAX_REASON + 1), "a\u202eb"])
def test_a_reason_is_one_line_that_a_terminal_can_show(reason: str) -> None:
    bench = Bench()
    with pytest.raises(BadInput, match="bad_reason"):
        run(bench.do("freeze", reason=reason))
    assert not bench.freezes.held()


def test_killed_processes_are_waited_for_and_those_that_live_on_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert KILL_S > 0
    monkeypatch.setattr("ringwall.runtime.freeze.KILL_S", 0.01)

    async def main() -> None:
        bench = Bench()
        bench.dying = [asyncio.get_running_loop().create_future() for _ in range(3)]
        for dead in bench.dying[:2]:
            dead.set_result(137)
        done = await bench.do("freeze", kill=True)
        assert (done["killed"], done["alive"]) == (2, 1)
        assert bench.order == ["kill agent", "cancel after ['freeze']"]
        bench.dying[2].set_result(137)
        assert bench.freezes.killed("acme", "alice")
        assert not bench.freezes.killed("acme", "bob")
        await bench.do("freeze")  # again, without --kill: what must not live still must not
        assert bench.freezes.killed("acme", "alice")

    run(main())


def test_without_a_log_a_freeze_holds_says_so_and_is_written_as_soon_as_that_can_be() -> None:
    async def main() -> None:
        bench = Bench()
        bench.journal.broken = {"note"}
        done = await bench.do("freeze")
        assert (done["frozen"]["durable"], done["frozen"]["record"]) == (False, "")
        assert bench.freezes.agent(who().spiffe_id)
        assert bench.order == ["cancel after []"]
        with pytest.raises(AuditError):
            await bench.do("thaw")  # loosening waits for the log
        assert bench.freezes.agent(who().spiffe_id)
        bench.journal.broken = set()
        await until(lambda: bench.freezes.held()[0].record)
        assert [event.type for event in bench.journal.of("note")] == ["freeze"]

    run(main())


class SlowJournal(FakeJournal):
    """Its first answers take longest: without an order, what was written last would be in force first."""

    slow = 8

    async def note(self, event: Event) -> Seq:
        written = await super().note(event)
        self.slow //= 2
        for _ in range(self.slow):
            await asyncio.sleep(0)
        return written


@pytest.mark.parametrize("acts", [("freeze", "thaw"), ("thaw", "freeze")])
def test_freeze_and_thaw_at_the_same_moment_leave_what_the_log_says_last(acts: tuple[str, str]) -> None:
    async def main() -> None:
        bench = Bench()
        bench.freezes.put(Freeze(scope="agent", name="acme/alice", reason="r", by="b", at=0.0, record="acme/0"))
        bench.freezer._journal = bench.journal = SlowJournal()  # pyright: ignore[reportPrivateUsage]
        await asyncio.gather(*(bench.do(verb) for verb in acts))
        written = [e.type for e in bench.journal.of("note") if e.type != "frozen"]
        assert sorted(written) == ["freeze", "thaw"]
        assert bool(bench.freezes.held()) is (written[-1] == "freeze")

    run(main())


def test_while_a_freeze_is_decided_what_it_covers_waits_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        freezes = Freezes()
        assert freezes.waits(call(subject=who())) is None
        with freezes.pausing(Freeze(scope="agent", name="acme/alice", reason="", by="b", at=0.0)):
            assert freezes.waits(call(subject=who("bob"))) is None
            assert freezes.waits(call(kind="operate", subject=ROOT)) is None
            assert not freezes.agent(who().spiffe_id)
            waiting = freezes.waits(call(subject=who()))
            assert waiting is not None
            task = asyncio.ensure_future(waiting)
            await asyncio.sleep(0)
            assert not task.done()
        await task
        assert freezes.waits(call(subject=who())) is None
        monkeypatch.setattr("ringwall.runtime.freeze.PAUSE_S", 0.01)
        with freezes.pausing(Freeze(scope="all", name="", reason="", by="b", at=0.0)):
            waiting = freezes.waits(call(subject=who()))
            assert waiting is not None
            await waiting  # not for ever: a freeze that hangs is no freeze yet

    run(main())


def test_an_operator_who_hangs_up_does_not_stop_a_freeze() -> None:
    async def main() -> None:
        bench = Bench()
        bench.gate = asyncio.Event()
        task = asyncio.create_task(bench.do("freeze"))
        await until(lambda: bench.order)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        bench.gate.set()
        await until(lambda: [event.type for event in bench.journal.of("note")] == ["freeze", "frozen"])

    run(main())


SCOPES = st.sampled_from([("agent", "acme/alice"), ("agent", "acme/bob"), ("tenant", "acme"), ("all", "")])


@given(st.lists(st.tuples(st.sampled_from(["freeze", "thaw"]), SCOPES, st.booleans()), max_size=12))
def test_a_restart_finds_the_same_frozen_as_before(acts: list[tuple[str, tuple[str, str], bool]]) -> None:
    async def main() -> None:
        bench = Bench()
        for verb, (scope, name), kill in acts:
            try:
                await bench.do(verb, scope, name, **({"kill": kill} if verb == "freeze" else {}))
            except Refused:
                assert verb == "thaw"
        events: list[Event] = bench.journal.of("note")
        after = Freezes()
        after.restore(
            (event.type, f"acme/{number}", bench.clock.now(), event.body)
            for number, event in enumerate(events, start=1) if event.type != "frozen"
        )
        assert {(one.scope, one.name, one.kill) for one in after.held()} == {
            (one.scope, one.name, one.kill) for one in bench.freezes.held()}
        assert bool(after.agent(ALICE.spiffe_id)) == bool(bench.freezes.agent(ALICE.spiffe_id))

    run(main())
