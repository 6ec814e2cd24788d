"""Judged calls as the log holds them: what was asked, what each ring found out and said, and the call itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, get_args

from ringwall.audit.disk import SystemDisk
from ringwall.audit.journal import open_body, read_records
from ringwall.audit.reader import log_folder
from ringwall.audit.records import CALL_TYPES, Record
from ringwall.audit.sessions import KeyRing
from ringwall.audit.show import left_out
from ringwall.call import (
    Allowed,
    Approval,
    Call,
    CallId,
    Denied,
    Digest,
    Facts,
    Json,
    LaunchId,
    NeedsApproval,
    Operator,
    Peer,
    Process,
    Resource,
    RingName,
    SessionId,
    Subject,
    Target,
    Verdict,
    as_array,
    as_object,
)
from ringwall.capability.resolve import resolve_arguments
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.keys.interface import RootKeys
from ringwall.manifest.types import Manifest

KEY_DESTROYED: Final = "its session's key was destroyed"
_RINGS: Final = frozenset(get_args(RingName))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One judged call of the log."""

    tenant: str
    record: Record
    input: Mapping[str, Json]  # as the policy saw it: subject, call, facts, time
    verdicts: Mapping[RingName, Verdict]  # of the rings that were asked, in their order

    @property
    def name(self) -> str:
        return f"{self.tenant}/{self.record.number}"

    @property
    def facts(self) -> Facts:
        """What the rings found out."""
        return self.input["facts"]

    @property
    def now(self) -> float:
        """The time the policy was told, in seconds since the epoch."""
        return float(self.input["time"]["now"])

    @property
    def approved(self) -> bool:
        """Whether an approval for exactly this call had been verified."""
        return as_fact(self.facts, "policy", "approved") is True

    def call(self, manifest: Manifest) -> Call:
        """The call again, its arguments resolved as this manifest declares them. Raises BadInput if they cannot be.

        What was resolved before stays as it is: a canonical value is its own canonical value.
        """
        said = self.input["call"]
        args, resources = said["args"], tuple(_resource(one) for one in said["resources"])
        server, _, op = said["target"].partition("/")
        declared = manifest.tools.get(server)
        operation = declared.ops.get(op) if declared is not None and said["kind"] == "tool" else None
        if operation is not None:
            args, resources = resolve_arguments(operation, args)
        return Call.make(
            id=CallId(self.record.clear["call"]),
            kind=said["kind"],
            subject=_subject(self.input["subject"]),
            session=None if said["session"] is None else SessionId(said["session"]),
            target=Target(
                name=said["target"],
                direction=said["direction"],
                definition=None if said["definition"] is None else Digest(said["definition"]),
            ),
            args=args,
            resources=resources,
            approval=None if said["approval"] is None else Approval(record=said["approval"]),
            acting_for=tuple(str(one) for one in as_array(said.get("acting_for")) or ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A judged call that cannot be judged again, and why."""

    tenant: str
    record: Record
    why: str


def as_fact(facts: Mapping[str, Json], ring: str, name: str) -> Json:
    """One fact of one ring; None if it did not find it out."""
    found = as_object(facts.get(ring))
    return None if found is None else found.get(name)


def calls(state: Path, tenant: str, keys: RootKeys, since: int = 0) -> Iterator[Recorded | Unreadable]:
    """Every judged call of a tenant's log, oldest first, from record number ``since`` on.

    Raises:
        AuditError: the log cannot be read, is damaged, or its keys do not open with these root keys.

    """
    ring = KeyRing.read(log_folder(state, tenant), keys, SystemDisk())
    for record in read_records(state, tenant, since, CALL_TYPES):
        yield opened(tenant, record, ring)


def opened(tenant: str, record: Record, ring: KeyRing) -> Recorded | Unreadable:
    """A call's record with its body."""
    if record.left_out is not None:
        return Unreadable(tenant=tenant, record=record, why=left_out(record.left_out))
    try:
        body = open_body(record, ring)
    except (AuditError, BadInput) as fault:
        return Unreadable(tenant=tenant, record=record, why=str(fault))
    if body is None:
        return Unreadable(tenant=tenant, record=record, why=KEY_DESTROYED)
    return from_body(tenant, record, body)


def from_body(tenant: str, record: Record, body: Json) -> Recorded | Unreadable:
    """A call from its decrypted body: authenticated bytes, but perhaps of another version of Ringwall."""
    try:
        found = Recorded(
            tenant=tenant,
            record=record,
            input=body["input"],
            verdicts={
                one["ring"]: _verdict(one) for one in body["verdicts"] if one["ring"] in _RINGS
            },
        )
        if as_object(found.input["call"]) is None or as_object(found.facts) is None or found.now < 0:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        return Unreadable(tenant=tenant, record=record, why="its body has not the form this version writes")
    return found


def _verdict(said: Mapping[str, Json]) -> Verdict:
    match said["verdict"]:
        case "allowed":
            return Allowed()
        case "needs_approval":
            return NeedsApproval(
                code=said["code"],
                question=said["question"],
                remedy=said["remedy"],
                arguments=tuple(as_array(said.get("arguments")) or ()),
            )
        case "denied":
            return Denied(
                code=said["code"],
                reason=said["reason"],
                remedy=said["remedy"],
                detail=said["detail"],
                retry_after=said["retry_after"],
            )
        case other:
            raise ValueError(other)


def _resource(said: Mapping[str, Json]) -> Resource:
    key = tuple(str(part) for part in as_array(said["key"]) or ())
    return Resource(type=said["type"], id=said["id"], key=key, action=said["action"], argument=said["argument"])


def _subject(said: Mapping[str, Json]) -> Subject:
    if said["type"] == "process":
        return Process(
            spiffe_id=SpiffeId.parse(cast("str", said["id"])),
            launch=LaunchId(said["launch"]),
            connection=0,
            number=said["number"],
        )
    if said["type"] == "peer":
        to = said["receiver"]
        return Peer(
            spiffe_id=AnyId.parse(cast("str", said["id"])),
            receiver=SpiffeId.parse(cast("str", to["id"])),
            launch=LaunchId(to["launch"]),
            connection=0,
        )
    return Operator(name=said["name"], uid=said["uid"], connection=0, tenant=said["tenant"])
