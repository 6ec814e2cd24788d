"""Bytes to one canonical call of kind ``message``: whose task, which skill, for whom, over which wire.

A message is parsed once, here. What a later reader would have to guess is written into it: its skill, the one
spelling of each URL, which modes an answer may have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from ringwall.call import (
    Approval,
    Call,
    CallId,
    Json,
    Peer,
    Process,
    Resource,
    SessionId,
    Target,
    as_object,
    digest,
)
from ringwall.capability.conversation import PUSH, SKILLLESS, granted, own_agent
from ringwall.capability.interface import Direction, Opens, Tasks
from ringwall.capability.reading import an_object, bad, only, plain
from ringwall.capability.sent import MAX_MESSAGE, SKILL, body_of, modes, named_skill, parsed, part_of, sent
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Origin
from ringwall.manifest.peers import PeerAgent, find_peer, name_of
from ringwall.manifest.types import Manifest, Skill
from ringwall.wire import a2a, strict

_TASK: Final[Mapping[str, str]] = {
    "GetTask": "id", "CancelTask": "id", "SubscribeToTask": "id",
    "CreateTaskPushNotificationConfig": "taskId", "GetTaskPushNotificationConfig": "taskId",
    "ListTaskPushNotificationConfigs": "taskId", "DeleteTaskPushNotificationConfig": "taskId"}
"""Where a method on a task names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """The two that talk. ``direction``: who asks in general, which a push turns round."""

    local: SpiffeId
    other: str
    name: str
    peer: PeerAgent | None
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """Resolves messages by what the manifest declares.

    Args:
        manifest: who is who.
        book: tasks.
        envelopes: what cores of this trust domain vouch for.
        ids: a fresh call id each time.

    """

    manifest: Manifest
    book: Tasks
    envelopes: Opens
    ids: Callable[[], str]

    def resolve(self, origin: Origin, raw: bytes) -> Call:
        """Parse and resolve one message.

        Args:
            origin: a process that sends, or a peer whose message came in.
            raw: as the doors write it, see ``doors.a2a.message``.

        Raises:
            BadInput: ``a2a_...`` and the codes of ``wire.strict``; ``skill_unknown``, ``unknown_task``,
                ``task_over``, ``envelope_...``, ``bad_request``, ``bad_name``, ``bad_argument``. A peer that nobody
                knows is a call all the same.

        """
        body = an_object(strict.parse(raw, max_bytes=MAX_MESSAGE), "the request")
        if isinstance(origin.subject, Process):
            return self._out(origin, origin.subject, body)
        if isinstance(origin.subject, Peer):
            return self._in(origin, origin.subject, body)
        raise bad("operators send no messages")

    # -- out

    def _out(self, origin: Origin, subject: Process, body: dict[str, Json]) -> Call:
        only(body, {"peer", "wire", "http", "body", "approval", "push"})
        request, approval = sent(body)
        local = subject.spiffe_id
        if request.method == PUSH:
            other = self.book.pushes.get(str(request.params["push"])).pair.other
            name, direction = name_of(self.manifest, local.tenant, other) or other, "in"
            ends = _Ends(local=local, other=other, name=name, direction=direction,
                         peer=find_peer(self.manifest, local.tenant, name))
        else:
            ends = self._named(local, body.get("peer"))
        skill, params = self._settled(ends, request)
        acting_for = self.book.acting_for(_session(origin))
        args: dict[str, Json] = {
            "method": request.method, "peer": ends.other, "skill": skill, "params": params,
            "hops": len(acting_for) + 1}
        # Of what is sent and by whom: so that the same request, asked again with its approval, is the same call.
        args["trace"] = digest(["trace", str(local), origin.session, args])[:32]
        return self._call(origin, "out", ends, args, approval, acting_for)

    def _named(self, local: SpiffeId, name: Json) -> _Ends:
        if not isinstance(name, str) or name.count("/") > 1:
            raise bad("'peer' must be an agent, tenant/agent, or a name in [peers]", code="bad_name")
        for part in name.split("/"):
            plain(part, "the name of a peer")
        peer = find_peer(self.manifest, local.tenant, name)
        if peer is None:
            return _Ends(local=local, other="", name=name, peer=None, direction="out")
        usual = name_of(self.manifest, local.tenant, str(peer.spiffe_id)) or name
        return _Ends(local=local, other=str(peer.spiffe_id), name=usual, peer=peer, direction="out")

    # -- in

    def _in(self, origin: Origin, subject: Peer, body: dict[str, Json]) -> Call:
        only(body, {"wire", "http", "body", "envelope"})
        if body.get("wire") not in {"rpc", "rest", "card"}:
            raise bad("'wire' must be rpc, rest or card")
        request = parsed(body, inward=True)
        other = str(subject.spiffe_id)
        known = name_of(self.manifest, subject.tenant, other)
        peer = find_peer(self.manifest, subject.tenant, known) if known else None
        ends = _Ends(local=subject.receiver, other=other, name=known or other, peer=peer,
                     direction="out" if request.method == PUSH else "in")
        told = self._told(subject, request.method, body)
        skill, params = self._settled(ends, request)
        args: dict[str, Json] = {
            "method": request.method, "peer": other, "skill": skill, "params": params, "envelope": told}
        return self._call(origin, "in", ends, args, None, ())

    def _told(self, subject: Peer, method: str, body: dict[str, Json]) -> Json:
        """What the sending core vouches for: required of our own trust domain, and of others not believed."""
        if subject.spiffe_id.trust_domain != self.manifest.trust_domain or method == "GetAgentCard":
            return None
        token = body.get("envelope")
        if body["wire"] != "rpc" or not isinstance(token, str) or not token:
            raise bad("agents of this trust domain send JSON-RPC with an envelope of their core",
                      code="envelope_missing", remedy="send through Ringwall's door")
        try:
            said = self.envelopes.open(token, sender=str(subject.spiffe_id), receiver=str(subject.receiver),
                                       body=body_of(body))
        except Refused as no:
            raise BadInput(f"the envelope of this message is refused: {no.cause}", code=no.code) from None
        return {"label": said.label, "chain": list(said.chain), "record": said.record, "id": said.id,
                "trace": said.trace}

    # -- both

    def _settled(self, ends: _Ends, request: a2a.Request) -> tuple[str, dict[str, Json]]:
        """The skill, and the parameters with all that is left open decided."""
        method, params = request.method, request.params
        if method in SKILLLESS:
            return "", params
        if method == PUSH:
            view = a2a.task_of(params["event"])
            if view is None:
                raise bad("a push must be about a task", code="unknown_task")
            self._asked_for(ends, str(params["push"]), view.task)
            return self._skill_of(ends, view.task), params
        if method in _TASK:
            return self._skill_of(ends, str(params[_TASK[method]])), params
        return self._message(ends, params)

    def _asked_for(self, ends: _Ends, push: str, task: str) -> None:
        """These two, and of this task: the name of a configuration in somebody else's hands is worth nothing."""
        found = self.book.pushes.get(push)
        pair = (found.pair.local, found.pair.direction, found.pair.other)
        if pair != (ends.local, ends.direction, ends.other) or found.task not in {"", task}:
            raise bad("nobody asked for this push", code="unknown_push")

    def _skill_of(self, ends: _Ends, task: str) -> str:
        return self.book.skill(local=ends.local, direction=ends.direction, other=ends.other, task=task)

    def _message(self, ends: _Ends, params: dict[str, Json]) -> tuple[str, dict[str, Json]]:
        message = dict(an_object(params.get("message"), "'message'"))
        configuration = dict(as_object(params.get("configuration")) or {})
        metadata = dict(as_object(message.get("metadata")) or {})
        task, skill = str(message.get("taskId", "")), named_skill(metadata, params)
        if not granted(self.manifest, ends.local, ends.peer, ends.direction):
            return skill, params  # a call, which the rings refuse: to strangers nobody says what there is
        self.book.open_for_message(local=ends.local, direction=ends.direction, other=ends.other, task=task,
                                   context=str(message.get("contextId", "")))
        for one in {*cast("list[str]", message.get("referenceTaskIds", [])), *([task] if task else [])}:
            of_task = self._skill_of(ends, one)
            if one == task and skill not in {"", of_task}:
                raise bad("the message names another skill than its task has", code="skill_unknown")
            skill = of_task if one == task else skill
        push = as_object(configuration.get("taskPushNotificationConfig")) or {}
        if push.get("taskId", "") not in {"", task}:
            raise bad("the push configuration of a message is about another task", code="unknown_task")
        skill = skill or self._only_skill(ends)
        if not skill:
            return "", params  # nothing is granted: a call, which the rings refuse
        message["metadata"] = {**metadata, SKILL: skill}
        message["parts"] = [part_of(index, part) for index, part in enumerate(cast("list[Json]", message["parts"]))]
        settled: dict[str, Json] = {**params, "message": message}
        if wanted := configuration.get("acceptedOutputModes"):
            configuration["acceptedOutputModes"] = modes(cast("list[str]", wanted), self._declared(ends, skill))
            settled["configuration"] = configuration
        return skill, settled

    def _only_skill(self, ends: _Ends) -> str:
        """The one that the two have been granted; empty: they have none."""
        skills = granted(self.manifest, ends.local, ends.peer, ends.direction)
        if len(skills) > 1:
            raise bad("the message does not say which skill it is for", code="skill_unknown",
                      remedy=f"name it in message.metadata[{SKILL!r}]")
        return next(iter(skills), "")

    def _declared(self, ends: _Ends, skill: str) -> Skill | None:
        """The receiving side's."""
        if ends.direction == "out":
            return ends.peer.skills.get(skill) if ends.peer is not None else None
        found = own_agent(self.manifest, ends.local)
        return found[1].skills.get(skill) if found is not None else None

    def _call(self, origin: Origin, direction: Direction, ends: _Ends, args: dict[str, Json],
              approval: Approval | None, acting_for: tuple[str, ...]) -> Call:
        resources: tuple[Resource, ...] = ()
        if ends.other:
            found = AnyId.parse(ends.other)
            resources = (Resource(type="peer", id=ends.other, key=(found.trust_domain, *found.path),
                                  action="send" if direction == "out" else "receive", argument="peer"),)
        name = f"{ends.name}/{args['skill']}" if args["skill"] else ends.name
        return Call.make(id=CallId(self.ids()), kind="message", subject=origin.subject, session=_session(origin),
                         target=Target(name=name, direction=direction), args=args, resources=resources,
                         approval=approval, acting_for=acting_for)


def _session(origin: Origin) -> SessionId | None:
    return SessionId(origin.session) if origin.session is not None else None
