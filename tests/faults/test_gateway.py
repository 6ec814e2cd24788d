"""Kill -9 of each process while the gateway works, and a full disk: an end with a code on the record, nothing
passed unchecked, nothing asked twice."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest
from tests.faults.gatehouse import GUARD_CODES, House, ask, completion, good, mcp, status
from tests.faults.test_full_disk import full_disk
from tests.stack import Puppet, kill, wait_for

pytestmark = pytest.mark.confined

WORK = ("completion", "new/gate", "old/gate", "web/gate", "question")


@pytest.fixture(autouse=True)
def mended(house: House, ana: Puppet) -> Generator[None]:
    house.reset()
    yield
    house.world.go.set()
    house.model.go.set()
    house.works(ana)


class Running:
    """Something that has begun and stands still at the server; ``target`` as records name it."""

    def __init__(self, house: House, agent: Puppet, work: str) -> None:
        self._house, self._agent, self._work = house, agent, work
        self.target = {"completion": "openai-s_gate", "question": "old/ask"}.get(work, work)
        self._before = house.newest()
        self._number = self._begin()
        wait_for(f"the server to be asked for {work}", self.asked)

    def _begin(self) -> int:
        match self._work:
            case "completion":
                return self._agent.ask("raw", data=completion("s_gate"))
            case "question":
                client = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
                          "clientInfo": {"name": "t", "version": "1"}}
                answer = self._agent.do("python", text=INITIALIZE.format(request=mcp("initialize", client)))
                assert answer["result"], answer
                call = mcp("tools/call", {"name": "ask", "arguments": {}}, f"Mcp-Session-Id: {answer['result']}")
                return self._agent.ask("raw", data=call)
            case tool:
                return self._agent.ask("call", tool=tool, args={})

    def asked(self) -> int:
        """How often the server was asked."""
        if self._work == "completion":
            return sum("/s_gate/" in path for path, _, _ in self._house.model.seen)
        return self._house.world.count(*self.target.split("/"))

    def refused(self, codes: set[str]) -> None:
        """What the agent got: one of these codes, and no good end."""
        answer = self._agent.answer(self._number)
        if "/" in self._work:
            assert answer.get("code") in codes or answer.get("error") in codes, answer
            return
        body = status(answer)[1]
        assert any(code in body for code in codes), answer
        assert not good(body) and "and the rest" not in body and '"text":"asked"' not in body, body

    def answered(self) -> tuple[int, str]:
        """Status and body, of what was asked as bytes."""
        return status(self._agent.answer(self._number))

    def ended(self) -> tuple[str, str]:
        """The one outcome on the record, with its code."""
        [(end, code)] = [found[1:] for found in self._house.ends(self._before) if found[0] == self.target]
        return end, code


INITIALIZE = """
import os, socket
with socket.socket(socket.AF_UNIX) as door:
    door.connect(os.environ['RINGWALL_DOOR'])
    door.sendall({request!r}.encode())
    said = b''
    while piece := door.recv(65536):
        said += piece
answer = next((line.split(b':')[1].strip().decode() for line in said.split(b'\\r\\n')
               if line.lower().startswith(b'mcp-session-id:')), '')
"""


def let_go(house: House) -> None:
    house.world.go.set()
    house.model.go.set()


@pytest.fixture
def at_work(house: House, ana: Puppet) -> list[Running]:
    """One of each kind, at the same moment."""
    return [Running(house, ana, work) for work in WORK]


def test_what_a_killed_sidecar_was_doing_ends_as_unknown(house: House, at_work: list[Running]) -> None:
    house.kill("sidecar-acme")
    let_go(house)
    for one in at_work:
        one.refused({"sidecar_lost"})
        assert one.ended() == ("unknown", "sidecar_lost")
        assert one.asked() == 1


def test_answers_that_no_guard_has_seen_are_withheld(house: House, at_work: list[Running]) -> None:
    guard = house.stack.pid("guard")
    kill(guard, signal.SIGSTOP)  # so that it cannot be a new one that answers
    let_go(house)
    wait_for("the guard to be asked", lambda: house.stack.status()["guard"]["waiting"] >= len(at_work))
    kill(guard)
    for one in at_work:
        one.refused(GUARD_CODES)
        end, code = one.ended()
        assert end == "stopped" and code in GUARD_CODES
        assert one.asked() == 1
    wait_for("a new guard", lambda: house.stack.running("guard") not in {None, guard})


def test_what_a_killed_core_was_doing_is_not_done_again(house: House, at_work: list[Running]) -> None:
    house.kill("core")
    let_go(house)
    for one in at_work:
        one.refused({"Unavailable", ""})
        assert one.ended()[0] == "unknown"
        assert one.asked() == 1


def test_a_disk_that_fills_up_under_a_stream_lets_nothing_else_begin(house: House, ana: Puppet) -> None:
    running = Running(house, ana, "completion")
    with full_disk(house.stack):
        let_go(house)
        assert running.answered()[0] == 200  # its intent is durable, and every word was judged
        code, said = ask(ana, "s_normal")
        assert code == 503 and "audit_unavailable" in said, said
        assert ana.call("web/fine")["code"] == ana.call("new/fine")["code"] == "audit_unavailable"
    house.kill("core")
    assert running.ended()[0] == "unknown"
    assert running.asked() == len(house.model.seen) == 1
    assert house.world.asked == []
