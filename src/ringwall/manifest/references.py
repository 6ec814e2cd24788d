"""What one part of a manifest says about another: names that must exist, grants that must fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.workload.interface import reserved
from ringwall.manifest.audiences import audiences
from ringwall.manifest.conversations import Conversations
from ringwall.manifest.details import Detail
from ringwall.manifest.outside import Outside
from ringwall.manifest.problems import Key, Problems, quoted, spelled
from ringwall.manifest.secret_use import ScopeCheck, SecretUse, grant_key
from ringwall.manifest.spell import MAX_NAME
from ringwall.manifest.trust import Trust
from ringwall.manifest.types import ROLE_VERBS, Agent, Grant, Limits, Manifest, Operation, Role, Tenant, ToolServer
from ringwall.manifest.vaulting import Vaulting, hidden_files, trusted_files

PatternCheck = Callable[[str], object]
"""Checks one resource pattern by its kind's own grammar; raises BadInput."""

_EXAMPLES: Final = {"path": "path:/srv/docs/", "url": "url:https://docs.example/",
                    "email": "email:@customer.example", "iban": "iban:<IBAN>",
                    "arn": "arn:aws:s3:::team-1/", "s3": "s3:reports/2026/", "gcs": "gcs:reports/2026/",
                    "table": "table:sales.", "git": "git:github.com/acme/", "k8s": "k8s:staging/pods/",
                    "id": "id:<identifier>",
                    "name": "name:<name>", "payee": "payee:<name>", "channel": "channel:<name>",
                    "member": "member:<name>"}


class References:
    """Checks a built manifest. Parts that are already known to be wrong are passed over, not judged twice."""

    def __init__(self, manifest: Manifest, problems: Problems, check_pattern: PatternCheck | None,
                 check_scope: ScopeCheck | None = None) -> None:
        self._check_scope = check_scope
        self._manifest = manifest
        self._problems = problems
        self._check_pattern = check_pattern

    def check(self) -> None:
        """Note every reference that names nothing and every part that contradicts another."""
        for name, model in self._manifest.models.items():
            self._names(("models", name, "secret"), [model.secret] if model.secret else [], "secrets",
                        self._manifest.secrets)
        self._webhook()
        for name, server in self._manifest.tools.items():
            self._server(server, ("tools", name))
        for name, tenant in self._manifest.tenants.items():
            self._tenant(tenant, ("tenants", name))
        self._operators()
        self._policy()
        Trust(self._manifest, self._problems).check()
        self._folders()
        Conversations(self._manifest, self._problems).check()
        Outside(self._manifest, self._problems).check()
        Vaulting(self._manifest, self._problems).check()
        SecretUse(self._manifest, self._problems, self._check_scope).check()

    def _policy(self) -> None:
        policy = self._manifest.policy
        for name in ("keys", "scope"):
            if getattr(policy, name) and policy.bundle is None and not self._problems.under(("policy",)):
                self._problems.add(("policy", name), "there is no bundle that it could be checked on",
                                   fix='write: bundle = "/etc/ringwall/policy.tar.gz"')
        if policy.scope and not policy.keys and not self._problems.under(("policy",)):
            self._problems.add(("policy", "scope"), "a bundle without a signature has no scope",
                               fix="write: keys = […]")
        if (policy.backend == "opa") != bool(policy.opa) and not self._problems.under(("policy",)):
            fix = 'write: opa = "unix:/run/opa.sock"' if not policy.opa else 'write: backend = "opa"'
            self._problems.add(("policy", "opa"), "belongs to backend = \"opa\", and both to each other", fix=fix)

    def _webhook(self) -> None:
        approvals, key = self._manifest.approvals, ("approvals", "webhook_secret")
        if approvals.webhook_secret:
            self._names(key, [approvals.webhook_secret], "secrets", self._manifest.secrets)
        elif approvals.webhook and not self._problems.under(("approvals",)):
            self._problems.add(key, "is missing: whoever listens could not tell our messages from others'",
                               fix='write: webhook_secret = "NAME", and [secrets.NAME]')

    def _operators(self) -> None:
        """A uid is one human's; what needs two people can be done by two of them."""
        operators = self._manifest.operators
        owners: dict[int, str] = {}
        for name, one in operators.named.items():
            key: Key = ("operators", name)
            if self._problems.under(key):
                continue
            if not one.roles:
                self._problems.add((*key, "roles"), "is empty, so this operator may do nothing",
                                   fix=f"one of {', '.join(ROLE_VERBS)}")
            if one.uid in owners:
                self._problems.add((*key, "uid"), f"{one.uid} is the uid of operators.{_shown(owners[one.uid])} "
                                   "too: nobody could tell them apart",
                                   fix="give each human an account of their own")
            owners.setdefault(one.uid, name)
        for verb in operators.two_person if not self._problems.under(("operators",)) else ():
            able = {one.uid for one in operators.named.values() if verb in one.verbs}
            if len(able) < 2:
                self._problems.add(("operators", "two_person"), f"{quoted(verb)} needs two operators with uids of "
                                   f"their own whose roles give it, and there {'is one' if able else 'are none'}",
                                   fix="name another operator, or leave it out")

    def _names(self, key: Key, names: Iterable[str], table: str, known: Mapping[str, object]) -> None:
        for name in names:
            if name not in known and not self._problems.under(key):
                self._problems.unknown(key, name, f"there is no {table}.{_shown(name)}", known)

    def _server(self, server: ToolServer, key: Key) -> None:
        if self._problems.under(key):
            return
        both = set(server.read_only) & set(server.writable)
        if both:
            self._problems.add((*key, "writable"), f"{quoted(str(min(both)))} stands in read_only too")
        if not server.ops:
            self._problems.add((*key, "ops"), "this server has no operations, so nobody can use it",
                               fix=f'write: [{".".join(str(part) for part in key)}.ops.NAME]')

    def _tenant(self, tenant: Tenant, key: Key) -> None:
        for name, role in tenant.roles.items():
            self._role(role, (*key, "roles", name))
        for name, agent in tenant.agents.items():
            self._agent(tenant, agent, (*key, "agents", name))

    def _role(self, role: Role, key: Key) -> None:
        models = list(dict.fromkeys(name.partition("/")[0] for name in role.models))
        self._names((*key, "models"), models, "models", self._manifest.models)
        self._names((*key, "secrets"), role.secrets, "secrets", self._manifest.secrets)
        for name in models:
            model = self._manifest.models.get(name)
            if model and model.secret in self._manifest.secrets and model.secret not in role.secrets \
                    and not self._problems.under((*key, "secrets")):
                self._problems.add((*key, "models"),
                                   f"models.{name} needs the secret {quoted(model.secret)}, which this role may "
                                   "not use",
                                   fix=f"add {quoted(model.secret)} to its secrets")
        self._priced(role, key)
        self._svid(role, (*key, "svid"))
        for name, grant in role.tools.items():
            at = grant_key(role, name, key)
            if not self._problems.under(at):
                self._grant(grant, at)
        for index, detail in enumerate(role.authorization_details):
            self._acts(detail, (*key, "authorization_details", index))

    def _acts(self, detail: Detail, key: Key) -> None:
        """What an object says of the effect is what the operation declares."""
        server, _, name = detail.identifier.partition("/")
        found = self._manifest.tools.get(server)
        operation = found.ops.get(name) if found is not None else None
        if operation is not None and detail.actions != (operation.effect,) and not self._problems.under(key):
            self._problems.add((*key, "actions"), f"the effect of {detail.identifier} is {operation.effect}",
                               fix=f"write: actions = [{quoted(operation.effect)}]")

    def _svid(self, role: Role, key: Key) -> None:
        """Audiences that are the core's alone are given to nobody."""
        if role.svid is None or self._problems.under(key):
            return
        if not role.svid.x509 and not role.svid.audiences:
            self._problems.add(key, "gives nothing", fix="write: x509 = true, or audiences = [\"NAME\"]")
        urls = [model.url for model in self._manifest.models.values()]
        for index, audience in enumerate(role.svid.audiences):
            why = reserved(audience, urls, audiences(self._manifest))
            if why:
                self._problems.add((*key, "audiences", index), f"{quoted(audience)} is reserved: {why}",
                                   fix="remove it")

    def _priced(self, role: Role, key: Key) -> None:
        """A budget of money counts nothing where a price is unknown."""
        tenant = self._manifest.tenants.get(str(key[1]))
        limits = [role.limits, role.process_limits, *([tenant.limits] if tenant else [])]
        if not any(one.money_per_session or one.money_per_day for one in limits):
            return
        for name in role.models:
            model = self._manifest.models.get(name)
            if model is not None and model.price is None and not self._problems.under(("models", name)):
                self._problems.add(("models", name, "price"), f"is missing: {spelled(key)} has a budget of money",
                                   fix="write what a million tokens cost, in micro-units: "
                                       "price = { in = 2500000, out = 10000000 }")

    def _countable(self, grant: Grant, key: Key) -> None:
        for field, limits in (("limits", grant.limits), ("resource_limits", grant.resource_limits)):
            if limits.tokens_per_session is not None or limits.tokens_per_day is not None:
                self._problems.add((*key, field), "a tool uses no tokens, so this would be read by nobody",
                                   fix="put it into the role's limits")
        if grant.resource_limits != Limits() and not grant.resources:
            self._problems.add((*key, "resource_limits"), f"{grant.tool} is given no resource, so this would be "
                               "read by nobody", fix="use limits")

    def _grant(self, grant: Grant, key: Key) -> None:
        self._countable(grant, key)
        server_name, _, operation_name = grant.tool.partition("/")
        server = self._manifest.tools.get(server_name)
        if server is None:
            known = [f"{s}/{o}" for s, one in self._manifest.tools.items() for o in one.ops]
            self._problems.unknown(key, grant.tool, f"there is no tools.{_shown(server_name)}", known)
            return
        operation = server.ops.get(operation_name)
        if operation is None:
            known = [f"{server_name}/{o}" for o in server.ops]
            if not self._problems.under(("tools", server_name, "ops", operation_name)):
                self._problems.unknown(key, grant.tool, f"no such operation of tools.{server_name}", known)
            return
        if not self._problems.under(("tools", server_name, "ops", operation_name)):
            self._bounds(grant, operation, key)
            self._resources(grant, operation, key)

    def _bounds(self, grant: Grant, operation: Operation, key: Key) -> None:
        for argument in grant.max:
            if argument not in operation.args:
                self._problems.unknown((*key, "max", argument), argument, f"{grant.tool} has no such argument",
                                       operation.args)

    def _resources(self, grant: Grant, operation: Operation, key: Key) -> None:
        kinds = {role.kind: argument for argument, role in operation.args.items() if role.kind}
        if not kinds and grant.resources:
            self._problems.add(key, f"{grant.tool} has no argument that names a resource, so a list of resources "
                               "would be read by nobody", fix="write: []")
        if kinds and not grant.resources:
            kind = min(kinds)
            self._problems.add(key, f"its argument {quoted(kinds[kind])} names a resource (kind {kind}), and no "
                               "resource is allowed", fix=f'write for instance: ["{_EXAMPLES[kind]}"]')
        for pattern in grant.resources if kinds else ():
            self._pattern(pattern, kinds, grant, key)

    def _pattern(self, pattern: str, kinds: Mapping[str, str], grant: Grant, key: Key) -> None:
        if pattern.partition(":")[0] not in kinds:
            self._problems.add(key, f"{quoted(pattern)}: {grant.tool} has no argument of this kind",
                               known=sorted(kinds))
        elif self._check_pattern is not None:
            try:
                self._check_pattern(pattern)
            except BadInput as error:
                self._problems.add(key, f"{quoted(pattern)}: {error.cause}", fix=error.remedy)

    def _agent(self, tenant: Tenant, agent: Agent, key: Key) -> None:
        if self._problems.under(key):
            return
        self._names((*key, "role"), [agent.role], f"tenants.{_shown(tenant.name)}.roles", tenant.roles)
        try:
            SpiffeId.make(trust_domain=self._manifest.trust_domain, tenant=tenant.name, agent=agent.name,
                          role=agent.role)
        except BadInput as error:
            if not self._problems.under(("trust_domain",)) and not self._problems.under(("tenants", tenant.name)):
                self._problems.add(key, error.cause, fix=error.remedy)

    def _folders(self) -> None:
        """Folders that one process writes and another sees let data pass by the wall; so does a secret in view."""
        agents = [(("tenants", t, "agents", a), agent) for t, tenant in self._manifest.tenants.items()
                  for a, agent in tenant.agents.items()]
        servers = [(("tools", name), server) for name, server in self._manifest.tools.items()]
        works = [((*key, "work"), agent.work) for key, agent in agents if agent.work]
        written = [((*key, "writable"), path) for key, server in servers for path in server.writable]
        shown = [((*key, "read_only"), path) for key, one in [*agents, *servers] for path in one.read_only]
        self._shared([*written, *works])
        self._looked_into([*written, *works], shown)
        views = {path: key for key, path in [*works, *written, *shown]}
        hidden = hidden_files(self._manifest)
        if self._manifest.limits.password_file is not None:
            hidden.append((("limits", "password_file"), self._manifest.limits.password_file))
        if self._manifest.identity.publish_key is not None:
            hidden.append((("identity", "publish_key"), self._manifest.identity.publish_key))
        if self._manifest.a2a.envoy_folder is not None:
            hidden.append((("a2a", "envoy_folder"), self._manifest.a2a.envoy_folder))
        owned = {path: key for key, path in [*works, *written]}
        for key, file in [*hidden, *trusted_files(self._manifest)]:
            seen = views if (key, file) in hidden else owned
            view = next((folder for folder in _upwards(file) if folder in seen), None)
            if view and not self._problems.under(key[:-1]):
                self._problems.add(key, f"lies in {quoted(str(view))}, which {spelled(seen[view])} shows",
                                   fix="keep it where no process looks")

    def _shared(self, written: Sequence[tuple[Key, Path]]) -> None:
        """Note each folder that lies in, or is, one that another process writes (servers among each other may)."""
        owners: dict[Path, Key] = {}
        for key, path in sorted(written, key=lambda one: len(one[1].parts)):
            other = next((owners[folder] for folder in _upwards(path) if folder in owners), None)
            if other and "agents" in {*key[2:3], *other[2:3]}:
                self._problems.add(key, f"{quoted(str(path))} overlaps with {spelled(other)}: what one writes "
                                   "there the other reads without a call", fix="give each its own folder")
            owners.setdefault(path, key)


    def _looked_into(self, written: Sequence[tuple[Key, Path]], shown: Sequence[tuple[Key, Path]]) -> None:
        """Note each folder that one process shows and another writes, if an agent is one of them."""
        for key, path in shown:
            for other, folder in written:
                agents = "agents" in {*key[2:3], *other[2:3]}
                if agents and key[:-1] != other[:-1] and (path in _upwards(folder) or folder in _upwards(path)):
                    self._problems.add(key, f"{quoted(str(path))} overlaps with {spelled(other)}: what one writes "
                                       "there the other reads without a call", fix="give each its own folder")
                    break


def _upwards(path: Path) -> tuple[Path, ...]:
    return (path, *path.parents)


def _shown(name: str) -> str:
    return name if len(name) <= MAX_NAME and name.isascii() and name.isprintable() else quoted(name)
