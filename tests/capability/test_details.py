"""capability/details.py: a credential is good for what both the grant and the call name, and never for more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.capability.office import operation

from ringwall.call import Call, CallId, Json, LaunchId, Operator, Process, Resource, Subject, Target
from ringwall.capability.details import Scopes
from ringwall.capability.resolve import resolve_arguments
from ringwall.capability.resources import covers, parse_pattern
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.details import Detail, parse, spell
from ringwall.manifest.types import Agent, Grant, Manifest, Role, Tenant, ToolServer

OPS = {
    "get": operation("read", object="selector:s3"),
    "put": operation("write", object="target:s3", body="payload"),
    "list": operation("read", prefix="selector:s3"),
    "query": operation("read", tables="selector:table", sql="query"),
    "fetch": operation("fetch", url="url"),
    "ping": operation("read", text="payload"),
}
GRANTS = [
    Grant(tool="store/get", resources=("s3:team-1/", "s3:reports/2026/", "s3:reports/readme"), approval="always"),
    Grant(tool="store/list", resources=("s3:reports/2026/",)),
    Grant(tool="store/query", resources=("table:sales.", "table:hr.people"), max={"limit": 9.0}),
    Grant(tool="store/fetch", resources=("url:https://x.example/v1/",)),
    Grant(tool="store/ping"),
    Grant(tool="store/put"),  # no manifest is loaded with this one; here it stands for a hole
]
MANIFEST = Manifest(
    version=1, trust_domain="acme.example", path=Path("ringwall.toml"),
    tools={"store": ToolServer(name="store", ops=OPS)},
    tenants={"acme": Tenant(
        name="acme", roles={"analyst": Role(name="analyst", tools={one.tool: one for one in GRANTS}),
                            "guest": Role(name="guest")},
        agents={"ana": Agent(name="ana", role="analyst"), "gus": Agent(name="gus", role="guest")})})
SCOPES = Scopes(MANIFEST, parse_pattern)


def process(agent: str = "ana", role: str = "analyst", tenant: str = "acme",
            domain: str = "acme.example") -> Process:
    return Process(spiffe_id=SpiffeId.make(trust_domain=domain, tenant=tenant, agent=agent, role=role),
                   launch=LaunchId("l"), connection=1)


def call(op: str, args: dict[str, Json], subject: Subject | None = None) -> Call:
    found, resources = resolve_arguments(OPS[op], args) if op in OPS else (args, ())
    return Call.make(id=CallId("c"), kind="tool", subject=subject or process(), session=None,
                     target=Target(name=f"store/{op}"), args=found, resources=resources)


def locations(op: str, args: dict[str, Any]) -> tuple[str, ...]:
    (one,) = SCOPES.of(call(op, args))
    return one.locations


@pytest.mark.parametrize(("op", "args", "wanted"), [
    ("get", {"object": "team-1/a/b"}, ("s3:team-1/a/b",)),
    ("get", {"object": "s3://team-1/a"}, ("s3:team-1/a",)),
    ("get", {"object": ["team-1/a", "reports/2026/b", "team-1/a"]}, ("s3:team-1/a", "s3:reports/2026/b")),
    ("get", {"object": ["team-1/a", "payroll/x"]}, ("s3:team-1/a",)),  # what was not granted is in no credential
    ("list", {"prefix": "reports/2026/"}, ("s3:reports/2026/",)),
    ("list", {"prefix": "reports/2026/05/"}, ("s3:reports/2026/05/",)),
    ("query", {"tables": ["sales.orders", "hr.people"], "sql": "x"}, ("table:sales.orders", "table:hr.people")),
    ("fetch", {"url": "https://x.example/v1/a?b=c"}, ("url:https://x.example/v1/a?b=c",)),
    ("ping", {"text": "x"}, ()),
])
def test_the_scope_is_what_the_call_names_of_what_was_granted(op: str, args: dict[str, Any],
                                                              wanted: tuple[str, ...]) -> None:
    assert locations(op, args) == wanted


@pytest.mark.parametrize("object_", ["payroll/x", "team-10/x", "team-1", "reports/2026", "reports/readme2"])
def test_where_nothing_that_is_named_was_granted_the_provider_is_told_what_was(object_: str) -> None:
    assert locations("get", {"object": object_}) == GRANTS[0].resources


def test_the_object_says_effect_bounds_and_approval_of_the_grant_and_can_be_spelled() -> None:
    found = SCOPES.of(call("query", {"tables": "sales.orders"}))
    assert found == (Detail(identifier="store/query", actions=("read",), locations=("table:sales.orders",),
                            max={"limit": 9.0}),)
    assert parse(spell(found[0])) == found[0]
    assert SCOPES.of(call("get", {"object": "team-1/a"}))[0].approval == "always"


@pytest.mark.parametrize(("op", "subject"), [
    ("none", None), ("get", process("gus", "guest")), ("get", process("ana", "guest")), ("get", process("eve")),
    ("get", process(tenant="other")), ("get", process(domain="evil.example")),
    ("get", Operator(name="root", uid=0, connection=1)), ("put", None),
])
def test_without_a_grant_there_is_no_scope(op: str, subject: Subject | None) -> None:
    with pytest.raises(Refused) as fault:
        SCOPES.of(call(op, {"object": "team-1/a"}, subject))
    assert fault.value.code == "scope_empty"


def test_a_call_of_another_kind_has_no_scope() -> None:
    with pytest.raises(Refused) as fault:
        SCOPES.of(replace(call("get", {"object": "team-1/a"}), kind="secret"))
    assert fault.value.code == "scope_empty"


def test_a_name_that_means_all_below_it_is_no_scope_of_one_object() -> None:
    with pytest.raises(Refused) as fault:
        SCOPES.of(call("get", {"object": "team-1/folder/"}))
    assert fault.value.code == "scope_inexpressible"


def test_a_resource_whose_name_and_key_differ_is_no_scope() -> None:
    lie = Resource(type="s3", id="payroll/x", key=("team-1/", "x"), action="read", argument="object")
    with pytest.raises(Refused) as fault:
        SCOPES.of(replace(call("get", {"object": "team-1/x"}), resources=(lie,)))
    assert fault.value.code == "scope_inexpressible"


@given(st.lists(st.text("ab/.-_1x ${}*", min_size=1, max_size=12), min_size=1, max_size=4))
def test_no_scope_holds_what_was_not_granted(objects: list[str]) -> None:
    try:
        asked = call("get", {"object": [f"team-1/{one}" for one in objects]})
        (found,) = SCOPES.of(asked)
    except (BadInput, Refused):
        return
    granted = [parse_pattern(text) for text in GRANTS[0].resources]
    for text in found.locations:
        one = parse_pattern(text)
        resource = Resource(type=one.type, id="", key=one.key, action="", argument="")
        assert any(covers(pattern, resource) for pattern in granted)
        assert not one.subtree or text in GRANTS[0].resources
