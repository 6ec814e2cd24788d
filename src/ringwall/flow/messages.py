"""Messages between agents: what one carries out is shown to its receiver; what comes in labels whoever reads it.

Within a tenant labels travel with the text, so the receiver is as tainted as its sender was, and only its clearance
is asked. Beyond the tenant a peer is a recipient like any other. What an agent of the same tenant wrote is M at
best; another tenant is another organisation, however near its core is: U, like a peer elsewhere. What it says of
confidentiality counts where our own core says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from ringwall.call import (
    Allowed,
    Call,
    Chunk,
    Denied,
    Json,
    Peer,
    Process,
    Verdict,
    as_array,
    as_object,
    texts,
)
from ringwall.errors import AuditError, BadInput
from ringwall.flow.book import LabelBook
from ringwall.flow.interface import Canonical, SessionView
from ringwall.flow.labels import Label
from ringwall.flow.prompt import Prompt
from ringwall.flow.rules import Situation, Value, clearance, denial, judged
from ringwall.flow.values import MAX_VALUES, strings
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Passage, Stopped, Through
from ringwall.manifest.peers import PeerAgent, find_peer, name_of
from ringwall.manifest.types import Agent, ArgumentRole, Clearance, Manifest

FOREIGN: Final = Label("U", "private")  # what nobody vouches for
CARD: Final = Label("U", "public")  # cards are made to be shown to anybody
WRITTEN: Final = Label("M", "public")  # the best that another agent's own text can be
SKILL: Final = "urn:ringwall:skill"  # the member of a message's metadata that names the skill
_PAYLOAD: Final = ArgumentRole(role="payload")
_TARGET: Final = ArgumentRole(role="target", kind="id")  # an opaque name: "partner" in a sentence does not name it
# What the other end issued, or a closed schema lists: giving it back tells only the choice.
_OF_MESSAGE: Final = frozenset({"parts", "taskId", "referenceTaskIds", "role"})
_OF_PART: Final = frozenset({"mediaType"})
_OF_SETTINGS: Final = frozenset({"acceptedOutputModes"})
_OF_METHOD: Final = frozenset({"message", "configuration", "taskId", "id", "status", "push"})


class Messages:
    """The flow ring's part in calls of kind ``message``.

    Args:
        manifest: clearances, and who belongs to which tenant.
        book: the labels.
        canonical: one spelling per value.

    """

    def __init__(self, *, manifest: Manifest, book: LabelBook, canonical: Canonical) -> None:
        self._manifest = manifest
        self._book = book
        self._canonical = canonical

    async def enter(self, call: Call, facts: dict[str, Json], session: SessionView) -> Passage:
        """Out: the rules. In: the label is durable before anything is delivered."""
        args = as_object(call.args) or {}
        subject, direction = call.subject, call.target.direction
        if isinstance(subject, Process) and direction == "out":
            return self._out(call, subject, args, facts, session)
        if isinstance(subject, Peer) and direction == "in":
            return await self._in(call, subject, args, facts, session)
        facts["denied"] = True
        return Through(Denied(code="bad_direction", reason="this message goes where its sender cannot send it"))

    # --- out

    def _out(self, call: Call, subject: Process, args: Mapping[str, Json], facts: dict[str, Json],
             session: SessionView) -> Passage:
        found = self._peer(subject.spiffe_id, str(args.get("peer", "")))
        if found is None:
            unknown = Denied(code="peer_unknown", reason="nothing is declared about this peer", detail={"rule": 1})
            facts.update(denial(unknown))
            return Through(unknown)
        peer, may_see = found
        context = self._book.current(session.context)
        inside = _tenant(peer.spiffe_id, self._manifest.trust_domain) == call.tenant
        case = Situation(
            effect="send",
            recipient=peer.name,
            clearance=may_see,
            values=self._values(args, peer, Prompt(session.task, self._canonical)),
            undeclared=(),
            context=context,
            clean_waiver=self._manifest.flow.clean_waiver,
        )
        verdict: Verdict = Allowed()
        if any(v.role is _PAYLOAD for v in case.values):  # else nothing of the sender's own is in it
            verdict = (clearance(case) or Allowed()) if inside else judged(case)
        facts.update({
            "effect": "send",
            "recipient": {"name": peer.name, "inside": inside, "clearance": may_see},
            "context": {**label_facts(context), "sources": list(self._book.sources(session.context))},
            "args": [{"name": v.argument, "role": v.role.role, "kind": v.role.kind, "trusted": v.trusted}
                     for v in case.values],
            **denial(verdict),
        })
        return _Answers(self, call, verdict, session, peer.spiffe_id)

    def _peer(self, sender: SpiffeId, spiffe_id: str) -> tuple[PeerAgent, Clearance] | None:
        """Who it is, and what the sender may show it."""
        agent = self._agent(sender)
        for name, grant in agent.send.items() if agent is not None else ():
            peer = find_peer(self._manifest, sender.tenant, name)
            if peer is not None and str(peer.spiffe_id) == spiffe_id:
                return peer, grant.clearance or peer.clearance
        # It sends nothing of its own to this one, and may still push what that one has asked it for.
        peer = find_peer(self._manifest, sender.tenant, name_of(self._manifest, sender.tenant, spiffe_id))
        return None if peer is None or str(peer.spiffe_id) != spiffe_id else (peer, peer.clearance)

    def _agent(self, who: SpiffeId) -> Agent | None:
        tenant = self._manifest.tenants.get(who.tenant)
        return tenant.agents.get(who.agent) if tenant is not None else None

    def _values(self, args: Mapping[str, Json], peer: PeerAgent, prompt: Prompt) -> list[Value]:
        """The peer's name as target, and every text that the sender chose as payload."""
        named = prompt.names(peer.name, "id") or prompt.names(str(peer.spiffe_id), "id")
        values = [Value(argument="peer", role=_TARGET, trusted=named)]
        found = list(islice(_texts(as_object(args.get("params")) or {}), MAX_VALUES + 1))
        if len(found) > MAX_VALUES:
            return [*values, Value(argument="params", role=_PAYLOAD, trusted=False)]
        return [*values, *(Value(argument=place, role=_PAYLOAD, trusted=prompt.names(text, ""))
                           for place, text in found)]

    # --- in

    async def _in(self, call: Call, subject: Peer, args: Mapping[str, Json], facts: dict[str, Json],
                  session: SessionView) -> Passage:
        envelope = as_object(args.get("envelope"))
        told = "" if envelope is None else envelope.get("label")
        label = self.believed(subject.spiffe_id, call.tenant, told if isinstance(told, str) else "?")
        verdict: Verdict = Allowed()
        if label is None:
            verdict = Denied(code="bad_label", reason="the label of this message cannot be read")
        elif texts(args.get("params")):
            verdict = await self._joined(call, session, label, source=f"from {subject.spiffe_id}") or verdict
        context = self._book.current(session.context)
        facts.update({
            "effect": "receive",
            "label": label_facts(label) if label is not None else None,
            "context": {**label_facts(context), "sources": list(self._book.sources(session.context))},
            **denial(verdict),
        })
        if isinstance(verdict, Denied):
            return Through(verdict)
        outside = _tenant(subject.spiffe_id, self._manifest.trust_domain) != call.tenant
        return _Secrets(self._book, session, self._shown(subject)) if outside else Through(verdict)

    def _shown(self, subject: Peer) -> Clearance:
        """What answers may carry to a peer outside the tenant: it was given the skill, so private data at least."""
        found = self._peer(subject.receiver, str(subject.spiffe_id))
        return "secret" if found is not None and found[1] == "secret" else "private"

    # --- both

    def believed(self, peer: AnyId, tenant: str, told: str) -> Label | None:
        """The label of what a peer wrote; None: what is told of it is no label.

        Args:
            peer: who wrote it.
            tenant: of who is about to read it.
            told: the label that our own core vouches for; empty: none.

        """
        home = _tenant(peer, self._manifest.trust_domain)
        if home is None or not told:
            return FOREIGN
        try:
            label = Label.parse(told)
        except KeyError:
            return None
        return label.join(WRITTEN if home == tenant else CARD)

    async def joined(self, call: Call, session: SessionView, peer: AnyId, chunk: Chunk) -> None:
        """An answer's label, durable before the answer goes on. Raises Stopped."""
        args = as_object(call.args) or {}
        label = CARD if args.get("method") == "GetAgentCard" else self.believed(peer, call.tenant, chunk.label)
        denied = Denied(code="bad_label", reason="the label of this answer cannot be read") if label is None else \
            await self._joined(call, session, label, source=call.target.name)
        if denied is not None:
            raise Stopped(denied)

    async def _joined(self, call: Call, session: SessionView, label: Label, *, source: str) -> Denied | None:
        try:
            await self._book.join(session.context, label, tenant=call.tenant, session=call.session, source=source)
        except AuditError as fault:
            return Denied(
                code="audit_unavailable",
                reason="the label of this message could not be written to the audit log, so it is withheld",
                detail={"fault": fault.cause},
            )
        return None


class _Answers:
    """What a peer answers labels the agent that asked."""

    def __init__(self, messages: Messages, call: Call, verdict: Verdict, session: SessionView, peer: AnyId) -> None:
        self.verdict = verdict
        self._messages = messages
        self._call = call
        self._session = session
        self._peer = peer

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        await self._messages.joined(self._call, self._session, self._peer, chunk)
        return (chunk,)

    async def finish(self) -> Sequence[Chunk]:
        return ()

    async def leave(self, end: object, usage: object) -> None:
        return None


class _Secrets(Through):
    """Answers to a peer outside the tenant: none once its agent was shown what that peer may not be."""

    def __init__(self, book: LabelBook, session: SessionView, shown: Clearance) -> None:
        super().__init__(Allowed())
        self._book = book
        self._session = session
        self._shown: Clearance = shown

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        context = self._book.current(self._session.context)
        if context.above(self._shown):
            raise Stopped(Denied(code="above_clearance", reason="the peer may not be shown what was read here",
                                 detail={"rule": 11, "clearance": self._shown, "context": str(context)}))
        return (chunk,)


def _tenant(who: AnyId, trust_domain: str) -> str | None:
    """The tenant of an agent of this installation; None: it is nobody of ours."""
    try:
        found = SpiffeId.parse(str(who))
    except BadInput:
        return None
    return found.tenant if found.trust_domain == trust_domain else None


def _texts(params: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Every text that the sender of a message chose, with the place that a person would look at."""
    message = as_object(params.get("message")) or {}
    for number, part in enumerate(as_array(message.get("parts")) or []):
        for text in _chosen(as_object(part) or {}, _OF_PART, numbers=True):  # one a part is a list of numbers
            yield f"params/message/parts/{number}", text
    for text in _chosen(message, _OF_MESSAGE):
        yield "params/message", text
    for text in _chosen(as_object(params.get("configuration")) or {}, _OF_SETTINGS):
        yield "params/configuration", text
    # Beside a task, the id is a configuration's, of the sender's own choice.
    for text in _chosen(params, _OF_METHOD - {"id"} if "taskId" in params else _OF_METHOD):
        yield "params", text


def _chosen(fields: Mapping[str, Json], issued: frozenset[str], *, numbers: bool = False) -> Iterator[str]:
    """The texts of members, but not the names that the schema gives to these members."""
    for name, inner in fields.items():
        if name not in issued:
            yield from strings(_without_skill(inner) if name == "metadata" else inner, numbers=numbers)


def _without_skill(given: Json) -> Json:
    """Metadata without the skill: that was granted by its name."""
    fields = as_object(given)
    return given if fields is None else {name: one for name, one in fields.items() if name != SKILL}


def label_facts(label: Label) -> Json:
    """A label as facts spell it."""
    return {"integrity": label.integrity, "confidentiality": label.confidentiality}
