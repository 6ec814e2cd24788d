"""Under ``ringwall run``: a call is held, shown, approved and run once; one byte changed, it is refused."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.stack import RINGWALL, Puppet, Stack, wait_for

from ringwall.call import Json

pytestmark = pytest.mark.confined

MANIFEST = """
version = 1
trust_domain = "acme.example"
[approvals]
deadline_s = 120
[tools.ledger]
python = "ledger_tool"
read_only = [{code}, {data}]
clearance = "private"
[tools.ledger.ops.look]
effect = "read"
args = {{ path = "selector:path" }}
[tenants.acme.roles.clerk.tools]
"ledger/look" = {{ resources = [{grant}], approval = "always" }}
[tenants.acme.agents.ana]
role = "clerk"
processes = "tree"
"""


def manifest(folder: Path) -> str:
    quoted = {"code": folder / "p", "data": folder / "data", "grant": f"path:{folder / 'data'}/"}
    return MANIFEST.format(**{name: json.dumps(str(value)) for name, value in quoted.items()})


def prepare(folder: Path) -> None:
    (folder / "data").mkdir()
    for name in ("a", "b", "c"):
        (folder / "data" / name).write_text(f"note {name}")


@pytest.fixture(scope="module")
def desk() -> Generator[Stack]:
    with Stack(manifest, prepare) as running:
        yield running


def ringwall(desk: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RINGWALL, *arguments, "--state", str(desk.state)], capture_output=True, text=True,
                          check=False, timeout=60)


LOOK = """
import ringwall
from ringwall import RingwallError
try:
    answer = {{'result': ringwall.call_tool('ledger/look', path={path!r}, approval={approval!r}, wait={wait!r})}}
except RingwallError as fault:
    answer = {{'error': type(fault).__name__, 'code': fault.code, 'record': fault.record}}
"""


def program(desk: Stack, name: str, approval: str = "", wait: int = 0) -> str:
    """The call as an agent makes it, through the client."""
    path = str(desk.folder / "data" / name)
    return LOOK.format(path=path, approval=approval or None, wait=wait or None)


def look(agent: Puppet, desk: Stack, name: str, approval: str = "") -> Any:
    return agent.do("python", text=program(desk, name, approval))["result"]


def waiting(desk: Stack) -> list[dict[str, Json]]:
    return desk.client.operate("approvals.list", {})["waiting"]


def test_held_then_approved_then_run_once_and_one_byte_changed_is_not(desk: Stack) -> None:
    with desk.puppet("acme/ana") as agent:
        held = look(agent, desk, "a")
        assert (held["error"], held["code"]) == ("Held", "held")
        record = held["record"]
        assert desk.record(record).type == "held"
        shown = ringwall(desk, "approvals", "show", record)
        assert shown.returncode == 0, shown.stderr
        for part in (record, "ledger/look", str(desk.folder / "data" / "a"), "capability", "approval_required",
                     "ringwall approvals approve"):
            assert part in shown.stdout.replace("\n  | ", ""), shown.stdout
        assert look(agent, desk, "a", record)["error"] == "Held"  # nobody has decided

        done = ringwall(desk, "approvals", "approve", record, "--reason", "fine")
        assert (done.returncode, done.stdout) == (0, f"{record} approved\n"), done.stderr
        assert look(agent, desk, "b", record)["code"] == "approval_invalid"
        ran = look(agent, desk, "a", record)
        assert ran == {"result": "note a"}
        assert look(agent, desk, "a", record)["code"] == "approval_spent"

        second = ringwall(desk, "approvals", "deny", record)
        assert second.returncode == 1
        assert "approval_decided" in second.stderr
    [intent] = [r for r in desk.records("acme", "intent") if r.clear["approval"] == record]
    assert desk.outcome(f"acme/{intent.number}") is not None
    [decision] = [r for r in desk.records("acme", "approval") if r.body["of"] == record]
    assert decision.number < intent.number
    assert str(decision.clear["subject"]).startswith("operator:")
    assert decision.body["uid"] == os.geteuid()
    assert desk.verify().ok


@pytest.mark.parametrize(("verb", "found"), [("approve", {"result": "note b"}), ("deny", None)])
def test_an_agent_that_waits_is_answered_as_soon_as_the_human_decides(
    desk: Stack, verb: str, found: dict[str, str] | None
) -> None:
    text = program(desk, "b", wait=100) + "print(answer)"
    with desk.begin("acme/ana", [sys.executable, "-c", text]) as process:
        [item] = wait_for("the held call", lambda: waiting(desk))
        assert item["args"] == {"path": str(desk.folder / "data" / "b")}
        assert ringwall(desk, "approvals", verb, str(item["id"])).returncode == 0
        assert process.stdout is not None
        answer = ast.literal_eval(process.stdout.read().decode())
        assert process.wait(30) == 0
    assert answer == found or (found is None and answer["code"] == "approval_denied")
    assert "1 held" in desk.told.read_text()


def test_an_agent_can_neither_approve_nor_reach_the_operators(desk: Stack) -> None:
    with desk.puppet("acme/ana") as agent:
        record = look(agent, desk, "c")["record"]
        body = json.dumps({"verb": "approvals.approve", "args": {"id": record}})
        head = f"POST /v1/operate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        own = agent.do("raw", data=f"{head}Content-Type: application/json\r\n\r\n{body}")
        assert "404" in own["status"], own
        text = f"import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({str(desk.state / 'operator.sock')!r})"
        assert agent.do("python", text=text)["errno"]
        assert [item["id"] for item in waiting(desk)] == [record]
        assert desk.client.operate("approvals.deny", {"id": record})["decision"] == "denied"


def test_an_approval_is_for_its_session_only(desk: Stack) -> None:
    with desk.puppet("acme/ana") as agent:
        record = look(agent, desk, "c")["record"]
        desk.client.operate("approvals.approve", {"id": record})
    with desk.puppet("acme/ana") as another:
        assert look(another, desk, "c", record)["code"] == "approval_invalid"


def test_an_endorsement_spares_the_question_until_it_is_revoked(desk: Stack) -> None:
    data = f"path:{desk.folder / 'data'}/"
    made = ringwall(desk, "endorsements", "add", "acme/clerk", "ledger/look", "--resource", data, "--days", "1",
                    "--uses", "5", "--reason", "notes", "--json")
    assert made.returncode == 0, made.stderr + made.stdout
    name = json.loads(made.stdout)["id"]
    listed = ringwall(desk, "endorsements", "list")
    assert "5 of 5 uses" in listed.stdout, listed.stderr
    with desk.puppet("acme/ana") as agent:
        assert look(agent, desk, "a") == {"result": "note a"}
        assert ringwall(desk, "endorsements", "revoke", name).returncode == 0
        assert look(agent, desk, "a")["error"] == "Held"


def test_a_decision_outlives_a_core_that_is_killed(desk: Stack) -> None:
    with desk.puppet("acme/ana") as agent:
        record = look(agent, desk, "a")["record"]
        desk.client.operate("approvals.approve", {"id": record})
        core = desk.pid("core")
        os.kill(core, signal.SIGKILL)
        desk.wait_ready(2)
        assert desk.pid("core") != core
        ran = wait_for("an open door", lambda: _through(look(agent, desk, "a", record)))
        assert ran == {"result": "note a"}
        assert look(agent, desk, "a", record)["code"] == "approval_spent"


def _through(answer: Any) -> Any:
    return None if answer.get("error") == "Unavailable" else answer
