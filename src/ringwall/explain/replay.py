"""Replay: recorded calls judged again by a draft, and how that differs from what they were told.

Each judged call of the log counts once, as recorded. Identity, limits, flow and guard stand as the record has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from ringwall.call import Denied, Json, NeedsApproval, Verdict
from ringwall.explain.judge import Dry, Judged, Said, decided
from ringwall.explain.recorded import KEY_DESTROYED, Recorded, Unreadable

Difference: TypeAlias = Literal["newly_refused", "newly_allowed", "newly_asked"]
EXAMPLES: Final = 5  # of each difference, code and target; all are counted
MAX_GROUPS: Final = 1000  # different (difference, code, target) that are told apart
OTHERS: Final = "(others)"
_DIFFERENCES: Final[dict[Said, Difference]] = {
    "denied": "newly_refused",
    "allowed": "newly_allowed",
    "needs_approval": "newly_asked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One call whose decision would differ."""

    record: str
    was: str
    now: str
    not_judged: tuple[str, ...]  # rings that never judged it, because another had refused before


@dataclass(slots=True, kw_only=True)
class Group:
    """Calls that differ in the same way."""

    difference: Difference
    code: str  # of the refusal that is new, or that is gone
    subject: str
    target: str
    count: int = 0
    examples: list[Example] = field(default_factory=list[Example])

    def as_json(self) -> Json:
        return {
            "difference": self.difference,
            "code": self.code,
            "subject": self.subject,
            "target": self.target,
            "count": self.count,
            "examples": [
                {"record": e.record, "was": e.was, "now": e.now, "not_judged": list(e.not_judged)}
                for e in self.examples
            ],
        }


@dataclass(slots=True, kw_only=True)
class Replay:
    """What a draft would have changed."""

    calls: int = 0
    unchanged: int = 0
    newly_refused: int = 0
    newly_allowed: int = 0
    newly_asked: int = 0
    not_replayable: int = 0
    key_destroyed: int = 0  # of those
    left_out: int = 0  # of those: refusals of an agent that had used up its part of the log
    groups: dict[tuple[str, str, str, str], Group] = field(default_factory=dict[tuple[str, str, str, str], Group])

    @property
    def changed(self) -> int:
        return self.newly_refused + self.newly_allowed + self.newly_asked

    def as_json(self) -> Json:
        """One object with stable names."""
        return {
            "calls": self.calls,
            "unchanged": self.unchanged,
            **{name: getattr(self, name) for name in get_args(Difference)},
            "not_replayable": self.not_replayable,
            "key_destroyed": self.key_destroyed,
            "left_out": self.left_out,
            "groups": [group.as_json() for group in self.sorted()],
        }

    def sorted(self) -> list[Group]:
        """Groups, the most frequent first."""
        return sorted(self.groups.values(), key=lambda one: (-one.count, one.difference, one.code, one.target))

    def unreadable(self, seen: Unreadable) -> None:
        """Count a call that cannot be judged again."""
        self.calls += 1
        self.not_replayable += 1
        self.key_destroyed += seen.why == KEY_DESTROYED
        self.left_out += seen.record.left_out is not None

    def judged(self, seen: Recorded, now: Judged) -> None:
        """Count a call that was judged again."""
        self.calls += 1
        was, then = recorded(seen), effective(seen, now)
        if was == then:
            self.unchanged += 1
            return
        difference = _DIFFERENCES[then]
        setattr(self, difference, getattr(self, difference) + 1)
        before = decided(seen.verdicts)
        code = before.code if difference == "newly_allowed" else now.decision.code
        who, target = seen.input["subject"]["id"], seen.input["call"]["target"]
        group = self._group(difference, code, who, target)
        group.count += 1
        if len(group.examples) < EXAMPLES:
            group.examples.append(
                Example(
                    record=seen.name,
                    was=_spelled(was, before.ring, before.verdict),
                    now=_spelled(then, now.decision.ring, now.decision.verdict),
                    not_judged=tuple(now.unasked) if then != "denied" else (),
                )
            )

    def _group(self, difference: Difference, code: str, subject: str, target: str) -> Group:
        key = (difference, code, subject, target)
        if key not in self.groups and len(self.groups) >= MAX_GROUPS:
            key = (difference, code, OTHERS, OTHERS)
        if key not in self.groups:
            self.groups[key] = Group(difference=difference, code=code, subject=key[2], target=key[3])
        return self.groups[key]


def recorded(seen: Recorded) -> Said:
    """What came of the call then: an intent ran, also if a human had to approve it first."""
    match seen.record.type:
        case "intent":
            return "allowed"
        case "held":
            return "needs_approval"
        case _:
            return "denied"


def effective(seen: Recorded, now: Judged) -> Said:
    """What would come of it now: what a human answered then stands for the same questions."""
    said, before = now.decision.said, decided(seen.verdicts)
    if said == "allowed" and before.said == "allowed":
        return recorded(seen)  # no ring refused it: nothing could run it, or its approval was no good
    if said != "needs_approval":
        return said
    asked = {(ring, v.code) for ring, v in seen.verdicts.items() if isinstance(v, NeedsApproval)}
    same = (now.decision.ring, now.decision.code) in asked
    return recorded(seen) if same else said


async def replay(calls: Iterable[Recorded | Unreadable], dry: Dry) -> Replay:
    """Judge them all again. Raises what reading them raises."""
    found = Replay()
    for seen in calls:
        if isinstance(seen, Unreadable):
            found.unreadable(seen)
        else:
            found.judged(seen, await dry.judge(seen))
    return found


def _spelled(said: Said, ring: str | None, verdict: Verdict) -> str:
    if said == "allowed" or not isinstance(verdict, Denied | NeedsApproval):
        return "allowed" if said == "allowed" else said
    return f"{ring}: {verdict.code}"
