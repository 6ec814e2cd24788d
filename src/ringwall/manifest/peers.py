"""Who a peer's name means: an agent of the same tenant, ``tenant/agent``, or one elsewhere from ``[peers]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringwall.errors import BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.manifest.types import Agent, Clearance, Manifest, Skill


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAgent:
    """One end of a conversation as the other end's manifest knows it.

    ``agent`` is set for agents of this manifest only; ``clearance`` is what it may be shown where the sender's own
    grant does not say.
    """

    name: str
    spiffe_id: AnyId
    url: str
    clearance: Clearance
    skills: Mapping[str, Skill]
    agent: Agent | None = None
    own: SpiffeId | None = None


def own_id(manifest: Manifest, tenant: str, agent: Agent) -> SpiffeId:
    """The SPIFFE ID of an agent of this manifest."""
    return SpiffeId.make(trust_domain=manifest.trust_domain, tenant=tenant, agent=agent.name, role=agent.role)


def find_peer(manifest: Manifest, tenant: str, name: str) -> PeerAgent | None:
    """Who ``name`` means to agents of this tenant; None: nobody."""
    owner, _, agent_name = name.rpartition("/")
    owning = manifest.tenants.get(owner or tenant)
    agent = owning.agents.get(agent_name) if owning is not None else None
    if owning is not None and agent is not None:
        found = own_id(manifest, owning.name, agent)
        return PeerAgent(
            name=name,
            spiffe_id=AnyId.parse(str(found)),
            url=f"https://{agent.listen}/" if agent.listen else "",
            clearance="private" if owning.name == tenant else "public",
            skills=agent.skills,
            agent=agent,
            own=found,
        )
    remote = manifest.peers.get(name)
    if remote is None:
        return None
    return PeerAgent(
        name=name,
        spiffe_id=AnyId.parse(remote.spiffe_id),
        url=remote.url,
        clearance=remote.clearance,
        skills=remote.skills,
    )


def name_of(manifest: Manifest, tenant: str, spiffe_id: str) -> str:
    """How agents of this tenant call the owner of a SPIFFE ID; empty: they do not know it."""
    for remote in manifest.peers.values():
        if remote.spiffe_id == spiffe_id:
            return remote.name
    try:
        found = SpiffeId.parse(spiffe_id)
    except BadInput:
        return ""
    owning = manifest.tenants.get(found.tenant)
    agent = owning.agents.get(found.agent) if owning is not None else None
    if found.trust_domain != manifest.trust_domain or agent is None or agent.role != found.role:
        return ""
    return found.agent if found.tenant == tenant else f"{found.tenant}/{found.agent}"
