"""The core values: a call, who asks, what it touches, and what the rings say of it.

Everything here is a frozen value. Packages meet each other in these types and in ``wall.Ring``,
``wall.Effect`` and ``wall.Journal`` only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NewType, TypeAlias, cast

import msgspec

from ringwall.identity.spiffe import AnyId, SpiffeId

Kind = Literal["model", "tool", "secret", "message", "code", "operate"]
End = Literal["done", "failed", "refused", "held", "stopped", "cancelled", "unknown", "dry"]
Form = Literal["value", "mcp"]
"""How the caller wants a tool's answer: the plain value, or as MCP's own messages (``wire.mcp``). Judged alike."""
Trait = Literal["handshake", "elicitation", "sampling", "roots"]
"""What an MCP client says of itself: it has a session (before 2026-07-28), and what it can be asked."""
RingName = Literal["identity", "capability", "limits", "flow", "guard", "policy", "audit"]
Effectclass = Literal[
    "read", "fetch", "write", "send", "publish", "grant", "pay", "book", "delete", "credential", "identity", "login"
]

Json: TypeAlias = Any
"""A parsed JSON value: None, bool, int, float, str, list, dict with str keys. Any, because a recursive
alias makes every access of it a cast; the strict parser (``wire.strict``) guarantees the shape."""
Facts: TypeAlias = dict[str, dict[str, Json]]
"""What the rings found out about one call: ring name -> facts. Each ring writes its own key only."""

CallId = NewType("CallId", str)
SessionId = NewType("SessionId", str)
LaunchId = NewType("LaunchId", str)
Digest = NewType("Digest", str)  # lower-case hex SHA-256


_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


def canonical(value: Json) -> bytes:
    """One spelling per value: sorted keys, no spaces, UTF-8."""
    return _CANONICAL.encode(value)


def digest(value: Json) -> Digest:
    """SHA-256 of the canonical bytes, lower-case hex."""
    return Digest(hashlib.sha256(canonical(value)).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """An attested process of an agent. ``connection`` names the door's connection it came over."""

    spiffe_id: SpiffeId
    launch: LaunchId
    connection: int
    number: int = 0  # 0: the launched process; n: a descendant, by its number in the agent's pid namespace

    @property
    def tenant(self) -> str:
        return self.spiffe_id.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A named human at this machine: the user name behind the operator socket's peer uid."""

    name: str
    uid: int
    connection: int
    tenant: str = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An agent that asks over A2A, proved by the certificate of its connection.

    ``receiver`` is the agent of ours that it asks: the call belongs to the receiver's tenant. ``launch`` is the
    receiver's, and ``connection`` names the peers' connection it came over.
    """

    spiffe_id: AnyId
    receiver: SpiffeId
    launch: LaunchId
    connection: int

    @property
    def tenant(self) -> str:
        return self.receiver.tenant


Subject: TypeAlias = Process | Peer | Operator


def subject_name(subject: Subject) -> str:
    """The SPIFFE ID, or ``operator:<name>``."""
    return f"operator:{subject.name}" if isinstance(subject, Operator) else str(subject.spiffe_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is called. ``name`` is ``server/operation``, a model's name, or a verb of the operator."""

    name: str
    direction: Literal["out", "in"] = "out"
    definition: Digest | None = None  # hash of the pinned definition the call was resolved against


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A typed, canonical thing that an argument names.

    ``key`` is its hierarchy, outermost first: containment is a prefix of keys, for every type.
    A path ``/srv/docs/a.txt`` is ``("srv", "docs", "a.txt")``; an address ``bob@x.example`` is
    ``("x.example", "bob")``.
    """

    type: str
    id: str
    key: tuple[str, ...]
    action: str
    argument: str  # which argument named it: "path", or a pointer such as "to/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A human's yes to exactly one call, named by the record of the held call."""

    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One effect that somebody wants. Frozen: every ring judges this, and this is what runs."""

    id: CallId
    kind: Kind
    subject: Subject
    session: SessionId | None
    target: Target
    args: Json
    resources: tuple[Resource, ...] = ()
    approval: Approval | None = None
    acting_for: tuple[str, ...] = ()  # SPIFFE IDs whose unfinished tasks the subject works on, sorted, each once
    inputs: Json = None  # answers to what an MCP tool asked in an earlier result: {"responses", "state"}
    form: Form = "value"  # not in the digest: it changes nothing that happens
    trace: str = ""  # the caller's W3C traceparent, for spans only; not in the digest either
    progress: bool = False  # the caller wants to hear of a tool's progress; nor this
    client: tuple[Trait, ...] = ()  # what the caller's MCP client says of itself; nor this
    digest: Digest = Digest("")

    @classmethod
    def make(
        cls,
        *,
        id: CallId,  # noqa: A002
        kind: Kind,
        subject: Subject,
        session: SessionId | None,
        target: Target,
        args: Json,
        resources: tuple[Resource, ...] = (),
        approval: Approval | None = None,
        acting_for: tuple[str, ...] = (),
        inputs: Json = None,
        form: Form = "value",
        trace: str = "",
        progress: bool = False,
        client: tuple[Trait, ...] = (),
    ) -> Call:
        """Build a call with its digest: who, for whom, session, kind, target, arguments and resources."""
        named = digest(
            {
                "subject": subject_name(subject),
                "session": session,
                "kind": kind,
                "target": [target.name, target.direction, target.definition],
                "args": args,
                "resources": [[r.type, r.id, r.action, r.argument] for r in resources],
                **({"receiver": str(subject.receiver)} if isinstance(subject, Peer) else {}),
                **({"acting_for": list(acting_for)} if acting_for else {}),
                **({} if inputs is None else {"inputs": inputs}),
            }
        )
        return cls(
            id=id,
            kind=kind,
            subject=subject,
            session=session,
            target=target,
            args=args,
            resources=resources,
            approval=approval,
            acting_for=acting_for,
            inputs=inputs,
            form=form,
            trace=trace,
            progress=progress,
            client=client,
            digest=named,
        )

    @property
    def tenant(self) -> str:
        """The tenant of the attested subject: never taken from what a request names."""
        return self.subject.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """This ring has nothing against the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval:
    """This ring wants a human. ``question`` is for the operator; ``arguments`` names what it is about, empty: the
    call as a whole."""

    code: str
    question: str
    remedy: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """This ring refuses. ``reason`` goes to the agent; ``detail`` to operators only."""

    code: str
    reason: str
    remedy: str = ""
    detail: Mapping[str, Json] = field(default_factory=dict[str, Json])
    retry_after: float | None = None  # seconds; set by limits only


Verdict: TypeAlias = Allowed | NeedsApproval | Denied


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What each asked ring said, in ring order, with all facts."""

    rings: tuple[tuple[RingName, Verdict], ...]
    facts: Facts

    @property
    def denied(self) -> tuple[tuple[RingName, Denied], ...]:
        return tuple((name, v) for name, v in self.rings if isinstance(v, Denied))

    @property
    def asked(self) -> tuple[tuple[RingName, NeedsApproval], ...]:
        return tuple((name, v) for name, v in self.rings if isinstance(v, NeedsApproval))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a call really used, for settling reservations."""

    tokens_in: int = 0
    tokens_out: int = 0
    money: float = 0.0  # in the manifest's currency
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an effect's result on its way to the agent.

    ``value`` is JSON. ``whole`` results (tools) come as one chunk; completions may come as deltas, each a
    text. Rings may hold back, redact or stop, never invent.
    """

    value: Json
    whole: bool = True
    label: str = ""  # as the sending core vouches for it ("M private"); empty: nobody does


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """The end of an effect: how it ended and what it used; ``error`` has ``code`` and ``reason``."""

    end: End
    usage: Usage = field(default_factory=Usage)
    error: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the journal learns after the last release."""

    end: End
    usage: Usage = field(default_factory=Usage)
    code: str = ""
    reason: str = ""
    released: Digest | None = None  # SHA-256 over the canonical bytes of what the agent received
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something worth a record that is no call: launch, label change, restart, refusal before a call."""

    type: str
    tenant: str  # "system" for what belongs to no tenant
    subject: str = ""
    session: SessionId | None = None
    body: Mapping[str, Json] = field(default_factory=dict[str, Json])  # in clear: never values of arguments
    sealed: Mapping[str, Json] = field(default_factory=dict[str, Json])  # encrypted under the session's key


def as_object(value: Json) -> dict[str, Json] | None:
    """The value if it is a JSON object."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else None


def as_array(value: Json) -> list[Json] | None:
    """The value if it is a JSON array."""
    return cast("list[Json]", value) if isinstance(value, list) else None


def texts(value: Json) -> Sequence[str]:
    """Every string in a JSON value, keys included, in document order."""
    found: list[str] = []
    stack: list[Json] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            for key, inner in reversed(list(item.items())):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                stack += [inner, key]
        elif isinstance(item, list):
            stack += reversed(item)  # pyright: ignore[reportUnknownArgumentType]
    return found


def policy_input(call: Call, facts: Facts, now: float) -> Json:
    """The whole input of one decision: what policy judges and what the audit record keeps.

    Args:
        call: the frozen call.
        facts: what the rings before policy found out.
        now: seconds since the epoch; policies read no other clock.

    """
    subject: dict[str, Json]
    if isinstance(call.subject, Process):
        who = call.subject.spiffe_id
        subject = {
            "type": "process",
            "id": str(who),
            "trust_domain": who.trust_domain,
            "tenant": who.tenant,
            "agent": who.agent,
            "role": who.role,
            "number": call.subject.number,
            "launch": call.subject.launch,
        }
    elif isinstance(call.subject, Peer):
        to = call.subject.receiver
        subject = {
            "type": "peer",
            "id": str(call.subject.spiffe_id),
            "trust_domain": call.subject.spiffe_id.trust_domain,
            "tenant": to.tenant,
            "receiver": {"id": str(to), "agent": to.agent, "role": to.role, "launch": call.subject.launch},
        }
    else:
        subject = {
            "type": "operator",
            "id": subject_name(call.subject),
            "tenant": call.subject.tenant,
            "name": call.subject.name,
            "uid": call.subject.uid,
        }
    return {
        "subject": subject,
        "call": {
            "kind": call.kind,
            "target": call.target.name,
            "direction": call.target.direction,
            "definition": call.target.definition,
            "args": call.args,
            "session": call.session,
            "digest": call.digest,
            "approval": call.approval.record if call.approval else None,
            "acting_for": list(call.acting_for),
            **({} if call.inputs is None else {"inputs": call.inputs}),
            "resources": [
                {"type": r.type, "id": r.id, "key": list(r.key), "action": r.action, "argument": r.argument}
                for r in call.resources
            ],
        },
        "facts": facts,
        "time": {"now": now},
    }
