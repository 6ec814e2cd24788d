"""Manifests that the tests of this folder start from."""

from __future__ import annotations

FULL = """\
version = 1
trust_domain = "acme.example"
guard = { block_at = { tool_result = 0.9, response = 0.8 } }
flow = { clean_waiver = false }
audit = { quota_mib = 64 }

[identity]
issuer = "https://id.acme.example"
[identity.federation."partner.test"]
bundle = "/etc/ringwall/partner.json"

[policy]
bundle = "/etc/ringwall/policy.tar.gz"
keys = ["/etc/ringwall/policy.pub.pem"]
scope = "production"
backend = "opa"
opa = "unix:/run/opa.sock"
cache = true

[operators]
two_person = ["thaw"]
socket = "/run/ringwall/operator.sock"
[operators.alice]
uid = 1000
roles = ["responder", "launcher"]
[operators.bob]
uid = 1001
roles = ["admin"]

[models.main]
wire = "openai"
url = "https://llm.acme.example/v1/"
secret = "llm-key"
clearance = "private"

[tools.docs]
command = ["docs-mcp", "/srv/docs", "/srv/docs"]
read_only = ["/srv/docs", "shared"]
clearance = "private"
system_of_record = true
[tools.docs.ops.read]
effect = "read"
args = { path = "selector:path" }
returns = { id = "T", owner = "C", "*" = "U private" }
[tools.docs.ops.list]
effect = "read"
args = { prefix = "selector" }

[tools.pay]
python = "acme.tools.pay"
writable = ["/srv/pay"]
[tools.pay.ops.send]
effect = "pay"
args = { to = "target:iban", amount = "param", subject = "payload", link = "url" }

[tools.echo]
builtin = "echo"

[secrets.llm-key]
from = "file"
file = "/etc/ringwall/llm-key"
inject = { header = "X-Key" }

[tenants.acme]
limits = { calls = "600/min" }

[tenants.acme.roles.analyst]
models = ["main"]
secrets = ["llm-key"]
limits = { calls = "60/min burst 10", tokens = "200000/session", concurrent = 4 }
[tenants.acme.roles.analyst.tools]
"docs/read" = ["path:/srv/docs/public/"]
"docs/list" = []
"echo/echo" = {}
"pay/send" = { resources = ["iban:DE89370400440532013000"], approval = "always", max = { amount = 200 } }

[tenants.acme.agents.ana]
role = "analyst"
processes = "tree"
read_only = ["/srv/ana"]
work = "/srv/work"
"""
