"""Who talks to whom, as policies look it up: by SPIFFE ID of the one, then of the other."""

from __future__ import annotations

from collections.abc import Mapping

from ringwall.call import Json
from ringwall.identity.spiffe import AnyId
from ringwall.manifest.peers import find_peer, own_id
from ringwall.manifest.types import Agent, Manifest, ReceiveGrant, SendGrant, Skill


def conversations(manifest: Manifest) -> dict[str, Json]:
    """The members of the base data document that are about messages.

    Args:
        manifest: a loaded manifest. A grant for a peer that is nobody is left out, and so never allowed.

    Returns:
        ``agents``: each agent here, with what it sends and takes, and its skills; ``peers``: each agent elsewhere;
        ``max_hops``.

    """
    return {
        "agents": {str(own_id(manifest, tenant.name, agent)): _agent(manifest, tenant.name, agent)
                   for tenant in manifest.tenants.values() for agent in tenant.agents.values()},
        "peers": {remote.spiffe_id: {"skills": _skills(remote.skills)} for remote in manifest.peers.values()},
        "max_hops": manifest.a2a.max_hops,
    }


def _agent(manifest: Manifest, tenant: str, agent: Agent) -> Json:
    return {
        "tenant": tenant, "agent": agent.name, "role": agent.role, "skills": _skills(agent.skills),
        "send": _grants(manifest, tenant, agent.send),
        "receive": _grants(manifest, tenant, agent.receive),
    }


def _grants(manifest: Manifest, tenant: str, grants: Mapping[str, SendGrant] | Mapping[str, ReceiveGrant]) -> Json:
    """By the peer's SPIFFE ID; ``name`` and ``key`` as a call of this tenant has them."""
    made: dict[str, Json] = {}
    for name, grant in grants.items():
        peer = find_peer(manifest, tenant, name)
        if peer is None:
            continue
        one = made[str(peer.spiffe_id)] = {
            "name": name, "key": _key(peer.spiffe_id), "skills": dict.fromkeys(grant.skills, True)}
        if isinstance(grant, ReceiveGrant):
            one["lends"] = dict.fromkeys(grant.lends, True)
            one["relays"] = _relays(manifest, tenant, grant)
    return made


def _relays(manifest: Manifest, tenant: str, grant: ReceiveGrant) -> Json:
    made: dict[str, dict[str, Json]] = {}
    for relay in grant.relays:
        name, _, skill = relay.rpartition("/")
        peer = find_peer(manifest, tenant, name)
        if peer is not None:
            made.setdefault(str(peer.spiffe_id), {})[skill] = True
    return made


def _key(spiffe_id: AnyId) -> list[str]:
    return [spiffe_id.trust_domain, *spiffe_id.path]


def _skills(skills: Mapping[str, Skill]) -> Json:
    return {name: {"input": dict.fromkeys(one.input, True), "output": dict.fromkeys(one.output, True),
                   "uris": list(one.uris)} for name, one in skills.items()}
