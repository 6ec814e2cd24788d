"""Who uses which secret, checked: a kind only where it fits, sent only where its server is, read only if kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from ringwall.manifest.details import Detail, granted
from ringwall.manifest.problems import Key, Problems, quoted
from ringwall.manifest.types import Grant, Manifest, Role, Secret, ToolServer
from ringwall.manifest.vaulting import KEPT

ScopeCheck = Callable[[Secret, Sequence[Detail]], str]
"""Why a provider cannot give a credential for just these; empty: it can."""
ASKING: Final = MappingProxyType({"s3": ("aws",), "postgres": ("postgres", "openbao")})
"""The built-in servers that ask somebody, each with the sources of what it is asked with."""


class SecretUse:
    """Checks a built manifest; what is known to be wrong is not judged twice.

    Args:
        manifest: built.
        problems: where faults go.
        check_scope: None: what a provider can express is not asked.

    """

    def __init__(self, manifest: Manifest, problems: Problems, check_scope: ScopeCheck | None) -> None:
        self._manifest = manifest
        self._problems = problems
        self._check_scope = check_scope

    def check(self) -> None:
        """Note each secret in a place where it cannot be used, or that would be used beyond what was declared."""
        for name, model in self._manifest.models.items():
            self._kept(("models", name, "secret"), model.secret, KEPT)
        self._kept(("approvals", "webhook_secret"), self._manifest.approvals.webhook_secret, ("file",))
        for name, server in self._manifest.tools.items():
            key: Key = ("tools", name)
            if not self._problems.under(key):
                self._builtin(server, key)
                self._server(server, key)
        for name, secret in self._manifest.secrets.items():
            if not self._problems.under(("secrets", name)):
                self._hosts(secret, ("secrets", name, "inject", "hosts"))
        for name, tenant in self._manifest.tenants.items():
            for role_name, role in tenant.roles.items():
                self._role(role, ("tenants", name, "roles", role_name))

    def _kept(self, key: Key, name: str, sources: Sequence[str]) -> None:
        secret = self._manifest.secrets.get(name)
        if secret is not None and secret.source not in sources and not self._problems.under(key):
            self._problems.add(key, f"secrets.{name} comes from {secret.source}; here it must be one of "
                               f"{', '.join(sources)}", fix=f'write: from = "{sources[-1]}"')

    def _builtin(self, server: ToolServer, key: Key) -> None:
        if server.builtin not in ASKING:
            for field in ("region", "ca_file"):
                if getattr(server, field):
                    self._problems.add((*key, field), "is for the builtins that ask somebody: "
                                       f"{', '.join(ASKING)}", fix="remove it")
            return
        for field in ("url", "secret"):
            if not getattr(server, field):
                self._problems.add((*key, field), f"is missing: the builtin {server.builtin} asks somebody",
                                   fix='write: url = "https://…"' if field == "url" else 'write: secret = "NAME"')
        database = server.url.startswith("postgresql://")
        if server.url and database != (server.builtin == "postgres"):
            example = "postgresql://db.example:5432/sales" if not database else "https://s3.example"
            self._problems.add((*key, "url"), f"is no URL that the builtin {server.builtin} can ask",
                               fix=f'write: url = "{example}"')
        if server.region and server.builtin != "s3":
            self._problems.add((*key, "region"), "is of the builtin s3", fix="remove it")

    def _server(self, server: ToolServer, key: Key) -> None:
        if server.oauth is not None:
            self._kept((*key, "oauth"), server.oauth.secret, KEPT)
        secret = self._manifest.secrets.get(server.secret)
        if secret is None or self._problems.under(("secrets", secret.name)):
            return
        at = (*key, "secret")
        if server.builtin in ASKING:
            self._asking(server, secret, at)
        elif secret.minted and secret.source != "oauth":
            which = next(name for name, sources in ASKING.items() if secret.source in sources)
            self._problems.add(at, f"secrets.{secret.name} ({secret.source}) is made for each call and given to "
                               f"the builtin {which} only", fix=f'use it with: builtin = "{which}"')
        if secret.inject.query and not (server.openapi or server.http or server.builtin):
            self._problems.add(at, f"secrets.{secret.name} goes into the query of a URL, which is so for openapi "
                               "and http only", fix="name a header in its inject")
        exact = next((one for one in server.http if not one.endswith("/")), "")
        if secret.inject.query and exact:
            self._problems.add((*key, "http"), f"{quoted(exact)} is one URL, and has no room for the parameter of "
                               f"secrets.{secret.name}", fix=f"write: {quoted(exact + '/')}, or name a header")

    def _asking(self, server: ToolServer, secret: Secret, at: Key) -> None:
        sources = ASKING[server.builtin]
        if secret.source not in sources or not secret.minted:
            self._problems.add(at, f"secrets.{secret.name} ({secret.source}) is nothing that the builtin "
                               f"{server.builtin} can be asked with", fix=f'write: from = "{sources[0]}"')
        elif secret.source == "postgres" and server.url and secret.url != server.url:
            self._problems.add(at, f"secrets.{secret.name} is for {quoted(secret.url)}, and this is another "
                               "database", fix="write the same url in both")

    def _hosts(self, secret: Secret, key: Key) -> None:
        """Each host that is named is one of whom the secret is for, and each of those is named."""
        if not secret.inject.hosts:
            return
        users = list(self._users(secret.name))
        all_hosts = {host for _, hosts in users for host in hosts}
        for index, host in enumerate(secret.inject.hosts):
            if host not in all_hosts:
                self._problems.unknown((*key, index), host, "is no host of a server or model that names this "
                                       "secret", all_hosts)
        for user, hosts in users:
            if hosts.isdisjoint(secret.inject.hosts):
                self._problems.add(key, f"leaves out {user}, which names this secret and would be asked without it",
                                   fix=f"add {quoted(min(hosts))}" if hosts else "remove it")

    def _users(self, secret: str) -> Iterator[tuple[str, set[str]]]:
        for name, model in self._manifest.models.items():
            if model.secret == secret:
                yield f"models.{name}", _hosts_of((model.url,))
        for name, server in self._manifest.tools.items():
            if server.secret == secret:
                yield f"tools.{name}", _hosts_of((server.mcp, server.url, *server.http))

    def _role(self, role: Role, key: Key) -> None:
        if role.read is not None and not self._problems.under((*key, "read")):
            self._read(role.read.secrets, (*key, "read", "secrets"))
        for grant in role.tools.values():
            at = grant_key(role, grant.tool, key)
            if self._check_scope is not None and not self._problems.under(at):
                self._scope(grant, at, self._check_scope)

    def _read(self, names: Sequence[str], key: Key) -> None:
        if not names:
            self._problems.add(key, "is empty, so nothing may be read", fix='write: read = ["NAME"], or remove it')
        used = {name for one in self._manifest.secrets.values() for name in (one.admin, one.client_secret)}
        for index, name in enumerate(names):
            secret = self._manifest.secrets.get(name)
            if secret is None:
                self._problems.unknown((*key, index), name, f"there is no secrets.{name}", self._manifest.secrets)
            elif secret.minted:
                self._problems.add((*key, index), f"secrets.{name} ({secret.source}) is made for each call, so "
                                   "there is nothing to read", fix="remove it")
            elif name in used:
                self._problems.add((*key, index), f"with secrets.{name} Ringwall makes credentials; who reads it "
                                   "makes them himself", fix="remove it")

    def _scope(self, grant: Grant, key: Key, check: ScopeCheck) -> None:
        server_name, _, name = grant.tool.partition("/")
        server = self._manifest.tools.get(server_name)
        secret = self._manifest.secrets.get(server.secret) if server is not None else None
        operation = server.ops.get(name) if server is not None else None
        if operation is None or secret is None or not secret.minted:
            return
        if self._problems.under(("secrets", secret.name)) or self._problems.under(("tools", server_name)):
            return
        if why := check(secret, (granted(grant, operation.effect),)):
            self._problems.add(key, f"secrets.{secret.name} ({secret.source}) cannot be made for just this: {why}",
                               fix="list resources that its provider can tell apart")


def grant_key(role: Role, tool: str, key: Key) -> Key:
    """Where a role's grant is written: in its table, or in the list of the long form."""
    long = [index for index, one in enumerate(role.authorization_details) if one.identifier == tool]
    return (*key, "authorization_details", long[0]) if long else (*key, "tools", tool)


def _hosts_of(urls: Sequence[str]) -> set[str]:
    return {urlsplit(url).hostname or "" for url in urls if url}
