"""Running agents: their output to whoever watches, their input, and an end that is never lost."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import Mapping

import pytest
from tests.fakes import run, until

from ringwall.call import Json, LaunchId, SessionId
from ringwall.runtime import runs as module
from ringwall.runtime.children import Child
from ringwall.runtime.runs import WAITING, Run, Tally, Tasks
from ringwall.runtime.sessions import Session

SECRET = b"sk-0123456789"


class Agent:
    """A run, and the agent's ends of its pipes."""

    def __init__(self) -> None:
        self.stdin, theirs_in = os.pipe()
        theirs_out, self.stdout = os.pipe()
        theirs_err, self.stderr = os.pipe()
        # Ours too: a test that waited for its own loop in a system call would wait for ever.
        for number in (theirs_in, theirs_out, theirs_err, self.stdin, self.stdout, self.stderr):
            os.set_blocking(number, False)
        self.signals: list[int] = []
        self.secrets: tuple[bytes, ...] = (SECRET,)
        self.released = 0
        self.child = Child(number=1, pid=1, pidfd=os.pidfd_open(os.getpid()), pidns=-1,
                           ended=asyncio.get_running_loop().create_future())
        self.run = Run(
            session=Session(id=SessionId("s"), tenant="acme", agent="ana", launch=LaunchId("l"), context="c",
                            task="t"),
            child=self.child, stdin=theirs_in, stdout=theirs_out, stderr=theirs_err, secrets=lambda: self.secrets,
            tally=Tally(), confined=True, kill=self.signals.append, release_input=self._release,
        )

    def _release(self) -> None:
        self.released += 1

    def exit(self, status: int) -> None:
        for number in (self.stdin, self.stdout, self.stderr):
            os.close(number)
        if not self.child.ended.done():
            self.child.ended.set_result(status)
        self.child.close()

    async def watch(self) -> list[Mapping[str, Json]]:
        return [line async for line in self.run.stream()]


def printed(lines: list[Mapping[str, Json]], name: str) -> bytes:
    return b"".join(base64.b64decode(line[name]) for line in lines if name in line)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABSENT_S", 0.05)
    monkeypatch.setattr(module, "STOP_S", 0.05)


def test_both_streams_pass_filtered_and_the_end_comes_last() -> None:
    async def scenario() -> None:
        agent = Agent()
        watching = asyncio.create_task(agent.watch())
        os.write(agent.stdout, b"out\x1b[2J " + SECRET)
        os.write(agent.stderr, b"err")
        agent.exit(3)
        await agent.run.ended()
        lines = await watching
        assert printed(lines, "stdout") == b"out [secret withheld]"
        assert printed(lines, "stderr") == b"err"
        assert lines[-1] == {"exit": 3, "summary": agent.run.tally.summary()}
        await agent.run.collected()
        assert agent.released == 1

    run(scenario())


def test_an_agent_that_nobody_watches_is_killed() -> None:
    async def scenario() -> None:
        agent = Agent()
        await until(lambda: agent.signals)
        assert agent.signals == [signal.SIGKILL]
        agent.exit(137)
        await agent.run.ended()
        await agent.run.collected()

    run(scenario())


@pytest.mark.parametrize("output", [b"", b"a few words"])
def test_one_that_ends_before_anybody_watches_ends_all_the_same(output: bytes) -> None:
    async def scenario() -> None:
        agent = Agent()
        if output:
            os.write(agent.stdout, output)
        agent.exit(0)
        await agent.run.ended()
        lines = await agent.watch()
        assert printed(lines, "stdout") == output
        assert lines[-1]["exit"] == 0

    run(scenario())


def test_an_end_is_told_though_the_queue_is_full_and_nobody_reads() -> None:
    async def scenario() -> None:
        agent = Agent()
        for _ in range(WAITING + 10):
            agent.run._lines.put_nowait({"stdout": ""}) if not agent.run._lines.full() else None
        os.write(agent.stdout, b"x")
        agent.exit(1)
        await agent.run.ended()
        assert (await agent.watch())[-1]["exit"] == 1

    run(scenario())


def test_a_watcher_who_leaves_starts_the_clock_and_one_who_comes_back_stops_it() -> None:
    async def scenario() -> None:
        agent = Agent()
        first = agent.run.stream()
        os.write(agent.stdout, b"one")
        assert printed([await anext(first)], "stdout") == b"one"
        await first.aclose()
        assert agent.run._timer is not None
        watching = asyncio.create_task(agent.watch())
        await until(lambda: agent.run._timer is None)
        os.write(agent.stdout, b"two")
        agent.exit(0)
        await agent.run.ended()
        assert printed(await watching, "stdout") == b"two"

    run(scenario())


def test_of_two_watchers_one_may_leave_and_both_may_stay() -> None:
    async def scenario() -> None:
        agent = Agent()
        leaving = agent.run.stream()
        staying = [asyncio.create_task(agent.watch()) for _ in range(2)]
        reading = asyncio.create_task(anext(leaving))
        await until(lambda: agent.run._watchers == 3)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert agent.run._watchers == 2
        assert agent.run._timer is None  # nothing counts down
        agent.exit(0)
        await agent.run.ended()
        for watching in staying:
            assert (await watching)[-1]["exit"] == 0

    run(scenario())


def test_input_waits_for_a_program_that_does_not_read_yet() -> None:
    async def scenario() -> None:
        agent = Agent()
        data = os.urandom(300_000)
        writing = asyncio.create_task(agent.run.write(data, eof=True))
        watching = asyncio.create_task(agent.watch())
        got = b""
        while len(got) < len(data):
            await asyncio.sleep(0)
            try:
                got += os.read(agent.stdin, 1 << 16)
            except BlockingIOError:
                continue
        await writing
        assert got == data
        assert os.read(agent.stdin, 1) == b""
        await agent.run.write(b"after the end", eof=False)
        agent.exit(0)
        await agent.run.ended()
        await watching

    run(scenario())


def test_input_that_waits_ends_with_the_program_and_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        agent = Agent()
        watching = asyncio.create_task(agent.watch())
        number = agent.run._stdin
        writing = asyncio.create_task(agent.run.write(os.urandom(300_000), eof=False))
        await until(agent.run._writing.locked)
        assert not writing.done()
        agent.child.ended.set_result(0)
        os.close(agent.stdout)
        os.close(agent.stderr)
        await agent.run.ended()
        await writing
        await watching
        # The loop forgot the descriptor: another file may have its number now.
        assert not asyncio.get_running_loop().remove_writer(number)
        os.close(agent.stdin)
        agent.child.close()

    run(scenario())


def test_input_for_a_program_that_closed_it_is_dropped() -> None:
    async def scenario() -> None:
        agent = Agent()
        watching = asyncio.create_task(agent.watch())
        os.close(agent.stdin)
        await agent.run.write(b"x", eof=False)
        assert agent.released == 1
        agent.stdin = os.open("/dev/null", os.O_RDONLY)
        agent.exit(0)
        await agent.run.ended()
        await watching

    run(scenario())


def test_a_stop_signal_is_followed_by_a_kill_and_others_are_not() -> None:
    async def scenario() -> None:
        agent = Agent()
        watching = asyncio.create_task(agent.watch())
        await asyncio.sleep(0)
        agent.run.stop(signal.SIGUSR1)
        agent.run.stop(signal.SIGINT)  # this very process plays the agent, and Python catches SIGINT
        await until(lambda: len(agent.signals) == 3)
        assert agent.signals == [signal.SIGUSR1, signal.SIGINT, signal.SIGKILL]
        agent.exit(137)
        await agent.run.ended()
        await watching

    run(scenario())


def test_a_stop_signal_that_a_first_process_would_not_feel_kills_and_is_told_as_what_it_was() -> None:
    async def scenario() -> None:
        agent = Agent()
        watching = asyncio.create_task(agent.watch())
        await asyncio.sleep(0)
        agent.run.stop(signal.SIGQUIT)
        assert agent.signals == [signal.SIGKILL]
        agent.exit(137)
        await agent.run.ended()
        assert (await watching)[-1]["exit"] == 128 + signal.SIGQUIT

    run(scenario())


def test_a_fault_in_background_work_is_told_and_a_cancellation_is_not() -> None:
    async def scenario() -> None:
        faults: list[BaseException] = []
        tasks = Tasks(faults.append)

        async def fail() -> None:
            raise ZeroDivisionError

        async def hang() -> None:
            await asyncio.Event().wait()

        tasks.start(fail())
        tasks.start(hang())
        await asyncio.sleep(0)
        for task in list(tasks._tasks):
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [type(fault) for fault in faults] == [ZeroDivisionError]

    run(scenario())


def test_a_tally_names_the_first_refusals_only() -> None:
    tally = Tally()
    for number in range(30):
        tally.count("refused", f"acme/{number}")
    tally.count("done", "acme/30")
    assert tally.summary() == {"calls": 31, "ends": {"refused": 30, "done": 1}, "last": "acme/30",
                               "held": [], "refused": [f"acme/{n}" for n in range(20)]}
