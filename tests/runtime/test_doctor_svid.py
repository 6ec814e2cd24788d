"""What `doctor` and `status` say of the authority and of federated trust domains."""

from __future__ import annotations

from typing import Any

from tests.machine import strengths

from ringwall.cli.up import _rows
from ringwall.identity.probe import probe as identity_probe
from ringwall.runtime.doctor import Finding, examine

KEYS = [{"use": use, "key": f"{use}1", "phase": "active", "turn": 0.0, "expires": 9.0} for use in ("x509", "jwt")]
GOOD: Any = {"trust_domain": "acme.example", "sequence": 7, "keys": KEYS, "next": 1_800_000_000.0, "alive": 3,
             "bundle": "/s/bundle.json", "fault": "", "federated": {}}
PARTNER = {"partner.test": {"sequence": None, "known": False, "fault": "/p.json: it is no bundle"}}
POLICY = {"backend": "embedded", "revision": "a" * 64, "opa": "1.21.3", "fault": ""}
REST: Any = {"guard": {"alive": False}, "audit": {"logs": {}, "durability": "d"}, "problems": {}, "frozen": [],
             "runs": [], "policy": POLICY}


def found(svid: Any) -> list[Finding]:
    every = examine(confinement=strengths(), identity=identity_probe(), policy=POLICY,
                    status={**REST, "svid": svid})
    return [one for one in every if one.area in {"svid", "federation", "publish"}]


def test_an_authority_that_rotates_is_strong() -> None:
    [one] = found(GOOD)
    assert (one.level, one.mend) == ("strong", "")
    assert "acme.example" in one.detail


def test_one_that_cannot_rotate_is_degraded_and_off_without_a_key() -> None:
    [one] = found({**GOOD, "fault": "the disk is full"})
    assert one.level == "degraded" and "the disk is full" in one.detail and one.mend
    [one] = found({**GOOD, "fault": "the disk is full", "keys": KEYS[:1]})
    assert one.level == "off"


def test_a_federated_domain_without_a_bundle_is_off() -> None:
    one = found({**GOOD, "federated": PARTNER})[1]
    assert one.level == "off" and "partner.test" in one.detail


def test_status_names_the_keys_the_next_change_and_every_fault() -> None:
    keys = [*KEYS, {"use": "x509", "key": "x2", "phase": "prepared", "turn": 1_800_000_060.0, "expires": 9.0}]
    svid = {**GOOD, "keys": keys, "fault": "the disk is full", "federated": PARTNER}
    status = {"pid": 1, "restarts": 0, "processes": [], "servers": [], "proposed": [], "manifest": "/m", **REST}
    rows = [f"{name} {how}" for name, how in _rows({**status, "svid": svid})]
    for words in ("trust domain acme.example, bundle 7, 3 SVIDs alive",
                  "authority x509 key x5091, jwt key jwt1; next change 2027-01-15 08:00 UTC",
                  "prepared x509 key x2 from 2027-01-15 08:01 UTC", "problem authority: the disk is full",
                  "federated partner.test NOT KNOWN: nobody of it is believed",
                  "problem federated partner.test: /p.json: it is no bundle"):
        assert words in rows


def test_our_endpoint_is_degraded_where_it_does_not_fit_the_issuer_and_off_where_it_does_not_serve() -> None:
    published = {"address": "127.0.0.1:8443", "issuer": "https://acme.example", "profile": "https_web", "fault": "",
                 "misfits": []}
    assert found({**GOOD, "published": published})[1].level == "strong"
    one = found({**GOOD, "published": {**published, "misfits": ["verifiers ask port 443"]}})[1]
    assert one.level == "degraded" and "port 443" in one.detail and one.mend
    one = found({**GOOD, "published": {**published, "fault": "publish_address: in use"}})[1]
    assert one.level == "off" and "in use" in one.detail


SPIRE: Any = {"source": "spire", "socket": "/run/spire/agent.sock", "trust_domain": "acme.example", "known": True,
              "fault": "", "weaker": ["SPIRE attests the uid of each agent, and not the process"], "federated": {},
              "published": None}


def test_spire_is_never_as_strong_as_our_own_authority_and_says_why() -> None:
    [one] = found(SPIRE)
    assert one.level == "degraded" and "not the process" in one.detail and one.mend
    assert found({**SPIRE, "fault": "spire_slow: it does not answer"})[0].level == "degraded"
    assert found({**SPIRE, "fault": "spire_unreachable: gone", "known": False})[0].level == "off"
    [_, partner] = found({**SPIRE, "federated": PARTNER})
    assert partner.area == "federation"


def test_status_names_spire_and_where_we_are_published() -> None:
    status = {"pid": 1, "restarts": 0, "processes": [], "servers": [], "proposed": [], "manifest": "/m", **REST}
    published = {"address": "10.0.0.5:443", "profile": "https_web", "fault": "pem_unreadable: gone", "misfits": []}
    spire = {**SPIRE, "known": False, "fault": "spire_unreachable: gone"}
    rows = [f"{name} {how}" for svid in (spire, {**GOOD, "published": published})
            for name, how in _rows({**status, "svid": svid})]
    for words in ("trust domain acme.example, from SPIRE at /run/spire/agent.sock, NO BUNDLE: nobody is believed",
                  "problem SPIRE: spire_unreachable: gone", "published 10.0.0.5:443 (https_web)",
                  "problem published: pem_unreadable: gone"):
        assert words in rows
