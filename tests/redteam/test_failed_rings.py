"""A ring that is broken refuses, and so does a helper that is gone: each in a whole, running installation."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.models import provider
from tests.models.fake_upstream import Upstream, upstream
from tests.stack import Puppet, Stack, kill, wait_for

from ringwall.audit.records import Record

pytestmark = pytest.mark.confined

RINGS = ("identity", "capability", "limits", "flow", "guard", "policy")
MANIFEST = """
version = 1
trust_domain = "acme.example"
[models.main]
wire = "openai"
url = "{url}"
clearance = "private"
[tools.echo]
builtin = "echo"
clearance = "private"
[tenants.acme.roles.clerk]
models = ["main"]
[tenants.acme.roles.clerk.tools]
"echo/echo" = []
[tenants.acme.agents.ana]
role = "clerk"
"""


class FailingStack(Stack):
    """Rings and helpers fail when told to."""

    up = (sys.executable, str(Path(__file__).parent / "failing_core.py"))

    def fail(self, who: str, how: str) -> None:
        """From now on."""
        file = self.manifest.parent / "new"
        file.write_text(f"{who} {how}")
        file.rename(self.manifest.parent / "fault")

    def last(self, *types: str) -> Record:
        """The newest record of these types: the agent is not told its number when Ringwall itself fails."""
        return self.records("acme", *types)[-1]

    def last_outcome(self) -> Record:
        """Of the newest call that was let in; it may be written with a later batch."""
        intent = self.last("intent")
        return wait_for("the outcome", lambda: self.outcome(f"acme/{intent.number}"))

    def runs(self, name: str) -> bool:
        """Whether this helper runs."""
        return any(process["name"] == name and process["ready"] for process in self.status()["processes"])

    def mend(self) -> None:
        """Nobody fails any more."""
        (self.manifest.parent / "fault").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def model() -> Generator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def stack(model: Upstream) -> Generator[FailingStack]:
    with FailingStack(lambda _: MANIFEST.format(url=model.url("s_normal"))) as running:
        yield running
        assert running.status()["restarts"] == 0, "".join(running.log)
        assert running.verify().ok


@pytest.fixture(scope="module")
def agent(stack: FailingStack) -> Generator[Puppet]:
    with stack.puppet("acme/ana") as puppet:
        yield puppet


@pytest.fixture(autouse=True)
def mended(stack: FailingStack, agent: Puppet) -> Generator[None]:
    """Each test begins and ends with a wall that works."""
    assert agent.call("echo/echo", text="before") == {"result": {"text": "before"}}
    try:
        yield
    finally:
        stack.mend()
    wait_for("the helpers", lambda: stack.runs("guard") and stack.runs("sidecar-acme"))
    assert agent.call("echo/echo", text="after") == {"result": {"text": "after"}}


@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("how", ["raises", "hangs", "answers nothing", "answers garbage", "finds garbage"])
def test_a_ring_that_fails_refuses_every_call(stack: FailingStack, agent: Puppet, ring: str, how: str) -> None:
    stack.fail(ring, how)
    answer = agent.call("echo/echo", text="x")
    assert answer.get("code") == "ring_failed", answer
    record = stack.last("refused", "intent")
    assert record.type == "refused"
    assert record.clear["verdicts"][-1] == [ring, "denied", "ring_failed"]


@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("how", ["raises on the way back", "hangs on the way back"])
def test_a_ring_that_fails_on_the_way_back_withholds_the_answer(
        stack: FailingStack, agent: Puppet, ring: str, how: str) -> None:
    stack.fail(ring, how)
    answer = agent.call("echo/echo", text="x")
    assert answer.get("code") == "ring_failed", answer
    outcome = stack.last_outcome()
    ended = (outcome.clear["end"], outcome.clear["code"], outcome.clear["released"])
    assert ended == ("stopped", "ring_failed", None)


@pytest.mark.parametrize("ring", RINGS)
def test_garbage_on_the_way_back_is_not_an_answer(stack: FailingStack, agent: Puppet, ring: str) -> None:
    stack.fail(ring, "answers garbage on the way back")
    answer = agent.call("echo/echo", text="x")
    assert "result" not in answer
    outcome = stack.last_outcome()
    assert outcome.clear["end"] in {"stopped", "unknown"}
    assert outcome.clear["released"] is None


@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("where", ["on the way back", "in the middle", "at the end"])
@pytest.mark.parametrize("how", ["raises", "hangs", "answers garbage"])
def test_a_ring_that_fails_in_a_streamed_completion_ends_it_without_its_end(
    stack: FailingStack, agent: Puppet, model: Upstream, ring: str, where: str, how: str
) -> None:
    model.seen.clear()
    assert "data: [DONE]" in completed(agent)
    stack.fail(ring, f"{how} {where}")
    body = completed(agent)
    assert "ring_failed" in body and "data: [DONE]" not in body, body
    assert where == "at the end" or '"content":"h' not in body, body  # not one word that this ring has not judged
    outcome = stack.last_outcome()
    assert (outcome.clear["end"], outcome.clear["code"]) == ("stopped", "ring_failed")
    assert (outcome.clear["released"] is None) is (where == "on the way back")
    assert len(model.seen) == 2


def completed(agent: Puppet) -> str:
    """What comes of a streamed completion."""
    asked = json.dumps(provider.request("chat", stream=True))
    head = ["POST /openai/v1/chat/completions HTTP/1.1", "Host: x", "Content-Type: application/json",
            "Connection: close", f"Content-Length: {len(asked)}", "", asked]
    return str(agent.do("raw", data="\r\n".join(head))["body"])


@pytest.mark.parametrize("ring", RINGS)
def test_a_ring_that_cannot_judge_a_listing_shows_nothing(stack: FailingStack, agent: Puppet, ring: str) -> None:
    stack.fail(ring, "only lists badly")
    answer = agent.do("list")
    assert "result" not in answer
    assert stack.last_outcome().clear["released"] is None


def test_without_a_guard_every_call_is_refused(stack: FailingStack, agent: Puppet) -> None:
    stack.fail("guard", "gone")
    kill(stack.pid("guard"))
    wait_for("the guard's end", lambda: not stack.runs("guard"))
    answer = agent.call("echo/echo", text="x")
    assert answer.get("code") == "guard_unavailable", answer
    assert stack.last("refused", "intent").clear["verdicts"][-1] == ["guard", "denied", "guard_unavailable"]


def test_without_a_sidecar_no_effect_begins(stack: FailingStack, agent: Puppet) -> None:
    stack.fail("sidecar", "gone")
    kill(stack.pid("sidecar-acme"))
    wait_for("the sidecar's end", lambda: not stack.runs("sidecar-acme"))
    answer = agent.call("echo/echo", text="x")
    assert answer.get("code") == "sidecar_unavailable", answer
    outcome = stack.last_outcome()
    assert (outcome.clear["end"], outcome.clear["released"]) == ("failed", None)
