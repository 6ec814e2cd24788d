"""What is said to the caller, and written down, of a call that does not happen."""

from __future__ import annotations

from dataclasses import replace

from ringwall.call import Call, Denied, Event, Kind, Peer, Process, SessionId, subject_name
from ringwall.errors import AuditError
from ringwall.interface import Origin, Refusal


def before(origin: Origin, kind: Kind, code: str, cause: str = "") -> Event:
    return Event(
        type="refused_before_call",
        tenant=origin.subject.tenant,
        subject=subject_name(origin.subject),
        session=SessionId(origin.session) if origin.session else None,
        body={"kind": kind, "code": code, "launch": _launch(origin), **_receiver(origin)},
        sealed={"cause": cause[:500]} if cause else {},
    )


def counted(origin: Origin, kind: Kind, code: str) -> Event:
    """The same, to be counted with its like: of another trust domain's agents, which may be any number, as one."""
    event, who = before(origin, kind, code), origin.subject
    if isinstance(who, Peer) and who.spiffe_id.trust_domain != who.receiver.trust_domain:
        return replace(event, subject=f"spiffe://{who.spiffe_id.trust_domain}")
    return event


def _launch(origin: Origin) -> str:
    return origin.subject.launch if isinstance(origin.subject, Process) else ""


def _receiver(origin: Origin) -> dict[str, str]:
    """Of a message that comes in: the record's subject is its sender."""
    return {"receiver": str(origin.subject.receiver)} if isinstance(origin.subject, Peer) else {}


def broken(name: str, how: str) -> Denied:
    return Denied(
        code="ring_failed",
        reason=f"the {name} ring could not judge this call, so it is refused",
        remedy="ask the operator to run `ringwall doctor`",
        detail={"ring": name, "fault": how},
    )


def unrecorded(call: Call, fault: AuditError) -> Event:
    return Event(
        type="refused_unrecorded",
        tenant=call.tenant,
        subject=subject_name(call.subject),
        session=call.session,
        body={"kind": call.kind, "code": fault.code},
    )


def unwritten(fault: AuditError) -> Denied:
    if fault.code == "log_budget":  # its own doing, not the disk's
        return Denied(code=fault.code, reason=fault.cause, remedy="wait, and call less or with less in it")
    return Denied(
        code="audit_unavailable",
        reason="the call could not be written to the audit log, so it is refused",
        remedy="ask the operator to run `ringwall doctor`",
        detail={"fault": fault.cause},
    )


def refusal(denied: Denied, record: str) -> Refusal:
    return Refusal(
        code=denied.code,
        reason=denied.reason,
        remedy=denied.remedy,
        record=record,
        retry_after=denied.retry_after,
        errors=tuple(str(text) for text in denied.detail.get("errors", ())),
    )
