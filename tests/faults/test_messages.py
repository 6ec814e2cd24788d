"""Kill -9 of each process in the middle of a message: an end for everything, and nothing twice."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from tests.faults.test_kills import restarted
from tests.stack import Puppet, Stack, alive, kill, wait_for
from tests.talking import Server, manifest, messages, order, send, serving

pytestmark = pytest.mark.confined

# Runs in the receiver: says that it began, and how often, and goes on when told to.
HOLD = """
import os, time
with open("/workspace/began", "a") as file: file.write("x")
while not os.path.exists("/workspace/go"): time.sleep(0.01)
answer = "done"
"""


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(manifest) as running:
        yield running


@pytest.fixture(scope="module")
def gus(stack: Stack) -> Generator[Puppet]:
    """A sender of the other tenant, so with a sidecar of its own."""
    with stack.puppet("globex/gus") as puppet:
        yield puppet


@pytest.fixture(scope="module")
def sam(stack: Stack) -> Generator[Server]:
    with serving(stack) as server:
        yield server


@pytest.fixture(autouse=True)
def everything_goes_on(stack: Stack, gus: Puppet) -> Generator[None]:
    yield
    works(gus)
    report = stack.verify()
    assert report.ok, report.problems


def works(sender: Puppet, peer: str = "acme/sam") -> None:
    """Messages arrive, at the latest after a restart."""
    wait_for("messages to arrive again", lambda: "result" in send(sender, "still there?", peer=peer), 10)


class Held:
    """A message that the receiver works on until it may end."""

    def __init__(self, stack: Stack, sender: Puppet, name: str) -> None:
        self.work = stack.state / "work" / "acme" / "sam"
        self.sender, self.name = sender, name
        for file in ("began", "go"):
            (self.work / file).unlink(missing_ok=True)
        self.number = sender.ask("send", peer="acme/sam", skill="quote", parts=order(do="python", text=HOLD),
                                 more={"message_id": name})
        wait_for("it to begin", lambda: self.times, 10)

    @property
    def times(self) -> int:
        """How often it was delivered."""
        began = self.work / "began"
        return len(began.read_text()) if began.exists() else 0

    def go(self) -> None:
        (self.work / "go").touch()

    def answer(self) -> Any:
        return self.sender.answer(self.number)

    def again(self) -> Any:
        """The same message once more."""
        return send(self.sender, order(do="python", text=HOLD), peer="acme/sam", message_id=self.name)


@pytest.fixture
def held(stack: Stack, gus: Puppet, sam: Server, request: pytest.FixtureRequest) -> Generator[Held]:
    found = Held(stack, gus, str(request.node.name).replace("[", "-").rstrip("]"))
    yield found
    found.go()


def record_of(stack: Stack, tenant: str, direction: str, name: str) -> str:
    """The intent of a message, by its id."""
    for one in messages(stack, tenant, "intent"):
        if one.clear["message"]["direction"] == direction:
            params = stack.body(tenant, one)["input"]["call"]["args"]["params"]
            if params.get("message", {}).get("messageId") == name:
                return f"{tenant}/{one.number}"
    raise AssertionError(f"no {direction} record of {name}")


def end_of(stack: Stack, record: str) -> str:
    """How it ended, once that is written."""
    return str(wait_for(f"the outcome of {record}", lambda: stack.outcome(record)).clear["end"])


def delivered_once(held: Held, stack: Stack) -> None:
    """The same message is not delivered again, and the refusal says why."""
    held.go()
    again = wait_for("an answer of the receiver's core", lambda: _settled(held.again()))
    assert (again["code"], held.times) == ("peer_error", 1), again
    assert "came before" in again["reason"]
    record = wait_for("its outcome", lambda: _duplicate(stack))
    assert record.clear["end"] == "failed"


def _duplicate(stack: Stack) -> Any:
    found = [one for one in stack.records("acme", "outcome") if one.clear["code"] == "duplicate_message"]
    return found[-1] if found else None


def _settled(answer: Any) -> Any:
    down = {"sidecar_unavailable", "sidecar_lost", "peer_unreachable", "peer_untrusted", "peer_broken",
            "peer_refused", "unavailable"}
    return None if answer.get("code") in down or answer.get("error") == "Unavailable" else answer


# --- kill -9


def test_the_senders_sidecar(stack: Stack, gus: Puppet, held: Held) -> None:
    pid = stack.pid("sidecar-globex")
    kill(pid)
    assert held.answer()["code"] == "sidecar_lost"
    assert end_of(stack, record_of(stack, "globex", "out", held.name)) == "unknown"
    assert end_of(stack, record_of(stack, "acme", "in", held.name)) != "done"  # nobody was left to take the answer
    restarted(stack, "sidecar-globex", pid)
    works_for_others(stack)
    delivered_once(held, stack)


def test_the_receivers_sidecar(stack: Stack, gus: Puppet, held: Held) -> None:
    pid = stack.pid("sidecar-acme")
    kill(pid)
    answer = held.answer()
    assert answer["code"] in {"peer_broken", "peer_error"}, answer
    assert end_of(stack, record_of(stack, "acme", "in", held.name)) == "unknown"
    assert end_of(stack, record_of(stack, "globex", "out", held.name)) == "unknown"
    restarted(stack, "sidecar-acme", pid)
    delivered_once(held, stack)


def test_the_core(stack: Stack, gus: Puppet, sam: Server, held: Held) -> None:
    said = sum(line.startswith("ringwall: ready") for line in stack.log)
    kill(stack.pid("core"))
    assert held.answer()["error"] == "Unavailable"
    stack.wait_ready(said + 1)
    assert alive(sam.pid)
    for record in (record_of(stack, "globex", "out", held.name), record_of(stack, "acme", "in", held.name)):
        outcome = stack.outcome(record)
        assert outcome is None or outcome.clear["end"] == "unknown"
    delivered_once(held, stack)


def works_for_others(stack: Stack) -> None:
    with stack.puppet("acme/ana") as ana:
        assert "result" in send(ana, "meanwhile")


def test_the_receiving_agent(stack: Stack) -> None:
    """Its server goes, and with it its listener: whoever waited for it is told, and both logs say it is unknown."""
    began = stack.state / "work" / "acme" / "bea" / "began"
    with stack.puppet("acme/ana") as ana, serving(stack, "acme/bea") as server:
        began.unlink(missing_ok=True)
        number = ana.ask("send", peer="bea", skill="quote", parts=order(do="python", text=HOLD),
                         more={"message_id": "to-bea"})
        wait_for("it to begin", began.exists)
        kill(server.pid)
        answer = ana.answer(number)
        assert answer["code"] in {"agent_broken", "peer_broken", "peer_error"}, answer
        assert began.read_text() == "x"
    assert end_of(stack, record_of(stack, "acme", "out", "to-bea")) in {"unknown", "failed"}
    assert end_of(stack, record_of(stack, "acme", "in", "to-bea")) in {"unknown", "stopped"}
    with stack.puppet("acme/ana") as ana, serving(stack, "acme/bea"):
        again = wait_for("the new server's core", lambda: _settled(send(ana, "x", peer="bea", message_id="to-bea")))
        assert "came before" in again["reason"], again
