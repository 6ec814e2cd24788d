"""The default policy, rule by rule: what it gives, and each way it must refuse."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from tests.policy.compile import the_opa
from tests.policy.support import (
    CALL,
    LIST,
    codes,
    data,
    document,
    fake_pattern,
    manifest,
    operator,
    resource,
    subject,
)

from ringwall.errors import PolicyError
from ringwall.manifest.types import NamedOperator, Operators
from ringwall.policy.build import SOURCES
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.wire.models.messages_types import ClientTool

POLICY = EmbeddedPolicy.default(data())


def decide(**changes: Any) -> Any:
    return POLICY.evaluate(CALL, document(**changes))


PAY = {"target": "bank/pay", "args": {"to": "alice", "amount": 5},
       "resources": [resource("alice", type="id", argument="to")]}



def model(target: str, *tools: Any, api: str = "responses", **more: Any) -> dict[str, Any]:
    """A call of a model; the tools are as that API spells them."""
    request = {"model": target, **({"tools": list(tools)} if tools else {}), **more}
    return {"kind": "model", "target": target, "args": {"api": api, "request": request}, "resources": []}


OWN = {"type": "function", "name": "read"}
SEARCH = {"type": "web_search"}

READ = {"kind": "secret", "target": "read/hook", "args": {}, "resources": []}
X509 = {"kind": "secret", "target": "svid/x509", "args": {}, "resources": []}
JWT = {"kind": "secret", "target": "svid/jwt", "args": {"audience": ["billing.example"]}, "resources": []}


GIVEN: list[dict[str, Any]] = [
    {},
    {"resources": [resource("srv", "one.txt")], "args": {"path": "/srv/one.txt"}},
    {"args": {"path": "/srv/team-1/a", "limit": 200}},
    {"args": {"path": "/srv/team-1/a", "limit": -3.5}},
    {"resources": [resource("srv", "team-1", "a"), resource("srv", "team-1", "b", "c")]},
    {"target": "docs/search", "args": {"query": "x"}, "resources": []},
    {"target": "ringwall/list", "args": {}, "resources": []},
    {"subject": subject("gus", role="guest"), "target": "ringwall/list", "args": {}, "resources": []},
    {"kind": "model", "target": "main", "args": {"messages": []}, "resources": []},
    model("main", OWN, {"name": "read", "input_schema": {}}, {"type": "custom", "name": "read"}),
    model("second", OWN, SEARCH, {"type": "web_search_20250305", "name": "web_search"}),
    model("second", api="chat", web_search_options={}),
    {"subject": subject("tom", number=7)},
    {"subject": operator(), "kind": "operate", "target": "run", "args": {"agent": "ana"}, "resources": []},
    {"subject": operator(), "kind": "operate", "target": "freeze", "args": {}, "resources": []},
    {"facts": {"identity": {"attested": True}}},
    JWT,
    READ,
    X509,
    {**JWT, "args": {"audience": ["billing.example"], "spiffe_id": subject()["id"]}},
]


@pytest.mark.parametrize("changes", GIVEN)
def test_what_was_given_is_allowed(changes: dict[str, Any]) -> None:
    found = decide(**changes)
    assert found == {"allow": True, "deny": [], "ask": [], "remedy": ""}


REFUSED: list[tuple[dict[str, Any], str]] = [
    # paths: look-alikes, climbing, siblings, parents
    ({"resources": [resource("srv", "team-10", "a")]}, "resource_not_granted"),
    ({"resources": [resource("srv", "team-1", "..", "payroll")]}, "resource_not_granted"),
    ({"resources": [resource("srv", "team-1", ".", "a")]}, "resource_not_granted"),
    ({"resources": [resource("srv")]}, "resource_not_granted"),
    ({"resources": [resource()]}, "resource_not_granted"),
    ({"resources": [resource("srv", "Team-1", "a")]}, "resource_not_granted"),
    ({"resources": [resource("srv", "one.txt", "x")]}, "resource_not_granted"),
    ({"resources": [resource("srv", "team-1/a")]}, "resource_not_granted"),
    ({"resources": [resource("srv", "team-1", "a", type="url")]}, "resource_not_granted"),
    ({"resources": [resource("srv", "team-1", "a"), resource("etc", "shadow")]}, "resource_not_granted"),
    ({"resources": [{"type": "path", "id": "/srv/team-1/a"}]}, "resource_not_granted"),
    ({"resources": [{**resource(), "key": "srv/team-1/a"}]}, "resource_not_granted"),
    ({"resources": [{**resource(), "key": {"0": "srv", "1": "team-1"}}]}, "resource_not_granted"),
    ({"resources": [None]}, "resource_not_granted"),
    ({"resources": None}, "resource_not_granted"),
    ({"resources": []}, "no_resource"),
    ({"target": "docs/search", "args": {"query": "x"}}, "resource_not_granted"),
    # arguments
    ({"args": {"path": "/srv/team-1/a", "paths": ["/etc/shadow"]}}, "undeclared_argument"),
    ({"args": {"path": "/srv/team-1/a", "Path": "/etc"}}, "undeclared_argument"),
    ({"args": {"path": "/srv/team-1/a", "": 1}}, "undeclared_argument"),
    ({"args": {"path": "/srv/team-1/a", "path\u0000": 1}}, "undeclared_argument"),
    ({"args": ["path"]}, "undeclared_argument"),
    ({"args": None}, "undeclared_argument"),
    ({"args": "path"}, "undeclared_argument"),
    ({"args": {"path": "/srv/team-1/a", "limit": 201}}, "over_maximum"),
    ({"args": {"path": "/srv/team-1/a", "limit": "5"}}, "over_maximum"),
    ({"args": {"path": "/srv/team-1/a", "limit": True}}, "over_maximum"),
    ({"args": {"path": "/srv/team-1/a", "limit": None}}, "over_maximum"),
    ({"args": {"path": "/srv/team-1/a", "limit": [1]}}, "over_maximum"),
    ({"args": {"path": "/srv/team-1/a", "limit": 1e300}}, "over_maximum"),
    ({**PAY, "args": {"to": "alice", "amount": 51}}, "over_maximum"),
    ({**PAY, "resources": [resource("mallory", type="id", argument="to")]}, "resource_not_granted"),
    # tools, models, kinds
    ({"target": "docs/delete"}, "not_granted"),
    ({"target": "docs/read "}, "not_granted"),
    ({"target": "DOCS/READ"}, "not_granted"),
    ({"target": "docs/read\u200b"}, "not_granted"),
    ({"target": ""}, "not_granted"),
    ({"target": 1}, "not_granted"),
    ({"target": ["docs/read"]}, "not_granted"),
    ({"target": None}, "not_granted"),
    ({"direction": "in"}, "not_granted"),
    ({"kind": "model", "target": "docs/read"}, "not_granted"),
    ({"kind": "model", "target": "other"}, "not_granted"),
    ({"kind": "model", "target": "main", "subject": subject("gus", role="guest")}, "not_granted"),
    # a provider's own tools, whatever the other rings say of them
    (model("main", OWN, SEARCH), "provider_tool_not_granted"),
    ({**model("main", SEARCH), "facts": {"identity": {"attested": True}, "capability": {"granted": True}}},
     "provider_tool_not_granted"),
    (model("main", api="chat", web_search_options={}), "provider_tool_not_granted"),
    (model("main_x", SEARCH), "provider_tool_not_granted"),
    (model("second", {"type": "web_searcher"}), "provider_tool_not_granted"),
    (model("second", {"type": "code_execution_20250825"}), "provider_tool_not_granted"),
    (model("second", SEARCH, {"type": ["function"]}), "provider_tool_not_granted"),
    (model("second", {"type": None}), "provider_tool_not_granted"),
    (model("second", {"type": ""}), "provider_tool_not_granted"),
    (model("second", "function"), "provider_tool_not_granted"),
    (model("second", tools={"0": OWN}), "provider_tool_not_granted"),
    (model("second", tools="function"), "provider_tool_not_granted"),
    ({**model("main"), "args": {"tools": [SEARCH]}}, "provider_tool_not_granted"),
    ({**model("main"), "args": None}, "provider_tool_not_granted"),
    (model("second/web_search"), "not_granted"),
    ({"kind": "secret"}, "not_granted"),
    ({**JWT, "target": "svid/x509"}, "not_granted"),
    ({**JWT, "target": "svid/wit"}, "not_granted"),
    ({**JWT, "args": {"audience": ["billing.example", "other.example"]}}, "not_granted"),
    ({**JWT, "args": {"audience": []}}, "not_granted"),
    ({**JWT, "args": {"audience": "billing.example"}}, "not_granted"),
    ({**JWT, "args": {"audience": [1]}}, "not_granted"),
    ({**JWT, "args": {"audience": ["billing.example"], "spiffe_id": "spiffe://x"}}, "not_granted"),
    ({**JWT, "kind": "tool"}, "not_granted"),
    ({**JWT, "subject": subject("gus", role="guest")}, "not_granted"),
    ({**JWT, "resources": [resource("/a")]}, "not_granted"),
    ({**X509, "subject": subject("gus", role="guest")}, "not_granted"),
    ({**X509, "args": {"audience": ["billing.example"]}}, "not_granted"),
    ({**READ, "target": "read/other"}, "not_granted"),
    ({**READ, "target": "read/minted"}, "not_granted"),
    ({**READ, "target": "read/"}, "not_granted"),
    ({**READ, "target": ["read/hook"]}, "not_granted"),
    ({**READ, "target": "svid/x509", "args": {"a": 1}}, "not_granted"),
    ({**READ, "args": {"version": 1}}, "not_granted"),
    ({**READ, "resources": [resource("/a")]}, "not_granted"),
    ({**READ, "direction": "in"}, "not_granted"),
    ({**READ, "kind": "tool"}, "not_granted"),
    ({**READ, "subject": subject("gus", role="guest")}, "not_granted"),
    ({**READ, "subject": subject(tenant="other")}, "not_granted"),
    ({**READ, "acting_for": ["spiffe://x/y"]}, "beyond_delegation"),
    ({"kind": "message"}, "not_granted"),
    ({"kind": "code"}, "not_permitted"),
    ({"acting_for": ["spiffe://x/y"]}, "beyond_delegation"),
    ({"acting_for": None}, "beyond_delegation"),
    ({"acting_for": {}}, "beyond_delegation"),
    ({"acting_for": [7]}, "beyond_delegation"),
    ({**X509, "acting_for": ["spiffe://x/y"]}, "beyond_delegation"),
    ({"kind": "code"}, "not_permitted"),
    ({"kind": None}, "not_permitted"),
    ({"kind": {"tool": True}}, "not_permitted"),
    ({"target": "ringwall/list", "args": {"all": True}, "resources": []}, "not_granted"),
    ({"target": "ringwall/list", "args": {}}, "not_granted"),
    ({"subject": subject("gus", role="guest")}, "not_granted"),
    # operators
    ({"kind": "operate", "target": "run", "args": {}, "resources": []}, "not_granted"),
    ({"subject": operator(), "kind": "operate", "target": "shell", "args": {}, "resources": []}, "not_granted"),
    ({"subject": operator()}, "not_granted"),
    ({"subject": {**operator(), "tenant": "acme"}, "kind": "operate", "target": "run"}, "unknown_agent"),
    # who
    ({"subject": subject("ana", tenant="other")}, "not_granted"),
    ({"subject": subject("ana", tenant="nobody")}, "unknown_agent"),
    ({"subject": subject("eve")}, "unknown_agent"),
    ({"subject": subject("gus")}, "unknown_agent"),
    ({"subject": {**subject(), "tenant": "other"}}, "unknown_agent"),
    ({"subject": {**subject(), "id": "spiffe://evil.example/tenant/acme/agent/ana/role/analyst"}}, "unknown_agent"),
    ({"subject": {**subject(), "type": "peer"}}, "unknown_agent"),
    ({"subject": {**subject(), "agent": ["ana"]}}, "unknown_agent"),
    ({"subject": {}}, "unknown_agent"),
    ({"subject": None}, "unknown_agent"),
    ({"subject": subject(number=1)}, "not_main_process"),
    ({"subject": {**subject(), "number": False}}, "not_main_process"),
    ({"subject": {**subject(), "number": "0"}}, "not_main_process"),
    ({"subject": {**subject("tom"), "number": None}}, "not_main_process"),
    # facts of other rings only tighten
    ({"facts": {}}, "not_attested"),
    ({"facts": {"identity": {"attested": 1}}}, "not_attested"),
    ({"facts": {"identity": {"attested": "true"}}}, "not_attested"),
    ({"facts": {"identity": True}}, "not_attested"),
    ({"facts": {"identity": {"attested": True}, "guard": {"blocked": True}}}, "guard_blocked"),
    ({"facts": {"identity": {"attested": True}, "guard": {"blocked": 0}}}, "guard_blocked"),
    ({"facts": {"identity": {"attested": True}, "guard": {"blocked": None}}}, "guard_blocked"),
    ({"facts": {"identity": {"attested": True}, "flow": {"denied": True}}}, "flow_denied"),
    ({"facts": {"identity": {"attested": True}, "flow": {"denied": "false"}}}, "flow_denied"),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED)
def test_what_was_not_given_is_refused(changes: dict[str, Any], code: str) -> None:
    found = decide(**changes)
    assert found["allow"] is False
    assert code in codes(found)
    assert all(denial["reason"] and ".rego" in denial["rule"] for denial in found["deny"])
    assert found["remedy"]


def test_facts_that_say_yes_do_not_give_anything() -> None:
    pleasant = {name: {"attested": True, "granted": True, "allowed": True, "blocked": False, "denied": False,
                       "resources": [{"id": "/etc/shadow", "covered_by": "path:/"}]}
                for name in ("identity", "capability", "limits", "flow", "guard")}
    found = decide(facts=pleasant, resources=[resource("etc", "shadow")], args={"path": "/etc/shadow"})
    assert codes(found) == {"resource_not_granted"}


def test_an_empty_input_is_refused_with_reasons() -> None:
    found = POLICY.evaluate(CALL, {})
    assert found["allow"] is False and codes(found) >= {"unknown_agent", "not_attested", "not_permitted"}


@pytest.mark.parametrize("facts", [None, [], "identity", {"identity": {"attested": True}, "guard": "blocked"}])
def test_facts_of_the_wrong_shape_are_a_denial_or_an_error(facts: Any) -> None:
    try:
        found = decide(facts=facts)
    except PolicyError:
        return
    assert found["allow"] is False
    assert found["deny"]


def test_a_tool_given_with_approval_asks_unless_the_ring_verified_one() -> None:
    asked = decide(**PAY)
    assert asked["allow"] is False and asked["deny"] == []
    assert [question["code"] for question in asked["ask"]] == ["approval_required"]
    assert decide(**PAY, approval="acme/7")["ask"], "a claimed approval is no evidence"
    facts = {"identity": {"attested": True}, "policy": {"approved": True}}
    assert decide(**PAY, facts=facts)["ask"], "a verified approval must be named by the call"
    assert decide(**PAY, approval="acme/7", facts=facts)["allow"] is True


def test_a_denied_call_is_refused_even_where_a_human_could_be_asked() -> None:
    found = decide(**{**PAY, "args": {"to": "alice", "amount": 5000}})
    assert codes(found) == {"over_maximum"} and found["allow"] is False


def test_every_broken_rule_is_named() -> None:
    found = decide(subject=subject(number=3), args={"paths": [], "limit": 999}, resources=[resource("etc")],
                   facts={})
    assert codes(found) == {"not_main_process", "undeclared_argument", "over_maximum", "resource_not_granted",
                            "not_attested"}


@pytest.mark.parametrize(("who", "shown"), [
    (subject(), ["bank/pay", "docs/read", "docs/search"]),
    (subject("gus", role="guest"), []),
    (subject("ana", tenant="other"), []),
    (subject("ana", number=4), []),
    (subject("eve"), []),
    (operator(), []),
    (None, []),
])
def test_a_listing_shows_what_was_given_and_no_more(who: Any, shown: list[str]) -> None:
    asked = {"subject": who, "targets": ["docs/read", "docs/search", "docs/delete", "bank/pay", "main", 3, None],
             "time": {"now": 1.0}}
    assert POLICY.evaluate(LIST, asked) == {"targets": shown}


@pytest.mark.parametrize(("name", "uid", "verb", "allowed"), [
    ("rita", 1000, "freeze", True), ("rita", 1000, "run", False), ("rita", 1001, "freeze", False),
    ("otto", 1001, "status", True), ("otto", 1001, "thaw", False), ("root", 0, "status", False),
    (["rita"], 1000, "freeze", False), ("rita", "1000", "freeze", False), ("rita", 1000, {"freeze": True}, False),
])
def test_a_named_operator_may_do_what_his_roles_have_as_data(name: Any, uid: Any, verb: Any, allowed: bool) -> None:
    named = {"rita": NamedOperator(name="rita", uid=1000, roles=("responder",)),
             "otto": NamedOperator(name="otto", uid=1001, roles=("auditor",))}
    office = replace(manifest(), operators=Operators(named=named))
    policy = EmbeddedPolicy.default(policy_data(office, fake_pattern))
    asked = document(subject={**operator(), "name": name, "uid": uid}, kind="operate", target=verb, args={},
                     resources=[])
    decision = policy.evaluate(CALL, asked)
    assert decision["allow"] is allowed
    assert (codes(decision) == set()) is allowed


def test_a_grant_of_an_undeclared_operation_is_left_out_of_the_data() -> None:
    tools = data()["ringwall"]["tenants"]["acme"]["roles"]["analyst"]["tools"]
    assert set(tools) == {"docs/read", "docs/search", "bank/pay"}
    assert tools["docs/read"] == {
        "type": "urn:ringwall:tool", "identifier": "docs/read", "actions": ["read"],
        "locations": ["path:/srv/team-1/", "path:/srv/one.txt"],
        "args": {"path": True, "limit": True}, "max": {"limit": 200}, "effect": "read", "approval": "never",
        "resources": [{"type": "path", "key": ["srv", "team-1"], "subtree": True},
                      {"type": "path", "key": ["srv", "one.txt"], "subtree": False}]}


@pytest.mark.needs_opa
def test_the_real_opa_decides_the_same(tmp_path: Path) -> None:
    asked = [document(**changes) for changes in [*GIVEN, *(changes for changes, _ in REFUSED), PAY]]
    (tmp_path / "data.json").write_text(json.dumps(data()))
    (tmp_path / "input.json").write_text(json.dumps({"documents": asked}))
    query = "[found | some one in input.documents; found := data.ringwall.decide.call with input as one]"
    done = subprocess.run([the_opa(), "eval", "--format=json", "-d", str(tmp_path / "data.json"), "-i",
                           str(tmp_path / "input.json"), *(f"-d{path}" for path in SOURCES.glob("*.rego")), query],
                          capture_output=True, check=True)
    opa = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    assert opa == [POLICY.evaluate(CALL, one) for one in asked]


INPUTS = {"responses": {"q": "yes"}, "state": ""}


def test_a_servers_question_is_answered_only_by_who_may_answer_it() -> None:
    assert decide(inputs=INPUTS)["allow"] is False
    base = data()
    tools = base["ringwall"]["tenants"]["acme"]["roles"]["analyst"]["tools"]
    [server] = {name.partition("/")[0] for name in [document()["call"]["target"]]}
    tools[f"{server}/elicitation.create"] = {"args": {}, "resources": [], "max": {}, "effect": "read",
                                             "approval": "never"}
    policy = EmbeddedPolicy.default(base)
    assert policy.evaluate(CALL, document(inputs=INPUTS))["allow"] is True
    assert policy.evaluate(CALL, document(inputs=None))["allow"] is True  # named at all: judged the same way


def test_tools_that_a_provider_named_and_the_agent_runs_are_its_own() -> None:
    """The wire's list and the policy's must be one: what only one of them knows is refused by the other."""
    kinds = get_args(get_type_hints(ClientTool)["type"])
    assert len(kinds) > 5
    for kind in kinds:
        assert decide(**model("main", {"type": kind, "name": "x"}, api="messages"))["allow"] is True, kind
    assert decide(**model("main", {"type": "bash_29990101", "name": "x"}, api="messages"))["allow"] is False
