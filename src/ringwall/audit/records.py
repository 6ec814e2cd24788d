"""What a record says: canonical JSON, in clear what explains and counts, encrypted what a call carried.

A call's body (the whole policy input and the verdicts in full) is encrypted under its session's key with the
clear part as associated data, so that it cannot be moved to another record. Keyed hashes of the argument
values let somebody who holds the key find equal values without decrypting anything.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from ringwall.audit.recovery import OPENS
from ringwall.audit.sessions import SessionKey
from ringwall.call import (
    Allowed,
    Call,
    Denied,
    Event,
    Facts,
    Json,
    NeedsApproval,
    Outcome,
    Peer,
    Verdict,
    Verdicts,
    as_object,
    canonical,
    policy_input,
    subject_name,
)
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import MAX_ID_BYTES

VERSION: Final = 1
DURABILITY: Final = "fdatasync"  # what had happened before an intent was acknowledged
MAX_HASHES: Final = 64  # positions hashed one by one; about 1 microsecond each, on the path of every call
MAX_CLEAR_TEXT: Final = 200  # characters of a name in clear: enough for any honest one
MAX_CLEAR_CHAIN: Final = 16  # agents of a chain in clear; the body has them all
WHOLE: Final = "*"  # the position of the arguments as a whole
CALL_TYPES: Final = frozenset({"intent", "refused", "held"})
OWN_TYPES: Final = CALL_TYPES | {"outcome", "cut"}  # what no event may be called


class _Glance(msgspec.Struct):
    type: str
    of: int | None = None


_GLANCE: Final = msgspec.json.Decoder(_Glance)
_ANY: Final = msgspec.json.Decoder()


def effects(record: bytes) -> int | None:
    """What a record does to the set of open intents (``recovery.Effects``)."""
    try:
        seen = _GLANCE.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if seen.type == "intent":
        return OPENS
    return seen.of if seen.type == "outcome" else None


def call_record(call: Call, verdicts: Verdicts, *, type: str, now: float, key: SessionKey,  # noqa: A002
                standing: Mapping[str, Json], whole: bool = True) -> bytes:
    """The record of a judged call.

    Args:
        call: as judged.
        verdicts: what the rings said, with all facts.
        type: ``intent``, ``refused`` or ``held``.
        now: seconds since the epoch.
        key: of the call's session.
        standing: clear facts about this installation that every record shows.
        whole: with its body; else with that one's length and keyed hash only.

    Raises:
        AuditError: ``bad_record``, a value that has no JSON form.

    """
    clear: dict[str, Json] = {
        "v": VERSION,
        "type": type,
        "time": now,
        "tenant": call.tenant,
        "subject": subject_name(call.subject),
        "session": call.session or "",
        "call": call.id,
        "kind": call.kind,
        "target": call.target.name[:MAX_CLEAR_TEXT],
        "digest": call.digest,
        "approval": call.approval.record[:MAX_CLEAR_TEXT] if call.approval else None,
        "verdicts": [[name, *_in_clear(verdict)] for name, verdict in verdicts.rings],
        "policy": _revision(verdicts.facts),
        "identity": _scalars(verdicts.facts.get("identity", {})),
        "durability": DURABILITY,
        "key": key.id,
    }
    if call.kind == "message":
        clear["message"] = _message(call)
    if call.acting_for:
        clear["acting_for"] = list(call.acting_for[:MAX_CLEAR_CHAIN])
    if standing:
        clear["standing"] = dict(standing)
    body = {
        "input": policy_input(call, verdicts.facts, now),
        "verdicts": [{"ring": name, **_in_full(verdict)} for name, verdict in verdicts.rings],
    }
    # Names of arguments are known words only once the closed schemas have passed them; inside a model's request
    # (schemas of functions) and in a message (data, metadata) they are the agent's own.
    known = not any(name in {"identity", "capability"} for name, _ in verdicts.denied)
    named = known and call.kind not in {"model", "message"}
    clear["hashes"] = keyed_hashes(call.args, key, named=named and whole)
    if whole:
        return _sealed(clear, body, key)
    raw = _canonical(body)
    # Keyed: a plain hash would tell whoever guesses what was said, also after the session was forgotten.
    clear["left_out"] = {"bytes": len(raw), "hmac": hmac.digest(key.mac, raw, "sha256").hex()}
    return _canonical(clear)


def _message(call: Call) -> dict[str, Json]:
    """Who to whom, how, and where the other half of it is on record; what was said is in the body only."""
    args = as_object(call.args) or {}
    envelope = as_object(args.get("envelope")) or {}
    subject, peer = call.subject, _named(args, "peer", MAX_ID_BYTES)
    told = {"trace": _named({**args, **envelope}, "trace"), "envelope": _named(envelope, "id"),
            "record": _named(envelope, "record")}
    ends = {"sender": str(subject.spiffe_id), "receiver": str(subject.receiver)} if isinstance(subject, Peer) else {
        "sender": subject_name(subject), "receiver": peer}
    return {"direction": call.target.direction, **ends, "method": _named(args, "method"),
            "skill": _named(args, "skill"), **{name: text for name, text in told.items() if text}}


def _named(found: Mapping[str, Json], name: str, most: int = MAX_CLEAR_TEXT) -> str:
    text = found.get(name)
    return text[:most] if isinstance(text, str) else ""


def outcome_record(of: int, outcome: Outcome, *, now: float, call: str, subject: str, key: SessionKey | None,
                   session: str) -> bytes:
    """The record of how intent number ``of`` ended. Raises AuditError (``bad_record``)."""
    clear: dict[str, Json] = {
        "v": VERSION, "type": "outcome", "time": now, "of": of, "call": call, "subject": subject,
        "session": session, "end": outcome.end, "code": outcome.code[:MAX_CLEAR_TEXT],
        "released": outcome.released, "seconds": outcome.seconds,
        "usage": {
            "tokens_in": outcome.usage.tokens_in, "tokens_out": outcome.usage.tokens_out,
            "money": outcome.usage.money, "seconds": outcome.usage.seconds,
        },
    }
    if key is None or not outcome.reason:
        return _canonical(clear)
    clear["key"] = key.id
    return _sealed(clear, {"reason": outcome.reason}, key)


def event_record(event: Event, *, now: float, standing: Mapping[str, Json], count: int | None = None,
                 since: float | None = None, key: SessionKey | None = None) -> bytes:
    """The record of an event; ``count``: how many equal ones it stands for, the first at ``since``.

    ``key`` encrypts what is sealed; without one that is left out.

    Raises:
        AuditError: ``bad_record``, or ``bad_event`` for a type that is not lower_snake_case or is the log's own.

    """
    plain = event.type.replace("_", "a")
    if not (plain.isascii() and plain.isalnum() and plain.islower() and len(plain) <= 64) \
            or event.type in OWN_TYPES:
        raise AuditError(f"{event.type[:80]!r} is no type for an event", code="bad_event")
    clear: dict[str, Json] = {
        "v": VERSION, "type": event.type, "time": now, "tenant": event.tenant, "subject": event.subject,
        "session": event.session or "", "event": dict(event.body),
    }
    if standing:
        clear["standing"] = dict(standing)
    if count is not None:
        clear |= {"count": count, "since": since}
    if key is None or not event.sealed:
        return _canonical(clear)
    clear["key"] = key.id
    return _sealed(clear, dict(event.sealed), key)


def cut_record(*, now: float, tenant: str, segment: int, offset: int, size: int, sha256: str) -> bytes:
    """The record that the core cut an unfinished batch of ``size`` bytes."""
    return _canonical({
        "v": VERSION, "type": "cut", "time": now, "tenant": tenant, "segment": segment, "offset": offset,
        "bytes": size, "sha256": sha256,
    })


def keyed_hashes(args: Json, key: SessionKey, *, named: bool) -> dict[str, str]:
    """HMAC-SHA256, cut to 128 bits, of the arguments as a whole and of each value by its position.

    Args:
        args: the call's arguments.
        key: of the session.
        named: whether the names of positions may stand in clear.

    """
    found = {WHOLE: _mac(key, args)}
    stack: list[tuple[str, Json]] = [("", args)] if named else []
    while stack and len(found) <= MAX_HASHES:
        place, value = stack.pop()
        if isinstance(value, dict):
            items = cast("dict[str, Json]", value).items()
            stack += [(_join(place, name.replace("~", "~0").replace("/", "~1")), v) for name, v in items]
        elif isinstance(value, list):
            stack += [(_join(place, str(i)), v) for i, v in enumerate(cast("list[Json]", value)[:MAX_HASHES])]
        else:
            found[place[:MAX_CLEAR_TEXT]] = _mac(key, value)
    return found


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _mac(key: SessionKey, value: Json) -> str:
    return hmac.digest(key.mac, canonical(value), "sha256")[:16].hex()


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read: its number and its clear part; ``sealed`` is the encrypted body."""

    number: int
    clear: Mapping[str, Json]
    sealed: bytes | None

    @property
    def type(self) -> str:
        return cast("str", self.clear["type"])

    @property
    def time(self) -> float:
        return float(self.clear["time"])

    @property
    def key_id(self) -> str:
        return str(self.clear.get("key", ""))

    @property
    def body(self) -> Mapping[str, Json]:
        """The clear body of an event; empty for calls and outcomes."""
        found = self.clear.get("event")
        return cast("dict[str, Json]", found) if isinstance(found, dict) else {}

    @property
    def left_out(self) -> int | None:
        """Bytes of a body that was not written because its agent had used up its part of the log; None: it was."""
        found = self.clear.get("left_out")
        return int(cast("dict[str, Json]", found)["bytes"]) if isinstance(found, dict) else None

    def unseal(self, key: SessionKey) -> Json:
        """The decrypted body of a call or outcome; None if it has none.

        Raises BadInput (``bad_body``): another key's, or changed.
        """
        if self.sealed is None:
            return None
        raw = key.decrypt(self.sealed, canonical(self.clear))
        return _ANY.decode(raw)


def parse_record(number: int, raw: bytes) -> Record:
    """One record. Raises BadInput (``bad_record``): no canonical JSON, or not what a record must have."""
    try:
        value: Any = _ANY.decode(raw)
        if type(value) is not dict or canonical(value) != raw:
            raise _bad("it is not canonical JSON")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _bad("it is not JSON") from None
    clear = cast("dict[str, Json]", value)
    time = clear.get("time")
    if clear.get("v") != VERSION or type(clear.get("type")) is not str or type(time) not in {int, float}:
        raise _bad("it has no version, type and time")
    if clear["type"] == "outcome" and (type(clear.get("of")) is not int or type(clear.get("end")) is not str):
        raise _bad("an outcome names its intent and its end")
    if clear["type"] in CALL_TYPES and not _is_call(clear):
        raise _bad("a call has a subject, a kind, a target, a digest and verdicts")
    if "left_out" in clear and not _is_left_out(clear["left_out"]):
        raise _bad("what it left out has a length and a hash")
    return Record(number, clear, _sealed_body(clear))


def _bad(why: str) -> BadInput:
    return BadInput(f"this is no record of the log: {why}", code="bad_record")


def _is_call(clear: Mapping[str, Json]) -> bool:
    texts = all(type(clear.get(name)) is str for name in ("subject", "session", "call", "kind", "target", "digest"))
    verdicts = clear.get("verdicts")
    return texts and type(verdicts) is list and all(
        type(v) is list and len(cast("list[Json]", v)) == 3 and all(type(x) is str for x in cast("list[Json]", v))
        for v in cast("list[Json]", verdicts)
    )


def _is_left_out(value: Json) -> bool:
    fields = cast("dict[str, Json]", value) if isinstance(value, dict) else {}
    return set(fields) == {"bytes", "hmac"} and type(fields["bytes"]) is int and type(fields["hmac"]) is str


def _sealed_body(clear: dict[str, Json]) -> bytes | None:
    text = clear.pop("body", None)
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _bad("its body is not base64") from None


def _sealed(clear: dict[str, Json], body: Json, key: SessionKey) -> bytes:
    aad = _canonical(clear)
    clear["body"] = base64.b64encode(key.encrypt(_canonical(body), aad)).decode()
    return _canonical(clear)


def _canonical(value: Json) -> bytes:
    try:
        return canonical(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as fault:
        raise AuditError(f"a record holds a value that JSON cannot hold: {fault}", code="bad_record") from None


def _in_clear(verdict: Verdict) -> tuple[str, str]:
    match verdict:
        case Allowed():
            return "allowed", ""
        case NeedsApproval(code=code):
            return "needs_approval", code
        case Denied(code=code):
            return "denied", code


def _in_full(verdict: Verdict) -> dict[str, Json]:
    match verdict:
        case Allowed():
            return {"verdict": "allowed"}
        case NeedsApproval():
            return {"verdict": "needs_approval", "code": verdict.code, "question": verdict.question,
                    "remedy": verdict.remedy, "arguments": list(verdict.arguments)}
        case Denied():
            return {"verdict": "denied", "code": verdict.code, "reason": verdict.reason,
                    "remedy": verdict.remedy, "detail": dict(verdict.detail), "retry_after": verdict.retry_after}


def _revision(facts: Facts) -> str:
    found = facts.get("policy", {}).get("revision", "")
    return found if isinstance(found, str) else ""


def _scalars(facts: Mapping[str, Json]) -> dict[str, Json]:
    """The identity ring's plain facts: they describe the process, never what it said."""
    return {
        name: value[:MAX_CLEAR_TEXT] if isinstance(value, str) else value
        for name, value in facts.items() if isinstance(value, (str, bool, int, float))
    }


