"""Secrets in a manifest: the keys of their kind, used where they fit, sent where they belong, read only if kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.capability.resources import parse_pattern
from ringwall.errors import ManifestError
from ringwall.manifest.details import Detail
from ringwall.manifest.load import parse
from ringwall.manifest.types import Grant, Manifest, Secret

WHOLE = """\
version = 1
trust_domain = "acme.example"
[vault]
root = "pkcs11"
module = "/usr/lib/softhsm/libsofthsm2.so"
token = "ringwall"
pin_file = "/etc/ringwall/pin"
[vaults.bao]
url = "https://bao.acme.example:8200"
role = "ringwall"
ca_file = "/etc/ringwall/bao.pem"
[models.main]
wire = "openai"
url = "https://llm.acme.example/v1"
secret = "llm"
[secrets.llm]
from = "vault"
inject = { header = "X-Key", hosts = ["llm.acme.example"] }
[secrets.hook]
from = "file"
file = "/etc/ringwall/hook"
[secrets.notes]
from = "openbao"
vault = "bao"
key = "token"
inject = { query = "api_key", hosts = ["a.example", "b.example"], paths = ["GET /v1/"] }
[secrets.s3]
from = "aws"
role_arn = "arn:aws:iam::123456789012:role/team/reader"
region = "eu-central-1"
seconds = 900
[secrets.db]
from = "postgres"
url = "postgresql://db.example:5432/sales"
admin = "db-admin"
admin_user = "ringwall"
private = ["10.1.0.0/16"]
[secrets.db-admin]
from = "vault"
[secrets.erp]
from = "openbao"
vault = "bao"
database = "readers"
[secrets.api]
from = "oauth"
token_url = "https://id.example/token"
client_id = "ringwall"
client_secret = "api-client"
scopes = ["read"]
[secrets.api-client]
from = "file"
file = "/etc/ringwall/api"
[tools.web]
http = ["https://a.example/", "https://b.example/v1/"]
secret = "notes"
[tools.web.ops.get]
effect = "fetch"
args = { url = "url:url" }
[tools.store]
builtin = "s3"
url = "https://s3.example"
region = "eu-central-1"
secret = "s3"
[tools.sales]
builtin = "postgres"
url = "postgresql://db.example:5432/sales"
secret = "db"
private = ["10.1.0.0/16"]
[tools.orders]
builtin = "postgres"
url = "postgresql://erp.example:5432/orders"
secret = "erp"
[tools.calendar]
mcp = "https://cal.example/mcp"
secret = "api"
[tools.calendar.ops.find]
effect = "read"
args = { text = "query" }
[tenants.acme.roles.a]
models = ["main"]
secrets = ["llm", "notes", "s3", "db", "erp", "api"]
read = { secrets = ["hook"], calls = "2/hour" }
[tenants.acme.roles.a.tools]
"web/get" = ["url:https://a.example/"]
"sales/query" = ["table:sales."]
"calendar/find" = []
[[tenants.acme.roles.a.authorization_details]]
type = "urn:ringwall:tool"
identifier = "store/get"
actions = ["read"]
locations = ["s3:reports/2026/"]
approval = "always"
[tenants.acme.agents.x]
role = "a"
"""
LONG = "tenants.acme.roles.a.authorization_details"
READ = "tenants.acme.roles.a.read.secrets"
MESS = ("", 'from = "aws"', "x = 1", "[secrets.s3]", "url = 3", "read = [1]", f"[[{LONG}]]", 'hosts = ["."]',
        "authorization_details = [[]]", 'type = "\\u0000"')


def load(text: str, check_scope: object = None) -> Manifest:
    return parse(text, Path("/etc/ringwall.toml"), check_pattern=parse_pattern, check_scope=check_scope)  # type: ignore[arg-type]


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as found:
        load(text)
    return found.value.problems


def changed(old: str, new: str) -> str:
    assert WHOLE.count(old) == 1, old
    return WHOLE.replace(old, new)


def test_a_whole_manifest_with_every_kind_of_secret_is_read() -> None:
    found = load(WHOLE)
    role = found.tenants["acme"].roles["a"]
    assert role.read is not None
    assert (role.read.secrets, role.read.calls.count, role.read.calls.seconds) == (("hook",), 2, 3600.0)
    assert found.secrets["notes"].inject.covers("GET", "/v1/a", "b.example")
    assert not found.secrets["notes"].inject.covers("GET", "/v1/a", "c.example")
    assert [name for name, one in found.secrets.items() if one.minted] == ["s3", "db", "erp", "api"]


def test_the_long_form_of_a_grant_means_the_same_as_the_short_one() -> None:
    role = load(WHOLE).tenants["acme"].roles["a"]
    assert role.tools["store/get"] == Grant(tool="store/get", resources=("s3:reports/2026/",), approval="always")
    grant = '"store/get" = { resources = ["s3:reports/2026/"], approval = "always" }'
    short = WHOLE.replace('"sales/query" =', f'{grant}\n"sales/query" =')
    short = short[:short.index(f"[[{LONG}]]")] + short[short.index("[tenants.acme.agents"):]
    assert dict(load(short).tenants["acme"].roles["a"].tools) == dict(role.tools)


def test_reading_is_ten_an_hour_where_nothing_is_said() -> None:
    found = load(changed('read = { secrets = ["hook"], calls = "2/hour" }', 'read = ["hook"]'))
    role = found.tenants["acme"].roles["a"]
    assert role.read is not None
    assert (role.read.calls.count, role.read.calls.seconds, role.read.calls.burst) == (10, 3600.0, 10)


@pytest.mark.parametrize(("old", "new", "key", "says"), [
    # each kind has what it needs and nothing of another's
    ('file = "/etc/ringwall/hook"', "", "secrets.hook.file", "needs it"),
    ('[secrets.db-admin]\nfrom = "vault"', '[secrets.db-admin]\nfrom = "vault"\nfile = "/x"',
     "secrets.db-admin.file", "does not belong"),
    ('vault = "bao"\nkey', 'key', "secrets.notes.vault", "needs it"),
    ('vault = "bao"\nkey', 'vault = "boa"\nkey', "secrets.notes.vault", 'did you mean "bao"'),
    ('key = "token"', 'key = "token"\nseconds = 60', "secrets.notes.seconds", "does not belong"),
    ('database = "readers"', 'database = "readers"\nkey = "x"', "secrets.erp.key", "with a database"),
    ('admin_user = "ringwall"', "", "secrets.db.admin_user", "needs it"),
    ('admin = "db-admin"', 'admin = "nobody"', "secrets.db.admin", "there is no secrets.nobody"),
    ('admin = "db-admin"', 'admin = "notes"', "secrets.db.admin", "comes from openbao"),
    ('client_secret = "api-client"', 'client_secret = "s3"', "secrets.api.client_secret", "comes from aws"),
    ('client_id = "ringwall"', 'client_id = "ringwall"\nregion = "x"', "secrets.api.region", "does not belong"),
    ('seconds = 900', 'inject = { header = "X" }', "secrets.s3.inject", "does not belong"),
    # AWS
    ("123456789012", "12345678901", "secrets.s3.role_arn", "12 digits"),
    ("arn:aws:iam::123456789012", "arn:aws:iam::", "secrets.s3.role_arn", "12 digits"),
    ("arn:aws:iam", "arn:aws-iso:iam", "secrets.s3.role_arn", "aws, aws-cn or aws-us-gov"),
    ("role/team/reader", "user/reader", "secrets.s3.role_arn", "ARN of a role"),
    ("role/team/reader", "role/team/*", "secrets.s3.role_arn", "ARN of a role"),
    ("arn:aws:iam", "arn:aws-cn:iam", "secrets.s3.region", "partition"),
    ('region = "eu-central-1"\nseconds', 'region = "cn-north-1"\nseconds', "secrets.s3.region", "partition"),
    ('region = "eu-central-1"\nseconds', 'region = "Frankfurt"\nseconds', "secrets.s3.region", "name of a region"),
    ('region = "eu-central-1"\nseconds', "seconds", "secrets.s3.region", "is missing"),
    ("seconds = 900", "seconds = 901", "secrets.s3.seconds", "30 to 900"),
    # servers
    ('secret = "notes"', 'secret = "s3"', "tools.web.secret", "builtin s3 only"),
    ('secret = "notes"', 'secret = "db"', "tools.web.secret", "builtin postgres only"),
    ('secret = "api"\n[tools.cal', 'secret = "erp"\n[tools.cal', "tools.calendar.secret", "builtin postgres only"),
    ('secret = "api"\n[tools.cal', 'secret = "notes"\n[tools.cal',
     "tools.calendar.secret", "openapi and http only"),
    ('secret = "s3"\n', 'secret = "hook"\n', "tools.store.secret", "nothing that the builtin s3"),
    ('secret = "db"\n', 'secret = "notes"\n', "tools.sales.secret", "nothing that the builtin postgres"),
    ('url = "https://s3.example"\n', "", "tools.store.url", "is missing"),
    ('secret = "s3"\n', "", "tools.store.secret", "is missing"),
    ('url = "https://s3.example"', 'url = "postgresql://s3.example:1/x"', "tools.store.url", "builtin s3"),
    ('[tools.sales]\nbuiltin = "postgres"\nurl = "postgresql://db.example:5432/sales"',
     '[tools.sales]\nbuiltin = "postgres"\nurl = "postgresql://db.example:5432/other"',
     "tools.sales.secret", "another database"),
    ('secret = "db"\n', 'secret = "db"\nregion = "x"\n', "tools.sales.region", "of the builtin s3"),
    ('mcp = "https://cal.example/mcp"', 'mcp = "https://cal.example/mcp"\nca_file = "/ca"',
     "tools.calendar.ca_file", "builtins"),
    ('"https://b.example/v1/"]', '"https://b.example/v1"]', "tools.web.http", "one URL"),
    ('secret = "llm"', 'secret = "notes"', "models.main.secret", "a URL"),
    ('secret = "llm"', 'secret = "s3"', "models.main.secret", "comes from aws"),
    ("[vaults.bao]", '[approvals]\nwebhook = "http://127.0.0.1:9/"\nwebhook_secret = "llm"\n[vaults.bao]',
     "approvals.webhook_secret", "comes from vault"),
    # hosts
    ('["a.example", "b.example"]', '["a.example", "b.exampel"]',
     "secrets.notes.inject.hosts[1]", 'did you mean "b.example"'),
    ('hosts = ["llm.acme.example"]', 'hosts = ["LLM.acme.example"]',
     "secrets.llm.inject.hosts[0]", "expected a host"),
    ('hosts = ["llm.acme.example"]', 'hosts = ["llm.acme.example:443"]',
     "secrets.llm.inject.hosts[0]", "without a port"),
    ('query = "api_key"', 'query = "api_key", header = "X"', "secrets.notes.inject", "exactly one of"),
    # reading
    ('read = { secrets = ["hook"]', 'read = { secrets = ["hok"]', f"{READ}[0]", 'did you mean "hook"'),
    ('read = { secrets = ["hook"]', 'read = { secrets = ["s3"]', f"{READ}[0]", "nothing to read"),
    ('read = { secrets = ["hook"]', 'read = { secrets = ["erp"]', f"{READ}[0]", "nothing to read"),
    ('read = { secrets = ["hook"]', 'read = { secrets = ["db-admin"]', f"{READ}[0]", "makes them himself"),
    ('read = { secrets = ["hook"]', 'read = { secrets = ["api-client"]', f"{READ}[0]", "makes them himself"),
    ('read = { secrets = ["hook"]', 'read = { secrets = []', READ, "is empty"),
    # the root key
    ('root = "pkcs11"', 'root = "age"', "vault.identity", "needs it"),
    ('token = "ringwall"\n', "", "vault.token", "needs it"),
    ('root = "pkcs11"', 'root = "pkcs11"\nshares = 7', "vault.shares", "does not belong"),
    ('root = "pkcs11"', 'root = "pkcs11"\npcrs = "sha256:0"', "vault.pcrs", "does not belong"),
    # vaults elsewhere
    ('role = "ringwall"', 'role = "ringwall"\npath = "agents/{tenant}/{agent}"', "vaults.bao.path", "{role}"),
    ('role = "ringwall"', 'role = "ringwall"\npath = "{tenant}-{agent}/{role}"', "vaults.bao.path", "alone"),
    ('role = "ringwall"', 'role = "ringwall"\npath = "../{tenant}/{agent}/{role}"', "vaults.bao.path", "alone"),
    ('role = "ringwall"', 'role = "ringwall"\nkv = "/secret"', "vaults.bao.kv", "no slash"),
    ('role = "ringwall"', 'role = "ringwall"\nmount = "a/../b"', "vaults.bao.mount", "no slash"),
    # files
    ('role = "a"\n', 'role = "a"\nread_only = ["/etc/ringwall"]\n', "vault.pin_file", "lies in"),
    ('role = "a"\n', 'role = "a"\nread_only = ["/etc/ringwall"]\n', "secrets.hook.file", "lies in"),
    ('role = "a"\n', 'role = "a"\nwork = "/usr/lib/softhsm"\n', "vault.module", "lies in"),
    ('role = "a"\n', 'role = "a"\nwork = "/etc/ringwall"\n', "vaults.bao.ca_file", "lies in"),
    # the long form
    ('identifier = "store/get"', 'identifier = "store/git"', f"{LONG}[0]", 'did you mean "store/get"'),
    ('actions = ["read"]', 'actions = ["write"]', f"{LONG}[0].actions", "is read"),
    ('actions = ["read"]', 'actions = ["read", "write"]', f"{LONG}[0].actions", "is read"),
    ('actions = ["read"]', 'actions = ["s3:GetObject"]', f"{LONG}[0].actions[0]", "not one of them"),
    ('actions = ["read"]', "", f"{LONG}[0].actions", "is missing"),
    ('type = "urn:ringwall:tool"', 'type = "tool"', f"{LONG}[0].type", "not one of them"),
    ('approval = "always"', 'privileges = ["all"]', f"{LONG}[0].privileges", "no such key"),
    ('locations = ["s3:reports/2026/"]', 'locations = ["s3:reports/*"]', f"{LONG}[0]", "globs"),
    ('locations = ["s3:reports/2026/"]\n', "", f"{LONG}[0]", "no resource is allowed"),
    ('locations = ["s3:reports/2026/"]', 'locations = ["table:a.b"]', f"{LONG}[0]", "of this kind"),
    ('"calendar/find" = []', '"calendar/find" = []\n"store/get" = ["s3:a1b/"]', f"{LONG}[0]", "given already"),
])
def test_each_fault_is_named_at_its_key(old: str, new: str, key: str, says: str) -> None:
    found = faults(changed(old, new))
    at = [" ".join(text.split()) for text in found if text.startswith(f"ringwall.toml: {key}\n")]
    assert any(says in text for text in at), found


def test_every_fault_is_named_at_once() -> None:
    text = WHOLE.replace('admin = "db-admin"\n', "").replace('"urn:ringwall:tool"', '"x"')
    text = text.replace("123456789012", "1")
    assert len(faults(text)) >= 3


def test_shamir_needs_no_more_shares_than_there_are_and_transit_a_vault() -> None:
    start = WHOLE[:WHOLE.index("root =")]
    rest = WHOLE[WHOLE.index("[vaults.bao]"):]
    load(f'{start}root = "shamir"\nshares = 3\nthreshold = 3\n{rest}')
    load(f'{start}root = "transit"\ntransit = "bao"\nkey = "ringwall"\n{rest}')
    load(f'{start}root = "tpm2"\npcrs = "sha256:0,7,23"\n{rest}')
    assert "vault.threshold" in faults(f'{start}root = "shamir"\nshares = 2\n{rest}')[0]
    assert "vault.transit" in faults(f'{start}root = "transit"\ntransit = "boa"\nkey = "k"\n{rest}')[0]
    assert "vault.pcrs" in faults(f'{start}root = "tpm2"\npcrs = "sha256:24"\n{rest}')[0]


def test_another_service_than_amazons_has_roles_without_an_account() -> None:
    found = load(changed('arn:aws:iam::123456789012:role/team/reader"\nregion = "eu-central-1"',
                         'arn:aws:iam:::role/reader"\nsts = "https://rgw.example"'))
    assert found.secrets["s3"].sts == "https://rgw.example"


def test_what_a_provider_cannot_express_is_refused_where_it_is_granted() -> None:
    asked: list[tuple[str, tuple[Detail, ...]]] = []

    def check(secret: Secret, details: Sequence[Detail]) -> str:
        asked.append((secret.name, tuple(details)))
        return "no such scope" if secret.name == "s3" else ""

    with pytest.raises(ManifestError) as found:
        load(WHOLE, check)
    (problem,) = found.value.problems
    assert problem.startswith(f"ringwall.toml: {LONG}[0]\n")
    assert "no such scope" in problem
    assert asked[-1] == ("s3", (Detail(identifier="store/get", actions=("read",), locations=("s3:reports/2026/",),
                                       approval="always"),))
    assert [name for name, _ in asked] == ["db", "api", "s3"]


@given(st.lists(st.tuples(st.sampled_from(WHOLE.splitlines()), st.sampled_from(MESS))), st.integers(0, len(WHOLE)))
def test_whatever_stands_there_is_a_manifest_or_named_faults(edits: list[tuple[str, str]], cut: int) -> None:
    text = WHOLE[:cut] if cut % 3 == 0 else WHOLE
    for old, new in edits:
        text = text.replace(old, new, 1)
    try:
        load(text)
    except ManifestError as fault:
        assert fault.problems


@pytest.mark.parametrize("stranger", [
    '[secrets.theirs]\nfrom = "aws"\nrole_arn = "arn:aws:iam::123456789012:role/x"\nsts = "https://sts.example"\n',
    '[secrets.theirs]\nfrom = "oauth"\ntoken_url = "https://as.example/t"\nclient_id = "x"\naudience = "openbao"\n',
    '[vaults.theirs]\nurl = "https://vault.partner.example"\nrole = "ringwall"\n',
])
def test_nobody_could_show_another_the_token_that_it_is_shown(stranger: str) -> None:
    found = faults(WHOLE.replace("[models.main]", f"{stranger}[models.main]"))
    assert len(found) == 1
    assert "could show the other the tokens" in found[0]


def test_the_same_token_service_may_be_named_twice() -> None:
    twice = '[secrets.s4]\nfrom = "aws"\nrole_arn = "arn:aws:iam::123456789012:role/x"\nregion = "eu-west-1"\n'
    assert "s4" in load(WHOLE.replace("[models.main]", f"{twice}[models.main]")).secrets


@pytest.mark.parametrize("audience", ["https://id.example/token", "HTTPS://id.example/token/", "bao-prod"])
def test_no_agent_has_a_token_for_who_makes_its_credentials(audience: str) -> None:
    text = changed('ca_file = "/etc/ringwall/bao.pem"', 'ca_file = "/etc/ringwall/bao.pem"\naudience = "bao-prod"')
    found = faults(f'{text}[tenants.acme.roles.a.svid]\naudiences = ["{audience}"]\n')
    assert len(found) == 1
    assert "is reserved" in found[0]
