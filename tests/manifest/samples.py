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

[a2a]
max_hops = 3

[peers.partner]
spiffe_id = "spiffe://partner.test/agents/bob"
url = "https://a2a.partner.test:8443/rpc"
clearance = "secret"
[peers.partner.skills.invoice]
input = ["application/json"]
uris = ["https://files.partner.test/in/"]
description = "Takes an invoice."

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
send = { sam = { skills = ["quote"], clearance = "public" }, "globex/gus" = ["audit"] }
push = 9001
listen = "10.0.0.5:7443"
door = 8080

[tenants.acme.agents.sam]
role = "analyst"
listen = "sam.acme.example:7443"
serve = 9000
send = { partner = ["invoice"] }
[tenants.acme.agents.sam.skills.quote]
input = ["text/plain"]
output = ["text/plain", "application/pdf"]
[tenants.acme.agents.sam.receive]
ana = { skills = ["quote"], lends = ["pay/send"], relays = ["partner/invoice"] }
partner = ["quote"]

[tenants.globex.roles.auditor]
[tenants.globex.agents.gus]
role = "auditor"
listen = "[::1]:7443"
serve = 9000
skills = { audit = {} }
receive = { "acme/ana" = ["audit"] }
"""
