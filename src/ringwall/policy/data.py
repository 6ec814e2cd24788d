"""The manifest's grants as the data document that policies look things up in: tenant, then role, then tool.

Who talks to whom is by SPIFFE ID: see ``conversations``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ringwall.call import Json
from ringwall.identity.workload.interface import JWT, X509
from ringwall.manifest.details import granted, spell
from ringwall.manifest.types import VERBS, Grant, Manifest, Operation, Role, Tenant
from ringwall.policy.conversations import conversations
from ringwall.vault.interface import READ


class Pattern(Protocol):
    """A parsed resource pattern, as ``capability.resources`` has it."""

    @property
    def type(self) -> str: ...
    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def subtree(self) -> bool: ...


ParsePattern = Callable[[str], Pattern]


def policy_data(manifest: Manifest, parse_pattern: ParsePattern) -> Json:
    """The base data document.

    Args:
        manifest: a loaded manifest; its references are known to hold.
        parse_pattern: ``capability.resources.parse_pattern``. What it raises comes through.

    Returns:
        ``{"ringwall": {"trust_domain", "operators", "tenants", "agents", "peers", "max_hops"}}``. A granted tool
        whose operation is not declared is left out, and so never allowed.

    """
    return {"ringwall": {
        "trust_domain": manifest.trust_domain,
        "operators": _operators(manifest),
        "tenants": {name: _tenant(manifest, tenant, parse_pattern) for name, tenant in manifest.tenants.items()},
        **conversations(manifest),
    }}


def _operators(manifest: Manifest) -> Json:
    """Who may operate, by name; without the table, whoever is attested as an operator has every verb."""
    named = manifest.operators.named
    return {
        "named": {name: {"uid": one.uid, "roles": list(one.roles), "verbs": dict.fromkeys(sorted(one.verbs), True)}
                  for name, one in named.items()},
        "unnamed": {} if named else dict.fromkeys(VERBS, True),
    }


def _tenant(manifest: Manifest, tenant: Tenant, parse_pattern: ParsePattern) -> Json:
    return {
        "roles": {name: _role(manifest, role, parse_pattern) for name, role in tenant.roles.items()},
        "agents": {name: {"role": agent.role, "processes": agent.processes}
                   for name, agent in tenant.agents.items()},
    }


def _role(manifest: Manifest, role: Role, parse_pattern: ParsePattern) -> Json:
    tools: dict[str, Json] = {}
    for name, grant in role.tools.items():
        operation = _operation(manifest, name)
        if operation is not None:
            tools[name] = _tool(operation, grant, parse_pattern)
    models = [name for name in role.models if name in manifest.models]
    searches = [name for name in role.models if _declared(manifest, name)]
    return {"models": dict.fromkeys(models, True), "provider_tools": dict.fromkeys(searches, True), "tools": tools,
            "svid": _svid(role), "read": _read(manifest, role)}


def _declared(manifest: Manifest, name: str) -> bool:
    """Whether ``model/tool`` is a tool that runs at this model's provider, by the manifest."""
    model, _, tool = name.partition("/")
    found = manifest.models.get(model)
    return found is not None and tool in found.provider_tools


def _svid(role: Role) -> Json:
    """By target; a token's audiences as a table."""
    given = role.svid
    if given is None:
        return {}
    x509: dict[str, Json] = {X509: True} if given.x509 else {}
    return x509 | ({JWT: dict.fromkeys(given.audiences, True)} if given.audiences else {})


def _read(manifest: Manifest, role: Role) -> Json:
    """By target. What is made for a call cannot be read, whatever the role says."""
    kept = {name for name, one in manifest.secrets.items() if not one.minted}
    return {f"{READ}{name}": True for name in role.read.secrets if name in kept} if role.read is not None else {}


def _operation(manifest: Manifest, tool: str) -> Operation | None:
    server, _, operation = tool.partition("/")
    found = manifest.tools.get(server)
    return found.ops.get(operation) if found is not None else None


def _tool(operation: Operation, grant: Grant, parse_pattern: ParsePattern) -> Json:
    """The grant's own object (RFC 9396), with what rules look up: ``resources`` are its locations, taken apart."""
    patterns = [parse_pattern(text) for text in grant.resources]
    return {
        **spell(granted(grant, operation.effect)),
        "args": dict.fromkeys(operation.args, True),
        "resources": [{"type": one.type, "key": list(one.key), "subtree": one.subtree} for one in patterns],
        "max": dict(grant.max),
        "effect": operation.effect,
        "approval": grant.approval,
    }
