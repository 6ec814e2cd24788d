"""Whom a call is counted for, from wide to narrow: tenant, agent, peer, process, tool, resource, reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from ringwall.call import Call, Peer, Process, digest
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.types import Agent, Limits, Manifest, Rate, Role, Tenant
from ringwall.vault.interface import READ

ScopeName = Literal["tenant", "agent", "peer", "process", "tool", "resource", "read"]
CONCURRENT: Final = {"tenant": 128, "agent": 32}  # where the manifest says nothing: nobody runs any number at once
MAX_RESOURCES: Final = 32  # of one call, where each is counted: more would make one call cost hundreds
# Slots of which peers get parts at most: 16 messages reach an agent's own server at a time (``runtime.loopback``),
# and of a larger number one of two peers could have all those.
REACHED: Final = 32
PEER_CALLS: Final = Rate(count=10, seconds=1.0, burst=40)  # of one peer, where its receiver has no rate to share
NOTHING: Final = Limits()


def whose(subject: Process | Peer) -> SpiffeId:
    """For whom a call counts: the agent that makes it; a message that comes in counts for its receiver."""
    return subject.receiver if isinstance(subject, Peer) else subject.spiffe_id


class Scope(NamedTuple):
    """One place where a call is counted; ``owner`` and ``id`` name it in keys."""

    name: ScopeName
    owner: str
    id: str
    limits: Limits
    concurrent: int | None
    budgeted: bool  # whether a session or day has a budget here

    def key(self, what: str) -> str:
        """The counter of this scope for ``what``."""
        return f"{self.owner}|{what}:{self.name}:{self.id}"

    def field(self, what: str) -> str:
        """This scope's budget in a book."""
        return f"{self.name}:{self.id}:{what}"


class Scopes:
    """Which scopes a call has, by the manifest. Tenant, agent and peer always; others where they have limits."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._wide: dict[tuple[str, str, str], tuple[Scope, Scope]] = {}

    def of(self, call: Call, subject: Process | Peer) -> list[Scope] | None:
        """The call's scopes, widest first; None: no such tenant or role."""
        who = whose(subject)
        tenant = self._manifest.tenants.get(who.tenant)
        role = tenant.roles.get(who.role) if tenant is not None else None
        if tenant is None or role is None:
            return None
        found: list[Scope] = [*self.wide(tenant, role, who.agent)]
        if isinstance(subject, Peer):
            found.append(_scope("peer", f"{who.tenant}/{who.agent}", digest(str(subject.spiffe_id))[:32],
                                _part(role.limits, tenant.agents.get(who.agent))))
        elif role.process_limits != NOTHING:
            found.append(_scope("process", f"{who.tenant}/{who.agent}", f"{subject.launch}.{subject.number}",
                                role.process_limits))
        grant = role.tools.get(call.target.name) if call.kind == "tool" else None
        if grant is not None:
            found += self._narrow(call, f"{who.tenant}/{who.agent}", grant.limits, grant.resource_limits)
        if role.read is not None and call.kind == "secret" and call.target.name.startswith(READ):
            # One rate for all of them: who may read ten secrets an hour does not get a hundred with ten names.
            found.append(_scope("read", f"{who.tenant}/{who.agent}", "secrets", Limits(calls=role.read.calls)))
        return found

    def wide(self, tenant: Tenant, role: Role, agent: str) -> tuple[Scope, Scope]:
        """The two that every agent has."""
        named = (tenant.name, role.name, agent)
        found = self._wide.get(named)
        if found is None:
            found = (_scope("tenant", tenant.name, tenant.name, tenant.limits),
                     _scope("agent", tenant.name, agent, role.limits))
            if agent in tenant.agents:  # bounded by the manifest
                self._wide[named] = found
        return found

    def _narrow(self, call: Call, owner: str, limits: Limits, each: Limits) -> Iterator[Scope]:
        if limits != NOTHING:
            yield _scope("tool", owner, call.target.name, limits)
        if each != NOTHING:
            for name in sorted({digest([one.type, one.id])[:32] for one in call.resources}):
                yield _scope("resource", owner, f"{call.target.name}:{name}", each)


def _part(whole: Limits, agent: Agent | None) -> Limits:
    """One peer's part of what the receiver may take: as large as each other peer's, and as the receiver's own.

    So a peer that floods, or holds its streams open, stops neither the others nor the receiver.
    """
    parts = 1 + (len({*agent.receive, *agent.send}) if agent is not None else 1)
    rate = PEER_CALLS
    if whole.calls is not None:
        rate = Rate(count=whole.calls.count, seconds=whole.calls.seconds * parts,
                    burst=max(whole.calls.burst // parts, 1))
    slots = min(whole.concurrent if whole.concurrent is not None else CONCURRENT["agent"], REACHED)
    return Limits(calls=rate, concurrent=max(slots // parts, 1), on_store_down=whole.on_store_down)


def _scope(name: ScopeName, owner: str, id: str, limits: Limits) -> Scope:  # noqa: A002
    most = limits.concurrent if limits.concurrent is not None else CONCURRENT.get(name)
    budgeted = any(one is not None for one in (
        limits.calls_per_session, limits.calls_per_day, limits.tokens_per_session, limits.tokens_per_day,
        limits.money_per_session, limits.money_per_day))
    return Scope(name, owner, id, limits, most, budgeted)
