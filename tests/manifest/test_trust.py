"""What [identity] may say about other trust domains, about publishing, and about SPIRE."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringwall.errors import ManifestError
from ringwall.manifest.load import parse
from ringwall.manifest.types import IdentitySettings

HERE = Path("/etc/office/ringwall.toml")
TOP = 'version = 1\ntrust_domain = "acme.example"\n[tenants.acme.roles.r]\n'
WEB = 'endpoint = "https://partner.test/bundle.json"\nprofile = "https_web"\n'
SPIFFE = ('endpoint = "https://partner.test:8443"\nprofile = "https_spiffe"\nbundle = "/etc/ringwall/first.json"\n'
          'spiffe_id = "spiffe://partner.test/ringwall/bundle"\n')


def read(identity: str, partner: str = "") -> IdentitySettings:
    table = f'[identity.federation."partner.test"]\n{partner}' if partner else ""
    return parse(f"{TOP}[identity]\n{identity}\n{table}", HERE).identity


def test_both_profiles_are_read() -> None:
    web = read("", WEB + 'ca_file = "ca.pem"').federation["partner.test"]
    assert (web.endpoint, web.profile, web.bundle) == ("https://partner.test/bundle.json", "https_web", None)
    assert web.ca_file == Path("/etc/office/ca.pem")
    spiffe = read("", SPIFFE).federation["partner.test"]
    assert (spiffe.endpoint, spiffe.profile) == ("https://partner.test:8443/", "https_spiffe")


def test_publishing_and_spire_are_read() -> None:
    found = read('publish = "127.0.0.1:8443"\npublish_cert = "c.pem"\npublish_key = "k.pem"')
    assert (found.publish, found.publish_key) == ("127.0.0.1:8443", Path("/etc/office/k.pem"))
    assert read('spire = "/run/spire/agent.sock"').spire == Path("/run/spire/agent.sock")


@pytest.mark.parametrize(("identity", "partner", "key", "says"), [
    ("", 'profile = "https_web"', "bundle", "is missing"),
    ("", 'bundle = "/b"\nprofile = "https_web"', "profile", "belongs to an endpoint"),
    ("", 'endpoint = "https://partner.test/"', "profile", "how the endpoint proves itself"),
    ("", 'endpoint = "http://partner.test/"\nprofile = "https_web"', "endpoint", "https"),
    ("", WEB + 'spiffe_id = "spiffe://partner.test/x"', "spiffe_id", "https_spiffe"),
    ("", SPIFFE.replace('bundle = "/etc/ringwall/first.json"', ""), "bundle", "could be anybody"),
    ("", SPIFFE.replace('spiffe_id = "spiffe://partner.test/ringwall/bundle"', ""), "spiffe_id", "any workload"),
    ("", SPIFFE.replace("spiffe://partner.test/", "spiffe://other.test/"), "spiffe_id", "no other may speak"),
    ("", SPIFFE + 'ca_file = "/c"', "ca_file", "https_web"),
    ("", SPIFFE.replace("https_spiffe", "spiffe"), "profile", "is not one of them"),
    ('publish = "0.0.0.0:8443"', "", "identity.publish", "no address of one machine"),
    ('publish = "8443"', "", "identity.publish", "expected a host and a port"),
    ('publish = "127.0.0.1:8443"\npublish_cert = "/c"', "", "identity.publish_key", "belong together"),
    ('publish_cert = "/c"\npublish_key = "/k"', "", "identity.publish_cert", "read by nobody"),
    ('publish = "127.0.0.1:8443"\nspire = "/s"', "", "identity.publish", "does not go with spire"),
    ('issuer = "https://a.example"\nspire = "/s"', "", "identity.issuer", "does not go with spire"),
])
def test_each_contradiction_is_named_at_its_key(identity: str, partner: str, key: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(identity, partner)
    where = key if key.startswith("identity") else f'identity.federation."partner.test".{key}'
    flat = [" ".join(text.split()) for text in caught.value.problems]
    assert any(text.startswith(f"ringwall.toml: {where} ") and says in text for text in flat), flat


def test_the_key_of_our_endpoint_lies_where_no_process_looks() -> None:
    identity = 'publish = "127.0.0.1:8443"\npublish_cert = "/c/c.pem"\npublish_key = "/srv/docs/k.pem"'
    tool = ('\n[tools.t]\ncommand = ["/bin/x"]\nread_only = ["/srv/docs"]\n[tools.t.ops.o]\neffect = "read"\n'
            "args = {}")
    with pytest.raises(ManifestError, match="publish_key"):
        parse(f"{TOP}[identity]\n{identity}{tool}", HERE)


def test_agents_that_talk_need_our_own_authority() -> None:
    agents = ('[tenants.acme.agents.ana]\nrole = "r"\nsend = { sam = ["x"] }\n'
              '[tenants.acme.agents.sam]\nrole = "r"\nreceive = { ana = ["x"] }\nskills = { x = {} }\n'
              'listen = "127.0.0.1:7443"\nserve = 8000\n')
    parse(TOP + agents, HERE)
    with pytest.raises(ManifestError) as caught:
        parse(TOP + agents + '[identity]\nspire = "/run/spire/agent.sock"\n', HERE)
    assert len(caught.value.problems) == 2 and "SPIRE signs no envelopes" in caught.value.problems[0]
