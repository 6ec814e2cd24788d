"""Who talks to whom, as the manifest says it: what is read, and each part that does not fit the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.manifest.samples import FULL

from ringwall.errors import ManifestError
from ringwall.manifest import spell_peers
from ringwall.manifest.load import parse
from ringwall.manifest.peers import find_peer, name_of
from ringwall.manifest.shapes import Wrong
from ringwall.manifest.types import A2ASettings, Agent, ReceiveGrant, SendGrant

HERE = Path("/etc/office/ringwall.toml")
ANA, SAM, GUS = "tenants.acme.agents.ana", "tenants.acme.agents.sam", "tenants.globex.agents.gus"


def problems(*edits: tuple[str, str]) -> list[str]:
    text = FULL
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(ManifestError) as caught:
        parse(text, HERE)
    return list(caught.value.problems)


def test_both_spellings_of_a_grant_are_read() -> None:
    manifest = parse(FULL, HERE)
    assert manifest.a2a.max_hops == 3
    ana, sam = manifest.tenants["acme"].agents["ana"], manifest.tenants["acme"].agents["sam"]
    assert ana.send["sam"] == SendGrant(peer="sam", skills=("quote",), clearance="public")
    assert ana.send["globex/gus"] == SendGrant(peer="globex/gus", skills=("audit",))
    assert sam.receive["ana"] == ReceiveGrant(peer="ana", skills=("quote",), lends=("pay/send",),
                                              relays=("partner/invoice",))
    assert sam.receive["partner"] == ReceiveGrant(peer="partner", skills=("quote",))
    assert sam.skills["quote"].output == ("text/plain", "application/pdf")
    assert (ana.listen, ana.push, ana.door, ana.serve) == ("10.0.0.5:7443", 9001, 8080, None)
    assert manifest.tenants["globex"].agents["gus"].skills["audit"].input == ("text/plain", "application/json")


def test_an_agent_elsewhere_is_found_by_its_name_and_by_its_spiffe_id() -> None:
    manifest = parse(FULL, HERE)
    found = find_peer(manifest, "acme", "partner")
    assert found is not None
    assert (str(found.spiffe_id), found.url) == ("spiffe://partner.test/agents/bob",
                                                 "https://a2a.partner.test:8443/rpc")
    assert name_of(manifest, "globex", "spiffe://partner.test/agents/bob") == "partner"
    assert name_of(manifest, "globex", "spiffe://acme.example/tenant/acme/agent/ana/role/analyst") == "acme/ana"


def test_nobody_talks_to_anybody_unless_it_is_written() -> None:
    silent = Agent(name="x", role="y")
    assert (silent.send, silent.receive, silent.skills, silent.listen) == ({}, {}, {}, "")
    assert A2ASettings().max_hops == 4


def another(name: str, spiffe_id: str) -> str:
    """One more agent elsewhere, in front of what stood there."""
    return f"[peers.{name}]\nspiffe_id = '{spiffe_id}'\nurl = 'https://x'\n[peers.partner.skills.invoice]"


# (text of the full manifest, its replacement, the key path, what the problem says)
TABLE = [
    ("max_hops = 3", "max_hops = 17", "a2a.max_hops", "from 1 to 16"),
    ("max_hops = 3", "max_hops = 0", "a2a.max_hops", "from 1 to 16"),
    ("max_hops = 3", "max_hop = 3", "a2a.max_hop", 'did you mean "max_hops"?'),
    ('spiffe_id = "spiffe://partner.test/agents/bob"\n', "", "peers.partner.spiffe_id", "is missing"),
    ("spiffe://partner.test/agents/bob", "https://partner.test", "peers.partner.spiffe_id", "begin with spiffe://"),
    ("spiffe://partner.test/agents/bob", "spiffe://partner.test", "peers.partner.spiffe_id", "no agent in it"),
    ("spiffe://partner.test/agents/bob", "spiffe://partner.test/a/../b", "peers.partner.spiffe_id", "path segment"),
    ("spiffe://partner.test/agents/bob", "spiffe://other.test/bob", "peers.partner.spiffe_id",
     'write: [identity.federation."other.test"]'),
    ("spiffe://partner.test/agents/bob", "spiffe://acme.example/tenant/acme/agent/sam/role/analyst",
     "peers.partner.spiffe_id", "is an agent of this manifest"),
    ("spiffe://partner.test/agents/bob", "spiffe://acme.example/tenant/acme/agent/sam/role/boss",
     "peers.partner.spiffe_id", "is an agent of this manifest"),
    ("https://a2a.partner.test:8443/rpc", "http://127.0.0.1/rpc", "peers.partner.url", "mutual TLS"),
    ("https://a2a.partner.test:8443/rpc", "https://u@a2a.partner.test/rpc", "peers.partner.url", "no user"),
    ("https://a2a.partner.test:8443/rpc", "https://a2a.partner.test/rpc?x=1", "peers.partner.url", "no query"),
    ("https://files.partner.test/in/", "https://files.partner.test/in", "peers.partner.skills.invoice.uris[0]",
     'ends in "/"'),
    ("https://files.partner.test/in/", "http://localhost/in/", "peers.partner.skills.invoice.uris[0]", "https URL"),
    ("https://files.partner.test/in/", "https://Files.partner.test/in/", "peers.partner.skills.invoice.uris[0]",
     "lower case"),
    ("https://files.partner.test/in/", "https://files.partner.test:443/", "peers.partner.skills.invoice.uris[0]",
     "no port where it is 443"),
    ('input = ["application/json"]', 'input = ["application/*"]', "peers.partner.skills.invoice.input[0]",
     "without parameters"),
    ('input = ["application/json"]', 'input = ["text/plain; q=1"]', "peers.partner.skills.invoice.input[0]",
     "without parameters"),
    ('input = ["application/json"]', 'input = ["Text/Plain"]', "peers.partner.skills.invoice.input[0]", "lower"),
    ('description = "Takes an invoice."', 'description = ""', "peers.partner.skills.invoice.description", "empty"),
    ("[peers.partner.skills.invoice]", another("gus", "spiffe://acme.example/x"), "peers.gus",
     "is the name of tenants.globex.agents.gus too"),
    ("[peers.partner.skills.invoice]", another("other", "spiffe://partner.test/agents/bob"),
     "peers.other.spiffe_id", "is that of peers.partner too"),
    ("[peers.partner.skills.invoice]", another("'acme/x'", "spiffe://partner.test/x"),
     'peers."acme/x"', "expected a name"),
    ("send = { sam = {", "send = { smam = {", f"{ANA}.send.smam", 'did you mean "sam"?'),
    ("send = { sam = {", 'send = { "acme/sam" = {', f'{ANA}.send."acme/sam"', "write: sam"),
    ("send = { sam = {", "send = { ana = {", f"{ANA}.send.ana", "is this agent itself"),
    ("send = { sam = {", 'send = { "a/b/c" = {', f'{ANA}.send."a/b/c"', "expected a name"),
    ('"globex/gus" = ["audit"] }', "gus = [\"audit\"] }", f"{ANA}.send.gus", "no such agent or peer"),
    ('skills = ["quote"], clearance', 'skills = ["qoute"], clearance', f"{ANA}.send.sam.skills[0]",
     'did you mean "quote"?'),
    ('skills = ["quote"], clearance', "skills = [], clearance", f"{ANA}.send.sam", "names no skill"),
    ('clearance = "public" }', 'clearance = "all" }', f"{ANA}.send.sam.clearance", "is not one of them"),
    ('"globex/gus" = ["audit"] }', '"globex/gus" = "audit" }', f'{ANA}.send."globex/gus"', "a list or a table"),
    ('receive = { "acme/ana" = ["audit"] }', "", f'{ANA}.send."globex/gus"',
     'write "audit" into tenants.globex.agents.gus.receive."acme/ana"'),
    ('receive = { "acme/ana" =', "receive = { partner =", f'{ANA}.send."globex/gus"', "both must agree"),
    ('send = { partner = ["invoice"] }', 'send = { partner = ["pay"] }', f"{SAM}.send.partner.skills[0]",
     "no such skill"),
    ('lends = ["pay/send"]', 'lends = ["pay/sned"]', f"{SAM}.receive.ana.lends[0]", 'did you mean "pay/send"?'),
    ('relays = ["partner/invoice"]', 'relays = ["partner/x"]', f"{SAM}.receive.ana.relays[0]", "may not send that"),
    ('relays = ["partner/invoice"]', 'relays = ["partner"]', f"{SAM}.receive.ana.relays[0]", "a peer and its"),
    ('partner = ["quote"]', 'partner = ["quite"]', f"{SAM}.receive.partner.skills[0]", 'did you mean "quote"?'),
    ('partner = ["quote"]', 'partnr = ["quote"]', f"{SAM}.receive.partnr", 'did you mean "partner"?'),
    ('listen = "sam.acme.example:7443"\n', "", f"{SAM}.listen", "with receive, others must reach it"),
    ('listen = "sam.acme.example:7443"\nserve = 9000\n', 'listen = "sam.acme.example:7443"\n', f"{SAM}.serve",
     "write: serve = 9000"),
    ('listen = "10.0.0.5:7443"\n', "", f"{ANA}.listen", "with push, others must reach it"),
    ("sam.acme.example:7443", "10.0.0.5:7443", f"{SAM}.listen", f"is where {ANA} listens"),
    ("10.0.0.5:7443", "[0:0::1]:7443", f"{GUS}.listen", f"is where {ANA} listens"),
    *(("10.0.0.5:7443", wrong, f"{ANA}.listen", says) for wrong, says in (
        ("0.0.0.0:7443", "no address of one machine"), ("[::]:7443", "no address of one machine"),
        ("224.0.0.1:7443", "no address of one machine"), ("0:7443", "looks like an address"),
        ("127.1:7443", "looks like an address"), ("0x7f.0x1:7443", "looks like an address"), (":7443", "host name"),
        ("10.0.0.5", "a host and a port"), ("10.0.0.5:0", "a host and a port"), ("10.0.0.5:07443", "a host and a"),
        ("10.0.0.5:65536", "a host and a port"), ("::1:7443", "in brackets"), ("[10.0.0.5]:1", "in brackets"),
        ("[::ffff:10.0.0.5]:7443", "hides an IPv4"), ("[fe80::1%eth0]:7443", "or an interface"),
        ("Sam.example:7443", "lower case"), ("*:7443", "lower case"), ("a..b:7443", "lower case"))),
    ("push = 9001", "push = 8080", f"{ANA}.door", "8080 is its push port too"),
    ("push = 9001", "push = 1023", f"{ANA}.push", "from 1024 to 65535"),
    ("door = 8080", "door = 65536", f"{ANA}.door", "from 1024 to 65535"),
]


@pytest.mark.parametrize(("old", "new", "key", "says"), TABLE, ids=[f"{k}-{n[:24]}" for _, n, k, _ in TABLE])
def test_each_fault_is_named_at_its_key(old: str, new: str, key: str, says: str) -> None:
    found = problems((old, new))
    flat = [" ".join(text.split()) for text in found]
    assert any(text.startswith(f"ringwall.toml: {key}\n") for text in found), found
    assert any(" ".join(says.split()) in text for text in flat), found


def test_a_fault_of_one_end_is_not_told_again_at_the_other() -> None:
    found = problems(('skills = ["quote"], lends', 'skills = ["quite"], lends'))  # so sam does not take ana's quote
    assert [text.partition("\n")[0] for text in found] == [f"ringwall.toml: {SAM}.receive.ana.skills[0]"]


def test_two_agents_may_listen_on_one_address_with_ports_of_their_own() -> None:
    assert parse(FULL.replace("sam.acme.example:7443", "10.0.0.5:7444"), HERE)


def test_an_agent_elsewhere_in_our_own_trust_domain_is_no_agent_of_this_manifest() -> None:
    text = FULL.replace("spiffe://partner.test/agents/bob", "spiffe://acme.example/tenant/far/agent/bob/role/x")
    assert name_of(parse(text, HERE), "acme", "spiffe://acme.example/tenant/far/agent/bob/role/x") == "partner"


@pytest.mark.parametrize(("text", "spelled"), [
    ("https://x", "https://x/"), ("https://x:1", "https://x:1/"), ("https://x/", "https://x/"),
    ("https://x/a2a/", "https://x/a2a/"), ("https://x/a2a", "https://x/a2a"),
])
def test_the_path_of_a_peers_url_is_kept_as_it_is_spelled(text: str, spelled: str) -> None:
    assert spell_peers.peer_url(text) == spelled


@given(st.text(max_size=40))
def test_what_a_listener_reads_it_reads_the_same_again(text: str) -> None:
    try:
        found = spell_peers.listen(text)
    except Wrong:
        return
    assert spell_peers.listen(found) == found
    assert found == found.lower()
