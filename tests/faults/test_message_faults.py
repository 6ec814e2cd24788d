"""Messages while the disk is full, keys turn, clocks jump, ports are taken: refused with a code, or delivered."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.faults.test_full_disk import full_disk
from tests.impostor import Impostor, Line, http, rpc
from tests.stack import Puppet, Stack, kill, wait_for
from tests.talking import manifest, send, serving, spiffe

pytestmark = pytest.mark.confined

ANA, SAM = spiffe("acme/ana"), spiffe("acme/sam")


class TurningStack(Stack):
    """Its keys turn every second or two."""

    up = (sys.executable, str(Path(__file__).parent / "turning_core.py"))


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(manifest) as running:
        yield running


def works(sender: Puppet, seconds: float = 15.0, **more: str) -> None:
    """Messages arrive, at the latest after a while."""
    wait_for("messages to arrive again", lambda: "result" in send(sender, "still there?", **more), seconds)


def listen_of(stack: Stack, agent: str) -> int:
    """The port that the manifest gives an agent."""
    text = stack.manifest.read_text().partition(f"agents.{agent}]")[2]
    return int(text.partition('listen = "127.0.0.1:')[2].partition('"')[0])


def test_a_receiver_that_does_not_run_is_unreachable_and_the_log_says_so(stack: Stack) -> None:
    with stack.puppet("acme/ana") as ana:
        answer = send(ana, "x")
        assert answer["code"] == "peer_unreachable"
        outcome = wait_for("the outcome", lambda: stack.outcome(answer["record"]))
        assert (outcome.clear["end"], outcome.clear["code"]) == ("failed", "peer_unreachable")


def test_two_launches_of_one_agent_send_and_one_after_the_other_receives(stack: Stack) -> None:
    with stack.puppet("acme/ana") as ana, stack.puppet("acme/ana") as another, serving(stack) as first:  # noqa: SIM117
        with serving(stack):  # begun later, and there for longer
            for n in range(4):
                assert "result" in send(ana, f"a{n}")
                assert "result" in send(another, f"b{n}")
            first.process.stdin.close()
            assert first.process.wait(20) == 0
            works(ana)
            works(another)
    assert stack.verify().ok


def test_nothing_is_delivered_that_cannot_be_written_down(stack: Stack) -> None:
    with stack.puppet("globex/gus") as gus, serving(stack) as sam:
        assert "result" in send(gus, "before", peer="acme/sam")
        impostor = Impostor(stack)
        with full_disk(stack):
            assert send(gus, "never", peer="acme/sam")["code"] == "audit_unavailable"
            body = rpc(message="never-2")
            envelope = impostor.sealed(body, sender=ANA, receiver=SAM)
            with Line(sam.port, impostor.svid(ANA)) as line:
                assert line.ask(http(body, envelope)).code == "audit_unavailable"
        said = sum(line.startswith("ringwall: ready") for line in stack.log)
        kill(stack.pid("core"))
        stack.wait_ready(said + 1)
        works(gus, peer="acme/sam")
        found = send(gus, [{"data": {"do": "seen"}}], peer="acme/sam")["result"]["message"]["parts"][0]["data"]
        assert not [one for one in found if one.startswith("never")]
    assert stack.verify().ok


@pytest.fixture(scope="module")
def turning() -> Generator[TurningStack]:
    with TurningStack(manifest) as running:
        yield running
        assert running.verify().ok


def test_messages_go_on_while_keys_turn_and_a_core_that_dies_in_it_goes_on_with_the_disk(turning: Stack) -> None:
    with turning.puppet("globex/gus") as gus, serving(turning):
        works(gus, peer="acme/sam")
        turned, sent, until = turns(turning), 0, time.monotonic() + 20
        while turns(turning) < turned + 3 and time.monotonic() < until:
            answer = send(gus, "meanwhile", peer="acme/sam")
            assert "result" in answer, answer
            sent += 1
        assert turns(turning) >= turned + 3
        assert sent > 10
        for when in ("die-before", "die-after"):
            said = sum(line.startswith("ringwall: ready") for line in turning.log)
            (turning.manifest.parent / when).touch()
            turning.wait_ready(said + 1)
            works(gus, peer="acme/sam")


def turns(stack: Stack) -> int:
    return len(stack.records("system", "key_activated"))


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_jumps_lets_nothing_in_and_is_got_over(turning: Stack, seconds: int) -> None:
    restarts = turning.status()["restarts"]
    with turning.puppet("globex/gus") as gus, serving(turning) as sam:
        works(gus, peer="acme/sam")
        jump = turning.manifest.parent / "jump"
        jump.write_text(str(seconds))
        for _ in range(5):  # the sidecars' clocks did not jump: what they say of certificates, the core does not
            answer = send(gus, "while the clock is wrong", peer="acme/sam")
            assert "result" in answer or answer["code"], answer
        jump.unlink()
        # The authority looks at the clock every 30 s, its sidecars' SVIDs are renewed up to 15 s after that.
        works(gus, 60, peer="acme/sam")
        assert sam.process.poll() is None
    assert turning.status()["restarts"] == restarts


def test_a_port_that_is_taken_is_told_and_taken_over_when_it_is_free(turning: Stack) -> None:
    port = listen_of(turning, "bea")
    with socket.socket() as taken, turning.puppet("acme/ana") as ana:
        taken.bind(("127.0.0.1", port))
        with serving(turning, "acme/bea"):
            assert "nothing can listen" in turning.status()["messages"]["problems"][f"127.0.0.1:{port}"]
            assert send(ana, "x", peer="bea")["code"] == "peer_unreachable"
            taken.close()
            works(ana, peer="bea")
            assert f"127.0.0.1:{port}" not in turning.status()["messages"]["problems"]
