"""Limits end to end: a flood costs only who floods, budgets outlive the core, operators see what is left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator

import pytest
from tests.limits.private_redis import PrivateRedis, needs_redis
from tests.stack import RINGWALL, Puppet, Stack, kill, wait_for

pytestmark = pytest.mark.confined
MANIFEST = """
version = 1
trust_domain = "acme.example"
{limits}
[tools.echo]
builtin = "echo"
clearance = "private"

[tenants.acme]
limits = {{ calls = "60/hour burst 60" }}
[tenants.acme.roles.clerk]
limits = {{ calls_per_day = 12, calls_per_session = 9 }}
[tenants.acme.roles.clerk.tools]
"echo/echo" = []
[tenants.acme.agents.ana]
role = "clerk"

[tenants.acme.roles.temp]
limits = {{ calls = "10/hour" }}
[tenants.acme.roles.temp.tools]
"echo/echo" = []
[tenants.acme.agents.flo]
role = "temp"

[tenants.globex.roles.guest.tools]
"echo/echo" = []
[tenants.globex.agents.gus]
role = "guest"
"""


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
def stack(request: pytest.FixtureRequest) -> Generator[Stack]:
    if request.param == "memory":
        with Stack(lambda _: MANIFEST.format(limits="")) as running:
            yield running
        return
    with PrivateRedis() as server:
        limits = f"[limits]\nstore = {json.dumps(server.store)}\ncurrency = \"EUR\""
        with Stack(lambda _: MANIFEST.format(limits=limits)) as running:
            yield running


def served(agent: Puppet, calls: int) -> int:
    """How many of so many calls, all asked at once, were let through."""
    numbers = [agent.ask("call", tool="echo/echo", args={"text": "x"}) for _ in range(calls)]
    return sum("result" in agent.answer(number) for number in numbers)


def shown(stack: Stack, *more: str) -> str:
    command = [*RINGWALL, "limits", "--state", str(stack.state), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def used(stack: Stack, agent: str, name: str) -> int:
    rows = json.loads(shown(stack, "--json"))["agents"]
    return next(row["limits"]["agent"][name]["used"] for row in rows if row["agent"] == agent)


def test_a_flood_costs_its_own_agent_and_all_calls_of_another_tenant_are_served(stack: Stack) -> None:
    with stack.puppet("acme/flo") as flood, stack.puppet("globex/gus") as calm:
        numbers = [flood.ask("call", tool="echo/echo", args={"text": "x"}) for _ in range(60)]
        assert served(calm, 20) == 20
        answers = [flood.answer(number) for number in numbers]
        assert sum("result" in answer for answer in answers) == 10
        refused = next(answer for answer in answers if "code" in answer)
        assert (refused["error"], refused["code"]) == ("Limited", "rate_limited")
    with stack.puppet("acme/flo") as again:  # a new process of the agent is the same agent
        assert served(again, 3) == 0


def test_budgets_of_a_session_and_a_day_outlive_the_core(stack: Stack) -> None:
    with stack.puppet("acme/ana") as agent:
        assert served(agent, 5) == 5
        kill(stack.pid("core"))
        stack.wait_ready(2)
        wait_for("its door", lambda: "result" in agent.call("echo/echo", text="x"))
        assert served(agent, 6) == 3  # 9 in this session, whoever counted them
        assert used(stack, "ana", "calls_per_session") == 9
    with stack.puppet("acme/ana") as agent:
        assert served(agent, 6) == 3  # 12 in this day
    assert used(stack, "ana", "calls_per_day") == 12
    assert "ana" in shown(stack, "acme") and "gus" not in shown(stack, "acme")
    lines = shown(stack).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert any(line.split() == ["calls", "per", "day", "12", "used", "0", "left", "of", "12"] for line in lines)
