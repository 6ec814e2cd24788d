"""The manifest of the office, with places for its folders, ports and commands."""

from __future__ import annotations

from typing import Final

MANIFEST: Final = """\
version = 1
trust_domain = "office.example"

[identity.federation."partner.example"]
bundle = {bundle}

[models.main]
wire = "openai"
url = {url}
secret = "model-key"
clearance = "private"

[secrets.model-key]
from = "file"
file = {key}

[secrets.desk-token]
from = "file"
file = {token}

[secrets.cloud]
from = "aws"
role_arn = "{role}"
region = "{region}"
sts = "{store}"
ca_file = {ca}

[secrets.archive-client]
from = "file"
file = {client}

[secrets.archive]
from = "oauth"
token_url = "{archive}/token"
revoke_url = "{archive}/revoke"
client_id = "ringwall"
client_secret = "archive-client"
audience = "archive"

[tools.store]
builtin = "s3"
url = "{store}"
region = "{region}"
ca_file = {ca}
secret = "cloud"
clearance = "private"

[tools.archive]
http = ["{archive}/"]
secret = "archive"
clearance = "private"
[tools.archive.ops.get]
effect = "read"
args = {{ url = "url:url" }}
returns = {{ "*" = "M private" }}

[tools.docs]
command = {docs_command}
read_only = [{package}]
writable = [{docs}]
clearance = "private"
[tools.docs.ops.read]
effect = "read"
args = {{ path = "selector:path" }}
returns = {{ "*" = "U private" }}
[tools.docs.ops.delete]
effect = "delete"
args = {{ path = "selector:path" }}

[tools.keys]
command = {keys_command}
read_only = [{package}, {keys}]
clearance = "secret"
[tools.keys.ops.read]
effect = "read"
args = {{ path = "selector:path" }}
returns = {{ "*" = "U secret" }}

[tools.mail]
command = {mail_command}
read_only = [{package}]
writable = [{mail}]
clearance = "private"
[tools.mail.ops.send]
effect = "send"
args = {{ to = "target:email", subject = "payload", body = "payload" }}
returns = {{ "*" = "M public" }}

[tools.payments]
command = {payments_command}
read_only = [{package}]
writable = [{payments}]
clearance = "private"
[tools.payments.ops.pay]
effect = "pay"
args = {{ to = "target:iban", amount = "param", subject = "payload" }}
returns = {{ "*" = "M private" }}

[tools.search]
command = {search_command}
read_only = [{package}]
writable = [{search}]
clearance = "public"
[tools.search.ops.web]
effect = "fetch"
args = {{ query = "query" }}
returns = {{ "*" = "U public" }}

[tools.rates]
command = {rates_command}
read_only = [{package}]
writable = [{rates}]
clearance = "public"
[tools.rates.ops.today]
effect = "fetch"
args = {{ currency = "param", note = "payload" }}
returns = {{ "*" = "U public" }}
[tools.rates.ops.fees]
effect = "fetch"
args = {{ payment = "payload" }}
returns = {{ "*" = "U public" }}

[tools.web]
http = ["{site}/"]
clearance = "public"
[tools.web.ops.get]
effect = "fetch"
args = {{ url = "url:url" }}
returns = {{ "*" = "U public" }}

[tools.desk]
mcp = "{desk}"
secret = "desk-token"
clearance = "private"
[tools.desk.ops.find]
effect = "read"
args = {{ ticket = "param" }}
returns = {{ "*" = "M private" }}
[tools.desk.ops.check]
effect = "read"
args = {{}}
returns = {{ "*" = "M private" }}

[tenants.office]
limits = {{ calls = "2400/min burst 400" }}

[tenants.office.roles.clerk]
models = ["main"]
secrets = ["model-key", "desk-token", "cloud", "archive"]
limits = {{ calls = "1200/min burst 200", tokens = "200000/session", concurrent = 8 }}
[tenants.office.roles.clerk.tools]
"docs/read" = [{docs_grant}]
"keys/read" = [{keys_grant}]
"mail/send" = ["email:@office.example", "email:@partner.example"]
"payments/pay" = {{ resources = ["iban:{iban}"], max = {{ amount = 1000 }} }}
"search/web" = []
"rates/today" = []
"rates/fees" = []
"web/get" = ["url:{site}/"]
"store/get" = ["s3:reports/"]
"archive/get" = ["url:{archive}/"]
"desk/find" = []
"desk/check" = []

[tenants.office.roles.temp]
limits = {{ calls = "30/min burst 20" }}
[tenants.office.roles.temp.tools]
"search/web" = []

[tenants.office.roles.intern]
models = ["main"]
secrets = ["model-key"]
limits = {{ calls = "600/min burst 100", tokens = "200000/session", concurrent = 8 }}
[tenants.office.roles.intern.tools]
"docs/read" = [{docs_grant}]

[tenants.office.roles.cashier]
models = ["main"]
secrets = ["model-key"]
limits = {{ calls = "600/min burst 100", tokens = "200000/session", concurrent = 8 }}
[tenants.office.roles.cashier.tools]
"docs/read" = [{prices_grant}]
"payments/pay" = {{ resources = ["iban:{iban}", "iban:{stranger}"], max = {{ amount = 1000 }} }}

[tenants.branch.roles.visitor]
models = ["main"]
secrets = ["model-key"]
[tenants.branch.roles.visitor.tools]
"search/web" = []
[tenants.branch.agents.visitor]
role = "visitor"
send = {{ "office/cashier" = ["hours"] }}

[tenants.office.agents.cashier]
role = "cashier"
listen = "127.0.0.1:{listen}"
serve = {serve}
skills.quote = {{}}
skills.hours = {{}}
[tenants.office.agents.cashier.receive]
clerk = {{ skills = ["quote"], lends = ["docs/read"] }}
intern = ["hours"]
"branch/visitor" = ["hours"]

[tenants.office.agents.clerk]
role = "clerk"
send = {{ cashier = ["quote"] }}
[tenants.office.agents.intern]
role = "intern"
send = {{ cashier = ["hours"] }}
[tenants.office.agents.temp]
role = "temp"
"""
