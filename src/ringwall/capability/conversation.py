"""Who may talk to whom, read from the manifest: both ends must agree, skill by skill."""

from __future__ import annotations

from typing import Final

from ringwall.capability.interface import Direction
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.peers import PeerAgent, name_of
from ringwall.manifest.types import Agent, Manifest, Role

SKILLLESS: Final = frozenset({"GetAgentCard", "GetExtendedAgentCard", "ListTasks"})
"""Methods that belong to no skill: they need any one that the two have been granted."""
PUSH: Final = "PushNotification"
"""What a receiver tells its caller on its own: allowed by the pair the other way round."""
NOBODY: Final = frozenset[str]()


def own_agent(manifest: Manifest, spiffe_id: str | SpiffeId) -> tuple[SpiffeId, Agent, Role] | None:
    """The agent of this manifest that a SPIFFE ID names, in the role it has there; None: it is none."""
    try:
        who = SpiffeId.parse(spiffe_id) if isinstance(spiffe_id, str) else spiffe_id
    except BadInput:
        return None
    tenant = manifest.tenants.get(who.tenant)
    agent = tenant.agents.get(who.agent) if tenant is not None else None
    role = tenant.roles.get(who.role) if tenant is not None else None
    if agent is None or role is None or agent.role != who.role or who.trust_domain != manifest.trust_domain:
        return None
    return who, agent, role


def granted(manifest: Manifest, local: SpiffeId, peer: PeerAgent | None, direction: Direction) -> frozenset[str]:
    """The skills for which messages may go between the two.

    Args:
        manifest: says it.
        local: the agent of ours; of another manifest or role: nothing.
        peer: the other end; None: nobody.
        direction: ``out``, the local agent asks; ``in``, the peer does.

    """
    found = own_agent(manifest, local)
    if found is None or peer is None:
        return NOBODY
    name = name_of(manifest, local.tenant, str(peer.spiffe_id))
    here = _skills(found[1], name, direction)
    if peer.own is None or peer.agent is None:
        return here
    there = name_of(manifest, peer.own.tenant, str(local))
    return here & _skills(peer.agent, there, "in" if direction == "out" else "out")


def _skills(agent: Agent, name: str, direction: Direction) -> frozenset[str]:
    grant = (agent.send if direction == "out" else agent.receive).get(name)
    return frozenset(grant.skills) if grant is not None else NOBODY
