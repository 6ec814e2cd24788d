"""capability/ring.py: what was not given is refused, whatever it looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.capability.office import IBAN, Office, grant, office, process

from ringwall.call import Allowed, Denied, Json, Kind, NeedsApproval, Operator, Subject, Verdict, canonical
from ringwall.capability.ring import CapabilityRing
from ringwall.errors import BadInput, ManifestError
from ringwall.interface import Targets
from ringwall.manifest.types import Grant, NamedOperator, Operators

OFFICE = Office()
OPERATOR = Operator(name="root", uid=0, connection=1)

# One good call a tool: every mutation below must be refused or decided like it.
GOOD: list[tuple[str, dict[str, Json]]] = [
    ("docs/read", {"path": "/srv/docs/public/a.txt", "encoding": "utf-8"}),
    ("docs/list", {"folder": "/srv/docs/public"}),
    ("docs/find", {"invoice": "INV-1", "words": "late"}),
    ("docs/find", {"invoice": 57}),
    ("mail/send", {"to": ["bob@customer.example"], "cc": ["boss@acme.example"], "subject": "s", "body": "b"}),
    ("pay/transfer", {"iban": IBAN, "amount": 49.5, "note": "n"}),
    ("pay/fetch", {"link": "https://x.example/v1/a"}),
    ("echo/echo", {"text": "hello"}),
]


def code(verdict: Verdict) -> str:
    return "" if isinstance(verdict, Allowed) else verdict.code


@pytest.mark.parametrize(("tool", "args"), GOOD, ids=[tool for tool, _ in GOOD])
def test_what_was_given_is_allowed_and_its_facts_say_what_covers_it(tool: str, args: dict[str, Json]) -> None:
    call = OFFICE.resolve({"tool": tool, "args": args})
    assert OFFICE.judge(call) == Allowed()
    facts = OFFICE.facts["capability"]
    known = OFFICE.catalogue.tool(tool)
    assert known is not None
    assert facts["granted"] is True and facts["definition"] == known.definition and facts["effect"] == known.effect
    assert [one["id"] for one in facts["resources"]] == [one.id for one in call.resources]
    assert all(one["covered_by"] for one in facts["resources"])
    assert set(facts["args"]) == set(args)
    assert canonical(facts)


def test_facts_name_roles_as_the_manifest_writes_them_and_the_covering_pattern() -> None:
    OFFICE.ask("mail/send", {"to": ["bob@customer.example"], "body": "b"})
    assert OFFICE.facts["capability"]["args"] == {"to": "target:email", "body": "payload"}
    assert OFFICE.facts["capability"]["resources"] == [
        {"id": "bob@customer.example", "covered_by": "email:@customer.example"}]


def mutations(args: dict[str, Json]) -> Iterator[dict[str, Json]]:
    for name, value in args.items():
        yield {key: inner for key, inner in args.items() if key != name}
        yield {key: inner for key, inner in args.items() if key != name} | {name + "s": [value, "/etc/shadow"]}
        yield {**args, name + "s": [value]}
        yield {**args, name.upper(): value}
        yield {**args, name: [value, value]}
        yield {**args, name: {"value": value}}
        yield {**args, name: None}
        yield {**args, name: []}
    yield {**args, "unknown": "x"}
    yield {**args, "": "x"}


MUTATED = [(tool, args, bent) for tool, args in GOOD for bent in mutations(args)]


@pytest.mark.parametrize(("tool", "args", "bent"), MUTATED, ids=[f"{t} {b!s:.60}" for t, _, b in MUTATED])
def test_a_bent_call_is_refused_or_touches_nothing_that_was_not_given(
        tool: str, args: dict[str, Json], bent: dict[str, Json]) -> None:
    try:
        call = OFFICE.resolve({"tool": tool, "args": bent})
    except BadInput:
        return
    verdict = OFFICE.judge(call)
    if isinstance(verdict, Denied):
        return
    good = OFFICE.resolve({"tool": tool, "args": args})
    known = OFFICE.catalogue.tool(tool)
    assert known is not None and set(call.args) <= set(known.operation.args)
    assert {r.id for r in call.resources} <= {r.id for r in good.resources}
    assert call.resources or not good.resources


@pytest.mark.parametrize(("tool", "args"), GOOD, ids=[tool for tool, _ in GOOD])
def test_naming_any_argument_twice_is_refused(tool: str, args: dict[str, Json]) -> None:
    for name, value in args.items():
        body = b'{"tool":' + canonical(tool) + b',"args":' + canonical(args)[:-1] + b"," + canonical(name) + b":" \
            + canonical(value) + b"}}"
        with pytest.raises(BadInput) as caught:
            OFFICE.resolve(body)
        assert caught.value.code == "duplicate_key"


@pytest.mark.parametrize(("tool", "args", "expected"), [
    ("docs/read", {"path": "/srv/docs/private/a.txt"}, "resource_not_granted"),
    ("docs/read", {"path": "/srv/docs/public-old/a.txt"}, "resource_not_granted"),
    ("docs/read", {"path": "/srv/docs/rules.txt/x"}, "resource_not_granted"),
    ("docs/read", {"path": "/srv/docs/public/../private/a.txt"}, "bad_argument"),
    ("docs/read", {"path": ["/srv/docs/public/a.txt"]}, "invalid_arguments"),
    ("docs/read", {"path": "/srv/docs/public/a", "follow": True}, "invalid_arguments"),
    ("docs/list", {}, "resource_not_granted"),  # the default that the tool would use
    ("docs/find", {"invoice": "INV-2"}, "resource_not_granted"),
    ("docs/find", {"invoice": None, "words": "all"}, "no_resource"),
    ("docs/find", {"words": "all"}, "no_resource"),
    ("docs/shred", {"path": "/srv/docs/public/a.txt"}, "not_granted"),
    ("docs/raed", {}, "not_granted"),
    ("nowhere/x", {}, "not_granted"),
    ("ringwall/run", {}, "not_granted"),
    ("gone/tool", {}, "tool_unavailable"),
    ("mail/send", {"to": ["bob@customer.example", "eve@evil.example"], "body": "b"}, "resource_not_granted"),
    ("mail/send", {"to": ["bob@customer.example"], "cc": ["eve@evil.example"], "body": "b"},
     "resource_not_granted"),
    ("mail/send", {"to": [], "body": "b"}, "no_resource"),
    ("mail/send", {"to": ["bob@customer.example"], "bcc": ["eve@evil.example"], "body": "b"}, "invalid_arguments"),
    ("pay/transfer", {"iban": "GB82WEST12345698765432", "amount": 1}, "resource_not_granted"),
    ("pay/transfer", {"iban": IBAN, "amount": 50.01}, "over_maximum"),
    ("pay/transfer", {"iban": IBAN, "amount": 10**40}, "over_maximum"),
    ("pay/transfer", {"iban": IBAN}, "over_maximum"),
    ("pay/transfer", {"iban": IBAN, "amount": "1"}, "invalid_arguments"),
    ("pay/transfer", {"iban": IBAN, "amount": True}, "invalid_arguments"),
    ("pay/transfer", {"iban": IBAN, "amount": -1}, "invalid_arguments"),
    ("pay/fetch", {"link": "https://x.example.evil.example/v1/a"}, "resource_not_granted"),
    ("ringwall/list", {"role": "held"}, "invalid_arguments"),
])
def test_what_was_not_given_is_refused_with_its_code(tool: str, args: dict[str, Json], expected: str) -> None:
    assert code(OFFICE.ask(tool, args)) == expected


def test_schema_errors_reach_the_agent_in_full() -> None:
    verdict = OFFICE.ask("mail/send", {"to": "bob@customer.example", "body": 5, "bcc": "x"})
    assert isinstance(verdict, Denied)
    assert len(verdict.detail["errors"]) == 3 and all(error in verdict.reason for error in verdict.detail["errors"])


def test_a_refusal_tells_the_agent_nothing_of_patterns_manifest_keys_or_what_else_exists() -> None:
    refused = OFFICE.ask("docs/read", {"path": "/srv/docs/private/a.txt"})
    assert isinstance(refused, Denied) and refused.remedy == ""
    assert "tenants." not in refused.reason and "public" not in refused.reason
    assert refused.detail["remedy"].endswith('to tenants.acme.roles.analyst.tools."docs/read"')
    exists, unknown = OFFICE.ask("docs/shred", {}), OFFICE.ask("docs/shrek", {})
    assert isinstance(exists, Denied) and isinstance(unknown, Denied)
    assert exists.reason.replace("shred", "shrek") == unknown.reason and exists.code == unknown.code


@pytest.mark.parametrize("subject", [
    process(agent="eve"), process(role="held"), process(role="none"), process(tenant="other"),
    process(domain="evil.example"), process(agent="hal", role="analyst"), OPERATOR,
])
def test_who_is_not_registered_in_this_role_may_do_nothing_and_see_nothing(subject: Subject) -> None:
    for tool, args in (*GOOD, ("ringwall/list", {})):
        assert code(OFFICE.ask(tool, args, subject)) == "unknown_agent"
    call = OFFICE.resolve({"model": "main", "request": {"messages": []}}, kind="model", subject=subject)
    assert code(OFFICE.judge(call)) == "unknown_agent"
    shown = asyncio.run(OFFICE.ring.lists(subject, Targets(definitions=OFFICE.catalogue.definitions())))
    assert shown.definitions == {}


def test_a_listing_is_allowed_and_shows_only_what_was_given_with_the_closed_definition() -> None:
    assert OFFICE.ask("ringwall/list", {}) == Allowed()
    everything: dict[str, Any] = {name: {"name": name} for name in OFFICE.catalogue.definitions()} | {
        "main": {"wire": "openai"}, "other": {"wire": "openai"}, "docs/shred": {}, "gone/tool": {}}
    shown = asyncio.run(OFFICE.ring.lists(process(), Targets(definitions=everything))).definitions
    assert set(shown) == {tool for tool, _ in GOOD} | {"main"}
    assert shown["docs/read"]["inputSchema"]["additionalProperties"] is False
    held = asyncio.run(OFFICE.ring.lists(process("hal", "held"), Targets(definitions=everything))).definitions
    assert set(held) == {"mail/send"}


@pytest.mark.parametrize(("name", "expected"), [("main", ""), ("other", "not_granted"), ("nothing", "not_granted")])
def test_only_a_granted_model_may_be_asked(name: str, expected: str) -> None:
    call = OFFICE.resolve({"model": name, "request": {"messages": []}}, kind="model")
    assert code(OFFICE.judge(call)) == expected
    assert OFFICE.facts["capability"]["granted"] == (expected == "")


SEARCHES: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"web_search_options": {}}),
    ("responses", {"tools": [{"type": "web_search"}]}),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
]


@pytest.mark.parametrize(("model", "expected"), [
    ("finder", ""),
    ("main", "provider_tool_not_granted"),  # given, but the model has no such tool
    ("other", "not_granted"),
])
@pytest.mark.parametrize(("api", "search"), SEARCHES)
def test_a_tool_that_runs_at_the_provider_must_be_given_and_declared(
    model: str, expected: str, api: str, search: dict[str, Any]
) -> None:
    call = OFFICE.resolve({"model": model, "request": {"messages": []}}, kind="model")
    asked = replace(call, args={"api": api, "request": {"model": model, **search}})
    assert code(OFFICE.judge(asked)) == expected
    if expected != "not_granted":
        assert OFFICE.facts["capability"]["provider_tools"] == ["web_search"]


def test_a_model_call_that_names_no_interface_is_refused() -> None:
    call = OFFICE.resolve({"model": "finder", "request": {"messages": []}}, kind="model")
    for args in ({"api": "images", "request": {}}, {"api": "chat", "request": []}, []):
        assert code(OFFICE.judge(replace(call, args=args))) == "bad_request"


@pytest.mark.parametrize(("subject", "verb", "expected"), [
    (OPERATOR, "run", ""), (OPERATOR, "stop", ""), (OPERATOR, "status", ""), (OPERATOR, "freeze", ""),
    (OPERATOR, "erase", "unknown_verb"),
    (process(), "run", "operator_only"), (process(), "status", "operator_only"),
])
def test_only_an_operator_operates_and_only_with_known_verbs(subject: Subject, verb: str, expected: str) -> None:
    call = OFFICE.resolve({"verb": verb, "args": {}}, kind="operate", subject=subject)
    assert code(OFFICE.judge(call)) == expected


@pytest.mark.parametrize(("name", "uid", "verb", "expected"), [
    ("rita", 1000, "freeze", ""), ("rita", 1000, "thaw", ""), ("rita", 1000, "run", "not_granted"),
    ("otto", 1001, "freeze", "not_granted"), ("otto", 1001, "status", ""), ("otto", 1000, "status", "not_granted"),
    ("root", 0, "status", "not_granted"), ("rita", 1000, "erase", "unknown_verb"),
])
def test_a_named_operator_has_the_verbs_of_his_roles(name: str, uid: int, verb: str, expected: str) -> None:
    named = {"rita": NamedOperator(name="rita", uid=1000, roles=("responder",)),
             "otto": NamedOperator(name="otto", uid=1001, roles=("auditor",))}
    house = Office(replace(office(), operators=Operators(named=named)))
    who = Operator(name=name, uid=uid, connection=1)
    assert code(house.judge(house.resolve({"verb": verb, "args": {}}, kind="operate", subject=who))) == expected


def test_what_is_frozen_is_refused_and_not_listed_and_what_was_never_given_stays_unknown() -> None:
    ring = CapabilityRing(
        OFFICE.manifest, OFFICE.catalogues,
        frozen=lambda call: "a drill" if call.target.name in {"docs/read", "docs/erase", "main"} else "",
        frozen_tool=lambda name: "a drill" if name == "docs/read" else "",
    )

    def judged(body: Json, kind: Kind = "tool") -> Verdict:
        return asyncio.run(ring.enter(OFFICE.resolve(body, kind=kind), {})).verdict

    frozen = judged({"tool": "docs/read", "args": {"path": "/srv/docs/public/a.txt"}})
    assert isinstance(frozen, Denied)
    assert (frozen.code, dict(frozen.detail)) == ("frozen", {"why": "a drill"})
    assert "drill" not in frozen.reason + frozen.remedy
    assert code(judged({"model": "main", "request": {"messages": []}}, "model")) == "frozen"
    assert code(judged({"tool": "docs/erase", "args": {}})) == "not_granted"
    assert judged({"tool": "echo/echo", "args": {"text": "x"}}) == Allowed()
    shown = asyncio.run(ring.lists(process(), Targets(definitions={"docs/read": {}, "echo/echo": {}})))
    assert set(shown.definitions) == {"echo/echo"}


@pytest.mark.parametrize("kind", ["secret", "message", "code"])
def test_kinds_that_are_not_given_are_refused(kind: Kind) -> None:
    call = replace(OFFICE.resolve({"tool": "echo/echo", "args": {"text": "x"}}), kind=kind)
    assert code(OFFICE.judge(call)) == "not_granted"


def test_an_approval_that_a_request_claims_approves_nothing_until_it_is_verified() -> None:
    hal = process("hal", "held")
    body = {"tool": "mail/send", "args": {"to": ["bob@customer.example"], "body": "b"}, "approval": "acme/57"}
    call = OFFICE.resolve(body, subject=hal)
    assert isinstance(OFFICE.judge(call), NeedsApproval)
    verified = CapabilityRing(OFFICE.manifest, OFFICE.catalogues, approved=lambda one: one.digest == call.digest)
    assert asyncio.run(verified.enter(call, {})).verdict == Allowed()
    other = OFFICE.resolve({**body, "args": {"to": ["eve@customer.example"], "body": "b"}}, subject=hal)
    assert isinstance(asyncio.run(verified.enter(other, {})).verdict, NeedsApproval)


def test_a_resource_that_differs_from_its_argument_is_refused_here_too() -> None:
    call = OFFICE.resolve({"tool": "docs/read", "args": {"path": "/srv/docs/public/a.txt"}})
    assert code(OFFICE.judge(replace(call, args={"path": "/srv/docs/private/a.txt"}))) == "unresolved_argument"
    mail = OFFICE.resolve({"tool": "mail/send", "args": {"to": ["bob@customer.example"], "body": "b"}})
    slipped = replace(mail, args={**mail.args, "cc": ["eve@evil.example"]})
    assert code(OFFICE.judge(slipped)) == "unresolved_argument"


def test_a_tool_given_without_resources_touches_none() -> None:
    manifest = office()
    acme = manifest.tenants["acme"]
    bare = replace(acme.roles["analyst"], tools={"docs/read": Grant(tool="docs/read")})
    made = Office(replace(manifest, tenants={"acme": replace(acme, roles={"analyst": bare})}))
    assert code(made.ask("docs/read", {"path": "/srv/docs/public/a.txt"})) == "resource_not_granted"


def test_a_grant_that_cannot_be_read_stops_the_ring_from_being_built_and_names_its_key() -> None:
    manifest = office()
    acme = manifest.tenants["acme"]
    bad = replace(acme.roles["analyst"], tools={"docs/read": grant("docs/read", "path:/srv/*"),
                                                "mail/send": grant("mail/send", "mail:x")})
    broken = replace(manifest, tenants={"acme": replace(acme, roles={"analyst": bad})})
    with pytest.raises(ManifestError) as caught:
        CapabilityRing(broken, OFFICE.catalogues)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0].startswith('tenants.acme.roles.analyst.tools."docs/read": ')
