"""What ``ringwall init`` writes: a manifest that passes ``check`` and shows the shape of a real one."""

from __future__ import annotations

from typing import Final

FILE_NAME: Final = "ringwall.toml"
STARTER: Final = """\
# What agents may do here. Everything absent is refused.
# Check it with `ringwall check`; every key is explained in docs/manifest.md.

version = 1
trust_domain = "example.internal"     # all identities here begin with spiffe://example.internal/

# From which score a finding of injection stops a text; without this it only labels it.
guard = { block_at = { tool_result = 0.9, response = 0.9 } }

# --- Tools: MCP servers, Python modules, built-ins. Each runs confined, without network. ---

[tools.echo]
builtin = "echo"                      # answers what it is sent: to see the wall at work

# [tools.docs]
# command = ["docs-mcp", "/srv/docs"] # an MCP server over stdio
# read_only = ["/srv/docs"]           # all of the machine's files that it sees
# clearance = "private"               # what it may be shown
# [tools.docs.ops.read]
# effect = "read"
# args = { path = "selector:path" }   # role:kind; an argument that is not here is refused
# returns = { "*" = "U private" }     # integrity P T C M U, then public, private or secret

# --- Models, and the keys they need. Agents never see a key. ---

# [models.main]
# wire = "openai"
# url = "https://llm.example.internal/v1"
# secret = "llm-key"
# clearance = "private"

# [secrets.llm-key]
# from = "vault"                      # ringwall vault init, then: ringwall vault put main/my-agent llm-key
# inject = { header = "Authorization", format = "Bearer {}" }
# Or from "file", with mode 0600. What makes a credential for each call instead: docs/credentials.md

# --- Who may do what. ---

[tenants.main]
limits = { calls = "600/min" }

[tenants.main.roles.helper]
limits = { calls = "60/min burst 10", concurrent = 4 }
# models = ["main"]
# secrets = ["llm-key"]               # to use, never to read
[tenants.main.roles.helper.tools]
"echo/echo" = []
# "docs/read" = ["path:/srv/docs/public/"]   # a trailing slash is a subtree; there are no globs

[tenants.main.agents.my-agent]
role = "helper"
processes = "one"                     # "tree": the processes it starts may call too
"""
