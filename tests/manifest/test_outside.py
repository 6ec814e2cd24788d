"""Servers and models elsewhere in a manifest: each key beside those it needs, secrets only for who may use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringwall.capability.resources import parse_pattern
from ringwall.errors import ManifestError
from ringwall.manifest.load import parse
from ringwall.manifest.types import Injection, Manifest

WHOLE = """\
version = 1
trust_domain = "acme.example"
[telemetry]
metrics = "127.0.0.1:9464"
otlp = "http://127.0.0.1:4318"
[models.claude]
wire = "anthropic"
url = "https://llm.acme.example/v1"
secret = "llm"
timeout_s = 60
retries = 1
[models.claude.provider_tools.web_search]
effect = "fetch"
[secrets.llm]
from = "file"
file = "/etc/ringwall/llm"
inject = { header = "x-api-key" }
[secrets.crm]
from = "file"
file = "/etc/ringwall/crm"
inject = { pointer = "/auth/token", paths = ["POST /quotes"] }
[tools.crm]
openapi = "crm.json"
url = "https://crm.acme.example/api"
secret = "crm"
private = ["10.1.0.0/16"]
[tools.crm.ops.quote]
effect = "send"
operation = "POST /quotes"
args = { to = "target:email" }
[tools.wiki]
mcp = "https://wiki.acme.example/mcp"
oauth = { token_url = "https://id.acme.example/token", client_id = "rw", secret = "crm", scopes = ["read"] }
max_bytes = 65536
[tools.wiki.ops.find]
effect = "read"
args = { text = "query" }
[tools.web]
http = ["https://docs.example/"]
timeout_s = 5
[tools.web.ops.get]
effect = "fetch"
args = { url = "url:url" }
[tools.local]
command = ["local-mcp"]
network = ["api.example:443"]
[tools.local.ops.do]
effect = "read"
args = {}
[tenants.acme.roles.a]
models = ["claude", "claude/web_search"]
secrets = ["llm", "crm"]
judge_tool_calls = true
[tenants.acme.roles.a.tools]
"crm/quote" = ["email:@customer.example"]
"wiki/find" = []
"web/get" = ["url:https://docs.example/"]
"local/do" = []
[tenants.acme.agents.x]
role = "a"
attestation = "none"
"""


def load(text: str) -> Manifest:
    return parse(text, Path("/etc/ringwall.toml"), check_pattern=parse_pattern)


def test_everything_can_be_said() -> None:
    found = load(WHOLE)
    crm, wiki, web, local = (found.tools[name] for name in ("crm", "wiki", "web", "local"))
    assert (crm.openapi, crm.url, crm.private) == (
        Path("/etc/crm.json"), "https://crm.acme.example/api", ("10.1.0.0/16",))
    assert crm.ops["quote"].operation == "POST /quotes"
    assert wiki.oauth is not None and (wiki.oauth.scopes, wiki.max_bytes) == (("read",), 65536)
    assert (web.http, web.timeout_s, local.network) == (("https://docs.example/",), 5, ("api.example:443",))
    assert [one.outward for one in (crm, wiki, web, local)] == [True, True, True, False]
    assert found.secrets["crm"].inject.paths == ("POST /quotes",)
    assert (found.models["claude"].timeout_s, found.models["claude"].retries) == (60, 1)
    role = found.tenants["acme"].roles["a"]
    assert (role.judge_tool_calls, role.models[1]) == (True, "claude/web_search")
    assert found.tenants["acme"].agents["x"].attestation == "none"
    assert (found.telemetry.metrics, found.telemetry.otlp) == ("127.0.0.1:9464", "http://127.0.0.1:4318")


TABLE = [
    ('url = "https://crm.acme.example/api"\n', "", "tools.crm.url", "belongs to openapi"),
    ('openapi = "crm.json"\n', 'http = ["https://x.example/"]\n', "tools.crm.url", "belongs to openapi"),
    ('network = ["api.example:443"]', 'secret = "crm"', "tools.local", "asks nobody over HTTP"),
    ('http = ["https://docs.example/"]', 'http = ["https://docs.example/"]\nnetwork = ["a.example:1"]',
     "tools.web.network", "is for a command"),
    ('network = ["api.example:443"]', "max_bytes = 2048", "tools.local", "asks nobody over HTTP"),
    ('network = ["api.example:443"]', 'private = ["10.0.0.0/8"]', "tools.local.private", "is for who asks"),
    ('secret = "llm"', 'secret = "crm"', "models.claude.secret", "goes into a body"),
    ("timeout_s = 5", 'secret = "crm"', "tools.web.secret", "goes into a body"),
    ("timeout_s = 5", 'read_only = ["/srv/x"]', "tools.web", "is no process here"),
    ("max_bytes = 65536", 'secret = "llm"', "tools.wiki.oauth", "two ways"),
    ('secret = "crm", scopes', 'secret = "crn", scopes', "tools.wiki.secret", 'did you mean "crm"'),
    ("[tools.web.ops.get]", "[tools.web.ops.steal]", "tools.web.ops.steal", "no method of HTTP"),
    ('effect = "read"\nargs = {}', 'effect = "read"\noperation = "x"\nargs = {}', "tools.local.ops.do.operation",
     "is for web APIs"),
    ('"claude/web_search"]', '"claude/wed_search"]', "tenants.acme.roles.a.models", 'did you mean "web_search"'),
    ('models = ["claude", "claude/web_search"]', 'models = ["claude/web_search"]', "tenants.acme.roles.a.models",
     'is of no use without "claude"'),
    ('secrets = ["llm", "crm"]', 'secrets = ["llm"]', "tenants.acme.roles.a.tools", 'needs the secret "crm"'),
    ('attestation = "none"', 'attestation = "none"\ndoor = 8080', "tenants.acme.agents.x.attestation",
     "has no network of its own"),
    ('"127.0.0.1:9464"', '"10.0.0.1:9464"', "telemetry.metrics", "this machine only"),
    ('"127.0.0.1:9464"', '"metrics.example:9464"', "telemetry.metrics", "this machine only"),
    ('"http://127.0.0.1:4318"', '"https://otel.example"', "telemetry.otlp", "collector on this machine"),
    ('["10.1.0.0/16"]', '["10.1.0.1/16"]', "tools.crm.private[0]", "has host bits set"),
    ('["api.example:443"]', '["api.example"]', "tools.local.network[0]", "a host and a port"),
    ('["api.example:443"]', '["api..example:443"]', "tools.local.network[0]", "a host and a port"),
    ('["POST /quotes"]', '["POST /a/../b"]', "secrets.crm.inject.paths[0]", "a method and a path"),
    ('"/auth/token"', '"auth"', "secrets.crm.inject.pointer", "JSON pointer"),
    ('"/auth/token"', '"/a~2"', "secrets.crm.inject.pointer", "~0"),
    ('mcp = "https://wiki', 'mcp = "http://wiki', "tools.wiki.mcp", "write https"),
    ("retries = 1", "retries = 9", "models.claude.retries", "from 0 to 5"),
]


@pytest.mark.parametrize(("old", "new", "key", "says"), TABLE, ids=[f"{k}-{s[:16]}" for *_, k, s in TABLE])
def test_each_fault_is_named_at_its_key(old: str, new: str, key: str, says: str) -> None:
    assert old in WHOLE
    with pytest.raises(ManifestError) as caught:
        load(WHOLE.replace(old, new, 1))
    text = " ".join(str(caught.value).split())
    assert f"{key} " in text and says in text, text


def test_a_command_with_a_network_may_name_networks_that_are_private() -> None:
    named = 'network = ["api.example:443"]'
    found = load(WHOLE.replace(named, named + '\nprivate = ["10.0.0.0/8"]'))
    assert found.tools["local"].private == ("10.0.0.0/8",)


@pytest.mark.parametrize(("paths", "method", "path", "carries"), [
    ((), "GET", "/anything", True), (("POST /v1/",), "POST", "/v1/chat/completions", True),
    (("POST /v1/",), "GET", "/v1/chat/completions", False), (("POST /v1/",), "POST", "/v10/chat", False),
    (("POST /quotes",), "POST", "/quotes", True), (("POST /quotes",), "POST", "/quotes/1", False),
    (("GET /a", "POST /b/"), "POST", "/b/c", True),
])
def test_a_secret_goes_with_the_requests_that_its_paths_name(
    paths: tuple[str, ...], method: str, path: str, carries: bool
) -> None:
    assert Injection(header="X-Key", paths=paths).covers(method, path) is carries
