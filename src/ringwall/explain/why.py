"""One record explained: what stopped it, by which rule and facts, what the agent was told, what would allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ringwall.audit.budget import BEFORE_CALL
from ringwall.audit.records import CALL_TYPES
from ringwall.audit.show import Shown, stopped_by
from ringwall.call import Denied, Json, NeedsApproval, RingName, as_array, as_object
from ringwall.errors import PolicyError, RingwallError
from ringwall.explain.judge import decided
from ringwall.explain.meanings import by_code, instead
from ringwall.explain.recorded import Recorded, Unreadable, as_fact, from_body
from ringwall.explain.suggest import Advisor, Suggestion
from ringwall.policy.ring import CALL

MAX_SHOWN: Final = 20  # members of a list of facts
UNRECORDED: Final = "refused_unrecorded"  # the wall's event for a call that could not be written down
PEER_REFUSED: Final = "peer_refused"  # the core's event for a certificate that it did not let in
# Facts that decide nothing here: the verdict once more, hashes, versions.
_SAID: Final = frozenset({"granted", "denied", "blocked", "definition", "version", "revision"})


class Contributed(Protocol):
    """One member of a set that a decision is made of, and the rule that put it there; ``row`` is 1-based."""

    @property
    def value(self) -> Json: ...
    @property
    def file(self) -> str: ...
    @property
    def row(self) -> int: ...
    @property
    def rule(self) -> str: ...


class Trace(Protocol):
    """A decision with what it is made of."""

    @property
    def contributions(self) -> Sequence[Contributed]: ...


class Tracing(Protocol):
    """A policy that tells where each member of its decision comes from. ``policy.embedded`` has it."""

    @property
    def revision(self) -> str: ...

    def trace(self, entry_point: str, document: Json) -> Trace: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the policy that had a part in the refusal, with its place in the Rego. ``row`` is 1-based."""

    code: str
    rule: str
    file: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What there is to say about one record."""

    name: str
    title: str  # what was asked
    result: str  # "refused", "held", "allowed", ...: one sentence's verb
    ring: str = ""
    code: str = ""
    meaning: str = ""
    rules: tuple[Rule, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])
    told: Mapping[str, Json] = field(default_factory=dict[str, Json])
    suggestion: Suggestion = Suggestion()  # noqa: RUF009 (frozen)

    def as_json(self) -> Json:
        """One object with stable names."""
        found = self.suggestion
        return {
            "name": self.name,
            "title": self.title,
            "result": self.result,
            "ring": self.ring,
            "code": self.code,
            "meaning": self.meaning,
            "rules": [{"code": r.code, "rule": r.rule, "file": r.file, "row": r.row} for r in self.rules],
            "facts": dict(self.facts),
            "told": dict(self.told),
            "change": {
                "diff": found.diff,
                "notes": list(found.notes),
                "advice": found.advice,
                "command": found.command,
                "proved": found.proved,
                "not_judged": list(found.unasked),
            },
        }


async def explain(shown: Shown, advisor: Advisor | RingwallError, policy: Tracing | None) -> Explanation:
    """Explain a record.

    Args:
        shown: the record with its body and outcome.
        advisor: suggests changes of the manifest, or why there is none (no or a bad manifest).
        policy: the policy in force, for the rules' places.

    """
    kind = shown.record.type
    if kind == BEFORE_CALL:
        return _before(shown)
    if kind == UNRECORDED:
        return _unrecorded(shown)
    if kind == "launch":
        return _launch(shown)
    if kind == PEER_REFUSED:
        return _peer_refused(shown)
    if kind not in CALL_TYPES:
        return Explanation(name=shown.name, title=kind, result="noted", meaning="This record is no refusal.")
    seen = from_body(shown.tenant, shown.record, shown.body) if shown.body is not None else None
    if not isinstance(seen, Recorded):
        return _sealed(shown, seen)
    stopped = decided(seen.verdicts)
    if kind == "intent":
        return _allowed(shown, seen)
    if not isinstance(stopped.verdict, Denied) and kind == "refused":
        return _by_approvals(shown, seen)
    told = _told(stopped.verdict) if isinstance(stopped.verdict, Denied) else {
        "code": "held", "reason": "a human must approve this first"
    }  # fmt: skip
    return Explanation(
        name=shown.name,
        title=_title(shown),
        result="held" if kind == "held" else "refused",
        ring=stopped.ring or "",
        code=stopped.code,
        meaning=_meaning(stopped.verdict),
        rules=_rules(seen, stopped.ring, policy),
        facts=_facts(seen, stopped.ring, stopped.verdict),
        told=told,
        suggestion=await _suggested(seen, advisor),
    )


async def _suggested(seen: Recorded, advisor: Advisor | RingwallError) -> Suggestion:
    if isinstance(advisor, RingwallError):
        fallback = decided(seen.verdicts)
        return Suggestion(
            advice=instead(fallback.ring or "", fallback.code),
            notes=(f"No change of the manifest is worked out: {' '.join(str(advisor).split())}",),
        )
    try:
        return await advisor.suggest(seen)
    except PolicyError as fault:
        return Suggestion(advice=f"The policy cannot be loaded, so no change can be proved: {fault}")


def _title(shown: Shown) -> str:
    clear = shown.record.clear
    message = as_object(clear.get("message"))
    if message is not None:
        return f"{message['sender']} sent {clear['target']} ({message['method']}) to {message['receiver']}"
    return f"{clear['subject']} asked for {clear['kind']} {clear['target']}"


def _meaning(said: object) -> str:
    match said:
        case Denied():
            return said.reason
        case NeedsApproval():
            return said.question
        case _:
            return ""


def _told(said: Denied) -> dict[str, Json]:
    """What went over the agent's door: never ``detail``, but for the errors of its own schema."""
    told: dict[str, Json] = {"code": said.code, "reason": said.reason}
    if said.remedy:
        told["remedy"] = said.remedy
    if said.retry_after is not None:
        told["retry_after"] = said.retry_after
    if errors := as_array(said.detail.get("errors")):
        told["errors"] = errors
    return told


def _facts(seen: Recorded, ring: RingName | None, said: object) -> dict[str, Json]:
    """What decided: the arguments as they were judged, what this ring found out, what it keeps for operators."""
    call = seen.input["call"]
    found: dict[str, Json] = {"arguments": call["args"]}
    if call["resources"]:
        found["resources"] = [f"{r['type']}:{r['id']}" for r in call["resources"][:MAX_SHOWN]]
    if call.get("acting_for"):
        found["acting_for"] = call["acting_for"][:MAX_SHOWN]
    own = {name: fact for name, fact in (as_object(seen.facts.get(ring or "")) or {}).items() if name not in _SAID}
    if own:
        found[str(ring)] = own
    if isinstance(said, Denied) and said.detail:
        found["detail"] = {name: value for name, value in said.detail.items() if name != "deny"}
    return found


def _rules(seen: Recorded, ring: RingName | None, policy: Tracing | None) -> tuple[Rule, ...]:
    """For the policy the rules of the Rego; other rings have code, whose meaning is their question."""
    if ring != "policy":
        return ()
    said = seen.verdicts["policy"]
    listed = as_array(said.detail.get("deny")) if isinstance(said, Denied) else None
    denials = [one for one in map(as_object, listed or ()) if one is not None]
    named = tuple(Rule(code=str(one.get("code", "")), rule=str(one.get("rule", ""))) for one in denials)
    if policy is None or policy.revision != as_fact(seen.facts, "policy", "revision"):
        return named
    try:
        made = policy.trace(CALL, seen.input).contributions
    except PolicyError:
        return named
    wanted = {rule.code for rule in named} or {decided(seen.verdicts).code}
    placed: dict[tuple[str, str], Rule] = {}
    for one in made:  # origins come before the rules that only pass them on
        value = as_object(one.value) or {}
        code, rule = str(value.get("code", "")), str(value.get("rule") or one.rule)
        if code in wanted:
            placed.setdefault((code, rule), Rule(code=code, rule=rule, file=one.file, row=one.row))
    return tuple(placed.values()) or named


def _allowed(shown: Shown, seen: Recorded) -> Explanation:
    """An intent: nothing refused it before it ran; its outcome tells whether it was stopped on the way back."""
    outcome = shown.outcome
    end = str(outcome.clear["end"]) if outcome is not None else "running"
    code = str(outcome.clear.get("code", "")) if outcome is not None else ""
    body = as_object(shown.outcome_body) or {}
    reason = str(body.get("reason", ""))
    advice = {
        "done": "Nothing refused it. What guard took out of its answer stands as a mark in what the agent got.",
        "stopped": "It was let through and its answer was stopped on the way back: see the code.",
        "failed": "It was let through and failed by itself. A tool server sees no network and only the folders "
        "that its read_only and writable in the manifest name; what the kernel refuses it stands in its error.",
        "cancelled": "Nobody waited for its answer any more.",
        "unknown": "Whether it took effect is not known: its answer never came, or was none that can be believed.",
        "running": "It runs, or the core was stopped.",
    }.get(end, "")
    if end in {"failed", "unknown"}:
        advice = by_code(code) or advice
    return Explanation(
        name=shown.name,
        title=_title(shown),
        result="allowed",
        code=code,
        meaning=f"allowed; it ended: {end}" if outcome is not None else "allowed; it has not ended",
        facts=_facts(seen, None, None),
        told={"code": code, "reason": reason} if code else {},
        suggestion=Suggestion(advice=advice),
    )


def _by_approvals(shown: Shown, seen: Recorded) -> Explanation:
    """No ring denied it; a question of theirs was not answered with yes, or nothing can run it."""
    code = str(as_fact(seen.facts, "approvals", "code") or "unknown_kind")
    asked = decided(seen.verdicts)
    return Explanation(
        name=shown.name,
        title=_title(shown),
        result="refused",
        ring="approvals" if code != "unknown_kind" else "",
        code=code,
        meaning=_meaning(asked.verdict),
        facts=_facts(seen, asked.ring, asked.verdict),
        told={"code": code},
        suggestion=Suggestion(advice=instead("approvals", code)),
    )


def _sealed(shown: Shown, found: Unreadable | None) -> Explanation:
    """Without its body a record tells rings and codes, and nothing that could be judged again."""
    stops = [(ring, code) for ring, said, code in shown.record.clear["verdicts"] if said != "allowed"]
    ring, code = stops[0] if stops else ("", "")
    why = shown.body_note if found is None else found.why
    return Explanation(
        name=shown.name,
        title=_title(shown),
        result={"intent": "allowed", "held": "held"}.get(shown.record.type, "refused"),
        ring=ring,
        code=code,
        meaning=f"The body of this record cannot be read: {why}",
        suggestion=Suggestion(advice=instead(ring, code) if stops else ""),
    )


def _before(shown: Shown) -> Explanation:
    """Refused before there was a call: whatever came was no call, or came too often."""
    event = shown.record.body
    code = str(event.get("code", ""))
    cause = str((as_object(shown.body) or {}).get("cause", ""))
    facts: dict[str, Json] = {name: event[name] for name in ("kind", "launch", "receiver") if name in event}
    if "count" in shown.record.clear:
        facts["times"] = shown.record.clear["count"]
    ring = "attempts" if code == "too_many_attempts" else stopped_by(shown.record)[0][0]
    return Explanation(
        name=shown.name,
        title=f"{shown.record.clear['subject']} sent a request that never became a call",
        result="refused",
        ring=ring,
        code=code,
        meaning=cause or (f"its cause cannot be shown: {shown.body_note}" if shown.record.sealed else ""),
        facts=facts,
        told={"code": code, "reason": cause} if cause else {"code": code},
        suggestion=Suggestion(advice=instead(ring, code)),
    )


def _unrecorded(shown: Shown) -> Explanation:
    """A call that nothing of could be kept: counted only."""
    event = shown.record.body
    code = str(event.get("code", ""))
    facts: dict[str, Json] = {"kind": event.get("kind")}
    if "count" in shown.record.clear:
        facts["times"] = shown.record.clear["count"]
    return Explanation(
        name=shown.name,
        title=f"{shown.record.clear['subject']} made a call that could not be written down",
        result="refused",
        ring="audit",
        code=code,
        meaning="What cannot be written down does not happen. That it was asked for was counted.",
        facts=facts,
        suggestion=Suggestion(advice=instead("audit", code)),
    )


def _peer_refused(shown: Shown) -> Explanation:
    """Somebody who knocked at an agent's listener; nothing of what he would have sent was read."""
    event = shown.record.body
    code = str(event.get("code", ""))
    facts: dict[str, Json] = {"receiver": event.get("receiver"), "times": shown.record.clear.get("count")}
    return Explanation(
        name=shown.name,
        title=f"{shown.record.clear['subject'] or 'somebody'} connected to {event.get('receiver')}",
        result="refused",
        ring="certificate",
        code=code,
        meaning="The connection was closed before anything that came over it was read. A name stands here only "
        "where it was proved.",
        facts=facts,
        suggestion=Suggestion(advice=instead("certificate", code)),
    )


def _launch(shown: Shown) -> Explanation:
    """A launch: what the process tried in vain before its program began."""
    event = shown.record.body
    tried = as_object(event.get("self_test")) or {}
    confined = event.get("confined") is True
    if event.get("attestation") == "none":
        return Explanation(
            name=shown.name, title=f"{shown.record.clear['subject']} may ask from here on", result="noted",
            ring="identity", meaning="Nobody launched it: any process of the user who runs Ringwall may be it.",
        )
    return Explanation(
        name=shown.name,
        title=f"{shown.record.clear['subject']} was launched",
        result="launched",
        ring="kernel",
        meaning="Before the program began, its process tried what it must not be able to do; self_test has the "
        "kernel's answers."
        if confined
        else "It runs NOT CONFINED: the kernel holds nothing back.",
        facts={"self_test": tried, "confined": confined},
        suggestion=Suggestion(
            advice="What the kernel refuses later leaves no record of its own: the program sees the error. A "
            "folder that it needs is shown to it with read_only under its [tenants.NAME.agents.NAME]; the network "
            "is not for agents at all: give it a tool."
        ),
    )
