"""What a manifest says of servers and models elsewhere: keys that belong together, who may use which secret."""

from __future__ import annotations

from ringwall.manifest.problems import Key, Problems, quoted
from ringwall.manifest.secret_use import ASKING
from ringwall.manifest.types import ANSWER_BYTES, HTTP_METHODS, Agent, Manifest, Role, ToolServer


class Outside:
    """Checks a built manifest; what is known to be wrong is not judged twice."""

    def __init__(self, manifest: Manifest, problems: Problems) -> None:
        self._manifest = manifest
        self._problems = problems

    def check(self) -> None:
        """Note each key without what it needs, and each role without the secret of a server it was given."""
        for name, model in self._manifest.models.items():
            secret = self._manifest.secrets.get(model.secret)
            if secret is not None and not secret.inject.header and not self._problems.under(("models", name)):
                where = "a body" if secret.inject.pointer else "a URL"
                self._problems.add(("models", name, "secret"), f"secrets.{secret.name} goes into {where}, and a "
                                   "model's key into a header", fix="name a header in its inject")
        for name, server in self._manifest.tools.items():
            if not self._problems.under(("tools", name)):
                self._server(server, ("tools", name))
        for name, tenant in self._manifest.tenants.items():
            for role_name, role in tenant.roles.items():
                self._role(role, ("tenants", name, "roles", role_name))
            for agent_name, agent in tenant.agents.items():
                self._agent(agent, ("tenants", name, "agents", agent_name))

    def _server(self, server: ToolServer, key: Key) -> None:
        add = self._problems.add
        asks = server.outward or server.builtin in ASKING
        if server.builtin not in ASKING and (server.openapi is not None) != bool(server.url):
            add((*key, "url"), "belongs to openapi, and both to each other", fix='write: url = "https://…"')
        if server.network and not server.command:
            add((*key, "network"), "is for a command, which has no network of its own", fix="remove it")
        if not server.outward and (
            (server.secret and not asks) or server.oauth or server.max_bytes != ANSWER_BYTES
        ):
            add(key, "asks nobody over HTTP, so secret, oauth and max_bytes would be read by nobody",
                fix="remove them")
        if server.private and not asks and not server.network:
            add((*key, "private"), "is for who asks somebody: mcp, openapi, http, or a command with a network",
                fix="remove it")
        if server.outward and (server.read_only or server.writable):
            add(key, "is no process here, so read_only and writable would be read by nobody", fix="remove them")
        if server.secret and server.oauth:
            add((*key, "oauth"), "and secret are two ways to ask the same server", fix="remove one")
        wanted = server.oauth.secret if server.oauth else server.secret
        if wanted and wanted not in self._manifest.secrets:
            self._problems.unknown((*key, "secret"), wanted, f"there is no secrets.{wanted}",
                                   self._manifest.secrets)
        secret = self._manifest.secrets.get(server.secret)
        if secret is not None and secret.inject.pointer and server.openapi is None:
            add((*key, "secret"), f"secrets.{secret.name} goes into a body that Ringwall builds, which is so for "
                "openapi only", fix="name a header in its inject")
        for name, operation in server.ops.items():
            if operation.operation and server.openapi is None:
                add((*key, "ops", name, "operation"), "is for web APIs (openapi)", fix="remove it")
            if server.http and name not in HTTP_METHODS:
                self._problems.unknown((*key, "ops", name), name, "is no method of HTTP", HTTP_METHODS)

    def _role(self, role: Role, key: Key) -> None:
        for name in role.models:
            model, slash, tool = name.partition("/")
            found = self._manifest.models.get(model)
            if not slash or found is None or self._problems.under((*key, "models")):
                continue
            if tool not in found.provider_tools:
                self._problems.unknown((*key, "models"), tool, f"models.{model} has no such tool of its provider",
                                       found.provider_tools)
            elif model not in role.models:
                self._problems.add((*key, "models"), f"{quoted(name)} is of no use without {quoted(model)}",
                                   fix=f"add {quoted(model)}")
        for name in {tool.partition("/")[0] for tool in role.tools}:
            server = self._manifest.tools.get(name)
            wanted = "" if server is None else server.oauth.secret if server.oauth else server.secret
            if wanted in self._manifest.secrets and wanted not in role.secrets \
                    and not self._problems.under((*key, "secrets")):
                self._problems.add((*key, "tools"), f"tools.{name} needs the secret {quoted(wanted)}, which this "
                                   "role may not use", fix=f"add {quoted(wanted)} to its secrets")

    def _agent(self, agent: Agent, key: Key) -> None:
        if agent.attestation == "none" and not self._problems.under(key) and (
            agent.door is not None or agent.send or agent.receive or agent.skills
        ):
            self._problems.add((*key, "attestation"), "a client that nobody started has no network of its own and "
                               "talks to no other agent", fix="remove door, send, receive and skills")
