"""How much of a tenant's log one agent may fill, so that a flood of one is not the end of the others' records."""

from __future__ import annotations

from typing import Final, Protocol

from ringwall.call import Call, Event, Operator, Peer, Subject, subject_name
from ringwall.errors import AuditError
from ringwall.manifest.types import Rate

# An agent's two parts of its tenant's quota. In the worst hour both are full at its start and come in once more:
# 1/8 + 1/32 + 2/64, less than a fifth.
WHOLE_AT_ONCE: Final = 8  # one part in so many for records with their bodies: with 1 GiB some 20,000 calls of 1 KB
WHOLE_PART: Final = 32  # and what of it comes back every hour
SHORT_PART: Final = 64  # and for refusals after those are used up
SMALL: Final = 4096  # bytes; a refusal this short keeps its body out of the second part too
OUTCOME: Final = 1024  # bytes; what an intent will write when it ends, paid beforehand
NOTES: Final = 3072  # bytes; the same for what a message brings along: its id, its task, the task's end
BATCH: Final = 512  # bytes that a record written alone brings along: the batch around it and its checkpoint
BEFORE_CALL: Final = "refused_before_call"  # the wall's event for a request that never became a call
_HOUR: Final = 3600.0


class Taken(Protocol):
    """Whether it was taken."""

    @property
    def taken(self) -> bool: ...


class Rates(Protocol):
    """Rate counters by key: ``limits.gcra.Gcra``."""

    def take(self, key: str, rate: Rate, cost: int = 1) -> Taken:
        """Take ``cost`` at once or nothing."""
        ...

    def refund(self, key: str, rate: Rate, cost: int = 1) -> None:
        """Give back what was taken."""
        ...


class LogBudget:
    """One log budget an agent, and one for each peer of an agent; all of another trust domain have two such parts
    together, too. Operators have none: what they do must be on record whatever agents did.

    Args:
        rates: counters of these budgets' own.
        quota: bytes of one tenant's log.

    """

    def __init__(self, rates: Rates, quota: int) -> None:
        self._rates = rates
        self._whole = _rate(quota // WHOLE_PART, quota // WHOLE_AT_ONCE)
        self._short = _rate(quota // SHORT_PART, quota // SHORT_PART)

    def whole(self, subject: Subject, size: int) -> bool:
        """Take room for a record with its body, of ``size`` bytes."""
        return self._take("whole", subject, self._whole, size)

    def short(self, subject: Subject, size: int) -> bool:
        """Take room for a refusal after ``whole`` is used up."""
        return self._take("short", subject, self._short, size)

    def event(self, event: Event, size: int) -> bool:
        """Take room for an event. Only what an agent can bring about as often as it likes costs it anything."""
        if event.type != BEFORE_CALL or event.subject.startswith("operator:"):
            return True
        receiver = event.body.get("receiver")
        if not isinstance(receiver, str):
            return self._part("short", event.subject, "", self._short, size)
        name, domain = f"{receiver}|{event.subject}", _domain(receiver, event.subject)
        return self._part("short", name, domain, self._short, size)

    def _take(self, part: str, subject: Subject, rate: Rate, size: int) -> bool:
        if isinstance(subject, Operator):
            return True
        if not isinstance(subject, Peer):
            return self._part(part, subject_name(subject), "", rate, size)
        # A peer fills the receiver's log: what it sends there takes nothing from what it may write in its own.
        receiver, sender = str(subject.receiver), str(subject.spiffe_id)
        return self._part(part, f"{receiver}|{sender}", _domain(receiver, sender), rate, size)

    def _part(self, part: str, name: str, domain: str, rate: Rate, size: int) -> bool:
        """Take it from one's own part; and where a domain is named, from what all of it may write together."""
        together = Rate(count=2 * rate.count, seconds=rate.seconds, burst=2 * rate.burst)
        if domain and not self._rates.take(f"{part}:{domain}", together, size + BATCH).taken:
            return False  # first: of a domain that has used up its part, no agent is remembered
        if self._rates.take(f"{part}:{name}", rate, size + BATCH).taken:
            return True
        if domain:
            self._rates.refund(f"{part}:{domain}", together, size + BATCH)
        return False


def _domain(receiver: str, sender: str) -> str:
    """Another trust domain's agents, to one tenant of ours: its authority can be as many peers as it likes."""
    own, far = receiver.split("/"), sender.split("/")[2:3]
    return "" if far == own[2:3] else f"{'/'.join(own[:5])}|{'/'.join(far)}"


def afterwards(call: Call) -> int:
    """Bytes that will be written because of an intent, as far as one can tell."""
    return OUTCOME + NOTES if call.kind == "message" else OUTCOME


def _rate(hourly: int, at_once: int) -> Rate:
    return Rate(count=hourly, seconds=_HOUR, burst=at_once)


def over() -> AuditError:
    """The error of an agent that has used up its part of the log."""
    return AuditError(
        "this agent has used up its part of the audit log", code="log_budget",
        remedy="wait; operator: `ringwall audit tail` shows what floods, [audit] quota_mib makes the parts larger",
    )
