"""The second ring's part for agents that talk to each other: who with whom, on whose behalf, in which modes."""

from __future__ import annotations

from typing import Final

from ringwall.call import Allowed, Call, Denied, Json, Peer, Process, Resource, Verdict, as_array, as_object
from ringwall.capability.conversation import PUSH, SKILLLESS, granted, own_agent
from ringwall.capability.grants import Given, Grants
from ringwall.capability.interface import Direction
from ringwall.capability.resources import canonical
from ringwall.errors import BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.manifest.peers import PeerAgent, find_peer, name_of
from ringwall.manifest.types import Manifest, ReceiveGrant, Skill
from ringwall.wire import a2a

_METHODS: Final = a2a.METHODS | a2a.EXTRA


class Peers:
    """Judges messages, and what an agent does while it works for others.

    Args:
        manifest: who was given what.
        given: the tools of each role.

    """

    def __init__(self, manifest: Manifest, given: Grants) -> None:
        self._manifest = manifest
        self._given = given

    # -- messages

    def message(self, call: Call, found: dict[str, Json]) -> Verdict:
        """Whether these two may say this to each other."""
        sends = call.target.direction == "out"
        found["effect"] = "send" if sends else "receive"
        ends = self._ends(call)
        if ends is None:
            return _not_granted(call, {"remedy": "see send and receive of the two agents in ringwall.toml"})
        local, peer = ends
        method, skill = str(call.args.get("method")), str(call.args.get("skill"))
        # What the receiver of a task pushes goes by the pair the other way round: the caller asked for it.
        direction: Direction = call.target.direction if method != PUSH else ("in" if sends else "out")
        skills = granted(self._manifest, local, peer, direction)
        if not (skills if method in SKILLLESS and not skill else skill in skills):
            return _not_granted(call, self._why_not(local, peer, direction))
        name = name_of(self._manifest, local.tenant, str(peer.spiffe_id))
        key = "send" if direction == "out" else "receive"
        path = f"tenants.{local.tenant}.agents.{local.agent}.{key}.{name}"
        found["resources"] = [{"id": one.id, "covered_by": path} for one in call.resources]
        far = self._too_far(call, peer) if sends else self._came_too_far(call, local)
        if far is not None:
            return far
        skilled = peer.skills if direction == "out" else self._skills(local)
        return self._content(call, method, skilled.get(skill))

    def _ends(self, call: Call) -> tuple[SpiffeId, PeerAgent] | None:
        """The agent of ours and the other end, if subject, target, arguments and resource mean the same two."""
        who, sends = call.subject, call.target.direction == "out"
        named = call.args.get("peer")
        if sends and isinstance(who, Process):
            local = who.spiffe_id
        elif not sends and isinstance(who, Peer) and named == str(who.spiffe_id) and not call.acting_for:
            local = who.receiver
        else:
            return None
        skill = call.args.get("skill")
        if not isinstance(named, str) or not isinstance(skill, str) or own_agent(self._manifest, local) is None:
            return None
        if call.args.get("method") not in _METHODS:
            return None
        peer = find_peer(self._manifest, local.tenant, name_of(self._manifest, local.tenant, named))
        if peer is None or str(peer.spiffe_id) != named:
            return None
        target = f"{peer.name}/{skill}" if skill else peer.name
        key = (peer.spiffe_id.trust_domain, *peer.spiffe_id.path)
        touched = Resource(type="peer", id=named, key=key, action="send" if sends else "receive", argument="peer")
        return (local, peer) if call.target.name == target and call.resources == (touched,) else None

    def _skills(self, local: SpiffeId) -> dict[str, Skill]:
        found = own_agent(self._manifest, local)
        return dict(found[1].skills) if found is not None else {}

    def _why_not(self, local: SpiffeId, peer: PeerAgent, direction: Direction) -> dict[str, Json]:
        """For operators only: which end does not agree, and what the two do say to each other."""
        ours = name_of(self._manifest, local.tenant, str(peer.spiffe_id))
        here = f"tenants.{local.tenant}.agents.{local.agent}"
        key, other = ("send", "receive") if direction == "out" else ("receive", "send")
        remedy = f"add the skill to {here}.{key}.{ours}"
        if peer.own is not None:
            theirs = name_of(self._manifest, peer.own.tenant, str(local))
            remedy += f" and to tenants.{peer.own.tenant}.agents.{peer.own.agent}.{other}.{theirs}"
        return {"remedy": remedy, "granted": sorted(granted(self._manifest, local, peer, direction))}

    # -- how far

    def _too_far(self, call: Call, peer: PeerAgent) -> Denied | None:
        """A task never comes back to whom it is for, goes only so far, and only where all it is for may send."""
        if call.args["method"] == PUSH:
            return None  # goes to who asked for it
        if str(peer.spiffe_id) in call.acting_for:
            return _loop()
        if len(call.acting_for) + 1 > self._manifest.a2a.max_hops:
            return self._hops(len(call.acting_for) + 1)
        for one in call.acting_for:
            if not self._relayed(call, peer, one):
                return _beyond(one, f'add "{call.target.name}" to receive…relays for it, or to its own send')
        return None

    def _relayed(self, call: Call, peer: PeerAgent, one: str) -> bool:
        skill = str(call.args["skill"])
        theirs = own_agent(self._manifest, one)
        if theirs is not None:
            sending = theirs[1].send.get(name_of(self._manifest, theirs[0].tenant, str(peer.spiffe_id)))
            if sending is not None and (skill in sending.skills if skill else sending.skills):
                return True
        receiving = self._receiving(call, one)
        relays = receiving.relays if receiving is not None else ()
        named = relays if skill else [relay.rpartition("/")[0] for relay in relays]
        return call.target.name in named  # of a method without a skill, the target is the peer alone

    def _came_too_far(self, call: Call, local: SpiffeId) -> Denied | None:
        """What came in says on whose behalf, if a core of our own trust domain vouches for it, and only then."""
        told = as_object(call.args.get("envelope"))
        sender = str(call.args["peer"])
        foreign = AnyId.parse(sender).trust_domain != self._manifest.trust_domain
        if (told is None) is not (foreign or call.args["method"] == "GetAgentCard"):
            return Denied(code="envelope_missing" if told is None else "envelope_foreign",
                          reason="what came does not say, as it must, on whose behalf it came")
        if call.args["method"] == PUSH:
            return None
        chain = [*(as_array(told.get("chain")) or []), sender] if told is not None else [sender]
        if str(local) in chain:
            return _loop()
        return self._hops(len(chain)) if len(chain) > self._manifest.a2a.max_hops else None

    def _hops(self, hops: int) -> Denied:
        return Denied(code="too_many_hops", reason="this task was handed on too often", detail={
            "hops": hops, "max_hops": self._manifest.a2a.max_hops, "remedy": "see [a2a] max_hops"})

    # -- what it carries

    def _content(self, call: Call, method: str, skill: Skill | None) -> Verdict:
        """Media types and URLs of files: those that the skill declares."""
        params = call.args.get("params")
        configuration = as_object((as_object(params) or {}).get("configuration")) or {}
        wanted = set(as_array(configuration.get("acceptedOutputModes")) or [])
        carried, urls = a2a.media_types(params), a2a.file_urls(params)
        if skill is None:
            skill = Skill(name="", input=(), output=())  # of no skill: carries nothing
        # A push may show the whole task, with what was asked in its history.
        modes = {*skill.input, *(skill.output if method == PUSH else ())}
        if undeclared := sorted((carried - modes) | (wanted - set(skill.output))):
            return Denied(code="mode_not_declared",
                          reason=f"{undeclared[0][:200]!a} is no declared mode of this skill",
                          detail={"declared": sorted(modes), "undeclared": undeclared})
        for url in urls:
            if not _within(url, skill.uris):
                return Denied(code="uri_not_declared", reason=f"{url[:200]!a} is no declared place of files",
                              detail={"declared": list(skill.uris)})
        return Allowed()

    # -- on whose behalf

    def tool(self, call: Call) -> Denied | None:
        """A tool while others' tasks are under way: each must have it itself, or it must be lent."""
        for one in call.acting_for:
            if not self._lent(call, one) and self._own(call, one) is None:
                return _beyond(one, f'add "{call.target.name}" to receive…lends for it, or to its own role')
        return None

    def asks(self, call: Call) -> bool:
        """Whether somebody this tool is for may use it himself only if a human approves."""
        own = [self._own(call, one) for one in call.acting_for if not self._lent(call, one)]
        return any(given is None or given.grant.approval == "always" for given in own)

    def _lent(self, call: Call, one: str) -> bool:
        receiving = self._receiving(call, one)
        return receiving is not None and call.target.name in receiving.lends

    def _own(self, call: Call, one: str) -> Given | None:
        """What another agent has of this very tool: another tenant's of this name has other servers and data."""
        theirs = own_agent(self._manifest, one)
        if theirs is None or theirs[0].tenant != call.tenant:
            return None
        given = self._given.get((call.tenant, theirs[0].role, call.target.name))
        return given if given is not None and given.gives(call) else None

    def secret(self, call: Call) -> Denied | None:
        """An identity of one's own is for nobody else's work."""
        if not call.acting_for:
            return None
        return Denied(code="beyond_delegation", reason="not while another agent's task is under way",
                      detail={"for": list(call.acting_for)})

    def _receiving(self, call: Call, one: str) -> ReceiveGrant | None:
        """What the subject agreed to do for another agent."""
        mine = own_agent(self._manifest, call.subject.spiffe_id) if isinstance(call.subject, Process) else None
        name = name_of(self._manifest, call.tenant, one)
        return mine[1].receive.get(name) if mine is not None and name else None


def check_answer(manifest: Manifest, call: Call, value: Json) -> None:
    """Hold an answer to a message to what the skill declares.

    Args:
        manifest: declares it.
        call: the message; of no skill: all skills of the agent that serves count.
        value: the answer, or one event of it, checked against the schema.

    Raises:
        BadInput: ``mode_not_declared``, ``uri_not_declared``.

    """
    skills = _served(manifest, call)
    named = str(call.args["skill"])
    declared = [skills[named]] if named in skills else list(skills.values()) if not named else []
    # An answer shows the task, and with it what was asked.
    modes = {mode for skill in declared for mode in (*skill.input, *skill.output)}
    if undeclared := sorted(a2a.media_types(value) - modes):
        raise BadInput(f"the answer has the mode {undeclared[0][:200]!a}, which this skill does not declare",
                       code="mode_not_declared")
    places = tuple(place for skill in declared for place in skill.uris)
    if any(not _within(url, places) for url in a2a.file_urls(value)):
        raise BadInput("the answer has a file where this skill declares none", code="uri_not_declared")


def _served(manifest: Manifest, call: Call) -> dict[str, Skill]:
    """The skills of the agent that serves the task."""
    if isinstance(call.subject, Peer):
        found = own_agent(manifest, call.subject.receiver)
        return dict(found[1].skills) if found is not None else {}
    name = name_of(manifest, call.tenant, str(call.args["peer"]))
    peer = find_peer(manifest, call.tenant, name)
    return dict(peer.skills) if peer is not None else {}


def _within(url: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a URL lies below a declared one, and is spelled as all its readers read it."""
    try:
        return canonical("url", url).id == url and any(url.startswith(canonical("url", one).id) for one in prefixes)
    except BadInput:
        return False


def _beyond(one: str, remedy: str) -> Denied:
    return Denied(code="beyond_delegation", reason="an agent that this work is for was not given this",
                  detail={"for": one, "remedy": remedy})


def _loop() -> Denied:
    return Denied(code="loop", reason="this would come back to an agent that the work is for")


def _not_granted(call: Call, detail: dict[str, Json]) -> Denied:
    """The same words whether or not there is such a peer."""
    return Denied(code="not_granted", reason=f"{call.target.name[:200]} is not given to this agent", detail=detail)
