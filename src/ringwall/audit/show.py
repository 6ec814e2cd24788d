"""Records as operators see them: one call with its outcome, its body where the key allows, and its proof."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ringwall.audit.budget import BEFORE_CALL
from ringwall.audit.checkpoint import VerifierKey
from ringwall.audit.disk import SystemDisk
from ringwall.audit.export import Inclusion, include
from ringwall.audit.journal import open_body, read_records
from ringwall.audit.reader import log_folder
from ringwall.audit.records import CALL_TYPES, Record, parse_record
from ringwall.audit.segments import Damage
from ringwall.audit.sessions import KeyRing
from ringwall.call import Json
from ringwall.errors import AuditError, BadInput, RingwallError
from ringwall.keys.interface import RootKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A record, what its body says or why it cannot be read, its place in the log, and its outcome."""

    tenant: str
    record: Record
    body: Json
    body_note: str  # why there is no body; empty if there is
    inclusion: Inclusion
    outcome: Record | None
    outcome_body: Json

    @property
    def name(self) -> str:
        return f"{self.tenant}/{self.record.number}"

    def as_json(self) -> Json:
        """One object with stable names."""
        outcome = None
        if self.outcome is not None:
            outcome = {"name": f"{self.tenant}/{self.outcome.number}", "clear": dict(self.outcome.clear),
                       "body": self.outcome_body}
        return {
            "name": self.name, "clear": dict(self.record.clear), "body": self.body, "body_note": self.body_note,
            "stopped_by": [{"ring": ring, "code": code} for ring, code in stopped_by(self.record)],
            "inclusion": {
                "size": self.inclusion.size, "root": self.inclusion.root.hex(), "holds": self.inclusion.holds,
                "checkpoint": self.inclusion.note.decode(),
            },
            "outcome": outcome,
        }


def stopped_by(record: Record) -> list[tuple[str, str]]:
    """The rings that refused the call, or if none did those that wanted a human, with their codes.

    Before there is a call, the resolver, or identity by who sent the bytes. Nothing stopped a call that ran, though
    a human may have been asked.
    """
    if record.type == BEFORE_CALL:
        code = str(record.body.get("code", ""))
        return [("identity" if code.startswith("sender_") else "resolver", code)]
    if record.type not in CALL_TYPES or record.type == "intent":
        return []
    verdicts = record.clear["verdicts"]
    denied = [(ring, code) for ring, verdict, code in verdicts if verdict == "denied"]
    return denied or [(ring, code) for ring, verdict, code in verdicts if verdict != "allowed"]


def show(state: Path, tenant: str, number: int, key: VerifierKey, keys: RootKeys | str) -> Shown:
    """Look one record up; for an outcome, its intent.

    Args:
        state: the state folder; a core may be running on it.
        tenant: whose log.
        number: of the record.
        key: the log's public key.
        keys: the root keys, or why they are not at hand.

    Raises:
        AuditError: ``no_record``, ``audit_damaged``, or the log cannot be read.

    """
    try:
        found = include(state, tenant, number, key)
        record = parse_record(number, found.record)
    except Damage as fault:
        raise AuditError(
            f"the log is damaged at {tenant}/{fault.record}: {fault.cause}", code="audit_damaged",
            remedy="see `ringwall audit verify`",
        ) from None
    if record.type == "outcome" and 0 <= record.clear["of"] < number:
        return show(state, tenant, record.clear["of"], key, keys)
    ring = _ring(state, tenant, keys)
    body, why = _body(record, ring)
    outcome = _outcome(read_records(state, tenant, number + 1), number) if record.type == "intent" else None
    return Shown(
        tenant=tenant, record=record, body=body, body_note=why, inclusion=found, outcome=outcome,
        outcome_body=_body(outcome, ring)[0] if outcome else None,
    )


def _outcome(records: Iterable[Record], number: int) -> Record | None:
    return next((r for r in records if r.type == "outcome" and r.clear["of"] == number), None)


def _ring(state: Path, tenant: str, keys: RootKeys | str) -> KeyRing | str:
    if isinstance(keys, str):
        return keys
    try:
        return KeyRing.read(log_folder(state, tenant), keys, SystemDisk())
    except RingwallError as fault:
        return str(fault)


def left_out(size: int) -> str:
    """Why a refusal has no body of so many bytes (``Record.left_out``)."""
    return f"left out ({size} bytes): its agent had used up its part of the log"


def _body(record: Record, ring: KeyRing | str) -> tuple[Json, str]:
    if record.left_out is not None:
        return None, left_out(record.left_out)
    if record.sealed is None:
        return None, "this record has none"
    if isinstance(ring, str):
        return None, ring
    try:
        body = open_body(record, ring)
    except (AuditError, BadInput) as fault:
        return None, str(fault)
    return body, "" if body is not None else "its session's key was destroyed"
