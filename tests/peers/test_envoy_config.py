"""Envoy's configuration: who may send, and what must never stand in it. (Envoy takes it: tests/conformance.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_peers import MANIFEST

from ringwall.errors import BadInput
from ringwall.manifest.load import parse
from ringwall.manifest.types import Manifest
from ringwall.peers.envoy import configuration, senders

ANA = "spiffe://acme.example/tenant/acme/agent/ana/role/plain"
SAM = ANA.replace("ana", "sam")
BOB = "spiffe://acme.example/tenant/globex/agent/bob/role/plain"
FAR = "spiffe://acme.example/far/away"
MORE = """
[peers.far]
spiffe_id = "spiffe://acme.example/far/away"
url = "https://far.example/"
skills = { ask = {} }
[tenants.globex.roles.plain]
[tenants.globex.agents.bob]
role = "plain"
listen = "[::1]:7444"
serve = 9000
push = 9001
receive = { "acme/sam" = ["ask"] }
send = { "acme/sam" = ["quote"], far = ["ask"] }
skills = { ask = {} }
[tenants.acme.agents.eve]
role = "plain"
"""


def wide() -> Manifest:
    """bob may send to sam too, takes pushes of sam and far; eve may do nothing; sam does not send to bob."""
    text = MANIFEST.replace('receive = { ana = ["quote"]', 'receive = { "globex/bob" = ["quote"], ana = ["quote"]')
    return parse(text + MORE, Path("/etc/ringwall.toml"))


def test_exactly_those_may_send_on_whom_both_ends_agree() -> None:
    manifest = wide()
    agents = manifest.tenants["acme"].agents
    assert senders(manifest, "acme", agents["sam"]) == (ANA, BOB)
    assert senders(manifest, "acme", agents["eve"]) == ()
    bob = manifest.tenants["globex"].agents["bob"]
    assert senders(manifest, "globex", bob) == tuple(sorted((SAM, FAR)))  # they push; none may send


def _listeners(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found["static_resources"]["listeners"]}


def _http(listener: dict[str, Any]) -> dict[str, Any]:
    return listener["filter_chains"][0]["filters"][-1]["typed_config"]


def test_each_listener_lets_through_its_own_senders_by_their_one_uri_and_nobody_else() -> None:
    found = _listeners(configuration(wide(), Path("/s/peers")))
    assert set(found) == {SAM, BOB}
    for who, expected in ((SAM, {ANA, BOB}), (BOB, {SAM, FAR})):
        matcher = _http(found[who])["http_filters"][0]["typed_config"]["matcher"]
        assert set(matcher["matcher_tree"]["exact_match_map"]["map"]) == expected
        assert matcher["matcher_tree"]["input"]["typed_config"]["@type"].endswith("ssl.v3.UriSanInput")
        assert matcher["on_no_match"]["action"]["typed_config"]["action"] == "DENY"
    assert found[BOB]["address"]["socket_address"] == {"address": "::1", "port_value": 7444}


def test_whom_nobody_may_send_to_everybody_is_denied() -> None:
    text = MANIFEST.replace('send = { sam = ["quote"] }\n', "")
    found = _listeners(configuration(parse(text, Path("/etc/ringwall.toml")), Path("/s")))
    matcher = _http(found[SAM])["http_filters"][0]["typed_config"]["matcher"]
    assert set(matcher) == {"on_no_match"}


def test_what_could_be_borrowed_stands_nowhere_in_it() -> None:
    text = json.dumps(configuration(wide(), Path("/s/peers")))
    for word in ("principal_name", '"uri": true', "APPEND_FORWARD", "ALWAYS_FORWARD", "FORWARD_ONLY",
                 "upgrade_configs", "ext_authz", "filename"):
        assert word not in text
    for listener in _listeners(json.loads(text)).values():
        tls = listener["filter_chains"][0]["transport_socket"]["typed_config"]
        assert tls["require_client_certificate"] is True
        assert tls["common_tls_context"]["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
        assert tls["common_tls_context"]["tls_certificate_sds_secret_configs"][0]["name"] == listener["name"]
        assert _http(listener)["forward_client_cert_details"] == "SANITIZE_SET"
        assert _http(listener)["set_current_client_cert_details"] == {"chain": True}


def test_a_manifest_without_a_listener_has_no_configuration() -> None:
    text = 'version = 1\ntrust_domain = "acme.example"\n[a2a]\nterminator = "envoy"\n'
    with pytest.raises(BadInput, match="envoy_no_listener"):
        configuration(parse(text, Path("/etc/ringwall.toml")), Path("/s"))
