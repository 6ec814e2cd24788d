"""Reading a secret: given by its role's `read` alone, refused by capability and policy each without the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.capability.office import Office, process

from ringwall.call import Allowed, Call, Denied, Facts, Json, Process, Resource, Verdict
from ringwall.capability.resources import parse_pattern
from ringwall.capability.ring import CapabilityRing
from ringwall.clock import SystemClock
from ringwall.errors import BadInput
from ringwall.manifest.types import Manifest, ReadGrant, Secret
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.ring import PolicyRing

OFFICE = Office()
SECRETS = {"hook": Secret(name="hook", source="vault"), "other": Secret(name="other"),
           "minted": Secret(name="minted", source="aws"),
           "lent": Secret(name="lent", source="openbao", database="r")}
LIE: Facts = {"identity": {"attested": True},
              "capability": {"granted": True, "effect": "read", "resources": []},
              "guard": {"blocked": False}, "flow": {"denied": False}}


def manifest(*names: str) -> Manifest:
    """The office, where analysts may read these."""
    acme = OFFICE.manifest.tenants["acme"]
    reads = ReadGrant(secrets=names) if names else None
    analyst = replace(acme.roles["analyst"], secrets=tuple(SECRETS), read=reads)
    roles = {**acme.roles, "analyst": analyst}
    return replace(OFFICE.manifest, secrets=SECRETS, tenants={"acme": replace(acme, roles=roles)})


MANIFEST = manifest("hook", "minted", "lent", "gone")


def read(name: str = "hook", subject: Process | None = None) -> Call:
    return OFFICE.resolve({"read": name}, kind="secret", **({"subject": subject} if subject else {}))


def capability(call: Call, given: Manifest = MANIFEST) -> Verdict:
    return asyncio.run(CapabilityRing(given, OFFICE.catalogues).enter(call, {})).verdict


def policy(call: Call, given: Manifest = MANIFEST) -> Verdict:
    """The policy alone: the rings before it say whatever the attacker would like."""
    ring = PolicyRing(EmbeddedPolicy.default(policy_data(given, parse_pattern)), SystemClock())
    return asyncio.run(ring.enter(call, dict(LIE))).verdict


def code(verdict: Verdict) -> str:
    return "" if isinstance(verdict, Allowed) else verdict.code


def test_the_name_is_all_there_is_of_such_a_call() -> None:
    call = read()
    assert (call.kind, call.target.name, call.args, call.resources) == ("secret", "read/hook", {}, ())


@pytest.mark.parametrize(("body", "wanted"), [
    ({"read": "hook", "agent": "bob"}, "bad_request"), ({"read": "hook", "svid": "x509"}, "bad_request"),
    ({"read": "hook", "version": 1}, "bad_request"), ({"read": ""}, "bad_name"), ({"read": None}, "bad_name"),
    ({"read": "../hook"}, "bad_name"), ({"read": "a/b"}, "bad_name"), ({"read": ["hook"]}, "bad_name"),
    ({"read": "h\u00f6ok"}, "bad_name"), ({"read": "x" * 200}, "bad_name"), ({"read": ".."}, "bad_name"),
])
def test_nobody_elses_secret_and_no_path_can_be_named(body: Json, wanted: str) -> None:
    with pytest.raises(BadInput) as fault:
        OFFICE.resolve(body, kind="secret")
    assert fault.value.code == wanted


def test_what_the_role_may_read_is_let_through_by_both() -> None:
    assert (capability(read()), policy(read())) == (Allowed(), Allowed())


@pytest.mark.parametrize("judge", [capability, policy])
@pytest.mark.parametrize("name", ["other", "minted", "lent", "gone", "none"])
def test_each_ring_alone_refuses_what_was_not_given_to_be_read(judge: Any, name: str) -> None:
    assert code(judge(read(name))) == "not_granted"


@pytest.mark.parametrize("judge", [capability, policy])
def test_each_ring_alone_refuses_where_nothing_may_be_read_although_all_may_be_used(judge: Any) -> None:
    assert code(judge(read(), manifest())) == "not_granted"


@pytest.mark.parametrize("judge", [capability, policy])
def test_each_ring_alone_refuses_another_role_tenant_and_agent(judge: Any) -> None:
    hal = process("hal", "held")
    assert code(judge(read(subject=hal))) == "not_granted"
    for field, value in (("role", "analyst"), ("agent", "eve"), ("tenant", "other")):
        who = hal if field == "role" else process()
        made = replace(who, spiffe_id=replace(who.spiffe_id, **{field: value}))
        assert code(judge(read(subject=made))) in {"unknown_agent", "not_granted"}


@pytest.mark.parametrize("judge", [capability, policy])
def test_each_ring_alone_refuses_a_reading_that_says_more_than_the_name(judge: Any) -> None:
    touched = Resource(type="path", id="/x", key=("x",), action="read", argument="x")
    assert isinstance(judge(replace(read(), args={"version": 1})), Denied)
    assert isinstance(judge(replace(read(), resources=(touched,))), Denied)


@pytest.mark.parametrize("judge", [capability, policy])
def test_each_ring_alone_refuses_while_another_agents_task_is_under_way(judge: Any) -> None:
    other = "spiffe://acme.example/tenant/acme/agent/hal/role/held"
    assert code(judge(replace(read(), acting_for=(other,)))) == "beyond_delegation"


def test_facts_say_that_a_credential_is_asked_for_and_a_refusal_where_it_would_be_given() -> None:
    facts: Facts = {}
    verdict = asyncio.run(CapabilityRing(MANIFEST, OFFICE.catalogues).enter(read("other"), facts)).verdict
    assert facts["capability"]["effect"] == "credential"
    assert isinstance(verdict, Denied)
    assert verdict.detail["remedy"] == "see tenants.acme.roles.analyst.read.secrets"
    assert "exists" not in verdict.reason
