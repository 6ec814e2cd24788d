"""Who talks to whom, checked: peers that exist, skills that are declared, ends that agree, ports apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from ringwall.errors import BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.manifest.peers import PeerAgent, find_peer, name_of
from ringwall.manifest.problems import Key, Problems, quoted, spelled
from ringwall.manifest.types import Agent, Manifest, ReceiveGrant, Remote, Role, SendGrant, Skill, Tenant

_PORTS: Final = ("serve", "push", "door")
_Grants: TypeAlias = Mapping[str, SendGrant] | Mapping[str, ReceiveGrant]


class Conversations:
    """Checks the parts of a built manifest that are about messages. What is known to be wrong is passed over."""

    def __init__(self, manifest: Manifest, problems: Problems) -> None:
        self._manifest = manifest
        self._problems = problems

    def check(self) -> None:
        """Note every peer, skill, tool and port that does not fit the rest."""
        for name, remote in self._manifest.peers.items():
            if not self._problems.under(("peers", name)):
                self._remote(remote, ("peers", name))
        self._remotes_apart()
        self._terminator()
        self._listeners()
        sound = [one for one in self._agents() if not self._problems.under(one[0])]
        for key, tenant, agent in sound:
            self._ports(agent, key)
            self._receives(tenant, agent, key)
        for key, tenant, agent in sound:  # last: a fault of the receiving end is told there, and not here again
            self._sends(tenant, agent, key)

    def _agents(self) -> Iterator[tuple[Key, Tenant, Agent]]:
        for tenant in self._manifest.tenants.values():
            for agent in tenant.agents.values():
                yield ("tenants", tenant.name, "agents", agent.name), tenant, agent

    # -- agents elsewhere

    def _remote(self, remote: Remote, key: Key) -> None:
        for tenant in self._manifest.tenants.values():
            if remote.name in tenant.agents:
                self._problems.add(key, f"is the name of tenants.{tenant.name}.agents.{remote.name} too: a message "
                                   "to it could go to either", fix="give one of them another name")
                return
        at = (*key, "spiffe_id")
        domain = AnyId.parse(remote.spiffe_id).trust_domain
        if self._problems.under(("trust_domain",)):
            return
        if domain != self._manifest.trust_domain:
            if domain not in self._manifest.identity.federation:
                self._problems.add(at, f"is of trust domain {quoted(domain)}, which is not known here",
                                   fix=f'write: [identity.federation."{domain}"]')
        elif (ours := self._own_agent(remote.spiffe_id)) is not None:
            self._problems.add(at, f"is an agent of this manifest, {spelled(ours)}",
                               fix="remove this table and name the agent itself")

    def _own_agent(self, spiffe_id: str) -> Key | None:
        """The agent of ours that an ID of our trust domain names, whatever role it claims for it."""
        try:
            found = SpiffeId.parse(spiffe_id)
        except BadInput:
            return None
        tenant = self._manifest.tenants.get(found.tenant)
        if tenant is None or found.agent not in tenant.agents:
            return None
        return ("tenants", found.tenant, "agents", found.agent)

    def _remotes_apart(self) -> None:
        seen: dict[str, str] = {}
        for name, remote in self._manifest.peers.items():
            other = seen.setdefault(remote.spiffe_id, name)
            if other != name and not self._problems.under(("peers", name)):
                self._problems.add(("peers", name, "spiffe_id"), f"is that of peers.{other} too: whoever asks "
                                   "could be either", fix="keep one of them")

    # -- addresses

    def _terminator(self) -> None:
        settings = self._manifest.a2a
        for field in ("envoy_uid", "envoy_folder"):
            if settings.terminator != "envoy" and getattr(settings, field) is not None \
                    and not self._problems.under(("a2a",)):
                self._problems.add(("a2a", field), "says something about an Envoy, and there is none",
                                   fix='write: terminator = "envoy"')

    def _listeners(self) -> None:
        owners: dict[str, Key] = {}
        for key, _, agent in self._agents():
            if not agent.listen or self._problems.under((*key, "listen")):
                continue
            other = owners.setdefault(agent.listen, key)
            if other != key:
                self._problems.add((*key, "listen"), f"{quoted(agent.listen)} is where {spelled(other)} listens",
                                   fix="give each agent its own port")

    def _ports(self, agent: Agent, key: Key) -> None:
        seen: dict[int, str] = {}
        for field in _PORTS:
            port: int | None = getattr(agent, field)
            if port is not None and (other := seen.setdefault(port, field)) != field:
                self._problems.add((*key, field), f"{port} is its {other} port too", fix="give each its own")
        for needs, why in (("listen", "receive"), ("serve", "receive"), ("listen", "push")):
            if getattr(agent, why) and not getattr(agent, needs) and not self._problems.under((*key, needs)):
                self._problems.add((*key, needs), f"is missing: with {why}, others must reach it",
                                   fix=f"write: {needs} = " + ('"127.0.0.1:7443"' if needs == "listen" else "9000"))

    # -- grants

    def _sends(self, tenant: Tenant, agent: Agent, key: Key) -> None:
        for name, sending in agent.send.items():
            at = (*key, "send", name)
            peer = self._peer(tenant, agent, name, at, agent.send)
            if peer is not None and self._skills(sending.skills, peer.skills, at, f"{name} has no such skill"):
                self._received(tenant, agent, peer, sending, at)

    def _receives(self, tenant: Tenant, agent: Agent, key: Key) -> None:
        for name, receiving in agent.receive.items():
            at = (*key, "receive", name)
            self._peer(tenant, agent, name, at, agent.receive)
            self._skills(receiving.skills, agent.skills, at, "this agent declares no such skill")
            self._lent(tenant.roles.get(agent.role), receiving, at)
            self._relayed(agent, receiving, at)

    def _peer(self, tenant: Tenant, agent: Agent, name: str, key: Key, grants: _Grants) -> PeerAgent | None:
        """Who is meant, spelled as this tenant spells it; None: nobody, or a part of it is wrong already."""
        try:
            found = find_peer(self._manifest, tenant.name, name)
        except BadInput:
            return None  # its trust domain, name, role or SPIFFE ID is wrong, and that is noted where it stands
        if found is None:
            self._problems.unknown(key, name, "there is no such agent or peer", self._known(tenant, agent))
            return None
        if found.own is None:
            return found
        if (found.own.tenant, found.own.agent) == (tenant.name, agent.name):
            self._problems.add(key, "is this agent itself", fix="remove it")
            return None
        usual = name_of(self._manifest, tenant.name, str(found.own))
        if usual != name:
            twice = ", which stands here too" if usual in grants else ""
            self._problems.add(key, f"is {quoted(usual)} to its own tenant{twice}", fix=f"write: {usual}")
            return None
        return found

    def _known(self, tenant: Tenant, agent: Agent) -> list[str]:
        own = [name for name in tenant.agents if name != agent.name]
        others = [f"{other.name}/{name}" for other in self._manifest.tenants.values() if other is not tenant
                  for name in other.agents]
        return [*own, *others, *self._manifest.peers]

    def _skills(self, named: tuple[str, ...], declared: Mapping[str, Skill], key: Key, what: str) -> bool:
        """Whether each named skill is declared by the end that has it, and there is one."""
        if not named:
            self._problems.add(key, "names no skill, so nothing may be said", fix='write for instance: ["quote"]')
        for index, skill in enumerate(named):
            if skill not in declared:
                self._problems.unknown((*key, "skills", index), skill, what, declared)
        return bool(named) and declared.keys() >= set(named)

    def _received(self, tenant: Tenant, agent: Agent, peer: PeerAgent, sending: SendGrant, key: Key) -> None:
        """Both ends must agree: what is sent here, the other end takes."""
        if peer.agent is None or peer.own is None:
            return
        sender = agent.name if peer.own.tenant == tenant.name else f"{tenant.name}/{agent.name}"
        there: Key = ("tenants", peer.own.tenant, "agents", peer.own.agent, "receive", sender)
        taken = peer.agent.receive.get(sender)
        missing = [skill for skill in sending.skills if taken is None or skill not in taken.skills]
        if missing and not self._problems.under(there):
            listed = ", ".join(map(quoted, missing))
            self._problems.add(key, f"the other end does not take {listed}: both must agree",
                               fix=f"write {listed} into {spelled(there)} or remove it here")

    def _lent(self, role: Role | None, receiving: ReceiveGrant, key: Key) -> None:
        """What an agent lends it must have."""
        for index, tool in enumerate(receiving.lends if role is not None else ()):
            if role is not None and tool not in role.tools:
                self._problems.unknown((*key, "lends", index), tool, "this agent's own role has no such tool",
                                       role.tools)

    def _relayed(self, agent: Agent, receiving: ReceiveGrant, key: Key) -> None:
        """What an agent relays it must be allowed to send."""
        known = [f"{peer}/{skill}" for peer, sending in agent.send.items() for skill in sending.skills]
        for index, relay in enumerate(receiving.relays):
            if relay not in known:
                self._problems.unknown((*key, "relays", index), relay, "this agent may not send that itself", known)
