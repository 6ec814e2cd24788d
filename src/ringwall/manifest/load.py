"""Reading ``ringwall.toml``: strict, whole, and with every fault named at once."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import cast

from ringwall.manifest.build import Builder
from ringwall.manifest.layout_tools import BUILTINS
from ringwall.manifest.problems import Key, Problems
from ringwall.manifest.references import PatternCheck, References
from ringwall.manifest.secret_use import ScopeCheck
from ringwall.manifest.text import read, tables
from ringwall.manifest.types import Grant, Manifest, Role, Tenant, ToolServer


def load(path: Path, *, check_pattern: PatternCheck | None = None,
         check_scope: ScopeCheck | None = None) -> Manifest:
    """Read and check the manifest at ``path``.

    Args:
        path: the file; relative paths in it start at its folder.
        check_pattern: checks one resource pattern by its kind's grammar and raises BadInput; None: only the
            kind's name is checked.
        check_scope: says what a provider cannot express of a grant (``vault.brokers.scopes``); None: not asked.

    Raises:
        ManifestError: with one problem for every fault found.

    """
    return parse(read(path), path, check_pattern=check_pattern, check_scope=check_scope)


def parse(text: str, path: Path, *, check_pattern: PatternCheck | None = None,
          check_scope: ScopeCheck | None = None) -> Manifest:
    """Check the text of a manifest that is, or would be, at ``path``. Arguments and errors as for ``load``."""
    where = path.absolute()
    parsed = tables(text, where)
    problems = Problems(where.name)
    builder = Builder(where.parent, problems)
    manifest = cast("Manifest", builder.record(Manifest, parsed, (), path=where,
                                               revision=hashlib.sha256(text.encode()).hexdigest()))
    manifest = _with_details(_with_builtins(manifest, problems), problems)
    References(manifest, problems, check_pattern, check_scope).check()
    problems.raise_if_any()
    return manifest


def _with_builtins(manifest: Manifest, problems: Problems) -> Manifest:
    """Give each built-in server the operations that come with it."""
    servers: dict[str, ToolServer] = {}
    for name, server in manifest.tools.items():
        servers[name] = server
        if not server.builtin:
            continue
        if server.ops or server.read_only or server.writable:
            problems.add(("tools", name), "a builtin server brings its own operations and sees no files",
                         fix="remove ops, read_only and writable")
        servers[name] = dataclasses.replace(server, ops=BUILTINS[server.builtin])
    return dataclasses.replace(manifest, tools=MappingProxyType(servers))


def _with_details(manifest: Manifest, problems: Problems) -> Manifest:
    """Put the grants that are written in the long form among the others: they mean the same."""
    tenants: dict[str, Tenant] = {}
    for name, tenant in manifest.tenants.items():
        roles = {role: _with_grants(one, ("tenants", name, "roles", role), problems)
                 for role, one in tenant.roles.items()}
        tenants[name] = dataclasses.replace(tenant, roles=MappingProxyType(roles))
    return dataclasses.replace(manifest, tenants=MappingProxyType(tenants))


def _with_grants(role: Role, key: Key, problems: Problems) -> Role:
    if not role.authorization_details:
        return role
    tools = dict(role.tools)
    for index, detail in enumerate(role.authorization_details):
        if detail.identifier in tools:
            problems.add((*key, "authorization_details", index), f"{detail.identifier} was given already",
                         fix="give it once: here, or in tools")
        else:
            tools[detail.identifier] = Grant(tool=detail.identifier, resources=detail.locations, max=detail.max,
                                             approval=detail.approval)
    return dataclasses.replace(role, tools=MappingProxyType(tools))
