"""Two tenants on one installation: nothing of one reaches the other."""

from __future__ import annotations

import json

import pytest
from tests.stack import Stack

pytestmark = pytest.mark.confined
PRIVATE = "acme-private-figure-4417"


def test_calls_of_one_tenant_stand_in_its_own_log_only(stack: Stack) -> None:
    with stack.puppet("acme/ana") as ours, stack.puppet("globex/gus") as theirs:
        ours.call("echo/echo", text=PRIVATE)
        theirs.call("echo/echo", text="globex")
    for tenant, other in (("acme", "globex"), ("globex", "acme")):
        for record in stack.records(tenant, "intent", "outcome", "launch", "exit", "label", "refused"):
            if record.clear.get("subject"):
                assert f"/tenant/{tenant}/" in str(record.clear["subject"])
        assert not [r for r in stack.records(other) if f"/tenant/{tenant}/" in json.dumps(r.clear)]


def test_a_tool_of_another_tenant_does_not_exist(stack: Stack) -> None:
    with stack.puppet("globex/gus") as agent:
        path = f"{stack.folder}/data/note.txt"
        for tool, args in (("desk/add", {"a": 1, "b": 2}), ("ledger/look", {"path": path})):
            answer = agent.call(tool, **args)
            assert answer["error"] in {"Refused", "BadInput"}, answer
            assert answer["record"].startswith("globex/")
        assert {tool["name"] for tool in agent.do("list")["result"]} == {"echo/echo", "ledger/attempt"}


def test_each_tenant_has_tool_servers_and_a_sidecar_of_its_own(stack: Stack) -> None:
    with stack.puppet("globex/gus") as agent:
        agent.call("ledger/attempt", what="kill", where="1")
    found = stack.status()
    servers = {(each["tenant"], each["name"]): each["pid"] for each in found["servers"] if each["running"]}
    assert servers["acme", "ledger"] != servers["globex", "ledger"]
    assert ("globex", "desk") not in servers
    names = {process["name"]: process["pid"] for process in found["processes"]}
    assert names["sidecar-acme"] != names["sidecar-globex"]


def test_labels_belong_to_one_tenants_agent(stack: Stack) -> None:
    with stack.puppet("acme/ana") as agent:
        agent.call("ledger/look", path=f"{stack.folder}/data/note.txt")
    labels = [r.body for r in stack.records("acme", "label")]
    assert any(label["context"].endswith("/work/acme/ana") for label in labels)
    assert not any("/work/acme/" in json.dumps(dict(r.body)) for r in stack.records("globex"))


def test_an_agent_sees_nothing_of_another_tenants_agent(stack: Stack) -> None:
    with stack.puppet("acme/ana") as ours, stack.puppet("globex/ana") as theirs:
        pid, run = ours.pid, ours.run
        ours.do("python", text="open('/workspace/secret', 'w').write('x'); answer = 1")
        look = ("import os, sys; sys.path.insert(0, '.'); from attempts import attempt; answer = ["
                f"attempt('kill', '{pid}'), attempt('environment', '{pid}'), attempt('listing', '/proc/{pid}'),"
                f"attempt('listing', '{stack.state}'), attempt('read', '/workspace/secret'),"
                f"attempt('unix', '{stack.state}/doors/{run}/door.sock'),"
                "sorted(filter(str.isdigit, os.listdir('/proc')))]")
        *attempts, shown = theirs.do("python", text=look)["result"]
    assert all(result.startswith("E") for result in attempts), attempts
    assert shown == ["1"]


def test_the_log_of_each_verifies(stack: Stack) -> None:
    report = stack.verify()
    assert report.ok, report.problems
    assert {log.log for log in report.logs} == {"system", "acme", "globex"}
