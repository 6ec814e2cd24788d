"""What `doctor` says of the vault, of the processes that ask for credentials, and of leases."""

from __future__ import annotations

from typing import Any

import pytest
from tests.machine import strengths

from ringwall.cli.up import _rows  # pyright: ignore[reportPrivateUsage]
from ringwall.identity.probe import probe as identity_probe
from ringwall.runtime.doctor import Finding, examine

STATUS: Any = {"guard": {"alive": False}, "audit": {"logs": {}, "durability": "d"}, "problems": {}, "runs": [],
               "policy": {"backend": "embedded", "revision": "c" * 64, "opa": "1.21.3", "fault": ""}, "frozen": []}
VAULT: Any = {"state": "open", "generation": 2, "sequence": 9, "root": "transit", "asks": "nothing", "fault": None,
              "needed": True}
LEASES: Any = {"held": 0, "fault": "", "late": 0, "first": ""}
AWAY = {"code": "keys_unavailable", "cause": "the transit engine does not answer: it is sealed",
        "remedy": "see that it runs"}
OLDER = {"code": "vault_rolled_back", "cause": "the vault's file is older than the log knows",
         "remedy": "ringwall vault restore --accept-older"}


def found(area: str, **status: Any) -> list[Finding]:
    every = examine(confinement=strengths(), identity=identity_probe(), policy={"revision": "", "opa": ""},
                    status={**STATUS, **status})
    return [one for one in every if one.area == area]


@pytest.mark.parametrize(("vault", "level", "said", "mend"), [
    ({}, "strong", "generation 2 kept by `transit`", ""),
    ({"root": "file"}, "degraded", "beside the vault", "docs/root-keys.md"),
    ({"state": "sealed"}, "off", "sealed: every use", "ringwall vault unseal"),
    ({"state": "sealed", "fault": AWAY}, "off", "it is sealed; every use", "it runs; then: ringwall vault unseal"),
    ({"state": "sealed", "fault": OLDER}, "off", "older than the log", "ringwall vault restore --accept-older"),
    ({"state": "sealed", "needed": False}, "degraded", "sealed", "ringwall vault unseal"),
    ({"state": "sealed", "shares": {"brought": 2, "threshold": 3}}, "off", "2 of 3 shares", "unseal"),
    ({"state": "absent", "generation": 0}, "off", "absent: every use", "ringwall vault init"),
    ({"state": "absent", "fault": {**OLDER, "code": "vault_gone", "remedy": "find it"}}, "off", "older", "find it"),
])
def test_the_vault_is_told_with_what_opens_it(vault: Any, level: str, said: str, mend: str) -> None:
    (finding,) = found("vault", vault={**VAULT, **vault})
    assert finding.level == level
    assert said in finding.detail
    assert finding.mend.endswith(mend) if mend else not finding.mend


def test_a_vault_that_nobody_needs_and_a_core_without_one_are_not_told() -> None:
    assert found("vault", vault={**VAULT, "state": "absent", "needed": False}) == found("vault") == []


def test_a_broker_that_is_down_is_off_and_those_that_are_up_are_one_line() -> None:
    up = {"name": "broker-acme", "ready": True, "fault": ""}
    down = {"name": "broker-system", "ready": False, "fault": "it ended with 1"}
    (finding,) = found("brokers", processes=[{"name": "guard", "ready": True, "fault": ""}, up])
    assert (finding.level, finding.detail) == ("strong", "up: broker-acme")
    (finding,) = found("brokers", processes=[up, down])
    assert finding.level == "off"
    assert "broker-system is down: it ended with 1" in finding.detail
    assert "ringwall status" in finding.mend
    (finding,) = found("brokers", processes=[up, {**down, "fault": ""}])
    assert (finding.level, finding.mend) == ("degraded", "")
    assert found("brokers", processes=[]) == []


@pytest.mark.parametrize(("leases", "level", "said"), [
    ({"held": 3}, "strong", "3 held"),
    ({"held": 3, "late": 2, "first": "shop/l1: provider_unreachable"}, "degraded",
     "2 ended here, and their provider could not be told yet; shop/l1: provider_unreachable"),
    ({"fault": "leases.db cannot be read"}, "off", "no credentials are made: leases.db"),
])
def test_leases_are_told_with_those_that_a_provider_still_has(leases: Any, level: str, said: str) -> None:
    (finding,) = found("leases", leases={**LEASES, **leases})
    assert finding.level == level
    assert said in finding.detail
    assert bool(finding.mend) == (level != "strong")


def test_no_lease_is_no_line() -> None:
    assert found("leases", leases=LEASES) == found("leases") == []


def test_status_has_a_line_for_the_vault_and_one_for_leases() -> None:
    status = {**STATUS, "pid": 1, "restarts": 0, "processes": [], "servers": [], "proposed": [], "manifest": "m"}
    told = {**status, "vault": {**VAULT, "state": "sealed", "fault": AWAY},
            "leases": {**LEASES, "held": 3, "late": 1, "fault": "f"}}
    rows = [f"{name}: {how}" for name, how in _rows(told)]
    [row] = [row for row in rows if row.startswith("vault")]
    assert row.startswith("vault: sealed: the transit engine does not answer: it is sealed (root key: transit); ")
    assert row.endswith("ringwall vault unseal")  # what opens it
    assert "leases: 3, 1 still to be told to their provider" in rows
    assert "problem: leases: f" in rows
    quiet = {**status, "vault": {**VAULT, "state": "absent", "needed": False}, "leases": LEASES}
    assert not [name for name, _ in _rows(quiet) if name in {"vault", "leases"}]
